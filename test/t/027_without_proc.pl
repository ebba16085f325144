# Where /proc is not mounted, what it tells is NULL, and all else goes on: each
# session knows its contexts, thresholds are judged, a limit holds, and the
# watcher is there.
#
# A library that is loaded before libc takes the place of what opens files, and
# says that there is nothing below /proc.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $library = build_refused_files('/proc/', 'ENOENT');
plan skip_all => 'no C compiler for the library that hides /proc'
  if !defined $library;

my $node = PostgreSQL::Test::Cluster->new('without_proc');
$node->init;
$node->append_conf('postgresql.conf',
	    "shared_preload_libraries = 'pg_session_memory'\n"
	  . "pg_session_memory.max_overhead = 100\nautovacuum = off\njit = off\n"
	  . "pg_session_memory.record_interval = '100ms'\n"
	  . "pg_session_memory.watch_interval = '100ms'\n"
	  . "pg_session_memory.session_threshold = '16MB'\n");
{
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION pg_session_memory');
my $watcher = "SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'pg_session_memory watcher'";
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($watcher) AS w"),
	'the watcher runs');
my $watcher_pid = $node->safe_psql('postgres', $watcher);

my $session = open_session($node);
my $observer = open_session($node);
my $pid = backend_pid($session);

is( $session->query_safe(
		'SELECT context_bytes > 100000, status, num_nonnulls(anon_bytes,
				swap_bytes, unaccounted_bytes)
			FROM pg_session_memory WHERE pid = pg_backend_pid()'),
	't|ok|0',
	'the view: contexts, and nothing of what /proc tells');
is( $observer->query_safe(
		"SELECT source <> 'unavailable', context_bytes > 100000,
			num_nonnulls(anon_bytes, swap_bytes, unaccounted_bytes)
		FROM pg_session_memory WHERE pid = $pid"),
	't|t|0',
	'the view: the same of another session');
is( $observer->query_safe(
		"SELECT count(*), num_nonnulls(rss_bytes, pss_bytes, anon_bytes)
		FROM pg_session_memory_process($pid) AS p GROUP BY 2"),
	'1|0',
	'pg_session_memory_process: a row of NULL');
is( $observer->query_safe('SELECT count(*) > 50, count(name) = count(*)
		FROM pg_session_memory_contexts()'),
	't|t',
	'pg_session_memory_contexts');
is( $session->query_safe(
		'SELECT context_bytes_after > 100000, released_bytes,
			num_nonnulls(anon_bytes_before, anon_bytes_after)
		FROM pg_session_memory_trim()'),
	't||0',
	'a trim, of which nobody knows what it gave back');

# A statement, and one too large
my $array = "SELECT array_length(array_agg(repeat('x', 90) || i), 1)
	FROM generate_series(1, %d) AS i";
$session->query_safe(sprintf $array, 100000);
is( $session->query_safe('SELECT exec_bytes > 5000000, peak_bytes
		FROM pg_session_memory_last_statement()'),
	't|',
	'a statement: what the executor had, and no peak');
$session->query_safe("\\set VERBOSITY verbose\n");
$session->query_safe("SET pg_session_memory.process_limit = '60MB'");
foreach my $round (1, 2)
{
	$session->query(sprintf $array, 10000000);
	like(
		$session->{stderr},
		qr/ERROR:  53200: out of memory\nDETAIL:  Failed on request of size \d+ in memory context "\w+"\. pg_session_memory.process_limit is 60 MB\. Largest: /,
		"a limit holds, and is told: round $round");
	$session->{stderr} = '';
	is($session->query_safe('SELECT 1'), 1, "and the session lives: round $round");
}
is( $observer->query_safe(
		"SELECT kind, bytes FROM pg_session_memory_events
			WHERE pid = $pid ORDER BY id LIMIT 2"),
	"trimmed|\nlimited|",
	'events, whose bytes nobody knows');
$session->query_safe('RESET pg_session_memory.process_limit');

# Thresholds of contexts are judged.
$session->query_safe("DO \$\$ BEGIN EXECUTE 'PREPARE big AS SELECT 1 /*'
	|| repeat('x', 20000000) || '*/'; END \$\$");
is( $observer->query_safe(
		"SELECT kind FROM pg_session_memory_bloat WHERE pid = $pid"),
	'session',
	'a session over its threshold');

# The machine
is( $node->safe_psql(
		'postgres', 'SELECT count(*), count(total_bytes), count(anon_bytes)
			FROM pg_session_memory_server'),
	'1|0|0',
	'the server: a row, of which the machine is not known');
like(
	$node->safe_psql(
		'postgres', 'SELECT item, value, verdict, advice
			FROM pg_session_memory_environment()'),
	qr{/proc/meminfo cannot be read},
	'the environment says so');
ok($node->poll_query_until('postgres',
		'SELECT count(*) > 0 FROM pg_session_memory_history'),
	'the history has samples');
is( $node->safe_psql(
		'postgres', 'SELECT count(available_bytes), count(anon_bytes)
			FROM pg_session_memory_history'),
	'0|0',
	'in which nothing is made up');

is($node->safe_psql('postgres', $watcher), $watcher_pid,
	'the watcher is the one that it was');
$_->quit foreach $session, $observer;
$node->stop;
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/,
	'no process has crashed');

done_testing();
