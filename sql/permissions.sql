--
-- Who may see what
--
-- The observed processes are those that every server has: the session itself,
-- the checkpointer, which is no role's, and the launcher of logical
-- replication, which is a superuser's.  In test/t sessions of several roles
-- look at each other.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
DROP ROLE IF EXISTS regress_nobody, regress_monitor, regress_stats,
	regress_member;
RESET client_min_messages;
CREATE ROLE regress_nobody;
CREATE ROLE regress_monitor IN ROLE pg_monitor;
CREATE ROLE regress_stats IN ROLE pg_read_all_stats;
CREATE ROLE regress_member;
SELECT pid AS checkpointer FROM pg_stat_activity
WHERE backend_type = 'checkpointer' \gset
SELECT pid AS launcher, usename AS superuser FROM pg_stat_activity
WHERE backend_type = 'logical replication launcher' \gset
SET regress.superuser = :'superuser';
DO $$ BEGIN
	EXECUTE format('GRANT %I TO regress_member',
		current_setting('regress.superuser'));
END $$;

-- What the view says of the three, and how many of its figures are not NULL,
-- without those that sessions publish.
-- Figures are those of the caller: a view has its owner's rights for tables,
-- not for functions.
CREATE VIEW regress_look AS
SELECT CASE pid WHEN pg_backend_pid() THEN 'own session'
		WHEN current_setting('regress.checkpointer')::int THEN 'checkpointer'
		WHEN current_setting('regress.launcher')::int THEN 'launcher'
	END AS process,
	source, num_nonnulls(contexts, context_bytes, catalog_cache_bytes,
		cached_plan_bytes, function_bytes, cursor_bytes, transaction_bytes,
		execution_bytes, temp_table_bytes, replication_bytes, base_bytes,
		other_bytes, anon_bytes, swap_bytes, unaccounted_bytes, approximate)
		AS figures
FROM pg_session_memory
WHERE pid IN (pg_backend_pid(), current_setting('regress.checkpointer')::int,
	current_setting('regress.launcher')::int);
GRANT SELECT ON regress_look TO PUBLIC;
SET regress.checkpointer = :checkpointer;
SET regress.launcher = :launcher;

-- Messages name the process: of errors only the code is always the same.
\set VERBOSITY sqlstate

-- A superuser sees all.
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:checkpointer);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:launcher);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:checkpointer);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:launcher);
SELECT * FROM regress_look ORDER BY process;

-- So does a member of pg_monitor,
SET ROLE regress_monitor;
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:checkpointer);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:launcher);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:checkpointer);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:launcher);
SELECT * FROM regress_look ORDER BY process;

-- and one of pg_read_all_stats.
SET ROLE regress_stats;
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:checkpointer);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:launcher);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:checkpointer);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:launcher);
SELECT * FROM regress_look ORDER BY process;

-- Who has the privileges of a role sees that role's sessions, and no others.
SET ROLE regress_member;
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:checkpointer);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:launcher);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:checkpointer);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:launcher);
SELECT * FROM regress_look ORDER BY process;

-- Anybody sees the own session, with whatever role, and that others exist.
SET ROLE regress_nobody;
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:checkpointer);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(:launcher);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:checkpointer);
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process(:launcher);
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts();
SELECT count(*) > 5 AS seen FROM pg_session_memory_contexts(pg_backend_pid());
SELECT rss_bytes > 0 AS seen FROM pg_session_memory_process();
SELECT * FROM regress_look ORDER BY process;
SELECT count(*) AS seen FROM pg_session_memory() WHERE source IS NOT NULL;
SELECT count(*) > 4 AS others FROM pg_session_memory();
SELECT m IS NULL AS nothing FROM pg_session_memory_measure(:launcher, NULL) AS m;
SELECT (m).source FROM pg_session_memory_measure(pg_backend_pid(), NULL) AS m;

-- The errors in full but for the process
\set VERBOSITY default
DO $$
DECLARE
	message text;
	detail text;
BEGIN
	PERFORM FROM pg_session_memory_contexts(
		current_setting('regress.launcher')::int);
EXCEPTION WHEN insufficient_privilege THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', regexp_replace(message, '\d+', 'N');
	RAISE NOTICE '%', detail;
END $$;
DO $$
DECLARE
	message text;
	detail text;
BEGIN
	PERFORM FROM pg_session_memory_process(
		current_setting('regress.launcher')::int);
EXCEPTION WHEN insufficient_privilege THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', regexp_replace(message, '\d+', 'N');
	RAISE NOTICE '%', detail;
END $$;

-- A function with its owner's rights sees what the owner sees.
RESET ROLE;
CREATE FUNCTION regress_trusted(pid int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
	SELECT count(*) FROM pg_session_memory_contexts(pid);
END;
SET ROLE regress_nobody;
SELECT regress_trusted(:launcher) > 5 AS seen;
RESET ROLE;

DROP FUNCTION regress_trusted(int);
DROP VIEW regress_look;
DROP ROLE regress_nobody, regress_monitor, regress_stats, regress_member;
