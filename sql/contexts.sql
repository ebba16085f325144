--
-- pg_session_memory_contexts() of the own session
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

--
-- The same contexts and figures as in pg_backend_memory_contexts.
--
-- Both are read in one statement.  What is left out belongs to that statement
-- and changes while it runs, as do the free bytes of TopMemoryContext, where
-- locks are kept; all the rest must agree to the byte.  PostgreSQL counts
-- levels from 0 before 18 and from 1 since; we count from 1 everywhere.
--
CREATE TEMP VIEW comparison AS
WITH both_of_them AS MATERIALIZED (
	SELECT true AS ours, name, ident, level, total_bytes, total_nblocks,
		free_bytes, free_chunks, used_bytes
	FROM pg_session_memory_contexts()
	UNION ALL
	SELECT false, name, ident, level - min(level) OVER () + 1, total_bytes,
		total_nblocks, free_bytes, free_chunks, used_bytes
	FROM pg_backend_memory_contexts
)
SELECT name, ident, level, total_bytes, total_nblocks,
	CASE WHEN level > 1 THEN free_bytes END AS free_bytes,
	CASE WHEN level > 1 THEN free_chunks END AS free_chunks,
	CASE WHEN level > 1 THEN used_bytes END AS used_bytes,
	count(*) FILTER (WHERE ours) AS ours,
	count(*) FILTER (WHERE NOT ours) AS theirs
FROM both_of_them
WHERE name NOT IN ('MessageContext', 'PortalContext', 'ExecutorState',
	'ExprContext', 'Table function arguments', 'tuplestore tuples', 'printtup',
	'WindowAgg Partition', 'WindowAgg Aggregates', 'HashAgg meta context',
	'HashAgg table context', 'HashAgg hashed tuples', 'TupleSort main',
	'TupleSort sort', 'Caller tuples', 'pg_get_backend_memory_contexts',
	'pg_session_memory contexts', 'pg_session_memory collected contexts')
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- The first time fills caches.  A new session has about 100 contexts.
SELECT sum(ours) > 50 AS ours, sum(theirs) > 50 AS theirs FROM comparison;
SELECT * FROM comparison WHERE ours <> theirs;

-- The same with contexts of more names and idents
PREPARE regress_statement AS SELECT 'a prepared statement';
SELECT ours, theirs FROM comparison
WHERE ident = $$PREPARE regress_statement AS SELECT 'a prepared statement';$$;
SELECT * FROM comparison WHERE ours <> theirs;

--
-- One tree
--
CREATE TEMP TABLE tree AS
SELECT * FROM pg_session_memory_contexts() WITH ORDINALITY;

-- One root, numbered level by level in the order of the rows.
SELECT name, ident, type, level, path, parent, category FROM tree
WHERE parent IS NULL OR level = 1;
SELECT count(*) FILTER (WHERE level IS DISTINCT FROM cardinality(path))
		AS wrong_level,
	count(*) FILTER (WHERE path[level] IS DISTINCT FROM ordinality)
		AS wrong_number,
	count(*) FILTER (WHERE level < before) AS wrong_order
FROM (SELECT *, lag(level) OVER (ORDER BY ordinality) AS before FROM tree) t;

-- Each other context's parent is there, above it, and has the name it says.
SELECT count(*) AS wrong_parent
FROM tree c LEFT JOIN tree p ON p.path = c.path[1:c.level - 1]
WHERE c.level > 1 AND c.parent IS DISTINCT FROM p.name;

-- subtree_bytes are those of the context itself and of all below it.
SELECT count(*) AS wrong_subtree
FROM tree c
WHERE subtree_bytes IS DISTINCT FROM
	(SELECT sum(total_bytes) FROM tree s WHERE s.path[1:c.level] = c.path);
SELECT subtree_bytes = (SELECT sum(total_bytes) FROM tree) AS whole_tree
FROM tree WHERE level = 1;

-- Figures are known for all of the own contexts, and fit together.
SELECT count(*) FILTER (WHERE total_bytes > 0 AND total_nblocks >= 0 AND
		free_bytes BETWEEN 0 AND total_bytes AND free_chunks >= 0 AND
		used_bytes = total_bytes - free_bytes) = count(*) AS plausible,
	bool_or(approximate) AS approximate
FROM tree;

--
-- Kinds
--
SELECT count(*) AS unknown FROM tree
WHERE type NOT IN ('AllocSet', 'Generation', 'Slab', 'Bump');

-- The rows that a sort holds are in a Generation context, from 17 on in a
-- Bump context; the sort's own data are in an AllocSet.
BEGIN;
DECLARE regress_sort NO SCROLL CURSOR FOR
	SELECT g FROM generate_series(1, 1000) AS g ORDER BY g DESC;
FETCH 1 FROM regress_sort;
SELECT name, type IN ('Generation', 'Bump') AS for_rows, parent, category
FROM pg_session_memory_contexts() WHERE name = 'Caller tuples';
SELECT name, type, parent, category
FROM pg_session_memory_contexts() WHERE name = 'TupleSort main';
SELECT * FROM comparison WHERE ours <> theirs;
COMMIT;

--
-- Names and idents
--

-- Hash tables are shown under their own names.
SELECT name, ident, type, parent, category FROM pg_session_memory_contexts()
WHERE name IN ('dynahash', 'Relcache by OID', 'Portal hash', 'LOCALLOCK hash',
	'Prepared Queries')
ORDER BY name COLLATE "C";

-- A prepared statement, its query tree, and after the first execution its
-- plan.
EXECUTE regress_statement;
SELECT name, ident, parent, category FROM pg_session_memory_contexts()
WHERE category = 'cached plans' AND name LIKE 'CachedPlan%' AND
	(ident LIKE '%a prepared%' OR ident IS NULL)
ORDER BY level, name COLLATE "C";
DEALLOCATE regress_statement;
SELECT count(*) FROM pg_session_memory_contexts()
WHERE ident LIKE '%a prepared%' AND name = 'CachedPlanSource';

-- Idents are cut to 1023 bytes, as PostgreSQL cuts them.
SELECT format('PREPARE regress_long AS SELECT %L', repeat('0123456789', 150))
\gexec
SELECT length(ident), ident = left(format('PREPARE regress_long AS SELECT %L',
	repeat('0123456789', 150)), 1023) AS the_beginning
FROM pg_session_memory_contexts()
WHERE ident LIKE 'PREPARE regress_long%' AND name = 'CachedPlanSource';
DEALLOCATE regress_long;

-- A function of PL/pgSQL
CREATE FUNCTION regress_function(n int) RETURNS int
LANGUAGE plpgsql AS 'BEGIN RETURN n + 1; END';
SELECT regress_function(1);
SELECT name, ident, category FROM pg_session_memory_contexts()
WHERE ident = 'regress_function(integer)';
DROP FUNCTION regress_function(int);

--
-- Categories
--
BEGIN;
DECLARE regress_cursor CURSOR FOR SELECT 1;
SELECT DISTINCT name COLLATE "C" AS name, category
FROM pg_session_memory_contexts()
WHERE name IN ('TopMemoryContext', 'CacheMemoryContext', 'TopPortalContext',
	'PortalContext', 'TopTransactionContext', 'MessageContext',
	'ExecutorState', 'LocalBufferContext', 'PL/pgSQL function',
	'index info', 'ExprContext')
ORDER BY name, category;
COMMIT;
SELECT count(*) AS unknown FROM tree
WHERE category NOT IN ('base', 'catalog cache', 'cached plans', 'functions',
	'cursors', 'transaction', 'execution', 'temporary tables', 'replication',
	'other') OR category IS NULL;
-- Without an extension that makes contexts of its own there are no others.
SELECT name, parent FROM tree WHERE category = 'other';

--
-- Ways to call it
--
-- Both see the same but for what the call itself needs.
SELECT count(*) > 50 AS many FROM (
	SELECT name, ident, level FROM pg_session_memory_contexts()
	INTERSECT ALL
	SELECT name, ident, level FROM pg_session_memory_contexts(pg_backend_pid())
) AS same;
SELECT (pg_session_memory_contexts()).name LIMIT 1;
SELECT count(*) FROM generate_series(1, 3) AS g,
	LATERAL (SELECT name FROM pg_session_memory_contexts(pg_backend_pid() + g * 0)
		WHERE level = 1) AS root;

-- The caller's session keeps nothing of it.
SELECT count(*) FROM pg_backend_memory_contexts
WHERE name LIKE 'pg\_session\_memory%';
