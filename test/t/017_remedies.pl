# What gives memory back: a table of causes, and what each remedy gives,
# measured.
#
# For each cause a session is made to bloat.  The view of bloat, the log's hint,
# the error of check() and pg_session_memory_categories() must have the remedy
# for what is there, for the session itself and for who looks at it; what the
# remedy says is then done, and what it says is of no use as well.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $MB = 1024 * 1024;
my $node = start_watching_server(
	'remedies', q(
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = -1
max_locks_per_transaction = 512
max_stack_depth = 1MB
work_mem = 64MB
temp_buffers = 64MB
jit = off
));
my $observer = open_session($node);

# 14,000 functions whose catalog rows have 2 kB each
$node->safe_psql(
	'postgres', q(
DO $$ BEGIN FOR i IN 1 .. 14000 LOOP
	EXECUTE format('CREATE FUNCTION row_%s() RETURNS int LANGUAGE sql AS
		''SELECT 1 -- %s''', i, (SELECT string_agg(md5(g::text || i), '')
			FROM generate_series(1, 55) AS g));
END LOOP; END $$;
DO $$ BEGIN FOR i IN 1 .. 1000 LOOP
	EXECUTE format('CREATE FUNCTION code_%s(n int) RETURNS bigint
		LANGUAGE plpgsql AS $f$ DECLARE a bigint; BEGIN
			SELECT count(*) INTO a FROM pg_class WHERE oid = n;
			SELECT a + count(*) INTO a FROM pg_proc WHERE oid = n;
			RETURN a; END $f$', i);
END LOOP; END $$;
CREATE TABLE deferring (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
));
my $read_catalogs =
  "DO \$\$ BEGIN FOR i IN 1 .. 14000 LOOP
		PERFORM to_regprocedure(format('row_%s()', i)); END LOOP; END \$\$";
my $prepare =
  "DO \$\$ BEGIN FOR i IN 1 .. 3000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END \$\$";
# What is prepared last lies behind all the rest.
my $free_all_but_one =
  q(DO $$ BEGIN FOR i IN 1 .. 2999 LOOP
		EXECUTE format('DEALLOCATE s%s', i); END LOOP; END $$);
my $trim = 'SELECT pg_session_memory_trim()';
my $end = 'pg_terminate_backend\(PID\)';

# name, which threshold it crosses, what makes it bloat, the remedy for others
# and for itself, what gives nothing, what gives it back, and how much of it is
# left after that at most.  Where only the session's end frees it there is
# nothing that gives it back.
my @causes = (
	[
		'catalog caches', 'session',
		$read_catalogs,
		qr/pg_session_memory_trim\(PID\) empties these caches.*$end/,
		qr/pg_session_memory_trim\(\) empties these caches.*new connection/,
		[ 'DISCARD ALL' ], undef, undef
	],
	[
		'catalog caches, trimmed', 'session',
		"$read_catalogs; $trim",
		qr/^Most of this is free already, and no trim.*$end, or a pooler's RECONNECT/,
		qr/^Most of this is free already: .*Only a new connection/,
		[ 'DISCARD ALL', $trim ], undef, undef
	],
	[
		'prepared statements', 'session',
		$prepare,
		qr/^Its client frees prepared statements with DEALLOCATE ALL.*$end.*RECONNECT/,
		qr/^DEALLOCATE ALL or DISCARD ALL frees/,
		[ 'DISCARD PLANS', $trim ], 'DEALLOCATE ALL', 0.2
	],
	[
		'functions only', 'session',
		'SELECT ' . join(' + ', map { "code_$_(1)" } 1 .. 1000),
		qr/^Most of these are statements inside functions: .*$end.*RECONNECT/,
		qr/^Most of these are statements inside functions: .*Reconnect/,
		[ 'DEALLOCATE ALL', 'DISCARD ALL', $trim ], undef, undef
	],
	[
		'held cursor', 'session',
		"BEGIN; DECLARE held CURSOR WITH HOLD FOR
			SELECT g, repeat('x', 100) FROM generate_series(1, 100000) AS g; COMMIT",
		qr/^Its client has to CLOSE the cursor.*$end/,
		qr/^CLOSE the cursor/,
		[ $trim, 'DISCARD PLANS' ], 'CLOSE held', 0.2
	],
	[
		'temporary tables', 'session',
		"CREATE TEMP TABLE temporary AS
			SELECT g, repeat('x', 1000) AS t FROM generate_series(1, 30000) AS g;
		SELECT count(t) FROM temporary",
		qr/^Buffers of temporary tables stay.*$end.*RECONNECT/,
		qr/^Buffers of temporary tables stay.*reconnect/,
		[ 'DROP TABLE temporary', 'DISCARD ALL', $trim ], undef, undef
	],
	[
		'kept by malloc', 'process',
		"$prepare; $free_all_but_one",
		qr/kept by malloc: pg_session_memory_trim\(PID\) gives it back/,
		qr/kept by malloc: pg_session_memory_trim\(false\) gives it back/,
		[ 'DISCARD PLANS; DISCARD TEMP' ],
		'SELECT pg_session_memory_trim(false)', 0.5
	]);
my $dblink = $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'dblink'");
if ($dblink)
{
	my $connection = $node->connstr('postgres');

	$node->safe_psql('postgres', 'CREATE EXTENSION dblink');
	push @causes,
	  [
		'outside contexts', 'process',
		qq(SELECT dblink_connect('c', \$\$$connection\$\$);
		SELECT dblink_send_query('c', 'SELECT repeat(\$\$x\$\$, 50000000)');
		DO \$\$ BEGIN
			WHILE dblink_is_busy('c') = 1 LOOP PERFORM pg_sleep(0.01); END LOOP;
		END \$\$),
		qr/^Most of it is outside of all memory contexts and in use.*No trim.*$end.*RECONNECT/,
		qr/^Most of it is outside of all memory contexts and in use.*Reconnect/,
		[ 'DISCARD ALL', $trim ], "SELECT dblink_disconnect('c'); $trim", 0.5
	  ];
}
else
{
	note 'there is no dblink: nothing outside of contexts is looked at';
}

my $module = build_misbehaving_module();
if (defined $module)
{
	$node->safe_psql('postgres', "CREATE FUNCTION keep_memory(int) RETURNS void
		AS '$module', 'misbehaving_keep' LANGUAGE C");
	push @causes,
	  [
		'an extension', 'session',
		'SELECT keep_memory(30000000)',
		qr/^Look at the names in pg_session_memory_contexts\(PID\): an extension.*$end/,
		qr/^Look at the names in pg_session_memory_contexts\(\): an extension/,
		[ 'DEALLOCATE ALL', 'DISCARD ALL', $trim ], undef, undef
	  ];
}
else
{
	note 'there is no C compiler: no memory of an extension is looked at';
}
if ($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'plpython3u'"))
{
	$node->safe_psql('postgres', 'CREATE EXTENSION plpython3u');
	push @causes,
	  [
		'PL/Python', 'process',
		q(DO $$ GD['kept'] = [str(i) * 200 for i in range(50000)] $$
			LANGUAGE plpython3u),
		qr/^Most of it is outside of all memory contexts and in use.*PL\/Python.*No trim.*$end.*RECONNECT/,
		qr/^Most of it is outside of all memory contexts and in use.*PL\/Python.*Reconnect/,
		[ 'DISCARD ALL', $trim ],
		"DO \$\$ GD.clear() \$\$ LANGUAGE plpython3u; $trim", 0.5
	  ];
}
else
{
	note 'there is no PL/Python: nothing that it keeps is looked at';
}

sub with_pid
{
	my ($regexp, $pid) = @_;

	$regexp =~ s/PID/$pid/g;
	return qr/$regexp/;
}

foreach my $case (@causes)
{
	my ($name, $kind, $bloat, $other, $own, $useless, $useful, $left) = @$case;
	my $session = open_session($node);
	my $pid = backend_pid($session);
	my $column = $kind eq 'session' ? 'retained_bytes' : 'anon_bytes';
	my $offset = log_end($node);
	my $gives = sub { published($observer, $pid)->{$column} };

	# What makes it bloat can have several statements, and they are told of
	# when all are done.
	$session->query_safe($bloat);
	my $before = $gives->();
	$session->query_safe("SET pg_session_memory.${kind}_threshold = '8MB'");
	my $remedy = $observer->query_safe(
		"SELECT remedy FROM pg_session_memory_bloat
			WHERE pid = $pid AND kind = '$kind'");
	like($remedy, with_pid($other, $pid), "$name: what others can do");
	my ($hint) = log_since($node, $offset) =~ /HINT:  (.*)\n/;
	is($hint, $remedy, "$name: the log's hint says the same");
	$session->query('SELECT pg_session_memory_check()');
	($hint) = $session->{stderr} =~ /HINT:  (.*)/;
	$session->{stderr} = '';
	like($hint, $own, "$name: what it can do itself");
	is( $session->query_safe(
			"SELECT count(*) FROM pg_session_memory_categories() WHERE remedy = "
			  . "\$remedy\$$hint\$remedy\$"),
		1,
		"$name: its category says the same");
	cmp_ok(length $_, '<=', 250, "$name: short enough") foreach $hint, $remedy;

	foreach my $statement (@$useless)
	{
		$session->query_safe($statement);
		cmp_ok($gives->(), '>', 0.8 * $before, "$name: $statement gives nothing");
	}
	# DISCARD ALL has reset the threshold, and dropped nothing else.
	my $after = 0;
	if (defined $useful)
	{
		$session->query_safe($useful);
		$after = $gives->();
		cmp_ok($after, '<', $left * $before, "$name: $useful gives it back");
		$session->quit;
	}
	else
	{
		$observer->query_safe("SELECT pg_terminate_backend($pid)");
		ok( $node->poll_query_until('postgres',
				"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
			"$name: pg_terminate_backend() gives it back");
		eval { $session->quit };
	}
	note sprintf '%-24s %6.1f MB, %6.1f MB after %s', $name, $before / $MB,
	  $after / $MB, $useful // 'pg_terminate_backend()';
}

# A trim gives back what hangs from CacheMemoryContext, and leaves the rest free.
my $session = open_session($node);
my $pid = backend_pid($session);
$session->query_safe($read_catalogs);
my $cache = "FROM pg_session_memory_contexts($pid)
	WHERE name = 'CacheMemoryContext'";
my $total = $observer->query_safe("SELECT total_bytes $cache");
cmp_ok($total, '>', 30 * $MB, 'CacheMemoryContext: holds more than 30 MB');
is($observer->query_safe("SELECT free_bytes < total_bytes / 2 $cache"),
	't', 'CacheMemoryContext: most of it is used');
$session->query_safe("SET pg_session_memory.context_threshold = '16MB'");
my $by_context = "SELECT remedy FROM pg_session_memory_bloat
	WHERE pid = $pid AND context = 'CacheMemoryContext'";
like($observer->query_safe($by_context),
	qr/^pg_session_memory_trim\($pid\)/, 'CacheMemoryContext: used, can be trimmed');
$session->query_safe($trim);
is( $observer->query_safe(
		"SELECT total_bytes > 0.9 * $total, free_bytes > 0.9 * total_bytes $cache"),
	't|t',
	'CacheMemoryContext: trimmed, is as large and free');
like($observer->query_safe($by_context),
	qr/^Most of this is free already/, 'CacheMemoryContext: free, cannot be trimmed');
# It is used again, without growing.
$session->query_safe($read_catalogs);
like($observer->query_safe($by_context),
	qr/^pg_session_memory_trim\($pid\)/, 'CacheMemoryContext: used again');

# Another session's trim waits for the end of a transaction, and says so.
$session->query_safe('BEGIN');
like($observer->query_safe($by_context),
	qr/^pg_session_memory_trim\($pid\).* It is in a transaction/,
	'in a transaction: the trim waits');
$session->query_safe('ROLLBACK');
$session->quit;

# A session with more of prepared statements than of functions, and the reverse
foreach my $case ([ 100, qr/^Its client frees prepared/ ],
	[ 1000, qr/^Most of these are statements inside functions/ ])
{
	my ($functions, $remedy) = @$case;

	$session = open_session($node);
	$pid = backend_pid($session);
	$session->query_safe('SELECT ' . join(' + ', map { "code_$_(1)" } 1 .. $functions));
	$session->query_safe($prepare =~ s/3000/400/r);
	like(
		$observer->query_safe("SELECT remedy FROM
			pg_session_memory_categories($pid) WHERE category = 'cached plans'"),
		$remedy,
		"400 prepared statements, $functions functions: what most of them are");
	$session->quit;
}

# What goes with the transaction is told to its client, or ended from outside.
$session = open_session($node);
$pid = backend_pid($session);
my $transaction = "SELECT total_bytes, remedy
	FROM pg_session_memory_categories($pid) WHERE category = 'transaction'";
foreach my $case (
	[
		'deferred triggers',
		'BEGIN; INSERT INTO deferring SELECT 1 FROM generate_series(1, 2);
		DELETE FROM deferring;
		INSERT INTO deferring
			SELECT 1 + g / 2 FROM generate_series(1, 400000) AS g;
		DELETE FROM deferring'
	],
	[ 'savepoints', 'BEGIN; ' . join(';', map { "SAVEPOINT s$_" } 1 .. 1000) ])
{
	my ($name, $begin) = @$case;

	$session->query_safe($begin);
	my ($bytes, $remedy) =
	  split /\|/, $observer->query_safe($transaction);
	cmp_ok($bytes, '>', 3 * $MB, "$name: are large");
	like($remedy, qr/^COMMIT or ROLLBACK by its client.*pg_terminate_backend\($pid\)/,
		"$name: what others can do");
	like(
		$session->query_safe(
			"SELECT remedy FROM pg_session_memory_categories()
				WHERE category = 'transaction'"),
		qr/^COMMIT or ROLLBACK frees this memory/,
		"$name: what it can do itself");
	$session->query_safe('ROLLBACK');
	($bytes) = split /\|/, $observer->query_safe($transaction);
	cmp_ok($bytes // 0, '<', $MB / 10, "$name: ROLLBACK gives it back");
}
$session->quit;

# Without any setting, a session whose memory is mostly outside of contexts is
# found: 150 MB that wait in dblink have twice that in its buffers.
SKIP:
{
	skip 'there is no dblink', 3 unless $dblink;
	my $connection = $node->connstr('postgres');

	$session = open_session($node);
	$pid = backend_pid($session);
	$session->query_safe(
		qq(SELECT dblink_connect('c', \$\$$connection\$\$);
		SELECT dblink_send_query('c', 'SELECT repeat(\$\$x\$\$, 150000000)');
		DO \$\$ BEGIN
			WHILE dblink_is_busy('c') = 1 LOOP PERFORM pg_sleep(0.01); END LOOP;
		END \$\$));
	my $row = published($observer, $pid);
	cmp_ok($row->{unaccounted_bytes}, '>', 0.9 * $row->{anon_bytes},
		'default: most of it is outside of contexts');
	is($row->{status}, 'bloated', 'default: is bloated');
	like(
		$observer->query_safe("SELECT kind || ': ' || remedy
			FROM pg_session_memory_bloat WHERE pid = $pid"),
		qr/^process: Most of it is outside of all memory contexts and in use/,
		'default: why, and what to do');
	$session->quit;
}

$observer->quit;
$node->stop;

done_testing();
