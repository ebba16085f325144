--
-- Arguments that make no sense, and unusual schemas
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

--
-- What is no process of this server: a warning, as from
-- pg_log_backend_memory_contexts, and no rows.  An error would end a query
-- over many sessions whenever one of them ends.
--
SELECT * FROM pg_session_memory_contexts(0);
SELECT * FROM pg_session_memory_contexts(-1);
SELECT * FROM pg_session_memory_contexts(2147483647);
SELECT * FROM pg_session_memory_contexts(-2147483648);
SELECT * FROM pg_session_memory_contexts(1);
SELECT * FROM pg_session_memory_process(0);
SELECT * FROM pg_session_memory_process(-1);
SELECT * FROM pg_session_memory_process(2147483647);
SELECT * FROM pg_session_memory_process(-2147483648);
SELECT * FROM pg_session_memory_process(1);

-- The view's function does not warn: sessions end while the view is read.
SELECT pid, m IS NULL AS nothing
FROM (VALUES (0), (-1), (2147483647), (-2147483648), (1), (NULL)) AS p(pid),
	LATERAL pg_session_memory_measure(pid, NULL) AS m;
SELECT m IS NULL AS nothing
FROM pg_session_memory_measure(pg_backend_pid(), '-infinity') AS m;
SELECT m IS NULL AS nothing
FROM pg_session_memory_measure(pg_backend_pid(), 'infinity') AS m;

-- NULL gives nothing, without a warning.
SELECT * FROM pg_session_memory_contexts(NULL);
SELECT * FROM pg_session_memory_process(NULL);

-- A process of this server that is no backend: the postmaster.  The warning
-- would name it.
SET client_min_messages = error;
SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1) AS postmaster \gset
SELECT count(*) FROM pg_session_memory_contexts(:postmaster);
SELECT p IS NULL AS nothing FROM pg_session_memory_process(:postmaster) AS p;
SELECT m IS NULL AS nothing
FROM pg_session_memory_measure(:postmaster, NULL) AS m;
RESET client_min_messages;

-- Good ones among bad ones are answered.
SET client_min_messages = error;
SELECT pid <= 0 AS bad, count(c.name) > 50 AS many
FROM (VALUES (0), (pg_backend_pid()), (-1)) AS p(pid)
	LEFT JOIN LATERAL pg_session_memory_contexts(pid) AS c ON true
GROUP BY pid ORDER BY pid;
RESET client_min_messages;

-- Wrong types
\set VERBOSITY sqlstate
SELECT * FROM pg_session_memory_contexts(3000000000);
SELECT * FROM pg_session_memory_process('me');
SELECT * FROM pg_session_memory_contexts(1, 'name');
\set VERBOSITY default

-- The view cannot be written to.
\set VERBOSITY sqlstate
DELETE FROM pg_session_memory;
UPDATE pg_session_memory SET context_bytes = 0;
\set VERBOSITY default

-- Read-only transactions and aborted ones
BEGIN READ ONLY;
SELECT count(*) > 50 AS seen FROM pg_session_memory_contexts();
SELECT count(*) AS own FROM pg_session_memory WHERE pid = pg_backend_pid();
SAVEPOINT before_error;
SELECT 1 / 0 FROM pg_session_memory_contexts();
ROLLBACK TO before_error;
SELECT count(*) > 50 AS seen FROM pg_session_memory_contexts();
COMMIT;

--
-- In another schema, with things in it and in the way that have our names
--
DROP EXTENSION pg_session_memory;
SELECT count(*) FROM pg_proc WHERE proname LIKE 'pg\_session\_memory%';
SELECT count(*) FROM pg_class WHERE relname LIKE 'pg\_session\_memory%';
SELECT * FROM pg_session_memory;

CREATE SCHEMA "regress Odd ""schema""";
CREATE SCHEMA regress_trap;
CREATE FUNCTION "regress Odd ""schema""".pg_backend_pid() RETURNS int
LANGUAGE sql AS 'SELECT 1 / 0';
CREATE VIEW "regress Odd ""schema""".pg_stat_activity AS SELECT 1 / 0 AS pid;
CREATE FUNCTION regress_trap.pg_session_memory_measure(int, timestamptz)
RETURNS int LANGUAGE sql AS 'SELECT 1 / 0';
CREATE FUNCTION regress_trap.pg_backend_pid() RETURNS int
LANGUAGE sql AS 'SELECT 1 / 0';
CREATE VIEW regress_trap.pg_session_memory AS SELECT 1 / 0 AS pid;
CREATE VIEW regress_trap.pg_stat_activity AS SELECT 1 / 0 AS pid;

SET search_path = regress_trap, pg_catalog;
CREATE EXTENSION pg_session_memory SCHEMA "regress Odd ""schema""";
SELECT count(*) > 50 AS seen
FROM "regress Odd ""schema""".pg_session_memory_contexts();
SELECT rss_bytes > 0 AS seen
FROM "regress Odd ""schema""".pg_session_memory_process();
SELECT source FROM "regress Odd ""schema""".pg_session_memory
WHERE pid = pg_catalog.pg_backend_pid();
SELECT source FROM "regress Odd ""schema""".pg_session_memory()
WHERE pid = pg_catalog.pg_backend_pid();

SET search_path = '';
SELECT source FROM "regress Odd ""schema""".pg_session_memory
WHERE pid = pg_backend_pid();
ALTER EXTENSION pg_session_memory SET SCHEMA pg_catalog;
SELECT source FROM pg_catalog.pg_session_memory WHERE pid = pg_backend_pid();
ALTER EXTENSION pg_session_memory SET SCHEMA public;
SET search_path = regress_trap, "regress Odd ""schema""";
SELECT count(*) > 50 AS seen FROM public.pg_session_memory_contexts();
SELECT rss_bytes > 0 AS seen FROM public.pg_session_memory_process();
SELECT source FROM public.pg_session_memory
WHERE pid = pg_catalog.pg_backend_pid();
SELECT source FROM public.pg_session_memory()
WHERE pid = pg_catalog.pg_backend_pid();
RESET search_path;

SET client_min_messages = warning;
DROP SCHEMA "regress Odd ""schema""", regress_trap CASCADE;
RESET client_min_messages;
SELECT count(*) > 50 AS seen FROM pg_session_memory_contexts();
