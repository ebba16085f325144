--
-- pg_session_memory_process(): what the operating system counts
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

-- A new session has some megabytes of its own, and maps the server's program
-- and shared memory, which it shares with the other processes.
SELECT rss_bytes > 4000000 AS rss, pss_bytes > 1000000 AS pss,
	private_bytes > 500000 AS private, shared_bytes > 1000000 AS shared,
	anon_bytes > 500000 AS anon, swap_bytes >= 0 AS swap,
	pss_anon_bytes > 500000 AS pss_anon, pss_file_bytes > 0 AS pss_file,
	pss_shmem_bytes > 0 AS pss_shmem
FROM pg_session_memory_process();

-- One row for each process that is there, the parts within the whole.  A
-- page's share is rounded down to a kB in each of the three parts of pss.
CREATE TEMP TABLE process AS
SELECT a.pid, a.backend_type, p.*
FROM pg_stat_activity a, LATERAL pg_session_memory_process(a.pid) AS p
WHERE a.pid = pg_backend_pid() OR
	a.backend_type IN ('checkpointer', 'background writer', 'walwriter');
SELECT backend_type, rss_bytes > 0 AS rss,
	pss_bytes BETWEEN private_bytes AND rss_bytes AS pss,
	private_bytes + shared_bytes = rss_bytes AS whole,
	anon_bytes BETWEEN 1 AND rss_bytes AS anon,
	pss_anon_bytes BETWEEN 1 AND anon_bytes AS pss_anon,
	pss_bytes - pss_anon_bytes - pss_file_bytes - pss_shmem_bytes
		BETWEEN 0 AND 3 * 1024 AS pss_parts
FROM process ORDER BY backend_type COLLATE "C";
SELECT count(*) AS not_of_kilobytes FROM process,
	LATERAL (VALUES (rss_bytes), (pss_bytes), (private_bytes), (shared_bytes),
		(anon_bytes), (swap_bytes), (pss_anon_bytes), (pss_file_bytes),
		(pss_shmem_bytes)) AS v(bytes)
WHERE bytes % 1024 <> 0;

-- The default is the own session.
SELECT count(*) FROM pg_session_memory_process() AS d,
	pg_session_memory_process(pg_backend_pid()) AS o
WHERE abs(d.rss_bytes - o.rss_bytes) < 4000000;

--
-- What a session allocates is found where it belongs.
--
-- 100 MB in the value of a setting: all of it is anonymous and private, and
-- shared by nobody.  The bounds leave 10 MB for what else happens, and 50 MB
-- for the view, whose figure comes from counters that Linux keeps for each
-- processor and adds up now and then.  What was swapped out counts as well.
--
CREATE TEMP TABLE before AS SELECT p.*, s.anon_bytes + s.swap_bytes AS seen
FROM pg_session_memory_process() AS p, pg_session_memory AS s
WHERE s.pid = pg_backend_pid();
SELECT length(set_config('regress.large', repeat('x', 100000000), false));
CREATE TEMP TABLE after AS SELECT p.*, s.anon_bytes + s.swap_bytes AS seen
FROM pg_session_memory_process() AS p, pg_session_memory AS s
WHERE s.pid = pg_backend_pid();
SELECT a.rss_bytes + a.swap_bytes - b.rss_bytes - b.swap_bytes > 90000000
		AS rss,
	a.pss_bytes + a.swap_bytes - b.pss_bytes - b.swap_bytes > 90000000
		AS pss,
	a.private_bytes + a.swap_bytes - b.private_bytes - b.swap_bytes > 90000000
		AS private,
	a.anon_bytes + a.swap_bytes - b.anon_bytes - b.swap_bytes > 90000000
		AS anon,
	a.pss_anon_bytes + a.swap_bytes - b.pss_anon_bytes - b.swap_bytes > 90000000
		AS pss_anon,
	abs(a.shared_bytes - b.shared_bytes) < 10000000 AS shared,
	abs(a.pss_file_bytes - b.pss_file_bytes) < 10000000 AS pss_file,
	abs(a.pss_shmem_bytes - b.pss_shmem_bytes) < 10000000 AS pss_shmem,
	a.seen - b.seen > 50000000 AS in_the_view
FROM before b, after a;
RESET regress.large;
