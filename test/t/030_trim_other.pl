# A session is asked by another one to give memory back: it does so when it is
# idle and outside of a transaction, whoever may not ask is refused, and
# whoever waits does not wait for ever.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = start_server(
	'trimmed', q(
shared_preload_libraries = 'pg_session_memory'
log_min_messages = debug1
));

# 100 partitions with an index each: who reads them all has 100 kB more in its
# catalog cache, for each index has a context of 1 kB at least.
$node->safe_psql(
	'postgres', q(
CREATE TABLE part (a int PRIMARY KEY) PARTITION BY RANGE (a);
DO $$ BEGIN FOR i IN 1 .. 100 LOOP
	EXECUTE format('CREATE TABLE part_%s PARTITION OF part
		FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
END LOOP; END $$));

# 2,000 statements of more than 4 kB each, deallocated: 8 MB that no context
# has any more, and that malloc cannot give back by itself, since the statement
# that was prepared after them lies above them.  3 of these 8 MB have to be
# given back in any case: what was free before is used by some of them.
my $bloat = q(
SELECT count(*) FROM part;
DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	EXECUTE format('PREPARE s%s AS SELECT %L::text', i, repeat('x', 4000));
END LOOP; END $$;
PREPARE last AS SELECT 'still prepared';
DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	EXECUTE format('DEALLOCATE s%s', i);
END LOOP; END $$);
my $given_back = 3000000;

my $observer = open_session($node);

# What the view says of a session
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

# Waits until it has trimmed itself so often.
sub wait_for_trims
{
	my ($pid, $count) = @_;

	wait_for_trims_logged($node, "\\[$pid\\]", $count)
	  or die "session $pid did not trim itself";
}

# Asks, and returns the answer, messages, and the milliseconds that it took
sub ask
{
	my ($session, $pid, $timeout) = @_;
	my $result = $session->query(
		"SELECT (pg_session_memory_trim($pid, $timeout)).outcome,
		round(extract(epoch FROM clock_timestamp() - statement_timestamp())
			* 1000)");
	my $messages = $session->{stderr};

	$session->{stderr} = '';
	my ($answer, $milliseconds) = split /\|/, $result;
	return ($answer, $messages, $milliseconds);
}

sub wait_for
{
	my ($condition) = @_;

	ok($node->poll_query_until('postgres', $condition), "came to be: $condition");
}

#
# An idle session, with everything that a session can have
#
my $session = open_session($node);
my $pid = backend_pid($session);
my $logged = -s $node->logfile;

$session->query_safe($bloat);
$session->query_safe(
	q(CREATE TEMP TABLE temporary AS SELECT generate_series(1, 100) AS a;
	DECLARE held CURSOR WITH HOLD FOR SELECT * FROM temporary ORDER BY a;
	FETCH 10 FROM held;
	LISTEN channel;
	SET work_mem = '7MB';
	SELECT pg_advisory_lock(4711)));

my $before = look($pid);
my $asked_at = $observer->query_safe('SELECT clock_timestamp()');
is($before->{last_trim_at}, undef, 'idle: not trimmed yet');
is($before->{trimmed_bytes}, undef, 'idle: nothing trimmed yet');
my ($answer, $messages) = ask($observer, $pid, 180000);
is("$answer $messages", 'trimmed ', 'idle: trimmed');
my $after = look($pid);
cmp_ok($before->{anon_bytes} - $after->{anon_bytes},
	'>', $given_back, 'idle: the memory of the process fell');
cmp_ok($before->{catalog_cache_bytes} - $after->{catalog_cache_bytes},
	'>', 100 * 1024, 'idle: the catalog cache fell');
cmp_ok($after->{trimmed_bytes}, '>', $given_back, 'idle: trimmed_bytes');
is( $observer->query_safe(
		"SELECT '$after->{last_trim_at}' BETWEEN '$asked_at' AND now()"),
	't',
	'idle: last_trim_at');
is( $observer->query_safe(
		"SELECT at = '$after->{last_trim_at}' OR
			at - '$after->{last_trim_at}' < '1 second',
			backend_start = '$after->{backend_start}', usename = current_user,
			datname, kind, context, bytes = $after->{trimmed_bytes},
			threshold_bytes, session_bytes > 500000
		FROM pg_session_memory_events WHERE pid = $pid"),
	't|t|t|postgres|trimmed||t||t',
	'idle: one event, with what was given back');
like(
	slurp_file($node->logfile, $logged),
	qr/\[$pid\].* DEBUG: +session memory trimmed: \d+ [kM]B given back in [\d.]+ ms, catalog caches dropped/,
	'idle: one line in the log');

is( $session->query_safe(
		'EXECUTE last; FETCH 1 FROM held; SELECT count(*) FROM temporary;
		SHOW work_mem; SELECT pg_advisory_unlock(4711);
		SELECT pg_listening_channels(); SELECT count(*) FROM part'),
	"still prepared\n11\n100\n7MB\nt\nchannel\n0",
	'idle: it has everything that it had');
$observer->query_safe(q(NOTIFY channel, 'after the trim'));
like(
	$session->query_safe('SELECT 1'),
	qr/"channel" with payload "after the trim"/,
	'idle: it still listens');

# Whoever does not wait is told that it was asked, and it is done soon.
is(join(' ', (ask($observer, $pid, 0))[ 0, 1 ]), 'asked ', 'no timeout: asked');
wait_for_trims($pid, 2);
$after = look($pid);
is( $observer->query_safe("SELECT $after->{trimmed_bytes} =
		(SELECT sum(bytes) FROM pg_session_memory_events WHERE pid = $pid)"),
	't',
	'no timeout: trimmed_bytes is what all trims gave back');

# The row says what it was: as much as the view says, and once more much less.
# 10,000 of the statements are 45 MB that were freed, a trim for nothing gives
# back some kB.
$session->query_safe('DEALLOCATE last;' . $bloat =~ s/\b2000\b/10000/gr);
$before = look($pid);
my $row = rows_of($observer,
	"SELECT * FROM pg_session_memory_trim($pid, 180000)")->[0];
$after = look($pid);
is($row->{outcome}, 'trimmed', 'much: outcome');
cmp_ok($row->{released_bytes}, '>', 40_000_000, 'much: bytes given back');
is( $row->{released_bytes},
	$after->{trimmed_bytes} - $before->{trimmed_bytes},
	'much: as the session has published');
is( $row->{released_bytes},
	$row->{anon_bytes_before} - $row->{anon_bytes_after},
	'much: what the process has less');
# The session runs a transaction for it, which takes some pages and contexts.
cmp_ok(abs($row->{"anon_bytes_$_->[0]"} - $_->[1]{anon_bytes}),
	'<', 1_000_000, "much: anonymous memory $_->[0]")
  foreach [ 'before', $before ], [ 'after', $after ];
cmp_ok(abs($row->{"context_bytes_$_->[0]"} - $_->[1]{context_bytes}),
	'<', 300_000, "much: contexts $_->[0]")
  foreach [ 'before', $before ], [ 'after', $after ];
ok($row->{caches_dropped} && $row->{heap_trimmed}, 'much: what was done');
cmp_ok($row->{duration_ms}, '>', 0, 'much: milliseconds');

$row = rows_of($observer,
	"SELECT * FROM pg_session_memory_trim($pid, 180000)")->[0];
is($row->{outcome}, 'trimmed', 'nothing much: outcome');
cmp_ok($row->{released_bytes}, '<', 1_000_000, 'nothing much: bytes');

# Who does not wait is told no figures.
my $so_far = trims($pid);
is( $observer->query_safe("SELECT t FROM pg_session_memory_trim($pid) AS t"),
	'(asked,,,,,,,,)', 'no timeout: no figures');
wait_for_trims($pid, $so_far + 1);

#
# A session that is not idle: in a transaction, in one that has failed, in a
# statement.  It trims itself when that is over, and not before.
#
foreach my $state (
	[ 'in a transaction', 'BEGIN; SELECT count(*) FROM part', 'COMMIT' ],
	[ 'in a failed transaction', 'BEGIN; SELECT 1 / 0', 'ROLLBACK' ],
	[ 'with a cursor', 'BEGIN; DECLARE c CURSOR FOR TABLE part; FETCH c',
		'COMMIT' ])
{
	my ($what, $begin, $end) = @$state;
	my $trims = trims($pid);

	$session->query($begin);
	$session->{stderr} = '';
	my $milliseconds;
	is(join(' ', (ask($observer, $pid, 0))[ 0, 1 ]),
		'in transaction ', "$what: who does not wait is told, too");
	($answer, $messages, $milliseconds) = ask($observer, $pid, 300);
	is($answer, 'in transaction', "$what: not trimmed in time");
	like(
		$messages,
		qr/\bWARNING:  session with PID $pid did not trim its memory within 300 milliseconds\nDETAIL:  It is idle in a transaction and will do so when that ends\.$/m,
		"$what: a warning");
	# It gives up after the timeout, at its next look some 10 ms later.  The
	# other bound is for a machine that is very busy.
	cmp_ok($milliseconds, '>=', 300, "$what: it waited for the timeout");
	cmp_ok($milliseconds, '<', 10300, "$what: and not for ever");
	is(trims($pid), $trims, "$what: not trimmed");

	$session->query_safe($end);
	wait_for_trims($pid, $trims + 1);
}

# Whoever waits long enough gets the answer when the transaction ends,
$session->query_safe('BEGIN');
start_statement($observer,
	"SELECT outcome FROM pg_session_memory_trim($pid, 180000)");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE 'SELECT outcome%'
		AND state = 'active' AND wait_event_type = 'Extension'");
my $trims = trims($pid);
my $waited = time;
$session->query_safe('COMMIT');
is($observer->query_safe('SELECT'), 'trimmed', 'waited: until it was done');
# The transaction is over at once; 20 s are for a very busy machine.
cmp_ok(time - $waited, '<', 20, 'waited: and no longer');
is(trims($pid), $trims + 1, 'waited: done once');

# or the statement, which is not disturbed.
my $holder = open_session($node);
$holder->query_safe('SELECT pg_advisory_lock(4712)');
start_statement($session, 'SELECT pg_advisory_xact_lock(4712)');
wait_for("SELECT count(*) = 1 FROM pg_stat_activity
	WHERE pid = $pid AND wait_event_type = 'Lock'");
($answer, $messages) = ask($observer, $pid, 100);
is($answer, 'active', 'in a statement: told so');
like(
	$messages,
	qr/\nDETAIL:  It is running a statement and will do so as soon as it is idle and outside of a transaction\.$/m,
	'in a statement: a warning');
start_statement($observer,
	"SELECT outcome FROM pg_session_memory_trim($pid, 180000)");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE 'SELECT outcome%'
		AND state = 'active' AND wait_event_type = 'Extension'");
is(trims($pid), $trims + 1, 'in a statement: not trimmed');
$holder->quit;
is($observer->query_safe('SELECT'), 'trimmed',
	'in a statement: done after it');
$session->query_safe('SELECT');

# A request that nobody waits for any more is not forgotten; many are one.
$trims = trims($pid);
$session->query_safe('BEGIN');
ask($observer, $pid, 0) foreach 1 .. 10;
$session->query_safe('COMMIT');
wait_for_trims($pid, $trims + 1);
$session->query_safe('SELECT 1');
is(trims($pid), $trims + 1, 'ten requests: done once');

#
# Who may ask whom: who may cancel a query there
#
$node->safe_psql(
	'postgres', q(
CREATE ROLE owner LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE member LOGIN IN ROLE owner;
CREATE ROLE noinherit LOGIN NOINHERIT IN ROLE owner;
CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE root LOGIN SUPERUSER;
CREATE ROLE root_member LOGIN IN ROLE root;
CREATE FUNCTION may(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE 'SELECT ' || call INTO answer;
	RETURN CASE answer WHEN 'not permitted' THEN 'no' ELSE 'yes' END;
EXCEPTION WHEN insufficient_privilege THEN
	RETURN 'no';
END $$));

my %session_of = map { $_ => open_session($node, 'postgres', $_) }
  qw(owner other root);
my %pid_of = map { $_ => backend_pid($session_of{$_}) } keys %session_of;
my %may = (
	owner => 'owner',
	other => 'other',
	member => 'owner',
	noinherit => '',
	signaller => 'other owner',
	monitor => '',
	root => 'other owner root',
	root_member => '');

foreach my $role (sort keys %may)
{
	foreach my $call (
		'pg_cancel_backend(%d)',
		'outcome FROM pg_session_memory_trim(%d)',
		'outcome FROM pg_session_memory_trim(%d, 180000)')
	{
		my @may = grep {
			$observer->query("SET ROLE $role; SELECT may('"
				  . sprintf($call, $pid_of{$_})
				  . "'); RESET ROLE") eq 'yes'
		} sort keys %pid_of;
		$observer->{stderr} = '';
		is("@may", $may{$role}, "role $role: sessions for $call");
	}
}
is(trims($pid_of{root}), 2, 'roles: only what was allowed was done');
is($session_of{$_}->query_safe('SELECT 1'), '1', "roles: $_ goes on")
  foreach sort keys %session_of;

foreach my $case (
	[ 'other', 'owner',
		'Only roles with privileges of the role whose session it is, or of "pg_signal_backend", may trim it\.'
	],
	[ 'signaller', 'root',
		'Only roles with the SUPERUSER attribute may trim sessions of roles with the SUPERUSER attribute\.'
	])
{
	my ($role, $of, $detail) = @$case;

	$observer->query_safe("SET ROLE $role");
	($answer, $messages) = ask($observer, $pid_of{$of}, 0);
	is($answer, 'not permitted', "role $role: refused in the row");
	like(
		$messages,
		qr/WARNING:  permission denied to trim the memory of process $pid_of{$of}\nDETAIL:  $detail/,
		"role $role: is told why");
	$observer->query_safe('RESET ROLE');
}

# The rights are those of the current role: a function may lend its owner's.
$observer->query_safe(
	q(CREATE FUNCTION lent(pid int) RETURNS text LANGUAGE sql SECURITY DEFINER
	AS 'SELECT outcome FROM pg_session_memory_trim(pid, 180000)'));
is( $observer->query_safe(
		"SET ROLE other; SELECT lent($pid_of{root}); RESET ROLE"),
	'trimmed',
	'role other: with the rights of another');
is( $session_of{other}->query_safe(
		'SELECT outcome FROM pg_session_memory_trim(pg_backend_pid(), 1000)'),
	'trimmed',
	'role other: its own session');
$_->quit foreach values %session_of;

#
# What is no session that could do it
#
foreach my $type (
	'checkpointer',
	'background writer',
	'walwriter',
	'logical replication launcher')
{
	my $auxiliary = $observer->query_safe(
		"SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");

	($answer, $messages) = ask($observer, $auxiliary, 180000);
	is($answer, 'no session', "$type: not trimmed, nor waited for");
	like(
		$messages,
		qr/\bWARNING:  PID $auxiliary is not a session that can trim its memory\nDETAIL:  Only client backends and walsenders have sessions\.$/m,
		"$type: a warning");
	is( $observer->query_safe(
			"SELECT count(*) FROM pg_stat_activity WHERE pid = $auxiliary"),
		1,
		"$type: is still there");
}
foreach my $unknown (0, -1, 2147483647, -2147483648)
{
	($answer, $messages) = ask($observer, $unknown, 180000);
	is($answer, 'not found', "PID $unknown: not waited for");
	like(
		$messages,
		qr/\bWARNING:  PID $unknown is not a PostgreSQL server process$/m,
		"PID $unknown: a warning");
}
my $ended = open_session($node);
my $ended_pid = backend_pid($ended);
$ended->quit;
wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $ended_pid");
is((ask($observer, $ended_pid, 180000))[0],
	'not found', 'a session that has ended: not waited for');
is((ask($observer, backend_pid($observer), 0))[0],
	'trimmed', 'the own session: done at once');
is(trims(backend_pid($observer)), 1, 'the own session: once');
foreach my $wrong (-1, '-9223372036854775808')
{
	($answer, $messages) = ask($observer, $pid, $wrong);
	like(
		$messages,
		qr/\bERROR:  "timeout" must not be negative$/m,
		"timeout $wrong: an error");
}
is( join(' ', (ask($observer, $pid, '9223372036854775807'))[ 0, 1 ]),
	'trimmed ', 'the longest timeout: no overflow');

# A walsender reads commands as a session does.  One for physical replication
# has no database and runs no transactions, so it cannot be asked.
foreach my $replication ('true', 'database')
{
	my $walsender =
	  $node->background_psql('postgres', replication => $replication);
	$walsender->set_query_timer_restart();

	$walsender->query_safe('IDENTIFY_SYSTEM');
	my $sender = $observer->query_safe(
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'");
	($answer, $messages) = ask($observer, $sender, 180000);
	if ($replication eq 'true')
	{
		is($answer, 'no session', 'physical walsender: not waited for');
		like(
			$messages,
			qr/WARNING:  PID $sender is not a session that can trim its memory\nDETAIL:  A walsender for physical replication runs no transactions\./,
			'physical walsender: a warning says why');
	}
	else
	{
		is($answer, 'trimmed', 'logical walsender: trimmed');
	}
	like($walsender->query_safe('IDENTIFY_SYSTEM'),
		qr/^\d+\|/, "walsender, replication=$replication: goes on");
	$walsender->quit;
	wait_for("SELECT count(*) = 0 FROM pg_stat_activity
		WHERE backend_type = 'walsender'");
}

#
# A session that ends while someone waits for it
#
my $ending = open_session($node);
my $ending_pid = backend_pid($ending);
$ending->query_safe('BEGIN');
start_statement($observer,
	"SELECT outcome FROM pg_session_memory_trim($ending_pid, 180000)");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE 'SELECT outcome%'
		AND state = 'active' AND wait_event_type = 'Extension'");
$waited = time;
$ending->quit;
is($observer->query('SELECT'), 'not found', 'a session that ends: not trimmed');
like(
	$observer->{stderr},
	qr/WARNING:  PID $ending_pid is not a PostgreSQL server process/,
	'a session that ends: a warning');
$observer->{stderr} = '';
# Far from the timeout of 180 s
cmp_ok(time - $waited, '<', 60, 'a session that ends: is not waited for');

# Whoever waits can be cancelled.  The request stays.
$trims = trims($pid);
$session->query_safe('BEGIN');
start_statement($observer, "SELECT pg_session_memory_trim($pid, 180000)");
wait_for("SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE 'SELECT pg\\_session\\_memory\\_trim%'
		AND state = 'active' AND wait_event_type = 'Extension'");
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid)
	FROM pg_stat_activity WHERE wait_event_type = 'Extension'");
$observer->query('SELECT');
like($observer->{stderr}, qr/canceling statement due to user request/,
	'one that waits: can be cancelled');
$observer->{stderr} = '';
$session->query_safe('COMMIT');
wait_for_trims($pid, $trims + 1);

#
# A session that does not react at all
#
kill STOP => $pid;
my $milliseconds;
($answer, $messages, $milliseconds) = ask($observer, $pid, 500);
is($answer, 'no answer', 'stopped: not trimmed');
like($messages, qr/did not trim its memory within 500 milliseconds/,
	'stopped: a warning');
cmp_ok($milliseconds, '>=', 500, 'stopped: the timeout was waited for');
# as above
cmp_ok($milliseconds, '<', 10500, 'stopped: the timeout holds');

# 50 sessions ask for it meanwhile.  Each gets its answer when it goes on, and
# it has to trim itself only once for all of them.
$trims = trims($pid);
$node->safe_psql('postgres', 'CREATE TABLE answers (answer text)');
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/ask.sql",
	"INSERT INTO answers
	SELECT outcome FROM pg_session_memory_trim($pid, 180000);\n");
my $output = '';
my $clients;
{
	local %ENV = $node->_get_env();
	$clients = IPC::Run::start(
		[
			'pgbench', '-n', '-c', 50, '-t', 1, '-f', "$directory/ask.sql",
			'postgres'
		],
		'>', \$output, '2>&1');
}
wait_for("SELECT count(*) = 50 FROM pg_stat_activity
	WHERE query LIKE 'INSERT INTO answers%' AND wait_event_type = 'Extension'");
kill CONT => $pid;
ok($clients->finish, '50 sessions: all came to their end');
is( $observer->query_safe(
		q(SELECT count(*), bool_and(answer = 'trimmed') FROM answers)),
	'50|t',
	'50 sessions: each was told that it was done');
is(trims($pid), $trims + 1, '50 sessions: it was done once');

# The same while it is awake, so that requests come while it trims
$observer->query_safe('TRUNCATE answers');
{
	local %ENV = $node->_get_env();
	IPC::Run::run(
		[
			'pgbench', '-n', '-c', 50, '-t', 4, '-f', "$directory/ask.sql",
			'postgres'
		],
		'>', \$output, '2>&1');
}
is( $observer->query_safe(
		q(SELECT count(*), bool_and(answer = 'trimmed') FROM answers)),
	'200|t',
	'50 sessions, awake: each was told that it was done');
is($session->query_safe('EXECUTE last'),
	'still prepared', '50 sessions: it works afterwards');

#
# A whole pool with one statement
#
$session->quit;
my %pool;
foreach my $number (1 .. 8)
{
	my $member = open_session($node);
	$pool{ backend_pid($member) } = $member;
}
# A session whose client has gone is idle as well, for a moment.
wait_for_ended($observer, values %pool);
my @pids = sort { $a <=> $b } keys %pool;
my @in_transaction = splice @pids, 0, 2;
$pool{$_}->query_safe('BEGIN') foreach @in_transaction;
$pool{$_}->query_safe($bloat) foreach @pids[ 0, 1 ];
my $all = $observer->query_safe(
	"SELECT s.pid, t.outcome
	FROM pg_session_memory s, pg_session_memory_trim(s.pid, 60000) t
	WHERE s.state = 'idle' ORDER BY s.pid");
is( $all,
	join("\n", map { "$_|trimmed" } @pids),
	'a pool: each of the idle sessions was trimmed');
is( $observer->query_safe(
		"SELECT count(*), count(last_trim_at) FROM pg_session_memory
		WHERE state = 'idle'"),
	'6|6',
	'a pool: as the view says');
is( $observer->query_safe(
		"SELECT count(*), count(last_trim_at) FROM pg_session_memory
		WHERE state = 'idle in transaction'"),
	'2|0',
	'a pool: the others were left alone');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory
		WHERE trimmed_bytes > $given_back AND pid IN ($pids[0], $pids[1])"),
	2,
	'a pool: it gave memory back');

# By a role that watches over it: sessions of superusers are passed over, and
# so are those in a transaction, each with its reason.
my %others;
foreach my $role ('owner', 'other')
{
	my $member = open_session($node, 'postgres', $role);
	$others{ backend_pid($member) } = $member;
}
$node->safe_psql('postgres', 'CREATE ROLE watcher LOGIN
	IN ROLE pg_monitor, pg_signal_backend');
wait_for_ended($observer, values %pool, values %others);
$observer->query_safe('SET ROLE watcher');
my %expected = (
	map({ $_ => 'not permitted' } keys %pool),
	map({ $_ => 'trimmed' } keys %others));
$all = $observer->query(
	"SELECT s.pid, t.outcome
	FROM pg_session_memory s, pg_session_memory_trim(s.pid, 60000) t
	WHERE s.backend_type = 'client backend' AND s.pid <> pg_backend_pid()
	ORDER BY s.pid");
is( $all,
	join("\n",
		map { "$_|$expected{$_}" } sort { $a <=> $b } keys %expected),
	'a pool, by a role that watches: all that it may');
is( scalar(() = $observer->{stderr} =~ /WARNING:  permission denied/g),
	8, 'a pool, by a role that watches: a warning for each of the others');
unlike($observer->{stderr}, qr/ERROR/,
	'a pool, by a role that watches: no error');
$observer->{stderr} = '';
$observer->query_safe('RESET ROLE');
$_->quit foreach values %others;
$_->quit foreach values %pool;

#
# Interrupts that arrive while a session trims itself, asked by another one:
# there is nothing that could be cancelled, and what ends the session ends it.
#
my $started = $node->safe_psql('postgres',
	"SELECT backend_start FROM pg_stat_activity
	WHERE backend_type = 'checkpointer'");
append_to_file("$directory/disturb.sql",
	"SELECT pg_cancel_backend(pid), pg_reload_conf(), pg_log_backend_memory_contexts(pid)
	FROM pg_stat_activity WHERE application_name = 'disturbed';\n");
append_to_file("$directory/trim.sql",
	"SELECT pg_session_memory_trim(pid, 60000)
	FROM pg_stat_activity WHERE application_name = 'disturbed';\n");
append_to_file("$directory/notify.sql",
	"SELECT pg_notify('channel', 'x');\n");

$session = open_session($node);
$session->query_safe($bloat);
$session->query_safe(
	"LISTEN channel; SET application_name = 'disturbed';
	PREPARE all_parts AS SELECT count(*) FROM part");
$pid = backend_pid($session);
$trims = trims($pid);
{
	local %ENV = $node->_get_env();
	my @clients = map {
		IPC::Run::start(
			[
				'pgbench', '-n', '-c', 2, '-T', 5, '-f', "$directory/$_.sql",
				# Few enough that nobody has to read them meanwhile
				$_ eq 'notify' ? ('-R', 20) : (), 'postgres'
			],
			'>', \$output, '2>&1')
	} qw(disturb trim notify);
	is((grep { $_->finish } @clients), 3,
		'interrupts: no client saw an error');
}
# Two clients ask all the time for 5 s.  Each trim takes some milliseconds; 20
# are far below what the slowest machine did.
cmp_ok(trims($pid) - $trims, '>=', 20, 'interrupts: it trimmed itself often');
like($session->query_safe('EXECUTE all_parts'),
	qr/^0$/m, 'interrupts: it was not disturbed');
is(backend_pid($session) =~ /^$pid$/m, 1, 'interrupts: it is the same session');

# Commands of its own between all this
foreach my $round (1 .. 5)
{
	my $end = open_session($node);
	my $end_pid = backend_pid($end);

	$end->query_safe($bloat);
	$end->query_safe("SET application_name = 'disturbed'");
	start_statement($observer,
		"SELECT count(pg_session_memory_trim($end_pid)) FROM generate_series(1, 100000)"
	);
	# After a while that is different each time
	usleep(20000 * $round);
	is( $node->safe_psql('postgres',
			"SELECT pg_terminate_backend($end_pid, 60000)"),
		't',
		"round $round: a session that is asked all the time can be terminated");
	$node->safe_psql('postgres',
		"SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE query LIKE 'SELECT count(pg\\_session\\_memory\\_trim%'");
	$observer->query('SELECT');
	$observer->{stderr} = '';
	$end->{run}->finish;
}
$session->quit;

# The same for a session that trims itself in a query
foreach my $end (
	[ 'cancelled', 'SELECT pg_cancel_backend(%d)',
		qr/canceling statement due to user request/ ],
	[ 'terminated', 'SELECT pg_terminate_backend(%d, 60000)',
		qr/terminating connection due to administrator command/ ])
{
	my ($what, $command, $message) = @$end;

	$session = open_session($node);
	$pid = backend_pid($session);
	start_statement($session,
		'SELECT sum(released_bytes) FROM generate_series(1, 10000000) g,
			LATERAL pg_session_memory_trim(g > 0)');
	wait_for_trims($pid, 20);
	$node->safe_psql('postgres', sprintf $command, $pid);
	if ($what eq 'cancelled')
	{
		$session->query('SELECT');
		like($session->{stderr}, $message, "own trims: can be $what");
		$session->{stderr} = '';
		is($session->query_safe('SELECT count(*) FROM part'),
			'0', 'own trims: it goes on');
		$session->quit;
	}
	else
	{
		$session->{run}->finish;
		like($session->{stderr}, $message, "own trims: can be $what");
	}
}
is( $node->safe_psql(
		'postgres', "SELECT backend_start FROM pg_stat_activity
	WHERE backend_type = 'checkpointer'"),
	$started,
	'no crash');

#
# Where the library is not preloaded, a session cannot be asked, also if both
# have it.  Its own memory it can give back.
#
$observer->quit;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
$observer = open_session($node);
$session = open_session($node);
$pid = backend_pid($session);
foreach my $round ('not loaded', 'loaded')
{
	($answer, $messages) = ask($observer, $pid, 1000);
	like(
		$messages,
		qr/\bERROR:  pg_session_memory must be loaded via "shared_preload_libraries"$/m,
		"$round: an error");
	$observer->query('SELECT');
	is( $observer->query_safe(
			"DO \$\$ BEGIN PERFORM pg_session_memory_trim($pid);
			EXCEPTION WHEN object_not_in_prerequisite_state THEN END \$\$;
			SELECT 'caught'"),
		'caught',
		"$round: with its code");
	is((ask($observer, backend_pid($observer), 1000))[0],
		'trimmed', "$round: the own session can be");
	$session->query_safe('SELECT caches_dropped FROM pg_session_memory_trim()');
}
$observer->quit;
$session->quit;
unlike(
	slurp_file($node->logfile),
	qr/PANIC|TRAP|was terminated by signal/,
	'no sign of a crash in the log');
$node->stop;

done_testing();
