# The guard: who is refused, cancelled or terminated, and who is not.
#
# All of it by server_limit, which needs no shortage of memory: a server whose
# sessions hold more than that is short, however much the machine has.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

# Sessions at rest hold some 50 MB together.
my ($plenty, $little) = ('400MB', '120MB');
my $node = start_server(
	'guard', "shared_preload_libraries = 'pg_session_memory'
	jit = off
	pg_session_memory.guard = on
	pg_session_memory.guard_reserve = '16MB'
	pg_session_memory.guard_patience = '500ms'
	pg_session_memory.server_limit = '$plenty'\n");
$node->safe_psql(
	'postgres', q(
CREATE ROLE app LOGIN;
CREATE ROLE exempt LOGIN;
ALTER ROLE exempt SET pg_session_memory.guard_weight = 0;
-- A page for each row, so that each worker gets one.
CREATE TABLE pages (g integer, t text);
ALTER TABLE pages ALTER t SET STORAGE PLAIN;
INSERT INTO pages
	SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 100) AS g;
ALTER TABLE pages SET (parallel_workers = 2);
GRANT SELECT ON pages TO app;
CREATE FUNCTION hold(bytes integer) RETURNS boolean
LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE
	t text := repeat('x', bytes);
BEGIN
	PERFORM pg_sleep(1000);
	RETURN t IS NOT NULL;
END$$;
ANALYZE pages;
));

my $observer = open_session($node);
my $runaway = q(SELECT array_agg(repeat('x', 90) || g)
	FROM (SELECT generate_series(1, 10000000) AS g) AS s);

# Whether another session sees this within the time that a test may take.
sub comes_true
{
	my ($condition) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $observer->query_safe("SELECT $condition") eq 't';
		select undef, undef, undef, 0.1;
	}
	return 0;
}

sub wait_for
{
	my ($condition, $what) = @_;

	ok(comes_true($condition), $what);
}

# Changes settings, and waits until the guard has gone on with them.
sub set_guard
{
	my (%settings) = @_;

	foreach my $name (sort keys %settings)
	{
		$observer->query_safe(
			"ALTER SYSTEM SET pg_session_memory.$name = '$settings{$name}'");
	}
	$observer->query_safe('SELECT pg_reload_conf()');
	foreach my $name (sort keys %settings)
	{
		comes_true("current_setting('pg_session_memory.$name') = '$settings{$name}'")
		  or die "$name does not change";
	}
}

sub open_verbose
{
	my $session = open_session($node, 'postgres', @_);

	$session->query_safe("\\set VERBOSITY verbose\n");
	# It can have a ceiling from its second command on.
	$session->query_safe('SELECT 1') foreach 1 .. 2;
	return $session;
}

# The error of a statement; '' if it has none.
sub error_of
{
	my ($session, $statement) = @_;

	$session->{stderr} = '';
	$session->query($statement);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return $error;
}

# A statement that holds so many MB, and does not end.
sub hold
{
	my ($session, $megabytes) = @_;
	my $pid = backend_pid($session);

	# The planner would evaluate what does not change.
	start_statement($session,
		"SELECT pg_sleep(1000) IS NULL
		FROM (SELECT repeat('x', $megabytes * 1024 * 1024
				+ (random() * 0)::integer) AS t OFFSET 0) AS s
		WHERE length(t) > 0");
	comes_true("anon_bytes > $megabytes * 1000000
		FROM pg_session_memory WHERE pid = $pid")
	  or die "session $pid does not come to $megabytes MB";
	return $pid;
}

# The error of a statement that was started, when it comes.
sub error_of_started
{
	my ($session) = @_;

	$session->{stderr} = '';
	my $error = error_of($session, 'SELECT 1');
	return $error;
}

sub is_running
{
	my ($pid) = @_;

	return $observer->query_safe(
		"SELECT count(*) FROM pg_stat_activity
		WHERE pid = $pid AND state = 'active'") == 1;
}

sub watcher_pid
{
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'pg_session_memory watcher'");
}

# Waits until the server has what it needs again.
sub wait_until_quiet
{
	comes_true("guard_state = 'quiet' FROM pg_session_memory_server")
	  or die 'memory remains short';
}

# ----------------------------------------------------------------------------
# A statement that asks for more than there is
# ----------------------------------------------------------------------------

wait_until_quiet();
my $session = open_verbose('app');
my $pid = backend_pid($session);
wait_for("ceiling_bytes > anon_bytes AND limit_bytes IS NULL
	FROM pg_session_memory WHERE pid = $pid", 'a session has a ceiling');
start_statement($session, $runaway);
my $failures = 0;
foreach my $round (1 .. 20)
{
	my ($code, $output, $error) = $node->psql('postgres',
		'SELECT count(DISTINCT md5(g::text)) FROM generate_series(1, 10000) AS g');
	$failures++ if $code != 0 || $output ne '10000';
}
is($failures, 0, 'ordinary statements beside a runaway, in new connections');
my $error = error_of_started($session);
like($error, qr/ERROR:  53200: out of memory/, 'the runaway is refused memory');
like($error, qr/pg_session_memory\.guard/, 'by the guard, as it is told');
is(error_of($session, 'SELECT 1'), '', 'and its session goes on');
is(backend_pid($session), $pid, 'it is the same one');
wait_for("count(*) = 1 FROM pg_session_memory_events
		WHERE kind = 'limited' AND pid = $pid AND usename = 'app'
			AND threshold_bytes < 400 * 1024 * 1024",
	'with an event');

# ----------------------------------------------------------------------------
# Memory that is held and not given back
# ----------------------------------------------------------------------------

# An idle session
wait_until_quiet();
$session->query_safe(retain("hog$_", 30_000_000)) foreach 1 .. 4;
my $offset = log_end($node);
set_guard(server_limit => $little);
wait_for("count(*) = 0 FROM pg_stat_activity WHERE pid = $pid",
	'an idle session that holds most is terminated');
wait_for("count(*) = 1 FROM pg_session_memory_events
		WHERE kind = 'terminated' AND pid = $pid AND usename = 'app'
			AND bytes > 100000000",
	'with an event');
wait_for("count(*) > 0 FROM pg_session_memory_events
		WHERE kind = 'pressure' AND pid = $pid", 'after one of pressure');
wait_for("count(*) > 0 FROM pg_session_memory_events
		WHERE kind = 'relieved'", 'and one of relief');
my $log = slurp_file($node->logfile, $offset);
like($log, qr/LOG:  memory of the server is short: sessions hold \d+ MB, pg_session_memory\.server_limit is 120 MB/,
	'the log tells of pressure');
like($log, qr/LOG:  pg_session_memory\.guard terminates the session of PID $pid\n.*DETAIL: .*of app\@postgres \(idle\)/,
	'of who was terminated');
like($log, qr/FATAL:  terminating connection due to administrator command\n.*DETAIL: .*pg_session_memory\.guard/,
	'its session says why');
like($log, qr/LOG:  memory of the server is not short any more/, 'and of relief');
is( $observer->query_safe(
		"SELECT guard, reserve_bytes, last_action_at > now() - interval '1 hour'
		FROM pg_session_memory_server"),
	'on|16777216|t',
	'the view of the server tells of it');
$session->quit;

# Before that it is asked to give back what it can.
set_guard(server_limit => $plenty, guard_patience => '1min');
wait_until_quiet();
$session = open_verbose('app');
$pid = backend_pid($session);
$session->query_safe(
	"DO \$\$ BEGIN FOR i IN 1 .. 150000 LOOP
		PERFORM format_type(i::oid, NULL), pg_get_userbyid(i::oid),
			to_regclass('none' || i);
	END LOOP; END \$\$");
wait_for("last_trim_at IS NULL AND anon_bytes > 40000000
	FROM pg_session_memory WHERE pid = $pid", 'a session with large caches');
set_guard(server_limit => '60MB');
wait_for("last_trim_at IS NOT NULL
	FROM pg_session_memory WHERE pid = $pid", 'an idle session is trimmed');
set_guard(server_limit => $plenty);
is(error_of($session, 'SELECT 1'), '', 'and goes on');
$session->quit;
$session = open_verbose('app');
$pid = backend_pid($session);

# A statement.  Its session is terminated if it does not end within the patience
# after it was cancelled, which may take long on a slow machine.
wait_until_quiet();
hold($session, 150);
$offset = log_end($node);
set_guard(server_limit => $little, guard_patience => '10s');
wait_for("count(*) = 1 FROM pg_session_memory_events
		WHERE kind = 'cancelled' AND pid = $pid AND bytes > 150000000",
	'the statement that holds most is cancelled');
$error = error_of_started($session);
like($error, qr/ERROR:  57014: canceling statement due to user request/,
	'as by pg_cancel_backend');
like($error, qr/DETAIL: .*server_limit is 120 MB.*pg_session_memory\.guard has cancelled/,
	'and told why');
is(backend_pid($session), $pid, 'its session goes on');
like( slurp_file($node->logfile, $offset),
	qr/LOG:  pg_session_memory\.guard cancels the statement of PID $pid\n.*DETAIL: .*of app\@postgres \(active\)/,
	'the log tells of it');

# A parallel one, whose workers hold what there is
set_guard(server_limit => $plenty);
wait_until_quiet();
$session->query_safe("SET parallel_setup_cost = 0;
	SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0;
	SET parallel_leader_participation = off");
start_statement($session,
	'SELECT count(*) FROM pages WHERE hold(50 * 1024 * 1024 + g)');
wait_for("count(*) = 2 FROM pg_session_memory
		WHERE backend_type = 'parallel worker' AND anon_bytes > 50000000
			AND ceiling_bytes > anon_bytes",
	'parallel workers have ceilings');
comes_true("count(*) = 2 FROM pg_stat_activity
		WHERE backend_type = 'parallel worker' AND wait_event = 'PgSleep'")
  or die 'parallel workers do not sleep';
set_guard(server_limit => '80MB');
wait_for("count(*) = 2 FROM pg_session_memory_events
		WHERE kind = 'cancelled' AND pid = $pid",
	'the leader of those who hold most is cancelled');
like(error_of_started($session), qr/ERROR:  57014: /, 'its statement, that is');

# ----------------------------------------------------------------------------
# Who is spared
# ----------------------------------------------------------------------------

set_guard(server_limit => $plenty, guard_patience => '500ms');
wait_until_quiet();
my $super = open_verbose();
my $exempt = open_verbose('exempt');
my $super_pid = hold($super, 60);
my $exempt_pid = hold($exempt, 100);
is($observer->query_safe("SELECT ceiling_bytes IS NULL
		FROM pg_session_memory WHERE pid = $exempt_pid"),
	't', 'guard_weight = 0: no ceiling');
my $actions = $observer->query_safe("SELECT count(*) FROM pg_session_memory_events
	WHERE kind IN ('cancelled', 'terminated')");
set_guard(server_limit => $little);
wait_for("guard_state = 'under' FROM pg_session_memory_server",
	'memory is short, and remains so');
is($node->safe_psql('postgres', 'BEGIN; SELECT 1/1; ROLLBACK; SELECT 2'),
	"1\n2", 'a connection can be made then');
is(error_of($session, "SELECT count(*) FROM pages ORDER BY 1"),
	'', 'a session can do its work');
like(error_of($session, 'BEGIN; SELECT 1/0'), qr/22012/, 'a block can fail');
is(error_of($session, 'ROLLBACK'), '', 'and be rolled back');

# Some times its patience
sleep 3;
ok(is_running($super_pid), 'a superuser is spared');
ok(is_running($exempt_pid), 'so is guard_weight = 0');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_events
		WHERE kind IN ('cancelled', 'terminated')"),
	$actions, 'nobody is hit instead');

# But not one who has more than half of all.
$observer->query_safe("SELECT pg_cancel_backend($exempt_pid)");
like(error_of_started($exempt), qr/57014/, 'the other one is gone');
$exempt->quit;
set_guard(server_limit => '50MB', guard_patience => '10s');
wait_for("count(*) = 1 FROM pg_session_memory_events
		WHERE kind = 'cancelled' AND pid = $super_pid",
	'a superuser who has more than half of all is cancelled');
like(error_of_started($super), qr/57014/, 'as all others');
$super->quit;

# ----------------------------------------------------------------------------
# When it tells only, and when it is off
# ----------------------------------------------------------------------------

$offset = log_end($node);
set_guard(
	guard => 'log',
	server_limit => $little,
	guard_patience => '500ms');
wait_for("count(ceiling_bytes) = 0 FROM pg_session_memory",
	'guard = log lifts all ceilings');
$pid = hold($session, 150);
$log = wait_for_logged($node, qr/would have cancelled/, $offset);
like($log, qr/LOG:  pg_session_memory\.guard would have refused memory to PID $pid beyond/,
	'guard = log tells what it would have refused');
like($log, qr/LOG:  pg_session_memory\.guard would have cancelled the statement of PID $pid\n/,
	'and whom it would have cancelled');
sleep 1;
$log = slurp_file($node->logfile, $offset);
is(scalar(() = $log =~ /would have refused memory to PID $pid /g),
	1, 'once a statement');
ok(is_running($pid), 'it has done nothing');
is($observer->query_safe('SELECT guard FROM pg_session_memory_server'),
	'log', 'as the view says');

set_guard(guard => 'on', server_limit => $plenty);
wait_for("count(ceiling_bytes) > 0 FROM pg_session_memory",
	'guard = on sets ceilings again');
set_guard(guard => 'off');
wait_for("count(ceiling_bytes) = 0 FROM pg_session_memory",
	'guard = off lifts all ceilings');
is($observer->query_safe('SELECT guard_state FROM pg_session_memory_server'),
	'', 'and has no state');
$observer->query_safe("SELECT pg_cancel_backend($pid)");
like(error_of_started($session), qr/57014/, 'the statement was still running');

# ----------------------------------------------------------------------------
# When the watcher ends, or is stopped
# ----------------------------------------------------------------------------

set_guard(guard => 'on');
$session->quit;
$session = open_verbose('app');
$pid = backend_pid($session);
my $has_ceiling =
  "ceiling_bytes IS NOT NULL FROM pg_session_memory WHERE pid = $pid";
my $has_none = "ceiling_bytes IS NULL FROM pg_session_memory WHERE pid = $pid";
wait_for($has_ceiling, 'a session has a ceiling');
my $watcher = watcher_pid();

# A statement that is there already, beside nobody who could help it
start_statement($session, <<'END');
DO $$BEGIN
	FOR i IN 1 .. 600 LOOP
		PERFORM pg_sleep(0.1);
		IF (SELECT ceiling_bytes IS NULL FROM pg_session_memory
			WHERE pid = pg_backend_pid()) THEN
			RETURN;
		END IF;
	END LOOP;
	RAISE 'it still has a ceiling';
END$$
END
wait_for("state = 'active' FROM pg_stat_activity WHERE pid = $pid",
	'a statement runs');
kill 'STOP', $watcher or die "could not stop $watcher: $!";
is(error_of_started($session), '',
	'while the watcher is stopped, a statement lifts its ceiling');
kill 'CONT', $watcher or die "could not continue $watcher: $!";
wait_for($has_ceiling, 'when it goes on, it sets one');

kill 'STOP', $watcher or die "could not stop $watcher: $!";
wait_for($has_none, 'while the watcher is stopped, sessions lift others');
is(error_of($session, 'SELECT 1'), '', 'and go on');
kill 'CONT', $watcher or die "could not continue $watcher: $!";
wait_for($has_ceiling, 'and sets one again when it goes on');

# Another watcher comes a second later: look before that.
my $lifted = '';
foreach my $try (1 .. 20)
{
	$watcher = watcher_pid();
	$observer->query_safe("SELECT pg_terminate_backend($watcher)");
	foreach my $look (1 .. 100)
	{
		$lifted = $observer->query_safe("SELECT $has_none");
		last if $lifted eq 't';
		select undef, undef, undef, 0.01;
	}
	last if $lifted eq 't';
	comes_true("count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'pg_session_memory watcher' AND pid <> $watcher")
	  or die 'the watcher does not come back';
	comes_true($has_ceiling) or die 'there is no ceiling again';
}
is($lifted, 't', 'a watcher that is terminated lifts all ceilings');
wait_for($has_ceiling, 'and the next one sets them again');
isnt(watcher_pid(), $watcher, 'that is another one');

$session->quit;
$observer->quit;
$node->stop;
done_testing();
