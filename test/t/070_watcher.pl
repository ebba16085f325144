# The watcher: its life, and the history that it records.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $history = 'pg_stat_tmp/pg_session_memory.history';
my $node = start_server(
	'watcher', "shared_preload_libraries = 'pg_session_memory'
	pg_session_memory.record_interval = '100ms'
	max_files_per_process = 100
	restart_after_crash = on\n");

sub watcher_pid
{
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'pg_session_memory watcher'");
}

# The server accepts connections again.
sub wait_until_up
{
	$node->poll_query_until('postgres', 'SELECT true')
	  or die 'the server did not come back';
}

# What is recorded is in the file a moment later.
sub wait_for
{
	my ($condition, $what) = @_;

	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

my $samples = 'SELECT count(*) FROM pg_session_memory_history';

# ----------------------------------------------------------------------------
# Its life
# ----------------------------------------------------------------------------

my $pid = watcher_pid();
like($pid, qr/^\d+$/, 'there is one, as pg_stat_activity says');
is( $node->safe_psql(
		'postgres', "SELECT datid IS NULL AND datname IS NULL
		FROM pg_stat_activity WHERE pid = $pid"),
	't',
	'it is in no database');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'DROP DATABASE other');
pass('databases can be made and dropped beside it');
is( $node->safe_psql(
		'postgres',
		"SELECT source, contexts > 10, anon_bytes > 100000
		FROM pg_session_memory WHERE pid = $pid"),
	'live|t|t',
	'its own memory can be seen like that of any process');

$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for("count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'pg_session_memory watcher' AND pid <> $pid",
	'it comes back when it was terminated');
is($node->safe_psql('postgres',
		'SELECT count(*) FROM pg_session_memory_history WHERE before_restart'),
	'0',
	'that is no restart of the server');

# It keeps files of the processes that it looks at, a third of what it may have
# open, and looks at the others as well; and closes those of who has gone.
my $SESSIONS = 50;
sub kept_files
{
	my ($watcher) = @_;

	return scalar grep { (readlink($_) // '') =~ m{^/proc/\d+/statm$} }
	  glob "/proc/$watcher/fd/*";
}

$pid = watcher_pid();
my $file = PostgreSQL::Test::Utils::tempdir() . '/sleep.sql';
append_to_file($file, "SELECT pg_sleep(1000);\n");
my $pgbench;
{
	local $ENV{PGAPPNAME} = 'sleeper';
	$pgbench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $SESSIONS, '-t', 1, '-f', $file,
			$node->connstr('postgres')
		],
		'>', '/dev/null', '2>&1');
}
wait_for("count(*) = $SESSIONS FROM pg_session_memory
	WHERE application_name = 'sleeper' AND statement_bytes IS NOT NULL",
	'it sees more running statements than it may keep files for');
my $kept = kept_files($pid);
cmp_ok($kept, '>=', 10, 'it keeps files');
cmp_ok($kept, '<=', 34, 'a third of what it may have open');
$pgbench->kill_kill;
$node->safe_psql('postgres',
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE application_name = 'sleeper'");
foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$kept = kept_files($pid);
	last if $kept < 10;
	select undef, undef, undef, 0.1;
}
cmp_ok($kept, '<', 10, 'it keeps none of sessions that have gone');

# With nothing to do it sleeps: its CPU time stands still while others work.
$node->append_conf('postgresql.conf',
	"pg_session_memory.watch_interval = 0
	pg_session_memory.record_interval = 0\n");
$node->reload;
$pid = watcher_pid();
my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
wait_for("true", 'the server goes on with intervals of 0');
$node->append_conf('postgresql.conf',
	"pg_session_memory.record_interval = '100ms'\n");
$node->reload;
wait_for("count(*) > 3 FROM pg_session_memory_history WHERE at > '$now'",
	'it goes on when the settings are changed again');
is(watcher_pid(), $pid, 'and it is the same one');
$node->append_conf('postgresql.conf',
	"pg_session_memory.watch_interval = '100ms'\n");
$node->reload;

# ----------------------------------------------------------------------------
# What it records
# ----------------------------------------------------------------------------

is( $node->safe_psql(
		'postgres', "SELECT count(*) FILTER (WHERE reason = 'start') > 0,
			count(*) FILTER (WHERE reason = 'interval') > 0,
			bool_and(available_bytes BETWEEN 0 AND total_bytes),
			bool_and(anon_bytes > 1000000), bool_and(sessions >= active)
		FROM pg_session_memory_history"),
	't|t|t|t|t',
	'samples at the start and in intervals');
is( $node->safe_psql(
		'postgres', 'SELECT count(*) > 0 AND max(n) <= 10 AND max(n) >= 5
		FROM (SELECT count(*) AS n FROM pg_session_memory_history_sessions
			GROUP BY at) AS s'),
	't',
	'each with up to ten processes');
is( $node->safe_psql(
		'postgres', 'SELECT bool_and(anon_bytes <= before)
		FROM (SELECT anon_bytes, lag(anon_bytes) OVER () AS before,
				at = lag(at) OVER () AS same
			FROM pg_session_memory_history_sessions) AS s WHERE same'),
	't',
	'the largest first');

# A statement that grows, and holds what it has.
$node->safe_psql('postgres', "CREATE ROLE app LOGIN;
	ALTER ROLE app SET pg_session_memory.process_threshold = '40MB'");
my $offset = -s $node->logfile;
my $grower = open_session($node, 'postgres', 'app');
my $grower_pid = backend_pid($grower);
start_statement($grower,
	"/* one that grows */ SELECT array_length(a, 1), pg_sleep(1000)
	FROM (SELECT array_agg(md5(i::text)) AS a
		FROM generate_series(1, 500000) AS i) AS s");
my $of_grower = "FROM pg_session_memory_history_sessions
	WHERE pid = $grower_pid AND state = 'active'";
wait_for("count(*) > 0 $of_grower AND anon_bytes > 30000000
	AND execution_bytes > 20000000", 'a session that grows is recorded');
wait_for("count(*) > 0 $of_grower AND usename = 'app' AND datname = 'postgres'
		AND backend_type = 'client backend' AND NOT before_restart
		AND query LIKE '/* one that grows */%'
		AND largest_context = 'ExprContext' AND largest_context_bytes > 20000000",
	'with whose it is, what it runs, and what has the memory');
wait_for("count(*) > 0 FROM pg_session_memory_history
		WHERE reason = 'growth' AND largest_pid = $grower_pid
			AND largest_bytes > 16000000",
	'growth is a reason for a sample');

# What the view says of it while it runs.
wait_for("statement_bytes > 20000000 AND statement_peak_bytes >= statement_bytes
		AND statement_bytes < anon_bytes
	FROM pg_session_memory WHERE pid = $grower_pid AND state = 'active'",
	'the view has what the running statement has added');
wait_for("count(*) = 1 FROM pg_session_memory_events
	WHERE pid = $grower_pid AND kind = 'process' AND usename = 'app'
		AND bytes > threshold_bytes AND threshold_bytes = 40 * 1024 * 1024
		AND query LIKE '/* one that grows */%'",
	'an event while it runs, by its own threshold');
$node->wait_for_log(qr/pg_cancel_backend\($grower_pid\)/, $offset);
like(
	slurp_file($node->logfile, $offset),
	qr/session memory over threshold: the process holds \d+ MB while running, pg_session_memory.process_threshold is 40 MB.*\n.*DETAIL:  PID $grower_pid of app\@postgres \(active\) with \d+ MB.*statement: \/\* one that grows/,
	'and a line in the log');

# Leader and workers.
my $leader = open_session($node);
my $leader_pid = backend_pid($leader);
$leader->query_safe(
	'CREATE TABLE rows_of_it AS SELECT i FROM generate_series(1, 10000) AS i;
	ANALYZE rows_of_it; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0;
	SET max_parallel_workers_per_gather = 2');
start_statement($leader,
	'SELECT count(*) FROM rows_of_it WHERE pg_sleep(1000) IS NOT NULL');
wait_for("count(*) FILTER (WHERE leader_pid = $leader_pid) > 0
		AND sum(anon_bytes) = max(parallel_bytes)
		AND count(parallel_bytes) FILTER (WHERE pid = $leader_pid) = 1
	FROM pg_session_memory WHERE $leader_pid IN (pid, leader_pid)",
	'a leader has the sum of itself and its workers');
wait_for("count(*) > 0 FROM pg_session_memory_history_sessions
	WHERE leader_pid = $leader_pid AND backend_type = 'parallel worker'
		AND usename = 'postgres' AND query LIKE '%pg_sleep(1000)%'",
	'workers are recorded with their leader');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($leader_pid)");
eval { $leader->{run}->kill_kill };

# Who may see what.
$node->safe_psql('postgres',
	'CREATE ROLE nobody LOGIN; CREATE ROLE watching LOGIN;
	GRANT pg_read_all_stats TO watching');
my @as_nobody = (extra_params => [ '-U', 'nobody' ]);
is( $node->safe_psql(
		'postgres',
		"SELECT DISTINCT pid, usename, query,
			num_nonnulls(anon_bytes, context_bytes, execution_bytes, state,
				query_id, backend_start, largest_context,
				largest_context_bytes)
		FROM pg_session_memory_history_sessions WHERE pid = $grower_pid",
		@as_nobody),
	"$grower_pid|app|<insufficient privilege>|0",
	'others see that there was a session, and no figures of it');
is( $node->safe_psql(
		'postgres', "SELECT num_nonnulls(largest_pid, largest_bytes),
			num_nonnulls(available_bytes, anon_bytes, execution_bytes)
		FROM pg_session_memory_history LIMIT 1", @as_nobody),
	'0|3',
	'sums are for everybody');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) > 0 $of_grower AND anon_bytes > 30000000",
		extra_params => [ '-U', 'app' ]),
	't',
	'a role sees its own sessions');
is( $node->safe_psql(
		'postgres', "SELECT count(*) > 0 $of_grower
			AND query LIKE '/* one that grows%' AND anon_bytes > 30000000",
		extra_params => [ '-U', 'watching' ]),
	't',
	'pg_read_all_stats sees all');
my ($status, $stdout, $stderr) = $node->psql('postgres',
	'SELECT pg_session_memory_reset_history()', @as_nobody);
like($stderr, qr/permission denied/, 'forgetting is for superusers');

# The server's own row.
is( $node->safe_psql(
		'postgres', "SELECT total_bytes > 0,
			available_bytes BETWEEN 1 AND total_bytes, limit_source IS NOT NULL,
			sessions >= 2, active >= 2, anon_bytes > 30000000,
			shared_memory_bytes > pg_size_bytes(current_setting('shared_buffers'))
		FROM pg_session_memory_server"),
	't|t|t|t|t|t|t',
	'the server: one row of plausible figures');

$node->safe_psql('postgres', "SELECT pg_terminate_backend($grower_pid)");
eval { $grower->{run}->kill_kill };

# Forgetting.
my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
$node->safe_psql('postgres', 'SELECT pg_session_memory_reset_history()');
is($node->safe_psql('postgres', "$samples WHERE at < '$before'"),
	'0', 'the history can be forgotten');
wait_for("count(*) > 0 FROM pg_session_memory_history",
	'and a new one begins');
is( (stat($node->data_dir . "/$history"))[2] & 0777,
	0600, 'only the server can read the file');

# ----------------------------------------------------------------------------
# Restarts
# ----------------------------------------------------------------------------

my $restarted =
  "SELECT count(*) FROM pg_session_memory_events WHERE kind = 'restarted'";
foreach my $mode ('smart', 'fast', 'immediate')
{
	$offset = -s $node->logfile;

	wait_for("count(*) > 0 FROM pg_session_memory_history
		WHERE NOT before_restart", "before a $mode shutdown: there are samples");
	command_ok(
		[
			'pg_ctl', '-w', '-D', $node->data_dir,
			'-l', $node->logfile, '-m', $mode, 'restart'
		],
		"a $mode shutdown");
	$node->_update_pid(1);
	wait_for("count(*) > 0 FROM pg_session_memory_history
		WHERE NOT before_restart", "after a $mode shutdown: it goes on");
	is($node->safe_psql('postgres',
			'SELECT count(*) > 0 FROM pg_session_memory_history
			WHERE before_restart'),
		't', "after a $mode shutdown: the history is still there");
	is($node->safe_psql('postgres', $restarted),
		'0', "after a $mode shutdown: it is not told as a crash");
	unlike(slurp_file($node->logfile, $offset),
		qr/was not shut down before/, "after a $mode shutdown: nor in the log");
}

# A session that is killed, as the OOM killer does it; then the watcher.
foreach my $victim ('session', 'watcher')
{
	$offset = -s $node->logfile;
	my $session = open_session($node, 'postgres', 'app');
	my $session_pid = backend_pid($session);
	my $started = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	start_statement($session,
		"/* the last one */ SELECT array_length(a, 1), pg_sleep(1000)
		FROM (SELECT array_agg(md5(i::text)) AS a
			FROM generate_series(1, 500000) AS i) AS s");
	# More than what other sessions come and go with: that sample is told of in
	# which all together had most.
	wait_for("count(*) > 0 FROM pg_session_memory_history_sessions
		WHERE pid = $session_pid AND at > '$started'
			AND query LIKE '/* the last one%' AND execution_bytes > 30000000",
		"$victim killed: it was recorded");
	kill 'KILL', $victim eq 'session' ? $session_pid : watcher_pid();
	eval { $session->{run}->kill_kill };
	$node->wait_for_log(qr/Largest processes/, $offset);
	like(
		slurp_file($node->logfile, $offset),
		qr/was not shut down before it started: at .* were available.*\n.*DETAIL:  Largest processes: PID $session_pid of app\@postgres \(active\) with \d+ MB, most of it execution, \d+ [kM]B, statement: \/\* the last one/,
		"$victim killed: who was largest, and what it ran");
	wait_until_up();
	is( $node->safe_psql(
			'postgres', "SELECT DISTINCT pid, usename, query LIKE '/* the last one%'
			FROM pg_session_memory_history_sessions
			WHERE before_restart AND pid = $session_pid
				AND state = 'active' AND execution_bytes > 10000000"),
		"$session_pid|app|t",
		"$victim killed: the history tells of it");
	is( $node->safe_psql(
			'postgres', "SELECT pid, usename, context <> '', bytes > 10000000,
				query LIKE '/* the last one%'
			FROM pg_session_memory_events WHERE kind = 'restarted'"),
		"$session_pid|app|t|t|t",
		"$victim killed: an event as well");
}

# Stopped, nobody waits for it.
$pid = watcher_pid();
kill 'STOP', $pid;
is( $node->safe_psql(
		'postgres', 'CREATE TABLE t AS SELECT 1 AS a; DROP TABLE t;
		SELECT count(*) > 0 FROM pg_session_memory'),
	't',
	'a watcher that is stopped: sessions work');
kill 'CONT', $pid;

# ----------------------------------------------------------------------------
# Standbys
# ----------------------------------------------------------------------------

$node->backup('base');
ok(!-e $node->backup_dir . "/base/$history",
	'a base backup leaves the history out');
my $standby = PostgreSQL::Test::Cluster->new('watcher_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
ok( $standby->poll_query_until(
		'postgres', 'SELECT count(*) > 0 AND NOT bool_or(before_restart)
		FROM pg_session_memory_history'),
	'a standby has a watcher and a history of its own');
$standby->promote;
ok( $standby->poll_query_until(
		'postgres', "SELECT count(*) > 0 FROM pg_session_memory_history
		WHERE at > clock_timestamp() - interval '1 second'"),
	'which goes on when it is promoted');
is($standby->safe_psql('postgres',
		'SELECT count(*) FROM pg_session_memory_history WHERE before_restart'),
	'0',
	'that is no restart');
$standby->stop;

$node->stop;
done_testing();
