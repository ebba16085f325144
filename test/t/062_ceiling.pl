# Ceilings of the guard: what a session under one does, and what is said to its
# client.  A module of the tests sets them instead of the watcher, which is
# stopped meanwhile: test/ceiling_module.c.

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
my $library = PostgreSQL::Test::Utils::tempdir() . '/ceiling_module.so';
my $source = "$FindBin::RealBin/../../src";
chomp(my $include = `pg_config --includedir-server`);

if (system("cc -shared -fPIC -w -O1 -D_GNU_SOURCE -Wl,-Bsymbolic -I $include"
		. " -I $source -o $library $FindBin::RealBin/../ceiling_module.c"
		. " $source/session/ceiling.c $source/reading/process_memory.c"
		. " $source/reading/server_process.c") != 0)
{
	plan skip_all => 'no C compiler for the module that sets ceilings';
}

my $node = start_watching_server('ceiling', q(
jit = off
compute_query_id = on
max_prepared_transactions = 2
max_parallel_workers_per_gather = 2
pg_session_memory.record_interval = 0
));
$node->safe_psql(
	'postgres', "
CREATE ROLE ordinary LOGIN;
CREATE ROLE exempt LOGIN;
ALTER ROLE exempt SET pg_session_memory.guard_weight = 0;
CREATE TABLE kept (a int);
CREATE TABLE ten AS SELECT generate_series(1, 10) AS a;
GRANT ALL ON kept, ten TO ordinary;
GRANT CREATE ON SCHEMA public TO ordinary;
CREATE FUNCTION ceiling_server(bigint, bigint, bigint, bigint, bigint, int, bigint)
	RETURNS void AS '$library', 'ceiling_server' LANGUAGE C;
CREATE FUNCTION ceiling_once(int, bigint, int) RETURNS boolean
	AS '$library', 'ceiling_once' LANGUAGE C;
CREATE FUNCTION ceiling_hold(int, bigint) RETURNS void
	AS '$library', 'ceiling_hold' LANGUAGE C;
CREATE FUNCTION ceiling_verdict(int, timestamptz, boolean) RETURNS void
	AS '$library', 'ceiling_verdict' LANGUAGE C;
");

# Takes some 1,000 MB, and stays at that for no time.
my $bomb = q(SELECT array_agg(repeat('x', 90) || g)
	FROM generate_series(1, 10000000) g);

my $observer = open_session($node);
my $watcher = $observer->query_safe(
	"SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'pg_session_memory watcher'");
kill 'STOP', $watcher;

# A server that could not be stopped would be left.
END
{
	kill 'CONT', $watcher if defined $watcher;
}

my ($session, $pid, $holder, $holder_pid);

sub new_session
{
	my ($user) = @_;

	$session->quit if defined $session;
	$session = open_session($node, 'postgres', $user);
	$session->query_safe('\\set VERBOSITY verbose');
	$pid = backend_pid($session);
}

sub outcome
{
	my ($statements) = @_;

	my $output = $session->query($statements);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return ($output, $error);
}

sub row
{
	return $observer->query_safe(
		"SELECT limit_bytes, ceiling_bytes FROM pg_session_memory
		WHERE pid = $pid");
}

# The kernel's limit in bytes.
sub soft_limit
{
	return $observer->query_safe(
		"SELECT (regexp_match(pg_read_file('/proc/$pid/limits'),
			'Max data size +(\\w+)'))[1]");
}

# Something that becomes true, in whatever the machine needs for it.
sub becomes
{
	my ($what, $name) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return ok(1, $name) if $what->();
		select undef, undef, undef, 0.1;
	}
	return ok(0, $name);
}

# Holds the session below a ceiling in bytes; NULL: what it has.
sub hold
{
	my ($bytes) = @_;

	$holder = open_session($node);
	$holder_pid = backend_pid($holder);
	start_statement($holder, "SELECT ceiling_hold($pid, $bytes)");
	becomes(sub { return row() =~ /\|\d+$/ }, "held at $bytes")
	  if $bytes ne 'NULL';
	# It was set, and set again.
	$observer->query_safe('SELECT pg_sleep(0.1)');
}

sub release
{
	$observer->query_safe("SELECT pg_terminate_backend($holder_pid, 60000)");
	$holder->{stdin} = '';
	eval { $holder->quit };
	$observer->query_safe("SELECT ceiling_once($pid, -1, 0)");
}

sub set_guard
{
	my ($mode) = @_;

	$observer->query_safe("ALTER SYSTEM SET pg_session_memory.guard = $mode");
	$observer->query_safe('SELECT pg_reload_conf()');
	foreach my $each ($observer, $session)
	{
		next unless defined $each;
		becomes(
			sub {
				return $each->query_safe('SHOW pg_session_memory.guard') eq
				  $mode;
			},
			"guard is $mode");
	}
}

#
# By default the guard only looks on
#
new_session();
is($session->query_safe('SHOW pg_session_memory.guard'), 'log', 'the default');
is($observer->query_safe("SELECT ceiling_once($pid, 1000000, 0)"),
	't', 'guard = log: a ceiling');
is(row(), '|', 'guard = log: is none');
is(soft_limit(), 'unlimited', 'guard = log: no limit');

#
# With guard = on, from the next command on
#
set_guard('on');
hold(200 * $MB);
is(row(), '|' . 200 * $MB, 'the view tells the ceiling');
is(soft_limit(), 200 * $MB, 'and the kernel keeps it');

my $offset = log_end($node);
my (undef, $error) = outcome("$bomb;");
like($error, qr/ERROR:\ \ 53200:\ out\ of\ memory\n
	DETAIL:\ \ Failed\ on\ request\ of\ size\ \d+\ in\ memory\ context
	\ "\w+"\.\ The\ server\ has\ 1024\ MB\ left\ of\ 4096\ MB\.
	\ This\ session\ holds\ \d+\ MB;
	\ pg_session_memory\.guard\ lets\ it\ have\ 200\ MB\ now\.
	\ Largest:\ "\w+"\ with\ \d+\ MB\ in\ \d+,.*contexts\.
	\ Query\ id\ -?\d+\.\n
	HINT:\ \ Let\ the\ statement\ handle\ less\ at\ a\ time,\ or\ lower
	\ work_mem,\ which\ .*\ worker.*process_limit.*guard_reserve,\ 256\ MB/x,
	'DETAIL and HINT');
like( log_since($node, $offset),
	qr/ERROR:  out of memory.*DETAIL:  Failed.*guard lets it.*STATEMENT:  SELECT array_agg/s,
	'the log has them');
is( $observer->query_safe(
		"SELECT kind, threshold_bytes / $MB, bytes > 150 * $MB,
			query_id IS NOT NULL
		FROM pg_session_memory_events WHERE pid = $pid"),
	'limited|200|t|t',
	'an event');
is( $observer->query_safe(
		"SELECT limited FROM pg_session_memory_statements
		WHERE query LIKE 'SELECT array_agg%' AND limited > 0"),
	'1',
	'it is counted for its query id');
is(soft_limit(), 200 * $MB, 'and counts again');
is($session->query_safe('SELECT 1'), '1', 'the session lives');

# An exception handler gets it, and goes on.
(my $output, $error) = outcome(
	"DO \$\$
	DECLARE
		detail text;
	BEGIN
		FOR i IN 1..3 LOOP
			BEGIN
				EXECUTE \$x\$$bomb\$x\$;
			EXCEPTION WHEN out_of_memory THEN
				GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
				RAISE NOTICE 'caught %', detail;
			END;
		END LOOP;
	END\$\$;
	SELECT 'went on';");
is($output, 'went on', 'PL/pgSQL catches it and goes on');
my @caught = $error =~ /caught Failed on.*\.guard lets it have 200 MB/g;
is(scalar @caught, 3, 'with its DETAIL, each time');
(undef, $error) = outcome("BEGIN; SAVEPOINT a; $bomb;");
like($error, qr/53200/, 'fails in a block');
($output) = outcome('ROLLBACK TO a; SELECT 2; COMMIT;');
is($output, 2, 'which goes on');
release();

# Who holds most, and the limit of all sessions together.
sub hold_with_server
{
	my ($server, $bytes) = @_;

	$holder = open_session($node);
	$holder_pid = backend_pid($holder);
	$holder->query_safe("SELECT ceiling_server($server)");
	start_statement($holder, "SELECT ceiling_hold($pid, $bytes)");
	becomes(sub { return row() =~ /\|$bytes$/ }, 'held');
}

hold_with_server("4::bigint << 30, 180 << 20, 200 << 20, -1, 0, $pid, 0",
	100 * $MB);
(undef, $error) = outcome("$bomb;");
like( $error,
	qr/The server has 180 MB left of 4096 MB\. This session holds \d+ MB, most of any; pg_session_memory\.guard lets it have 100 MB now\./,
	'most of any');
release();
hold_with_server(
	"4::bigint << 30, 2::bigint << 30, 200 << 20, 300 << 20, 299 << 20, $watcher, 0",
	100 * $MB);
(undef, $error) = outcome("$bomb;");
like( $error,
	qr/All sessions together hold 299 MB, pg_session_memory\.server_limit is 300 MB\. This session holds \d+ MB, process $watcher most of any;/,
	'server_limit has its own words');
like($error, qr/HINT:.*raise pg_session_memory\.server_limit/,
	'and its own hint');
release();
hold_with_server(
	"4::bigint << 30, 240 << 20, 200 << 20, -1, 0, $pid, 190 << 20",
	100 * $MB);
(undef, $error) = outcome("$bomb;");
like( $error,
	qr/The server has 240 MB left of 4096 MB, and sessions have asked for 190 MB of it\. This session holds/,
	'what is left, but promised');
release();
hold_with_server(
	"4::bigint << 30, 340 << 20, 200 << 20, -1, 0, $pid, 480 << 20",
	100 * $MB);
(undef, $error) = outcome("$bomb;");
like( $error,
	qr/The server has 340 MB left of 4096 MB, and sessions have asked for 480 MB\. This session holds/,
	'more than is left is promised');
release();

#
# With process_limit: the smaller one counts
#
outcome("SET pg_session_memory.process_limit = '80MB';");
hold(200 * $MB);
is(row(), 80 * $MB . '|' . 200 * $MB, 'both are told');
is(soft_limit(), 80 * $MB, 'process_limit is smaller');
(undef, $error) = outcome("$bomb;");
like($error, qr/process_limit is 80 MB\. Largest/, 'and the error says so');
unlike($error, qr/guard/, 'and nothing of the guard');
outcome("SET pg_session_memory.process_limit = '300MB';");
is(soft_limit(), 200 * $MB, 'the ceiling is smaller');
is(row(), 300 * $MB . '|' . 200 * $MB, 'limit_bytes is process_limit');
(undef, $error) = outcome("$bomb;");
like($error, qr/guard lets it have 200 MB now\. Largest/,
	'and the error says so');
unlike($error, qr/process_limit is/, 'and nothing of process_limit');
outcome('RESET pg_session_memory.process_limit;');
release();

#
# A session that gets nothing more commits and aborts whatever it has begun
#
new_session('ordinary');
foreach my $end ('COMMIT', 'ROLLBACK')
{
	$session->query_safe(
		"BEGIN;\n SELECT string_agg(
			format('SAVEPOINT s%s; INSERT INTO kept VALUES (1)', i), ';')
		FROM generate_series(1, 10000) i GROUP BY i / 100 \\gexec");
	hold('NULL');
	(undef, $error) = outcome("$end;");
	is($error, '', "$end of 10,000 savepoints");
	becomes(
		sub {
			return $observer->query_safe('SELECT count(*) FROM kept') == 10000;
		},
		"is complete");
	release();
}

$session->query_safe(
	"CREATE TEMP TABLE t1 (a int); INSERT INTO t1 VALUES (1);
	BEGIN; INSERT INTO t1 SELECT 2 FROM generate_series(1, 10000);
	CREATE TEMP TABLE t2 (a text PRIMARY KEY) ON COMMIT DROP;
	INSERT INTO t2 SELECT i FROM generate_series(1, 10000) i;");
hold('NULL');
(undef, $error) = outcome('COMMIT;');
is($error, '', 'COMMIT of temporary tables');
release();

foreach my $end ('COMMIT', 'ROLLBACK')
{
	$session->query_safe(
		"BEGIN; INSERT INTO kept SELECT i FROM generate_series(1, 1000) i;\n"
		  . join('', map { "CREATE TABLE p_$_ (a int);\n" } 1 .. 100)
		  . "PREPARE TRANSACTION 'prepared'");
	# Another session, which has read no such file yet.
	new_session('ordinary');
	hold('NULL');
	(undef, $error) = outcome("$end PREPARED 'prepared';");
	is($error, '', "$end PREPARED");
	is($observer->query_safe(
			"SELECT count(*) FROM pg_class WHERE relname LIKE 'p\\_%'"),
		$end eq 'COMMIT' ? 100 : 0,
		'did it');
	release();
	$session->query_safe(join '', map { "DROP TABLE p_$_;\n" } 1 .. 100)
	  if $end eq 'COMMIT';
}

# Its temporary tables are dropped at its end.
$session->query_safe(
	join '', map { "CREATE TEMP TABLE t_$_ (a text PRIMARY KEY);\n" } 1 .. 30);
hold('NULL');
$offset = log_end($node);
$session->quit;
$session = undef;
ok( $node->poll_query_until(
		'postgres',
		q(SELECT count(*) = 0 FROM pg_class WHERE relpersistence = 't')),
	'temporary tables are dropped at the end of a session that gets nothing');
unlike(log_since($node, $offset), qr/FATAL|PANIC/, 'without an error');
$observer->query_safe("SELECT pg_terminate_backend($holder_pid, 60000)");
eval { $holder->quit };

#
# A parallel worker
#
new_session();
my $force_parallel = parallel_setting($node);
$session->query_safe("SET $force_parallel = on; SELECT count(*) FROM ten");
hold(60 * $MB);
(undef, $error) = outcome(
	q(SELECT array_agg(repeat('x', 90) || g)
	FROM ten, generate_series(1, 1000000) g;));
like( $error,
	qr/53200: out of memory\nDETAIL:.*This parallel worker holds \d+ MB; pg_session_memory\.guard lets it.*CONTEXT:  parallel worker/s,
	'a parallel worker is refused');
is($session->query_safe('SELECT count(*) FROM ten'), '10', 'and its leader lives');
release();
$session->query_safe("RESET $force_parallel");

#
# Cancelled, and terminated
#
sub statement_of_session
{
	return $observer->query_safe(
		"SELECT quote_literal(query_start) FROM pg_stat_activity
		WHERE pid = $pid");
}

foreach my $with_verdict (0, 1)
{
	start_statement($session, 'SELECT pg_sleep(600)');
	becomes(
		sub {
			return $observer->query_safe(
				"SELECT wait_event = 'PgSleep' FROM pg_stat_activity
				WHERE pid = $pid") eq 't';
		},
		'a statement runs');
	my $start = statement_of_session();
	$observer->query_safe("SELECT ceiling_verdict($pid, $start, false)")
	  if $with_verdict;
	$observer->query_safe("SELECT pg_cancel_backend($pid)");
	(undef, $error) = outcome('SELECT 1;');
	like($error, qr/ERROR:  57014/, 'cancelled');
	if (!$with_verdict)
	{
		unlike($error, qr/DETAIL|HINT/, 'by somebody else: as ever');
		next;
	}
	like( $error,
		qr/DETAIL:  The server has 1024 MB left of 4096 MB\. This session holds \d+ [kM]B; pg_session_memory\.guard has cancelled its statement\. Largest: .*\nHINT:  .*pg_session_memory\.process_limit/,
		'by the guard: DETAIL and HINT');
}

# A verdict is about one statement.
start_statement($session, 'SELECT pg_sleep(600)');
becomes(
	sub {
		return $observer->query_safe(
			"SELECT wait_event = 'PgSleep' FROM pg_stat_activity
			WHERE pid = $pid") eq 't';
	},
	'another statement runs');
$observer->query_safe("SELECT pg_cancel_backend($pid)");
(undef, $error) = outcome('SELECT 1;');
like($error, qr/ERROR:  57014/, 'the next one is cancelled');
unlike($error, qr/DETAIL|HINT/, 'by somebody else');

my $start = statement_of_session();
$offset = log_end($node);
$observer->query_safe("SELECT ceiling_verdict($pid, $start, true)");
$observer->query_safe("SELECT pg_terminate_backend($pid, 60000)");
$session->{stdin} .= "SELECT 1;\n";
$session->{run}->pump_nb until $session->{stderr} =~ /connection to server/
  || $session->{timeout}->is_expired || !$session->{run}->pumpable;
like( $session->{stderr},
	qr/FATAL:  57P01.*\nDETAIL:  The server has.*pg_session_memory\.guard has ended it\. Largest: .*\nHINT:/,
	'an idle session is ended: its client learns why');
# PostgreSQL 19 tells the log who has sent the signal.
like( log_since($node, $offset),
	qr/FATAL:.*DETAIL:  (Signal sent by [^.]*\. )?The server has.*ended it/s,
	'and the log');
eval { $session->quit };
$session = undef;

#
# Ceilings that nobody renews are lifted by whoever has a command
#
new_session('ordinary');
hold(100 * $MB);
kill 'STOP', $holder_pid;
becomes(sub { return row() eq '|' }, 'who sets ceilings is stopped: lifted');
is(soft_limit(), 'unlimited', 'the kernel keeps none');
(undef, $error) = outcome(
	q(SELECT count(b) FROM (SELECT array_agg(repeat('x', 90) || g) AS b
	FROM generate_series(1, 1000000) g) s;));
is($error, '', 'the session has what it wants');
kill 'CONT', $holder_pid;
becomes(sub { return row() eq '|' . 100 * $MB }, 'it goes on: they are back');
release();
foreach my $seconds (-10, 10)
{
	is( $observer->query_safe(
			"SELECT ceiling_once($pid, 100 * $MB, $seconds)"),
		't', 'set');
	is(row(), '|', "$seconds s off: lifted at the end of that command");
}
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|' . 100 * $MB, 'not before');

# A session that is stopped itself withdraws nothing, and is lifted by others.
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
kill 'STOP', $pid;
becomes(sub { return soft_limit() eq 'unlimited' },
	'the limit of a stopped session is lifted, too');
kill 'CONT', $pid;

#
# guard = off, and guard_weight
#
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
set_guard('off');
is(row(), '|', 'guard = off: no ceiling');
is(soft_limit(), 'unlimited', 'guard = off: no limit');
set_guard('on');
foreach my $statement (
	'SET pg_session_memory.guard_weight = 0',
	'RESET pg_session_memory.guard_weight',
	'ALTER ROLE ordinary SET pg_session_memory.guard_weight = 0')
{
	(undef, $error) = outcome("$statement;");
	like($error, qr/ERROR:  42501/, "not without privileges: $statement");
}
(undef, $error) = outcome('SET pg_session_memory.guard = off;');
like($error, qr/ERROR:  55P02/, 'guard is the server\'s');
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|' . 100 * $MB, 'an ordinary role has a ceiling');
new_session();
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|' . 100 * $MB, 'a superuser as well');
outcome('SET pg_session_memory.guard_weight = 0;');
is(row() . soft_limit(), '|unlimited', 'weight 0: none');
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|', 'and gets none');
outcome('RESET pg_session_memory.guard_weight;');
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|' . 100 * $MB, 'weight 1: again');
new_session('exempt');
$observer->query_safe("SELECT ceiling_once($pid, 100 * $MB, 0)");
is(row(), '|', 'a role that is exempt');

#
# The watcher itself
#
new_session('ordinary');
kill 'CONT', $watcher;
becomes(sub { return row() =~ /^\|\d+$/ }, 'the watcher gives a ceiling');
kill 'STOP', $watcher;
becomes(sub { return row() eq '|' }, 'it is stopped: lifted');
kill 'CONT', $watcher;
becomes(sub { return row() =~ /^\|\d+$/ }, 'it goes on: there again');
$observer->query_safe("SELECT pg_terminate_backend($watcher, 60000)");
becomes(
	sub {
		$watcher = $observer->query_safe(
			"SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'pg_session_memory watcher'");
		return $watcher ne '';
	},
	'it is ended, and begins anew');
becomes(sub { return row() =~ /^\|\d+$/ }, 'with new ceilings');
set_guard('off');
becomes(sub { return row() eq '|' && soft_limit() eq 'unlimited' },
	'guard = off: none');
is($session->query_safe('SELECT 1'), '1', 'and the session lives');

$watcher = undef;
$node->stop;
done_testing();
