-- Figures for exporters and checks: postgres_exporter, sql_exporter, Nagios.
--
--     psql -d postgres -f monitoring.sql
--
-- As a superuser, in the database to which the exporter connects; it sees the
-- sessions of all databases from there.  Makes views in the schema
-- session_memory that find pg_session_memory wherever it is installed, and
-- whatever search_path the exporter has.  Only roles in pg_monitor may read
-- them: without it, other roles' sessions would be missing and nobody would
-- notice.
--
-- What becomes a label is bounded: names of databases and roles, the largest
-- 50 pairs of them, ranks and categories, 10 each, and kinds of events.  No
-- query, no application_name; a pid is a value.
--
-- May be run again, also after the views were changed here.

\set ON_ERROR_STOP on
\set QUIET on
BEGIN;
SET LOCAL client_min_messages = warning;

DO $$
DECLARE
    place text := (
        SELECT quote_ident(n.nspname)
        FROM pg_catalog.pg_extension e
        JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_session_memory');
BEGIN
    IF place IS NULL THEN
        RAISE 'extension "pg_session_memory" is not in database "%"',
            current_database()
            USING HINT = 'CREATE EXTENSION pg_session_memory;';
    END IF;
    -- until the end of this transaction; the views keep what they have found
    PERFORM set_config('search_path', place || ', pg_catalog', true);
END $$;

CREATE SCHEMA IF NOT EXISTS session_memory;
DROP VIEW IF EXISTS session_memory.pools, session_memory.largest,
    session_memory.categories, session_memory.server,
    session_memory.statements, session_memory.events, session_memory.bloat;

-- bloated is NULL where the server does not preload pg_session_memory.  Where
-- some sessions have published their status, those that have not, for they
-- have done nothing yet, are not bloated.
CREATE VIEW session_memory.pools AS
SELECT
    datname::text,
    usename::text,
    sum(sessions)::float AS sessions,
    coalesce(sum(bloated), 0 * max(sum(bloated)) OVER ())::float AS bloated,
    sum(context_bytes)::float AS context_bytes,
    max(max_context_bytes)::float AS max_context_bytes,
    sum(anon_bytes)::float AS anon_bytes,
    max(max_anon_bytes)::float AS max_anon_bytes,
    coalesce(extract(epoch FROM max(longest_idle)), 0)::float
        AS longest_idle_seconds
FROM pg_session_memory_pools
GROUP BY datname, usename
ORDER BY sum(anon_bytes) DESC NULLS LAST
LIMIT 50;

CREATE VIEW session_memory.largest AS
SELECT
    row_number() OVER (ORDER BY anon_bytes DESC NULLS LAST, pid)::text AS rank,
    pid::float,
    context_bytes::float,
    anon_bytes::float,
    unaccounted_bytes::float
FROM pg_session_memory
WHERE backend_type = 'client backend'
ORDER BY anon_bytes DESC NULLS LAST, pid
LIMIT 10;

CREATE VIEW session_memory.categories AS
SELECT category, coalesce(sum(bytes), 0)::float AS bytes
FROM pg_session_memory
CROSS JOIN LATERAL (VALUES
    ('catalog cache', catalog_cache_bytes),
    ('cached plans', cached_plan_bytes),
    ('functions', function_bytes),
    ('cursors', cursor_bytes),
    ('transaction', transaction_bytes),
    ('execution', execution_bytes),
    ('temporary tables', temp_table_bytes),
    ('replication', replication_bytes),
    ('base', base_bytes),
    ('other', other_bytes)) AS v (category, bytes)
WHERE backend_type = 'client backend'
GROUP BY category;

-- Where the server does not preload pg_session_memory, there are no events and
-- no statements, without an error in the exporter's log each time.
CREATE VIEW session_memory.events AS
SELECT kind, count(*)::float AS kept,
    extract(epoch FROM max(at))::float AS last_timestamp_seconds
FROM pg_session_memory_events
WHERE current_setting('shared_preload_libraries') ~ '\mpg_session_memory\M'
GROUP BY kind;

-- events_total is the number of the last event; they begin anew with the
-- server.  guard is 0 for off, 1 for log, 2 for on; guard_state 0 for quiet, 1
-- for near, 2 for under, NULL where the guard does not work.
CREATE VIEW session_memory.server AS
SELECT
    total_bytes::float,
    available_bytes::float,
    swap_bytes::float,
    anon_bytes::float,
    shared_memory_bytes::float,
    reserve_bytes::float,
    sessions::float,
    active::float,
    array_position('{off,log,on}', guard)::float - 1 AS guard,
    array_position('{quiet,near,under}', guard_state)::float - 1
        AS guard_state,
    coalesce(extract(epoch FROM last_action_at), 0)::float
        AS last_action_timestamp_seconds,
    coalesce((
        SELECT max(id) FROM pg_session_memory_events
        WHERE current_setting('shared_preload_libraries')
            ~ '\mpg_session_memory\M'), 0)::float AS events_total
FROM pg_session_memory_server;

-- The sums fall where statements give way to others (max_statements).
CREATE VIEW session_memory.statements AS
SELECT
    d.datname::text,
    r.rolname::text AS usename,
    count(*)::float AS statements,
    sum(calls)::float AS calls_total,
    sum(limited)::float AS limited_total,
    coalesce(max(greatest(max_peak_bytes, max_exec_bytes, max_plan_bytes)),
        0)::float AS max_peak_bytes,
    coalesce(max(max_worker_bytes), 0)::float AS max_worker_bytes,
    coalesce(sum(left_bytes), 0)::float AS left_bytes
FROM pg_session_memory_statements s
JOIN pg_catalog.pg_database d ON d.oid = s.dbid
JOIN pg_catalog.pg_roles r ON r.oid = s.userid
WHERE current_setting('shared_preload_libraries') ~ '\mpg_session_memory\M'
GROUP BY d.datname, r.rolname
ORDER BY max(greatest(max_peak_bytes, max_exec_bytes, max_plan_bytes))
    DESC NULLS LAST
LIMIT 50;

-- For checks; an error where pg_session_memory is not preloaded.
CREATE VIEW session_memory.bloat AS
SELECT pid, usename, datname, application_name, client_addr, state,
    state_change, kind, context, bytes, threshold_bytes, since, remedy
FROM pg_session_memory_bloat;

GRANT USAGE ON SCHEMA session_memory TO pg_monitor;
GRANT SELECT ON session_memory.pools, session_memory.largest,
    session_memory.categories, session_memory.server,
    session_memory.statements, session_memory.events, session_memory.bloat
    TO pg_monitor;

COMMIT;
