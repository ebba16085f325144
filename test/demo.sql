-- The questions that the README asks, and after each answer what it means.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle unicode
\pset border 1

\echo
\echo === 1. A pool has bloated. Which sessions are biggest?
\echo
\set ECHO queries
SELECT s.pid, s.usename AS role, s.application_name AS application, s.state,
       pg_size_pretty(s.anon_bytes + s.swap_bytes) AS memory,
       c.category AS most_of_it, pg_size_pretty(c.total_bytes) AS bytes
FROM pg_session_memory s, LATERAL (
    SELECT category, total_bytes FROM pg_session_memory_categories(s.pid) LIMIT 1) c
WHERE s.backend_type = 'client backend' AND s.pid <> pg_backend_pid()
ORDER BY s.anon_bytes + s.swap_bytes DESC NULLS LAST;
\set ECHO none
SELECT format('--> "%s" has %s, %s of it in no context: malloc keeps it. '
           'All ten have %s, and %s of them do nothing.',
           (array_agg(application_name ORDER BY anon_bytes DESC))[1],
           pg_size_pretty(max(anon_bytes)),
           pg_size_pretty((array_agg(unaccounted_bytes ORDER BY anon_bytes DESC))[1]),
           pg_size_pretty(sum(anon_bytes)),
           count(*) FILTER (WHERE state LIKE 'idle%')) AS conclusion,
       sum(anon_bytes) AS before
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \gset
\echo :conclusion

SELECT pid AS biggest, application_name AS biggest_name
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY context_bytes DESC NULLS LAST LIMIT 1 \gset

\echo
\echo === 2. What is it? The one with most in contexts, :biggest_name, from here
\echo
\set ECHO queries
SELECT name, category, count(*) AS contexts,
       pg_size_pretty(sum(total_bytes)) AS total,
       pg_size_pretty(sum(free_bytes)) AS free
FROM pg_session_memory_contexts(:biggest)
GROUP BY name, category
ORDER BY sum(total_bytes) DESC LIMIT 10;
\set ECHO none
SELECT format('--> %s, %s in %s contexts. %s', category,
           pg_size_pretty(total_bytes), contexts, remedy) AS conclusion
FROM pg_session_memory_categories(:biggest)
ORDER BY total_bytes DESC LIMIT 1 \gset
\echo :conclusion

\echo
\echo === 3. Who has noticed? The session itself: a line in the log, and an event
\echo
\setenv BIGGEST :biggest
\! grep -A 2 "\[$BIGGEST\].*session memory over threshold" "$LOG" | tail -n 3 | cut -c 1-400 | fold -s -w 100
\echo
\set ECHO queries
SELECT at::time(0), pid, kind, context, pg_size_pretty(bytes) AS bytes,
       pg_size_pretty(threshold_bytes) AS threshold
FROM pg_session_memory_events WHERE kind IN ('context', 'session')
ORDER BY bytes DESC LIMIT 4;
\set ECHO none
SELECT format('--> %s of ten sessions are over a threshold; pooler, client and '
           'monitoring can know.', count(DISTINCT pid)) AS conclusion
FROM pg_session_memory_bloat \gset
\echo :conclusion

\echo
\echo === 4. Give it back, without closing a connection
\echo
\set ECHO queries
SELECT s.application_name, t.outcome, pg_size_pretty(t.released_bytes) AS released
FROM pg_session_memory s, pg_session_memory_trim(s.pid, 5000) t
WHERE s.state = 'idle' ORDER BY t.released_bytes DESC NULLS LAST;
\set ECHO none
SELECT format('--> The pool had %s and has %s. Prepared statements stay: they '
           'are in use.', pg_size_pretty(:before::bigint), pg_size_pretty(sum(anon_bytes)))
           AS conclusion
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \gset
\echo :conclusion

\echo
\echo === 5. A limit for a role, and a statement that wants more
\echo
CREATE ROLE app LOGIN;
\set ECHO queries
ALTER ROLE app SET pg_session_memory.process_limit = '100MB';
\set ECHO none
\connect - app
\set ON_ERROR_STOP off
SELECT pg_backend_pid() AS limited \gset
\set ECHO queries
SELECT array_agg(repeat('x', 100) || g) FROM generate_series(1, 3000000) g;
\set ECHO none
\set ON_ERROR_STOP on
SELECT format('--> It was the statement that failed. The session, %s, lives on: '
           'this is its answer.', pg_backend_pid()) AS conclusion
WHERE pg_backend_pid() = :limited \gset
\echo :conclusion

\connect - postgres
ALTER ROLE app RESET pg_session_memory.process_limit;
