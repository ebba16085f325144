-- Jobs of pg_cron: alerts, a long history, and trimming of idle sessions.
--
--     psql -d postgres -f cron.sql
--
-- As a superuser, in the database that cron.database_name names (postgres),
-- with pg_cron and pg_session_memory in shared_preload_libraries and both
-- extensions created there; the jobs see the sessions of all databases.  Makes
-- the schema session_memory:
--
--     session_memory.alert             each time that a session was over a
--                                      threshold
--     session_memory.history           samples of the server's memory, for
--     session_memory.history_sessions  longer than the recorder's file has
--                                      them, and the largest sessions of each
--
-- The last two are stored out of the views pg_session_memory_history and
-- pg_session_memory_history_sessions.  The recorder's file holds some hours,
-- fewer while memory is short: with a larger pg_session_memory.record_size no
-- hour has a gap.  With the default record_interval, a sample each ten seconds,
-- the tables take some tens of MB a day.
--
-- Who listens is told of new alerts:
--
--     LISTEN session_memory;
--
-- Take out the jobs that you do not want, with cron.unschedule('its name').
-- How long rows are kept, and which sessions are trimmed, are arguments in the
-- jobs below.  May be run again, also after it was changed here; tables stay.
--
-- The bodies of the functions are bound to what they name when they are made:
-- no search_path of a job can lead them elsewhere.

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
    missing text := CASE
        WHEN place IS NULL THEN 'pg_session_memory'
        WHEN to_regnamespace('cron') IS NULL THEN 'pg_cron' END;
BEGIN
    IF missing IS NOT NULL THEN
        RAISE 'extension "%" is not in database "%"',
            missing, current_database()
            USING HINT = format('CREATE EXTENSION %I;', missing);
    END IF;
    PERFORM set_config('search_path', place || ', pg_catalog', true);
    -- an error here, not each minute, where it is not preloaded
    PERFORM FROM pg_session_memory_bloat;
END $$;

CREATE SCHEMA IF NOT EXISTS session_memory;

CREATE TABLE IF NOT EXISTS session_memory.alert AS
SELECT now() AS at, now() AS last_seen, pid, usename, datname,
    application_name, client_addr, state, state_change, kind, context, bytes,
    threshold_bytes, since, remedy
FROM pg_session_memory_bloat WITH NO DATA;

CREATE UNIQUE INDEX IF NOT EXISTS alert_once ON session_memory.alert
    (pid, kind, context, since) NULLS NOT DISTINCT;
CREATE INDEX IF NOT EXISTS alert_at ON session_memory.alert (at);

-- Without before_restart, which does not stay true or false: what was before a
-- restart lies before the next sample whose reason is start.
CREATE TABLE IF NOT EXISTS session_memory.history AS
SELECT at, reason, available_bytes, total_bytes, anon_bytes, sessions, active,
    largest_pid, largest_bytes, catalog_cache_bytes, cached_plan_bytes,
    function_bytes, cursor_bytes, transaction_bytes, execution_bytes,
    temp_table_bytes, replication_bytes, base_bytes, other_bytes, oom_kills
FROM pg_session_memory_history WITH NO DATA;

CREATE TABLE IF NOT EXISTS session_memory.history_sessions AS
SELECT at, pid, backend_start, backend_type, usename, datname,
    application_name, state, query_id, query, anon_bytes, context_bytes,
    catalog_cache_bytes, cached_plan_bytes, function_bytes, cursor_bytes,
    transaction_bytes, execution_bytes, temp_table_bytes, replication_bytes,
    base_bytes, other_bytes, largest_context, largest_context_bytes, leader_pid
FROM pg_session_memory_history_sessions WITH NO DATA;

CREATE UNIQUE INDEX IF NOT EXISTS history_once ON session_memory.history (at);
CREATE UNIQUE INDEX IF NOT EXISTS history_sessions_once
    ON session_memory.history_sessions (at, pid);

-- A row, and a notification, for each session and threshold that is new since
-- the last time; those that go on have last_seen and bytes brought up to date.
CREATE OR REPLACE FUNCTION session_memory.store_alerts(keep interval)
RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE session_memory.alert a SET last_seen = now(), bytes = b.bytes
    FROM pg_session_memory_bloat b
    WHERE (a.pid, a.kind, a.since) = (b.pid, b.kind, b.since)
        AND a.context IS NOT DISTINCT FROM b.context;
    WITH new AS (
        INSERT INTO session_memory.alert (at, last_seen, pid, usename, datname,
            application_name, client_addr, state, state_change, kind, context,
            bytes, threshold_bytes, since, remedy)
        SELECT now(), now(), pid, usename, datname, application_name,
            client_addr, state, state_change, kind, context, bytes,
            threshold_bytes, since, remedy
        FROM pg_session_memory_bloat
        ON CONFLICT DO NOTHING
        RETURNING pid, usename, datname, application_name, kind, context,
            bytes, threshold_bytes)
    SELECT pg_notify('session_memory', json_build_object(
        'pid', pid, 'usename', usename, 'datname', datname,
        'application_name', application_name, 'kind', kind,
        'context', context, 'bytes', bytes,
        'threshold_bytes', threshold_bytes)::text)
    FROM new;
    DELETE FROM session_memory.alert WHERE last_seen < now() - keep;
END;

-- What the recorder has and the tables do not.  The indexes tell, not the time
-- of the last one stored: the clock can be set back.
CREATE OR REPLACE FUNCTION session_memory.store_history(keep interval)
RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO session_memory.history
    SELECT at, reason, available_bytes, total_bytes, anon_bytes, sessions,
        active, largest_pid, largest_bytes, catalog_cache_bytes,
        cached_plan_bytes, function_bytes, cursor_bytes, transaction_bytes,
        execution_bytes, temp_table_bytes, replication_bytes, base_bytes,
        other_bytes, oom_kills
    FROM pg_session_memory_history WHERE at >= now() - keep
    ON CONFLICT DO NOTHING;
    INSERT INTO session_memory.history_sessions
    SELECT at, pid, backend_start, backend_type, usename, datname,
        application_name, state, query_id, query, anon_bytes, context_bytes,
        catalog_cache_bytes, cached_plan_bytes, function_bytes, cursor_bytes,
        transaction_bytes, execution_bytes, temp_table_bytes,
        replication_bytes, base_bytes, other_bytes, largest_context,
        largest_context_bytes, leader_pid
    FROM pg_session_memory_history_sessions WHERE at >= now() - keep
    ON CONFLICT DO NOTHING;
    DELETE FROM session_memory.history WHERE at < now() - keep;
    DELETE FROM session_memory.history_sessions WHERE at < now() - keep;
END;

-- Asks sessions that have been idle for so long, are that large, and have
-- worked since their last trim.  Returns how many were asked while they were
-- idle, and does not wait for them.
CREATE OR REPLACE FUNCTION session_memory.trim_idle(
    idle interval, anon_bytes bigint)
RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
    -- Not in WHERE: there it might come before the other conditions.
    SELECT count(*) FILTER (
        WHERE (pg_session_memory_trim(s.pid)).outcome = 'asked')
    FROM pg_session_memory s
    WHERE s.state = 'idle'
        AND s.backend_type = 'client backend'
        AND s.state_change < now() - trim_idle.idle
        AND s.anon_bytes >= trim_idle.anon_bytes
        AND (s.last_trim_at < s.state_change) IS NOT FALSE;
END;

SELECT cron.schedule('session memory: alerts', '* * * * *',
    $$SELECT session_memory.store_alerts(keep => '90 days')$$);
SELECT cron.schedule('session memory: history', '0 * * * *',
    $$SELECT session_memory.store_history(keep => '90 days')$$);
SELECT cron.schedule('session memory: trim', '* * * * *',
    $$SELECT session_memory.trim_idle(idle => '5 minutes', anon_bytes => 32000000)$$);

COMMIT;
