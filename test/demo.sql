-- The questions that the README asks, in its order.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle unicode
\pset border 1
\set ECHO queries

\echo
\echo === Which sessions are biggest?
\echo
SELECT s.pid, s.usename AS role, s.application_name AS application, s.state,
       pg_size_pretty(s.anon_bytes + s.swap_bytes) AS memory,
       c.category AS most_of_it, pg_size_pretty(c.total_bytes) AS bytes
FROM pg_session_memory s, LATERAL (
    SELECT category, total_bytes FROM pg_session_memory_categories(s.pid) LIMIT 1) c
WHERE s.backend_type = 'client backend' AND s.pid <> pg_backend_pid()
ORDER BY s.anon_bytes + s.swap_bytes DESC NULLS LAST;

\echo === What is it in each of them?
\echo
SELECT pid, usename AS role, datname AS database, application_name AS application,
       pg_size_pretty(anon_bytes + swap_bytes) AS memory,
       pg_size_pretty(catalog_cache_bytes) AS catalogs,
       pg_size_pretty(cached_plan_bytes) AS plans,
       pg_size_pretty(context_bytes - catalog_cache_bytes - cached_plan_bytes) AS others,
       pg_size_pretty(unaccounted_bytes) AS unaccounted
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY anon_bytes + swap_bytes DESC NULLS LAST;

\set ECHO none
SELECT pid AS biggest, application_name AS biggest_name
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY context_bytes DESC NULLS LAST LIMIT 1 \gset
\set ECHO queries

\echo === What is it?  The one with most in contexts, :biggest_name, from here
\echo
SELECT name, category, count(*) AS contexts,
       pg_size_pretty(sum(total_bytes)) AS total,
       pg_size_pretty(sum(free_bytes)) AS free
FROM pg_session_memory_contexts(:biggest)
GROUP BY name, category
ORDER BY sum(total_bytes) DESC LIMIT 10;

\echo === What are the others holding?
\echo
SELECT application_name,
       pg_size_pretty(function_bytes) AS functions,
       pg_size_pretty(cursor_bytes) AS cursors,
       pg_size_pretty(transaction_bytes) AS transaction,
       pg_size_pretty(execution_bytes) AS execution,
       pg_size_pretty(temp_table_bytes) AS temp_tables,
       pg_size_pretty(base_bytes) AS base,
       pg_size_pretty(other_bytes) AS other
FROM pg_session_memory
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY application_name;

\echo === All processes of the server
\echo
SELECT backend_type, count(*) AS processes,
       sum(contexts) AS contexts,
       pg_size_pretty(sum(context_bytes)) AS context_bytes,
       pg_size_pretty(sum(anon_bytes)) AS anon_bytes,
       pg_size_pretty(sum(unaccounted_bytes)) AS unaccounted,
       string_agg(DISTINCT source, ', ') AS source
FROM pg_session_memory
GROUP BY backend_type
ORDER BY sum(anon_bytes) DESC NULLS LAST;

\echo === What does the operating system count for :biggest_name?
\echo
SELECT pg_size_pretty(rss_bytes) AS rss,
       pg_size_pretty(pss_bytes) AS pss,
       pg_size_pretty(private_bytes) AS private,
       pg_size_pretty(shared_bytes) AS shared,
       pg_size_pretty(anon_bytes) AS anon,
       pg_size_pretty(swap_bytes) AS swap,
       pg_size_pretty(pss_file_bytes) AS files,
       pg_size_pretty(pss_shmem_bytes) AS shared_memory
FROM pg_session_memory_process(:biggest);
