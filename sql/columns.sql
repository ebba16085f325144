--
-- Queries that use some of the columns alone ask for these alone
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

-- The calls in a query's plan.  The second argument has a bit for each column.
CREATE FUNCTION calls(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
        IF line ~ 'pg_session_memory_contexts.*\(' AND line !~ 'Function Scan' THEN
            RETURN NEXT trim(line);
        END IF;
    END LOOP;
END $$;

-- name 1, ident 2, type 4, level 8, path 16, total_bytes 32, total_nblocks 64,
-- free_bytes 128, free_chunks 256, used_bytes 512, parent 1024, category 2048,
-- subtree_bytes 4096, approximate 8192
SELECT calls('SELECT * FROM pg_session_memory_contexts()');
SELECT calls('SELECT count(*) FROM pg_session_memory_contexts(1)');
SELECT calls('SELECT count(*), sum(total_bytes) FROM pg_session_memory_contexts()');
SELECT calls('SELECT name FROM pg_session_memory_contexts(1) c
    WHERE category = ''base'' GROUP BY c.name, approximate HAVING sum(used_bytes) > 1
    ORDER BY max(level) LIMIT 3');

-- Whole rows
SELECT calls('SELECT c FROM pg_session_memory_contexts(1) c');
SELECT calls('SELECT to_jsonb(c) FROM pg_session_memory_contexts(1) c');
SELECT calls('SELECT count(c.*) FROM pg_session_memory_contexts(1) c');

-- Joins, with and without names of their own
SELECT calls('SELECT a.free_bytes, b.name FROM pg_session_memory_contexts(1) a
    JOIN pg_session_memory_contexts(2) b ON a.path = b.path');
SELECT calls('SELECT path, free_chunks FROM pg_session_memory_contexts(1) a
    LEFT JOIN (SELECT 1 AS level) b USING (level)');
SELECT calls('SELECT j.free_bytes FROM (pg_session_memory_contexts(1) a
    JOIN (SELECT 1 AS level) b USING (level)) j');
SELECT calls('SELECT j FROM (pg_session_memory_contexts(1) a
    JOIN (SELECT 1 AS level) b USING (level)) j');
SELECT calls('SELECT (SELECT j.free_bytes) FROM (pg_session_memory_contexts(1) a
    JOIN (SELECT 1 AS level) b USING (level)) j');

-- Several functions side by side, and a number for each row
SELECT calls('SELECT s, total_nblocks, number FROM ROWS FROM (
    generate_series(1, 2), pg_session_memory_contexts(1)) WITH ORDINALITY
    AS r(s, name, ident, type, level, path, total_bytes, total_nblocks,
    free_bytes, free_chunks, used_bytes, parent, category, subtree_bytes,
    approximate, number)');

-- Subqueries that refer to the columns, from inside and from outside
SELECT calls('SELECT (SELECT max(i) FROM generate_series(1, c.free_chunks) i
    WHERE i < (SELECT c.subtree_bytes)) FROM pg_session_memory_contexts(1) c');
SELECT calls('SELECT n FROM (SELECT name AS n, ident FROM
    pg_session_memory_contexts(1)) c');
SELECT calls('SELECT 1 WHERE EXISTS (SELECT FROM pg_session_memory_contexts(1) c
    WHERE c.parent IS NULL)');
SELECT calls('SELECT 1 FROM generate_series(1, 2) i WHERE EXISTS (SELECT FROM
    pg_session_memory_contexts(1) c WHERE c.free_bytes = i)');
SELECT calls('SELECT relname FROM pg_class WHERE relname IN (SELECT ident FROM
    pg_session_memory_contexts(1))');
SELECT calls('WITH c AS MATERIALIZED (SELECT name, free_bytes FROM
    pg_session_memory_contexts(1)) SELECT name FROM c');
SELECT calls('SELECT a.pid, c.n FROM pg_stat_activity a, LATERAL (SELECT
    count(*) AS n FROM pg_session_memory_contexts(a.pid) WHERE level = 2) c');
SELECT calls('SELECT a.pid, c.used_bytes FROM pg_stat_activity a,
    pg_session_memory_contexts(a.pid) c');
SELECT calls('SELECT total_bytes FROM pg_session_memory_contexts(1) UNION ALL
    SELECT used_bytes FROM pg_session_memory_contexts(2)');

-- Calls elsewhere than in FROM
SELECT calls('SELECT (pg_session_memory_contexts(1)).name');
SELECT calls('SELECT (pg_session_memory_contexts(c.level)).name
    FROM pg_session_memory_contexts(2) c');

-- Through views and functions
CREATE VIEW all_columns AS SELECT * FROM pg_session_memory_contexts(1);
CREATE VIEW some_columns AS SELECT name, path FROM pg_session_memory_contexts(1);
SELECT calls('SELECT name FROM all_columns');
SELECT calls('SELECT name FROM some_columns');
SELECT calls('SELECT s FROM some_columns s');
SELECT d ~ 'pg_session_memory_contexts\(1\)' AS as_written
FROM pg_get_viewdef('some_columns') d;

-- Statements that change something
CREATE TEMP TABLE seen (name text, bytes bigint);
SELECT calls('INSERT INTO seen SELECT name, free_bytes FROM
    pg_session_memory_contexts(1) RETURNING *');
SELECT calls('UPDATE seen SET bytes = c.used_bytes FROM
    pg_session_memory_contexts(1) c WHERE c.name = seen.name');
SELECT calls('DELETE FROM seen USING pg_session_memory_contexts(1) c
    WHERE c.parent = seen.name RETURNING c.level');
SELECT calls('MERGE INTO seen USING pg_session_memory_contexts(1) c
    ON c.name = seen.name WHEN MATCHED THEN UPDATE SET bytes = c.free_bytes
    WHEN NOT MATCHED THEN INSERT VALUES (c.name, c.total_bytes)');

-- What is asked for is what there is: in each column, alone and with others.
-- The root's own figures change least.
SELECT a.name, a.type, b.level, c.path, d.parent, e.category, f.approximate
FROM (SELECT name, type FROM pg_session_memory_contexts() WHERE level = 1) a,
    (SELECT level FROM pg_session_memory_contexts() WHERE level = 1) b,
    (SELECT path FROM pg_session_memory_contexts() WHERE level = 1) c,
    (SELECT parent FROM pg_session_memory_contexts() WHERE level = 1) d,
    (SELECT category FROM pg_session_memory_contexts() WHERE level = 1) e,
    (SELECT approximate FROM pg_session_memory_contexts() WHERE level = 1) f;
SELECT count(*) > 50 AS contexts, count(ident) > 0 AS ident,
    count(ident) < count(*) AS without
FROM pg_session_memory_contexts();
SELECT bool_and(total_nblocks > 0) FROM pg_session_memory_contexts()
WHERE level = 1;
SELECT bool_and(subtree_bytes > 100000) FROM pg_session_memory_contexts()
WHERE level = 1;
SELECT bool_and(used_bytes > 0) FROM pg_session_memory_contexts();
SELECT bool_or(free_chunks > 0) FROM pg_session_memory_contexts();

-- The extension moves, while a plan is kept
PREPARE bytes AS SELECT sum(total_bytes) > 100000 FROM pg_session_memory_contexts();
EXECUTE bytes;
CREATE SCHEMA elsewhere;
ALTER EXTENSION pg_session_memory SET SCHEMA elsewhere;
SET search_path = elsewhere;
EXECUTE bytes;
RESET search_path;
SELECT calls('SELECT count(*) FROM elsewhere.pg_session_memory_contexts(1)');

-- Columns that do not exist, and those that are always there
SELECT count(*) > 50 FROM elsewhere.pg_session_memory_contexts(pg_backend_pid(), -1);
SELECT name, total_bytes > 0 AS total_bytes FROM
    elsewhere.pg_session_memory_contexts(pg_backend_pid(), 0) WHERE level = 1;

-- Views of all columns and of some, for who may not use the schema that the
-- function lies in.  Neither names it again.
CREATE VIEW all_elsewhere AS
SELECT * FROM elsewhere.pg_session_memory_contexts();
CREATE VIEW some_elsewhere AS
SELECT name, total_bytes FROM elsewhere.pg_session_memory_contexts();
CREATE ROLE regress_columns;
GRANT SELECT ON all_elsewhere, some_elsewhere TO regress_columns;
SET ROLE regress_columns;
SELECT count(*) > 50 FROM elsewhere.pg_session_memory_contexts();
SELECT count(path) > 50 FROM all_elsewhere;
SELECT count(*) > 50 FROM all_elsewhere;
SELECT count(name) > 50 FROM some_elsewhere;
SELECT count(*) > 50 FROM some_elsewhere;
SELECT count(t) > 50 FROM (SELECT name, sum(total_bytes)
	FROM some_elsewhere GROUP BY name HAVING count(*) > 0) t
	RIGHT JOIN some_elsewhere USING (name);
RESET ROLE;
DROP VIEW all_elsewhere, some_elsewhere;

ALTER EXTENSION pg_session_memory SET SCHEMA public;

-- Who may call the function is checked
SET ROLE regress_columns;
SELECT count(*) > 50 FROM pg_session_memory_contexts();
RESET ROLE;
-- One privilege: no other function returns the contexts.
REVOKE EXECUTE ON FUNCTION pg_session_memory_contexts FROM PUBLIC;
SET ROLE regress_columns;
SELECT count(*) > 50 FROM pg_session_memory_contexts();
SELECT * FROM pg_session_memory_contexts();
SELECT oid::regprocedure FROM pg_proc
WHERE proname LIKE 'pg\_session\_memory%' AND 'free_chunks' = ANY (proargnames)
	AND has_function_privilege(oid, 'EXECUTE')
ORDER BY 1;
RESET ROLE;
GRANT EXECUTE ON FUNCTION pg_session_memory_contexts TO PUBLIC;
SELECT calls('SELECT count(*) FROM pg_session_memory_contexts(1)');

-- What says which columns it wants is left alone.
SELECT calls('SELECT count(*) FROM pg_session_memory_contexts(1, 7)');
SELECT calls('SELECT count(*) FROM pg_session_memory_contexts(1, NULL)');
SELECT calls('SELECT c.name FROM generate_series(1, 2) i,
	pg_session_memory_contexts(1, i) c');

DROP ROLE regress_columns;
DROP VIEW all_columns, some_columns;
DROP FUNCTION calls(text);
DROP SCHEMA elsewhere;
-- Nobody's rights but PUBLIC's again
DROP EXTENSION pg_session_memory;
CREATE EXTENSION pg_session_memory;
