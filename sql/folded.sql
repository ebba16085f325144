--
-- Folded stacks of the own session, and arguments that make no sense
--
-- In test/t sums and frames are those of other sessions, which do not change
-- while they are looked at.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

-- A line is a stack and an amount, and each stack is there once.
PREPARE strange AS SELECT ';', '
	1';
SELECT count(*) > 20 AS many, count(DISTINCT stack) = count(*) AS once,
	bool_and(line ~ '^TopMemoryContext(;[^;[:cntrl:]]+)* [1-9][0-9]*$')
		AS as_documented,
	count(*) FILTER (WHERE line ~ '^TopMemoryContext [0-9]+$') AS roots
FROM (SELECT line, substring(line FROM '^(.*) ') AS stack
	FROM pg_session_memory_folded(pg_backend_pid(), true) AS line) AS s;

-- The statement is the last frame.
SELECT substring(line FROM '^.*;(CachedPlanSource;.*) ') AS frames
FROM pg_session_memory_folded(pg_backend_pid(), true) AS line
WHERE line LIKE '%;CachedPlanSource;PREPARE strange%';
SELECT count(*) FROM pg_session_memory_folded(pg_backend_pid()) AS line
WHERE line LIKE '%PREPARE strange%';
DEALLOCATE strange;

-- The sum is the session's memory, but for what each look needs itself.
SELECT abs(sum(substring(line FROM '[0-9]+$')::bigint)
	- (SELECT sum(total_bytes) FROM pg_session_memory_contexts()))
	< 1000000 AS all_of_it
FROM pg_session_memory_folded(pg_backend_pid()) AS line;

-- In the select list as in FROM
SELECT count(*) > 20 AS many
FROM (SELECT pg_session_memory_folded(pg_backend_pid())) AS s;

-- NULL is all processes; below a root each.
SELECT count(DISTINCT root) > 3 AS processes,
	bool_and(root ~ ', pid [0-9]+$') AS as_documented,
	count(DISTINCT root) FILTER (
		WHERE root ~ (', pid ' || pg_backend_pid() || '$')) AS own
FROM (SELECT split_part(line, ';', 1) AS root
	FROM pg_session_memory_folded(NULL, NULL) AS line) AS s;

-- What is no process of this server
SELECT * FROM pg_session_memory_folded(0);
SELECT * FROM pg_session_memory_folded(-1, true);
SELECT * FROM pg_session_memory_folded(2147483647);
