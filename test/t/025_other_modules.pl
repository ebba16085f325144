# Other modules in the same process may do what PostgreSQL lets them do: raise
# errors while a line is written to the log, take all timeouts, run SQL in a
# background worker.  The session goes on, and its client is told nothing
# wrong.  The module that does all this is test/misbehaving_module.c.

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
my $library = build_misbehaving_module();

plan skip_all => 'no C compiler for the module that misbehaves'
  if !defined $library;

my $node = start_watching_server(
	'modules', q(
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = '16MB'
pg_session_memory.idle_delay = '200ms'
max_worker_processes = 4
));
$node->safe_psql(
	'postgres', "
	CREATE FUNCTION take_timeouts() RETURNS void
		AS '$library', 'misbehaving_take_timeouts' LANGUAGE C;
	CREATE FUNCTION set_version(int) RETURNS void
		AS '$library', 'misbehaving_set_version' LANGUAGE C;
	CREATE FUNCTION start_worker() RETURNS int
		AS '$library', 'misbehaving_start_worker' LANGUAGE C;
	CREATE TABLE t (a int)");
my $observer = open_session($node);
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my $over = retain('over', 20 * $MB);

sub connect_and_load
{
	my $client = ProtocolClient->new($node, $user);

	$client->query("LOAD '$library'");
	return ($client, $client->query('SELECT pg_backend_pid()')->[1]{columns}[0]);
}

#
# An error in emit_log_hook is no error of the command that is over
#
my ($client, $pid) = connect_and_load();
$client->query('SET misbehaving.raise_in_log_hook = on');
my $response = $client->query($over);
is(ProtocolClient::types($response), 'CSZ', 'log hook: no error');
is(ProtocolClient::statuses($response), 'bloated', 'log hook: the status');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_events WHERE pid = $pid"),
	1,
	'log hook: the event');
$client->query('DEALLOCATE over');
is($client->query('SELECT 1')->[1]{columns}[0], '1', 'log hook: it goes on');

# Nor is a transaction block rolled back.
$client->query('BEGIN');
$client->query('INSERT INTO t VALUES (1)');
$response = $client->query($over);
is(ProtocolClient::types($response), 'CSZ', 'log hook in a block: no error');
is($response->[-1]{state}, 'T', 'log hook in a block: still in it');
is($client->query('COMMIT')->[-1]{state}, 'I', 'log hook in a block: committed');
is($observer->query_safe('SELECT count(*) FROM t'),
	1, 'log hook in a block: committed indeed');
$client->query('DEALLOCATE over');

# Nor does it end an idle session that finds out later.  3,000 measurements
# are more than it can have saved for.
sub owe
{
	$client->query('SET pg_session_memory.max_overhead = 0.01');
	$client->query('SET pg_session_memory.max_overhead = 100');
	$client->query('SELECT 1') foreach 1 .. 3000;
	$client->query(q(SET pg_session_memory.idle_delay = '1d'));
	$client->query('SET pg_session_memory.max_overhead = 0.01');
}

sub is_found_out
{
	my ($what) = @_;

	ok( $node->poll_query_until(
			'postgres', "SELECT retained_bytes > 20 * $MB
				FROM pg_session_memory WHERE pid = $pid"),
		"$what: finds out");
	is($client->query('SELECT 1')->[1]{columns}[0], '1', "$what: goes on");
}

foreach my $begin ('SELECT 1', 'BEGIN')
{
	my $what = 'log hook, idle after ' . $begin;

	owe();
	$client->query($begin);
	$client->query($over);
	$client->query(q(SET pg_session_memory.idle_delay = '200ms'));
	is_found_out($what);
	$client->query('COMMIT');
	$client->query('DEALLOCATE over');
}

# The line that could not be written is all that is lost.
my $offset = log_end($node);
$client->query('RESET ALL');
$client->query($over);
like(log_since($node, $offset), qr/session memory over threshold/,
	'log hook: without its error the line is written');
$client->close;

#
# All timeouts are taken
#
($client, $pid) = connect_and_load();
$response = $client->query('SELECT take_timeouts()');
is(ProtocolClient::types($response), 'TDCZ', 'timeouts: taken');
owe();
$client->query(q(SET pg_session_memory.idle_delay = '200ms'));
$client->query($over);
is_found_out('timeouts');
$client->close;

#
# Servers that go on in TopMemoryContext after a catch-up, and a message that
# is converted to the server's encoding: its text must not be kept.  17 has
# always been right.
#
my $top = 'SELECT total_bytes FROM pg_session_memory_contexts(%d)
	WHERE level = 1';
my $text = "/*\xe4" . 'x' x $MB . '*/';

($client, $pid) = connect_and_load();
$client->query("SET client_encoding = 'LATIN1'");
$client->query('SELECT set_version(150007)');
is($client->query('SHOW server_version_num')->[1]{columns}[0],
	150007, 'catch-up: of an older release')
  if $node->pg_version < 17;
$client->query('SET pg_session_memory.trim_when_idle = on');
$client->query("SET pg_session_memory.trim_threshold = '64kB'");
$client->query('SET misbehaving.leave_context = on');
my $before;
foreach my $round (1 .. 6)
{
	my $looked = "SELECT last_trim_at FROM pg_session_memory WHERE pid = $pid";
	my $last = $observer->query_safe($looked);

	# The client is told of it right before the session is idle, which is what
	# leaves TopMemoryContext.
	$client->query("SET misbehaving.reported = $round");
	ok( $node->poll_query_until(
			'postgres', "SELECT ($looked)::text IS DISTINCT FROM nullif('$last', '')"),
		"catch-up $round: has trimmed itself");
	# What the catch-up's end has asked for is done within this time.
	select undef, undef, undef, 0.2;
	$client->query("SELECT 1 $text");
	$before = $observer->query_safe(sprintf $top, $pid) if $round == 1;
}
cmp_ok($observer->query_safe(sprintf $top, $pid) - $before,
	'<', $MB / 2, 'catch-up: no text of a message is kept')
  if $node->pg_version < 17;
$client->close;

#
# A background worker that resets its peak publishes nothing
#
my $session = open_session($node);
$session->query_safe("LOAD '$library'");
$session->query_safe("SET misbehaving.library = '$library'");
my $worker = $session->query_safe('SELECT start_worker()');
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM pg_stat_activity
			WHERE pid = $worker AND wait_event_type = 'Extension'"),
	'background worker: has reset its peak');
is( $observer->query_safe(
		"SELECT num_nonnulls(retained_bytes, peak_bytes, measured_at, status)
			FROM pg_session_memory WHERE pid = $worker"),
	0,
	'background worker: publishes nothing');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_bloat WHERE pid = $worker"),
	0,
	'background worker: is not bloated');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_events WHERE pid = $worker"),
	0,
	'background worker: no event');
$observer->query_safe("SELECT pg_terminate_backend($worker)");

$session->quit;
$observer->quit;
$node->stop;

done_testing();
