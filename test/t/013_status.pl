# The status: reported to the client with the response to the very statement
# that changed it, and to a pooler by functions.
#
# Each command is measured, unless the test is about those that are not.

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
	'status', q(
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = '16MB'
));
my $observer = open_session($node);
my $superuser = $node->safe_psql('postgres', 'SELECT user');
my $client = ProtocolClient->new($node, $superuser);

# A query's response, whose statuses are compared, and after it what the server
# itself thinks.
sub is_reported
{
	my ($query, $statuses, $status, $what) = @_;
	my $response = $client->query($query);

	is(ProtocolClient::statuses($response),
		$statuses, "$what: reported: " . ($statuses || 'nothing'));
	is($client->query('SHOW pg_session_memory.status')->[1]{columns}[0],
		$status, "$what: $status");
	return $response;
}

my $over = retain('over', 20 * $MB);

is(ProtocolClient::statuses($client->{startup}), 'ok',
	'connected: the client is told at the start');
is_reported('SELECT 1', '', 'ok', 'nothing happens');
my $response = is_reported($over, 'bloated', 'bloated', 'crossed');
# CommandComplete, ParameterStatus, ReadyForQuery
is(ProtocolClient::types($response), 'CSZ',
	'crossed: reported after the command, before the next can come');
is($response->[2]{state}, 'I', 'crossed: the session is idle');
is_reported('SELECT 1', '', 'bloated', 'crossed: reported once');
is_reported(retain('double', 40 * $MB),
	'', 'bloated', 'doubled: nothing new for the client');
is_reported('DEALLOCATE double', '', 'bloated', 'still over');
is_reported('DEALLOCATE over', 'ok', 'ok', 'fell');
is_reported('SELECT 1', '', 'ok', 'fell: reported once');

my $pid = $client->query('SELECT pg_backend_pid()')->[1]{columns}[0];
is(published($observer, $pid)->{status}, 'ok', 'view: ok');
$client->query($over);
is(published($observer, $pid)->{status}, 'bloated', 'view: bloated');
$client->query('DEALLOCATE ALL');

# The other thresholds
is_reported("SET pg_session_memory.context_threshold = '100kB'",
	'bloated', 'bloated', 'context_threshold');
is_reported('RESET pg_session_memory.context_threshold',
	'ok', 'ok', 'context_threshold fell');
is_reported("SET pg_session_memory.process_threshold = '100kB'",
	'bloated', 'bloated', 'process_threshold');
is_reported('RESET pg_session_memory.process_threshold',
	'ok', 'ok', 'process_threshold fell');
is_reported("SET pg_session_memory.session_threshold = '100kB'",
	'bloated', 'bloated', 'session_threshold lowered');
is_reported('SET pg_session_memory.track = off', 'ok', 'ok', 'track off');
is_reported('SET pg_session_memory.track = on',
	'bloated', 'bloated', 'track on again');
is_reported('RESET ALL', 'ok', 'ok', 'RESET ALL');

# Several statements in one message have one response.
is_reported("$over; SELECT 1; DEALLOCATE over", '', 'ok',
	'several statements: what counts is their end');
is_reported("$over; SELECT 1/0", 'bloated', 'bloated',
	'a statement that fails: reported as well');
is_reported('DISCARD ALL', 'ok', 'ok', 'DISCARD ALL');

# Nobody sets it but the server.
$response = $client->query("SET pg_session_memory.status = 'bloated'");
is($response->[0]{C}, '55P02', 'SET: refused');
$response =
  $client->query("SELECT set_config('pg_session_memory.status', 'bloated', true)");
is((grep { $_->{type} eq 'E' } @$response)[0]{C}, '55P02', 'set_config: refused');
is_reported('RESET pg_session_memory.status', '', 'ok', 'RESET: nothing');

#
# Transactions
#
is_reported('BEGIN', '', 'ok', 'in a block');
is_reported($over, 'bloated', 'bloated', 'in a block: before its end');
is_reported('SELECT pg_session_memory_is_bloated()',
	'', 'bloated', 'in a block: once');
is_reported('COMMIT', '', 'bloated', 'in a block: nothing new with its COMMIT');
is_reported('BEGIN', '', 'bloated', 'rolled back');
is_reported('ROLLBACK', '', 'bloated', 'rolled back: the status stays');
$client->query('BEGIN');
$client->query('SELECT 1/0');
is_reported('ROLLBACK', '', 'bloated', 'failed: the status stays');
$client->query('BEGIN');
is_reported('DEALLOCATE over', 'ok', 'ok', 'fell in a block: before its end');
is_reported('ROLLBACK', '', 'ok',
	'fell in a block: for good, even if that is rolled back');

# A block that fails takes no prepared statement back, and no status.
$client->query('BEGIN');
$client->query($over);
$client->query('SELECT 1/0');
is_reported('ROLLBACK', '', 'bloated', 'crossed in a block that fails');
is_reported('DEALLOCATE over', 'ok', 'ok', 'crossed in a block that fails: fell');

# A chain's transactions have no moment between them.
$client->query('BEGIN');
is_reported($over, 'bloated', 'bloated', 'chain: within');
is_reported('COMMIT AND CHAIN', '', 'bloated', 'chain: goes on');
is_reported('COMMIT', '', 'bloated', 'chain: at its end');
is_reported('DEALLOCATE ALL', 'ok', 'ok', 'chain: fell');

# Thresholds that are set in transactions
$client->query('BEGIN');
$client->query("SET LOCAL pg_session_memory.session_threshold = '100kB'");
is($client->query('SELECT pg_session_memory_is_bloated()')->[1]{columns}[0],
	't', 'SET LOCAL: counts in the block');
is_reported('COMMIT', 'ok', 'ok', 'SET LOCAL: and not after it');
$client->query('BEGIN');
$client->query("SET pg_session_memory.session_threshold = '100kB'");
is_reported('ROLLBACK', 'ok', 'ok', 'SET that is rolled back');
is($client->query('SELECT pg_session_memory_is_bloated()')->[1]{columns}[0],
	'f', 'SET that is rolled back: does not count');
$client->query('BEGIN');
is_reported("SET pg_session_memory.session_threshold = '100kB'",
	'bloated', 'bloated', 'SET that is committed');
is_reported('COMMIT', '', 'bloated', 'SET that is committed: stays');
$client->query('BEGIN');
$client->query("SET pg_session_memory.session_threshold = -1");
is_reported('ROLLBACK', 'bloated', 'bloated',
	'SET that is rolled back: as before');
$client->query('BEGIN; SAVEPOINT s');
$client->query('SET pg_session_memory.session_threshold = -1');
$client->query('ROLLBACK TO s');
is_reported('COMMIT', '', 'bloated', 'SET in a savepoint that is rolled back');
is_reported('RESET pg_session_memory.session_threshold', 'ok', 'ok', 'RESET');

# A procedure that commits is one statement.
$client->query('CREATE PROCEDURE p(bytes int) LANGUAGE plpgsql AS $$
	BEGIN COMMIT; EXECUTE \'PREPARE over AS SELECT 1 /*\'
		|| repeat(\'x\', bytes) || \'*/\'; COMMIT; END $$');
is_reported('CALL p(20 * 1024 * 1024)', 'bloated', 'bloated', 'procedure that commits');
is_reported('DEALLOCATE ALL', 'ok', 'ok', 'procedure that commits: fell');

#
# Extended protocol, and many statements sent at once
#
$client->send(ProtocolClient::extended('SELECT 1'), ProtocolClient::sync());
is(ProtocolClient::statuses($client->response), '', 'extended: nothing happens');
$client->send(ProtocolClient::extended($over), ProtocolClient::sync());
$response = $client->response;
is(ProtocolClient::statuses($response), 'bloated',
	'extended: in the response to the statement');
# ParseComplete, BindComplete, CommandComplete, ParameterStatus, ReadyForQuery
is(ProtocolClient::types($response), '12CSZ', 'extended: at its end');
$client->send(ProtocolClient::extended('DEALLOCATE ALL'), ProtocolClient::sync());
is(ProtocolClient::statuses($client->response), 'ok', 'extended: fell');

$client->send(
	ProtocolClient::extended('SELECT 1'), ProtocolClient::sync(),
	ProtocolClient::extended($over), ProtocolClient::sync(),
	ProtocolClient::extended('SELECT 1'), ProtocolClient::sync(),
	ProtocolClient::extended('SELECT 1/0'), ProtocolClient::extended('SELECT 1'),
	ProtocolClient::sync(),
	ProtocolClient::extended('DEALLOCATE ALL'), ProtocolClient::sync());
is( join(',', map { ProtocolClient::statuses($client->response) } 1 .. 5),
	',bloated,,,ok',
	'pipeline: each in the response to its own statement');
$client->send(ProtocolClient::extended($over),
	ProtocolClient::extended('SELECT 1'), ProtocolClient::sync());
$response = $client->response;
is(ProtocolClient::types($response), '12C12DCSZ',
	'pipeline: several statements in a transaction have one end');
$client->send(
	ProtocolClient::extended('SELECT 1/0'), ProtocolClient::extended('SELECT 1'),
	ProtocolClient::sync());
is(ProtocolClient::statuses($client->response), '',
	'pipeline: an error changes nothing');
$client->send(
	ProtocolClient::extended('BEGIN'),
	ProtocolClient::extended('DEALLOCATE ALL'),
	ProtocolClient::extended('COMMIT'),
	ProtocolClient::extended('SELECT 1'),
	ProtocolClient::sync());
is(ProtocolClient::statuses($client->response), 'ok',
	'pipeline: a transaction within');

#
# An idle session that finds out later tells with the next response: nobody
# reads before.  Until then the view knows.
#
# 500 measurements of at least 10 us are what is earned in 50 s at 0.01 per
# cent, so that the statement is passed over.
$client->query("SET pg_session_memory.idle_delay = '200ms'");
$client->query('SET pg_session_memory.max_overhead = 0.01');
$client->query('RESET pg_session_memory.max_overhead');
$client->query('SELECT 1') foreach 1 .. 500;
$client->query('SET pg_session_memory.max_overhead = 0.01');
is(ProtocolClient::statuses($client->query($over)), '', 'passed over: not reported');
ok($node->poll_query_until('postgres',
		"SELECT status = 'bloated' FROM pg_session_memory WHERE pid = $pid"),
	'passed over: found when idle');
is_reported('SELECT 1', 'bloated', 'bloated',
	'passed over: with the next response');
$client->query('RESET pg_session_memory.max_overhead');
is_reported('DISCARD ALL', 'ok', 'ok', 'passed over: fell');

#
# Functions that a pooler or an application calls
#
sub value
{
	my ($query) = @_;

	return (grep { $_->{type} eq 'D' } @{ $client->query($query) })[0]{columns}[0];
}

is(value('SELECT pg_session_memory_is_bloated()'), 'f', 'is_bloated: false');
is(value('SELECT pg_session_memory_check()'), 't', 'check: true');
is(value('SELECT pg_session_memory_recycle()'), 't', 'recycle: true');

# Their own statement's memory is not the session's: here 42 MB of text and a
# plan with as much.
my $x = 'x' x (42 * $MB);
is(value("SELECT pg_session_memory_is_bloated() AND length('$x') > 0"),
	'f', 'is_bloated: not for its own statement');
is(value("SELECT pg_session_memory_recycle() AND length('$x') > 0"),
	't', 'recycle: not for its own statement');
undef $x;

# They look when they are called.
$client->query('BEGIN');
$client->query($over);
is(value('SELECT pg_session_memory_is_bloated()'),
	't', 'is_bloated: true, in the transaction that crossed');
$client->query('COMMIT');
$response = $client->query('SELECT pg_session_memory_check()');
my ($error) = grep { $_->{type} eq 'E' } @$response;
is($error->{S}, 'ERROR', 'check: an error');
is($error->{C}, '53400', 'check: SQLSTATE');
like(
	$error->{M},
	qr/^session memory over threshold: the session holds 2\d MB, pg_session_memory.session_threshold is 16 MB$/,
	'check: the same words as in the log');
like($error->{D}, qr/^The session retains 2\d MB in \d+ contexts\.$/,
	'check: detail');
like($error->{H}, qr/DEALLOCATE/, 'check: hint');
is(value('SELECT pg_backend_pid()'), $pid, 'check: the session goes on');
$client->query('SET pg_session_memory.track = off');
is(value('SELECT pg_session_memory_is_bloated()'),
	't', 'is_bloated: without tracking, too');
$client->query('SET pg_session_memory.track = on');

# FATAL, and then nothing more: no part of a result, no ReadyForQuery.
$response =
  $client->query('SELECT pg_session_memory_recycle() FROM generate_series(1, 3)');
is(ProtocolClient::types([ grep { $_->{type} ne 'T' } @$response ]),
	'EEND', 'recycle: an error and the end of the connection');
($error) = grep { $_->{type} eq 'E' } @$response;
is($error->{S}, 'FATAL', 'recycle: FATAL');
is($error->{C}, '53400', 'recycle: SQLSTATE');
like($error->{M}, qr/^session memory over threshold: the session holds 2\d MB/,
	'recycle: the same words as in the log');

# Each role has its own status.
$node->safe_psql(
	'postgres', q(
CREATE ROLE frugal LOGIN;
ALTER ROLE frugal SET pg_session_memory.session_threshold = '100kB';
));
$client = ProtocolClient->new($node, 'frugal');
# It is the first statement that is measured.
is_reported('SELECT 1', 'bloated', 'bloated', "a role's threshold");
$client->close;

$observer->quit;
$node->stop;

done_testing();
