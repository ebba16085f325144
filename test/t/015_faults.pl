# What can go wrong: sessions that die, settings at their limits, an end of the
# session where nobody expects it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ProtocolClient;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $MB = 1024 * 1024;
my $node = start_watching_server(
	'faults', q(
restart_after_crash = on
log_min_messages = info
));
my $superuser = $node->safe_psql('postgres', 'SELECT user');
my $directory = PostgreSQL::Test::Utils::tempdir();

sub start_pgbench
{
	my (@options) = @_;
	my $output = '';

	return IPC::Run::start(
		[
			'pgbench', '-n', @options, '-h', $node->host, '-p', $node->port,
			'dbname=postgres application_name=pgbench'
		],
		'>', \$output, '2>&1');
}

# Clients whose sessions do nothing but publish: the threshold goes up and down,
# so that each command is an event, too.
my $publishing = "$directory/publish.sql";
append_to_file(
	$publishing, q(
SET pg_session_memory.session_threshold = '100kB';
SET pg_session_memory.session_threshold = -1;
SELECT 1;
));

sub wait_for_sessions
{
	my ($count) = @_;

	ok( $node->poll_query_until(
			'postgres', "SELECT count(*) >= $count FROM pg_session_memory
				WHERE application_name = 'pgbench' AND measured_at IS NOT NULL"),
		"$count sessions publish");
}

#
# kill -9: the server restarts, what was published is gone, and what is
# published then is right
#
foreach my $round (1 .. 3)
{
	my $pgbench = start_pgbench('-c', 20, '-j', 2, '-T', 600, '-f', $publishing);

	wait_for_sessions(20);
	my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
	my $offset = log_end($node);
	my $victim = $node->safe_psql(
		'postgres', "SELECT pid FROM pg_stat_activity
			WHERE application_name = 'pgbench' LIMIT 1");
	is(kill('KILL', $victim), 1, "kill -9, round $round");
	$pgbench->finish;
	$node->poll_query_until('postgres', 'SELECT true');
	like(
		log_since($node, $offset),
		qr/all server processes terminated; reinitializing/,
		"kill -9, round $round: the server has restarted");
	is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
		$started, "kill -9, round $round: it is the same postmaster");
	is( $node->safe_psql(
			'postgres', q(SELECT count(*) FROM pg_session_memory_events
				WHERE kind <> 'restarted';
			SELECT count(*) FROM pg_session_memory_bloat;
			SELECT count(measured_at) FROM pg_session_memory
				WHERE pid <> pg_backend_pid())),
		"0\n0\n0",
		"kill -9, round $round: nothing is published");

	my $session = open_session($node);
	my $observer = open_session($node);
	$session->query_safe("SET pg_session_memory.session_threshold = '100kB'");
	my $row = published($observer, backend_pid($session));
	# Some caches more than after its first command
	cmp_ok($row->{growth_bytes}, '<', $MB,
		"kill -9, round $round: a new session begins anew");
	is($row->{status}, 'bloated', "kill -9, round $round: and is judged");
	is( $observer->query_safe(
			q(SELECT kind FROM pg_session_memory_events
			WHERE kind <> 'restarted')),
		'session',
		"kill -9, round $round: events are counted anew");
	$observer->quit;
	$session->quit;
}

#
# Sessions that end while they publish, as they do: their slots are given back,
# and nobody who reads waits for them
#
my $observer = open_session($node);
# A session may be gone before it is terminated, which is worth a warning.
$observer->query_safe('SET client_min_messages = error');
my $pgbench =
  start_pgbench('-c', 20, '-j', 2, '-t', 100, '-C', '-f', $publishing);
my $reads = 0;
my $wrong = 0;
while ($pgbench->pumpable)
{
	# A row of a session that has gone would have a pid of none.
	$wrong += $observer->query_safe(
		q(SET pg_session_memory.live_reads = off;
		SELECT count(*) FROM pg_session_memory
			WHERE retained_bytes <= 0 OR baseline_bytes > peak_bytes
				OR peak_bytes < retained_bytes OR measured_at < backend_start));
	$observer->query_safe(
		q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'pgbench' ORDER BY random() LIMIT 1
			\g /dev/null));
	$reads++;
	$pgbench->pump_nb;
}
eval { $pgbench->finish };
is($wrong, 0, "terminated sessions: figures are consistent in $reads reads");
cmp_ok($reads, '>', 0, 'terminated sessions: they were read meanwhile');
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity
			WHERE application_name = 'pgbench'"),
	'terminated sessions: all are gone');
# The session that has just looked for them may still be about to end.
my $left;
foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$left = $observer->query_safe(
		'SELECT count(*) FROM pg_session_memory
			WHERE measured_at IS NOT NULL AND pid <> pg_backend_pid()');
	last if $left == 0;
	select undef, undef, undef, 0.1;
}
is($left, 0, 'terminated sessions: none has left anything behind');

# A client that goes before its statement has crossed: the server has nobody to
# tell, and goes on.
my $client = ProtocolClient->new($node, $superuser);
$client->query("SET pg_session_memory.context_threshold = '16MB'");
my ($pid) =
  map { $_->{columns}[0] }
  grep { $_->{type} eq 'D' } @{ $client->query('SELECT pg_backend_pid()') };
my $offset = log_end($node);
$client->send(
	ProtocolClient::extended('SELECT pg_sleep(1)'),
	ProtocolClient::extended(retain('over', 20 * $MB)),
	ProtocolClient::sync());
close $client->{socket};
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'lost client: the session ends');
like(log_since($node, $offset), qr/session memory over threshold.*20 MB/,
	'lost client: its crossing is in the log');
is( $observer->query_safe(
		"SELECT kind FROM pg_session_memory_events WHERE pid = $pid"),
	'context',
	'lost client: and an event');

#
# Thresholds at their limits
#
my $session = open_session($node);
$pid = backend_pid($session);

# What follows from setting each threshold, and what the log has of it.
sub with_threshold
{
	my ($name, $value) = @_;

	$session->query_safe("SET pg_session_memory.$name = '$value'");
	my $status = published($observer, $pid)->{status};
	my $reasons = $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_bloat WHERE pid = $pid
			AND threshold_bytes = 0");
	$session->query_safe("SET pg_session_memory.$name = -1");
	return "$status $reasons";
}

# A name's contexts are a reason each, for the four largest names.
is(with_threshold('context_threshold', 0), 'bloated 4', 'context_threshold 0');
is(with_threshold('session_threshold', 0), 'bloated 1', 'session_threshold 0');
is(with_threshold('process_threshold', 0), 'bloated 1', 'process_threshold 0');
foreach my $name (qw(context session process))
{
	is(with_threshold("${name}_threshold", -1), 'ok 0', "${name}_threshold -1");
	# The largest, 2 TB
	is(with_threshold("${name}_threshold", 2147483647),
		'ok 0', "${name}_threshold 2147483647");
	is(with_threshold("${name}_threshold", '1TB'),
		'ok 0', "${name}_threshold 1TB");
}

# With 0 all is over its threshold; still it is written once, not at each
# command.
$session->query_safe("SET pg_session_memory.$_ = 0")
  foreach qw(context_threshold session_threshold process_threshold);
$offset = log_end($node);
$session->query_safe('SELECT 1') foreach 1 .. 50;
unlike(log_since($node, $offset), qr/over threshold/,
	'all 0: not at each command');
$session->query_safe('RESET ALL');

# What cannot be
foreach my $bad (
	[ 'context_threshold', '-2' ], [ 'context_threshold', '2147483648' ],
	[ 'context_threshold', '3TB' ], [ 'session_threshold', 'much' ],
	[ 'session_threshold', '1 parsec' ], [ 'process_threshold', '' ],
	[ 'max_overhead', '0' ], [ 'max_overhead', '-1' ],
	[ 'max_overhead', '100.1' ], [ 'max_overhead', 'NaN' ],
	[ 'idle_delay', '9' ], [ 'idle_delay', '2d' ],
	[ 'trim_threshold', '63' ], [ 'track', 'perhaps' ],
	[ 'live_reads', '2' ], [ 'trim_when_idle', 'sometimes' ],
	[ 'log_level', 'loud' ])
{
	my ($name, $value) = @$bad;

	$session->query("SET pg_session_memory.$name = '$value'");
	like(
		$session->{stderr},
		qr/invalid value for parameter|requires a (numeric|Boolean) value|outside the valid range/,
		"$name '$value': refused");
	$session->{stderr} = '';
}
foreach my $good (
	[ 'context_threshold', '1GB' ], [ 'max_overhead', '0.01' ],
	[ 'max_overhead', '100' ], [ 'idle_delay', '10' ], [ 'idle_delay', '1d' ],
	[ 'trim_threshold', '64kB' ])
{
	my ($name, $value) = @$good;

	is( $session->query_safe(
			"SET pg_session_memory.$name = '$value';
			SHOW pg_session_memory.$name") =~ s/ms$//r,
		$value,
		"$name $value: accepted");
}
$session->query_safe('RESET ALL');
$session->query('SET pg_session_memory.nonsense = 1');
like($session->{stderr},
	qr/invalid configuration parameter name "pg_session_memory.nonsense"/,
	'a setting that there is none of: refused');
$session->{stderr} = '';
$session->quit;

#
# recycle: the end of a session that holds something of each kind
#
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS a');
$client = ProtocolClient->new($node, $superuser);
($pid) =
  map { $_->{columns}[0] }
  grep { $_->{type} eq 'D' } @{ $client->query('SELECT pg_backend_pid()') };
$client->query("SET pg_session_memory.session_threshold = '100kB'");
$client->query('SELECT pg_advisory_lock(4711)');
$client->query('LISTEN something');
$client->query('CREATE TEMP TABLE temporary AS SELECT generate_series(1, 1000)');
$client->query("SET work_mem = '64kB'");
$client->query('DECLARE held CURSOR WITH HOLD FOR
	SELECT g, repeat(\'x\', 100) FROM generate_series(1, 100000) AS g');
$client->query('BEGIN');
$client->query('UPDATE t SET a = 2');
$client->query('SAVEPOINT s');

sub temporary_files
{
	return grep { !/^\.\.?$/ } eval {
		opendir my $handle, $node->data_dir . '/base/pgsql_tmp' or die;
		readdir $handle;
	};
}
is(scalar(grep { /^pgsql_tmp$pid\./ } temporary_files()),
	1, 'recycle: the session has a temporary file');

my $waiting = open_session($node);
start_statement($waiting, 'SELECT pg_advisory_lock(4711)');
my $updating = open_session($node);
start_statement($updating, 'UPDATE t SET a = a + 10 RETURNING a');
ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 2 FROM pg_stat_activity
			WHERE wait_event_type = 'Lock'"),
	'recycle: two others wait for it');

$offset = log_end($node);
my $response = $client->query('SELECT pg_session_memory_recycle()');
is(ProtocolClient::types([ grep { $_->{type} ne 'T' } @$response ]),
	'EEND', 'recycle: the session ends, with one error');
# If they still waited, these would time out.
$waiting->query_safe('SELECT 1');
like($updating->query_safe('SELECT 1'), qr/^11\b/,
	'recycle: its update is undone, and others go on');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_locks WHERE pid = $pid;
		SELECT count(*) FROM pg_class WHERE relname = 'temporary'"),
	"0\n0",
	'recycle: no lock and no temporary table is left');
is_deeply([ temporary_files() ], [], 'recycle: no temporary file is left');
unlike(
	log_since($node, $offset),
	qr/WARNING|PANIC|TRAP|leak|terminated by signal/,
	'recycle: nothing that PostgreSQL would complain of');
$waiting->quit;
$updating->quit;

# Nobody catches it, where an error would be caught.
foreach my $function (qw(recycle check))
{
	$client = ProtocolClient->new($node, $superuser);
	$client->query("SET pg_session_memory.session_threshold = '100kB'");
	$response = $client->query(
		"DO \$\$ BEGIN PERFORM pg_session_memory_$function();
		EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END \$\$");
	is( ProtocolClient::types($response),
		$function eq 'check' ? 'CZ' : 'EEND',
		"$function in a block with an exception handler");
}

# Also where it is one of several in a pipeline, and over a portal
$client = ProtocolClient->new($node, $superuser);
$client->query("SET pg_session_memory.session_threshold = '100kB'");
$client->send(
	ProtocolClient::extended('SELECT 1'),
	ProtocolClient::extended('SELECT pg_session_memory_recycle()'),
	ProtocolClient::extended('SELECT 2'),
	ProtocolClient::sync());
$response = $client->response;
is(ProtocolClient::types($response), '12DC12EEND',
	'recycle in a pipeline: what came before it is answered');
is((grep { $_->{type} eq 'E' } @$response)[0]{C},
	'53400', 'recycle in a pipeline: the error');

# The server is as well as before.
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'no assertion, no panic');
is($observer->query_safe('SELECT 1'), 1, 'the observer was never restarted');
$observer->quit;
$node->stop;

done_testing();
