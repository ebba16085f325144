# Where the kernel does not let a session begin its high-water mark anew, a
# statement's peak is the most that the watcher has seen, and is marked so.
#
# The refusal is made by a library that is loaded before libc and opens no file
# named clear_refs.

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

my $library = build_refused_files('clear_refs', 'EACCES');
plan skip_all => 'no C compiler for the library that refuses'
  if !defined $library;

my $settings = q(
compute_query_id = on
autovacuum = off
pg_session_memory.watch_interval = '100ms'
pg_session_memory.statement_floor = '1MB'
);
my $node;
{
	local $ENV{LD_PRELOAD} = $library;
	$node = start_watching_server('sampled_peaks', $settings);
}
my $observer = open_session($node);
$observer->query_safe('SET pg_session_memory.track_statements = none');

# The memory of a function's variable, which only the peak knows of, kept until
# the observer lets go of a lock.  Its length is a variable, for the planner
# would make the text itself of a constant, and copy that.
my $large = "DO \$\$ DECLARE t text; n int := 50 * 1024 * 1024; BEGIN
	t := repeat('x', n);
	PERFORM pg_advisory_xact_lock(1); END \$\$";

# Runs a text that contains this, or another one that takes the lock, and has it
# go on as soon as it waits and the condition holds of its session.
sub run_locked
{
	my ($session, $text, $condition) = @_;
	my $pid = backend_pid($session);

	$observer->query_safe('SELECT pg_advisory_lock(1)');
	start_statement($session, $text);
	ok( $node->poll_query_until('postgres',
			"SELECT $condition FROM pg_session_memory WHERE pid = $pid
			AND (SELECT wait_event FROM pg_stat_activity WHERE pid = $pid)
				= 'advisory'"),
		'it runs and waits');
	$observer->query_safe('SELECT pg_advisory_unlock(1)');
	$session->query_safe('SELECT 1');
	return;
}

# The watcher takes what it saw first of a process for what this had before: let
# it see a small statement.  Then it sees the large one have its memory.
sub run_large
{
	my ($session, $text) = @_;

	run_locked($session, 'SELECT pg_advisory_xact_lock(1);',
		'statement_peak_bytes IS NOT NULL');
	$observer->query_safe('SELECT pg_session_memory_reset_statements()');
	run_locked($session, $text, 'statement_bytes > 49 * 1024 * 1024');
	return;
}

sub row
{
	my ($like) = @_;

	return rows_of($observer, "SELECT * FROM pg_session_memory_statements
		WHERE query LIKE '$like%'")->[0] // {};
}

my $session = open_session($node);
run_large($session, "$large;");
my $row = row('DO');
is($row->{calls}, 1, 'a statement that only the watcher has seen is counted');
is($row->{sampled}, 1, 'its peak is marked as sampled');
cmp_ok($row->{max_peak_bytes}, '>=', 49 * $MB, 'it is what it had');
# Its text is there twice for a moment.
cmp_ok($row->{max_peak_bytes}, '<=', 110 * $MB, 'and no more');
is($row->{mean_peak_bytes}, $row->{max_peak_bytes}, 'the mean of one');

# Statements of one text
run_large($session,
	"$large\\;
	SELECT count(*) FROM (SELECT md5(g::text) AS m
		FROM generate_series(1, 100000) AS g ORDER BY m) AS s;");
$row = row('SELECT count');
cmp_ok($row->{max_exec_bytes}, '>', $MB, 'the second one took memory');
is($row->{max_peak_bytes}, undef, "but the first one's peak is none of its");
is($row->{sampled}, 0, 'and it is not sampled');
is(row('DO')->{sampled}, 1, 'the first one is');

# Shorter than the watcher's interval, or it does not look at all
$node->safe_psql('postgres',
	"ALTER SYSTEM SET pg_session_memory.watch_interval = 0");
$node->safe_psql('postgres',
	"ALTER SYSTEM SET pg_session_memory.record_interval = 0");
$node->reload;
ok($node->poll_query_until('postgres',
		'SHOW pg_session_memory.record_interval', '0'), 'the watcher sleeps');
$session->query_safe('SELECT 1');
my $sorts = "SELECT count(*) FROM (SELECT md5(g::text) AS m
	FROM generate_series(1, 100001) AS g ORDER BY m) AS s;";
$observer->query_safe('SELECT pg_session_memory_reset_statements()');
$session->query_safe($sorts);
$row = row('SELECT count');
cmp_ok($row->{max_exec_bytes}, '>', $MB, 'nobody looks: the executor is known');
is($row->{max_peak_bytes}, undef, 'the peak is not');
is($row->{sampled}, 0, 'nor is it sampled');
$_->quit foreach ($session, $observer);

# A kernel that tells
$node->safe_psql('postgres',
	"ALTER SYSTEM RESET pg_session_memory.watch_interval");
$node->restart;
$observer = open_session($node);
$session = open_session($node);
run_locked($session, "$large;", 'true');
$row = row('DO');
SKIP:
{
	skip 'this kernel does not let /proc/self/clear_refs be written', 2
	  if ($row->{sampled} // 0) > 0;
	is($row->{sampled}, 0, 'where the kernel tells, nothing is sampled');
	cmp_ok($row->{max_peak_bytes}, '>=', 50 * $MB, 'and the peak is known');
}
$_->quit foreach ($session, $observer);
$node->stop;
done_testing();
