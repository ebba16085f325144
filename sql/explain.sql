--
-- What the memory of the own session is, and how it changes
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;
-- The first time fills caches.
SELECT count(*) > 4 AS many FROM pg_session_memory_categories();

--
-- pg_session_memory_categories()
--

-- The contexts are those of pg_session_memory_contexts(), but for what each
-- of the two functions needs itself.
SELECT c.category, c.contexts = d.contexts AS contexts,
	abs(c.total_bytes - d.total_bytes) <= 8192 AS total_bytes,
	abs(c.used_bytes - d.used_bytes) <= 8192 AS used_bytes,
	c.used_bytes + c.free_bytes = c.total_bytes AS fits
FROM pg_session_memory_categories() c
LEFT JOIN (
	SELECT category, count(*) AS contexts,
		sum(total_bytes) AS total_bytes, sum(used_bytes) AS used_bytes
	FROM pg_session_memory_contexts()
	GROUP BY category
) d USING (category)
WHERE category IN ('base', 'catalog cache')
ORDER BY category;

-- What no context knows
SELECT category, contexts, total_bytes >= 0 AS total_bytes, used_bytes,
	free_bytes = total_bytes AS all_free, largest_context,
	largest_context_count, largest_context_bytes
FROM pg_session_memory_categories()
WHERE contexts IS NULL ORDER BY category;

-- Together it is the memory that the operating system counts, but for pages
-- that were never written to.
SELECT sum(c.total_bytes) >= min(p.anon_bytes) AS all_of_it
FROM pg_session_memory_categories() c, pg_session_memory_process() p;

-- Shares are of all rows, and the largest category comes first.
SELECT abs(sum(share) - 1) < 0.01 AS all_of_it, min(share) >= 0 AS plausible,
	bool_and(abs(share - total_bytes / all_bytes) < 0.0001) AS right
FROM (SELECT *, sum(total_bytes) OVER () AS all_bytes
	FROM pg_session_memory_categories()) AS c;
SELECT count(*) FILTER (WHERE total_bytes > before) AS wrong_order
FROM (SELECT *, lag(total_bytes) OVER (ORDER BY ordinality) AS before
	FROM pg_session_memory_categories() WITH ORDINALITY) AS c;

-- The largest contexts of one name
PREPARE regress_1 AS SELECT 1;
PREPARE regress_2 AS SELECT 2;
PREPARE regress_3 AS SELECT 3;
SELECT category, c.contexts >= 7 AS contexts,
	largest_context_count = l.contexts AS of_one_name,
	largest_context_bytes < total_bytes AS not_all
FROM pg_session_memory_categories() c,
	LATERAL (SELECT count(*) AS contexts FROM pg_session_memory_contexts() d
		WHERE d.name = largest_context) AS l
WHERE c.category = 'cached plans';
SELECT largest_context, largest_context_count = l.contexts AS contexts,
	largest_context_bytes = l.bytes AS bytes
FROM pg_session_memory_categories(),
	LATERAL (SELECT count(*) AS contexts, sum(total_bytes) AS bytes
		FROM pg_session_memory_contexts() d WHERE d.name = largest_context) AS l
WHERE category = 'catalog cache';

-- Each has its words, and a remedy is short enough for a hint.
SELECT category FROM pg_session_memory_categories()
WHERE explanation IS NULL OR length(explanation) < 60 OR
	remedy IS NULL OR length(remedy) NOT BETWEEN 40 AND 250;

--
-- pg_session_memory_idents()
--

-- A statement is one thing with its query tree, and counted once.
SELECT i.category, i.context, i.ident, i.contexts,
	i.total_bytes = c.subtree_bytes AS with_query_tree,
	i.total_bytes > c.total_bytes AS more
FROM pg_session_memory_idents(max_rows => 1000, by_pattern => false) i
JOIN pg_session_memory_contexts() c ON c.name = i.context AND c.ident = i.ident
WHERE i.ident LIKE 'PREPARE regress\_%' ORDER BY i.ident;
-- The text tells which statement: one that is prepared again is found again.
SELECT 'PREPARE regress_4 AS SELECT 4' AS four \gset
SELECT count(*) FROM pg_session_memory_idents(max_rows => 1000, by_pattern => false)
WHERE ident LIKE 'PREPARE regress\_4%';
:four;
DEALLOCATE regress_4;
:four;
SELECT count(*), min(contexts) AS contexts
FROM pg_session_memory_idents(max_rows => 1000, by_pattern => false)
WHERE ident LIKE 'PREPARE regress\_4%';

-- What differs in numbers alone is one row, with one of them.
DO $$ BEGIN FOR i IN 9 .. 11 LOOP
	EXECUTE format('PREPARE "a#%s" AS SELECT %s.5, $1 + %s', i, i, i);
END LOOP; END $$;
SELECT context, pattern, ident, contexts
FROM pg_session_memory_idents(max_rows => 1000) WHERE ident LIKE 'PREPARE "a%';
SELECT context, pattern, ident, contexts
FROM pg_session_memory_idents(max_rows => 1000, by_pattern => false)
WHERE ident LIKE 'PREPARE "a%' ORDER BY ident;
DEALLOCATE "a#9";
DEALLOCATE "a#10";
DEALLOCATE "a#11";

-- A cursor with the sort of its plan
BEGIN;
DECLARE regress_cursor NO SCROLL CURSOR FOR
	SELECT g FROM generate_series(1, 10000) AS g ORDER BY g DESC;
FETCH 1 FROM regress_cursor;
SELECT category, context, ident, contexts, total_bytes > 200000 AS large
FROM pg_session_memory_idents() WHERE ident = 'regress_cursor';
COMMIT;

-- The largest first, no more rows than asked for
SELECT count(*) FILTER (WHERE total_bytes > before) AS wrong_order
FROM (SELECT *, lag(total_bytes) OVER (ORDER BY ordinality) AS before
	FROM pg_session_memory_idents() WITH ORDINALITY) AS c;
SELECT count(*) FROM pg_session_memory_idents();
SELECT count(*) FROM pg_session_memory_idents(pg_backend_pid(), 5);
SELECT count(*) FROM pg_session_memory_idents(pg_backend_pid(), 0);
SELECT count(*) FROM pg_session_memory_idents(pg_backend_pid(), -1);

--
-- pg_session_memory_snapshot(), pg_session_memory_diff()
--
SELECT key, jsonb_typeof(value)
FROM jsonb_each(pg_session_memory_snapshot()) ORDER BY key COLLATE "C";
SELECT s ->> 'format' AS format, s -> 'version' AS version,
	(s -> 'pid')::int = pg_backend_pid() AS pid,
	(s ->> 'at')::timestamptz BETWEEN now() AND clock_timestamp() AS at,
	(s ->> 'backend_start')::timestamptz = backend_start AS backend_start,
	(s -> 'server_version_num')::int = current_setting('server_version_num')::int
		AS server_version_num
FROM pg_session_memory_snapshot() AS s, pg_stat_activity
WHERE pid = pg_backend_pid();

-- Totals are those of the paths.
SELECT sum(contexts) = (s -> 'contexts')::bigint AS contexts,
	sum(bytes) = (s -> 'context_bytes')::bigint AS bytes
FROM (SELECT pg_session_memory_snapshot() AS s OFFSET 0) AS s,
	pg_session_memory_snapshot_paths(s)
WHERE contexts IS NOT NULL GROUP BY s;

-- Paths begin below the root, which has one of its own.
SELECT path, contexts FROM pg_session_memory_snapshot_paths(
	pg_session_memory_snapshot())
WHERE path IN ('TopMemoryContext', 'CacheMemoryContext',
	'CacheMemoryContext > CachedPlanSource',
	'CacheMemoryContext > CachedPlanSource > CachedPlanQuery',
	'TopMemoryContext > CacheMemoryContext')
	OR path LIKE '%outside%'
ORDER BY path COLLATE "C";

-- Nothing has changed in a snapshot that is compared with itself.
SELECT s.* FROM (SELECT pg_session_memory_snapshot() AS s OFFSET 0) AS t,
	pg_session_memory_diff(t.s, t.s) AS s;

-- New, grown and gone.  The statement that looks is the same each time.
CREATE TEMP TABLE snapshots (id int, s jsonb);
PREPARE regress_look AS
	INSERT INTO snapshots VALUES ($1, pg_session_memory_snapshot());
EXECUTE regress_look(0);
EXECUTE regress_look(0);
EXECUTE regress_look(1);
DO $$ BEGIN FOR i IN 10 .. 59 LOOP
	EXECUTE format('PREPARE regress_%s AS SELECT %s', i, i);
END LOOP; END $$;
EXECUTE regress_look(2);
DO $$ BEGIN FOR i IN 10 .. 39 LOOP
	EXECUTE format('DEALLOCATE regress_%s', i);
END LOOP; END $$;
EXECUTE regress_look(3);

CREATE FUNCTION regress_growth(one int, other int)
RETURNS TABLE (path text, more bigint, growth_fits bool)
LANGUAGE sql AS $$
	SELECT d.path, contexts_after - contexts_before,
		growth_bytes = bytes_after - bytes_before AND growth_bytes <> 0
	FROM (SELECT max(s::text)::jsonb AS s FROM snapshots WHERE id = one) AS a,
		(SELECT max(s::text)::jsonb AS s FROM snapshots WHERE id = other) AS b,
		pg_session_memory_diff(a.s, b.s) AS d
	WHERE d.path LIKE '%CachedPlan%'
$$;
SELECT path, more, growth_fits FROM regress_growth(1, 2)
ORDER BY path COLLATE "C";
SELECT path, more, growth_fits FROM regress_growth(2, 3)
ORDER BY path COLLATE "C";
SELECT path, more, growth_fits FROM regress_growth(3, 1)
ORDER BY path COLLATE "C";

-- What is only in one of the two has 0 in the other.
SELECT path, contexts_before, contexts_after, bytes_before, bytes_after,
	growth_bytes
FROM pg_session_memory_diff(
	'{"format": "pg_session_memory snapshot", "version": 1, "anon_bytes": 5000,
	"swap_bytes": null, "context_bytes": 1000, "approximate": false,
	"paths": {"gone": {"contexts": 2, "bytes": 300},
		"same": {"contexts": 1, "bytes": 600},
		"other count": {"contexts": 1, "bytes": 40},
		"grown": {"contexts": 7, "bytes": 60}}}',
	'{"format": "pg_session_memory snapshot", "version": 1, "anon_bytes": 5000,
	"swap_bytes": 1, "context_bytes": 1600, "approximate": false,
	"paths": {"new": {"contexts": 3, "bytes": 100},
		"same": {"contexts": 1, "bytes": 600},
		"other count": {"contexts": 2, "bytes": 40},
		"grown": {"contexts": 7, "bytes": 860}}}');
-- Where only one of them knows what is outside, nothing can be said of it.
SELECT * FROM pg_session_memory_diff(
	'{"format": "pg_session_memory snapshot", "version": 1, "anon_bytes": null,
	"swap_bytes": null, "context_bytes": 1000, "approximate": false,
	"paths": {}}',
	'{"format": "pg_session_memory snapshot", "version": 1, "anon_bytes": 5000,
	"swap_bytes": 1, "context_bytes": 1600, "approximate": false,
	"paths": {}}');
-- It is approximate if one of both is, on either side.
SELECT b, a, d.approximate AS diff, p.path, p.approximate AS paths
FROM (SELECT pg_session_memory_snapshot() AS snapshot OFFSET 0) AS s,
	(VALUES ('false', 'false'), ('true', 'false'), ('false', 'true'),
		('true', 'true')) AS v (b, a),
	LATERAL pg_session_memory_diff(
		jsonb_set(snapshot, '{approximate}', b::jsonb),
		jsonb_set(jsonb_set(snapshot, '{approximate}', a::jsonb), '{paths}',
			snapshot->'paths' || '{"new": {"contexts": 1, "bytes": 10}}')) AS d,
	LATERAL pg_session_memory_snapshot_paths(
		jsonb_set(snapshot, '{approximate}', b::jsonb)) AS p
WHERE d.path = 'new' AND p.path IN ('TopMemoryContext', 'outside contexts')
ORDER BY b, a, p.path COLLATE "C";
SELECT count(*) FROM pg_session_memory_diff(NULL, pg_session_memory_snapshot());

-- Contexts of one name below each other are of one path: 300 savepoints.
BEGIN;
SELECT set_config('regress.before', pg_session_memory_snapshot()::text, true)
	IS NOT NULL AS taken;
SELECT string_agg(format('SAVEPOINT s%s', g), ';') AS savepoints
FROM generate_series(1, 300) AS g \gset
:savepoints;
SELECT path, contexts_after - contexts_before AS more
FROM pg_session_memory_diff(current_setting('regress.before')::jsonb,
	pg_session_memory_snapshot())
WHERE path LIKE '%CurTransactionContext%';
ROLLBACK;

--
-- Not snapshots
--
CREATE FUNCTION regress_refused(snapshot text) RETURNS TABLE (state text,
	message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM pg_session_memory_diff(snapshot::jsonb, snapshot::jsonb);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END $$;
SELECT * FROM regress_refused('[]');
SELECT * FROM regress_refused(
	jsonb_set(pg_session_memory_snapshot(), '{version}', '2')::text);
SELECT given, state, detail FROM (VALUES
	('null'), ('1'), ('"a"'), ('true'), ('{}'), ('[{}]'),
	('{"format": 1}'), ('{"format": "another", "version": 1}'),
	('{"format": "pg_session_memory snapshot"}'),
	('{"format": "pg_session_memory snapshot", "version": "1"}'),
	('{"format": "pg_session_memory snapshot", "version": -1}'),
	('{"format": "pg_session_memory snapshot", "version": 1e400}'),
	('{"format": "pg_session_memory snapshot", "version": 1}')) AS v (given),
	regress_refused(given);
SELECT given, state, detail FROM (VALUES
	('[]'), ('null'), ('{"a": 1}'), ('{"a": []}'), ('{"a": {}}'),
	('{"a": {"contexts": "1", "bytes": 1}}'),
	('{"a": {"contexts": 1, "bytes": -1}}'),
	('{"a": {"contexts": 1, "bytes": 1e30}}'),
	('{"a": {"contexts": null, "bytes": 1}}')) AS v (given),
	regress_refused(jsonb_set(pg_session_memory_snapshot(), '{paths}',
		given::jsonb)::text);
SELECT key, state, detail
FROM (VALUES ('approximate'), ('context_bytes'), ('anon_bytes'), ('swap_bytes'),
	('paths'))
	AS v (key),
	regress_refused((pg_session_memory_snapshot() - key)::text);

--
-- pg_session_memory_sample()
--
SELECT count(*), count(DISTINCT at) AS times,
	max(at) - min(at) >= interval '70 ms' AS wait,
	bool_and(state = 'active') AS active,
	bool_and(contexts > 50 AND context_bytes > 100000 AND anon_bytes > 100000)
		AS plausible
FROM pg_session_memory_sample(pg_backend_pid(), '20 ms', 5);
SELECT count(*) FROM pg_session_memory_sample(pg_backend_pid(), count => 1);
-- In the select list, once for each row
SELECT count((s).at) FROM (
	SELECT pg_session_memory_sample(pg_backend_pid(), '1 ms', 3) AS s OFFSET 0)
	AS t;
SELECT count(*) FROM (
	SELECT pg_session_memory_sample(pg_backend_pid(), '1 day', 1000000) LIMIT 1)
	AS t;
-- Nothing that would last for ages
SELECT pg_session_memory_sample(pg_backend_pid(), '0', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '-1 s', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '0.9 ms', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 day 1 ms', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 mon', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '178000000 years', 5);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 s', 0);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 s', -1);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 s', 1000001);
SELECT pg_session_memory_sample(pg_backend_pid(), '1 s', NULL);
SET statement_timeout = '100 ms';
SELECT count(*) FROM pg_session_memory_sample(pg_backend_pid(), '1 h', 10);
RESET statement_timeout;

--
-- pg_session_memory_pools
--
SET application_name = 'regress pool';
SELECT datname = current_database() AS datname, usename = session_user AS usename,
	client_addr IS NOT DISTINCT FROM inet_client_addr() AS client_addr,
	sessions, active, idle, idle_in_transaction,
	context_bytes > 100000 AS context_bytes,
	avg_context_bytes = context_bytes AND max_context_bytes = context_bytes
		AS one, anon_bytes > 100000 AS anon_bytes,
	max_anon_bytes = anon_bytes AS max_anon_bytes, longest_idle,
	longest_idle_in_transaction, oldest_backend_start < now() AS backend_start
FROM pg_session_memory_pools WHERE application_name = 'regress pool';
RESET application_name;

--
-- Processes that are not there, arguments that are not given
--
SELECT * FROM pg_session_memory_categories(-1);
SELECT * FROM pg_session_memory_idents(0);
SELECT pg_session_memory_snapshot(2147483647);
SELECT * FROM pg_session_memory_sample(-2147483648);
SELECT count(*) FROM pg_session_memory_categories(NULL);
SELECT count(*) FROM pg_session_memory_idents(NULL);
SELECT pg_session_memory_snapshot(NULL);
SELECT count(*) FROM pg_session_memory_sample(NULL);

--
-- Who may see what
--
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_nobody, regress_stats;
RESET client_min_messages;
CREATE ROLE regress_nobody;
CREATE ROLE regress_stats IN ROLE pg_read_all_stats;
SELECT pid AS checkpointer FROM pg_stat_activity
WHERE backend_type = 'checkpointer' \gset
\set VERBOSITY sqlstate
SET ROLE regress_nobody;
SELECT count(*) FROM pg_session_memory_categories(:checkpointer);
SELECT count(*) FROM pg_session_memory_idents(:checkpointer);
SELECT pg_session_memory_snapshot(:checkpointer);
SELECT count(*) FROM pg_session_memory_sample(:checkpointer, '1 ms', 1);
SELECT count(*) > 4 AS seen FROM pg_session_memory_categories();
SELECT count(*) > 4 AS seen FROM pg_session_memory_idents();
SELECT pg_session_memory_snapshot() IS NOT NULL AS seen;
SELECT count(*) AS seen
FROM pg_session_memory_sample(pg_backend_pid(), '1 ms', 1);
SET ROLE regress_stats;
SELECT count(*) > 0 AS seen FROM pg_session_memory_categories(:checkpointer);
SELECT count(*) AS seen FROM pg_session_memory_idents(:checkpointer, 1);
SELECT pg_session_memory_snapshot(:checkpointer) IS NOT NULL AS seen;
SELECT count(*) AS seen, count(state) AS states
FROM pg_session_memory_sample(:checkpointer, '1 ms', 1);
RESET ROLE;
\set VERBOSITY default
DROP ROLE regress_nobody, regress_stats;

DROP FUNCTION regress_growth(int, int);
DROP FUNCTION regress_refused(text);
DEALLOCATE ALL;
