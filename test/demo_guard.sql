-- A statement that would take all the memory of the server, which has a guard.

\pset footer off
\pset linestyle unicode
\pset border 1

\connect - app
\set ECHO queries
SELECT array_length(array_agg(repeat(md5(i::text), 10)), 1)
FROM (SELECT generate_series(1, 100000000) AS i) s;
\set ECHO none
\set ON_ERROR_STOP on
\connect - postgres
SELECT format('--> Refused by the guard, before the kernel had to kill. %s of '
           'the pool''s ten sessions have noticed nothing.', count(*)) AS conclusion
FROM pg_stat_activity
WHERE usename = 'postgres' AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() \gset
\echo :conclusion
