# What works by which way of loading the library: shared_preload_libraries,
# session_preload_libraries, LOAD, and none.

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
my $over = retain('over', 20 * $MB);

# No library, but thresholds for a role: PostgreSQL keeps them until somebody
# knows them.
my $node = start_server('loading');
my $superuser = $node->safe_psql('postgres', 'SELECT user');
my $observer = open_session($node);

$node->safe_psql(
	'postgres', q(
CREATE ROLE watched LOGIN SUPERUSER;
ALTER ROLE watched SET pg_session_memory.context_threshold = '16MB';
ALTER ROLE watched SET pg_session_memory.max_overhead = 100;
CREATE ROLE preloading LOGIN;
ALTER ROLE preloading SET session_preload_libraries = 'pg_session_memory';
ALTER ROLE preloading SET pg_session_memory.context_threshold = '16MB';
ALTER ROLE preloading SET pg_session_memory.max_overhead = 100;
));

sub value
{
	my ($client, $query) = @_;
	my ($row) = grep { $_->{type} eq 'D' } @{ $client->query($query) };

	return $row->{columns}[0];
}

# What needs shared memory says so, with how to get it.
sub needs_preload
{
	my ($client, $what) = @_;
	my $other = backend_pid($observer);

	foreach my $query (
		'SELECT * FROM pg_session_memory_events',
		'SELECT pg_session_memory_reset_events()',
		'SELECT * FROM pg_session_memory_statements',
		'SELECT pg_session_memory_reset_statements()',
		'SELECT * FROM pg_session_memory_bloat',
		"SELECT pg_session_memory_trim($other)")
	{
		my ($error) = grep { $_->{type} eq 'E' } @{ $client->query($query) };
		my $object = ($query =~ /(pg_session_memory_\w+)/)[0];

		is($error->{C}, '55000', "$what: $object: SQLSTATE");
		is( $error->{M},
			'pg_session_memory must be loaded via "shared_preload_libraries"',
			"$what: $object: says what is missing");
		like(
			$error->{H},
			qr/Add pg_session_memory to shared_preload_libraries and restart/,
			"$what: $object: and what to do");
	}
}

# What a session knows of itself works however the library was loaded: log,
# status, and the functions that ask for it.
sub watches_itself
{
	my ($client, $what) = @_;
	my $offset = log_end($node);
	my $pid = value($client, 'SELECT pg_backend_pid()');

	is(value($client, 'SELECT pg_session_memory_is_bloated()'),
		'f', "$what: is_bloated is false");
	is(ProtocolClient::statuses($client->query($over)),
		'bloated', "$what: the client is told");
	my ($entry) = log_since($node, $offset) =~
	  /\[$pid\].*LOG:  (session memory over threshold: contexts "CachedPlanSource" hold 20 MB)/;
	ok(defined $entry, "$what: a line in the log");
	is(value($client, 'SELECT pg_session_memory_is_bloated()'),
		't', "$what: is_bloated is true");
	my ($error) = grep { $_->{type} eq 'E' }
	  @{ $client->query('SELECT pg_session_memory_check()') };
	is($error->{C}, '53400', "$what: check raises its error");
	is( value(
			$client,
			"SELECT status || (growth_bytes >= 20 * 1024 * 1024)::text || source
				FROM pg_session_memory WHERE pid = pg_backend_pid()"),
		'bloatedtruelive',
		"$what: it has its figures itself");
	is(ProtocolClient::statuses($client->query('DEALLOCATE ALL')),
		'ok', "$what: the client is told when it fell");
	$client->query($over);
	($error) = grep { $_->{type} eq 'E' }
	  @{ $client->query('SELECT pg_session_memory_recycle()') };
	is($error->{S}, 'FATAL', "$what: recycle ends it");
	return $pid;
}

#
# Not loaded: what looks at other sessions
#
my $session = open_session($node);
my $row = published($observer, backend_pid($session));
is($row->{source}, 'live', 'not loaded: sessions are read');
cmp_ok($row->{context_bytes}, '>', 0, 'not loaded: they have bytes');
is($row->{status}, undef, 'not loaded: they publish nothing');
is($row->{retained_bytes}, undef, 'not loaded: no figures of their own');
$session->query('SHOW pg_session_memory.status');
like($session->{stderr}, qr/unrecognized configuration parameter/,
	'not loaded: no status parameter');
$session->{stderr} = '';
my $offset = log_end($node);
$session->query_safe($over);
unlike(log_since($node, $offset), qr/over threshold/, 'not loaded: no log');
$session->quit;

my $client = ProtocolClient->new($node, $superuser);
is($client->{parameters}{'pg_session_memory.status'},
	undef, 'not loaded: the client is told nothing');
needs_preload($client, 'not loaded');
$client->close;

# A function loads the library, and the session watches itself from then on,
# by thresholds that were there before.
$client = ProtocolClient->new($node, 'watched');
$client->query($over);
is(value($client, 'SELECT pg_session_memory_is_bloated()'),
	't', 'by a function: what was there before counts');
is($client->{parameters}{'pg_session_memory.status'},
	'bloated', 'by a function: the client is told with its response');
is(ProtocolClient::statuses($client->query('DEALLOCATE ALL')),
	'ok', 'by a function: and when it fell');
is( value($client, 'SHOW pg_session_memory.context_threshold'),
	'16MB', "by a function: the role's setting counts");
$client->close;
$client = ProtocolClient->new($node, 'watched');
$client->query('SELECT pg_session_memory_is_bloated()');
watches_itself($client, 'by a function');

#
# LOAD, also in the middle of a transaction, and in a session with workers
#
$client = ProtocolClient->new($node, 'watched');
$client->query("LOAD 'pg_session_memory'");
needs_preload($client, 'LOAD');
my $pid = value($client, 'SELECT pg_backend_pid()');
is(published($observer, $pid)->{status},
	undef, 'LOAD: other sessions do not see its figures');
watches_itself($client, 'LOAD');
$client = ProtocolClient->new($node, 'watched');
$client->query('BEGIN');
$client->query("LOAD 'pg_session_memory'");
is(ProtocolClient::statuses($client->query($over)),
	'bloated', 'LOAD in a transaction: watched from then on');
is(ProtocolClient::statuses($client->query('COMMIT')),
	'', 'LOAD in a transaction: and its end changes nothing');
$client->query('SET ' . parallel_setting($node) . ' = on');
is(value($client, 'SELECT count(*) > 0 FROM pg_class'),
	't', 'LOAD: parallel workers load it and work');
$client->close;
my ($error) = grep { $_->{type} eq 'E' }
  @{ ProtocolClient->new($node, 'preloading')->query(
		"SET session_preload_libraries = 'pg_session_memory'") };
is($error->{C}, '42501', 'session_preload_libraries: a role does not choose');

#
# session_preload_libraries, here a role's
#
$client = ProtocolClient->new($node, 'preloading');
is(value($client, 'SHOW pg_session_memory.status'),
	'ok', 'session_preload_libraries: loaded');
# The first change is told in any case, below.
needs_preload(ProtocolClient->new($node, $superuser), 'not loaded, still');
watches_itself($client, 'session_preload_libraries');
$client = ProtocolClient->new($node, 'preloading');
$client->query('SELECT 1');
$pid = value($client, 'SELECT pg_backend_pid()');
$row = published($observer, $pid);
is($row->{source}, 'live', 'session_preload_libraries: it is read');
is($row->{status}, undef,
	'session_preload_libraries: other sessions do not see its figures');
($error) = grep { $_->{type} eq 'E' }
  @{ $client->query('SELECT * FROM pg_session_memory_events') };
is($error->{C}, '55000', 'session_preload_libraries: no events');
$client->close;

# What is made at the server's start cannot be made larger later.
($error) = grep { $_->{type} eq 'E' }
  @{ ProtocolClient->new($node, 'preloading')
	  ->query('SET pg_session_memory.max_events = 7') };
is($error->{C}, '55P02', 'session_preload_libraries: max_events stays');

#
# shared_preload_libraries: everything, also in a database without the
# extension, and beside another library, whichever comes first
#
$observer->quit;
foreach my $libraries ('pg_session_memory, pg_stat_statements',
	'pg_stat_statements, pg_session_memory')
{
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = '$libraries'");
	$node->restart;
	is( $node->safe_psql(
			'postgres',
			"CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
			SELECT count(*) > 0 FROM pg_stat_statements;
			SELECT count(*) FROM pg_session_memory_events;
			SELECT count(*) FROM pg_session_memory_bloat"),
		"t\n0\n0",
		"$libraries: both have their shared memory");
}
$observer = open_session($node);
$client = ProtocolClient->new($node, 'watched');
is($client->{parameters}{'pg_session_memory.status'},
	'ok', 'shared_preload_libraries: the client is told at the start');
$pid = watches_itself($client, 'shared_preload_libraries');
is( join(
		' ',
		map { $_->{kind} } @{
			rows_of($observer, "SELECT kind FROM pg_session_memory_events
				WHERE pid = $pid ORDER BY id")
		}),
	'context fell context recycled',
	'shared_preload_libraries: events');

$node->safe_psql('postgres', 'CREATE DATABASE without');
$client = ProtocolClient->new($node, 'watched', 'without');
$offset = log_end($node);
is(ProtocolClient::statuses($client->query($over)),
	'bloated', 'without the extension: the client is told');
like(log_since($node, $offset), qr/session memory over threshold/,
	'without the extension: a line in the log');
is( $observer->query_safe(
		"SELECT datname, kind FROM pg_session_memory_bloat
			WHERE usename = 'watched'"),
	'without|context',
	'without the extension: sessions of databases that have it see it');
$client->close;

# The extension goes, the library stays.
$observer->query_safe('DROP EXTENSION pg_session_memory');
$client = ProtocolClient->new($node, 'watched');
is(ProtocolClient::statuses($client->query($over)),
	'bloated', 'DROP EXTENSION: sessions watch themselves as before');
$client->close;
is( $observer->query_safe(
		'CREATE EXTENSION pg_session_memory;
		SELECT count(*) FROM pg_session_memory_events WHERE kind = \'context\''),
	4,
	'CREATE EXTENSION: the events are those of before');

$observer->quit;
$node->stop;

done_testing();
