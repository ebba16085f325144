# Sessions that change while they are read: nothing they do can fail or crash
# the observer, and those that rest among them are still read right.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('churn', "work_mem = 16MB\n");
my $directory = PostgreSQL::Test::Utils::tempdir();
my $started =
  $node->safe_psql('postgres', 'SELECT backend_start FROM pg_stat_activity
	WHERE backend_type = \'checkpointer\'');

$node->safe_psql(
	'postgres', q(
CREATE TABLE large AS
	SELECT g AS a, md5(g::text) AS b FROM generate_series(1, 50000) AS g;
CREATE TABLE copied (LIKE large);
ANALYZE large;

-- Contexts of many kinds come and go: subtransactions that fail, cursors,
-- statements that are planned each time, plans that are kept for a moment.
CREATE FUNCTION churn() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c refcursor;
	r record;
BEGIN
	FOR i IN 1 .. 50 LOOP
		BEGIN
			BEGIN
				EXECUTE format('SELECT %s, %L', i, repeat('x', i * 100)) INTO r;
				PERFORM 1 / (i % 3);
			EXCEPTION WHEN division_by_zero THEN
				EXECUTE format('PREPARE p%s AS SELECT %L', i, repeat('y', i));
			END;
			OPEN c FOR EXECUTE 'SELECT g FROM generate_series(1, 200) AS g
				ORDER BY g DESC';
			FETCH c INTO r;
			CLOSE c;
			PERFORM 1 / (i % 5);
		EXCEPTION WHEN division_by_zero THEN
			EXECUTE format('SELECT count(*) FROM pg_class WHERE oid = %s', i);
		END;
	END LOOP;
	DEALLOCATE ALL;
END $$;

-- Reads all sessions that do not observe, and one of them in detail.
CREATE UNLOGGED TABLE reading AS SELECT * FROM pg_session_memory LIMIT 0;
CREATE UNLOGGED TABLE detail (pid int, contexts int, bytes bigint, levels int,
	approximate bool, unknown int);
CREATE FUNCTION observe() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	one int;
BEGIN
	INSERT INTO reading SELECT * FROM pg_session_memory
		WHERE backend_type = 'client backend' AND
			application_name <> 'observer';
	SELECT pid INTO one FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND
			application_name <> 'observer'
		ORDER BY random() LIMIT 1;
	INSERT INTO detail
		SELECT one, count(*), sum(total_bytes), max(level),
			bool_or(approximate), count(*) FILTER (WHERE free_bytes IS NULL)
		FROM pg_session_memory_contexts(one);
END $$;
));

sub script
{
	my ($name, $text) = @_;

	append_to_file("$directory/$name.sql", $text);
	return "$directory/$name.sql";
}

# pgbench on that many connections until it is told to end.
sub start_clients
{
	my ($count, @arguments) = @_;
	my $output = '';
	local %ENV = $node->_get_env(PGAPPNAME => 'at work');

	return IPC::Run::start(
		[
			'pgbench', '-n', '-c', $count, '-j', 1, '-T', 600, @arguments,
			'postgres'
		],
		'>', \$output, '2>&1');
}

sub stop_clients
{
	my ($clients) = @_;

	$clients->signal('TERM');
	$clients->finish;
}

# What a session looks like while nothing else happens
sub look
{
	my ($observer, $pid) = @_;

	return $observer->query_safe(
		"SELECT (SELECT contexts || ' ' || context_bytes FROM pg_session_memory
			WHERE pid = $pid), count(*), sum(total_bytes), sum(free_bytes)
		FROM pg_session_memory_contexts($pid)");
}

my $observer = open_session($node);
$observer->query_safe("SET application_name = 'observer'");

#
# Three idle sessions of different size, and one that is idle in a transaction
# with an open sort
#
my @idle = map { open_session($node) } 0 .. 3;
$idle[$_]->query_safe(
	"DO \$\$ BEGIN FOR i IN 1 .. 300 * $_ LOOP
		EXECUTE format('PREPARE s%s AS SELECT %s', i, i);
	END LOOP; END \$\$") foreach 1, 2;
$idle[3]->query_safe(
	'BEGIN; DECLARE c CURSOR FOR SELECT * FROM large ORDER BY b; MOVE 5 FROM c');
my @idle_pids = map { backend_pid($_) } @idle;

# What a session counted for the statistics views it would hand over, and
# free, ten seconds later.
$idle[$_]->query_safe('SELECT pg_stat_force_next_flush()') foreach 0 .. 2;
look($observer, $_) foreach @idle_pids;
my %quiet = map { $_ => look($observer, $_) } @idle_pids;

# All read in one query, one after the other, are what each is when read alone.
is( $observer->query_safe(
		"SELECT contexts || ' ' || context_bytes FROM pg_session_memory
		WHERE pid = ANY ('{" . join(',', @idle_pids) . "}')
		ORDER BY array_position('{" . join(',', @idle_pids) . "}', pid)"),
	join("\n", map { (split /\|/, $quiet{$_})[0] } @idle_pids),
	'sessions read in one query are not mixed up');

#
# 20 sessions at work: 14 that churn, 6 that sort, join and copy
#
my @clients = (
	start_clients(14, '-f', script('churn', "SELECT churn();\n")),
	start_clients(
		6,
		'-f',
		script('sort', "SELECT count(*) FROM (SELECT * FROM large
			ORDER BY reverse(b) OFFSET 0) AS s;\n"),
		'-f',
		script('join', "SET enable_mergejoin = off;
			SELECT count(*) FROM large l JOIN large r ON l.b = r.b;\n"),
		'-f',
		script('copy', "COPY (SELECT * FROM large LIMIT 5000)
				TO '$directory/large.:client_id';
			BEGIN;
			COPY copied FROM '$directory/large.:client_id';
			ROLLBACK;\n")));
$node->poll_query_until(
	'postgres', q(SELECT count(*) = 20 FROM pg_stat_activity
	WHERE application_name = 'at work' AND query <> ''));

# 24 sessions each time, and one of them again: 20,000 reads.  There are ten
# observers, lest one wait for the processor behind twenty sessions at work.
{
	local $ENV{PGAPPNAME} = 'observer';
	$node->command_ok(
		[
			'pgbench', '-n', '-c', 10, '-j', 1, '-t', 80, '-f',
			script('observe', "SELECT observe();\n"), 'postgres'
		],
		'no error in 20,000 reads');
}
stop_clients($_) foreach @clients;

# pgbench has more than its sessions for a moment only, when it starts.
cmp_ok($observer->query_safe('SELECT count(*) FROM reading'),
	'>=', 800 * 24, 'all sessions were read each time');
is( $observer->query_safe(
		"SELECT count(*) FROM reading WHERE source IS DISTINCT FROM 'live'"),
	0,
	'each time live');
is( $observer->query_safe(
		'SELECT count(*) FROM reading WHERE context_bytes IS DISTINCT FROM
			catalog_cache_bytes + cached_plan_bytes + function_bytes +
			cursor_bytes + transaction_bytes + execution_bytes +
			temp_table_bytes + replication_bytes + base_bytes + other_bytes'),
	0,
	'categories add up to the whole, also in what changes');

# They were at work: figures of a session that does nothing are the same again
# and again.  Of 20 sessions with 800 readings each, 20 each are different.
cmp_ok(
	$observer->query_safe(
		"SELECT count(DISTINCT (pid, contexts, context_bytes)) FROM reading
		WHERE application_name = 'at work'"),
	'>=', 400, 'the sessions at work were read in many states');

# No reading shows what no session can have had.  All have 60 contexts from
# their start, and none has more than 1,000 at any time.  None has more than
# 150 MB: a sort 16 MB, a hash join 32 MB, and some copies of parts of these.
# What is approximate may lack something, but does not have what is not there.
is( $observer->query_safe(
		"SELECT count(*) FROM reading
		WHERE application_name = 'at work' AND NOT
			(context_bytes BETWEEN CASE WHEN approximate THEN 1 ELSE 500000 END
				AND 150000000 AND
			contexts BETWEEN CASE WHEN approximate THEN 1 ELSE 60 END
				AND 1000)"),
	0,
	'all readings are possible ones');
is( $observer->query_safe(
		"SELECT count(*) FROM detail
		WHERE NOT (pid = ANY ('{" . join(',', @idle_pids) . "}')) AND NOT
			(bytes BETWEEN CASE WHEN approximate THEN 1 ELSE 500000 END
				AND 150000000 AND
			contexts BETWEEN CASE WHEN approximate THEN 1 ELSE 60 END
				AND 1000 AND
			levels < 30)"),
	0,
	'in detail, too');

# Most trees hold still for the tenth of a millisecond that it takes.
my ($readings, $approximate) = split /\|/,
  $observer->query_safe(
	"SELECT count(*), count(*) FILTER (WHERE approximate) FROM reading
	WHERE application_name = 'at work'");
note "$approximate of $readings readings of sessions at work were approximate";
cmp_ok($approximate, '<', $readings / 2, 'most readings are exact');

# Those at rest were read right each time, in between.
foreach my $i (0 .. 3)
{
	my ($pid, $figures) = ($idle_pids[$i], $quiet{ $idle_pids[$i] });
	my ($sums, $contexts, $bytes) = split /\|/, $figures;

	is( $observer->query_safe(
			"SELECT DISTINCT contexts || ' ' || context_bytes, approximate
			FROM reading WHERE pid = $pid"),
		"$sums|f",
		"idle session $i: the same sums each time");
	is( $observer->query_safe(
			"SELECT DISTINCT contexts, bytes, approximate, unknown
			FROM detail WHERE pid = $pid"),
		"$contexts|$bytes|f|0",
		"idle session $i: the same in detail");
	is(look($observer, $pid), $figures, "idle session $i: and still so");
}

#
# Sessions that live for some milliseconds only
#
my $clients =
  start_clients(4, '-C', '-f', script('short', "SELECT count(*) FROM large
	WHERE a = 1;\n"));
$node->poll_query_until('postgres',
	q(SELECT count(*) > 0 FROM pg_stat_activity
	WHERE application_name = 'at work'));

# A WARNING for each session that ended in between
my $result = $observer->query(
	q(
TRUNCATE reading;
SET client_min_messages = error;
DO $$ BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM pg_stat_clear_snapshot();
		INSERT INTO reading SELECT * FROM pg_session_memory;
		PERFORM c FROM pg_stat_activity a,
			LATERAL pg_session_memory_contexts(a.pid) AS c;
		PERFORM p.rss_bytes FROM pg_stat_activity a,
			LATERAL pg_session_memory_process(a.pid) AS p;
	END LOOP;
END $$;
RESET client_min_messages;
SELECT count(DISTINCT backend_start) FROM reading
	WHERE application_name = 'at work'));
stop_clients($clients);
is($observer->{stderr}, '', 'sessions that come and go: no error');

# There are four at any time, and they are not the same ones for long: some
# ten new ones a round were seen, one every other round will do.
cmp_ok($result, '>=', 100, 'sessions that come and go: many were there');
is( $observer->query_safe(
		"SELECT count(*) FROM reading WHERE source IS NULL AND
			num_nonnulls(contexts, context_bytes, anon_bytes, swap_bytes) > 0"),
	0,
	'sessions that come and go: those that ended have no figures');

#
# A session that ends while it is read: all of it is shown, or nothing
#
$observer->query_safe(
	q(CREATE TEMP TABLE result (round int, contexts int, process int);
	CREATE SEQUENCE looks));
foreach my $round (1 .. 5)
{
	my $session = open_session($node);
	my $pid = backend_pid($session);
	my $looks = $observer->query_safe('SELECT last_value FROM looks');

	$session->query_safe(
		q(DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
			EXECUTE format('PREPARE s%s AS SELECT %s', i, i);
		END LOOP; END $$));
	start_statement(
		$observer, qq(
SET client_min_messages = error;
DO \$\$
DECLARE
	seen int;
BEGIN
	LOOP
		SELECT count(c) INTO seen FROM pg_session_memory_contexts($pid) AS c;
		INSERT INTO result VALUES ($round, seen);
		PERFORM nextval('looks');
		EXIT WHEN seen = 0;
	END LOOP;
END \$\$;
RESET client_min_messages));
	# How far it is others see by the sequence, which knows no transactions.
	$node->poll_query_until('postgres',
		"SELECT last_value >= $looks + 5 FROM looks")
	  or die "round $round: the session is not read";
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$observer->query_safe('SELECT');
	$session->{run}->finish;
}
is( $observer->query_safe(
		'SELECT count(*) FROM result WHERE contexts NOT IN (0, (
			SELECT max(contexts) FROM result))'),
	0,
	'a session that ends is seen as a whole or not at all');
is( $observer->query_safe(
		'SELECT count(*) FROM (SELECT FROM result GROUP BY round
			HAVING count(*) > 2 AND max(contexts) > 4000) AS r'),
	5,
	'it was read before it ended');

#
# The server is the same as at the beginning, without a crash in between.
#
$observer->quit;
$_->quit foreach @idle;
is( $node->safe_psql('postgres', 'SELECT backend_start FROM pg_stat_activity
	WHERE backend_type = \'checkpointer\''),
	$started,
	'no crash');
unlike(slurp_file($node->logfile),
	qr/PANIC|TRAP|was terminated by signal/, 'nor a sign of one in the log');
$node->stop;

done_testing();
