--
-- The view pg_session_memory and the function of that name
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

--
-- Columns in their order, for people and programs rely on it
--
SELECT attnum, attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = 'pg_session_memory'::regclass AND attnum > 0
ORDER BY attnum;
SELECT function, number, name, type, mode
FROM (VALUES ('pg_session_memory_contexts'::regproc),
	('pg_session_memory_process'), ('pg_session_memory_measure')) AS f(function)
	JOIN pg_proc p ON p.oid = f.function,
	LATERAL (SELECT ordinality AS number, name, format_type(t, -1) AS type, mode
		FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes::text[])
			WITH ORDINALITY AS a(name, t, mode)) AS arguments
ORDER BY function::text COLLATE "C", number;
SELECT pg_get_function_arguments('pg_session_memory()'::regprocedure),
	pg_get_function_result('pg_session_memory()'::regprocedure);

-- Every object says what it is.
SELECT count(*) FILTER (WHERE description IS NULL) AS without_comment,
	count(*) >= 5 AS some
FROM pg_depend d LEFT JOIN pg_description c
	ON c.objoid = d.objid AND c.classoid = d.classid AND c.objsubid = 0
WHERE d.refobjid = (SELECT oid FROM pg_extension
		WHERE extname = 'pg_session_memory') AND
	d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND
	d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass);

--
-- The own row
--
SELECT s.backend_type, s.datname = current_database() AS datname,
	s.usename = session_user AS usename,
	s.application_name = current_setting('application_name')
		AS application_name,
	s.client_addr IS NOT DISTINCT FROM inet_client_addr() AS client_addr,
	s.backend_start = a.backend_start AS backend_start,
	s.xact_start = now() AS xact_start, s.state,
	s.state_change = a.state_change AS state_change,
	s.query_id IS NOT DISTINCT FROM a.query_id AS query_id,
	s.source, s.approximate
FROM pg_session_memory s JOIN pg_stat_activity a USING (pid)
WHERE pid = pg_backend_pid();

-- A new session has about 100 contexts of more than 1 MB in total, half of it
-- for catalogs: half of what was seen on every version is the bound.
SELECT contexts > 50 AS contexts, context_bytes > 500000 AS context_bytes,
	catalog_cache_bytes > 250000 AS catalog_cache_bytes,
	base_bytes > 50000 AS base_bytes, execution_bytes > 0 AS execution_bytes,
	anon_bytes > 500000 AS anon_bytes, swap_bytes >= 0 AS swap_bytes
FROM pg_session_memory WHERE pid = pg_backend_pid();

-- What grows is found in its category, and only there.
CREATE TEMP TABLE before AS
	SELECT * FROM pg_session_memory WHERE pid = pg_backend_pid();
DO $$ BEGIN
	FOR i IN 1..200 LOOP
		EXECUTE format('PREPARE regress_%s AS SELECT %L::text', i, repeat('x', 4000));
	END LOOP;
END $$;
-- A statement is kept as text and as trees, more than its own 4000 bytes, in
-- two contexts; the two statements that look differ by less than 20.
SELECT s.cached_plan_bytes - b.cached_plan_bytes > 200 * 4000 AS cached_plans,
	s.contexts - b.contexts > 200 * 2 - 20 AS contexts,
	s.temp_table_bytes - b.temp_table_bytes < 200 * 4000 AS temp_tables,
	s.cursor_bytes - b.cursor_bytes < 200 * 4000 AS cursors,
	s.transaction_bytes - b.transaction_bytes < 200 * 4000 AS transaction,
	s.base_bytes - b.base_bytes < 200 * 4000 AS base
FROM pg_session_memory s, before b WHERE s.pid = pg_backend_pid();
DEALLOCATE ALL;
-- What stays is the hash table that finds them, less than 400 bytes for each.
SELECT s.cached_plan_bytes - b.cached_plan_bytes < 200 * 400 AS deallocated
FROM pg_session_memory s, before b WHERE s.pid = pg_backend_pid();

--
-- All rows
--

-- Every process that pg_stat_activity lists, and no other one
SELECT count(*) AS processes_without_row FROM
	(SELECT pid, backend_start FROM pg_stat_activity
	EXCEPT SELECT pid, backend_start FROM pg_session_memory) AS a;
SELECT count(*) AS rows_without_process FROM
	(SELECT pid, backend_start FROM pg_session_memory
	EXCEPT ALL SELECT pid, backend_start FROM pg_stat_activity) AS a;

-- Processes of the server, which are there all the time, are read live.
SELECT DISTINCT backend_type, source, approximate FROM pg_session_memory
WHERE backend_type IN ('checkpointer', 'background writer', 'walwriter')
ORDER BY backend_type;

-- Categories add up to the whole, exactly.  Rows of sessions that end in
-- this moment are empty.
SELECT count(*) FILTER (WHERE context_bytes IS DISTINCT FROM
	catalog_cache_bytes + cached_plan_bytes + function_bytes + cursor_bytes +
	transaction_bytes + execution_bytes + temp_table_bytes +
	replication_bytes + base_bytes + other_bytes) AS wrong_sum,
	count(*) FILTER (WHERE unaccounted_bytes IS DISTINCT FROM
	greatest(anon_bytes + swap_bytes - context_bytes, 0)) AS wrong_rest,
	count(*) >= 4 AS some
FROM pg_session_memory WHERE source IS NOT NULL;

-- Processes that are no sessions publish nothing, with or without the library
-- in shared_preload_libraries.
SELECT count(retained_bytes) AS retained_bytes,
	count(baseline_bytes) AS baseline_bytes,
	count(growth_bytes) AS growth_bytes, count(peak_bytes) AS peak_bytes,
	count(measured_at) AS measured_at, count(status) AS status,
	count(last_trim_at) AS last_trim_at, count(trimmed_bytes) AS trimmed_bytes
FROM pg_session_memory
WHERE backend_type IN ('checkpointer', 'background writer', 'walwriter');

-- The same contexts and bytes as in detail, for processes that rest
SELECT backend_type, s.contexts = c.contexts AS contexts,
	s.context_bytes = c.context_bytes AS context_bytes,
	s.catalog_cache_bytes = c.catalog_cache_bytes AS catalog_cache_bytes
FROM pg_session_memory s, LATERAL (
	SELECT count(*) AS contexts, sum(total_bytes) AS context_bytes,
		coalesce(sum(total_bytes) FILTER (WHERE category = 'catalog cache'), 0)
			AS catalog_cache_bytes
	FROM pg_session_memory_contexts(s.pid)) AS c
WHERE backend_type IN ('walwriter', 'logical replication launcher')
ORDER BY backend_type COLLATE "C";

-- The function has the rows of the view.
SELECT count(*) FROM (
	(SELECT pid, backend_type, datname, usename, application_name, client_addr,
		backend_start, source FROM pg_session_memory
	EXCEPT SELECT pid, backend_type, datname, usename, application_name,
		client_addr, backend_start, source FROM pg_session_memory())
	UNION ALL
	(SELECT pid, backend_type, datname, usename, application_name, client_addr,
		backend_start, source FROM pg_session_memory()
	EXCEPT SELECT pid, backend_type, datname, usename, application_name,
		client_addr, backend_start, source FROM pg_session_memory)) AS d;

-- Who asks for one process has one measured.
BEGIN;
SET LOCAL track_functions = 'all';
SELECT pid = pg_backend_pid() AS own, source FROM pg_session_memory
WHERE pid = pg_backend_pid();
SELECT pg_stat_get_xact_function_calls('pg_session_memory_measure'::regproc);
SELECT pid = pg_backend_pid() AS own, source FROM pg_session_memory
WHERE state = 'active' AND application_name = 'no such application';
SELECT pg_stat_get_xact_function_calls('pg_session_memory_measure'::regproc);
COMMIT;

-- A pid that another process has since is not taken for it.
SELECT a.pid = pg_backend_pid() AS own, (m).source
FROM pg_stat_activity a,
	LATERAL pg_session_memory_measure(a.pid, a.backend_start) AS m
WHERE a.pid = pg_backend_pid();
SELECT m IS NULL AS nothing FROM pg_stat_activity a,
	LATERAL pg_session_memory_measure(a.pid,
		a.backend_start - interval '1 microsecond') AS m
WHERE a.pid = pg_backend_pid();
