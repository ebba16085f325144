# The guard where the kernel does not let it set the limits of other processes:
# it says so, once, and what it can still do is cancel and terminate.
#
# A library that is loaded before libc refuses prlimit(2) on another process.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $library = build_refused_limits();
plan skip_all => 'no C compiler for the library that refuses prlimit'
  if !defined $library;

my $node = PostgreSQL::Test::Cluster->new('refused');
$node->init;
$node->append_conf('postgresql.conf', q(
shared_preload_libraries = 'pg_session_memory'
autovacuum = off
jit = off
pg_session_memory.guard = on
pg_session_memory.guard_patience = '200ms'
pg_session_memory.guard_reserve = '16MB'
pg_session_memory.server_limit = '400MB'
));
{
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
}
$node->safe_psql('postgres', q(
CREATE EXTENSION pg_session_memory;
CREATE ROLE app LOGIN;
));
my $session = open_session($node, 'postgres', 'app');
my $pid = backend_pid($session);
$session->query_safe("\\set VERBOSITY verbose\n");

# It can have a ceiling from its second command on.
$session->query_safe('SELECT 1') foreach 1 .. 3;
my $log = wait_for_logged($node, qr/cannot set the limit/);
like(
	$log,
	qr/LOG:  pg_session_memory\.guard cannot set the limit of PID \d+\n.*DETAIL:  The operating system has refused prlimit\(2\).*\n.*HINT:  .*can only cancel and terminate/,
	'the log tells that ceilings are refused');
is( $node->safe_psql('postgres',
		"SELECT verdict, advice LIKE '%can only cancel and terminate%'
		FROM pg_session_memory_environment()
		WHERE item = 'pg_session_memory.guard'"),
	'danger|t',
	'so does what is known of the environment');

# A statement that takes more than there is, and holds it
start_statement($session,
	"SELECT pg_sleep(1000) IS NULL
	FROM (SELECT repeat('x', 600 * 1024 * 1024 + (random() * 0)::integer) AS t
		OFFSET 0) AS s
	WHERE length(t) > 0");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) > 0 FROM pg_session_memory_events
			WHERE kind = 'cancelled' AND pid = $pid"),
	'a statement that takes too much is cancelled');
$session->{stderr} = '';
is($session->query('SELECT 2'), '2', 'its session goes on');
like($session->{stderr},
	qr/ERROR:  57014: .*\n.*DETAIL: .*pg_session_memory\.guard has cancelled/,
	'and was told why');
my $others = "SELECT count(*) FROM pg_session_memory WHERE ceiling_bytes IS NOT NULL
	AND limit_bytes IS NOT NULL";
is($node->safe_psql('postgres', $others), '0', 'no process has a limit');
$log = slurp_file($node->logfile);
is(scalar(() = $log =~ /cannot set the limit/g), 1, 'it was told once');

$session->quit;
$node->stop;
done_testing();
