--
-- pg_session_memory_trim: the calling session gives memory back, and nothing
-- that it has or does is touched
--
-- Other sessions, and sessions that are idle, are in test/t.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

--
-- The row
--

-- A new session has some 500 kB in contexts, as test sessions says, and as
-- much in the process.
SELECT context_bytes_before > 500000 AS context_bytes_before,
	context_bytes_after > 0 AS context_bytes_after,
	anon_bytes_before > 500000 AS anon_bytes_before,
	anon_bytes_after > 0 AS anon_bytes_after,
	released_bytes = greatest(anon_bytes_before - anon_bytes_after, 0)
		AS released_bytes,
	caches_dropped, heap_trimmed IS NOT NULL AS heap_trimmed,
	duration_ms > 0 AS duration_ms
FROM pg_session_memory_trim();

-- Without the caches nothing is freed that a context knows.
SELECT context_bytes_after = context_bytes_before AS contexts_untouched,
	released_bytes >= 0 AS released_bytes, caches_dropped
FROM pg_session_memory_trim(false);
SELECT caches_dropped FROM pg_session_memory_trim(caches => true);

-- Many tables with an index each: an index has a context of its own in the
-- catalog cache, of 1 kB at least, so 200 of them are more than 200 kB.
CREATE TABLE regress_part (a int PRIMARY KEY, b text) PARTITION BY RANGE (a);
DO $$ BEGIN
	FOR i IN 1..200 LOOP
		EXECUTE format('CREATE TABLE regress_part_%s PARTITION OF regress_part
			FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
	END LOOP;
END $$;
INSERT INTO regress_part SELECT a, 'row ' || a FROM generate_series(1, 200) a;
-- It is one command (psql puts together what is separated by "\;"), so that
-- this is also seen where something trims after each command.
SELECT count(*) FROM regress_part WHERE b > '' \;
SELECT context_bytes_before - context_bytes_after AS kept
FROM pg_session_memory_trim(false) \;
SELECT context_bytes_before - context_bytes_after > 200 * 1024 AS fell
FROM pg_session_memory_trim(true) \;
SELECT count(*) FROM pg_session_memory_contexts()
WHERE name = 'index info' AND ident LIKE 'regress\_part\_%';
-- What is used again comes back.
SELECT count(*), min(b), max(b) FROM regress_part WHERE b > '' \;
SELECT count(*) >= 200 AS back FROM pg_session_memory_contexts()
WHERE name = 'index info' AND ident LIKE 'regress\_part\_%';

-- What malloc keeps: 2,000 statements of more than 4 kB each, deallocated,
-- are 8 MB that no context has any more.  One that came after them lies above
-- them, so malloc cannot give that memory back by itself.  3 of these 8 MB
-- are the bound, for what was free before the statements came is used by some
-- of them.  Where malloc cannot be told to, nothing can be asked for.
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		EXECUTE format('PREPARE regress_%s AS SELECT %L::text', i,
			repeat('x', 4000));
	END LOOP;
END $$;
PREPARE regress_last AS SELECT 'still there'::text;
DO $$ BEGIN
	FOR i IN 1..2000 LOOP
		EXECUTE format('DEALLOCATE regress_%s', i);
	END LOOP;
END $$ \;
SELECT released_bytes > 3000000 OR NOT heap_trimmed AS released
FROM pg_session_memory_trim(false);
EXECUTE regress_last;
DEALLOCATE regress_last;

-- The view tells of the trims of this session.
SELECT last_trim_at BETWEEN backend_start AND clock_timestamp()
		AS last_trim_at,
	trimmed_bytes > 3000000 OR NOT t.heap_trimmed AS trimmed_bytes
FROM pg_session_memory, pg_session_memory_trim(false) t
WHERE pid = pg_backend_pid();

-- Anybody may trim the own session, also where nothing may be written.
CREATE ROLE regress_nobody;
SET ROLE regress_nobody;
SELECT caches_dropped FROM pg_session_memory_trim();
RESET ROLE;
DROP ROLE regress_nobody;
BEGIN READ ONLY;
SELECT caches_dropped FROM pg_session_memory_trim();
COMMIT;

--
-- What a session has
--
CREATE FUNCTION regress_trim() RETURNS boolean LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT caches_dropped FROM pg_session_memory_trim();
END;
CREATE TABLE regress_row (a int PRIMARY KEY, b text);
INSERT INTO regress_row SELECT a, 'row ' || a FROM generate_series(1, 10) a;

-- Cursors WITH HOLD, of a transaction that is over
BEGIN;
DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT * FROM regress_row ORDER BY a;
DECLARE held_part CURSOR WITH HOLD FOR SELECT * FROM regress_part ORDER BY a;
FETCH 3 FROM held;
SELECT regress_trim();
COMMIT;
SELECT regress_trim();
FETCH 2 FROM held;
FETCH BACKWARD 1 FROM held;
SELECT regress_trim();
FETCH ABSOLUTE 10 FROM held;
FETCH 1 FROM held_part;
SELECT name, is_holdable FROM pg_cursors ORDER BY name;
CLOSE ALL;

-- Cursors of this transaction: over an index, a sort, an aggregate, all
-- partitions, and the catalogs themselves; and one that is updated through
BEGIN;
DECLARE indexed SCROLL CURSOR FOR SELECT * FROM regress_row WHERE a > 2;
DECLARE sorted CURSOR FOR SELECT * FROM regress_row ORDER BY b DESC;
DECLARE grouped CURSOR FOR
	SELECT a % 3 AS c, count(*) FROM regress_row GROUP BY c ORDER BY c;
DECLARE parts CURSOR FOR SELECT p.*, r.b FROM regress_part p
	LEFT JOIN regress_row r USING (a) ORDER BY p.a;
DECLARE catalogs CURSOR FOR SELECT c.relname, a.attname
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relname IN ('pg_class', 'pg_type') AND attnum = 1
	ORDER BY c.relname;
DECLARE updated CURSOR FOR SELECT * FROM regress_row WHERE a > 8 FOR UPDATE;
FETCH 2 FROM indexed;
FETCH 1 FROM sorted;
FETCH 1 FROM grouped;
FETCH 1 FROM parts;
FETCH 1 FROM catalogs;
FETCH 1 FROM updated;
SELECT regress_trim();
FETCH 2 FROM indexed;
FETCH 1 FROM sorted;
FETCH 1 FROM grouped;
FETCH 1 FROM parts;
FETCH 1 FROM catalogs;
UPDATE regress_row SET b = 'through a cursor' WHERE CURRENT OF updated;
SELECT regress_trim();
FETCH BACKWARD 1 FROM indexed;
FETCH ALL FROM sorted;
FETCH ALL FROM grouped;
MOVE 197 FROM parts;
FETCH ALL FROM parts;
FETCH ALL FROM catalogs;
FETCH ALL FROM updated;
SELECT * FROM regress_row WHERE b LIKE 'through%';
ROLLBACK;

-- Large objects that are open
BEGIN;
SELECT lo_open(lo_from_bytea(0, 'written before'), 393216) AS lo \gset
SELECT loread(:lo, 8);
SELECT regress_trim();
SELECT loread(:lo, 6), lowrite(:lo, ', and after');
SELECT regress_trim();
SELECT lo_lseek(:lo, 0, 0), convert_from(loread(:lo, 100), 'UTF8');
ROLLBACK;

-- Prepared statements, with a generic plan and with a plan for each execution
PREPARE by_key(int) AS SELECT * FROM regress_row WHERE a = $1;
PREPARE by_part(int) AS SELECT * FROM regress_part WHERE a = $1;
PREPARE to_write(int, text) AS UPDATE regress_row SET b = $2 WHERE a = $1
	RETURNING *;
SET plan_cache_mode = force_generic_plan;
EXECUTE by_key(1);
EXECUTE by_part(100);
SELECT regress_trim();
EXECUTE by_key(2);
EXECUTE by_part(101);
RESET plan_cache_mode;
SELECT regress_trim();
EXECUTE by_key(3);
EXECUTE by_part(102);
EXECUTE to_write(4, 'written');
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
-- They follow what happens to their tables, also after a trim.
ALTER TABLE regress_row ADD COLUMN c int DEFAULT 7;
SELECT regress_trim();
EXECUTE to_write(5, 'written, too');
ALTER TABLE regress_row DROP COLUMN c;
SELECT regress_trim();
EXECUTE to_write(5, 'row 5');
EXECUTE to_write(4, 'row 4');
DEALLOCATE ALL;

-- Temporary tables with rows, indexes, a sequence and toasted values
CREATE TEMP TABLE temporary (a serial PRIMARY KEY, b text);
CREATE TEMP TABLE emptied (a int) ON COMMIT DELETE ROWS;
CREATE TEMP VIEW temporary_view AS SELECT count(*) FROM temporary;
INSERT INTO temporary (b) SELECT 'row ' || i FROM generate_series(1, 1000) i;
ALTER TABLE temporary ALTER b SET STORAGE EXTERNAL;
INSERT INTO temporary (b) VALUES (repeat('toasted', 10000));
SELECT regress_trim();
SELECT count(*), min(a), max(a), max(length(b)) FROM temporary;
SELECT b FROM temporary WHERE a = 500;
SELECT lastval(), currval('temporary_a_seq');
INSERT INTO temporary (b) VALUES ('after the trim') RETURNING *;
SELECT * FROM temporary_view;
BEGIN;
INSERT INTO emptied VALUES (1), (2);
SELECT regress_trim();
SELECT * FROM emptied;
COMMIT;
SELECT * FROM emptied;
SELECT regress_trim();
DROP TABLE temporary CASCADE;
DROP TABLE emptied;

-- Settings
SET work_mem = '7MB';
SET regress.custom = 'custom';
SET search_path = public, pg_catalog;
BEGIN;
SET LOCAL work_mem = '8MB';
SELECT regress_trim();
SHOW work_mem;
COMMIT;
SELECT regress_trim();
SHOW work_mem;
SHOW regress.custom;
SHOW search_path;
RESET work_mem;
RESET regress.custom;
RESET search_path;

-- Advisory locks, and those of tables and rows
SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712, 1);
BEGIN;
SELECT pg_advisory_xact_lock(4713);
LOCK TABLE regress_row IN SHARE ROW EXCLUSIVE MODE;
SELECT a FROM regress_row WHERE a = 1 FOR UPDATE;
SELECT regress_trim();
SELECT locktype, relation::regclass, objid, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND granted AND (locktype = 'advisory' OR
	relation = 'regress_row'::regclass)
ORDER BY locktype COLLATE "C", classid, objid, mode COLLATE "C";
COMMIT;
SELECT regress_trim();
SELECT objid, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'advisory' ORDER BY classid, objid;
SELECT pg_advisory_unlock(4711), pg_advisory_unlock_shared(4712, 1);

-- Registrations for notifications
LISTEN regress_channel;
LISTEN regress_other_channel;
SELECT regress_trim();
SELECT channel FROM pg_listening_channels() AS channel ORDER BY channel;
UNLISTEN *;

--
-- What a session is in the middle of
--

-- A transaction
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO regress_row VALUES (11, 'in the transaction');
CREATE TABLE regress_new AS SELECT * FROM regress_row WHERE a > 9;
ALTER TABLE regress_row ADD COLUMN c int DEFAULT 7;
CREATE TYPE regress_enum AS ENUM ('one', 'two');
SELECT pg_current_xact_id() AS xid, now() AS now \gset
SELECT regress_trim();
SELECT pg_current_xact_id() = :'xid' AS same_transaction,
	now() = :'now' AS same_time;
SELECT * FROM regress_row WHERE a > 9 ORDER BY a;
SELECT * FROM regress_new ORDER BY a;
SELECT 'two'::regress_enum > 'one'::regress_enum AS enum;
SHOW transaction_isolation;
ROLLBACK;
SELECT * FROM regress_row WHERE a > 9 ORDER BY a;
SELECT to_regclass('regress_new'), to_regtype('regress_enum');

-- Savepoints
BEGIN;
INSERT INTO regress_row VALUES (11, 'before the savepoint');
SAVEPOINT one;
INSERT INTO regress_row VALUES (12, 'after the savepoint');
CREATE INDEX regress_row_b ON regress_row (b);
SAVEPOINT two;
SELECT regress_trim();
ROLLBACK TO two;
SELECT regress_trim();
SELECT * FROM regress_row WHERE a > 10 ORDER BY a;
ROLLBACK TO one;
SELECT regress_trim();
SELECT * FROM regress_row WHERE a > 10 ORDER BY a;
SELECT to_regclass('regress_row_b');
SAVEPOINT three;
SELECT 1 / 0;
SELECT regress_trim();
ROLLBACK TO three;
SELECT regress_trim();
RELEASE three;
SELECT regress_trim();
COMMIT;
DELETE FROM regress_row WHERE a > 10 RETURNING *;

-- Exception blocks, in and after a subtransaction that fails
DO $$
DECLARE
	found regress_row;
BEGIN
	BEGIN
		INSERT INTO regress_row VALUES (12, 'to be undone');
		PERFORM regress_trim();
		SELECT * INTO STRICT found FROM regress_row WHERE a = 12;
		RAISE NOTICE 'inside: %', found;
		INSERT INTO regress_row VALUES (1, 'a duplicate');
	EXCEPTION WHEN unique_violation THEN
		PERFORM regress_trim();
		SELECT * INTO found FROM regress_row WHERE a = 12;
		RAISE NOTICE 'after: %, %', FOUND, found;
	END;
	PERFORM regress_trim();
	SELECT * INTO STRICT found FROM regress_row WHERE a = 1;
	RAISE NOTICE 'outside: %', found;
END $$;

-- Cursor loops, one in the other, over tables that change meanwhile, and a
-- trim for each row
CREATE TABLE regress_log (a int, what text);
DO $$
DECLARE
	r regress_row%ROWTYPE;
	p record;
	trims int := 0;
	rows int := 0;
BEGIN
	FOR r IN SELECT * FROM regress_row ORDER BY a LOOP
		PERFORM regress_trim();
		FOR p IN EXECUTE 'SELECT * FROM regress_part WHERE a <= 3 ORDER BY a' LOOP
			trims := trims + regress_trim()::int;
			rows := rows + 1;
			INSERT INTO regress_log VALUES (r.a, p.b);
			UPDATE regress_row SET b = r.b WHERE a = r.a;
		END LOOP;
	END LOOP;
	RAISE NOTICE '% rows, % trims', rows, trims;
END $$;
SELECT count(*), count(DISTINCT a) AS a, count(DISTINCT what) AS what
FROM regress_log;
TRUNCATE regress_log;

-- A loop that commits, so that its cursor is held
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT * FROM regress_row ORDER BY a LOOP
		INSERT INTO regress_log VALUES (r.a, r.b);
		PERFORM regress_trim();
		COMMIT;
		PERFORM regress_trim();
	END LOOP;
END $$;
SELECT count(*), count(DISTINCT a) AS a, count(DISTINCT what) AS what
FROM regress_log;
TRUNCATE regress_log;

-- A function in a query, with relations open in both, for each row: scans of
-- a table, of an index, of all partitions, joins, aggregates, window functions
CREATE FUNCTION regress_look(key int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SELECT r.b INTO result FROM regress_row r, regress_part p
	WHERE r.a = key AND p.a = key AND regress_trim();
	PERFORM regress_trim();
	RETURN result;
END $$;
SELECT a, regress_look(a) FROM regress_row WHERE regress_trim() ORDER BY a;
SET enable_seqscan = off;
SELECT a, regress_look(a) FROM regress_row WHERE a > 8 AND regress_trim();
RESET enable_seqscan;
SELECT count(regress_look(a)) FROM regress_part;
SELECT count(*) FROM regress_part p JOIN regress_row r ON p.a = r.a
WHERE regress_look(r.a) = p.b;
SELECT a % 2 AS odd, count(regress_look(a)), bool_and(regress_trim()) AS trimmed
FROM regress_row GROUP BY odd HAVING regress_trim() ORDER BY odd;
SELECT a, sum(a) OVER (ORDER BY a), regress_trim() FROM regress_row
WHERE a < 4;
WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL
	SELECT a + 1 FROM r WHERE a < 5 AND regress_trim())
SELECT a, regress_look(a) FROM r;

-- With parallel workers
SELECT set_config(name, 'on', false) FROM pg_settings
WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
SELECT count(*), count(regress_look(a)) FROM regress_part;
SELECT set_config(name, 'off', false) FROM pg_settings
WHERE name IN ('debug_parallel_query', 'force_parallel_mode');

-- With compiled expressions, where there is a compiler
SET jit = on;
SET jit_above_cost = 0;
SELECT sum(a + length(b)), bool_and(regress_trim()) FROM regress_row WHERE a > 0;
RESET jit;
RESET jit_above_cost;

-- Functions that return sets: of PL/pgSQL, of SQL, inlined and not
CREATE FUNCTION regress_rows() RETURNS SETOF regress_row LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT * FROM regress_row WHERE a < 3 AND regress_trim();
	PERFORM regress_trim();
	RETURN NEXT (99, 'the last'::text);
END $$;
CREATE FUNCTION regress_rows_sql() RETURNS SETOF regress_row LANGUAGE sql AS
'SELECT * FROM regress_row WHERE a < 3 AND regress_trim()';
SELECT * FROM regress_rows() WHERE regress_trim();
SELECT (regress_rows_sql()).*, regress_trim();

-- Changes of rows: triggers before and after each, and deferred ones, with a
-- foreign key and a check; conflicts, partitions, RETURNING
CREATE TABLE regress_child (
	a int REFERENCES regress_row ON UPDATE CASCADE ON DELETE CASCADE
		DEFERRABLE INITIALLY DEFERRED,
	b text DEFAULT 'trimmed: ' || regress_trim(),
	CHECK (regress_trim()));
CREATE FUNCTION regress_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM regress_trim();
	IF TG_OP = 'DELETE' THEN
		INSERT INTO regress_log VALUES (OLD.a, TG_NAME);
		RETURN OLD;
	END IF;
	INSERT INTO regress_log VALUES (NEW.a, TG_NAME);
	PERFORM regress_trim();
	RETURN NEW;
END $$;
CREATE TRIGGER a_before BEFORE INSERT OR UPDATE OR DELETE ON regress_child
FOR EACH ROW EXECUTE FUNCTION regress_trigger();
CREATE TRIGGER b_after AFTER INSERT OR UPDATE OR DELETE ON regress_child
FOR EACH ROW EXECUTE FUNCTION regress_trigger();
CREATE CONSTRAINT TRIGGER c_deferred AFTER INSERT OR UPDATE ON regress_child
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION regress_trigger();
CREATE TRIGGER d_part BEFORE INSERT ON regress_part
FOR EACH ROW EXECUTE FUNCTION regress_trigger();
INSERT INTO regress_child (a) SELECT a FROM regress_row WHERE a < 3
RETURNING *, regress_trim();
UPDATE regress_row SET a = a + 100 WHERE a = 1 AND regress_trim();
DELETE FROM regress_row WHERE a = 2 AND regress_trim();
SELECT * FROM regress_child;
SELECT a, what, count(*) FROM regress_log GROUP BY a, what
ORDER BY a, what COLLATE "C";
TRUNCATE regress_log;
INSERT INTO regress_child (a) VALUES (4711);
INSERT INTO regress_row SELECT a, 'row ' || a FROM generate_series(1, 3) a
ON CONFLICT (a) DO UPDATE SET b = 'conflict ' || regress_trim() RETURNING *;
MERGE INTO regress_row r USING (VALUES (3), (4), (12)) AS v(a)
ON r.a = v.a AND regress_trim()
WHEN MATCHED AND regress_trim() THEN UPDATE SET b = 'merged ' || regress_trim()
WHEN NOT MATCHED THEN INSERT VALUES (v.a, 'merged ' || regress_trim());
SELECT * FROM regress_row WHERE b ~ 'conflict|merged' ORDER BY a;
DELETE FROM regress_part WHERE a <= 3 AND regress_trim();
INSERT INTO regress_part SELECT a, 'row ' || a FROM generate_series(1, 3) a
WHERE regress_trim() RETURNING *, regress_trim();
COPY (SELECT a, regress_trim() FROM regress_part WHERE a < 4 ORDER BY a)
TO STDOUT;
COPY regress_part FROM STDIN WHERE regress_trim() AND a <> 200;
0	no partition has this
\.
DELETE FROM regress_part WHERE a > 198;
COPY regress_part FROM STDIN WHERE regress_trim() AND a <> 200;
199	copied
200	not copied
\.
SELECT * FROM regress_part WHERE a > 197 ORDER BY a;
COPY regress_child (a) FROM STDIN;
101
3
\.
SELECT a, b FROM regress_child ORDER BY a, b;

-- Types that are looked up again: a domain whose check trims, rows, ranges,
-- enums, arrays of them
CREATE TYPE regress_enum AS ENUM ('one', 'two', 'three');
CREATE DOMAIN regress_domain AS int CHECK (VALUE > 0 AND regress_trim());
CREATE TYPE regress_composite AS (d regress_domain, e regress_enum);
SELECT 1::regress_domain, '(1,two)'::regress_composite,
	ARRAY[(1, 'two'), (2, 'three')]::regress_composite[];
SELECT (-1)::regress_domain;
DO $$
DECLARE
	c regress_composite;
	d regress_domain := 1;
BEGIN
	FOR i IN 1 .. 3 LOOP
		c := (i, enum_last(NULL::regress_enum));
		PERFORM regress_trim();
		d := c.d;
		c.e := 'two';
		PERFORM regress_trim();
		RAISE NOTICE '% %', c, d;
	END LOOP;
END $$;

-- Commands that change the catalogs while a function of theirs trims: a new
-- table from a query, rewriting one, indexes, statistics, materialized views,
-- constraints, policies
CREATE FUNCTION regress_immutable(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
	-- From 17 on such commands have a search_path of their own.
	PERFORM public.regress_trim();
	RETURN a * 2;
END $$;
CREATE TABLE regress_new AS SELECT *, regress_trim() AS t FROM regress_row;
ALTER TABLE regress_new ALTER a TYPE bigint USING regress_immutable(a);
ALTER TABLE regress_new ADD CHECK (regress_immutable(a::int) > 0);
ALTER TABLE regress_new ADD c boolean DEFAULT regress_trim();
CREATE INDEX ON regress_new (regress_immutable(a::int));
CREATE UNIQUE INDEX ON regress_new (a) WHERE regress_immutable(a::int) > 0;
ANALYZE regress_new;
REINDEX TABLE regress_new;
VACUUM FULL ANALYZE regress_new;
SELECT count(*), bool_and(t AND c) FROM regress_new
WHERE regress_immutable(a::int) > 0;
SELECT a, b FROM regress_new WHERE a = 20;
CREATE MATERIALIZED VIEW regress_matview AS
SELECT a, regress_immutable(a) AS twice FROM regress_row;
REFRESH MATERIALIZED VIEW regress_matview;
SELECT count(*), max(twice) FROM regress_matview;
CREATE ROLE regress_nobody;
GRANT SELECT ON regress_new TO regress_nobody;
CREATE POLICY regress_policy ON regress_new
USING (a > 10 AND regress_immutable(a::int) > 0);
ALTER TABLE regress_new ENABLE ROW LEVEL SECURITY;
SET ROLE regress_nobody;
SELECT a FROM regress_new ORDER BY a;
RESET ROLE;

-- Event triggers, in the middle of commands that change the catalogs
CREATE FUNCTION regress_event() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM regress_trim();
END $$;
CREATE EVENT TRIGGER regress_start ON ddl_command_start
EXECUTE FUNCTION regress_event();
CREATE EVENT TRIGGER regress_end ON ddl_command_end
EXECUTE FUNCTION regress_event();
CREATE EVENT TRIGGER regress_drop ON sql_drop
EXECUTE FUNCTION regress_event();
CREATE EVENT TRIGGER regress_rewrite ON table_rewrite
EXECUTE FUNCTION regress_event();
CREATE TABLE regress_table (a int PRIMARY KEY, b text UNIQUE);
ALTER TABLE regress_table ADD c int REFERENCES regress_table,
	ALTER a TYPE bigint, DROP b;
CREATE TABLE regress_part_new PARTITION OF regress_part
FOR VALUES FROM (1000) TO (1001);
ALTER TABLE regress_part DETACH PARTITION regress_part_new;
DROP TABLE regress_part_new, regress_table;
DROP EVENT TRIGGER regress_start;
DROP EVENT TRIGGER regress_end;
DROP EVENT TRIGGER regress_drop;
DROP EVENT TRIGGER regress_rewrite;

--
-- Arguments
--
\set VERBOSITY sqlstate
-- Could be one function or the other.
SELECT * FROM pg_session_memory_trim(NULL);
SELECT * FROM pg_session_memory_trim(true, 1000);
SELECT * FROM pg_session_memory_trim(3000000000);
\set VERBOSITY default
SELECT * FROM pg_session_memory_trim(NULL::boolean);
SELECT pg_session_memory_trim(NULL::integer) IS NULL AS nothing;
SELECT pg_session_memory_trim(NULL, 1000) IS NULL AS nothing;
SELECT pg_session_memory_trim(pg_backend_pid(), NULL) IS NULL AS nothing;

-- The own session needs not to be asked.
SELECT outcome, released_bytes >= 0 AS bytes
FROM pg_session_memory_trim(pg_backend_pid());
SELECT outcome, context_bytes_after > 0 AS bytes, caches_dropped
FROM pg_session_memory_trim(pg_backend_pid(), 1000);
SELECT outcome FROM pg_session_memory_trim(pg_backend_pid(), 9223372036854775807);
SELECT pg_session_memory_trim(pg_backend_pid(), -1);

-- What is no process of this server is not waited for.
SELECT * FROM pg_session_memory_trim(0);
SELECT pg_session_memory_trim(-1, 1000000);
SELECT pg_session_memory_trim(-2147483648);
SELECT pg_session_memory_trim(2147483647, 9223372036854775807);
SELECT pg_session_memory_trim(0, -1);
SELECT pg_session_memory_trim(0, -9223372036854775808);

-- In a transaction that has failed it is as any other statement.
BEGIN;
SELECT 1 / 0;
SELECT caches_dropped FROM pg_session_memory_trim();
ROLLBACK;
SELECT caches_dropped FROM pg_session_memory_trim();

SET client_min_messages = warning;
DROP TABLE regress_child, regress_row, regress_part, regress_log, regress_new
	CASCADE;
DROP FUNCTION regress_trim, regress_look, regress_trigger, regress_immutable,
	regress_event CASCADE;
DROP TYPE regress_composite, regress_domain, regress_enum CASCADE;
DROP ROLE regress_nobody;
