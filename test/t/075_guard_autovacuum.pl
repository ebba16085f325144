# The guard and autovacuum workers: one that holds memory while the server is
# short of it is cancelled, as any statement, but not one that prevents
# transaction ids from wrapping around.
#
# Both vacuum the same table.  Its GIN index has a long pending list, which
# vacuum brings into the index by way of much memory; a small cost limit has it
# take long.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

# A worker comes each second.
my $node = start_server(
	'autovacuum', q(
shared_preload_libraries = 'pg_session_memory'
jit = off
fsync = off
synchronous_commit = off
autovacuum = on
autovacuum_naptime = 1s
autovacuum_work_mem = '200MB'
pg_session_memory.guard = on
pg_session_memory.guard_patience = '500ms'
pg_session_memory.guard_reserve = '16MB'
));

# The sessions of this test are nobody that the guard would hit instead.
$node->safe_psql(
	'postgres', q(
ALTER ROLE CURRENT_USER SET pg_session_memory.guard_weight = 0;
CREATE TABLE pending (a integer[]) WITH (autovacuum_freeze_max_age = 100000,
	autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 500);
CREATE INDEX ON pending USING gin (a)
	WITH (fastupdate = on, gin_pending_list_limit = 1000000);
INSERT INTO pending
	SELECT ARRAY(SELECT (g * 7919 + i * 104729) % 1000003
		FROM generate_series(1, 10) AS i)
	FROM generate_series(1, 150000) AS g;
));

# Waits for an autovacuum worker of the table that holds 20 MB, and stops it, so
# that it is there however long the test takes.  Returns its pid.
sub stop_worker
{
	my ($query) = @_;
	my $worker = "FROM pg_session_memory JOIN pg_stat_activity AS a USING (pid)
		WHERE a.query LIKE '$query' AND anon_bytes > 20000000";

	$node->poll_query_until('postgres', "SELECT count(*) = 1 $worker")
	  or die "no worker does $query";
	my $pid = $node->safe_psql('postgres', "SELECT pid $worker");
	kill 'STOP', $pid or die "could not stop $pid: $!";
	return $pid;
}

sub set_limit
{
	my ($limit) = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET pg_session_memory.server_limit = '$limit'");
	$node->reload;
}

my $cancelled = "SELECT count(*) FROM pg_session_memory_events
	WHERE kind IN ('cancelled', 'terminated') AND pid =";

# What there was to insert makes one worth it.
my $worker = stop_worker('autovacuum: VACUUM% public.pending');
set_limit('10MB');
ok($node->poll_query_until('postgres', "$cancelled $worker", '1'),
	'a worker that holds much is cancelled');
kill 'CONT', $worker or die "could not continue $worker: $!";
my $log = wait_for_logged($node, qr/canceling autovacuum task/);
like($log, qr/ERROR:  canceling autovacuum task\n/, 'it ends as by pg_cancel_backend');
like($log,
	qr/LOG:  pg_session_memory\.guard cancels the statement of PID $worker\n/,
	'the log says who it was');
set_limit('-1');

# One that prevents wraparound comes also where it is off for the table.
$node->safe_psql(
	'postgres', q(
ALTER TABLE pending SET (autovacuum_enabled = off);
DO $$ BEGIN
	FOR i IN 1 .. 101000 LOOP PERFORM txid_current(); COMMIT; END LOOP;
END $$;
));
$worker = stop_worker('autovacuum: VACUUM% public.pending (to prevent wraparound)');
set_limit('10MB');
ok( $node->poll_query_until(
		'postgres',
		"SELECT guard_state = 'under' FROM pg_session_memory_server"),
	'memory is short');

# Four times its patience
sleep 2;
is($node->safe_psql('postgres', "$cancelled $worker"),
	'0', 'a worker that prevents wraparound is spared');
is($node->safe_psql('postgres',
		"SELECT guard_state FROM pg_session_memory_server"),
	'under', 'memory was short all the time');
kill 'CONT', $worker or die "could not continue $worker: $!";

$node->stop;
done_testing();
