# What the memory is, why it stays, and what gives it back.
#
# For each cause of a bloated session: a session with that bloat is seen by
# another one, in the right category.  What explanation and remedy claim of
# it is then done, and does what they claim; so does what they say is of no
# use.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $mb = 1024 * 1024;

my $node = start_server(
	'categories', q(
shared_preload_libraries = 'pg_session_memory'
max_locks_per_transaction = 512
work_mem = 64MB
temp_buffers = 32MB
jit = off
));
my $observer = open_session($node);

# The row of a category, as the observer sees the session; one of zeros if
# there is none.
sub seen
{
	my ($pid, $category) = @_;

	return rows_of($observer,
		"SELECT * FROM pg_session_memory_categories($pid)
		WHERE category = '$category'")->[0]
	  // { contexts => 0, total_bytes => 0 };
}

# The same as the session sees itself.
sub own
{
	my ($session, $category) = @_;

	return rows_of($session,
		"SELECT * FROM pg_session_memory_categories()
		WHERE category = '$category'")->[0];
}

# The category of most contexts' bytes.
sub largest
{
	my ($pid) = @_;

	return $observer->query_safe(
		"SELECT category FROM pg_session_memory_categories($pid)
		WHERE contexts IS NOT NULL LIMIT 1");
}

# Whether two amounts are the same but for a twentieth.
sub is_about
{
	my ($got, $expected, $what) = @_;

	cmp_ok(abs($got - $expected), '<=', $expected / 20, $what);
}

# Waits until the observer sees a category as a condition wants it.
sub becomes
{
	my ($pid, $category, $condition, $what) = @_;

	ok( $node->poll_query_until(
			'postgres',
			"SELECT $condition FROM pg_session_memory_categories($pid)
			WHERE category = '$category'"),
		$what);
}

#
# Catalog caches
#
$node->safe_psql(
	'postgres', q(
CREATE TABLE part (a int, b int) PARTITION BY RANGE (a);
CREATE INDEX ON part (b)));
$node->safe_psql(
	'postgres', qq(
DO \$\$ BEGIN FOR i IN $_ * 500 .. $_ * 500 + 499 LOOP
	EXECUTE format('CREATE TABLE part_%s PARTITION OF part
		FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
END LOOP; END \$\$)) foreach 0 .. 1;

my $session = open_session($node);
my $pid = backend_pid($session);
$session->query_safe('SELECT count(*) FROM part WHERE b = 1');
my $before = seen($pid, 'catalog cache');
is(largest($pid), 'catalog cache', 'catalog cache: is the largest category');
cmp_ok($before->{contexts}, '>=', 1000,
	'catalog cache: has a context for each index');
cmp_ok($before->{total_bytes}, '>', 5 * $mb, 'catalog cache: is large');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_idents($pid, 2000, false)
		WHERE context = 'index info' AND ident LIKE 'part\\_%\\_b\\_idx'"),
	1000,
	'catalog cache: the indexes are named');
is( $observer->query_safe(
		"SELECT pattern, contexts, total_bytes >= 1000 * 1024,
			ident ~ '^part_\\d+_b_idx\$'
		FROM pg_session_memory_idents($pid, 1) WHERE context = 'index info'"),
	'part_#_b_idx|1000|t|t',
	'catalog cache: the partitions of an index are one row');

$session->query_safe('DISCARD ALL');
my $after = seen($pid, 'catalog cache');
is_about($after->{total_bytes}, $before->{total_bytes},
	'catalog cache: DISCARD ALL gives back none');
$session->query_safe('SELECT pg_session_memory_trim()');
$after = seen($pid, 'catalog cache');
cmp_ok($after->{contexts}, '<', 300,
	'catalog cache: pg_session_memory_trim() empties the caches');
cmp_ok($after->{used_bytes}, '<', 0.6 * $before->{used_bytes},
	'catalog cache: most of what they had is free');
# An index has 1 kB or more in its own context; the rest is between others.
cmp_ok($after->{total_bytes}, '<', $before->{total_bytes} - 900 * 1024,
	'catalog cache: pg_session_memory_trim() gives a part back');
$session->quit;

# What DDL makes obsolete goes.
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe('SELECT count(*) FROM part WHERE a < 200');
$before = seen($pid, 'catalog cache')->{contexts};
$node->safe_psql('postgres',
	'DROP TABLE ' . join(', ', map { "part_$_" } 0 .. 199));
$session->query_safe('SELECT 1');
cmp_ok(seen($pid, 'catalog cache')->{contexts},
	'<=', $before - 200, 'catalog cache: DDL drops what is obsolete');
$session->quit;

#
# Prepared statements
#
sub prepare
{
	my ($session, $count, $first) = @_;
	$first //= 1;

	$session->query_safe(
		"DO \$\$ BEGIN FOR i IN $first .. $first - 1 + $count LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END \$\$");
}

$session = open_session($node);
$pid = backend_pid($session);
prepare($session, 2000);
$before = seen($pid, 'cached plans');
is(largest($pid), 'cached plans', 'prepared statements: are the largest');
cmp_ok($before->{contexts}, '>=', 4000,
	'prepared statements: two contexts each');
cmp_ok($before->{total_bytes}, '>', 10 * $mb, 'prepared statements: large');
is($before->{largest_context_count},
	2000, 'prepared statements: the largest group counts them');
like($before->{largest_context}, qr/^CachedPlan/,
	'prepared statements: the largest group names them');
is($before->{used_bytes} + $before->{free_bytes},
	$before->{total_bytes},
	'prepared statements: used and free bytes are known');

# 1,000 more, of the same kind each: first with numbers, and longer than what is
# read of a text, so that they are cut at different places.
prepare($session, 1000, 2001);
$session->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 1000 LOOP
	EXECUTE format('PREPARE long%s AS SELECT %s, %s, %s, %s FROM pg_class', i,
		i * 7, i * 131, i * 100003, repeat('relname, oid, ', 150) || i);
END LOOP; END $$));
is( $observer->query_safe(
		"SELECT context, left(pattern, 40), contexts, total_bytes >= 3000 * 8192,
			ident ~ '^PREPARE s\\d+ AS SELECT relname, \\d+ FROM pg_class'
		FROM pg_session_memory_idents($pid, 10)
		WHERE pattern LIKE 'PREPARE s%' AND context = 'CachedPlanSource'"),
	'CachedPlanSource|PREPARE s# AS SELECT relname, # FROM pg_|3000|t|t',
	'prepared statements: 3,000 that differ in numbers are one row');
is( $observer->query_safe(
		"SELECT count(*), sum(contexts), min(length(pattern)),
			min(length(ident))
		FROM pg_session_memory_idents($pid, 10)
		WHERE pattern LIKE 'PREPARE long#%' AND context = 'CachedPlanSource'"),
	'1|1000|768|1023',
	'prepared statements: so are 1,000 long ones');
is( $observer->query_safe(
		"SELECT count(*), count(DISTINCT pattern), max(contexts)
		FROM pg_session_memory_idents($pid, 10000, false)
		WHERE context = 'CachedPlanSource'"),
	'4000|2|1',
	'prepared statements: one by one, if that is asked for');
$session->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 1000 LOOP
	EXECUTE format('DEALLOCATE long%s', i);
	EXECUTE format('DEALLOCATE s%s', i + 2000);
END LOOP; END $$));
$before = seen($pid, 'cached plans');

$session->query_safe('DISCARD PLANS');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$before->{total_bytes},
	'prepared statements: DISCARD PLANS frees nothing');
$session->query_safe('SELECT pg_session_memory_trim()');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$before->{total_bytes},
	'prepared statements: pg_session_memory_trim() frees nothing');
$session->query_safe('DEALLOCATE ALL');
cmp_ok(seen($pid, 'cached plans')->{contexts},
	'<', 50, 'prepared statements: DEALLOCATE ALL frees them');

prepare($session, 2000);
cmp_ok(seen($pid, 'cached plans')->{contexts},
	'>=', 4000, 'prepared statements: are there again');
$session->query_safe('DISCARD ALL');
cmp_ok(seen($pid, 'cached plans')->{contexts},
	'<', 50, 'prepared statements: DISCARD ALL frees them');

# A plan that is outdated keeps its memory until it is used again.
$session->query_safe(
	q(SET plan_cache_mode = force_generic_plan;
	PREPARE large AS SELECT count(*) FROM part WHERE b = $1));
my $none = seen($pid, 'cached plans')->{total_bytes};
$session->query_safe('EXECUTE large(1)');
$before = seen($pid, 'cached plans')->{total_bytes};
cmp_ok($before - $none, '>', $mb, 'plans: the plan of 800 partitions is large');
$node->safe_psql('postgres', 'ALTER TABLE part ALTER b SET STATISTICS 10');
$session->query_safe('SELECT 1');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$before, 'plans: a changed table frees nothing');
$session->query_safe('DISCARD PLANS');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$before, 'plans: nor does DISCARD PLANS');
$session->query_safe('EXECUTE large(1)');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$before, 'plans: the next execution replaces the plan');
$session->query_safe('DEALLOCATE large');
cmp_ok(seen($pid, 'cached plans')->{total_bytes},
	'<', $before / 2, 'plans: DEALLOCATE frees it');
$session->quit;

#
# Functions of PL/pgSQL, and the statements inside them
#
$node->safe_psql(
	'postgres', q(
DO $$ BEGIN FOR i IN 1 .. 300 LOOP
	EXECUTE format('CREATE FUNCTION f%s(n int) RETURNS bigint LANGUAGE plpgsql AS
		$f$ DECLARE a bigint; BEGIN
			SELECT count(*) INTO a FROM pg_class WHERE oid = n;
			SELECT a + count(*) INTO a FROM pg_proc WHERE oid = n;
			RETURN a; END $f$', i);
END LOOP; END $$;
CREATE FUNCTION polymorphic(a anyelement) RETURNS anyelement
	LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
CREATE FUNCTION fired() RETURNS trigger
	LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE triggering (a int) PARTITION BY LIST (a);
CREATE TABLE triggering_1 PARTITION OF triggering FOR VALUES IN (1);
CREATE TABLE triggering_2 PARTITION OF triggering FOR VALUES IN (2);
CREATE TRIGGER first AFTER INSERT ON triggering
	FOR EACH ROW EXECUTE FUNCTION fired();
CREATE TRIGGER second AFTER INSERT ON triggering
	FOR EACH ROW EXECUTE FUNCTION fired();
));
$session = open_session($node);
$pid = backend_pid($session);
my $calls = 'SELECT ' . join(' + ', map { "f$_(1)" } 1 .. 300);
$session->query_safe($calls);
$before = seen($pid, 'functions');
my $plans = seen($pid, 'cached plans');
cmp_ok($before->{contexts}, '>=', 300, 'functions: a context each');
cmp_ok($before->{total_bytes}, '>', 2 * $mb, 'functions: are large');
is("$before->{largest_context} $before->{largest_context_count}",
	'PL/pgSQL function 300', 'functions: are the largest of their category');
cmp_ok($plans->{contexts}, '>=', 1200,
	'functions: their statements are cached plans');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_idents($pid, 2000, false)
		WHERE context = 'PL/pgSQL function' AND ident ~ '^f\\d+.integer.\$'"),
	300,
	'functions: are named');

$session->query_safe('DISCARD ALL');
$session->query_safe('SELECT pg_session_memory_trim()');
is_about(seen($pid, 'functions')->{total_bytes},
	$before->{total_bytes},
	'functions: neither DISCARD ALL nor pg_session_memory_trim() frees them');
is_about(seen($pid, 'cached plans')->{total_bytes},
	$plans->{total_bytes}, 'functions: nor their statements');

# Redefined, and then called
$node->safe_psql(
	'postgres', q(
DO $$ BEGIN FOR i IN 1 .. 300 LOOP
	EXECUTE format('CREATE OR REPLACE FUNCTION f%s(n int) RETURNS bigint
		LANGUAGE plpgsql AS $f$ BEGIN RETURN 1; END $f$', i);
END LOOP; END $$));
$session->query_safe('SELECT 1');
is_about(seen($pid, 'functions')->{total_bytes},
	$before->{total_bytes}, 'functions: redefined, are still there');
$session->query_safe($calls);
$after = seen($pid, 'functions');
is("$after->{largest_context} $after->{largest_context_count}",
	'PL/pgSQL function 300',
	'functions: called after that, the new ones replace them');
cmp_ok($after->{used_bytes}, '<', 0.8 * $before->{used_bytes},
	'functions: and what the old ones had is free');
cmp_ok(seen($pid, 'cached plans')->{total_bytes},
	'<', 0.3 * $plans->{total_bytes}, 'functions: and the old statements go');

# Compiled more than once
sub compiled
{
	my ($ident) = @_;

	return $observer->query_safe(
		"SELECT sum(contexts) FROM pg_session_memory_idents($pid, 2000, false)
		WHERE context = 'PL/pgSQL function' AND ident = '$ident'");
}
$session->query_safe(
	"SELECT polymorphic(1), polymorphic('a'::text), polymorphic(now())");
is(compiled('polymorphic(anyelement)'),
	3, 'functions: a polymorphic one is compiled for each type');
$session->query_safe('INSERT INTO triggering VALUES (1), (2)');
is(compiled('fired()'), 4,
	'functions: one of triggers is compiled for each trigger and partition');
$session->quit;

#
# Cursors
#
my $rows = "SELECT g, repeat('x', 100) FROM generate_series(1, 100000) AS g";
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe("BEGIN; DECLARE held CURSOR WITH HOLD FOR $rows; COMMIT");
$before = seen($pid, 'cursors');
is(largest($pid), 'cursors', 'cursors: a held one is the largest category');
cmp_ok($before->{total_bytes}, '>', 10 * $mb, 'cursors: has its rows');
like($before->{largest_context}, qr/^(PortalHoldContext|tuplestore tuples)$/,
	'cursors: the rows are the largest of it');
$session->query_safe('CLOSE held');
cmp_ok(seen($pid, 'cursors')->{total_bytes},
	'<', $mb, 'cursors: CLOSE frees it');
foreach my $remedy ('CLOSE ALL', 'DISCARD ALL')
{
	$session->query_safe(
		"BEGIN; DECLARE held CURSOR WITH HOLD FOR $rows; COMMIT");
	cmp_ok(seen($pid, 'cursors')->{total_bytes},
		'>', 10 * $mb, 'cursors: is there again');
	$session->query_safe($remedy);
	cmp_ok(seen($pid, 'cursors')->{total_bytes},
		'<', $mb, "cursors: $remedy frees it");
}
$session->query_safe("SET work_mem = '64kB'; BEGIN;
	DECLARE held CURSOR WITH HOLD FOR $rows; COMMIT; RESET work_mem");
cmp_ok(seen($pid, 'cursors')->{total_bytes},
	'<', $mb, 'cursors: beyond work_mem the rows are in temporary files');
$session->query_safe('CLOSE held');

# One without hold goes with its transaction; its plan is execution.
$session->query_safe("BEGIN; DECLARE opened CURSOR FOR $rows ORDER BY g DESC;
	MOVE 1 FROM opened");
is(largest($pid), 'execution', 'cursors: what the plan needs is execution');
cmp_ok(seen($pid, 'execution')->{total_bytes},
	'>', 10 * $mb, 'cursors: its sort is large');
is( $observer->query_safe(
		"SELECT ident, total_bytes > 10 * 1024 * 1024
		FROM pg_session_memory_idents($pid, 1)"),
	'opened|t',
	'cursors: the cursor with the sort is named');
$session->query_safe('CLOSE opened');
cmp_ok(seen($pid, 'execution')->{total_bytes},
	'<', $mb, 'execution: CLOSE frees it');
$session->query_safe("DECLARE opened CURSOR FOR $rows ORDER BY g DESC;
	MOVE 1 FROM opened");
cmp_ok(seen($pid, 'execution')->{total_bytes},
	'>', 10 * $mb, 'execution: is there again');
$session->query_safe('COMMIT');
cmp_ok(seen($pid, 'execution')->{total_bytes},
	'<', $mb, 'execution: the end of the transaction frees it');
cmp_ok(seen($pid, 'cursors')->{total_bytes},
	'<', $mb, 'cursors: the end of the transaction closes it');
$session->quit;

# A statement that runs, with work_mem and with less
foreach my $work_mem (qw(64MB 1MB))
{
	$session = open_session($node);
	$pid = backend_pid($session);
	$session->query_safe("SET work_mem = '$work_mem'");
	start_statement($session,
		"SELECT pg_sleep(1000) FROM ($rows ORDER BY g DESC OFFSET 0) AS s");
	$node->poll_query_until('postgres',
		"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid");
	if ($work_mem eq '64MB')
	{
		cmp_ok(seen($pid, 'execution')->{total_bytes},
			'>', 10 * $mb, 'execution: the sort of a running statement');
	}
	else
	{
		cmp_ok(seen($pid, 'execution')->{total_bytes},
			'<', 5 * $mb, 'execution: less work_mem makes it smaller');
	}
	$observer->query_safe("SELECT pg_cancel_backend($pid)");
	$node->poll_query_until('postgres',
		"SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid");
	cmp_ok(seen($pid, 'execution')->{total_bytes},
		'<', $mb, 'execution: the end of the statement frees it');
	$session->quit;
}

#
# An open transaction: triggers to be fired at its end, and savepoints
#
$node->safe_psql('postgres',
	'CREATE TABLE deferring (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
foreach my $end ('ROLLBACK', 'COMMIT')
{
	$session = open_session($node);
	$pid = backend_pid($session);
	$session->query_safe('BEGIN');
	$session->query_safe(
		'INSERT INTO deferring SELECT 1 FROM generate_series(1, 2);
		DELETE FROM deferring;
		INSERT INTO deferring
			SELECT 1 + g / 2 FROM generate_series(1, 400000) AS g;
		DELETE FROM deferring');
	is(largest($pid), 'transaction', 'transaction: is the largest category');
	$before = seen($pid, 'transaction');
	cmp_ok($before->{total_bytes},
		'>', 3 * $mb, 'transaction: triggers to be fired');
	$session->query_safe('SELECT pg_session_memory_trim()');
	is_about(seen($pid, 'transaction')->{total_bytes},
		$before->{total_bytes},
		'transaction: stays while the transaction is open');
	$session->query_safe(join ';', map { "SAVEPOINT s$_" } 1 .. 300);
	cmp_ok(seen($pid, 'transaction')->{contexts},
		'>=', 300, 'transaction: a context for each savepoint');
	$session->query_safe($end);
	$after = seen($pid, 'transaction');
	cmp_ok($after->{total_bytes}, '<', $mb / 10, "transaction: $end frees it");
	cmp_ok($after->{contexts}, '<', 5, "transaction: $end frees savepoints");
	$session->quit;
}

#
# Temporary tables
#
my $temporary = "CREATE TEMP TABLE temporary AS
	SELECT g, repeat('x', 1000) AS t FROM generate_series(1, 14000) AS g;
	SELECT count(t) FROM temporary";
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe($temporary);
$before = seen($pid, 'temporary tables');
is(largest($pid), 'temporary tables', 'temporary tables: are the largest');
cmp_ok($before->{total_bytes}, '>', 12 * $mb, 'temporary tables: 14 MB');
foreach my $useless ('DROP TABLE temporary', 'DISCARD TEMP', 'DISCARD ALL',
	'SELECT pg_session_memory_trim()')
{
	$session->query_safe($useless);
	is_about(seen($pid, 'temporary tables')->{total_bytes},
		$before->{total_bytes}, "temporary tables: $useless frees no buffers");
}
$session->quit;
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe("SET temp_buffers = '1MB'; $temporary");
cmp_ok(seen($pid, 'temporary tables')->{total_bytes},
	'<', 2 * $mb, 'temporary tables: temp_buffers limits them');
$session->quit;
my ($result, $output, $error) = $node->psql('postgres',
	"CREATE TEMP TABLE t AS SELECT 1; SET temp_buffers = '2MB'");
like($error, qr/"temp_buffers" cannot be changed after/,
	'temporary tables: temp_buffers must be changed before');

#
# What every session has: its table of locks grows and does not shrink.
#
$session = open_session($node);
$pid = backend_pid($session);
$none = seen($pid, 'base')->{total_bytes};
$session->query_safe('SELECT count(*) FROM part WHERE b = 1');
$before = seen($pid, 'base')->{total_bytes};
cmp_ok($before, '>', $none + 100000, 'base: grows with tables and locks');
$session->query_safe($_)
  foreach 'DISCARD ALL', 'SELECT pg_session_memory_trim()';
is_about(seen($pid, 'base')->{total_bytes}, $before, 'base: stays');
cmp_ok($none, '<', $mb, 'base: is less than a megabyte in a new session');
$session->quit;

#
# Freed, and kept by malloc: what is prepared last lies behind all the rest
#
sub leave_holes
{
	my ($session) = @_;

	$session->query_safe('DEALLOCATE ALL');
	prepare($session, 4000);
	$session->query_safe(
		q(DO $$ BEGIN FOR i IN 1 .. 3999 LOOP
			EXECUTE format('DEALLOCATE s%s', i);
		END LOOP; END $$));
}

$session = open_session($node);
$pid = backend_pid($session);
my $outside = seen($pid, 'outside contexts')->{total_bytes};
leave_holes($session);
$before = own($session, 'malloc, free');
cmp_ok($before->{total_bytes}, '>', 20 * $mb, 'malloc: keeps what was freed');
is($before->{contexts}, undef, 'malloc: it is in no context');
is( $session->query_safe(
		'SELECT category FROM pg_session_memory_categories() LIMIT 1'),
	'malloc, free',
	'malloc: it is the largest part of the session');
cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
	'>', $outside + 20 * $mb,
	'malloc: for another session it is outside of contexts');
is(seen($pid, 'malloc, free')->{total_bytes},
	0, 'malloc: which cannot tell it apart');
cmp_ok(own($session, 'outside contexts')->{total_bytes},
	'<', 10 * $mb, 'malloc: the session itself can');
$session->query_safe('DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES');
is_about(own($session, 'malloc, free')->{total_bytes},
	$before->{total_bytes}, 'malloc: DISCARD gives back none');
my $caches = seen($pid, 'catalog cache')->{contexts};
$session->query_safe('SELECT pg_session_memory_trim(false)');
cmp_ok(own($session, 'malloc, free')->{total_bytes},
	'<', 2 * $mb, 'malloc: pg_session_memory_trim(false) gives it back');
cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
	'<', $outside + 5 * $mb, 'malloc: others see that');
cmp_ok(seen($pid, 'catalog cache')->{contexts},
	'>=', $caches, 'malloc: no cache was dropped for it');

# By itself, if it is told to
leave_holes($session);
cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
	'>', $outside + 20 * $mb, 'malloc: keeps it again');
$session->query_safe("SET pg_session_memory.idle_delay = '10ms';
	SET pg_session_memory.trim_when_idle = on");
becomes($pid, 'outside contexts', "total_bytes < $outside + 5 * 1024 * 1024",
	'malloc: with trim_when_idle an idle session gives it back');
$session->quit;

#
# Outside of contexts: the result that waits in a connection of dblink
#
SKIP:
{
	skip 'there is no dblink', 5
	  if $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'dblink'")
	  == 0;
	$node->safe_psql('postgres', 'CREATE EXTENSION dblink');
	my $connection = $node->connstr('postgres');
	$session = open_session($node);
	$pid = backend_pid($session);
	$session->query_safe(qq(SELECT dblink_connect('c', \$\$$connection\$\$)));
	$outside = seen($pid, 'outside contexts')->{total_bytes};
	my $contexts = $observer->query_safe(
		"SELECT context_bytes FROM pg_session_memory WHERE pid = $pid");
	$session->query_safe(
		q(SELECT dblink_send_query('c', 'SELECT repeat($$x$$, 50000000)');
		DO $$ BEGIN
			WHILE dblink_is_busy('c') = 1 LOOP PERFORM pg_sleep(0.01); END LOOP;
		END $$));
	cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
		'>', $outside + 40 * $mb, 'outside contexts: 50 MB in dblink');
	cmp_ok(own($session, 'outside contexts')->{total_bytes},
		'>', 40 * $mb, 'outside contexts: the session sees that, too');
	cmp_ok(
		$observer->query_safe(
			"SELECT context_bytes FROM pg_session_memory WHERE pid = $pid"),
		'<',
		$contexts + $mb,
		'outside contexts: no context knows of it');
	$session->query_safe('DISCARD ALL; SELECT pg_session_memory_trim()');
	cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
		'>', $outside + 40 * $mb, 'outside contexts: trim cannot free it');
	$session->query_safe(
		q(SELECT dblink_disconnect('c'); SELECT pg_session_memory_trim(false)));
	cmp_ok(seen($pid, 'outside contexts')->{total_bytes},
		'<', $outside + 5 * $mb,
		'outside contexts: ending the connection gives it back');
	$session->quit;
}

# The JIT compiler
SKIP:
{
	skip 'there is no JIT compiler', 2
	  if $node->safe_psql('postgres', 'SET jit = on; SELECT pg_jit_available()')
	  ne 't';
	my %bytes;
	foreach my $jit (qw(off on))
	{
		$session = open_session($node);
		$pid = backend_pid($session);
		$session->query_safe("SET jit = $jit; SET jit_above_cost = 0;
			SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0;
			SELECT count(*) FROM pg_class WHERE relpages % 2 = 0 GROUP BY relkind;
			SELECT sum(relpages) FROM pg_class");
		$bytes{$jit} = seen($pid, 'outside contexts')->{total_bytes};
		$session->quit;
	}
	cmp_ok($bytes{on}, '>', $bytes{off} + 2 * $mb,
		'outside contexts: the JIT compiler is');
	cmp_ok($bytes{off}, '<', 10 * $mb,
		'outside contexts: without it they are some megabytes');
}

$observer->quit;
$node->stop;

done_testing();
