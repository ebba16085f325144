-- The sessions of several servers in one view, through postgres_fdw.
--
--     psql -d postgres -f clusters.sql
--
-- As a superuser, in a database of the server from which you want to look; it
-- need not have pg_session_memory itself.  Then, for each server that has it,
-- a hot standby like a primary:
--
--     SELECT session_memory_all.add('shop', host => 'shop.example.com',
--         username => 'monitor', password => 'secret');
--
-- That role has to be in pg_monitor there.  The views of the schema
-- session_memory_all are called as those of the extension, and have the rows
-- of all servers with their names in front:
--
--     SELECT server, pid, usename, application_name, anon_bytes
--     FROM session_memory_all.pg_session_memory
--     WHERE backend_type = 'client backend'
--     ORDER BY anon_bytes DESC LIMIT 10;
--
-- Roles in pg_monitor may read them.  A server that cannot be reached is an
-- error that names it: SELECT session_memory_all.remove('shop') takes it out.
-- To add a name anew replaces it.

\set ON_ERROR_STOP on
\set QUIET on
BEGIN;
SET LOCAL client_min_messages = warning;

CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA public;
CREATE SCHEMA IF NOT EXISTS session_memory_all;

CREATE OR REPLACE FUNCTION session_memory_all.views()
RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN '{pg_session_memory,pg_session_memory_pools,pg_session_memory_bloat,pg_session_memory_events}'::text[];

-- Makes the views anew, over the servers that there are now.
CREATE OR REPLACE FUNCTION session_memory_all.refresh()
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning AS $$
DECLARE
    view text;
    tables oid[];
    columns text;
    parts text;
BEGIN
    FOREACH view IN ARRAY session_memory_all.views() LOOP
        EXECUTE format('DROP VIEW IF EXISTS session_memory_all.%I', view);
        SELECT array_agg(t.ftrelid)
            INTO tables
            FROM pg_foreign_server s
            JOIN pg_foreign_table t ON t.ftserver = s.oid
            JOIN pg_class c ON c.oid = t.ftrelid
            WHERE s.srvname LIKE 'session\_memory\_%' AND c.relname = view;
        -- Those that all of them have: servers may be of several versions.
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY place)
            INTO columns
            FROM (
                SELECT attname, max(attnum) AS place
                FROM pg_attribute
                WHERE attrelid = ANY (tables) AND attnum > 0
                    AND NOT attisdropped
                GROUP BY attname
                HAVING count(*) = cardinality(tables)) AS common;
        SELECT string_agg(
                format('SELECT %L::text AS server, %s FROM %s',
                    substr(s.srvname, length('session_memory_') + 1),
                    columns, t.ftrelid::regclass),
                ' UNION ALL ' ORDER BY s.srvname)
            INTO parts
            FROM pg_foreign_server s
            JOIN pg_foreign_table t ON t.ftserver = s.oid
            WHERE t.ftrelid = ANY (tables);
        CONTINUE WHEN parts IS NULL;
        EXECUTE format('CREATE VIEW session_memory_all.%I AS %s', view, parts);
        EXECUTE format('GRANT SELECT ON session_memory_all.%I TO pg_monitor',
            view);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION session_memory_all.remove(name text)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning AS $$
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', 'session_memory_' || name);
    EXECUTE format('DROP SERVER IF EXISTS %I CASCADE', 'session_memory_' || name);
    PERFORM session_memory_all.refresh();
END $$;

-- dbname is the database of that server, and schema the schema in it, that
-- has the extension.
CREATE OR REPLACE FUNCTION session_memory_all.add(
    name text,
    host text,
    port integer DEFAULT 5432,
    username text DEFAULT current_user,
    password text DEFAULT NULL,
    dbname text DEFAULT 'postgres',
    schema text DEFAULT 'public')
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning AS $$
DECLARE
    server text := 'session_memory_' || name;
BEGIN
    PERFORM session_memory_all.remove(name);
    EXECUTE format('CREATE SCHEMA %I', server);
    EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw '
        'OPTIONS (host %L, port %L, dbname %L, connect_timeout ''10'')',
        server, host, port, dbname);
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I '
        'OPTIONS (user %L%s)', server, username,
        coalesce(', password ' || quote_literal(password), ''));
    EXECUTE format('IMPORT FOREIGN SCHEMA %I LIMIT TO (%s) FROM SERVER %I '
        'INTO %I', schema, array_to_string(session_memory_all.views(), ', '),
        server, server);
    IF NOT EXISTS (SELECT FROM pg_class
            WHERE relnamespace = quote_ident(server)::regnamespace) THEN
        RAISE 'server "%" has no pg_session_memory in schema "%" of database "%"',
            name, schema, dbname
            USING HINT = 'CREATE EXTENSION pg_session_memory; there, or give '
                'its schema and database to session_memory_all.add().';
    END IF;
    PERFORM session_memory_all.refresh();
END $$;

REVOKE ALL ON FUNCTION session_memory_all.add, session_memory_all.remove,
    session_memory_all.refresh FROM PUBLIC;
GRANT USAGE ON SCHEMA session_memory_all TO pg_monitor;

COMMIT;
