# Inside a transaction block a session measures itself as well: at the end of
# each command, and once it has been idle in the block for idle_delay.  A
# transaction that somebody has forgotten is the worst case there is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ProtocolClient;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $MB = 1024 * 1024;
my $PREPARED = 3000;

# The tree of such a statement with all columns of pg_class takes 11 kB at
# least, so 3,000 of them take more than 30 MB on every version.
my $STATEMENT = q(SELECT * FROM pg_class WHERE relname = 'pg_class');
my $RETAINED = 30 * $MB;

my $node = start_watching_server(
	'block', q(
pg_session_memory.max_overhead = 1
pg_session_memory.context_threshold = '16MB'
pg_session_memory.idle_delay = '200ms'
max_prepared_transactions = 2
));
my $observer = open_session($node);
my $user = $node->safe_psql('postgres', 'SELECT current_user');

# Waits until the session has published what it retains, and sees to it that
# all that tells of bloat tells of it while the transaction is still open.
sub tells_of_bloat
{
	my ($pid, $offset, $what) = @_;

	ok( $node->poll_query_until(
			'postgres', "SELECT coalesce(retained_bytes, 0) >= $RETAINED
				FROM pg_session_memory WHERE pid = $pid"),
		"$what: what is retained is published");
	my $row = published($observer, $pid);
	is($row->{state}, 'idle in transaction', "$what: in the block");
	is($row->{status}, 'bloated', "$what: status");
	cmp_ok($row->{growth_bytes}, '>=', $RETAINED - 5 * $MB, "$what: growth");
	cmp_ok($row->{peak_bytes}, '>=', $RETAINED, "$what: peak");
	cmp_ok(
		$observer->query_safe(
			"SELECT count(*) FROM pg_session_memory_bloat WHERE pid = $pid"),
		'>=', 1,
		"$what: a row in pg_session_memory_bloat");
	cmp_ok(
		$observer->query_safe(
			"SELECT count(*) FROM pg_session_memory_events
				WHERE pid = $pid AND kind = 'context'"),
		'>=', 1,
		"$what: an event");
	like(log_since($node, $offset), qr/\[$pid\].*session memory over threshold/,
		"$what: a line in the log");
}

#
# 3,000 prepared statements, and a client that goes away without a COMMIT
#
my $session = open_session($node);
my $pid = backend_pid($session);
my $offset = log_end($node);
my $many = PostgreSQL::Test::Utils::tempdir() . '/many.sql';
append_to_file($many,
	join('', map { "PREPARE p$_ AS $STATEMENT;\n" } 1 .. $PREPARED));
$session->query_safe('BEGIN');
$session->query_safe("\\i $many");
tells_of_bloat($pid, $offset, 'PREPARE');
$session->query_safe('ROLLBACK');
is(published($observer, $pid)->{status}, 'bloated',
	'PREPARE: a rollback takes no prepared statement back');
$session->query_safe('DEALLOCATE ALL');
ok( $node->poll_query_until(
		'postgres', "SELECT status = 'ok' FROM pg_session_memory WHERE pid = $pid"),
	'PREPARE: DEALLOCATE ALL does');
$session->quit;

# The same by the protocol's own message, with no statement executed
my $client = ProtocolClient->new($node, $user);
$pid = $client->query('SELECT pg_backend_pid()')->[1]{columns}[0];
$offset = log_end($node);
$client->query('BEGIN');
$client->send(map { ProtocolClient::parse("p$_", $STATEMENT) } 1 .. $PREPARED);
$client->send(ProtocolClient::sync());
# A ParameterStatus can be among the answers.
like(ProtocolClient::types($client->response), qr/^1{$PREPARED}S?Z$/,
	'Parse messages: all are answered');
tells_of_bloat($pid, $offset, 'Parse messages');
$client->close;

#
# Each kind of command is measured at its end
#
$session = open_session($node);
$pid = backend_pid($session);
$session->query_safe('SET pg_session_memory.max_overhead = 100');
$session->query_safe('CREATE TABLE t (a int)');
my $file = PostgreSQL::Test::Utils::tempdir() . '/file';

# All that is there is retained, but MessageContext and what hangs from it.
sub is_measured
{
	my ($statement, $what) = @_;
	my $before = published($observer, $pid)->{measured_at};

	$session->query($statement);
	$session->{stderr} = '';
	my $row = published($observer, $pid);
	my $left_out = $observer->query_safe(
		"SELECT sum(total_bytes) FROM pg_session_memory_contexts($pid)
			WHERE 'MessageContext' IN (name, parent)");

	cmp_ok($row->{measured_at}, 'gt', $before, "$what: measured at its end");
	is( $row->{retained_bytes},
		$row->{context_bytes} - $left_out,
		"$what: what is published is what the session has now");
	return $row;
}

$session->query_safe('BEGIN');
is_measured('SELECT 1', 'query');
is_measured('SELECT 1 \; SELECT 2', 'two queries in one message');
is_measured('PREPARE s AS SELECT 1', 'PREPARE');
is_measured('EXECUTE s', 'EXECUTE');
is_measured('INSERT INTO t SELECT generate_series(1, 100)', 'INSERT');
is_measured('DECLARE c CURSOR FOR SELECT a FROM t', 'DECLARE');
is_measured('FETCH 10 FROM c', 'FETCH');
is_measured('CLOSE c', 'CLOSE');
is_measured("COPY t TO STDOUT \\g $file", 'COPY TO');
is_measured("\\copy t FROM '$file'", 'COPY FROM');
is_measured('SET work_mem = 1024', 'SET');
is_measured('SAVEPOINT a', 'SAVEPOINT');
is_measured('SELECT 1/0', 'error in execution');
is_measured('ROLLBACK TO a', 'ROLLBACK TO');
is_measured('SELECT nothing', 'error in analysis');
is_measured('ROLLBACK TO a', 'ROLLBACK TO');
is_measured('RELEASE a', 'RELEASE');
is_measured('CREATE TABLE u (a int)', 'CREATE TABLE');
is_measured('COMMIT AND CHAIN', 'COMMIT AND CHAIN');
is_measured('SELECT 1', 'query in the next block');
is_measured("PREPARE TRANSACTION 'prepared'", 'PREPARE TRANSACTION');
$session->query_safe("ROLLBACK PREPARED 'prepared'");

# What the transaction itself holds counts as long as it is open.
$session->query_safe('BEGIN');
my $begun = is_measured('SELECT 1', 'begun');
my $savepoints = PostgreSQL::Test::Utils::tempdir() . '/savepoints.sql';
append_to_file($savepoints, join('', map { "SAVEPOINT s$_;\n" } 1 .. 100));
my $held = is_measured("\\i $savepoints", '100 savepoints');
# Each takes some hundred bytes at least, and a context that is of 8 kB.
my $held_bytes = 100 * 1024;
cmp_ok($held->{transaction_bytes},
	'>', $begun->{transaction_bytes} + $held_bytes,
	'100 savepoints: are in transaction_bytes');
cmp_ok($held->{retained_bytes}, '>', $begun->{retained_bytes} + $held_bytes,
	'100 savepoints: are retained');
my $over = is_measured('COMMIT', 'the end');
cmp_ok($over->{retained_bytes}, '<', $held->{retained_bytes} - $held_bytes,
	'the end: they are gone');

# Execute messages of one portal, which run the executor alone
$client = ProtocolClient->new($node, $user);
$pid = $client->query('SELECT pg_backend_pid()')->[1]{columns}[0];
$client->query('SET pg_session_memory.max_overhead = 100');
$client->query('BEGIN');
$client->send(ProtocolClient::parse('', 'SELECT generate_series(1, 100)'),
	ProtocolClient::bind_portal('portal', ''), ProtocolClient::sync());
$client->response;
foreach my $part (1 .. 2)
{
	my $before = published($observer, $pid)->{measured_at};

	$client->send(ProtocolClient::execute_portal('portal', 10), ProtocolClient::sync());
	is(ProtocolClient::types($client->response), 'D' x 10 . 'sZ',
		"Execute, part $part: ten rows");
	cmp_ok(published($observer, $pid)->{measured_at}, 'gt', $before,
		"Execute, part $part: measured at its end");
}
$client->query('ROLLBACK');

#
# The status parameter comes with the response to the command that changed it,
# and stays through every kind of rollback, which undoes no PREPARE.
#
sub status_after
{
	my ($query, $expected, $what) = @_;

	is(ProtocolClient::statuses($client->query($query)), $expected, $what);
}

my $big = "PREPARE big AS SELECT 1 /*" . 'x' x (18 * $MB) . '*/';
status_after('BEGIN', '', 'status: nothing new at BEGIN');
status_after($big, 'bloated', 'status: bloated in the block');
status_after('SELECT 1', '', 'status: once');
status_after('SAVEPOINT a', '', 'status: nothing new at SAVEPOINT');
status_after('DEALLOCATE big', 'ok', 'status: ok in a subtransaction');
status_after($big, 'bloated', 'status: bloated in a subtransaction');
status_after('ROLLBACK TO a', '', 'status: stays after ROLLBACK TO');
status_after('SELECT 1/0', '', 'status: stays after an error');
status_after('ROLLBACK', '', 'status: stays after ROLLBACK');
is($client->{parameters}{'pg_session_memory.status'},
	'bloated', 'status: what the client knows');
is($client->query('SHOW pg_session_memory.status')->[1]{columns}[0],
	'bloated', 'status: what SHOW says');
status_after('BEGIN; DEALLOCATE big', 'ok', 'status: ok in another block');
status_after('SELECT 1/0', '', 'status: ok after an error');
status_after('ROLLBACK', '', 'status: ok after ROLLBACK');
is($client->query('SHOW pg_session_memory.status')->[1]{columns}[0],
	'ok', 'status: ok is what SHOW says');

# What made the session bloated can be the transaction itself: with its end
# the client hears that it is not any more, whatever max_overhead is.
$client->query('SET pg_session_memory.max_overhead = 0.01');
$client->query(q(SET pg_session_memory.idle_delay = '1d'));
$client->query(q(SET pg_session_memory.session_threshold = '30MB'));
$client->query('BEGIN');
$client->query(
	"DECLARE c CURSOR FOR SELECT repeat('x', 1000), g
		FROM generate_series(1, 50000) AS g ORDER BY 1, 2");
$client->query("SET LOCAL work_mem = '200MB'");
$client->query(
	"DECLARE d CURSOR FOR SELECT repeat('x', 1000), g
		FROM generate_series(1, 50000) AS g ORDER BY 1, 2");
$client->query('FETCH d');
# A threshold that changes is a reason to look.
$client->query(q(SET LOCAL pg_session_memory.session_threshold = '31MB'));
is($client->{parameters}{'pg_session_memory.status'},
	'bloated', 'status: bloated by an open cursor');
status_after('COMMIT', 'ok', 'status: ok with the end of the transaction');
$client->close;

#
# max_overhead: commands in a block are passed over as others are, and the
# session looks once more when it is idle in the block
#
# 3,000 measurements of at least 10 us are more than it can have saved, and
# the earnings of 200 s at 0.01 per cent.
my $owe = PostgreSQL::Test::Utils::tempdir() . '/owe.sql';
append_to_file($owe, "SELECT 1 \\g $file\n" x 3000);

foreach my $end ('COMMIT', 'an error and ROLLBACK')
{
	my $pid = backend_pid($session);

	$session->query_safe('RESET ALL');
	$session->query_safe("SET pg_session_memory.idle_delay = '1d'");
	# What it has earned by now counts from its first command at this rate.
	$session->query_safe('SET pg_session_memory.max_overhead = 0.01');
	$session->query_safe('SET pg_session_memory.max_overhead = 100');
	$session->query_safe("\\i $owe");
	$session->query_safe('SET pg_session_memory.max_overhead = 0.01');
	$session->query_safe('BEGIN');
	my $owing = published($observer, $pid);
	$session->query_safe(retain('big', 8 * $MB));
	is(published($observer, $pid)->{measured_at},
		$owing->{measured_at}, "$end: not measured while it owes");
	$session->query_safe("SET pg_session_memory.idle_delay = '300ms'");
	if ($end ne 'COMMIT')
	{
		# The savepoint keeps the setting.
		$session->query_safe('SAVEPOINT a');
		$session->query('SELECT 1/0');
		$session->{stderr} = '';
	}
	ok( $node->poll_query_until(
			'postgres', "SELECT retained_bytes >= 8 * $MB
				FROM pg_session_memory WHERE pid = $pid"),
		"$end: looks when it is idle in the block");
	my $looked = published($observer, $pid);
	like($looked->{state}, qr/^idle in transaction/,
		"$end: and is still in the block");
	sleep(1);
	is(published($observer, $pid)->{measured_at},
		$looked->{measured_at}, "$end: looks only once");
	# The look is no part of the transaction.
	$session->query_safe('DEALLOCATE big') if $end eq 'COMMIT';
	$session->query_safe($end eq 'COMMIT' ? 'COMMIT' : 'ROLLBACK');
	is($session->query_safe('SELECT 1'), '1', "$end: the session goes on");
	$session->query('DEALLOCATE ALL');
}

# Parallel workers' messages and the look share an interrupt.  Both arrive
# where they belong.
$session->query_safe('RESET ALL');
$session->query_safe('SET pg_session_memory.max_overhead = 0.01');
$session->query_safe('SET ' . parallel_setting($node) . ' = on');
$session->query_safe("SET pg_session_memory.idle_delay = '10ms'");
$session->query_safe('BEGIN');
is($session->query_safe('SELECT count(*) FROM pg_class') > 0, 1,
	'parallel query: in the block') foreach 1 .. 20;
$session->query_safe("SET pg_session_memory.idle_delay = '300ms'");
$session->query_safe('RESET ' . parallel_setting($node));
$session->query_safe(retain('big', 8 * $MB));
$pid = backend_pid($session);
ok( $node->poll_query_until(
		'postgres', "SELECT retained_bytes >= 8 * $MB
			FROM pg_session_memory WHERE pid = $pid"),
	'parallel query: a look follows');
$session->query_safe('COMMIT');

# A look that comes due while a command runs waits for its end.
$session->query_safe('DEALLOCATE ALL');
$session->query_safe('BEGIN');
$session->query_safe(retain('big', 8 * $MB));
$session->query_safe("SET pg_session_memory.idle_delay = '100ms'");
$session->query_safe('SELECT 1');
$session->query_safe('SELECT pg_sleep(0.5)');
ok( $node->poll_query_until(
		'postgres', "SELECT retained_bytes >= 8 * $MB
			FROM pg_session_memory WHERE pid = $pid"),
	'a look that is due while a command runs: comes after it');
$session->query_safe('COMMIT');

#
# Short blocks, one after the other, in which nothing grows.  The transaction's
# own context comes and goes, and is no reason to look: the session looks at
# itself each 100 ms at most, whatever it may spend on that, after some looks
# in a row at the beginning.
#
my $BLOCKS = 1000;
my $seen = PostgreSQL::Test::Utils::tempdir() . '/seen';
my $blocks = PostgreSQL::Test::Utils::tempdir() . '/blocks.sql';
append_to_file($blocks, "\\o $seen\n" .
	  ("BEGIN;\nSELECT measured_at FROM pg_session_memory_measure(pg_backend_pid(), NULL);\nCOMMIT;\n"
		  x $BLOCKS) . "\\o\n");
$session->query_safe('DEALLOCATE ALL');
$session->query_safe("SET pg_session_memory.idle_delay = '1d'");
$session->query_safe('SET pg_session_memory.max_overhead = 99');
$session->query_safe("\\i $blocks") foreach 1 .. 2;
my %looks = map { $_ => 1 } grep { /^\d{4}-/ } split /\n/, slurp_file($seen);
my $milliseconds = $session->query_safe(
	"SELECT 1000 * extract(epoch FROM max(a::timestamptz) - min(a::timestamptz))
		FROM unnest(ARRAY['" . join("','", keys %looks) . "']) AS a");
cmp_ok(scalar keys %looks, '>=', 1, 'short blocks: there are looks');
cmp_ok(scalar keys %looks, '<=', $milliseconds / 100 + 20,
	'short blocks: each 100 ms at most');

$session->quit;
$observer->quit;
$node->stop;

done_testing();
