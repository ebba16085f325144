# What is left in shared memory when processes end as they should not, when the
# server does, and when a standby becomes a primary.

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
my $node = start_watching_server('crash', "restart_after_crash = on\n");

sub become_bloated
{
	my ($session) = @_;

	$session->query_safe("SET pg_session_memory.session_threshold = '4MB'");
	$session->query_safe(retain('over', 8 * $MB));
}

# As many slots must be in use as there are sessions: what a session leaves
# behind is not that of its successor in the slot, either.
sub check_clean
{
	my ($node, $what) = @_;

	is( $node->safe_psql(
			'postgres', "SELECT count(*) FROM pg_session_memory_events
				WHERE kind <> 'restarted';
			SELECT count(*) FROM pg_session_memory_bloat;
			SELECT count(*) FROM pg_session_memory WHERE pid <> pg_backend_pid()
				AND num_nonnulls(retained_bytes, peak_bytes, measured_at, status,
					last_trim_at, trimmed_bytes) > 0"),
		"0\n0\n0",
		"$what: nothing of before is there");

	my @sessions = map { open_session($node) } 1 .. 5;
	my $observer = open_session($node);
	become_bloated($sessions[0]);
	$_->query_safe('SELECT 1') foreach @sessions;
	is( $observer->query_safe(
			"SELECT count(*), count(measured_at), count(last_trim_at),
				count(*) FILTER (WHERE status = 'bloated')
			FROM pg_session_memory
			WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"),
		'5|5|0|1',
		"$what: five new sessions, measured, not trimmed, one bloated");
	is( $observer->query_safe(
			"SELECT pid, kind FROM pg_session_memory_events
			WHERE kind <> 'restarted' ORDER BY id LIMIT 1"),
		backend_pid($sessions[0]) . '|session',
		"$what: its event is the first");
	is( $observer->query_safe(
			'SELECT outcome FROM pg_session_memory_trim('
			  . backend_pid($sessions[1]) . ', 180000)'),
		'trimmed',
		"$what: a session trims itself when asked to");
	$_->quit foreach @sessions, $observer;
}

# The server has ended all sessions and begun anew, as its log says: a program
# that cannot connect ends before it has been given its query, which is an
# error in the test.
sub wait_for_restart
{
	my ($offset, $what) = @_;
	my $anew =
	  qr/all server processes terminated; reinitializing.*ready to accept connections/s;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if log_since($node, $offset) =~ $anew;
		select undef, undef, undef, 0.1;
	}
	like(log_since($node, $offset), $anew, "$what: the server began anew");
}

#
# Sessions that end with a request for a trim that they could not follow: the
# next one in the slot is not asked
#
my $busy = open_session($node);
my $observer = open_session($node);
my $pid = backend_pid($busy);
$busy->query_safe('BEGIN');
is($observer->query_safe("SELECT outcome FROM pg_session_memory_trim($pid)"),
	'in transaction', 'request: one in a transaction is asked');
is( $observer->query_safe(
		"SELECT last_trim_at FROM pg_session_memory WHERE pid = $pid"),
	'',
	'request: it has not followed yet');
$busy->quit;
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
my @sessions = map { open_session($node) } 1 .. 3;
$_->query_safe('SELECT 1') foreach @sessions;
is( $observer->query_safe(
		'SELECT count(last_trim_at) FROM pg_session_memory'),
	0,
	'request: it has gone with the session');
$_->quit foreach @sessions;

#
# Crashes: of a session that is read, of one that reads, of one that waits for
# a trim, and of a process that is no session
#
my %victim = (
	'the session that is read' => sub { my ($read) = @_; $read },
	'the session that reads' => sub { my ($read, $reads) = @_; $reads },
	'the session that waits' =>
	  sub { my ($read, $reads, $waits) = @_; $waits },
	'the checkpointer' => sub {
		$node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'checkpointer'");
	});

$observer->quit;
foreach my $name (sort keys %victim)
{
	my $read = open_session($node);
	my $reads = open_session($node);
	my $waits = open_session($node);
	my @pids = map { backend_pid($_) } $read, $reads, $waits;

	become_bloated($read);
	# It cannot follow: in a transaction
	$read->query_safe('BEGIN');
	start_statement($reads,
		"SELECT pg_session_memory_sample($pids[0], '1 ms', 1000000) \\g /dev/null\n");
	start_statement($waits,
		"SELECT pg_session_memory_trim($pids[0], 1000000)");
	ok( $node->poll_query_until(
			'postgres',
			"SELECT count(*) = 2 FROM pg_stat_activity
				WHERE state = 'active' AND query ~ '_(sample|trim)\\(\\d+,'"),
		"$name: it is in the middle of it");
	is( $node->safe_psql(
			'postgres', "SELECT count(*) FROM pg_session_memory_bloat
				WHERE pid = $pids[0]"),
		1,
		"$name: there is something to forget");
	my $offset = log_end($node);
	is(kill('KILL', $victim{$name}->(@pids)), 1, "$name: ends");
	wait_for_restart($offset, $name);
	check_clean($node, $name);
	# Their programs find out now.
	eval { $_->quit } foreach $read, $reads, $waits;
}

#
# Immediate shutdown in the middle of it
#
my $session = open_session($node);
become_bloated($session);
$pid = backend_pid($session);
$observer = open_session($node);
start_statement($observer,
	"SELECT pg_session_memory_sample($pid, '1 ms', 1000000) \\g /dev/null\n");
$node->stop('immediate');
eval { $_->quit } foreach $session, $observer;
$node->start;
check_clean($node, 'immediate shutdown');

#
# A standby, and its promotion
#
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$session = open_session($node);
become_bloated($session);
$node->wait_for_catchup($standby);

# A process that ends is no row that could be read: these two end in the
# promotion, and others may come.
sub unreadable
{
	return $standby->safe_psql(
		'postgres', "SELECT string_agg(m.backend_type || ' ' || m.source, ', ')
			FROM pg_session_memory m JOIN pg_stat_activity a USING (pid)
			WHERE m.source <> 'live'");
}
is( $standby->safe_psql(
		'postgres', "SELECT count(*) FROM pg_session_memory
			WHERE backend_type IN ('startup', 'walreceiver')
				AND source = 'live' AND context_bytes > 0"),
	2,
	'standby: the processes that replicate are shown');
is(unreadable(), '', 'standby: all processes are');
is( $standby->safe_psql(
		'postgres', 'SELECT count(*) FROM pg_session_memory_events;
			SELECT count(*) FROM pg_session_memory_bloat'),
	"0\n0",
	"standby: what the primary's sessions publish stays there");
check_clean($standby, 'standby');
is( $standby->safe_psql(
		'postgres',
		"SELECT pg_session_memory_snapshot() -> 'context_bytes' > '0';
		SELECT count(*) > 5 FROM pg_session_memory_contexts();
		SELECT heap_trimmed FROM pg_session_memory_trim()"),
	"t\nt\nt",
	'standby: a transaction that only reads is enough');

# A session of before the promotion goes on after it.
my $old = open_session($standby);
my $old_pid = backend_pid($old);
become_bloated($old);
my $watcher = open_session($standby);
my $before = published($watcher, $old_pid);
is($before->{status}, 'bloated', 'before the promotion: a session is bloated');
my $old_events = $watcher->query_safe(
	"SELECT count(*) FROM pg_session_memory_events WHERE pid = $old_pid");
is($old_events, 1, 'before the promotion: it has an event');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
my $after = published($watcher, $old_pid);
is_deeply(
	{ map { $_ => $after->{$_} } qw(status baseline_bytes retained_bytes) },
	{ map { $_ => $before->{$_} } qw(status baseline_bytes retained_bytes) },
	'promotion: what it published is there');
ok( $standby->poll_query_until(
		'postgres', "SELECT count(*) = 0 FROM pg_session_memory
			WHERE backend_type IN ('startup', 'walreceiver')"),
	'promotion: the processes that replicated are gone');
is(unreadable(), '', 'promotion: all others are shown');
$old->query_safe('DEALLOCATE ALL');
is( $watcher->query_safe(
		"SELECT string_agg(kind, ' ' ORDER BY id) FROM pg_session_memory_events
			WHERE pid = $old_pid"),
	'session fell',
	'promotion: the session goes on to watch itself');
is( $watcher->query_safe(
		"SELECT outcome FROM pg_session_memory_trim($old_pid, 180000)"),
	'trimmed', 'promotion: and trims itself when asked to');
is( $watcher->query_safe(
		'CREATE TABLE kept AS SELECT pg_session_memory_snapshot() AS snapshot;
		SELECT count(*) FROM kept'),
	1,
	'promotion: snapshots can be kept');

$_->quit foreach $old, $watcher, $session;
unlike(slurp_file($standby->logfile), qr/PANIC|TRAP|terminated by signal/,
	'standby: no crash');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/,
	'no crash but those that we caused');
$standby->stop;
$node->stop;

done_testing();
