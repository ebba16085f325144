# A session publishes what it retains at the end of each of its commands,
# whatever kind of command it was and whichever way it was sent.
#
# Here each command is measured (max_overhead = 100), except where the test is
# about those that are not.

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
	'watch', q(
max_prepared_transactions = 2
max_worker_processes = 12
));
my $observer = open_session($node);

# What is published is what the idle session has, byte by byte, without what
# hangs from MessageContext: at the end of the command that was about to be
# freed.  What an idle session finds by itself is also without the context of
# the empty transaction in which it looks, which is there all the time from 17
# on.
sub is_published
{
	my ($pid, $what, $is_idle) = @_;
	my $left_out = $is_idle ? 'MessageContext|TopTransactionContext' : 'MessageContext';
	my $contexts = rows_of($observer,
		"SELECT * FROM pg_session_memory_contexts($pid)
			WHERE name ~ '^($left_out)\$' OR parent ~ '^($left_out)\$'");
	my $row = published($observer, $pid);
	my $expected = $row->{context_bytes};

	$expected -= $_->{total_bytes} foreach @$contexts;
	is($row->{retained_bytes}, $expected,
		"$what: what is published is what the session has now");
	return $row;
}

#
# The columns, in a session that grows and shrinks again
#
my $session = open_session($node);
my $pid = backend_pid($session);
my $first = is_published($pid, 'first command');
cmp_ok($first->{baseline_bytes}, '<', $first->{retained_bytes},
	'first command: the baseline is what was before it');
cmp_ok($first->{baseline_bytes}, '>', $first->{retained_bytes} / 2,
	'first command: and most of it was there before');
is($first->{growth_bytes}, $first->{retained_bytes} - $first->{baseline_bytes},
	'first command: it has grown by the rest');
is($first->{peak_bytes}, $first->{retained_bytes}, 'first command: is the peak');
is($first->{peak_at}, $first->{measured_at},
	'first command: the peak is of this measurement');
is($first->{status}, 'ok', 'first command: status');

$session->query_safe(retain('big', 8 * $MB));
my $grown = is_published($pid, 'grown');
my $growth = 8 * $MB;
is($grown->{baseline_bytes}, $first->{baseline_bytes},
	'grown: the baseline stays');
# PL/pgSQL was loaded for it, and its catalog entries: less than 1 MB.
cmp_ok($grown->{growth_bytes}, '>=', $growth, 'grown: by what was prepared');
cmp_ok($grown->{growth_bytes}, '<', $growth + $MB, 'grown: and not by more');
is($grown->{growth_bytes}, $grown->{retained_bytes} - $grown->{baseline_bytes},
	'grown: growth is since the baseline');
is($grown->{peak_bytes}, $grown->{retained_bytes}, 'grown: is the peak');
is($grown->{peak_at}, $grown->{measured_at},
	'grown: the peak is of this measurement');
cmp_ok($grown->{measured_at}, 'gt', $first->{measured_at}, 'grown: measured anew');

# The same by PostgreSQL's own view.  The statement that asks has its plan,
# its portal and its executor besides.  All the rest can differ by what that
# statement has let grow in the portals' and locks' contexts, less than 64 kB.
my $own = own_contexts($session);
my $own_bytes = 0;
my $skip_below;
foreach my $row (@$own)
{
	next if defined $skip_below && $row->{level} > $skip_below;
	undef $skip_below;
	if ($row->{name} =~ /^(MessageContext|PortalContext|TopTransactionContext)$/)
	{
		$skip_below = $row->{level};
		next;
	}
	$own_bytes += $row->{total_bytes};
}
my $after = published($observer, $pid);
cmp_ok(abs($own_bytes - $after->{retained_bytes}),
	'<', 64 * 1024, 'grown: what the session sees itself');

$session->query_safe('DEALLOCATE big');
my $shrunk = is_published($pid, 'shrunk');
cmp_ok($shrunk->{retained_bytes}, '<', $first->{retained_bytes} + $MB,
	'shrunk: back to what it was');
cmp_ok($shrunk->{peak_bytes}, '>=', $grown->{peak_bytes},
	'shrunk: the peak stays');
cmp_ok($shrunk->{peak_at}, 'lt', $shrunk->{measured_at},
	'shrunk: the time of the peak stays');

# Another session's reset is not this one's.
$observer->query_safe('SELECT pg_session_memory_reset_peak()');
is(published($observer, $pid)->{peak_bytes},
	$shrunk->{peak_bytes}, "peak: not reset by another session's reset");
$session->query_safe('SELECT pg_session_memory_reset_peak()');
my $reset = is_published($pid, 'peak reset');
# Measured within the statement, then at its end: some caches' worth apart.
cmp_ok(abs($reset->{peak_bytes} - $reset->{retained_bytes}),
	'<', 64 * 1024, 'peak reset: the peak is what it retains now');
cmp_ok($reset->{peak_at}, 'gt', $grown->{peak_at}, 'peak reset: the time, too');
is($reset->{baseline_bytes}, $first->{baseline_bytes},
	'peak reset: the baseline stays');

#
# Where processes are not read, the view shows what is published
#
$session->query_safe(retain('big', 8 * $MB));
my $live = published($observer, $pid);
is($live->{source}, 'live', 'live_reads on: source');
$observer->query_safe('SET pg_session_memory.live_reads = off');
my $seen = published($observer, $pid);
is($seen->{source}, 'published', 'live_reads off: source');
is($seen->{context_bytes}, $seen->{retained_bytes},
	'live_reads off: context_bytes are those retained');
# MessageContext is one context, of execution; all else is as it is read.
is($seen->{contexts}, $live->{contexts} - 1, 'live_reads off: contexts');
my @categories = map { $_ . '_bytes' }
  qw(catalog_cache cached_plan function cursor transaction temp_table
  replication base other);
is_deeply([ @$seen{@categories} ],
	[ @$live{@categories} ], 'live_reads off: bytes a category');
my $sum = 0;
$sum += $seen->{$_} foreach @categories, 'execution_bytes';
is($sum, $seen->{context_bytes}, 'live_reads off: categories add up');
ok(!defined $seen->{approximate}, 'live_reads off: nothing was walked');

is( $observer->query_safe(
		q(SELECT DISTINCT source, context_bytes, retained_bytes
			FROM pg_session_memory WHERE backend_type = 'checkpointer')),
	'unavailable||',
	'live_reads off: nothing is known of what does not publish');
is( $observer->query_safe(
		q(SELECT source FROM pg_session_memory WHERE pid = pg_backend_pid())),
	'live',
	'live_reads off: one reads oneself');
$observer->query_safe('RESET pg_session_memory.live_reads');

# The next session gets the same slot.
$session->quit;
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'ended session: is gone');
$session = open_session($node);
$pid = backend_pid($session);
cmp_ok(published($observer, $pid)->{peak_bytes},
	'<', 8 * $MB, 'next session: nothing of the one before it');

#
# Every kind of command, or of its end
#
sub is_measured
{
	my ($statement, $what) = @_;
	my $before = published($observer, $pid)->{measured_at};

	$session->query($statement);
	$session->{stderr} = '';
	cmp_ok(published($observer, $pid)->{measured_at},
		'gt', $before, "$what: measured at its end");
	return is_published($pid, $what);
}

$session->query_safe('CREATE TABLE t (a int)');
$session->query_safe(
	q(CREATE PROCEDURE committing(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			INSERT INTO t VALUES (i);
			IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END $$));
my $file = PostgreSQL::Test::Utils::tempdir() . '/file';

is_measured('SELECT 1', 'query');
is_measured('SELECT 1 \; SELECT 2', 'two queries in one message');
is_measured('SELECT 1/0', 'error in execution');
is_measured('SELEKT', 'error in parsing');
is_measured('SELECT nothing', 'error in analysis');
is_measured('BEGIN; INSERT INTO t VALUES (1); COMMIT', 'transaction block');
is_measured('BEGIN; INSERT INTO t VALUES (1); ROLLBACK', 'rollback');
is_measured('BEGIN; SELECT 1/0; COMMIT', 'failed transaction block');
is_measured('BEGIN; SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; COMMIT',
	'savepoint');
is_measured(
	"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'prepared'",
	'PREPARE TRANSACTION');
is_measured("COMMIT PREPARED 'prepared'", 'COMMIT PREPARED');
is_measured("COPY t TO STDOUT \\g $file", 'COPY TO');
is_measured("\\copy t FROM '$file'", 'COPY FROM');
append_to_file($file, "nonsense\n");
is_measured("\\copy t FROM '$file'", 'COPY FROM that fails');
is_measured('CALL committing(300)', 'procedure that commits');
is_measured('SET statement_timeout = 10; SELECT pg_sleep(100)',
	'statement timeout');
$session->query_safe('RESET statement_timeout');
is_measured('VACUUM t', 'VACUUM');
is_measured('DECLARE c CURSOR WITH HOLD FOR SELECT a FROM t', 'held cursor');
is_measured('CLOSE c', 'closed cursor');
is_measured('DISCARD ALL', 'DISCARD ALL');

# A chain has an end and goes on.  And then the block's own contexts are there,
# which a later end must find gone.  More of blocks is in 017.
$session->query_safe('BEGIN');
$session->query_safe('SELECT 1');
is_measured('COMMIT AND CHAIN', 'COMMIT AND CHAIN');
is_measured('ROLLBACK AND CHAIN', 'ROLLBACK AND CHAIN');
is_measured('COMMIT', 'end of the chain');

# Many tiny transactions leave nothing behind.  The first hundred are for
# whatever they put into caches.
my $many = PostgreSQL::Test::Utils::tempdir() . '/many.sql';
append_to_file($many, "SELECT 1 \\g $file\n" x 1000);
$session->query_safe("\\i $many");
my $before_many = is_published($pid, 'tiny transactions');
$session->query_safe("\\i $many");
my $after_many = is_published($pid, 'more tiny transactions');
is($after_many->{retained_bytes}, $before_many->{retained_bytes},
	'tiny transactions: the watch itself retains nothing');

#
# A large statement's text and plan are not retained.  Its 42 MB would pass
# the threshold of 32 MB if they were counted: so the log says so, too.
#
my $offset = log_end($node);
$session->query_safe("SET pg_session_memory.session_threshold = '32MB'");
$session->query_safe(
	"SELECT 'SELECT length(''' || repeat('x', 42 * 1024 * 1024) || ''')' \\gexec");
my $large = published($observer, $pid);
cmp_ok($large->{measured_at}, 'gt', $after_many->{measured_at},
	'large statement: measured');
cmp_ok($large->{retained_bytes}, '<', $after_many->{retained_bytes} + $MB,
	'large statement: its text and tree are not retained');
unlike(log_since($node, $offset), qr/over threshold/,
	'large statement: no threshold is crossed');
# What proves that the threshold is there at all
$session->query_safe(retain('big', 42 * $MB));
like(log_since($node, $offset), qr/over threshold: the session holds 4\d MB/,
	'large prepared statement: its text is retained');
$session->query_safe('DEALLOCATE big');
$session->quit;

#
# The protocol's other ways.  Each transaction writes down when its session
# had been measured last: after the transaction before it, so each time is
# there once.
#
$node->safe_psql('postgres', 'CREATE TABLE seen (mode text, at timestamptz)');
my $write_down = q(INSERT INTO seen SELECT ':mode', measured_at
	FROM pg_session_memory WHERE pid = pg_backend_pid(););

foreach my $mode (qw(simple extended prepared pipeline))
{
	my $script = $write_down;

	$script =~ s/:mode/$mode/;
	# The pipeline's sync ends both statements' transaction.
	$script = "\\startpipeline\n$script\nSELECT 1;\n\\endpipeline"
	  if $mode eq 'pipeline';
	$node->pgbench(
		'--no-vacuum --client=1 --transactions=50 --protocol='
		  . ($mode eq 'pipeline' ? 'extended' : $mode),
		0,
		[qr{50/50}],
		[qr{^$}],
		"$mode protocol",
		{ "010_$mode" => $script });
	# A session that has just connected has no measurement yet, unless the
	# statement was prepared in a transaction of its own.
	is( $node->safe_psql(
			'postgres',
			"SELECT count(*), count(at) >= 49, count(at) - count(DISTINCT at)
			FROM seen WHERE mode = '$mode'"),
		'50|t|0',
		"$mode protocol: each transaction is measured");
}

# With SQL errors between, in a pipeline too: what follows is skipped until
# the sync, and the session goes on.
my $errors = PostgreSQL::Test::Utils::tempdir() . '/errors.sql';
append_to_file($errors,
	"SELECT pg_session_memory_is_bloated();\nSELECT 1/0;\n");
foreach my $mode (qw(extended prepared))
{
	$node->command_checks_all(
		[
			'pgbench', '-n', '-c', '1', '-t', '5', '-M', $mode,
			'-f', $errors, '-h', $node->host, '-p', $node->port, 'postgres'
		],
		2,
		[],
		[qr/division by zero/],
		"$mode protocol: an error is the statement's own");
}

#
# A replication connection is a session when it is asked queries
#
my $connection = $node->connstr('postgres') . ' replication=database';
my $walsender =
  $node->background_psql('postgres', on_error_stop => 0,
	replication => 'database');
$walsender->set_query_timer_restart();
$pid = $walsender->query_safe('SELECT pg_backend_pid()');
my $walsender_row = is_published($pid, 'walsender');
is($walsender_row->{backend_type}, 'walsender', 'walsender: is one');
$walsender->query_safe('IDENTIFY_SYSTEM');
$walsender->query_safe('SELECT 1');
my $walsender_after = is_published($pid, 'walsender, another command');
cmp_ok($walsender_after->{measured_at},
	'gt', $walsender_row->{measured_at}, 'walsender: measured again');
$walsender->quit;

#
# Processes that are no sessions publish nothing: parallel workers, which run
# transactions for another's statement, and background workers.  Their slots
# may have been a session's before.
#
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe('SET ' . parallel_setting($node) . ' = on');
my $leader_before = published($observer, $pid);
start_statement($session, 'SELECT pg_sleep(1000)');
ok( $node->poll_query_until(
		'postgres', qq(SELECT count(*) = 1 FROM pg_stat_activity
			WHERE leader_pid = $pid AND pid <> leader_pid
				AND wait_event = 'PgSleep')),
	'parallel worker: at work');
is( $observer->query_safe(
		q(SELECT source, num_nonnulls(retained_bytes, baseline_bytes,
				growth_bytes, peak_bytes, measured_at, status)
			FROM pg_session_memory WHERE backend_type = 'parallel worker')),
	'live|0',
	'parallel worker: read, but publishes nothing');
$observer->query_safe("SELECT pg_cancel_backend($pid)");
$session->query('SELECT 1');
$session->{stderr} = '';
my $leader_after = published($observer, $pid);
is($leader_after->{baseline_bytes}, $leader_before->{baseline_bytes},
	"parallel worker: the leader's figures are its own");
$session->quit;

$node->safe_psql('postgres',
	q(SELECT pg_create_logical_replication_slot('applied', 'pgoutput')));
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR TABLE t');
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
$node->safe_psql('subscriber', 'CREATE TABLE t (a int)');
$node->safe_psql(
	'subscriber',
	"CREATE SUBSCRIPTION everything
		CONNECTION 'host=" . $node->host . " port=" . $node->port . " dbname=postgres'
		PUBLICATION everything
		WITH (create_slot = false, slot_name = applied, copy_data = false)");
$node->wait_for_catchup('everything');
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 1000)');
$node->wait_for_catchup('everything');
is($node->safe_psql('subscriber', 'SELECT count(*) FROM t'),
	1000, 'background worker: at work');
is( $observer->query_safe(
		q(SELECT source, num_nonnulls(retained_bytes, baseline_bytes,
				growth_bytes, peak_bytes, measured_at, status)
			FROM pg_session_memory
			WHERE backend_type IN ('logical replication worker',
				'logical replication apply worker')
				AND datname = 'subscriber')),
	'live|0',
	'background worker: read, but publishes nothing');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION everything');

#
# max_overhead: when measuring has taken its share, commands are passed over,
# and an idle session looks once more
#
$session = open_session($node);
$pid = backend_pid($session);

# 500 measurements of at least 10 us make 5 ms, which are the earnings of 50 s
# at 0.01 per cent.  No test below takes that long before it looks.
my $owe = PostgreSQL::Test::Utils::tempdir() . '/owe.sql';
append_to_file($owe, "SELECT 1 \\g $file\n" x 500);

sub owe_measurements
{
	my ($idle_delay) = @_;

	# What it has earned by now counts from its first command at this rate.
	$session->query_safe('SET pg_session_memory.max_overhead = 0.01');
	$session->query_safe('RESET pg_session_memory.max_overhead');
	$session->query_safe("SET pg_session_memory.idle_delay = '$idle_delay'");
	$session->query_safe("\\i $owe");
	$session->query_safe('SET pg_session_memory.max_overhead = 0.01');
	return published($observer, $pid);
}

my $owing = owe_measurements('1d');
$session->query_safe("\\i $owe");
is(published($observer, $pid)->{measured_at},
	$owing->{measured_at}, 'overhead: no command is measured while it owes');
$session->query_safe(retain('big', 8 * $MB));
is(published($observer, $pid)->{measured_at},
	$owing->{measured_at}, 'overhead: nor one that retains much');
$session->query_safe('SET pg_session_memory.context_threshold = -1');
$seen = published($observer, $pid);
cmp_ok($seen->{retained_bytes}, '>=', $growth,
	'overhead: a threshold that changes is reason enough to look');
$session->query_safe('DEALLOCATE big');
sleep(2);
cmp_ok(published($observer, $pid)->{retained_bytes},
	'>=', $growth, 'idle: not looked at before idle_delay');

$owing = owe_measurements('700ms');
$session->query_safe(retain('big', 8 * $MB));
my $began = $observer->query_safe(
	"SELECT query_start FROM pg_stat_activity WHERE pid = $pid");
ok( $node->poll_query_until(
		'postgres', "SELECT retained_bytes >= $growth
			FROM pg_session_memory WHERE pid = $pid"),
	'idle: looks once more');
# The delay begins at the command's end, which state_change may be long after.
is( $observer->query_safe(
		"SELECT measured_at >= '$began'::timestamptz + interval '700ms'
			FROM pg_session_memory WHERE pid = $pid"),
	't',
	'idle: after idle_delay');
my $idle = is_published($pid, 'idle', 1);
sleep(2);
is(published($observer, $pid)->{measured_at},
	$idle->{measured_at}, 'idle: looks only once');
is($observer->query_safe("SELECT state FROM pg_stat_activity WHERE pid = $pid"),
	'idle', 'idle: still is');
$session->query_safe('DEALLOCATE big');
ok( $node->poll_query_until(
		'postgres', "SELECT retained_bytes < $growth
			FROM pg_session_memory WHERE pid = $pid"),
	'idle: looks again after the next command');

#
# track off: what was published is withdrawn
#
$session->query_safe('RESET ALL');
$session->query_safe('SET pg_session_memory.track = off');
is( $observer->query_safe(
		"SELECT source, num_nonnulls(retained_bytes, baseline_bytes,
			growth_bytes, peak_bytes, measured_at, status)
		FROM pg_session_memory WHERE pid = $pid"),
	'live|0',
	'track off: publishes nothing');
$session->query_safe('SELECT 1');
$session->query_safe('SET pg_session_memory.track = on');
is_published($pid, 'track on again');

$session->quit;
$observer->quit;
$node->stop;

done_testing();
