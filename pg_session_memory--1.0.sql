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

--
-- A report to send: one HTML page, in many short rows
--
-- All that is on it is read from the views and functions above with the
-- caller's permissions, by SQL that was bound to their names when it was made.
-- Rows have no newline, tab or backslash in them, and no character beyond
-- ASCII, so that psql, COPY and clients of any encoding hand them on as they
-- are.  Whatever users can name goes through pg_session_memory_report_text();
-- it and the functions after it make pieces of the page.
--

CREATE FUNCTION pg_session_memory_report_text(
    value text,
    length integer DEFAULT 100)
RETURNS text
AS 'MODULE_PATHNAME', 'pg_session_memory_report_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION pg_session_memory_report_text(text, integer) IS
'text for an HTML page, at most so many characters: ASCII without markup, all else as references; for everybody';

CREATE FUNCTION pg_session_memory_report_size(bytes bigint)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN bytes IS NULL THEN '&#8211;'
        WHEN unit = 0 THEN bytes::text || '&#160;bytes'
        ELSE pg_catalog.to_char(amount,
                CASE WHEN pg_catalog.abs(amount) < 9.95 THEN 'FM990.0'
                    ELSE 'FM999,999,990' END)
            || '&#160;' || ('{kB,MB,GB,TB}'::text[])[unit]
        END
    FROM (SELECT CASE
            WHEN pg_catalog.abs(bytes) < 1024 THEN 0
            WHEN pg_catalog.abs(bytes) < 1024 * 1024 THEN 1
            WHEN pg_catalog.abs(bytes) < 1024 * 1024 * 1024 THEN 2
            WHEN pg_catalog.abs(bytes) < 1099511627776 THEN 3
            ELSE 4 END) AS u(unit),
        LATERAL (SELECT bytes::numeric / 1024.0 ^ unit::numeric)
            AS a(amount));

COMMENT ON FUNCTION pg_session_memory_report_size(bigint) IS
'an amount in bytes as a reader wants it, for an HTML page; for everybody';

CREATE FUNCTION pg_session_memory_report_duration(duration interval)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN s IS NULL THEN '&#8211;'
        WHEN s < 100.0 THEN pg_catalog.round(s)::text || '&#160;s'
        WHEN s < 6000.0 THEN
            pg_catalog.round(s / 60.0)::text || '&#160;min'
        WHEN s < 172800.0 THEN
            pg_catalog.round(s / 3600.0)::text || '&#160;h'
        ELSE pg_catalog.round(s / 86400.0)::text || '&#160;days' END
    FROM (SELECT EXTRACT(epoch FROM duration)) AS e(s));

COMMENT ON FUNCTION pg_session_memory_report_duration(interval) IS
'a duration as a reader wants it, for an HTML page; for everybody';

-- A cell of a table: what sorts, the heading for narrow screens, what is seen.
CREATE FUNCTION pg_session_memory_report_cell(label text, bytes bigint)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '<td class="n" data-l="' || label || '" data-v="' ||
    coalesce(bytes::text, '') || '">' ||
    pg_session_memory_report_size(bytes) || '</td>';

COMMENT ON FUNCTION pg_session_memory_report_cell(text, bigint) IS
'a cell with an amount in bytes for an HTML page; for everybody';

CREATE FUNCTION pg_session_memory_report_cell(
    label text, value text, length integer)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IS NULL
    THEN '<td data-l="' || label || '" class="e">&#8211;</td>'
    ELSE '<td data-l="' || label || '"><bdi>' ||
        pg_session_memory_report_text(value, length) || '</bdi></td>' END;

COMMENT ON FUNCTION pg_session_memory_report_cell(text, text, integer) IS
'a cell with at most so many characters of a text for an HTML page; for everybody';

-- What a bar is made of: the ten categories, and what is in no context.
CREATE FUNCTION pg_session_memory_report_kinds()
RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{catalog cache,cached plans,functions,cursors,transaction,execution,temporary tables,replication,base,other,outside contexts}'::text[];

COMMENT ON FUNCTION pg_session_memory_report_kinds() IS
'categories of memory in the order in which the HTML page shows them; for everybody';

CREATE FUNCTION pg_session_memory_report_key(further text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT '<ul class="key" aria-label="Colours">' || pg_catalog.string_agg(
            '<li class="k' || k.n::text || '">' || k.kind || '</li>', ''
            ORDER BY k.n) || further || '</ul>'
    FROM pg_catalog.unnest(pg_session_memory_report_kinds())
        WITH ORDINALITY AS k(kind, n));

COMMENT ON FUNCTION pg_session_memory_report_key(text) IS
'which colour is which category, and further entries, for the HTML page; for everybody';

CREATE FUNCTION pg_session_memory_report_bar(bytes bigint[], whole bigint)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT '<td class="b"><div class="bar" role="img" aria-label="' ||
        coalesce(pg_catalog.string_agg(
            (pg_session_memory_report_kinds())[n] || ' ' ||
            pg_session_memory_report_size(b), ', ' ORDER BY b DESC)
            FILTER (WHERE b >= 1024), 'nothing') || '">' ||
        coalesce(pg_catalog.string_agg(pg_catalog.format(
            '<i class="k%s" style="width:%s%%" title="%s: %s"></i>', n,
            pg_catalog.round(100.0 * b::numeric / whole::numeric, 2),
            (pg_session_memory_report_kinds())[n],
            pg_session_memory_report_size(b)), '' ORDER BY n)
            FILTER (WHERE 500 * b >= whole), '') ||
        '</div></td>'
    FROM pg_catalog.unnest(bytes) WITH ORDINALITY AS k(b, n));

COMMENT ON FUNCTION pg_session_memory_report_bar(bigint[], bigint) IS
'a cell with a bar of amounts in bytes by category, as wide as the second argument, for an HTML page; for everybody';

CREATE FUNCTION pg_session_memory_report_tree(
    pids integer[],
    OUT name text,
    OUT category text,
    OUT level integer,
    OUT contexts bigint,
    OUT own_bytes bigint,
    OUT subtree_bytes bigint,
    OUT offset_bytes bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_session_memory_report_tree'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 100;

COMMENT ON FUNCTION pg_session_memory_report_tree(integer[]) IS
'memory contexts of server processes as one tree of their names, in bytes: own, with all below, and before it on its level; without processes that the caller may not see';

-- The blocks of an icicle: their places are in per cent of its width, so that
-- it needs nothing to be seen.  The smallest are left out.
CREATE FUNCTION pg_session_memory_report_icicle(
    pids integer[], outside bigint, root text, label text)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH tree AS MATERIALIZED (
        SELECT t.name, t.category, t.level, t.contexts, t.own_bytes,
            t.subtree_bytes, t.offset_bytes
        FROM pg_session_memory_report_tree(pids) t),
    size AS MATERIALIZED (
        SELECT coalesce(pg_catalog.sum(t.subtree_bytes), 0.0)::bigint AS inside
        FROM tree t WHERE t.level = 1),
    block AS (
        SELECT root AS name, NULL AS category, 0 AS level,
            NULL::bigint AS contexts, NULL::bigint AS own_bytes,
            s.inside + coalesce(outside, 0) AS subtree_bytes,
            0::bigint AS offset_bytes
        FROM size s
        UNION ALL
        SELECT t.name, t.category, t.level, t.contexts, t.own_bytes,
            t.subtree_bytes, t.offset_bytes
        FROM tree t
        UNION ALL
        SELECT 'outside contexts', 'outside contexts', 1, NULL, NULL, outside,
            s.inside
        FROM size s WHERE outside > 0),
    shown AS (
        SELECT b.name, b.category, b.level, b.contexts, b.own_bytes,
            b.subtree_bytes, b.offset_bytes,
            greatest(pg_catalog.max(b.subtree_bytes) OVER (), 1)::numeric
                AS whole,
            pg_catalog.row_number() OVER (
                ORDER BY b.subtree_bytes DESC, b.level) AS place
        FROM block b),
    kept AS MATERIALIZED (
        SELECT * FROM shown s
        WHERE s.place <= 250 AND s.subtree_bytes::numeric >= s.whole / 5000.0)
    SELECT pg_catalog.format(
        '<div class="ice" role="group" aria-label="%s" style="--n:%s">',
        label, (SELECT pg_catalog.max(k.level) + 1 FROM kept k))
    UNION ALL
    SELECT html FROM (
        SELECT pg_catalog.format(
            '<div class="c k%s" style="--l:%s;left:%s%%;width:%s%%" title="%s: %s%s, %s%% of %s%s">%s <span>%s</span></div>',
            coalesce(pg_catalog.array_position(
                pg_session_memory_report_kinds(), k.category), 0),
            k.level,
            pg_catalog.round(100.0 * k.offset_bytes::numeric / k.whole, 4),
            pg_catalog.round(100.0 * k.subtree_bytes::numeric / k.whole, 4),
            pg_session_memory_report_text(k.name, 60),
            pg_session_memory_report_size(k.subtree_bytes),
            CASE WHEN k.contexts > 1 THEN
                ' in ' || k.contexts::text || ' contexts' ELSE '' END
                || CASE WHEN k.own_bytes < k.subtree_bytes THEN ', '
                    || pg_session_memory_report_size(k.own_bytes)
                    || ' of it its own' ELSE '' END,
            pg_catalog.round(100.0 * k.subtree_bytes::numeric / k.whole, 1),
            root, '; ' || k.category,
            pg_session_memory_report_text(k.name, 60),
            pg_session_memory_report_size(k.subtree_bytes)) AS html
        FROM kept k
        ORDER BY k.level, k.offset_bytes, k.place) AS o
    UNION ALL
    SELECT '</div>';
END;

COMMENT ON FUNCTION pg_session_memory_report_icicle(integer[], bigint, text, text) IS
'an icicle of the memory contexts of server processes, with so many bytes outside of contexts, for an HTML page; without processes that the caller may not see';

-- One of the largest sessions, with what it holds.
CREATE FUNCTION pg_session_memory_report_session(
    session pg_session_memory, query text, place bigint)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT pg_catalog.format(
        '<details class="session" id="s%s"%s><summary><b>Process %s</b> <span>%s of <bdi>%s</bdi></span> <span>%s</span></summary>',
        (session).pid, CASE WHEN place <= 3 THEN ' open' END, (session).pid,
        pg_session_memory_report_size(
            (session).anon_bytes + coalesce((session).swap_bytes, 0)),
        pg_session_memory_report_text(
            coalesce((session).usename, (session).backend_type), 63),
        coalesce('<bdi>' || pg_session_memory_report_text(coalesce(
            nullif((session).application_name, ''), CASE
                WHEN (session).usename IS NOT NULL
                    AND (session).backend_type <> 'client backend'
                THEN (session).backend_type END), 63) || '</bdi>', ''))
    UNION ALL
    SELECT '<p class="facts">' || pg_catalog.concat_ws('; ',
        pg_session_memory_report_text((session).backend_type)
            || coalesce(', ' || pg_session_memory_report_text((session).state),
                ''),
        'started ' || pg_session_memory_report_duration(
            pg_catalog.clock_timestamp() - (session).backend_start) || ' ago',
        CASE WHEN (session).state_change IS NOT NULL THEN
            'in this state for ' || pg_session_memory_report_duration(
                pg_catalog.clock_timestamp() - (session).state_change) END,
        (session).contexts::text || ' contexts with '
            || pg_session_memory_report_size((session).context_bytes),
        pg_session_memory_report_size((session).unaccounted_bytes)
            || ' outside of them',
        CASE WHEN (session).retained_bytes IS NOT NULL THEN 'retained '
            || pg_session_memory_report_size((session).retained_bytes)
            || ', at its peak '
            || pg_session_memory_report_size((session).peak_bytes) END,
        CASE WHEN (session).statement_peak_bytes IS NOT NULL THEN
            'its statement took '
            || pg_session_memory_report_size((session).statement_peak_bytes)
            END,
        CASE WHEN (session).trimmed_bytes IS NOT NULL THEN 'trims gave back '
            || pg_session_memory_report_size((session).trimmed_bytes) END,
        CASE WHEN (session).limit_bytes IS NOT NULL THEN 'limit '
            || pg_session_memory_report_size((session).limit_bytes) END,
        CASE WHEN (session).ceiling_bytes IS NOT NULL THEN
            'the guard lets it have '
            || pg_session_memory_report_size((session).ceiling_bytes) END,
        CASE WHEN (session).approximate THEN
            'its contexts changed while they were read' END) || '.</p>'
    UNION ALL
    SELECT CASE WHEN (session).state = 'active' THEN '<p>Statement: '
        ELSE '<p>Last statement: ' END
        || '<code><bdi>' || pg_session_memory_report_text(query, 600)
        || '</bdi></code></p>'
    WHERE query <> ''
    UNION ALL
    SELECT i FROM pg_session_memory_report_icicle(ARRAY[(session).pid],
        (session).unaccounted_bytes, 'process ' || (session).pid::text,
        'Memory of process ' || (session).pid::text || ' by memory context') AS i
    UNION ALL
    SELECT html FROM (
        SELECT CASE WHEN i.n = 1 THEN
            '<div class="wide"><table class="cards"><caption>What holds most, with all below it</caption><thead><tr><th scope="col">For</th><th scope="col">Context</th><th scope="col" class="n">Contexts</th><th scope="col" class="n">Memory</th></tr></thead><tbody>'
            ELSE '' END
            || '<tr><td data-l="For"><code><bdi>'
            || coalesce(pg_session_memory_report_text(i.pattern, 200),
                '&#8211;') || '</bdi></code></td>'
            || pg_session_memory_report_cell('Context', i.context, 60)
            || '<td class="n" data-l="Contexts">' || i.contexts::text || '</td>'
            || pg_session_memory_report_cell('Memory', i.total_bytes)
            || '</tr>'
            || CASE WHEN i.n = pg_catalog.count(*) OVER () THEN
                '</tbody></table></div>' ELSE '' END
        FROM pg_session_memory_idents((session).pid, 6) WITH ORDINALITY
            AS i(category, context, pattern, ident, contexts, total_bytes,
                approximate, n)
        ORDER BY i.n) AS o(html)
    UNION ALL
    SELECT '</details>';
END;

COMMENT ON FUNCTION pg_session_memory_report_session(pg_session_memory, text, bigint) IS
'one session of the HTML page, in bytes; other roles'' sessions need pg_read_all_stats';

-- The recorder's history: two charts over the same time, what restarts and
-- events there were, and who was largest then.  Of samples that lie close
-- together the one with most memory in processes is drawn.
CREATE FUNCTION pg_session_memory_report_history(
    samples pg_session_memory_history[])
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH sample AS MATERIALIZED (
        SELECT h.at, h.reason, h.available_bytes, h.total_bytes, h.anon_bytes,
            h.oom_kills,
            ARRAY[h.catalog_cache_bytes, h.cached_plan_bytes,
                h.function_bytes, h.cursor_bytes, h.transaction_bytes,
                h.execution_bytes, h.temp_table_bytes, h.replication_bytes,
                h.base_bytes, h.other_bytes] AS kinds,
            pg_catalog.count(*) FILTER (WHERE h.reason = 'start')
                OVER (ORDER BY h.at) AS run,
            pg_catalog.lag(h.at) OVER (ORDER BY h.at) AS before_at,
            -- The last sample may be of after the kill.
            pg_catalog.min(h.oom_kills) OVER (ORDER BY h.at
                RANGE BETWEEN '20 s' PRECEDING AND CURRENT ROW)
                AS before_kills
        FROM pg_catalog.unnest(samples) AS h),
    -- what the guard keeps free, or a tenth where there is no guard
    reserve AS MATERIALIZED (
        SELECT coalesce(v.reserve_bytes, v.total_bytes / 10) AS bytes,
            CASE WHEN v.reserve_bytes IS NULL THEN '10&#160;%'
                ELSE 'reserve' END AS label
        FROM pg_session_memory_server v),
    frame AS MATERIALIZED (
        SELECT pg_catalog.min(s.at) AS first,
            greatest(EXTRACT(epoch FROM pg_catalog.clock_timestamp()
                - pg_catalog.min(s.at)), 1.0) AS seconds,
            pg_catalog.count(*) AS samples,
            greatest(pg_catalog.max(s.total_bytes), 1) AS total,
            greatest(pg_catalog.max(greatest(s.anon_bytes::numeric,
                (SELECT pg_catalog.sum(k) FROM pg_catalog.unnest(s.kinds) AS k))),
                1.0) AS most
        FROM sample s),
    -- The end of the scale: a round amount that the half of is one, too.
    scale AS MATERIALIZED (
        SELECT f.first, f.seconds, f.samples, f.total, (
                SELECT pg_catalog.min(n * 1024.0 ^ p)
                FROM pg_catalog.unnest('{2,3,4,6,8,10,12,16,20,30,40,60,80,100,120,160,200,300,400,600,800,1000}'::numeric[]) AS n,
                    pg_catalog.generate_series(1.0, 4.0) AS p
                WHERE n * 1024.0 ^ p >= f.most) AS most
        FROM frame f),
    point AS MATERIALIZED (
        SELECT DISTINCT ON (p.run, p.x) p.run,
            p.x, p.kinds, p.anon_bytes,
            pg_catalog.min(p.available_bytes) OVER (PARTITION BY p.run, p.x)
                AS available_bytes
        FROM (SELECT s.run, s.kinds, s.anon_bytes, s.available_bytes,
                pg_catalog.round(250.0 * EXTRACT(epoch FROM s.at - f.first)
                    / f.seconds) * 4.0 AS x
            FROM sample s, scale f) AS p
        ORDER BY p.run, p.x, p.anon_bytes DESC),
    -- of a point, each category from where the one before it ends
    layer AS MATERIALIZED (
        SELECT p.run, p.x, k.n,
            pg_catalog.round(200.0 - 200.0 * (pg_catalog.sum(k.b)
                OVER (PARTITION BY p.run, p.x ORDER BY k.n) - k.b::numeric)
                / f.most, 1) AS low,
            pg_catalog.round(200.0 - 200.0 * pg_catalog.sum(k.b)
                OVER (PARTITION BY p.run, p.x ORDER BY k.n) / f.most, 1) AS high
        FROM point p, scale f,
            pg_catalog.unnest(p.kinds) WITH ORDINALITY AS k(b, n)),
    begun AS MATERIALIZED (
        SELECT pg_catalog.row_number() OVER (ORDER BY s.at) AS n, s.at,
            s.before_at, s.oom_kills - s.before_kills AS kills,
            least(pg_catalog.round(100.0 * EXTRACT(epoch FROM s.at - f.first)
                / f.seconds, 2), 100.0) AS x
        FROM sample s, scale f
        WHERE s.reason = 'start' AND s.before_at IS NOT NULL),
    moment AS (
        SELECT b.n, b.x, b.at, b.before_at AS of,
            CASE WHEN b.kills > 0 THEN 'the server restarted; the OOM killer had ended '
                || CASE b.kills WHEN 1 THEN 'a process'
                    ELSE b.kills::text || ' processes' END
                ELSE 'a start of the server, or of its recorder alone'
                END AS what
        FROM begun b
        WHERE b.n > (SELECT pg_catalog.count(*) FROM begun) - 10
        UNION ALL
        SELECT 0, NULL, m.at, m.at, 'the most memory in processes'
        FROM (SELECT s.at FROM sample s ORDER BY s.anon_bytes DESC LIMIT 1) AS m
        WHERE m.at NOT IN (SELECT b.before_at FROM begun b)),
    marks AS (
        SELECT pg_catalog.string_agg(pg_catalog.format(
            '<b class="mark%s" style="left:%s%%" title="%s: %s"><span>%s</span></b>',
            CASE WHEN m.x > 95.0 THEN ' last' END, m.x,
            pg_catalog.to_char(m.at, 'YYYY-MM-DD HH24:MI:SS'), m.what,
            m.n), '' ORDER BY m.n) AS html
        FROM moment m WHERE m.n > 0)
    SELECT '<p class="none">The recorder has no sample of this time.</p>'
    FROM scale f WHERE f.samples = 0
    UNION ALL
    SELECT '<figure><figcaption>What the server could still have, of '
        || pg_session_memory_report_size(f.total)
        || '</figcaption><div class="plot low"><svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label="Memory that was available, over time; least '
        || pg_session_memory_report_size((
            SELECT pg_catalog.min(s.available_bytes) FROM sample s))
        || ' of ' || pg_session_memory_report_size(f.total)
        || '"><line vector-effect="non-scaling-stroke" class="grid" x1="0" x2="1000" y1="100" y2="100"/>' || coalesce(pg_catalog.format(
            '<line vector-effect="non-scaling-stroke" class="short" x1="0" x2="1000" y1="%s" y2="%s"/>',
            r.y, r.y), '')
    FROM scale f, LATERAL (SELECT pg_catalog.round(200.0
            - 200.0 * r.bytes::numeric / f.total::numeric, 1) AS y
        FROM reserve r) AS r
    WHERE f.samples > 0
    UNION ALL
    SELECT '<polyline vector-effect="non-scaling-stroke" class="left" points="' || pg_catalog.string_agg(
            p.x::text || ',' || pg_catalog.round(200.0
                - 200.0 * p.available_bytes::numeric / f.total::numeric, 1)::text, ' '
                ORDER BY p.x) || '"/>'
    FROM point p, scale f
    WHERE p.available_bytes IS NOT NULL AND f.samples > 0
    GROUP BY p.run
    UNION ALL
    SELECT '</svg><span class="y" style="top:0">'
        || pg_session_memory_report_size(f.total)
        || '</span><span class="y" style="top:50%">'
        || pg_session_memory_report_size(f.total / 2)
        || '</span>' || coalesce(pg_catalog.format(
            '<span class="y" style="top:%s%%">%s</span>', pg_catalog.round(
                100.0 - 100.0 * r.bytes::numeric / f.total::numeric, 1),
            r.label), '')
        || coalesce(m.html, '') || '</div></figure>'
    FROM scale f, marks m, reserve r WHERE f.samples > 0
    UNION ALL
    SELECT '<figure><figcaption>What its processes held: contexts by category, and all anonymous memory as a line</figcaption><div class="plot"><svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label="Memory of all processes, over time; most '
        || pg_session_memory_report_size((
            SELECT pg_catalog.max(s.anon_bytes) FROM sample s))
        || '"><defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="1.5" height="8"/></pattern></defs><line vector-effect="non-scaling-stroke" class="grid" x1="0" x2="1000" y1="100" y2="100"/>'
    FROM scale f WHERE f.samples > 0
    UNION ALL
    SELECT '<polygon class="area" points="' || pg_catalog.min(p.x)::text || ',200 '
        || pg_catalog.string_agg(p.x::text || ',' || pg_catalog.round(
            200.0 - 200.0 * p.anon_bytes::numeric / f.most, 1)::text,
            ' ' ORDER BY p.x)
        || ' ' || pg_catalog.max(p.x)::text || ',200"/>'
    FROM point p, scale f WHERE f.samples > 0
    GROUP BY p.run
    UNION ALL
    SELECT html FROM (
        SELECT pg_catalog.format('<polygon class="k%s" points="%s %s"/>', l.n,
            pg_catalog.string_agg(l.x::text || ',' || l.high::text, ' ' ORDER BY l.x),
            pg_catalog.string_agg(l.x::text || ',' || l.low::text, ' ' ORDER BY l.x DESC))
        FROM layer l, scale f WHERE f.samples > 0
        GROUP BY l.run, l.n
        HAVING pg_catalog.max(l.low - l.high) >= 0.2
        ORDER BY l.run, l.n) AS o(html)
    UNION ALL
    SELECT '<polyline vector-effect="non-scaling-stroke" class="all" points="' || pg_catalog.string_agg(
            p.x::text || ',' || pg_catalog.round(
                200.0 - 200.0 * p.anon_bytes::numeric / f.most, 1)::text,
                ' ' ORDER BY p.x) || '"/>'
    FROM point p, scale f WHERE f.samples > 0
    GROUP BY p.run
    UNION ALL
    SELECT '</svg><span class="y" style="top:0">'
        || pg_session_memory_report_size(f.most::bigint)
        || '</span><span class="y" style="top:50%">'
        || pg_session_memory_report_size((f.most / 2.0)::bigint) || '</span>'
        || coalesce(m.html, '') || '</div>'
    FROM scale f, marks m WHERE f.samples > 0
    UNION ALL
    SELECT '<div class="strip" aria-hidden="true">' FROM scale f WHERE f.samples > 0
    UNION ALL
    SELECT e.html FROM (
        SELECT pg_catalog.format(
            '<i class="%s" style="left:%s%%" title="%s: %s, process %s"></i>',
            CASE WHEN v.kind IN ('context', 'session', 'process', 'fell',
                'trimmed', 'relieved', 'statement') THEN 'mild' ELSE 'grave' END,
            least(pg_catalog.round(100.0 * EXTRACT(epoch FROM v.at - f.first)
                / f.seconds, 2), 100.0),
            pg_catalog.to_char(v.at, 'HH24:MI:SS'),
            pg_session_memory_report_text(v.kind), v.pid)
        FROM scale f, pg_session_memory_events v
        WHERE f.samples > 0 AND v.kind IS NOT NULL AND v.at >= f.first
        ORDER BY v.id DESC LIMIT 200) AS e(html)
    UNION ALL
    SELECT '</div>' FROM scale f WHERE f.samples > 0
    UNION ALL
    SELECT '<div class="x">' || pg_catalog.string_agg(pg_catalog.format(
            '<span>%s</span>', pg_catalog.to_char(
                f.first + pg_catalog.make_interval(
                    secs => (f.seconds * n / 4.0)::double precision),
                CASE WHEN f.seconds > 86400.0 THEN 'MM-DD HH24:MI'
                    WHEN f.seconds > 600.0 THEN 'HH24:MI'
                    ELSE 'HH24:MI:SS' END)), '' ORDER BY n)
        || '</div>' || pg_session_memory_report_key('<li class="line">anonymous memory of all processes</li><li class="restart">start, as in the table</li><li class="tick">event</li><li class="tick grave">event: refused, ended or restarted</li>')
        || '</figure>'
    FROM scale f, pg_catalog.generate_series(0.0, 4.0) AS n WHERE f.samples > 0
    GROUP BY f.samples
    UNION ALL
    SELECT '<div class="wide"><table class="cards" id="moments"><caption>Moments to know about, and the largest process at that time</caption><thead><tr><th scope="col">Mark</th><th scope="col">When</th><th scope="col">What</th><th scope="col">Process</th><th scope="col" class="n">It held</th><th scope="col">Most of it</th><th scope="col">Statement</th></tr></thead><tbody>'
    FROM scale f WHERE f.samples > 0
    UNION ALL
    SELECT html FROM (
        SELECT '<tr><td data-l="Mark">'
            || coalesce(nullif(m.n, 0)::text, '&#8211;') || '</td>'
            || pg_session_memory_report_cell('When',
                pg_catalog.to_char(m.at, 'YYYY-MM-DD HH24:MI:SS'), 40)
            || pg_session_memory_report_cell('What', m.what, 200)
            || pg_session_memory_report_cell('Process',
                p.pid::text || coalesce(' of ' || p.usename::text, ''), 80)
            || pg_session_memory_report_cell('It held', p.anon_bytes)
            || pg_session_memory_report_cell('Most of it',
                p.largest_context, 60)
            || '<td data-l="Statement"><code><bdi>'
            || coalesce(pg_session_memory_report_text(p.query, 300),
                '&#8211;') || '</bdi></code></td></tr>'
        FROM moment m
        LEFT JOIN LATERAL (
            SELECT s.pid, s.usename, s.anon_bytes, s.largest_context, s.query
            FROM pg_session_memory_history_sessions s
            WHERE s.at = m.of AND s.anon_bytes IS NOT NULL
            ORDER BY s.anon_bytes DESC LIMIT 1) AS p ON true
        WHERE (SELECT f.samples FROM scale f) > 0
        ORDER BY m.at DESC) AS o(html)
    UNION ALL
    SELECT '</tbody></table></div>' FROM scale f WHERE f.samples > 0;
END;

COMMENT ON FUNCTION pg_session_memory_report_history(pg_session_memory_history[]) IS
'charts of the recorder''s samples for the HTML page, with restarts and events; who was largest only of sessions that the caller may see; needs preloading';

CREATE FUNCTION pg_session_memory_report_statements()
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH statement AS MATERIALIZED (
        SELECT m.userid, m.dbid, m.queryid, m.query, m.calls,
            m.max_plan_bytes, m.max_exec_bytes, m.max_peak_bytes,
            m.max_worker_bytes, m.left_bytes, m.limited, m.max_at,
            greatest(coalesce(m.max_plan_bytes, 0)
                + coalesce(m.max_exec_bytes, 0), m.max_peak_bytes)
                + coalesce(m.max_worker_bytes, 0) AS took_bytes
        FROM pg_session_memory_statements m
        WHERE m.query IS NOT NULL),
    listed AS MATERIALIZED (
        SELECT s.*, pg_catalog.row_number() OVER (
                ORDER BY s.took_bytes DESC, s.queryid, s.userid, s.dbid) AS n,
            greatest(pg_catalog.max(s.took_bytes) OVER (), 1) AS most,
            pg_catalog.count(*) OVER () AS statements
        FROM statement s)
    SELECT '<p class="none">No statement has taken pg_session_memory.statement_floor, '
        || pg_catalog.current_setting('pg_session_memory.statement_floor', true)
        || ', or more, that you may see.</p>'
    WHERE NOT EXISTS (SELECT FROM listed)
    UNION ALL
    SELECT '<p>What one execution took at most: the larger of planner and executor in memory contexts, and of the process at its peak, with its parallel workers. Statements that took less than '
        || pg_catalog.current_setting('pg_session_memory.statement_floor', true)
        || ' are not counted.</p><div class="wide"><table class="cards sort" id="statements"><thead><tr><th scope="col">Statement</th><th scope="col" class="n">Took</th><th scope="col" class="bar-head">Of the largest</th><th scope="col" class="n">Plan</th><th scope="col" class="n">Executor</th><th scope="col" class="n">Peak</th><th scope="col" class="n">Workers</th><th scope="col" class="n">Left</th><th scope="col" class="n">Calls</th><th scope="col" class="n">Limited</th><th scope="col">Role, database</th></tr></thead><tbody>'
    WHERE EXISTS (SELECT FROM listed)
    UNION ALL
    SELECT html FROM (
        SELECT '<tr><td data-l="Statement" data-v="'
            || pg_session_memory_report_text(l.query, 40)
            || '"><code title="query id ' || coalesce(l.queryid::text, 'not known')
            || '"><bdi>' || pg_session_memory_report_text(l.query, 240)
            || '</bdi></code></td>'
            || pg_session_memory_report_cell('Took', l.took_bytes)
            || '<td class="b"><div class="bar" aria-hidden="true"><i class="took" style="width:'
            || pg_catalog.round(100.0 * l.took_bytes::numeric
                / l.most::numeric, 1)::text
            || '%"></i></div></td>'
            || pg_session_memory_report_cell('Plan', l.max_plan_bytes)
            || pg_session_memory_report_cell('Executor', l.max_exec_bytes)
            || pg_session_memory_report_cell('Peak', l.max_peak_bytes)
            || pg_session_memory_report_cell('Workers', l.max_worker_bytes)
            || pg_session_memory_report_cell('Left', l.left_bytes)
            || '<td class="n" data-l="Calls">' || l.calls::text
            || '</td><td class="n" data-l="Limited">' || l.limited::text || '</td>'
            || pg_session_memory_report_cell('Role, database',
                pg_catalog.pg_get_userbyid(l.userid)::text || ', ' || coalesce(
                    d.datname::text, l.dbid::text), 130)
            || '</tr>'
        FROM listed l LEFT JOIN pg_catalog.pg_database d ON d.oid = l.dbid
        WHERE l.n <= 25 ORDER BY l.n) AS o(html)
    UNION ALL
    SELECT '</tbody></table></div>'
        || CASE WHEN l.statements > 25 THEN '<p class="none">'
            || (l.statements - 25)::text || ' further statements took less.</p>'
            ELSE '' END
    FROM listed l WHERE l.n = 1;
END;

COMMENT ON FUNCTION pg_session_memory_report_statements() IS
'what statements took, for the HTML page; those of other roles need pg_read_all_stats; needs preloading';

CREATE FUNCTION pg_session_memory_report_events()
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
    WITH event AS MATERIALIZED (
        SELECT e.*, pg_catalog.row_number() OVER (ORDER BY e.id DESC) AS n,
            pg_catalog.count(*) OVER () AS events
        FROM pg_session_memory_events e
        WHERE e.kind IS NOT NULL)
    SELECT '<p class="none">There was none since the server started, that you may see.</p>'
    WHERE NOT EXISTS (SELECT FROM event)
    UNION ALL
    SELECT '<div class="wide"><table class="cards sort" id="events"><thead><tr><th scope="col">When</th><th scope="col">Kind</th><th scope="col" class="n">Process</th><th scope="col">Role, application</th><th scope="col">Context</th><th scope="col" class="n">Memory</th><th scope="col" class="n">Threshold</th><th scope="col">Statement</th></tr></thead><tbody>'
    WHERE EXISTS (SELECT FROM event)
    UNION ALL
    SELECT html FROM (
        SELECT '<tr>' || pg_session_memory_report_cell('When',
                pg_catalog.to_char(e.at, 'YYYY-MM-DD HH24:MI:SS'), 40)
            || pg_session_memory_report_cell('Kind', e.kind, 40)
            || '<td class="n" data-l="Process">' || coalesce(e.pid::text, '') || '</td>'
            || pg_session_memory_report_cell('Role, application',
                nullif(pg_catalog.concat_ws(', ', e.usename,
                    nullif(e.application_name, '')), ''), 130)
            || pg_session_memory_report_cell('Context', e.context, 60)
            || pg_session_memory_report_cell('Memory', e.bytes)
            || pg_session_memory_report_cell('Threshold', e.threshold_bytes)
            || '<td data-l="Statement"><code><bdi>'
            || coalesce(pg_session_memory_report_text(e.query, 200),
                '&#8211;') || '</bdi></code></td></tr>'
        FROM event e WHERE e.n <= 40 ORDER BY e.n) AS o(html)
    UNION ALL
    SELECT '</tbody></table></div>'
        || CASE WHEN e.events > 40 THEN '<p class="none">'
            || (e.events - 40)::text || ' earlier events are left out.</p>'
            ELSE '' END
    FROM event e WHERE e.n = 1;
END;

COMMENT ON FUNCTION pg_session_memory_report_events() IS
'the last events, for the HTML page; those of other roles'' sessions need pg_read_all_stats; needs preloading';

-- Ten colours that colour-blind people tell apart (Paul Tol's "muted"), the
-- same on all of the page, light and dark.
CREATE FUNCTION pg_session_memory_report_style()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $css$:root {
    color-scheme: light;
    --paper: #ffffff; --ink: #1d2227; --soft: #59626b; --line: #d4d9de;
    --panel: #f5f6f8; --link: #0b5394; --ok: #17693f; --note: #855100;
    --danger: #b3261e; --hatch: #7b848d; --edge: rgba(0, 0, 0, .25);
}
@media screen and (prefers-color-scheme: dark) {
    :root:not([data-theme=light]) {
        color-scheme: dark;
        --paper: #15191d; --ink: #e2e6e9; --soft: #9ea8b2; --line: #363e46;
        --panel: #1d2329; --link: #86bdf4; --ok: #71c89c; --note: #e3b568;
        --danger: #ff9188; --hatch: #8d97a1; --edge: rgba(255, 255, 255, .45);
    }
}
@media screen {
    :root[data-theme=dark] {
        color-scheme: dark;
        --paper: #15191d; --ink: #e2e6e9; --soft: #9ea8b2; --line: #363e46;
        --panel: #1d2329; --link: #86bdf4; --ok: #71c89c; --note: #e3b568;
        --danger: #ff9188; --hatch: #8d97a1; --edge: rgba(255, 255, 255, .45);
    }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
    margin: 0 auto; max-width: 74rem; padding: 1.5rem 1.25rem 3rem;
    background: var(--paper); color: var(--ink);
    font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans",
        "DejaVu Sans", sans-serif;
    font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; font-weight: 650; }
h2 {
    font-size: 1.2rem; line-height: 1.3; margin: 2.75rem 0 .75rem;
    padding-top: .75rem; border-top: 2px solid var(--ink); font-weight: 650;
}
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; font-weight: 650; }
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--link); }
code {
    font: 12.5px/1.45 ui-monospace, "SF Mono", Menlo, Consolas,
        "Liberation Mono", "DejaVu Sans Mono", monospace;
    overflow-wrap: anywhere;
}
.soft, .none, .facts, figcaption, caption { color: var(--soft); }
header p { max-width: none; margin: 0; color: var(--soft); }
nav { margin: 1rem 0; }
nav a { display: inline-block; margin-right: 1.1rem; }
#theme {
    float: right; margin: 0 0 .5rem 1rem; padding: .3rem .8rem; cursor: pointer;
    border: 1px solid var(--line); border-radius: 4px; font: inherit;
    background: var(--panel); color: var(--ink);
}
.spoilt { display: none; }
body > title ~ .spoilt, .spoilt.seen {
    display: block; max-width: none; margin: 0 0 1rem; padding: .75rem 1rem;
    border: 2px solid var(--danger); color: var(--danger);
}
.cut { display: none; }
body:not(:has(#end)) .cut { display: block; color: var(--danger); }
.verdict { border-left: 5px solid var(--ok); padding: .25rem 0 .25rem 1rem; }
.verdict.note { border-color: var(--note); }
.verdict.danger { border-color: var(--danger); }
.verdict p:first-child { font-size: 1.1rem; font-weight: 650; margin-top: 0; }
.verdict ul { margin: .25rem 0; padding-left: 1.2rem; }
.tag { font-weight: 650; white-space: nowrap; color: var(--ok); }
.tag.note { color: var(--note); }
.tag.danger { color: var(--danger); }
.figures { display: flex; flex-wrap: wrap; gap: .75rem 1.9rem; margin: 1.25rem 0; }
.figures div { min-width: 6.2rem; }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.35rem; line-height: 1.25; }
.figures dd small { display: block; font-size: .85rem; color: var(--soft); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th {
    border-bottom: 1px solid var(--ink); font-weight: 600; font-size: .85rem;
    vertical-align: bottom;
}
tbody td { border-bottom: 1px solid var(--line); }
tfoot td { color: var(--soft); }
.n { text-align: right; white-space: nowrap; }
td[data-l=When] { white-space: nowrap; }
th [role] {
    cursor: pointer; text-decoration: underline dotted;
    text-underline-offset: 3px;
}
th[aria-sort] [role] { text-decoration: underline solid; }
th[aria-sort=ascending] [role]::after { content: " (up)"; font-weight: 400; }
th[aria-sort=descending] [role]::after { content: " (down)"; font-weight: 400; }
.b { min-width: 11rem; width: 30%; }
.bar { display: flex; height: 1.05rem; margin-top: .2rem; background: var(--panel); }
.bar i { flex: none; height: 100%; box-shadow: inset 0 0 0 .5px var(--edge); }
.bar .took { background: #cc6677; }
#statements .b { min-width: 5rem; width: 9%; }
.key { list-style: none; padding: 0; margin: .5rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
.key { font-size: .85rem; }
.key li::before, .key span::before {
    content: ""; display: inline-block; width: .85rem; height: .85rem;
    margin-right: .4rem; vertical-align: -.1rem; background: var(--k);
    border: 1px solid var(--edge);
}
.key .line::before { height: 0; vertical-align: .25rem; border: 0; border-top: 2px solid var(--ink); }
.key .restart::before { width: 0; border: 0; border-left: 2px dashed var(--danger); }
.key .tick::before { width: 4px; background: var(--soft); border: 0; }
.key .grave::before { background: var(--danger); }
.k0 { --k: var(--panel); --t: var(--ink); }
.k1 { --k: #332288; --t: #ffffff; }
.k2 { --k: #88ccee; --t: #000000; }
.k3 { --k: #44aa99; --t: #000000; }
.k4 { --k: #117733; --t: #ffffff; }
.k5 { --k: #999933; --t: #000000; }
.k6 { --k: #cc6677; --t: #000000; }
.k7 { --k: #ddcc77; --t: #000000; }
.k8 { --k: #aa4499; --t: #ffffff; }
.k9 { --k: #bbbbbb; --t: #000000; }
.k10 { --k: #882255; --t: #ffffff; }
.k11 { --k: var(--panel); --t: var(--ink); }
.bar i, .c { background: var(--k); }
.bar i.k11, .key .k11::before {
    background: repeating-linear-gradient(135deg, var(--hatch) 0 1.5px, var(--paper) 1.5px 5px);
}
.c.k11 {
    background: repeating-linear-gradient(135deg, var(--line) 0 1.5px, var(--panel) 1.5px 7px);
}
figure { margin: 1.25rem 0; }
figcaption { margin-bottom: .35rem; }
.plot, .strip, .x { margin-left: 3.6rem; }
.plot { position: relative; height: 13rem; border: 1px solid var(--line); border-bottom-color: var(--ink); }
.plot.low { height: 7rem; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.plot polygon { fill: var(--k); }
.plot polyline, .plot line { fill: none; }
.plot polyline { stroke: var(--ink); stroke-width: 1.6; stroke-linejoin: round; }
.plot .grid { stroke: var(--line); }
.plot .area { fill: url(#hatch); }
.plot .hatch { fill: var(--hatch); }
.plot .short { stroke: var(--danger); stroke-dasharray: 5 4; }
.y {
    position: absolute; right: 100%; padding-right: .4rem; font-size: .78rem;
    color: var(--soft); line-height: 1; white-space: nowrap; margin-top: -.4rem;
}
.y:first-of-type { margin-top: 0; }
.mark { position: absolute; top: 0; bottom: 0; border-left: 2px dashed var(--danger); }
.mark span {
    position: absolute; top: 0; left: 0; padding: 0 .35rem; font-size: .78rem;
    line-height: 1.3; background: var(--paper); color: var(--danger);
    border: 1px solid var(--danger);
}
.mark.last span { left: auto; right: 0; }
.strip { position: relative; height: .9rem; background: var(--panel); }
.strip i { position: absolute; top: 0; bottom: 0; width: 3px; margin-left: -1px; background: var(--soft); }
.strip .grave { background: var(--danger); width: 4px; }
.x { display: flex; justify-content: space-between; font-size: .78rem; color: var(--soft); }
.ice {
    --h: 1.55rem; position: relative; overflow: hidden; margin: .75rem 0;
    height: calc(var(--n) * var(--h)); background: var(--panel);
}
.c {
    position: absolute; top: calc(var(--l) * var(--h)); height: var(--h);
    overflow: hidden; white-space: nowrap; padding: 0 .3rem; color: var(--t);
    font-size: .8rem; line-height: var(--h); border: solid var(--paper);
    border-width: 0 1px 1px 0;
}
.c { text-overflow: ellipsis; }
.c.tiny { padding: 0; color: transparent; }
.js .c { cursor: pointer; }
.c.above { opacity: .75; }
.c[hidden] { display: none; }
:focus-visible { outline: 3px solid var(--link); outline-offset: -2px; }
.zoom { display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
.zoom button {
    font: inherit; padding: .15rem .7rem; border: 1px solid var(--line);
    border-radius: 4px; background: var(--panel); color: var(--ink); cursor: pointer;
}
.zoom button:disabled { color: var(--soft); cursor: default; }
.session { border-top: 1px solid var(--line); padding: .6rem 0; }
.session summary { cursor: pointer; }
.session summary span { margin-left: .8rem; }
.session summary span { color: var(--soft); }
.facts { max-width: none; }
.method { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; }
.method dt { color: var(--soft); }
.method dd { margin: 0; }
@media (max-width: 46rem) {
    body { padding: 1rem .75rem 2rem; }
    .cards, .cards tbody, .cards tr, .cards td, .cards caption { display: block; }
    .cards thead, .cards thead tr { display: block; }
    .cards thead th { display: none; border: 0; padding: 0 1rem .3rem 0; }
    .js .sort thead th:not(.bar-head) { display: inline-block; }
    .cards tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
    .cards thead tr { border: 0; }
    .cards td { border: 0; padding: .1rem 0; text-align: left; white-space: normal; }
    .cards td.n { display: inline-block; margin-right: 1rem; }
    .cards td::before { content: attr(data-l) ": "; color: var(--soft); }
    .cards td.b::before { content: ""; }
    .cards td.e, .cards td[data-v=""] { display: none; }
    .cards .b, #statements .b { width: 100%; }
    .method { grid-template-columns: 1fr; }
    .method dd { margin-bottom: .5rem; }
    .x span:nth-child(even) { display: none; }
    .session summary span { margin-left: .3rem; }
}
@media print {
    @page { size: A4; margin: 14mm 12mm; }
    body { font-size: 9.5pt; max-width: none; padding: 0; }
    code { font-size: 8pt; }
    * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
    #theme, nav, .zoom { display: none; }
    h2, h3, caption, figcaption { break-after: avoid; }
    h2 { margin-top: 1.5rem; }
    .wide { overflow: visible; }
    figure, .ice, tr, .verdict, .figures, .session { break-inside: avoid; }
    .session::details-content { content-visibility: visible; height: auto; }
    th [role] { text-decoration: none; }
    a { color: inherit; text-decoration: none; }
}$css$;

COMMENT ON FUNCTION pg_session_memory_report_style() IS
'style sheet of the HTML page; for everybody';

CREATE FUNCTION pg_session_memory_report_script()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $js$"use strict";
(function () {
    var root = document.documentElement;
    root.className = "js";
    var make = function (tag, text) {
        var element = document.createElement(tag);
        if (tag === "button") element.type = "button";
        element.textContent = text;
        return element;
    };

    // a page that does not begin with its first row, or lacks its last one
    if (document.compatMode !== "CSS1Compat")
        document.querySelector(".spoilt").classList.add("seen");

    // light and dark
    var theme = make("button", "");
    theme.id = "theme";
    var dark = function () {
        return root.dataset.theme ? root.dataset.theme === "dark"
            : matchMedia("(prefers-color-scheme: dark)").matches;
    };
    var name = function () {
        theme.textContent = dark() ? "Light" : "Dark";
        theme.setAttribute("aria-label", "Show this page in " +
            (dark() ? "light" : "dark") + " colours");
    };
    theme.onclick = function () {
        root.dataset.theme = dark() ? "light" : "dark";
        name();
    };
    name();
    document.querySelector("header").prepend(theme);

    // tables that can be sorted
    var value = function (row, column) {
        var cell = row.cells[column];
        return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
    };
    var sort = function (table, head) {
        var column = head.cellIndex, number = head.classList.contains("n");
        var down = head.getAttribute("aria-sort")
            ? head.getAttribute("aria-sort") === "ascending" : number;
        var rows = Array.from(table.tBodies[0].rows);
        rows.sort(function (a, b) {
            var x = value(a, column), y = value(b, column), order;
            if (number) {
                // what is not known comes last
                if (x === "" || y === "") return (x === "") - (y === "");
                order = Number(x) - Number(y);
            } else
                order = x.localeCompare(y);
            return down ? -order : order;
        });
        table.tBodies[0].append.apply(table.tBodies[0], rows);
        table.querySelectorAll("th").forEach(function (th) {
            th.removeAttribute("aria-sort");
        });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
    };
    document.querySelectorAll("table.sort").forEach(function (table) {
        table.querySelectorAll("thead th:not(.bar-head)").forEach(function (head) {
            // no button: those are missing where a heading is printed again
            var button = make("span", head.textContent);
            button.setAttribute("role", "button");
            button.tabIndex = 0;
            button.title = "Sort by this column";
            button.onclick = function () { sort(table, head); };
            button.onkeydown = function (event) {
                if (event.key !== "Enter" && event.key !== " ") return;
                sort(table, head);
                event.preventDefault();
            };
            head.textContent = "";
            head.append(button);
        });
    });

    // icicles: a click on a block makes it as wide as the whole
    document.querySelectorAll(".ice").forEach(function (ice) {
        var blocks = Array.from(ice.children).map(function (element) {
            return {
                element: element,
                left: parseFloat(element.style.left),
                width: parseFloat(element.style.width),
                level: Number(element.style.getPropertyValue("--l"))
            };
        });
        var bar = make("div", ""), out = make("button", "Zoom out");
        var where = make("span", "");
        bar.className = "zoom";
        where.className = "soft";
        where.setAttribute("role", "status");
        bar.append(out, where);
        ice.before(bar);
        var shown = blocks[0], current = blocks[0];
        var inside = function (a, b) {
            return a.left >= b.left - 1e-4 &&
                a.left + a.width <= b.left + b.width + 2e-4;
        };
        var above = function (block) {
            return blocks.filter(function (other) {
                return other.level === block.level - 1 && inside(block, other);
            })[0];
        };
        var fit = function () {
            blocks.forEach(function (block) {
                block.element.classList.toggle("tiny",
                    !block.element.hidden && block.element.clientWidth < 34);
            });
        };
        var choose = function (block, focus) {
            current.element.tabIndex = -1;
            current = block;
            current.element.tabIndex = 0;
            if (focus) current.element.focus();
        };
        var zoom = function (to) {
            shown = to;
            blocks.forEach(function (block) {
                var upper = block.level < to.level && inside(to, block);
                var element = block.element;
                element.hidden = !upper &&
                    !(block.level >= to.level && inside(block, to));
                element.classList.toggle("above", upper);
                element.style.left = upper ? "0%" :
                    100 * (block.left - to.left) / to.width + "%";
                element.style.width = upper ? "100%" :
                    100 * block.width / to.width + "%";
            });
            out.disabled = to === blocks[0];
            where.textContent = to === blocks[0]
                ? "Choose a block, by mouse or with arrow keys and Enter, to see it larger."
                : to.element.title;
            fit();
        };
        var next = function (block, step) {
            var row = blocks.filter(function (other) {
                return other.level === block.level && !other.element.hidden;
            });
            return row[row.indexOf(block) + step];
        };
        var below = function (block) {
            return blocks.filter(function (other) {
                return other.level === block.level + 1 &&
                    !other.element.hidden && inside(other, block);
            })[0];
        };
        blocks.forEach(function (block) {
            block.element.tabIndex = block === current ? 0 : -1;
            block.element.setAttribute("role", "button");
            block.element.setAttribute("aria-label", block.element.title);
            block.element.onclick = function () {
                choose(block, true);
                zoom(block === shown && block.level > 0 ? above(block) : block);
            };
            block.element.onkeydown = function (event) {
                var to = { ArrowLeft: next(block, -1), ArrowRight: next(block, 1),
                    ArrowUp: block.level > 0 ? above(block) : null,
                    ArrowDown: below(block) }[event.key];
                if (to) choose(to, true);
                else if (event.key === "Enter" || event.key === " ")
                    zoom(block);
                else if (event.key === "Escape" || event.key === "Backspace") {
                    var upper = shown.level > 0 ? above(shown) : shown;
                    zoom(upper);
                    choose(upper, true);
                } else if (!event.key.startsWith("Arrow")) return;
                event.preventDefault();
            };
        });
        out.onclick = function () {
            var upper = shown.level > 0 ? above(shown) : shown;
            zoom(upper);
            choose(upper, false);
        };
        zoom(shown);
        if (ice.closest("details"))
            ice.closest("details").addEventListener("toggle", fit);
        addEventListener("resize", fit);
    });

    // what is closed would not be printed by every browser
    var closed = [];
    addEventListener("beforeprint", function () {
        closed = Array.from(document.querySelectorAll("details:not([open])"));
        closed.forEach(function (details) { details.open = true; });
    });
    addEventListener("afterprint", function () {
        closed.forEach(function (details) { details.open = false; });
    });
})();$js$;

COMMENT ON FUNCTION pg_session_memory_report_script() IS
'script of the HTML page: sorts, zooms and switches colours, and loads nothing; for everybody';

CREATE FUNCTION pg_session_memory_report(
    history interval DEFAULT '1 day',
    details integer DEFAULT 10,
    title text DEFAULT NULL)
RETURNS SETOF text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 1000
-- to compile it would take longer than to run it
SET jit = off
-- sessions that end meanwhile are no news
SET client_min_messages = error
BEGIN ATOMIC
    WITH fact AS MATERIALIZED (
        SELECT pg_catalog.clock_timestamp() AS at,
            coalesce((SELECT pg_session_memory_report_text(title, 200)),
                'Memory of ' || coalesce(nullif(pg_session_memory_report_text(
                    pg_catalog.current_setting('cluster_name')), ''),
                    'a PostgreSQL server')) AS title,
            greatest(least(details, 100), 0) AS details,
            v.total_bytes, v.available_bytes, v.limit_source, v.sessions,
            v.active, v.anon_bytes, v.shared_memory_bytes, v.guard,
            v.guard_state, v.reserve_bytes, v.last_action_at
        FROM pg_session_memory_server v),
    environment AS MATERIALIZED (
        SELECT e.item, e.value, e.verdict, e.advice, e.n
        FROM pg_session_memory_environment() WITH ORDINALITY
            AS e(item, value, verdict, advice, n)),
    preloaded AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM environment e
            WHERE e.item = 'shared_preload_libraries' AND e.verdict = 'ok')
            AS it),
    -- What needs preloading raises an error without it, so it must not begin:
    -- only CASE promises that.
    recorded AS MATERIALIZED (
        SELECT CASE WHEN p.it THEN ARRAY(
            SELECT h FROM pg_session_memory_history h
            WHERE h.at >= f.at - pg_session_memory_report.history) END
            AS samples
        FROM preloaded p, fact f),
    start AS MATERIALIZED (
        SELECT pg_catalog.count(*) AS starts,
            pg_catalog.count(*) FILTER (WHERE s.kills > 0) AS killed,
            pg_catalog.max(s.at) FILTER (WHERE s.kills > 0) AS killed_at,
            pg_catalog.max(s.at) AS at
        FROM recorded r, LATERAL (
            SELECT h.at, h.reason, h.oom_kills - pg_catalog.min(h.oom_kills)
                    OVER (ORDER BY h.at
                        RANGE BETWEEN '20 s' PRECEDING AND CURRENT ROW)
                    AS kills,
                pg_catalog.lag(h.at) OVER (ORDER BY h.at) AS before_at
            FROM pg_catalog.unnest(r.samples) AS h) AS s
        WHERE s.reason = 'start' AND s.before_at IS NOT NULL),
    process AS MATERIALIZED (
        SELECT s AS session, s.pid, s.backend_type, s.datname, s.usename,
            s.application_name, s.client_addr, s.state, s.source, s.status,
            s.context_bytes, s.anon_bytes, s.unaccounted_bytes, s.approximate,
            s.backend_start, s.growth_bytes, s.statement_bytes,
            pg_catalog.clock_timestamp() - s.state_change AS since,
            coalesce(s.anon_bytes + coalesce(s.swap_bytes, 0), s.context_bytes)
                AS memory_bytes,
            ARRAY[s.catalog_cache_bytes, s.cached_plan_bytes,
                s.function_bytes, s.cursor_bytes, s.transaction_bytes,
                s.execution_bytes, s.temp_table_bytes, s.replication_bytes,
                s.base_bytes, s.other_bytes, s.unaccounted_bytes] AS kinds,
            a.query
        FROM pg_session_memory s
        LEFT JOIN pg_catalog.pg_stat_activity a
            ON a.pid = s.pid AND a.backend_start = s.backend_start),
    seen AS MATERIALIZED (
        SELECT p.*, pg_catalog.row_number() OVER (
                ORDER BY p.memory_bytes DESC NULLS LAST, p.pid) AS place,
            greatest(pg_catalog.max(greatest(p.memory_bytes,
                p.context_bytes)) OVER (), 1) AS most
        FROM process p WHERE p.source IS NOT NULL),
    total AS MATERIALIZED (
        SELECT pg_catalog.count(*) AS seen,
            (SELECT pg_catalog.count(*) FROM process) AS processes,
            CASE WHEN pg_catalog.count(s.status) > 0 THEN pg_catalog.count(*)
                FILTER (WHERE s.status = 'bloated') END AS bloated,
            pg_catalog.count(*) FILTER (WHERE s.approximate) AS approximate,
            pg_catalog.count(*) FILTER (WHERE s.source = 'live') AS live,
            pg_catalog.count(*) FILTER (WHERE s.source = 'published')
                AS published,
            pg_catalog.sum(s.memory_bytes)::bigint AS memory_bytes,
            pg_catalog.sum(s.context_bytes)::bigint AS context_bytes,
            pg_catalog.sum(s.unaccounted_bytes)
                FILTER (WHERE s.source = 'live')::bigint AS outside_bytes
        FROM seen s),
    verdict AS MATERIALIZED (
        SELECT v.n, v.verdict, v.html
        FROM fact f, start s, total t, LATERAL (VALUES
            (1, CASE WHEN f.available_bytes IS NULL THEN NULL
                    WHEN f.available_bytes < f.total_bytes / 10 THEN 'danger'
                    WHEN f.available_bytes < f.total_bytes / 4 THEN 'note'
                    ELSE 'ok' END,
                pg_session_memory_report_size(f.available_bytes) || ' of '
                    || pg_session_memory_report_size(f.total_bytes)
                    || ' are left ('
                    || CASE f.limit_source WHEN 'machine' THEN 'the machine'
                        ELSE 'control group ' || pg_session_memory_report_text(
                            f.limit_source) END || ').'),
            (2, CASE WHEN s.killed > 0 THEN 'danger' END,
                'The kernel''s OOM killer ended a process and the server restarted: '
                    || CASE s.killed WHEN 1 THEN 'once'
                        ELSE s.killed::text || ' times' END
                    || ' in the last '
                    || pg_session_memory_report_duration(
                        pg_session_memory_report.history) || ', last at '
                    || pg_catalog.to_char(s.killed_at,
                        'YYYY-MM-DD HH24:MI:SS') || '.'),
            (3, CASE WHEN s.starts > 0 AND s.killed = 0 THEN 'note' END,
                'The server, or its recorder, started ' || CASE s.starts
                    WHEN 1 THEN 'once' ELSE s.starts::text || ' times' END
                    || ' in the last '
                    || pg_session_memory_report_duration(
                        pg_session_memory_report.history) || ', last at '
                    || pg_catalog.to_char(s.at, 'YYYY-MM-DD HH24:MI:SS')
                    || '.'),
            (4, CASE WHEN t.bloated > 0 THEN 'note' END,
                CASE t.bloated WHEN 1 THEN 'One session is'
                    ELSE t.bloated::text || ' sessions are' END
                    || ' over a threshold of pg_session_memory.'),
            (5, CASE f.guard_state WHEN 'under' THEN 'danger'
                    WHEN 'near' THEN 'note' END,
                'The guard, which is ' || f.guard || ', finds less free than '
                    || CASE f.guard_state WHEN 'near' THEN 'twice ' ELSE '' END
                    || 'its reserve of '
                    || pg_session_memory_report_size(f.reserve_bytes) || '.'),
            (6, CASE WHEN f.last_action_at >= f.at
                    - pg_session_memory_report.history THEN 'note' END,
                'The guard last acted on a session at '
                    || pg_catalog.to_char(f.last_action_at,
                        'YYYY-MM-DD HH24:MI:SS') || '.'))
            AS v(n, verdict, html)
        WHERE v.verdict IS NOT NULL
        UNION ALL
        SELECT 7, e.verdict, pg_catalog.string_agg(
            pg_session_memory_report_text(e.item), ', ' ORDER BY e.n)
            || CASE e.verdict WHEN 'danger' THEN ': a danger, see below.'
                ELSE ': worth a look, see below.' END
        FROM environment e WHERE e.verdict <> 'ok'
        GROUP BY e.verdict),
    detail AS MATERIALIZED (
        SELECT d.n, r.html, r.line
        FROM (SELECT s.session, s.query, pg_catalog.row_number()
                OVER (ORDER BY s.place) AS n
            FROM seen s
            WHERE s.source = 'live' AND s.pid <> pg_catalog.pg_backend_pid())
            AS d, fact f,
            LATERAL pg_session_memory_report_session(d.session, d.query, d.n)
                WITH ORDINALITY AS r(html, line)
        WHERE d.n <= f.details),
    -- All else has bounds of its own, below a million together.
    fitting AS MATERIALIZED (
        SELECT d.n, pg_catalog.sum(pg_catalog.sum(
                pg_catalog.length(d.html) + 1)) OVER (ORDER BY d.n) <= 1000000.0
                AS fits
        FROM detail d GROUP BY d.n),
    pool AS MATERIALIZED (
        SELECT s.application_name, s.usename, s.datname, s.client_addr,
            pg_catalog.count(*) AS sessions,
            pg_catalog.count(*) FILTER (WHERE s.state = 'active') AS active,
            pg_catalog.count(*) FILTER (WHERE s.state = 'idle') AS idle,
            pg_catalog.count(*) FILTER (
                WHERE s.state LIKE 'idle in transaction%') AS in_transaction,
            pg_catalog.count(*) FILTER (WHERE s.status = 'bloated') AS bloated,
            pg_catalog.sum(s.memory_bytes)::bigint AS memory_bytes,
            pg_catalog.max(s.memory_bytes) AS most_bytes,
            pg_catalog.max(s.since) FILTER (WHERE s.state LIKE 'idle%')
                AS longest,
            pg_catalog.row_number() OVER (
                ORDER BY pg_catalog.sum(s.memory_bytes) DESC NULLS LAST)
                AS place
        FROM seen s WHERE s.backend_type = 'client backend'
        GROUP BY s.application_name, s.usename, s.datname, s.client_addr),
    -- The words are those for the largest session of each category.
    remedy AS MATERIALIZED (
        SELECT k.n, k.kind, k.bytes, k.sessions, k.pid, k.most_bytes
        FROM (
            SELECT k.n, (pg_session_memory_report_kinds())[k.n] AS kind,
                pg_catalog.sum(k.b)::bigint AS bytes,
                pg_catalog.count(*) FILTER (WHERE k.b >= 1024 * 1024)
                    AS sessions,
                (pg_catalog.array_agg(s.pid ORDER BY k.b DESC, s.pid))[1]
                    AS pid,
                pg_catalog.max(k.b) AS most_bytes
            FROM seen s, pg_catalog.unnest(s.kinds) WITH ORDINALITY AS k(b, n)
            WHERE s.backend_type = 'client backend' AND s.source = 'live'
                AND s.pid <> pg_catalog.pg_backend_pid()
            GROUP BY k.n) AS k
        WHERE k.most_bytes >= 4 * 1024 * 1024),
    page AS (
    SELECT 0 AS part, 0::bigint AS n, 0::bigint AS line,
        '<!DOCTYPE html><html lang="en">' AS html
    UNION ALL
    SELECT 0, 1, 0, '<!-- Made by pg_session_memory_report(). If a browser shows this line, the page was not written as it is: psql needs -A -t -q, as in: psql -XAtq -o report.html -c "SELECT pg_session_memory_report()" -->'
    UNION ALL
    SELECT 0, 2, 0, '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>'
        || f.title || '</title><style>'
    FROM fact f
    UNION ALL
    SELECT 0, 3, l.line, l.html
    FROM pg_catalog.string_to_table(pg_session_memory_report_style(),
        pg_catalog.chr(10)) WITH ORDINALITY AS l(html, line)
    UNION ALL
    SELECT 0, 4, 0, '</style></head><body>'
    UNION ALL
    SELECT 0, 5, 0, '<p class="spoilt">This page was spoilt when it was written: psql put headings, frames or row counts between its lines. Give psql the options -A -t -q: <code>psql -XAtq -o report.html -c "SELECT pg_session_memory_report()"</code></p><p class="cut">This page is cut off: its last line is missing.</p>'
    UNION ALL
    SELECT 0, 6, 0, '<header><h1>' || f.title || '</h1><p>'
        || pg_catalog.to_char(f.at, 'FMDay, YYYY-MM-DD HH24:MI:SS')
        || ' UTC' || pg_catalog.to_char(f.at, 'OF') || '. PostgreSQL '
        || pg_session_memory_report_text(
            pg_catalog.current_setting('server_version'))
        || CASE WHEN pg_catalog.pg_is_in_recovery() THEN ', a standby'
            ELSE '' END
        || ', up for ' || pg_session_memory_report_duration(
            f.at - pg_catalog.pg_postmaster_start_time())
        || '. Seen by role <bdi>' || pg_session_memory_report_text(
            current_user::text) || '</bdi>.</p></header>'
    FROM fact f
    UNION ALL
    SELECT 0, 7, 0, '<nav aria-label="Parts of this page"><a href="#danger">Danger</a> <a href="#who">Who holds it</a> <a href="#what">What it is</a> <a href="#statements-part">Statements</a> <a href="#pools-part">Pools</a> <a href="#events-part">Events</a> <a href="#remedies">What to do</a> <a href="#method">How it was measured</a></nav><main>'
    UNION ALL
    SELECT 0, 8, 0, '<dl class="figures"><div><dt>Memory left</dt><dd>'
        || pg_session_memory_report_size(f.available_bytes) || '<small>of '
        || pg_session_memory_report_size(f.total_bytes)
        || '</small></dd></div><div><dt>Processes hold</dt><dd>'
        || pg_session_memory_report_size(f.anon_bytes)
        || '<small>beside '
        || pg_session_memory_report_size(f.shared_memory_bytes)
        || ' of shared memory</small></dd></div><div><dt>Sessions</dt><dd>' || f.sessions::text
        || '<small>' || f.active::text || ' active</small></dd></div>'
        || coalesce((SELECT '<div><dt>Largest process</dt><dd>'
                || pg_session_memory_report_size(s.memory_bytes)
                || '<small>process ' || s.pid::text || '</small></dd></div>'
            FROM seen s WHERE s.place = 1), '')
        || '<div><dt>Guard</dt><dd>' || CASE
            WHEN f.guard_state IS NULL THEN 'not at work<small>'
            ELSE f.guard || '<small>' || f.guard_state || ', keeps '
                || pg_session_memory_report_size(f.reserve_bytes) || ' free'
            END || '</small></dd></div>'
        || '<div><dt>Over a threshold</dt><dd>' || coalesce(t.bloated::text, '&#8211;')
        || '<small>of ' || t.seen::text || ' processes</small></dd></div></dl>'
    FROM fact f, total t

    -- Is the server in danger?
    UNION ALL
    SELECT 1, 0, 0, '<h2 id="danger">1. Is the server in danger?</h2><div class="verdict '
        || CASE w.verdict WHEN 'past' THEN 'danger' ELSE w.verdict END
        || '"><p>' || CASE w.verdict
            WHEN 'past' THEN 'It was, and that can happen again.'
            WHEN 'danger' THEN 'Yes.'
            WHEN 'note' THEN 'Not now, but some things are worth a look.'
            ELSE 'No.' END || '</p><ul>'
        || (SELECT coalesce(pg_catalog.string_agg('<li><span class="tag ' || v.verdict
                || '">' || v.verdict || '</span> ' || v.html || '</li>', ''
                ORDER BY v.verdict, v.n), '') FROM verdict v)
        || '</ul></div>'
    FROM (SELECT CASE
            WHEN pg_catalog.bool_or(v.verdict = 'danger' AND v.n <> 2)
            THEN 'danger'
            WHEN pg_catalog.bool_or(v.verdict = 'danger') THEN 'past'
            WHEN pg_catalog.bool_or(v.verdict = 'note') THEN 'note'
            ELSE 'ok' END AS verdict FROM verdict v) AS w
    UNION ALL
    SELECT 1, 1, 0, '<h3>How memory went in the last '
        || pg_session_memory_report_duration(pg_session_memory_report.history)
        || coalesce((SELECT ', known since ' || pg_catalog.to_char(
                pg_catalog.min(h.at), 'YYYY-MM-DD HH24:MI')
            FROM recorded r, LATERAL pg_catalog.unnest(r.samples) AS h), '')
        || '</h3>'
    UNION ALL
    SELECT 1, 2, l.line, l.html
    FROM recorded r, preloaded p, LATERAL pg_catalog.unnest(
        CASE WHEN p.it THEN ARRAY(
            SELECT pg_session_memory_report_history(r.samples))
        ELSE ARRAY['<p class="none">Without pg_session_memory in shared_preload_libraries nothing is recorded.</p>']
        END) WITH ORDINALITY AS l(html, line)
    UNION ALL
    SELECT 1, 3, 0, '<h3>What decides whether it survives running out of memory</h3><div class="wide"><table class="cards" id="environment"><thead><tr><th scope="col">Fact</th><th scope="col">Is</th><th scope="col">Verdict</th><th scope="col">Advice</th></tr></thead><tbody>'
    UNION ALL
    SELECT 1, 4, e.n, '<tr>'
        || pg_session_memory_report_cell('Fact', e.item, 100)
        || pg_session_memory_report_cell('Is', e.value, 200)
        || '<td data-l="Verdict"><span class="tag ' || e.verdict || '">'
        || e.verdict || '</span></td>'
        || pg_session_memory_report_cell('Advice', e.advice, 600) || '</tr>'
    FROM environment e
    UNION ALL
    SELECT 1, 5, 0, '</tbody></table></div>'

    -- Who holds it?
    UNION ALL
    SELECT 2, 0, 0, '<h2 id="who">2. Who holds it?</h2><p>'
        || t.seen::text || ' processes hold '
        || pg_session_memory_report_size(t.memory_bytes)
        || ' of anonymous memory in RAM and swap, as the OOM killer counts; memory contexts have '
        || pg_session_memory_report_size(t.context_bytes) || '.'
        || CASE WHEN t.processes > t.seen THEN ' ' || (t.processes - t.seen)::text
            || ' processes of other roles are not on this page, since '
            || pg_session_memory_report_text(current_user::text)
            || ' may not see them; pg_read_all_stats permits it.' ELSE '' END
        || '</p>' || pg_session_memory_report_key('')
    FROM total t
    UNION ALL
    SELECT 2, 1, 0, '<div class="wide"><table class="cards sort" id="sessions"><thead><tr><th scope="col" class="n">Process</th><th scope="col">Role, database</th><th scope="col">Application</th><th scope="col">State</th><th scope="col" class="n">Memory</th><th scope="col" class="n">Contexts</th><th scope="col" class="n">Growth</th><th scope="col" class="bar-head">Made of</th></tr></thead><tbody>'
    UNION ALL
    SELECT 2, 2, s.place, '<tr><td class="n" data-l="Process">' || s.pid::text
        || '</td>' || pg_session_memory_report_cell('Role, database',
            coalesce(nullif(pg_catalog.concat_ws(', ', s.usename, s.datname),
                ''), s.backend_type), 130)
        || pg_session_memory_report_cell('Application',
            coalesce(nullif(s.application_name, ''), CASE
                WHEN s.usename IS NOT NULL
                    AND s.backend_type <> 'client backend'
                THEN s.backend_type END), 63)
        || '<td data-l="State">' || coalesce(
            pg_session_memory_report_text(s.state), '&#8211;')
        || CASE WHEN s.pid = pg_catalog.pg_backend_pid()
            THEN ', this report' ELSE '' END
        || CASE WHEN s.status = 'bloated'
            THEN ' <span class="tag note">bloated</span>' ELSE '' END
        || '</td>'
        || pg_session_memory_report_cell('Memory', s.memory_bytes)
        || pg_session_memory_report_cell('Contexts', s.context_bytes)
        || pg_session_memory_report_cell('Growth', s.growth_bytes)
        || pg_session_memory_report_bar(s.kinds, s.most) || '</tr>'
    FROM seen s WHERE s.place <= 50
    UNION ALL
    SELECT 2, 3, 0, '</tbody>' || coalesce((
            SELECT '<tfoot><tr><td colspan="8">' || pg_catalog.count(*)::text
                || ' further processes hold ' || pg_session_memory_report_size(
                    pg_catalog.sum(s.memory_bytes)::bigint)
                || ' together; none more than '
                || pg_session_memory_report_size(
                    pg_catalog.max(s.memory_bytes)) || '.</td></tr></tfoot>'
            FROM seen s WHERE s.place > 50 HAVING pg_catalog.count(*) > 0), '')
        || '</table></div>'

    -- What is it?
    UNION ALL
    SELECT 3, 0, 0, '<h2 id="what">3. What is it?</h2><p>Memory contexts of all processes together, by name: what stands below a block is part of it, and a block is as wide as it has memory.</p>'
    UNION ALL
    SELECT 3, 1, i.line, i.html
    FROM total t, LATERAL pg_session_memory_report_icicle(
        ARRAY(SELECT s.pid FROM seen s WHERE s.source = 'live'),
        t.outside_bytes, 'all processes',
        'Memory of all processes by memory context')
        WITH ORDINALITY AS i(html, line)
    UNION ALL
    SELECT 3, 2, 0, '<h3>The largest sessions</h3>'
    UNION ALL
    SELECT 3, 10::bigint + d.n, d.line, d.html
    FROM detail d JOIN fitting g ON g.n = d.n WHERE g.fits
    UNION ALL
    SELECT 3, 1000, 0, '<p class="none">Left out, for the page to stay below 2 MB: '
        || pg_catalog.count(*)::text || ' sessions.</p>'
    FROM fitting g WHERE NOT g.fits HAVING pg_catalog.count(*) > 0

    -- Which statements took it?
    UNION ALL
    SELECT 4, 0, 0, '<h2 id="statements-part">4. Which statements took it?</h2>'
    UNION ALL
    SELECT 4, 1, l.line, l.html
    FROM preloaded p, LATERAL pg_catalog.unnest(CASE WHEN p.it THEN
            ARRAY(SELECT pg_session_memory_report_statements())
        ELSE ARRAY['<p class="none">Without pg_session_memory in shared_preload_libraries statements are not measured.</p>']
        END) WITH ORDINALITY AS l(html, line)

    UNION ALL
    SELECT 5, 0, 0, '<h2 id="pools-part">5. Pools</h2><p>Sessions of clients by application, role, database and address.</p><div class="wide"><table class="cards sort" id="pools"><thead><tr><th scope="col">Application</th><th scope="col">Role, database</th><th scope="col">Client</th><th scope="col" class="n">Sessions</th><th scope="col" class="n">Active</th><th scope="col" class="n">Idle</th><th scope="col" class="n">In transaction</th><th scope="col" class="n">Longest wait</th><th scope="col" class="n">Memory</th><th scope="col" class="n">Largest</th><th scope="col" class="n">Bloated</th></tr></thead><tbody>'
    UNION ALL
    SELECT 5, 1, p.place, '<tr>'
        || pg_session_memory_report_cell('Application',
            nullif(p.application_name, ''), 63)
        || pg_session_memory_report_cell('Role, database',
            pg_catalog.concat_ws(', ', p.usename, p.datname), 130)
        || pg_session_memory_report_cell('Client',
            coalesce(p.client_addr::text, 'local'), 60)
        || '<td class="n" data-l="Sessions">' || p.sessions::text
        || '</td><td class="n" data-l="Active">' || p.active::text
        || '</td><td class="n" data-l="Idle">' || p.idle::text
        || '</td><td class="n" data-l="In transaction">' || p.in_transaction::text
        || '</td><td class="n" data-l="Longest wait" data-v="'
        || coalesce(pg_catalog.round(EXTRACT(epoch FROM p.longest))::text, '')
        || '">' || pg_session_memory_report_duration(p.longest) || '</td>'
        || pg_session_memory_report_cell('Memory', p.memory_bytes)
        || pg_session_memory_report_cell('Largest', p.most_bytes)
        || '<td class="n" data-l="Bloated">' || p.bloated::text || '</td></tr>'
    FROM pool p WHERE p.place <= 40
    UNION ALL
    SELECT 5, 2, 0, '</tbody>' || coalesce((
            SELECT '<tfoot><tr><td colspan="11">' || pg_catalog.count(*)::text
                || ' further pools of ' || pg_catalog.sum(p.sessions)::text
                || ' sessions hold ' || pg_session_memory_report_size(
                    pg_catalog.sum(p.memory_bytes)::bigint)
                || ' together.</td></tr></tfoot>'
            FROM pool p WHERE p.place > 40 HAVING pg_catalog.count(*) > 0), '')
        || '</table></div>'

    UNION ALL
    SELECT 6, 0, 0, '<h2 id="events-part">6. Events</h2>'
    UNION ALL
    SELECT 6, 1, l.line, l.html
    FROM preloaded p, LATERAL pg_catalog.unnest(CASE WHEN p.it THEN
            ARRAY(SELECT pg_session_memory_report_events())
        ELSE ARRAY['<p class="none">Without pg_session_memory in shared_preload_libraries there are no events.</p>']
        END) WITH ORDINALITY AS l(html, line)

    -- What to do
    UNION ALL
    SELECT 7, 0, 0, '<h2 id="remedies">7. What to do</h2>' || CASE
        WHEN EXISTS (SELECT FROM remedy)
        THEN '<p>By what clients'' sessions hold, most bytes first; the words are for the largest of them.</p><div class="wide"><table class="cards" id="remedy"><thead><tr><th scope="col">Memory for</th><th scope="col" class="n">Of all</th><th scope="col" class="n">Sessions with 1 MB</th><th scope="col" class="n">Largest</th><th scope="col" class="n">Process</th><th scope="col">What gives it back</th></tr></thead><tbody>'
        ELSE '<p class="none">No session of a client has 4 MB of one kind: there is nothing to give back.</p>'
        END
    UNION ALL
    SELECT 7, 1, pg_catalog.row_number() OVER (ORDER BY r.bytes DESC),
        '<tr><td data-l="Memory for"><span class="key"><span class="k' || r.n::text
        || '">' || r.kind || '</span></span></td>'
        || pg_session_memory_report_cell('Of all', r.bytes)
        || '<td class="n" data-l="Sessions with 1 MB">' || r.sessions::text
        || '</td>'
        || pg_session_memory_report_cell('Largest', r.most_bytes)
        || '<td class="n" data-l="Process">' || r.pid::text || '</td>'
        || pg_session_memory_report_cell('What gives it back', (
            SELECT c.remedy FROM pg_session_memory_categories(r.pid) c
            WHERE c.category = r.kind LIMIT 1), 600) || '</tr>'
    FROM remedy r
    UNION ALL
    SELECT 7, 2, 0, '</tbody></table></div>' WHERE EXISTS (SELECT FROM remedy)

    -- How it was measured
    UNION ALL
    SELECT 8, 0, 0, '<h2 id="method">8. How it was measured</h2><dl class="method"><dt>Processes</dt><dd>'
        || t.live::text || ' read from outside while they went on, '
        || t.published::text || ' as they published it themselves'
        || CASE WHEN t.approximate > 0 THEN '; the contexts of '
            || t.approximate::text || ' changed meanwhile and are approximate'
            ELSE '' END
        || '.</dd><dt>Amounts</dt><dd>1&#160;kB is 1,024 bytes. Memory is anonymous memory in RAM and swap. Contexts count what they have from malloc, touched or not, free parts included. <i>Outside contexts</i> is what a process has beyond them: mostly memory that malloc keeps, libraries, JIT.</dd>'
        || '<dt>Moment</dt><dd>Each process as it was when it was read, one after the other; the icicles a moment later than the table.</dd>'
        || '<dt>History</dt><dd>' || coalesce(pg_catalog.cardinality(r.samples)::text
            || ' samples of the recorder, one each '
            || pg_catalog.current_setting('pg_session_memory.record_interval',
                true) || ' and more when memory grows or is short.',
            'Not recorded.') || '</dd>'
    FROM total t, recorded r
    UNION ALL
    SELECT 8, 1, 0, '<dt>Made with</dt><dd>pg_session_memory '
        || (SELECT pg_session_memory_report_text(e.extversion)
            FROM pg_catalog.pg_extension e
            WHERE e.extname = 'pg_session_memory')
        || ', in ' || pg_catalog.round(1000.0 * EXTRACT(epoch
            FROM pg_catalog.clock_timestamp() - f.at))::text
        || '&#160;ms.</dd></dl></main><script>'
    FROM fact f
    UNION ALL
    SELECT 8, 2, l.line, l.html
    FROM pg_catalog.string_to_table(pg_session_memory_report_script(),
        pg_catalog.chr(10)) WITH ORDINALITY AS l(html, line)
    UNION ALL
    SELECT 8, 3, 0, '</script><footer><p id="end" class="soft">End of the report.</p></footer></body></html>')
    SELECT p.html FROM page p ORDER BY p.part, p.n, p.line;
END;

COMMENT ON FUNCTION pg_session_memory_report(interval, integer, text) IS
'one HTML page about the memory of the server, a row a line, of at most 2 MB: psql -XAtq -o report.html -c "SELECT pg_session_memory_report()"; how much history, how many sessions with details, a title; what the caller may not see is not in it';
