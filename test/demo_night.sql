-- What an administrator asks after the night in which the server restarted.

\set ON_ERROR_STOP on
\pset footer off
\pset linestyle unicode
\pset border 1

\set ECHO queries
SELECT at::time(1), pid, usename, pg_size_pretty(anon_bytes) AS process,
       pg_size_pretty(execution_bytes) AS execution, largest_context,
       left(query, 30) AS query
FROM pg_session_memory_history_sessions h
WHERE before_restart ORDER BY h.at DESC, anon_bytes DESC LIMIT 3;
\set ECHO none
SELECT format('--> The server restarted, and all sessions were lost. It was %s of '
           '%s, with %s.', pid, usename, pg_size_pretty(anon_bytes)) AS conclusion
FROM pg_session_memory_history_sessions
WHERE before_restart ORDER BY at DESC, anon_bytes DESC LIMIT 1 \gset
\echo :conclusion
