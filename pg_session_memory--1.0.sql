/* pg_session_memory--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_session_memory" to load this file. \quit

CREATE FUNCTION pg_session_memory_contexts_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'pg_session_memory_contexts_support'
LANGUAGE C STRICT;

COMMENT ON FUNCTION pg_session_memory_contexts_support(internal) IS
'has the planner fill in which columns of pg_session_memory_contexts a query uses';

CREATE FUNCTION pg_session_memory_contexts(
    pid integer DEFAULT pg_backend_pid(),
    columns integer DEFAULT -1,
    OUT name text,
    OUT ident text,
    OUT type text,
    OUT level integer,
    OUT path integer[],
    OUT total_bytes bigint,
    OUT total_nblocks bigint,
    OUT free_bytes bigint,
    OUT free_chunks bigint,
    OUT used_bytes bigint,
    OUT parent text,
    OUT category text,
    OUT subtree_bytes bigint,
    OUT approximate boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_contexts'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 200
SUPPORT pg_session_memory_contexts_support;

COMMENT ON FUNCTION pg_session_memory_contexts(integer, integer) IS
'memory contexts of a server process, in bytes; path has the numbers of the first 100 levels; columns without a bit in the second argument may be NULL, the planner sets it to those that a query uses; other roles'' sessions need pg_read_all_stats';

CREATE FUNCTION pg_session_memory_measure(
    pid integer,
    backend_start timestamptz,
    OUT contexts bigint,
    OUT context_bytes bigint,
    OUT catalog_cache_bytes bigint,
    OUT cached_plan_bytes bigint,
    OUT function_bytes bigint,
    OUT cursor_bytes bigint,
    OUT transaction_bytes bigint,
    OUT execution_bytes bigint,
    OUT temp_table_bytes bigint,
    OUT replication_bytes bigint,
    OUT base_bytes bigint,
    OUT other_bytes bigint,
    OUT anon_bytes bigint,
    OUT swap_bytes bigint,
    OUT unaccounted_bytes bigint,
    OUT limit_bytes bigint,
    OUT ceiling_bytes bigint,
    OUT retained_bytes bigint,
    OUT baseline_bytes bigint,
    OUT growth_bytes bigint,
    OUT peak_bytes bigint,
    OUT measured_at timestamptz,
    OUT status text,
    OUT last_trim_at timestamptz,
    OUT trimmed_bytes bigint,
    OUT statement_bytes bigint,
    OUT statement_peak_bytes bigint,
    OUT parallel_bytes bigint,
    OUT source text,
    OUT approximate boolean,
    OUT peak_at timestamptz)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_measure'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000;

COMMENT ON FUNCTION pg_session_memory_measure(integer, timestamptz) IS
'figures of one process for the view pg_session_memory, in bytes; NULL for sessions of other roles without pg_read_all_stats';

CREATE VIEW pg_session_memory AS
SELECT
    a.pid,
    a.leader_pid,
    a.backend_type,
    a.datname,
    a.usename,
    a.application_name,
    a.client_addr,
    a.backend_start,
    a.xact_start,
    a.state,
    a.state_change,
    a.query_id,
    m.contexts,
    m.context_bytes,
    m.catalog_cache_bytes,
    m.cached_plan_bytes,
    m.function_bytes,
    m.cursor_bytes,
    m.transaction_bytes,
    m.execution_bytes,
    m.temp_table_bytes,
    m.replication_bytes,
    m.base_bytes,
    m.other_bytes,
    m.anon_bytes,
    m.swap_bytes,
    m.unaccounted_bytes,
    m.limit_bytes,
    m.ceiling_bytes,
    m.retained_bytes,
    m.baseline_bytes,
    m.growth_bytes,
    m.peak_bytes,
    m.measured_at,
    m.status,
    m.last_trim_at,
    m.trimmed_bytes,
    m.statement_bytes,
    m.statement_peak_bytes,
    m.parallel_bytes,
    m.source,
    m.approximate,
    m.peak_at
FROM pg_catalog.pg_stat_activity a
LEFT JOIN LATERAL pg_session_memory_measure(a.pid, a.backend_start) m ON true;

COMMENT ON VIEW pg_session_memory IS
'memory of each server process, in bytes; figures of other roles'' sessions are NULL without pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory.pid IS
'process id';
COMMENT ON COLUMN pg_session_memory.leader_pid IS
'leader of a parallel worker''s group; NULL: no parallel worker, or the leader itself';
COMMENT ON COLUMN pg_session_memory.backend_type IS
'type of the process, as in pg_stat_activity';
COMMENT ON COLUMN pg_session_memory.datname IS
'database; NULL: connected to none';
COMMENT ON COLUMN pg_session_memory.usename IS
'role that logged in; NULL: no session of a role';
COMMENT ON COLUMN pg_session_memory.application_name IS
'application_name of the session';
COMMENT ON COLUMN pg_session_memory.client_addr IS
'address of the client; NULL: a Unix socket, or no client';
COMMENT ON COLUMN pg_session_memory.backend_start IS
'start of the process';
COMMENT ON COLUMN pg_session_memory.xact_start IS
'start of the transaction; NULL: in none';
COMMENT ON COLUMN pg_session_memory.state IS
'what the session does, as in pg_stat_activity; NULL: no session';
COMMENT ON COLUMN pg_session_memory.state_change IS
'when state last changed';
COMMENT ON COLUMN pg_session_memory.query_id IS
'identifier of the running or last statement; NULL: not computed';
COMMENT ON COLUMN pg_session_memory.contexts IS
'number of memory contexts; this and what follows is NULL for sessions of other roles without pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory.context_bytes IS
'what they have from malloc, free parts included; source says whose figure this is; NULL: unavailable';
COMMENT ON COLUMN pg_session_memory.catalog_cache_bytes IS
'contexts of catalog caches: tables, columns, indexes and partitions that were touched';
COMMENT ON COLUMN pg_session_memory.cached_plan_bytes IS
'contexts of prepared statements and their plans, and of plans in functions';
COMMENT ON COLUMN pg_session_memory.function_bytes IS
'contexts of functions of PL/pgSQL and other languages';
COMMENT ON COLUMN pg_session_memory.cursor_bytes IS
'contexts of open cursors, and of the frame of the running statement';
COMMENT ON COLUMN pg_session_memory.transaction_bytes IS
'contexts that live until the transaction ends';
COMMENT ON COLUMN pg_session_memory.execution_bytes IS
'contexts of running statements: text, plan, sorts, hashes';
COMMENT ON COLUMN pg_session_memory.temp_table_bytes IS
'contexts of temporary tables and their buffers';
COMMENT ON COLUMN pg_session_memory.replication_bytes IS
'contexts of walsenders, logical decoding and apply';
COMMENT ON COLUMN pg_session_memory.base_bytes IS
'contexts that every process has from its start';
COMMENT ON COLUMN pg_session_memory.other_bytes IS
'contexts of extensions, and those whose name is not known';
COMMENT ON COLUMN pg_session_memory.anon_bytes IS
'anonymous memory of the process in RAM (/proc/PID/status); NULL: the operating system does not tell';
COMMENT ON COLUMN pg_session_memory.swap_bytes IS
'anonymous memory of the process in swap; NULL: the operating system does not tell';
COMMENT ON COLUMN pg_session_memory.unaccounted_bytes IS
'anon_bytes and swap_bytes less context_bytes, not below 0: what malloc keeps, and what is in no context';
COMMENT ON COLUMN pg_session_memory.limit_bytes IS
'private memory that the process may have (RLIMIT_DATA), touched or not: process_limit, or what the server was started with; NULL: no limit, or not known';
COMMENT ON COLUMN pg_session_memory.ceiling_bytes IS
'private memory that the guard lets the process have now, touched or not; the smaller one of this and limit_bytes counts; NULL: no ceiling';
COMMENT ON COLUMN pg_session_memory.retained_bytes IS
'contexts that stay after the command, as the session measured itself at measured_at; NULL: it did not';
COMMENT ON COLUMN pg_session_memory.baseline_bytes IS
'retained_bytes before its first command';
COMMENT ON COLUMN pg_session_memory.growth_bytes IS
'retained_bytes less baseline_bytes';
COMMENT ON COLUMN pg_session_memory.peak_bytes IS
'largest retained_bytes since its start, or pg_session_memory_reset_peak()';
COMMENT ON COLUMN pg_session_memory.measured_at IS
'when the session last measured itself; NULL: not yet';
COMMENT ON COLUMN pg_session_memory.status IS
'ok, or bloated: over a threshold at measured_at; NULL: not measured yet';
COMMENT ON COLUMN pg_session_memory.last_trim_at IS
'when the session last gave memory back; NULL: never';
COMMENT ON COLUMN pg_session_memory.trimmed_bytes IS
'what all its trims gave back';
COMMENT ON COLUMN pg_session_memory.statement_bytes IS
'what the running statement has added to the process, as the watcher saw it, or planner and executor of the last one took in contexts; NULL: not known';
COMMENT ON COLUMN pg_session_memory.statement_peak_bytes IS
'the most that the running or last statement added to the process; NULL: less than a millisecond, or not known';
COMMENT ON COLUMN pg_session_memory.parallel_bytes IS
'anonymous memory of the session and its parallel workers together; NULL: it has none';
COMMENT ON COLUMN pg_session_memory.source IS
'where the figures of contexts are from: live (read now), published (the session''s own last ones) or unavailable; NULL: not permitted';
COMMENT ON COLUMN pg_session_memory.approximate IS
'true: the contexts changed while they were read; NULL: not live';
COMMENT ON COLUMN pg_session_memory.peak_at IS
'when peak_bytes was measured';

GRANT SELECT ON pg_session_memory TO PUBLIC;

CREATE FUNCTION pg_session_memory()
RETURNS SETOF pg_session_memory
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT * FROM pg_session_memory;
END;

COMMENT ON FUNCTION pg_session_memory() IS
'the rows of the view pg_session_memory';

CREATE FUNCTION pg_session_memory_process(
    pid integer DEFAULT pg_backend_pid(),
    OUT rss_bytes bigint,
    OUT pss_bytes bigint,
    OUT private_bytes bigint,
    OUT shared_bytes bigint,
    OUT anon_bytes bigint,
    OUT swap_bytes bigint,
    OUT pss_anon_bytes bigint,
    OUT pss_file_bytes bigint,
    OUT pss_shmem_bytes bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_process'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;

COMMENT ON FUNCTION pg_session_memory_process(integer) IS
'memory of a server process as the operating system counts it, in bytes, NULL where it does not tell; other roles'' sessions need pg_read_all_stats';

--
-- Thresholds: who is over one, and what has happened
--

CREATE FUNCTION pg_session_memory_get_bloat(
    OUT pid integer,
    OUT backend_start timestamptz,
    OUT kind text,
    OUT context text,
    OUT bytes bigint,
    OUT threshold_bytes bigint,
    OUT since timestamptz,
    OUT remedy text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_bloat'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION pg_session_memory_get_bloat() IS
'thresholds that sessions are over, for the view pg_session_memory_bloat';

CREATE VIEW pg_session_memory_bloat AS
SELECT
    a.pid,
    a.usename,
    a.datname,
    a.application_name,
    a.client_addr,
    a.state,
    a.state_change,
    b.kind,
    b.context,
    b.bytes,
    b.threshold_bytes,
    b.since,
    b.remedy
FROM pg_session_memory_get_bloat() b
JOIN pg_catalog.pg_stat_activity a
    ON a.pid = b.pid AND a.backend_start = b.backend_start;

COMMENT ON VIEW pg_session_memory_bloat IS
'sessions over a memory threshold now, a row a reason, in bytes; other roles'' sessions need pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory_bloat.pid IS
'process id';
COMMENT ON COLUMN pg_session_memory_bloat.usename IS
'role that logged in';
COMMENT ON COLUMN pg_session_memory_bloat.datname IS
'database';
COMMENT ON COLUMN pg_session_memory_bloat.application_name IS
'application_name of the session';
COMMENT ON COLUMN pg_session_memory_bloat.client_addr IS
'address of the client; NULL: a Unix socket, or no client';
COMMENT ON COLUMN pg_session_memory_bloat.state IS
'what the session does now, as in pg_stat_activity';
COMMENT ON COLUMN pg_session_memory_bloat.state_change IS
'when state last changed';
COMMENT ON COLUMN pg_session_memory_bloat.kind IS
'threshold that is exceeded: context (contexts of one name), session (all retained contexts) or process (anonymous memory)';
COMMENT ON COLUMN pg_session_memory_bloat.context IS
'name of the contexts; NULL: kind is not context';
COMMENT ON COLUMN pg_session_memory_bloat.bytes IS
'what they, the session or the process had when the session last measured itself';
COMMENT ON COLUMN pg_session_memory_bloat.threshold_bytes IS
'the threshold then';
COMMENT ON COLUMN pg_session_memory_bloat.since IS
'measurement that found it first';
COMMENT ON COLUMN pg_session_memory_bloat.remedy IS
'what gives the memory back, in words';

GRANT SELECT ON pg_session_memory_bloat TO PUBLIC;

CREATE FUNCTION pg_session_memory_get_events(
    OUT id bigint,
    OUT at timestamptz,
    OUT pid integer,
    OUT backend_start timestamptz,
    OUT usename text,
    OUT datname text,
    OUT application_name text,
    OUT kind text,
    OUT context text,
    OUT bytes bigint,
    OUT threshold_bytes bigint,
    OUT session_bytes bigint,
    OUT query_id bigint,
    OUT query text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_events'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 100;

COMMENT ON FUNCTION pg_session_memory_get_events() IS
'the last threshold crossings, for the view pg_session_memory_events';

CREATE VIEW pg_session_memory_events AS
SELECT * FROM pg_session_memory_get_events();

COMMENT ON VIEW pg_session_memory_events IS
'the last threshold crossings, newest first, in bytes; figures and queries of other roles'' sessions are NULL without pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory_events.id IS
'number of the event, from 1 at server start';
COMMENT ON COLUMN pg_session_memory_events.at IS
'when it happened';
COMMENT ON COLUMN pg_session_memory_events.pid IS
'process that it happened to';
COMMENT ON COLUMN pg_session_memory_events.backend_start IS
'start of that process, which tells pids apart; this, and kind and what follows, is NULL for other roles'' sessions without pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory_events.usename IS
'role that had logged in; NULL: no session, or not known';
COMMENT ON COLUMN pg_session_memory_events.datname IS
'database; NULL: connected to none, or not known';
COMMENT ON COLUMN pg_session_memory_events.application_name IS
'application_name of the session; NULL: none';
COMMENT ON COLUMN pg_session_memory_events.kind IS
'context, session, process: a threshold was crossed, or doubled; fell: below it again; trimmed: memory was given back; recycled: the session ended itself; limited: a command failed at process_limit or the guard''s ceiling; statement: one took more than statement_threshold; restarted: the server had not been shut down, and this process was the largest; pressure, relieved: the server''s memory is short, or not any more, and this process is the largest; cancelled, terminated: the guard has done that to it';
COMMENT ON COLUMN pg_session_memory_events.context IS
'name of the contexts that it is about, or that hold most of the process; NULL: none';
COMMENT ON COLUMN pg_session_memory_events.bytes IS
'what crossed the threshold, was given back, or would have crossed the limit; NULL: not known';
COMMENT ON COLUMN pg_session_memory_events.threshold_bytes IS
'the threshold or limit; NULL: the event has none';
COMMENT ON COLUMN pg_session_memory_events.session_bytes IS
'memory contexts of the session then; NULL: not known';
COMMENT ON COLUMN pg_session_memory_events.query_id IS
'identifier of the statement; NULL: not computed';
COMMENT ON COLUMN pg_session_memory_events.query IS
'statement after which it was seen, its first kB; NULL: none';

GRANT SELECT ON pg_session_memory_events TO PUBLIC;

CREATE FUNCTION pg_session_memory_reset_events()
RETURNS void
AS 'MODULE_PATHNAME', 'pg_session_memory_reset_events'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

REVOKE ALL ON FUNCTION pg_session_memory_reset_events() FROM PUBLIC;

COMMENT ON FUNCTION pg_session_memory_reset_events() IS
'forgets all events; for superusers and whom they grant it';

CREATE FUNCTION pg_session_memory_reset_peak()
RETURNS void
AS 'MODULE_PATHNAME', 'pg_session_memory_reset_peak'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_session_memory_reset_peak() IS
'starts peak_bytes of the calling session anew, from what it retains now';

--
-- What statements took
--

CREATE FUNCTION pg_session_memory_get_statements(
    OUT userid oid,
    OUT dbid oid,
    OUT toplevel boolean,
    OUT queryid bigint,
    OUT calls bigint,
    OUT max_plan_bytes bigint,
    OUT mean_plan_bytes bigint,
    OUT max_exec_bytes bigint,
    OUT mean_exec_bytes bigint,
    OUT max_peak_bytes bigint,
    OUT mean_peak_bytes bigint,
    OUT max_worker_bytes bigint,
    OUT left_bytes bigint,
    OUT max_left_bytes bigint,
    OUT limited bigint,
    OUT max_at timestamptz,
    OUT query text,
    OUT sampled bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_statements'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;

COMMENT ON FUNCTION pg_session_memory_get_statements() IS
'what statements took, for the view pg_session_memory_statements';

CREATE VIEW pg_session_memory_statements AS
SELECT * FROM pg_session_memory_get_statements();

COMMENT ON VIEW pg_session_memory_statements IS
'memory that statements took, by role, database and query id, in bytes; executions of pg_session_memory.statement_floor and more; queryid is NULL, and all such statements are one row, where nothing computes query ids (compute_query_id = on does, pg_stat_statements does); queryid and query of other roles are NULL without pg_read_all_stats';

COMMENT ON COLUMN pg_session_memory_statements.userid IS
'role that ran the statement';
COMMENT ON COLUMN pg_session_memory_statements.dbid IS
'database in which it ran';
COMMENT ON COLUMN pg_session_memory_statements.toplevel IS
'true: the client sent it; false: it ran inside of a function (track_statements = all)';
COMMENT ON COLUMN pg_session_memory_statements.queryid IS
'as in pg_stat_statements; NULL: statements that have none, or those of other roles';
COMMENT ON COLUMN pg_session_memory_statements.calls IS
'executions that were counted: those that took statement_floor or more';
COMMENT ON COLUMN pg_session_memory_statements.max_plan_bytes IS
'most that planning took, of contexts; NULL: it was never planned in an execution that was counted';
COMMENT ON COLUMN pg_session_memory_statements.mean_plan_bytes IS
'mean of that, of the executions that planned';
COMMENT ON COLUMN pg_session_memory_statements.max_exec_bytes IS
'most that the executor had in contexts at its end; NULL: utility commands';
COMMENT ON COLUMN pg_session_memory_statements.mean_exec_bytes IS
'mean of that';
COMMENT ON COLUMN pg_session_memory_statements.max_peak_bytes IS
'most that the process had more than before, at its peak; NULL: nested statements, those that took less than a millisecond, and where the kernel does not tell and the watcher has not seen it';
COMMENT ON COLUMN pg_session_memory_statements.mean_peak_bytes IS
'mean of that, of the executions that were looked at';
COMMENT ON COLUMN pg_session_memory_statements.max_worker_bytes IS
'most that the parallel workers of one execution took, each at its peak, summed';
COMMENT ON COLUMN pg_session_memory_statements.left_bytes IS
'what the session retained more after the statement than before, all executions together; can be below 0';
COMMENT ON COLUMN pg_session_memory_statements.max_left_bytes IS
'most of that after one execution';
COMMENT ON COLUMN pg_session_memory_statements.limited IS
'executions that failed at a limit of memory';
COMMENT ON COLUMN pg_session_memory_statements.max_at IS
'end of the execution that took most';
COMMENT ON COLUMN pg_session_memory_statements.query IS
'text of that execution, its first kB';
COMMENT ON COLUMN pg_session_memory_statements.sampled IS
'executions whose peak is the most that the watcher saw each watch_interval, for the kernel does not tell it: at least so much; 0 where it does';

GRANT SELECT ON pg_session_memory_statements TO PUBLIC;

CREATE FUNCTION pg_session_memory_reset_statements()
RETURNS void
AS 'MODULE_PATHNAME', 'pg_session_memory_reset_statements'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

REVOKE ALL ON FUNCTION pg_session_memory_reset_statements() FROM PUBLIC;

COMMENT ON FUNCTION pg_session_memory_reset_statements() IS
'forgets what statements took; for superusers and whom they grant it';

CREATE FUNCTION pg_session_memory_last_statement(
    OUT queryid bigint,
    OUT plan_bytes bigint,
    OUT exec_bytes bigint,
    OUT peak_bytes bigint,
    OUT worker_bytes bigint,
    OUT left_bytes bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_last_statement'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_session_memory_last_statement() IS
'what the calling session''s last statement took, in bytes, as in pg_session_memory_statements; NULL where it is not known';

--
-- For poolers and clients: the calling session
--

CREATE FUNCTION pg_session_memory_is_bloated()
RETURNS boolean
AS 'MODULE_PATHNAME', 'pg_session_memory_is_bloated'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_session_memory_is_bloated() IS
'whether the calling session is over one of its memory thresholds now';

CREATE FUNCTION pg_session_memory_check()
RETURNS boolean
AS 'MODULE_PATHNAME', 'pg_session_memory_check'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_session_memory_check() IS
'true, or an ERROR (53400) if the calling session is over one of its memory thresholds now';

CREATE FUNCTION pg_session_memory_recycle()
RETURNS boolean
AS 'MODULE_PATHNAME', 'pg_session_memory_recycle'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_session_memory_recycle() IS
'true, or the end of the session (FATAL, 53400) if it is over one of its memory thresholds now';

--
-- Giving memory back
--

CREATE FUNCTION pg_session_memory_trim(
    caches boolean DEFAULT true,
    OUT context_bytes_before bigint,
    OUT context_bytes_after bigint,
    OUT anon_bytes_before bigint,
    OUT anon_bytes_after bigint,
    OUT released_bytes bigint,
    OUT caches_dropped boolean,
    OUT heap_trimmed boolean,
    OUT duration_ms double precision)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_trim'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION pg_session_memory_trim(boolean) IS
'gives memory of the calling session back: catalog caches, unless caches is false, and free heap; bytes, milliseconds';

CREATE FUNCTION pg_session_memory_trim(
    pid integer,
    timeout bigint DEFAULT 0,
    OUT outcome text,
    OUT context_bytes_before bigint,
    OUT context_bytes_after bigint,
    OUT anon_bytes_before bigint,
    OUT anon_bytes_after bigint,
    OUT released_bytes bigint,
    OUT caches_dropped boolean,
    OUT heap_trimmed boolean,
    OUT duration_ms double precision)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_trim_other'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000;

COMMENT ON FUNCTION pg_session_memory_trim(integer, bigint) IS
'asks another session to give memory back when it is idle, and waits for it up to timeout milliseconds; the outcome, and if it was trimmed and the caller may see its memory what the own trim returns, bytes and milliseconds; permission as for pg_cancel_backend';

--
-- Explaining it: what the memory is, why, and what to do
--

CREATE FUNCTION pg_session_memory_categories(
    pid integer DEFAULT pg_backend_pid(),
    OUT category text,
    OUT contexts bigint,
    OUT total_bytes bigint,
    OUT used_bytes bigint,
    OUT free_bytes bigint,
    OUT share numeric,
    OUT largest_context text,
    OUT largest_context_count bigint,
    OUT largest_context_bytes bigint,
    OUT explanation text,
    OUT remedy text,
    OUT approximate boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_categories'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 10;

COMMENT ON FUNCTION pg_session_memory_categories(integer) IS
'what a server process has its memory for, largest first: bytes, share of all rows'' bytes from 0 to 1, largest contexts of one name, why it stays and what gives it back; other roles'' sessions need pg_read_all_stats';

CREATE FUNCTION pg_session_memory_idents(
    pid integer DEFAULT pg_backend_pid(),
    max_rows integer DEFAULT 20,
    by_pattern boolean DEFAULT true,
    OUT category text,
    OUT context text,
    OUT pattern text,
    OUT ident text,
    OUT contexts bigint,
    OUT total_bytes bigint,
    OUT approximate boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_idents'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 20;

COMMENT ON FUNCTION pg_session_memory_idents(integer, integer, boolean) IS
'statements, indexes, functions and cursors that hold most of a server process''s memory, in bytes with what hangs below them, largest first; those that differ in numbers alone in one row, with one of them as ident, unless by_pattern is false; other roles'' sessions need pg_read_all_stats';

CREATE FUNCTION pg_session_memory_folded(
    pid integer DEFAULT NULL,
    idents boolean DEFAULT false)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'pg_session_memory_folded'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 200;

COMMENT ON FUNCTION pg_session_memory_folded(integer, boolean) IS
'memory contexts of a server process as folded stacks, which flame graphs are made of: names from the root down, a blank, and the bytes of these contexts alone; NULL: of all processes, below a root each; idents adds statements, indexes and functions as last frames; other roles'' sessions need pg_read_all_stats, with NULL they are left out';

CREATE VIEW pg_session_memory_pools AS
SELECT
    s.datname,
    s.usename,
    s.application_name,
    s.client_addr,
    pg_catalog.count(*) AS sessions,
    pg_catalog.count(*) FILTER (
        WHERE s.state IN ('active', 'fastpath function call')) AS active,
    pg_catalog.count(*) FILTER (WHERE s.state = 'idle') AS idle,
    pg_catalog.count(*) FILTER (
        WHERE s.state LIKE 'idle in transaction%') AS idle_in_transaction,
    pg_catalog.sum(s.context_bytes)::bigint AS context_bytes,
    pg_catalog.avg(s.context_bytes)::bigint AS avg_context_bytes,
    pg_catalog.max(s.context_bytes) AS max_context_bytes,
    pg_catalog.sum(s.anon_bytes)::bigint AS anon_bytes,
    pg_catalog.max(s.anon_bytes) AS max_anon_bytes,
    CASE WHEN pg_catalog.count(s.status) > 0 THEN
        pg_catalog.count(*) FILTER (WHERE s.status = 'bloated')
    END AS bloated,
    pg_catalog.max(greatest(
        pg_catalog.clock_timestamp() - s.state_change, interval '0'))
        FILTER (WHERE s.state = 'idle') AS longest_idle,
    pg_catalog.max(greatest(
        pg_catalog.clock_timestamp() - s.state_change, interval '0'))
        FILTER (WHERE s.state LIKE 'idle in transaction%')
        AS longest_idle_in_transaction,
    pg_catalog.min(s.backend_start) AS oldest_backend_start,
    pg_catalog.bool_or(s.approximate) AS approximate
FROM pg_session_memory s
WHERE s.backend_type = 'client backend'
GROUP BY s.datname, s.usename, s.application_name, s.client_addr;

COMMENT ON VIEW pg_session_memory_pools IS
'sessions of clients by database, role, application and address: how many in which state, their memory in bytes, how long they have been idle; only sessions that the caller may see, all with pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory_pools.datname IS
'database; NULL: not connected yet';
COMMENT ON COLUMN pg_session_memory_pools.usename IS
'role that logged in';
COMMENT ON COLUMN pg_session_memory_pools.application_name IS
'application_name of the sessions';
COMMENT ON COLUMN pg_session_memory_pools.client_addr IS
'address of the client; NULL: a Unix socket';
COMMENT ON COLUMN pg_session_memory_pools.sessions IS
'number of client backends';
COMMENT ON COLUMN pg_session_memory_pools.active IS
'those that run a statement';
COMMENT ON COLUMN pg_session_memory_pools.idle IS
'those that wait outside of a transaction';
COMMENT ON COLUMN pg_session_memory_pools.idle_in_transaction IS
'those that wait inside of a transaction, a failed one included';
COMMENT ON COLUMN pg_session_memory_pools.context_bytes IS
'memory contexts of all of them; NULL: none could be read';
COMMENT ON COLUMN pg_session_memory_pools.avg_context_bytes IS
'mean of a session';
COMMENT ON COLUMN pg_session_memory_pools.max_context_bytes IS
'largest of a session';
COMMENT ON COLUMN pg_session_memory_pools.anon_bytes IS
'anonymous memory of all of them in RAM; NULL: the operating system does not tell';
COMMENT ON COLUMN pg_session_memory_pools.max_anon_bytes IS
'largest of a session';
COMMENT ON COLUMN pg_session_memory_pools.bloated IS
'those over a threshold when they last measured themselves; NULL: none has measured itself';
COMMENT ON COLUMN pg_session_memory_pools.longest_idle IS
'longest that one of them has been idle now; NULL: none is';
COMMENT ON COLUMN pg_session_memory_pools.longest_idle_in_transaction IS
'longest that one of them has been idle in its transaction now; NULL: none is';
COMMENT ON COLUMN pg_session_memory_pools.oldest_backend_start IS
'start of the oldest';
COMMENT ON COLUMN pg_session_memory_pools.approximate IS
'true: contexts of some session changed while they were read; NULL: none was read live';

GRANT SELECT ON pg_session_memory_pools TO PUBLIC;

--
-- Comparing two moments, and watching many
--

CREATE FUNCTION pg_session_memory_snapshot(pid integer DEFAULT pg_backend_pid())
RETURNS jsonb
AS 'MODULE_PATHNAME', 'pg_session_memory_snapshot'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 10000;

COMMENT ON FUNCTION pg_session_memory_snapshot(integer) IS
'memory contexts of a server process by the path of their names, in bytes, less than 100 kB, to be stored and compared; other roles'' sessions need pg_read_all_stats';

CREATE FUNCTION pg_session_memory_snapshot_paths(
    snapshot jsonb,
    OUT path text,
    OUT contexts bigint,
    OUT bytes bigint,
    OUT approximate boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_snapshot_paths'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 200;

COMMENT ON FUNCTION pg_session_memory_snapshot_paths(jsonb) IS
'the paths of a snapshot, in bytes, and one row without contexts for what is outside of them; for everybody';

CREATE FUNCTION pg_session_memory_diff(
    before jsonb,
    after jsonb,
    OUT path text,
    OUT contexts_before bigint,
    OUT contexts_after bigint,
    OUT bytes_before bigint,
    OUT bytes_after bigint,
    OUT growth_bytes bigint,
    OUT approximate boolean)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 100
BEGIN ATOMIC
    SELECT
        path,
        -- 0 for what is not there, NULL for what is not made of contexts
        coalesce(b.contexts, 0 * a.contexts),
        coalesce(a.contexts, 0 * b.contexts),
        coalesce(b.bytes, 0),
        coalesce(a.bytes, 0),
        coalesce(a.bytes, 0) - coalesce(b.bytes, 0),
        (before ->> 'approximate')::boolean
            OR (after ->> 'approximate')::boolean
    FROM pg_session_memory_snapshot_paths(before) b
    FULL JOIN pg_session_memory_snapshot_paths(after) a USING (path)
    WHERE (b.contexts, b.bytes) IS DISTINCT FROM (a.contexts, a.bytes)
        -- what is outside of contexts: only where both snapshots know it
        AND (b.contexts IS NOT NULL OR a.contexts IS NOT NULL
            OR (b.bytes IS NOT NULL AND a.bytes IS NOT NULL))
    ORDER BY 6 DESC, path COLLATE "C";
END;

COMMENT ON FUNCTION pg_session_memory_diff(jsonb, jsonb) IS
'what differs between two snapshots, in bytes, largest growth first; for everybody';

CREATE FUNCTION pg_session_memory_sample(
    pid integer,
    every interval DEFAULT '1 second',
    count integer DEFAULT 60,
    OUT at timestamptz,
    OUT state text,
    OUT contexts bigint,
    OUT context_bytes bigint,
    OUT anon_bytes bigint,
    OUT approximate boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_sample'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 60;

COMMENT ON FUNCTION pg_session_memory_sample(integer, interval, integer) IS
'memory of a server process now and every so often, in bytes, until it ends or count rows were made; in the select list each row comes when it is made; other roles'' sessions need pg_read_all_stats';

--
-- The whole server, now and before
--

CREATE FUNCTION pg_session_memory_get_server(
    OUT total_bytes bigint,
    OUT available_bytes bigint,
    OUT swap_bytes bigint,
    OUT limit_source text,
    OUT sessions integer,
    OUT active integer,
    OUT anon_bytes bigint,
    OUT shared_memory_bytes bigint,
    OUT untouched_bytes bigint,
    OUT guard text,
    OUT guard_state text,
    OUT reserve_bytes bigint,
    OUT last_action_at timestamptz)
RETURNS record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_server'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000;

COMMENT ON FUNCTION pg_session_memory_get_server() IS
'the memory of the whole server, for the view pg_session_memory_server';

CREATE VIEW pg_session_memory_server AS
SELECT
    total_bytes,
    available_bytes,
    swap_bytes,
    limit_source,
    sessions,
    active,
    anon_bytes,
    shared_memory_bytes,
    untouched_bytes,
    guard,
    guard_state,
    reserve_bytes,
    last_action_at
FROM pg_session_memory_get_server();

COMMENT ON VIEW pg_session_memory_server IS
'one row: how much memory the server has and can still have, in bytes; for everybody';
COMMENT ON COLUMN pg_session_memory_server.total_bytes IS
'the most that the server can have: the limit of its control group, or the machine''s memory; NULL, here and below: the operating system does not tell';
COMMENT ON COLUMN pg_session_memory_server.available_bytes IS
'what of that is free or can be made free without swapping';
COMMENT ON COLUMN pg_session_memory_server.swap_bytes IS
'what could go to swap beyond that';
COMMENT ON COLUMN pg_session_memory_server.limit_source IS
'which limit that is: "machine", or the name of a control group';
COMMENT ON COLUMN pg_session_memory_server.sessions IS
'client backends';
COMMENT ON COLUMN pg_session_memory_server.active IS
'client backends that run a statement';
COMMENT ON COLUMN pg_session_memory_server.anon_bytes IS
'anonymous memory in RAM of all processes of the server';
COMMENT ON COLUMN pg_session_memory_server.shared_memory_bytes IS
'size of the server''s main shared memory, touched or not';
COMMENT ON COLUMN pg_session_memory_server.untouched_bytes IS
'what of that no process has touched yet, estimated: available_bytes counts it, the guard does not; 0 with huge pages';
COMMENT ON COLUMN pg_session_memory_server.guard IS
'the setting pg_session_memory.guard: off, log or on';
COMMENT ON COLUMN pg_session_memory_server.guard_state IS
'quiet; near: less than twice the reserve is left; under: less than the reserve; NULL: the guard does not work';
COMMENT ON COLUMN pg_session_memory_server.reserve_bytes IS
'what the guard keeps free: guard_reserve';
COMMENT ON COLUMN pg_session_memory_server.last_action_at IS
'when the guard has last asked a session for a trim, cancelled or terminated; NULL: not since the server''s start';

GRANT SELECT ON pg_session_memory_server TO PUBLIC;

CREATE FUNCTION pg_session_memory_environment(
    OUT item text,
    OUT value text,
    OUT verdict text,
    OUT advice text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_environment'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 10;

COMMENT ON FUNCTION pg_session_memory_environment() IS
'what decides whether this server survives running out of memory: verdict is ok, note or danger, advice NULL where all is well; for everybody';

CREATE FUNCTION pg_session_memory_get_history(
    OUT at timestamptz,
    OUT reason text,
    OUT available_bytes bigint,
    OUT total_bytes bigint,
    OUT anon_bytes bigint,
    OUT sessions integer,
    OUT active integer,
    OUT largest_pid integer,
    OUT largest_bytes bigint,
    OUT catalog_cache_bytes bigint,
    OUT cached_plan_bytes bigint,
    OUT function_bytes bigint,
    OUT cursor_bytes bigint,
    OUT transaction_bytes bigint,
    OUT execution_bytes bigint,
    OUT temp_table_bytes bigint,
    OUT replication_bytes bigint,
    OUT base_bytes bigint,
    OUT other_bytes bigint,
    OUT oom_kills bigint,
    OUT before_restart boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_history'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 1000;

COMMENT ON FUNCTION pg_session_memory_get_history() IS
'samples of the recorder, for the view pg_session_memory_history';

CREATE VIEW pg_session_memory_history AS
SELECT
    at,
    reason,
    available_bytes,
    total_bytes,
    anon_bytes,
    sessions,
    active,
    largest_pid,
    largest_bytes,
    catalog_cache_bytes,
    cached_plan_bytes,
    function_bytes,
    cursor_bytes,
    transaction_bytes,
    execution_bytes,
    temp_table_bytes,
    replication_bytes,
    base_bytes,
    other_bytes,
    oom_kills,
    before_restart
FROM pg_session_memory_get_history();

COMMENT ON VIEW pg_session_memory_history IS
'samples of the server''s memory, newest first, in bytes, also of before a restart or a crash; who is largest is NULL for who may not see that session';
COMMENT ON COLUMN pg_session_memory_history.at IS
'when the sample was taken';
COMMENT ON COLUMN pg_session_memory_history.reason IS
'why: start (of the server), interval (record_interval), growth (a process became larger than any was) or pressure (memory is short)';
COMMENT ON COLUMN pg_session_memory_history.available_bytes IS
'what the server could still have, without swapping; NULL: the operating system did not tell';
COMMENT ON COLUMN pg_session_memory_history.total_bytes IS
'the most that it could have: limit of a control group, or the machine''s memory; NULL: the operating system did not tell';
COMMENT ON COLUMN pg_session_memory_history.anon_bytes IS
'anonymous memory in RAM of all processes of the server';
COMMENT ON COLUMN pg_session_memory_history.sessions IS
'client backends';
COMMENT ON COLUMN pg_session_memory_history.active IS
'client backends that ran a statement';
COMMENT ON COLUMN pg_session_memory_history.largest_pid IS
'process with most anonymous memory; NULL: not permitted';
COMMENT ON COLUMN pg_session_memory_history.largest_bytes IS
'its anonymous memory in RAM; NULL: not permitted';
COMMENT ON COLUMN pg_session_memory_history.catalog_cache_bytes IS
'contexts of catalog caches: tables, columns, indexes and partitions that were touched, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.cached_plan_bytes IS
'contexts of prepared statements and their plans, and of plans in functions, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.function_bytes IS
'contexts of functions of PL/pgSQL and other languages, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.cursor_bytes IS
'contexts of open cursors, and of the frame of the running statement, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.transaction_bytes IS
'contexts that live until the transaction ends, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.execution_bytes IS
'contexts of running statements: text, plan, sorts, hashes, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.temp_table_bytes IS
'contexts of temporary tables and their buffers, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.replication_bytes IS
'contexts of walsenders, logical decoding and apply, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.base_bytes IS
'contexts that every process has from its start, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.other_bytes IS
'contexts of extensions, and those whose name is not known, of all sessions';
COMMENT ON COLUMN pg_session_memory_history.oom_kills IS
'processes that the kernel''s OOM killer had ended until then, in its control group or on the machine; NULL: the kernel does not tell';
COMMENT ON COLUMN pg_session_memory_history.before_restart IS
'true: the server has started since';

GRANT SELECT ON pg_session_memory_history TO PUBLIC;

CREATE FUNCTION pg_session_memory_get_history_sessions(
    OUT at timestamptz,
    OUT pid integer,
    OUT backend_start timestamptz,
    OUT backend_type text,
    OUT usename text,
    OUT datname text,
    OUT application_name text,
    OUT state text,
    OUT query_id bigint,
    OUT query text,
    OUT anon_bytes bigint,
    OUT context_bytes bigint,
    OUT catalog_cache_bytes bigint,
    OUT cached_plan_bytes bigint,
    OUT function_bytes bigint,
    OUT cursor_bytes bigint,
    OUT transaction_bytes bigint,
    OUT execution_bytes bigint,
    OUT temp_table_bytes bigint,
    OUT replication_bytes bigint,
    OUT base_bytes bigint,
    OUT other_bytes bigint,
    OUT largest_context text,
    OUT largest_context_bytes bigint,
    OUT leader_pid integer,
    OUT before_restart boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_get_history_sessions'
LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 10000;

COMMENT ON FUNCTION pg_session_memory_get_history_sessions() IS
'the largest processes of the recorder''s samples, for the view pg_session_memory_history_sessions';

CREATE VIEW pg_session_memory_history_sessions AS
SELECT
    at,
    pid,
    backend_start,
    backend_type,
    usename,
    datname,
    application_name,
    state,
    query_id,
    query,
    anon_bytes,
    context_bytes,
    catalog_cache_bytes,
    cached_plan_bytes,
    function_bytes,
    cursor_bytes,
    transaction_bytes,
    execution_bytes,
    temp_table_bytes,
    replication_bytes,
    base_bytes,
    other_bytes,
    largest_context,
    largest_context_bytes,
    leader_pid,
    before_restart
FROM pg_session_memory_get_history_sessions();

COMMENT ON VIEW pg_session_memory_history_sessions IS
'the ten largest processes of each sample, newest sample and largest process first, in bytes; figures and statements of other roles'' sessions only with pg_read_all_stats';
COMMENT ON COLUMN pg_session_memory_history_sessions.at IS
'when the sample was taken; joins with pg_session_memory_history';
COMMENT ON COLUMN pg_session_memory_history_sessions.pid IS
'process id';
COMMENT ON COLUMN pg_session_memory_history_sessions.backend_start IS
'start of the process; NULL: not permitted';
COMMENT ON COLUMN pg_session_memory_history_sessions.backend_type IS
'type of the process, as in pg_stat_activity';
COMMENT ON COLUMN pg_session_memory_history_sessions.usename IS
'role that had logged in, for a parallel worker that of its leader; NULL: no session, or not known';
COMMENT ON COLUMN pg_session_memory_history_sessions.datname IS
'database; NULL: connected to none, or not known';
COMMENT ON COLUMN pg_session_memory_history_sessions.application_name IS
'application_name of the session; NULL: none';
COMMENT ON COLUMN pg_session_memory_history_sessions.state IS
'what the session did, as in pg_stat_activity; NULL: no session, or not permitted';
COMMENT ON COLUMN pg_session_memory_history_sessions.query_id IS
'identifier of the statement; NULL: not computed, or not permitted';
COMMENT ON COLUMN pg_session_memory_history_sessions.query IS
'running or last statement, its first kB; NULL: none';
COMMENT ON COLUMN pg_session_memory_history_sessions.anon_bytes IS
'anonymous memory of the process in RAM; this and the figures that follow are NULL if not permitted';
COMMENT ON COLUMN pg_session_memory_history_sessions.context_bytes IS
'memory contexts of the process; NULL: could not be read';
COMMENT ON COLUMN pg_session_memory_history_sessions.catalog_cache_bytes IS
'contexts of catalog caches: tables, columns, indexes and partitions that were touched';
COMMENT ON COLUMN pg_session_memory_history_sessions.cached_plan_bytes IS
'contexts of prepared statements and their plans, and of plans in functions';
COMMENT ON COLUMN pg_session_memory_history_sessions.function_bytes IS
'contexts of functions of PL/pgSQL and other languages';
COMMENT ON COLUMN pg_session_memory_history_sessions.cursor_bytes IS
'contexts of open cursors, and of the frame of the running statement';
COMMENT ON COLUMN pg_session_memory_history_sessions.transaction_bytes IS
'contexts that live until the transaction ends';
COMMENT ON COLUMN pg_session_memory_history_sessions.execution_bytes IS
'contexts of running statements: text, plan, sorts, hashes';
COMMENT ON COLUMN pg_session_memory_history_sessions.temp_table_bytes IS
'contexts of temporary tables and their buffers';
COMMENT ON COLUMN pg_session_memory_history_sessions.replication_bytes IS
'contexts of walsenders, logical decoding and apply';
COMMENT ON COLUMN pg_session_memory_history_sessions.base_bytes IS
'contexts that every process has from its start';
COMMENT ON COLUMN pg_session_memory_history_sessions.other_bytes IS
'contexts of extensions, and those whose name is not known';
COMMENT ON COLUMN pg_session_memory_history_sessions.largest_context IS
'name whose contexts together held most; NULL: could not be read';
COMMENT ON COLUMN pg_session_memory_history_sessions.largest_context_bytes IS
'what all contexts of that name held';
COMMENT ON COLUMN pg_session_memory_history_sessions.leader_pid IS
'leader of a parallel worker''s group; NULL: no parallel worker';
COMMENT ON COLUMN pg_session_memory_history_sessions.before_restart IS
'true: the server has started since';

GRANT SELECT ON pg_session_memory_history_sessions TO PUBLIC;

CREATE FUNCTION pg_session_memory_reset_history()
RETURNS void
AS 'MODULE_PATHNAME', 'pg_session_memory_reset_history'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

REVOKE ALL ON FUNCTION pg_session_memory_reset_history() FROM PUBLIC;

COMMENT ON FUNCTION pg_session_memory_reset_history() IS
'forgets all samples of the recorder; for superusers and whom they grant it';
