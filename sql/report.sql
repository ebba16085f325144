--
-- The HTML page: its shape, and what becomes of texts that users name
--
\pset format unaligned
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_session_memory;
RESET client_min_messages;

-- Texts: nothing that means something to HTML, psql or COPY, and all ASCII
SELECT pg_session_memory_report_text($$<script>alert("it's & \n")</script>$$);
SELECT pg_session_memory_report_text(E'a\tb\nc\r\x0b\fd\x01\x1b\x7f');
SELECT pg_session_memory_report_text('abc', 3), pg_session_memory_report_text('abcd', 3),
	pg_session_memory_report_text('abc', 0), pg_session_memory_report_text('abc', -1),
	pg_session_memory_report_text('', 3), pg_session_memory_report_text(NULL, 3);

-- Amounts and durations
SELECT b, pg_session_memory_report_size(b)
FROM unnest('{0,1,1023,1024,-1024,10188,10240,1048576,123456789,9223372036854775807}'::bigint[]) AS b;
SELECT pg_session_memory_report_size(NULL), pg_session_memory_report_duration(NULL);
SELECT d, pg_session_memory_report_duration(d::interval)
FROM unnest('{-1 s,0,99 s,100 s,90 min,47 hours,48 hours,30 days}'::text[]) AS d;

-- A bar is as wide as its memory, and says what it is made of.
SELECT pg_session_memory_report_bar('{1048576,0,NULL,0,0,2097152,0,0,1,0,0}', 4194304);
SELECT pg_session_memory_report_bar('{NULL}', 1);

-- The tree: its own bytes are all bytes, children lie within their parents.
SELECT count(*) > 30 AS nodes, count(*) FILTER (WHERE level = 1) AS roots,
	sum(own_bytes) = max(subtree_bytes) AS whole,
	min(offset_bytes) AS first, max(offset_bytes + subtree_bytes) = max(subtree_bytes) AS inside,
	bool_and(own_bytes BETWEEN 0 AND subtree_bytes) AS own
FROM pg_session_memory_report_tree(ARRAY[pg_backend_pid()]);
-- the observer's own contexts change while it works, the checkpointer's do not
SELECT sum(t.own_bytes) = s.context_bytes AS bytes, sum(t.contexts) = s.contexts AS contexts
FROM pg_session_memory s, pg_session_memory_report_tree(ARRAY[s.pid]) t
WHERE s.backend_type = 'checkpointer' GROUP BY s.context_bytes, s.contexts;
SELECT count(*) FROM pg_session_memory_report_tree('{}');
SELECT count(*) FROM pg_session_memory_report_tree('{NULL,0,-1,2147483647}');

-- The page of a session with names of the worst kind
SET application_name = '<script>app("1")</script>';
PREPARE "<script>alert('prepared')</script>" AS SELECT '</style><!-- "x" \'' -->';
PREPARE "a""b'c" AS SELECT 1;
CREATE TEMP TABLE page AS
	SELECT html, row_number() OVER () AS n
	FROM pg_session_memory_report(title => '</title><script>title</script>') AS html;
SELECT min(n) FILTER (WHERE html LIKE '<!DOCTYPE html>%') AS first,
	max(n) FILTER (WHERE html LIKE '%</body></html>') = max(n) AS last,
	count(*) FILTER (WHERE html IS NULL) AS nulls,
	count(*) FILTER (WHERE html ~ '[^ -~]|\\') AS not_as_it_is,
	max(length(html)) < 8000 AS short, sum(length(html)) < 2000000 AS small,
	count(*) > 300 AS many
FROM page;
SELECT substring(html FROM '<h[12].*</h[12]>') AS heading FROM page WHERE html ~ '<h[12]' ORDER BY n;
-- one script, ours; what the users named is there, harmless
SELECT count(*) AS scripts FROM page, regexp_matches(html, '<script', 'gi');
SELECT count(*) > 0 AS application FROM page WHERE html LIKE '%&#60;script&#62;app(&#34;1&#34;)&#60;/script&#62;%';
-- nothing that a browser would load
SELECT count(*) FROM page WHERE html ~* '(src|href|action)="?(http|//)|url\([^#]|@import|<(link|img|iframe|object|embed|form)';
-- what needs preloading says so where the library is not preloaded
SELECT array_agg(substring(html FROM 'nothing.*|statements.*|there.*') ORDER BY n)
	IS NOT DISTINCT FROM CASE
	WHEN current_setting('shared_preload_libraries') LIKE '%pg_session_memory%' THEN NULL
	ELSE '{nothing is recorded.</p>,statements are not measured.</p>,there are no events.</p>}'::text[] END
	AS said
FROM page WHERE html LIKE '%Without pg_session_memory in shared_preload_libraries%';
RESET application_name;
DEALLOCATE ALL;

-- Arguments
SELECT count(*) > 100 FROM pg_session_memory_report('-1 day', -5);
SELECT count(*) > 100 FROM pg_session_memory_report('1000 years', 2147483647, '');
SELECT count(*) FROM pg_session_memory_report(details => 0) AS html WHERE html LIKE '<details%';
DROP TABLE page;
