# pg_session_memory_sample(): rows come while something runs, and the series
# ends with the session that it watches, or when it is cancelled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = start_server('sample');
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $observer = open_session($node);
my $watched = open_session($node);
my $pid = backend_pid($watched);

# A psql that prints rows as they come, which it does not by itself where it
# prints to a pipe; what it has printed, and a handle.
sub start_watching
{
	my ($query) = @_;
	my %watch = (out => '', err => '', timeout => IPC::Run::timeout($timeout));

	$watch{handle} = IPC::Run::start(
		[
			'stdbuf', '-oL', 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', "SET application_name = 'watching'",
			'-c', $query
		],
		'<', \undef, '>', \$watch{out}, '2>', \$watch{err}, $watch{timeout});
	return \%watch;
}

# Waits for so many rows, or for the end.
sub rows_come
{
	my ($watch, $count) = @_;

	$watch->{handle}->pump
	  while $watch->{handle}->pumpable && ($watch->{out} =~ tr/\n//) < $count;
	return $watch->{out} =~ tr/\n//;
}

sub finished
{
	my ($watch) = @_;

	$watch->{handle}->finish;
	return $watch->{handle}->result(0);
}

#
# Streamed: the first rows are there long before the last could be.
#
my $began = time;
my $watch = start_watching(
	"COPY (SELECT pg_session_memory_sample($pid, '100 ms', 100000)) TO STDOUT");
my $rows = rows_come($watch, 5);
cmp_ok($rows, '>=', 5, 'streamed: rows come');
cmp_ok($rows, '<', 1000, 'streamed: the last is not there');
is( $observer->query_safe(
		"SELECT state FROM pg_stat_activity WHERE application_name = 'watching'"),
	'active',
	'streamed: while the statement runs');

# What the session does while it is watched
$watched->query_safe('BEGIN');
rows_come($watch, 3 + ($watch->{out} =~ tr/\n//));
$watched->query_safe(
	"CREATE TEMP TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 7000)");
$watched->query_safe('SELECT count(*) FROM t');
rows_come($watch, 3 + ($watch->{out} =~ tr/\n//));
$watched->query_safe('COMMIT');
start_statement($watched, 'SELECT pg_sleep(1000)');
$watch->{handle}->pump
  while $watch->{handle}->pumpable && $watch->{out} !~ /,active,/;
$observer->query_safe("SELECT pg_cancel_backend($pid)");
$watched->query('SELECT');

# It ends with the watched session.
$watched->quit;
ok(finished($watch) == 0, 'ends with the session: without an error');
is($watch->{err}, '', 'ends with the session: without a message');
my @samples = map {
	my %sample;
	@sample{qw(at state contexts context_bytes anon_bytes)} =
	  /^\("([^"]+)",("[^"]+"|\w*),(\d+),(\d+),(\d+),[tf]\)$/;
	$sample{state} =~ s/"//g;
	\%sample
} split /\n/, $watch->{out};
cmp_ok(scalar @samples, '<', 1000, 'ends with the session: in time');
my %states = map { $_->{state} => 1 } @samples;
ok($states{$_}, "state: $_")
  foreach 'idle', 'active', 'idle in transaction';
is(scalar(grep { $_->{contexts} < 50 || $_->{context_bytes} < 100000 } @samples),
	0, 'each row has its figures');
cmp_ok($samples[-1]{context_bytes}, '>',
	$samples[0]{context_bytes} + 5 * 1024 * 1024,
	'growth is seen: in contexts');
cmp_ok($samples[-1]{anon_bytes}, '>',
	$samples[0]{anon_bytes} + 5 * 1024 * 1024,
	'growth is seen: in the process');

#
# A long wait ends with the session as well.
#
$watched = open_session($node);
$pid = backend_pid($watched);
$watch = start_watching(
	"COPY (SELECT pg_session_memory_sample($pid, '1 h', 3)) TO STDOUT");
is(rows_come($watch, 1), 1, 'waiting an hour: the first row comes at once');
$began = time;
$watched->quit;
ok(finished($watch) == 0, 'waiting an hour: ends with the session');
cmp_ok(time - $began, '<', 20, 'waiting an hour: at once');
is($watch->{out} =~ tr/\n//, 1, 'waiting an hour: one row it was');

#
# Cancelled, terminated, and when the server stops
#
$watched = open_session($node);
$pid = backend_pid($watched);
foreach my $end (qw(cancel terminate))
{
	$watch = start_watching(
		"COPY (SELECT pg_session_memory_sample($pid, '1 h', 3)) TO STDOUT");
	is(rows_come($watch, 1), 1, "$end: it waits");
	$began = time;
	$observer->query_safe("SELECT pg_${end}_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'watching' AND state = 'active'");
	isnt(finished($watch), 0, "$end: ends it");
	cmp_ok(time - $began, '<', 20, "$end: at once");
	like($watch->{err},
		qr/canceling statement due to user request|terminating connection/,
		"$end: with the error that it has");
}

#
# Figures are those of the views and of the operating system.
#
my $sample = rows_of($observer,
	"SELECT s.contexts = m.contexts AS contexts,
		s.context_bytes = m.context_bytes AS context_bytes,
		abs(s.anon_bytes - p.anon_bytes) < 1000000 AS anon_bytes, s.state
	FROM pg_session_memory_sample($pid, '1 ms', 1) AS s,
		pg_session_memory AS m, pg_session_memory_process($pid) AS p
	WHERE m.pid = $pid")->[0];
ok($sample->{$_}, "as the view has it: $_")
  foreach qw(contexts context_bytes anon_bytes);
is($sample->{state}, 'idle', 'as the view has it: state');

# At the times that were asked for, on the average too
my ($count, $span) = split /\|/,
  $observer->query_safe(
	"SELECT count(*), extract(epoch FROM max(at) - min(at))
	FROM pg_session_memory_sample($pid, '50 ms', 21)");
is($count, 21, 'count: as many rows as were asked for');
cmp_ok($span, '>=', 0.95, 'every: not faster');
cmp_ok($span, '<', 10, 'every: not much slower');

# One call for all columns, in the select list
is( $observer->query_safe(
		"SELECT count((s).at), count((s).contexts) FROM (
			SELECT pg_session_memory_sample($pid, '1 ms', 3) AS s OFFSET 0) AS t"),
	'3|3',
	'columns of a row in the select list');

# A cursor gets one at a time, and can leave.
$observer->query_safe(
	"BEGIN; DECLARE c CURSOR FOR
		SELECT pg_session_memory_sample($pid, '1 h', 1000000)");
is($observer->query_safe('FETCH 1 FROM c') =~ tr/(//,
	1, 'a cursor fetches the first');
$observer->query_safe('CLOSE c; COMMIT');

# A process without a state
is( $observer->query_safe(
		"SELECT count(*), count(s.state), min(contexts) > 5 FROM pg_stat_activity,
			pg_session_memory_sample(pid, '1 ms', 2) AS s
		WHERE backend_type = 'checkpointer'"),
	'2|0|t',
	'a process that is no session has no state');

# One that is not there
$watched->quit;
my ($result, $output, $error) = $node->psql('postgres',
	"SELECT count(*) FROM pg_session_memory_sample($pid, '1 h', 10)");
is($output, '0', 'ended: no rows');
like($error, qr/WARNING:  PID $pid is not a PostgreSQL server process/,
	'ended: a warning says why');

$observer->quit;
$node->stop;

done_testing();
