# A session that is idle gives memory back by itself: once, when it has been
# idle for idle_delay and holds trim_threshold outside of its contexts.  One
# that is busy, or in a transaction, does not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(usleep);

my $node = start_server(
	'idle', q(
shared_preload_libraries = 'pg_session_memory'
log_min_messages = debug1
));

# 500 partitions with two indexes each.  Who has planned a query over them has
# 1,000 contexts of indexes in its catalog cache.
$node->safe_psql(
	'postgres', q(
CREATE TABLE part (a int, b int) PARTITION BY RANGE (a);
CREATE INDEX ON part (a);
CREATE INDEX ON part (b);
DO $$ BEGIN FOR i IN 1 .. 500 LOOP
	EXECUTE format('CREATE TABLE part_%s PARTITION OF part
		FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
END LOOP; END $$));
my $plan_all = 'SELECT count(*) FROM part WHERE b = 1';

# 2,000 statements of more than 8 kB each, since each is kept as text and as
# tree, deallocated: 16 MB that no context has any more, and that malloc cannot
# give back by itself, since the statement that was prepared after them lies
# above them.
#
# It is one command, as the others here are (psql puts together what is
# separated by "\;"): between two commands a busy machine may well take longer
# than the delay.
my $bloat = q(
DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	EXECUTE format('PREPARE s%s AS SELECT %L::text', i, repeat('x', 4000));
END LOOP; END $$\;
DEALLOCATE PREPARE last\;
PREPARE last AS SELECT 'still prepared'\;
DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	EXECUTE format('DEALLOCATE s%s', i);
END LOOP; END $$);

# Of these, 8 MB have to be given back in any case: what was free before is
# used by some of them.
my $given_back = 8 * 1024 * 1024;

# A session waits for this long here, in milliseconds, and so do we when
# nothing must happen: ten times as long.
my $delay = 100;

my $observer = open_session($node);

sub look
{
	my ($pid) = @_;

	return rows_of($observer,
		"SELECT * FROM pg_session_memory WHERE pid = $pid")->[0];
}

# Trims of a session so far, those that gave back nothing, too
sub trims
{
	my ($pid) = @_;

	return trims_logged($node, "\\[$pid\\]");
}

# Waits until a session has trimmed itself that often, and not more often.
sub wait_for_trims
{
	my ($pid, $count, $what) = @_;

	wait_for_trims_logged($node, "\\[$pid\\]", $count)
	  or diag("$what: it did not trim itself");
	is(trims($pid), $count, $what);
}

# Nothing happens for ten delays.
sub no_more_trims
{
	my ($pid, $count, $what) = @_;

	usleep(10 * $delay * 1000);
	is(trims($pid), $count, $what);
}

# Indexes of partitions that its catalog cache knows
sub cached_indexes
{
	my ($pid) = @_;

	return $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_contexts($pid)
		WHERE name = 'index info' AND ident ~ '^part_\\d'");
}

# A session with these settings, and something prepared.  If everything is a
# reason for it, then so are these, and it has trimmed itself once.
sub open_trimming
{
	my (%settings) = @_;
	my $session = open_session($node);

	%settings =
	  (idle_delay => "${delay}ms", trim_when_idle => 'on', %settings);
	my $pid = backend_pid($session);
	$session->query_safe('PREPARE last AS SELECT 1');
	$session->query_safe(
		join '\;',
		map { "SET pg_session_memory.$_ = '$settings{$_}'" }
		  sort keys %settings);
	wait_for_trims($pid, 1, 'trim_threshold 64kB: after its settings')
	  if ($settings{trim_threshold} // '') eq '64kB';
	return ($session, $pid);
}

#
# The default is not to.  What a session that does it gives back is compared
# with this one.  It may measure itself so rarely that it does when it is idle.
#
my ($never, $never_pid) =
  open_trimming(trim_when_idle => 'off', max_overhead => 0.01);
$never->query_safe("$plan_all\\;$bloat");
$never->query_safe('SELECT 1') foreach 1 .. 3;

#
# Once, and not again until it has worked
#
my $logged = -s $node->logfile;
my ($session, $pid) = open_trimming();
$session->query_safe("$plan_all\\;$bloat");
wait_for_trims($pid, 1, 'idle: trimmed itself');
my ($seen, $never_seen) = (look($pid), look($never_pid));
cmp_ok($never_seen->{anon_bytes} - $seen->{anon_bytes},
	'>', $given_back, 'idle: less memory than one that does not');
cmp_ok($seen->{trimmed_bytes}, '>', $given_back, 'idle: trimmed_bytes');
is(cached_indexes($pid), 1000, 'idle: caches kept');
# The delay begins at the end of the command, a moment before state_change:
# half of it has room for that moment.
is( $observer->query_safe(
		"SELECT '$seen->{last_trim_at}' - state_change
				>= interval '$delay milliseconds' / 2 AS not_before,
			e.bytes = $seen->{trimmed_bytes} AS bytes, datname, kind
		FROM pg_session_memory_events e JOIN pg_stat_activity USING (pid, datname)
		WHERE pid = $pid AND kind = 'trimmed'"),
	't|t|postgres|trimmed',
	'idle: after idle_delay; an event');
like(
	slurp_file($node->logfile, $logged),
	qr/\[$pid\].* DEBUG: +session memory trimmed: \d+ [kM]B given back in [\d.]+ ms, catalog caches kept/,
	'idle: a line in the log');
no_more_trims($pid, 1, 'idle: once');
is(trims($never_pid), 0, 'idle: not where it is off');

# Work that leaves nothing to give back is no reason, but memory is.
$session->query_safe('SELECT 1');
no_more_trims($pid, 1, 'idle: not for nothing');
$session->query_safe($bloat);
wait_for_trims($pid, 2, 'idle: again after work');

# With the smallest threshold each work is a reason, but being idle for longer is
# none, and what an idle session is told by others is not work.
my ($each, $each_pid) = open_trimming(trim_threshold => '64kB');
$each->query_safe('LISTEN channel');
wait_for_trims($each_pid, 2, 'each time: trimmed itself');
$observer->query_safe("NOTIFY channel, 'for an idle session'");
no_more_trims($each_pid, 2, 'each time: a notification is not work');
# 5,000 invalidation messages: more than the queue's 4,096, so idle sessions
# have to be woken up
$observer->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 5000 LOOP
		EXECUTE format('COMMENT ON TABLE part IS %L', i);
		COMMIT;
	END LOOP; END $$));
no_more_trims($each_pid, 2, 'each time: nor are invalidations');
like($each->query_safe('SELECT 1'),
	qr/"for an idle session"/, 'each time: it was told meanwhile');
wait_for_trims($each_pid, 3, 'each time: again after work');

# A statement that fails, outside of a transaction and in one, is work, too.
# PostgreSQL forgets all timeouts after an error.
$each->query('SELECT 1 / 0');
wait_for_trims($each_pid, 4, 'each time: after an error');
$each->query('BEGIN');
$each->query('SELECT 1 / 0');
no_more_trims($each_pid, 4, 'each time: not in a failed transaction');
$each->query('ROLLBACK');
$each->{stderr} = '';
wait_for_trims($each_pid, 5, 'each time: after a failed transaction');
# The client's messages of the extended protocol
{
	local %ENV = $node->_get_env(
		PGAPPNAME => 'extended',
		PGOPTIONS => "-c pg_session_memory.trim_when_idle=on
			-c pg_session_memory.trim_threshold=64kB
			-c pg_session_memory.idle_delay=$delay");
	my $directory = PostgreSQL::Test::Utils::tempdir();

	append_to_file("$directory/pause.sql",
		"SELECT count(*) FROM part WHERE a = 1;\n\\sleep 3 s\n");
	$node->command_ok(
		[
			'pgbench', '-n', '-M', 'prepared', '-t', 3, '-f',
			"$directory/pause.sql", 'postgres'
		],
		'extended protocol: pgbench ran');
}
# A session that has ended is in the ring still.  A pause of 3 s is thirty
# delays.
is(trims_logged($node, '\] extended'),
	3,
	'extended protocol: once in each pause');
$each->quit;

#
# In a transaction: not before its end
#
$session->query_safe('BEGIN');
$session->query_safe($bloat);
no_more_trims($pid, 2, 'in a transaction: not');
$session->query_safe('COMMIT');
wait_for_trims($pid, 3, 'in a transaction: after it');

#
# A session with everything that a session can have, also where the caches are
# dropped: here they are always over the threshold.
#
my ($rich, $rich_pid) =
  open_trimming(trim_threshold => '64kB', context_threshold => 0);
$rich->query_safe(
	q(CREATE TEMP TABLE temporary AS SELECT generate_series(1, 100) AS a;
	CREATE TEMP SEQUENCE number;
	SELECT nextval('number');
	DECLARE held CURSOR WITH HOLD FOR SELECT * FROM temporary ORDER BY a;
	FETCH 10 FROM held;
	LISTEN channel;
	SET work_mem = '7MB';
	SELECT pg_advisory_lock(4711);
	PREPARE parts(int) AS SELECT count(*) FROM part WHERE a = $1;
	EXECUTE parts(1);
	SELECT lo_create(4711)));
$node->poll_query_until('postgres', "SELECT last_trim_at > state_change
	FROM pg_session_memory WHERE pid = $rich_pid");
$observer->query_safe(q(NOTIFY channel, 'to a trimmed session'));
is( $rich->query_safe(
		q(EXECUTE last; EXECUTE parts(2); FETCH 1 FROM held;
		SELECT count(*) FROM temporary; SELECT currval('number'), lastval();
		SHOW work_mem; SELECT pg_advisory_unlock(4711);
		SELECT pg_listening_channels())) =~ s/\nAsynchronous[^\n]*//r,
	"1\n0\n11\n100\n1|1\n7MB\nt\nchannel",
	'a rich session: it has everything that it had');
like($rich->query_safe('SELECT 1') . slurp_file($node->logfile, $logged),
	qr/\[$rich_pid\].* DEBUG: +session memory trimmed: .* catalog caches dropped/,
	'a rich session: its caches were dropped');
$rich->quit;

#
# The threshold: these 16 MB are more than 4 and less than 1,000.
#
$session->query_safe(
	"SET pg_session_memory.trim_threshold = '1000MB'");
$session->query_safe($bloat);
no_more_trims($pid, 3, 'threshold: not below it');
$session->query_safe("SET pg_session_memory.trim_threshold = '4MB'");
wait_for_trims($pid, 4, 'threshold: above it');

# The delay
$session->query_safe(
	"SET pg_session_memory.idle_delay = '1h'\\;$bloat");
no_more_trims($pid, 4, 'delay: not yet');
$session->quit;

# Thresholds and reports may be off.
($session, $pid) = open_trimming(track => 'off');
$session->query_safe($bloat);
wait_for_trims($pid, 1, 'not tracked: trimmed itself');
$session->quit;

#
# Caches: dropped if, and only if, the catalog cache is over context_threshold
#
($session, $pid) = open_trimming(trim_threshold => '1000MB');
foreach my $case ([ '64MB', 0 ], [ '-1', 0 ], [ '512kB', 1 ])
{
	my ($threshold, $dropped) = @$case;

	# One command, hence one reason
	$session->query_safe("DO \$\$ BEGIN
		PERFORM set_config('pg_session_memory.context_threshold',
			'$threshold', false);
		PERFORM FROM ($plan_all) AS p;
	END \$\$");
	wait_for_trims($pid, 1, 'caches: a reason of their own') if $dropped;
	no_more_trims($pid, $dropped,
		"caches: context_threshold $threshold, $dropped trims");
	is(cached_indexes($pid), $dropped ? 0 : 1000,
		"caches: context_threshold $threshold, indexes afterwards");
}
$session->quit;
foreach my $case ([ '64MB', 'kept' ], [ '512kB', 'dropped' ])
{
	my ($threshold, $what) = @$case;

	$logged = -s $node->logfile;
	($session, $pid) =
	  open_trimming(trim_threshold => '64kB', context_threshold => $threshold);
	$session->query_safe($plan_all);
	$node->poll_query_until('postgres', "SELECT last_trim_at > state_change
		FROM pg_session_memory WHERE pid = $pid");
	like(slurp_file($node->logfile, $logged),
		qr/\[$pid\].* DEBUG: .* catalog caches $what/,
		"caches: context_threshold $threshold, $what");
	$session->quit;
}

#
# A session that is never idle pays nothing: heavy plans for 5 s without a
# pause, while a delay of 1 s, the default, is over several times.  The same
# with pauses shows that these plans are a reason.
#
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/busy.sql",
	"$plan_all;\n");
append_to_file("$directory/pause.sql",
	"$plan_all;\n\\sleep 6 s\n");
append_to_file("$directory/long.sql", "SELECT pg_sleep(1.5);\n");
my @benches;
foreach my $bench (
	[ 'busy', '-T', 5 ], [ 'busy', '-T', 5, '-M', 'prepared' ],
	[ 'pause', '-t', 2 ], [ 'long', '-t', 3 ])
{
	my ($name, @arguments) = @$bench;
	my $output = '';
	local %ENV = $node->_get_env(
		PGAPPNAME => $name,
		PGOPTIONS => '-c pg_session_memory.trim_when_idle=on
			-c pg_session_memory.trim_threshold=64kB');

	push @benches,
	  IPC::Run::start(
		[
			'pgbench', '-n', @arguments, '-f', "$directory/$name.sql",
			'postgres'
		],
		'>', \$output, '2>&1');
}
is((grep { $_->finish } @benches), 4, 'busy: pgbench ran');
is(trims_logged($node, '\] busy'),
	0,
	'busy: plans without pauses, never trimmed');
is(trims_logged($node, '\] long'),
	0,
	'busy: statements longer than the delay, never trimmed');
is(trims_logged($node, '\] pause'),
	2,
	'busy: with pauses, trimmed in each');

#
# Beside it PostgreSQL's own timeouts do their work.
#
($session, $pid) = open_trimming(trim_threshold => '64kB');
$session->query_safe("SET idle_session_timeout = '10s'");
wait_for_trims($pid, 2, 'idle_session_timeout: trimmed before');
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
$session->{run}->finish;
like(
	slurp_file($node->logfile),
	qr/\[$pid\].* FATAL: +terminating connection due to idle-session timeout/,
	'idle_session_timeout: ended');
($session, $pid) = open_trimming(trim_threshold => '64kB');
$session->query_safe("SET statement_timeout = '1s'");
wait_for_trims($pid, 2, 'statement_timeout: trimmed before');
$session->query('SELECT pg_sleep(60)');
like($session->{stderr}, qr/canceling statement due to statement timeout/,
	'statement_timeout: the statement was ended');
$session->{stderr} = '';
wait_for_trims($pid, 3, 'statement_timeout: trimmed after it');
$session->quit;

#
# Switched on for a role, and without the library in shared memory: what a
# session does for itself it does there, too.
#
$never->quit;
$observer->quit;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
$node->safe_psql(
	'postgres', qq(
CREATE ROLE pooled LOGIN;
ALTER ROLE pooled SET session_preload_libraries = 'pg_session_memory';
ALTER ROLE pooled SET pg_session_memory.trim_when_idle = on;
ALTER ROLE pooled SET pg_session_memory.idle_delay = '${delay}ms'));
$observer = open_session($node);
$logged = -s $node->logfile;
my $pooled = open_session($node, 'postgres', 'pooled');
$pid = backend_pid($pooled);
$pooled->query_safe('PREPARE last AS SELECT 1');
$pooled->query_safe($bloat);
$node->wait_for_log(qr/\[$pid\].* DEBUG: +session memory trimmed/, $logged);
cmp_ok(
	$pooled->query_safe(
		'SELECT trimmed_bytes FROM pg_session_memory
		WHERE pid = pg_backend_pid()'),
	'>',
	$given_back,
	'session_preload_libraries: trimmed itself');
$pooled->quit;
$observer->quit;

unlike(
	slurp_file($node->logfile),
	qr/PANIC|TRAP|was terminated by signal/,
	'no sign of a crash in the log');
$node->stop;

done_testing();
