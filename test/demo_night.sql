-- What an administrator asks after the night in which the server restarted.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle unicode
\pset border 1
\set ECHO queries

\echo
\echo === What happened last night?
\echo
SELECT at::timestamp(1) AS moment, pid, usename,
       pg_size_pretty(anon_bytes) AS process,
       pg_size_pretty(execution_bytes) AS execution, largest_context,
       left(query, 40) AS query
FROM pg_session_memory_history_sessions
WHERE before_restart ORDER BY at DESC, anon_bytes DESC LIMIT 3;

\echo === How did memory go?
\echo
SELECT at::timestamp(1) AS moment, reason, pg_size_pretty(available_bytes) AS available,
       pg_size_pretty(anon_bytes) AS processes, largest_pid,
       pg_size_pretty(largest_bytes) AS largest, before_restart
FROM pg_session_memory_history ORDER BY at DESC LIMIT 8;

\echo === What decides about the next time?
\echo
SELECT item, value, verdict FROM pg_session_memory_environment()
WHERE verdict <> 'ok';
