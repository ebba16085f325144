# What statements took: by query id, of the last one, in the log, and who may
# see it.

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
my $max_statements = 200;
my $node = start_watching_server(
	'statements', qq(
pg_session_memory.max_statements = $max_statements
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = -1
pg_session_memory.process_threshold = -1
compute_query_id = on
work_mem = 256MB
maintenance_work_mem = 128MB
max_parallel_workers_per_gather = 0
jit = off
));
my $observer = open_session($node);
$observer->query_safe('SET pg_session_memory.track_statements = none');
my $user = $observer->query_safe('SELECT user');
my $session = open_session($node);
my $pid = backend_pid($session);

$session->query_safe('CREATE TABLE big AS
	SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 200000) AS g;
	CREATE TABLE small AS SELECT 1 AS id');

sub statements
{
	my ($condition) = @_;

	return rows_of($observer,
		'SELECT * FROM pg_session_memory_statements WHERE '
		  . ($condition // 'true'));
}

sub reset_statements
{
	$observer->query_safe('SELECT pg_session_memory_reset_statements()');
}

# Runs a statement alone; returns the row of it, which must be the only one
# that is not nested, and what the session says of its last statement.
sub taken
{
	my ($statement, $what) = @_;

	reset_statements();
	# Its result may be large, and nobody looks at it.
	$session->query("$statement \\g /dev/null");
	$session->{stderr} = '';
	my $last = rows_of($session,
		'SELECT * FROM pg_session_memory_last_statement()')->[0];
	my $rows = statements("toplevel AND query !~ 'last_statement'");
	is(scalar(@$rows), 1, "$what: one row");
	return ($rows->[0] // {}, $last);
}

#
# The three figures, each where another one misses the memory
#
my ($row, $last) =
  taken('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x', 'sort');
is($row->{calls}, 1, 'sort: one call');
is($row->{query}, 'SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x',
	'sort: its text');
# 200,000 rows of some 70 bytes and as many sort tuples of 24.
cmp_ok($row->{max_exec_bytes}, '>', 15 * $MB, 'sort: the executor has it');
cmp_ok($row->{max_exec_bytes}, '<', 60 * $MB, 'sort: and not much more');
cmp_ok($row->{max_peak_bytes}, '>', 0.6 * $row->{max_exec_bytes},
	'sort: so had the process');
is($last->{"${_}_bytes"}, $row->{"max_${_}_bytes"},
	"sort: last_statement says the same of $_")
  foreach qw(plan exec peak worker);
is($last->{queryid}, $row->{queryid}, 'sort: and has its query id');
is($row->{mean_exec_bytes}, $row->{max_exec_bytes}, 'sort: mean of one');

($row, $last) =
  taken('SELECT count(DISTINCT t) FROM big', 'count(DISTINCT)');
# From 16 on the planner sorts for it, and the executor has what the sort needs.
cmp_ok(
	$node->pg_version >= 16 ? $row->{max_exec_bytes} : $row->{max_peak_bytes},
	'>', 12 * $MB, 'count(DISTINCT): the process had it');

my $list = join ',', 1 .. 20000;
($row, $last) = taken("SELECT 1 FROM small WHERE id IN ($list)", 'IN list');
cmp_ok($row->{max_plan_bytes}, '>', 4 * $MB, 'IN list: the planner had it');
cmp_ok($row->{max_plan_bytes}, '>', $row->{max_exec_bytes},
	'IN list: more than the executor');
is(length $row->{query}, 1023, 'IN list: the text is cut to a kB');

($row, $last) = taken(
	'DO $$DECLARE a int[]; BEGIN
		a := array(SELECT g FROM generate_series(1, 1000000) AS g); END$$',
	'DO');
is($row->{max_exec_bytes}, undef, 'DO: has no executor of its own');
cmp_ok($row->{max_peak_bytes}, '>', 8 * $MB, 'DO: its variables');

foreach my $command (
	'CREATE INDEX big_length ON big (md5(t), length(t))',
	'CREATE TABLE other AS SELECT t FROM big ORDER BY t || id',
	'COPY (SELECT t FROM big ORDER BY t || 1) TO \'/dev/null\'',
	'VACUUM FULL big')
{
	# What malloc has kept of the one before is not taken anew.
	$session->query_safe('SELECT pg_session_memory_trim()');
	my ($name) = $command =~ /^(\w+ ?[A-Z]*)/;
	($row) = taken($command, $name);
	cmp_ok($row->{max_peak_bytes} // 0, '>', $MB, "$name: has a peak");
	is($row->{query}, $command, "$name: its text");
}

#
# What a session shows of its last command
#
$session->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x');
my $shown = published($observer, $pid);
cmp_ok($shown->{statement_bytes}, '>', 15 * $MB, 'view: statement_bytes');
ok(defined $shown->{statement_peak_bytes}, 'view: statement_peak_bytes');
$session->query_safe('SELECT 1');
cmp_ok(published($observer, $pid)->{statement_bytes},
	'<', $MB, 'view: of the last command');

#
# What is counted: the floor, and what is nested
#
reset_statements();
$session->query_safe('SELECT count(*) FROM small') foreach 1 .. 5;
is(scalar(@{ statements() }), 0, 'floor: small ones are not there');
$session->query_safe('SET pg_session_memory.statement_floor = 0');
$session->query_safe('SELECT count(*) FROM small') foreach 1 .. 5;
is(statements("query ~ 'FROM small'")->[0]{calls}, 5, 'floor: 0 counts all');

# A prepared statement is planned five times, and then has a plan of its own.
reset_statements();
$session->query_safe('PREPARE p (int) AS SELECT count(*) FROM small WHERE id = $1');
my $before = published($observer, $pid)->{retained_bytes};
$session->query_safe('EXECUTE p(1);' x 1000) foreach 1 .. 10;
is(statements("query ~ '^PREPARE' AND max_exec_bytes > 0")->[0]{calls},
	10000, 'prepared: each of 10,000 executions counts once');
cmp_ok(published($observer, $pid)->{retained_bytes} - $before,
	'<', 256 * 1024, 'prepared: and leaves nothing behind');
$session->query_safe('DISCARD ALL');
$session->query_safe('SET pg_session_memory.statement_floor = 0');

$session->query_safe(
	"CREATE FUNCTION inlined() RETURNS SETOF text LANGUAGE sql STABLE
		AS 'SELECT t FROM big ORDER BY t';
	CREATE FUNCTION called() RETURNS bigint LANGUAGE sql VOLATILE
		AS 'SELECT count(DISTINCT t) + 1 FROM big';
	CREATE FUNCTION procedural() RETURNS bigint LANGUAGE plpgsql
		AS 'DECLARE n bigint; BEGIN
			SELECT count(*) INTO n FROM (SELECT t FROM big ORDER BY t) AS x;
			BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END;
			SELECT n + count(*) INTO n FROM small; RETURN n; END'");
foreach my $function ('inlined', 'called', 'procedural')
{
	$session->query_safe('SET pg_session_memory.track_statements = top');
	taken("SELECT count($function) FROM $function()", "$function, top");
	is(scalar(@{ statements('NOT toplevel') }),
		0, "$function, top: nothing nested");
	$session->query_safe('SET pg_session_memory.track_statements = \'all\'');
	taken("SELECT count($function) FROM $function()", "$function, all");
	my $nested = join ' ', map { $_->{query} =~ /FROM (\w+|\()/; $1 }
	  sort { $a->{query} cmp $b->{query} } @{ statements('NOT toplevel') };
	is( $nested,
		{ inlined => '', called => 'big', procedural => '( small' }
		->{$function},
		"$function, all: what is nested");
}
$session->query_safe('SET pg_session_memory.track_statements = none');
reset_statements();
$session->query_safe('SELECT procedural()');
is(scalar(@{ statements() }), 0, 'track_statements = none: none');
$session->query_safe('RESET pg_session_memory.track_statements;
	RESET pg_session_memory.statement_floor');

#
# Errors and cancels: the peak counts, and what comes after is not disturbed
#
my $large = 'SELECT 1 / (count(*) - 1000000)
	FROM (SELECT array_agg(g) FROM generate_series(1, 1000000) AS g GROUP BY g) AS x';
($row, $last) = taken($large, 'error');
is($row->{max_exec_bytes}, undef, 'error: the executor did not come to its end');
cmp_ok($row->{max_peak_bytes}, '>', 20 * $MB, 'error: its peak counts');
reset_statements();
$session->query_safe('SELECT pg_session_memory_trim()');
$session->query_safe('BEGIN; SAVEPOINT a');
$session->query($large);
$session->{stderr} = '';
$session->query_safe('ROLLBACK TO a; SELECT 1; COMMIT');
cmp_ok(statements("query ~ 'array_agg'")->[0]{max_peak_bytes}, '>', 20 * $MB,
	'error in a block: its peak counts');
$session->query_safe('SELECT pg_session_memory_trim()');
$session->query_safe('SET statement_timeout = 5000');
($row) = taken(
	"SELECT array_agg(g ORDER BY g), pg_sleep(CASE count(*) WHEN 1000000 THEN 100 END)
		FROM generate_series(1, 1000000) AS g", 'cancel');
cmp_ok($row->{max_peak_bytes} // 0, '>', 5 * $MB, 'cancel: its peak counts');
$session->query_safe('RESET statement_timeout');

#
# Cursors that live longer than a command
#
reset_statements();
$session->query_safe('SELECT pg_session_memory_trim()');
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT id, t FROM big ORDER BY t');
$session->query_safe('FETCH 10 FROM c');
$session->query_safe('SELECT 1');
$session->query_safe('FETCH 10 FROM c; CLOSE c; COMMIT');
my $rows = statements("query ~ '^DECLARE c'");
is(scalar(@$rows), 1, 'cursor: the query is what took it');
cmp_ok($rows->[0]{max_exec_bytes}, '>', 15 * $MB, 'cursor: executor');
cmp_ok($rows->[0]{max_peak_bytes}, '>', 5 * $MB, 'cursor: peak');
reset_statements();
$session->query_safe('BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT t FROM big ORDER BY t; COMMIT');
$session->query_safe('FETCH 10 FROM h');
$session->query_safe('CLOSE h');
cmp_ok(statements("query ~ '^DECLARE h'")->[0]{max_exec_bytes},
	'>', 10 * $MB, 'cursor WITH HOLD: executor');

#
# The extended protocol, a pipeline, and several statements in a message
#
my $client = ProtocolClient->new($node, $user);
my $sort = 'SELECT min(t) FROM (SELECT t FROM big ORDER BY t, %s) AS x';
reset_statements();
$client->send(ProtocolClient::extended(sprintf $sort, 'length(t)'),
	ProtocolClient::sync());
$client->response;
$rows = statements("query ~ 'min'");
is(scalar(@$rows) . ' ' . ($rows->[0]{calls} // 0),
	'1 1', 'extended protocol: one call');
cmp_ok($rows->[0]{max_exec_bytes}, '>', 10 * $MB, 'extended protocol: executor');
cmp_ok($rows->[0]{max_peak_bytes}, '>', 5 * $MB, 'extended protocol: peak');
cmp_ok($rows->[0]{max_plan_bytes}, '>=', 0, 'extended protocol: planner');

reset_statements();
$client->query('BEGIN');
$client->send((map { ProtocolClient::extended(sprintf $sort, $_) } 'id', 't || id', 'id + 1'),
	ProtocolClient::sync());
$client->response;
$client->query('COMMIT');
$rows = statements("query ~ 'min' AND max_exec_bytes > 10000000");
is(scalar(@$rows), 3, 'pipeline: three statements');
is(join(' ', map { $_->{calls} } @$rows), '1 1 1', 'pipeline: one call each');

reset_statements();
$client->query('SELECT 1; ' . sprintf($sort, 'id') . "; SELECT 2;\n" .
	sprintf($sort, 'id * 2') . '; SELECT 3');
$rows = statements("max_exec_bytes > 10000000");
is(join('|', sort map { $_->{query} } @$rows),
	join('|', sort(sprintf($sort, 'id'), sprintf($sort, 'id * 2'))),
	'several in a message: each has its own text');
$client->close;

#
# COPY from the client, and a replication connection
#
$node->safe_psql('postgres', "CREATE TABLE copied (t text)");
my $file = PostgreSQL::Test::Utils::tempdir_short() . '/lines';
append_to_file($file, "x\n" x 1000);
reset_statements();
$session->query_safe("SET pg_session_memory.statement_floor = 0");
$session->query_safe("\\copy copied FROM '$file'");
is(scalar(@{ statements("query ~* '^COPY'") }), 1, 'COPY from the client');
$session->query_safe("RESET pg_session_memory.statement_floor");
my ($code, $out) = $node->psql('postgres',
	"IDENTIFY_SYSTEM; SELECT count(*) FROM (SELECT t FROM big ORDER BY t) AS walsender",
	replication => 'database');
is($code, 0, 'a replication connection works');
cmp_ok(statements("query ~ 'walsender'")->[0]{max_exec_bytes},
	'>', 10 * $MB, 'SQL in a replication connection');

#
# What a command leaves behind, and parallel workers
#
reset_statements();
$session->query_safe(retain('kept', 6 * $MB));
$row = statements("left_bytes <> 0")->[0];
cmp_ok($row->{max_left_bytes}, '>', 5 * $MB, 'left: what it retains');
cmp_ok($row->{max_left_bytes}, '<', 8 * $MB, 'left: no more than that');
$session->query_safe('DEALLOCATE ALL');

$session->query_safe('SET max_parallel_workers_per_gather = 2;
	SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0');
($row) = taken('SELECT count(*) FROM (SELECT t FROM big GROUP BY t) AS x', 'workers');
cmp_ok($row->{max_worker_bytes}, '>', $MB, 'workers: what they took');
($row) = taken('SELECT count(*) FROM generate_series(1, 1000000)', 'no worker');
is($row->{max_worker_bytes}, 0, 'no worker: nothing of the statement before');
$session->query_safe('SET max_parallel_workers_per_gather = 0');
$session->query_safe('SET max_parallel_maintenance_workers = 2');
($row) = taken('CREATE INDEX big_id ON big (id, t)', 'CREATE INDEX');
cmp_ok($row->{max_worker_bytes}, '>', $MB, 'CREATE INDEX: its workers');

#
# The threshold: one line, one event
#
$session->query_safe("SET pg_session_memory.statement_threshold = '10MB'");
$observer->query_safe('SELECT pg_session_memory_reset_events()');
my $offset = log_end($node);
$session->query_safe('SELECT count(*) FROM small');
unlike(log_since($node, $offset), qr/over threshold/, 'threshold: below it');
$session->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS told');
my $log = log_since($node, $offset);
my $lines = () = $log =~ /session memory over threshold/g;
is($lines, 1, 'threshold: one line');
like( $log,
	qr/LOG:  session memory over threshold: the statement took \d+ MB, pg_session_memory.statement_threshold is 10 MB\n/,
	'threshold: the line');
like( $log,
	qr/DETAIL:  Planner: .*, executor: \d+ MB, process at its peak: .*, parallel workers: .*\. Largest: "Caller tuples" with \d+ MB in 1, .* contexts\. Statement \(query id -?\d+\): SELECT count\(\*\) FROM \(SELECT \* FROM big ORDER BY t\) AS told\n/,
	'threshold: its detail');
like($log, qr/HINT:  Lower work_mem/, 'threshold: its hint');
my $events = rows_of($observer,
	"SELECT * FROM pg_session_memory_events WHERE kind = 'statement'");
is(scalar(@$events), 1, 'threshold: one event');
is($events->[0]{query}, 'SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS told',
	'threshold: text of the event');
cmp_ok($events->[0]{bytes}, '>', 15 * $MB, 'threshold: bytes of the event');
is($events->[0]{threshold_bytes}, 10 * $MB, 'threshold: threshold of the event');
$session->query_safe('RESET pg_session_memory.statement_threshold');

#
# Text is cut at a character's end
#
reset_statements();
# An even number of bytes before them, so that the last one fits by half.
my $umlauts = 'ä' x 700;
$session->query_safe("SELECT count(*) FROM (SELECT t FROM big ORDER BY t) AS x WHERE 'xy' <> '$umlauts'");
is( $observer->query_safe("SELECT octet_length(query) || ' ' || right(query, 1)
		FROM pg_session_memory_statements WHERE query ~ 'ää'"),
	'1022 ä', 'text: cut at the end of a character');

#
# More statements than there is room for: the large one stays, and one that
# comes now is there.  Nothing takes long.
#
reset_statements();
$session->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS largest');
$session->query_safe("SET pg_session_memory.statement_floor = 0");
# Each is a statement of its own: another number of columns
$session->query_safe(join ';', map { 'SELECT ' . join(',', (1) x $_) } 1 .. 1000);
$rows = statements();
is(scalar(@$rows), $max_statements, 'full: as many as there is room for');
is(scalar(grep { $_->{query} =~ /largest/ } @$rows), 1, 'full: the largest stays');
is(scalar(grep { $_->{query} eq 'SELECT ' . join(',', (1) x 200) } @$rows) > 0
	  || scalar(grep { length $_->{query} > 1000 } @$rows) > 0,
	1, 'full: late ones are there');
$session->query_safe("RESET pg_session_memory.statement_floor");

#
# Without query ids: all in one row; and the views of others
#
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE stats LOGIN IN ROLE pg_read_all_stats;
	GRANT SELECT ON big TO PUBLIC');
my $nobody = open_session($node, 'postgres', 'nobody');
my $stats = open_session($node, 'postgres', 'stats');
reset_statements();
$session->query_safe('SET compute_query_id = off');
$session->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x');
$session->query_safe('SELECT sum(id) FROM (SELECT * FROM big ORDER BY t) AS x');
$rows = statements();
is(scalar(@$rows), 1, 'no query ids: one row');
is($rows->[0]{queryid}, undef, 'no query ids: NULL');
is($rows->[0]{calls}, 2, 'no query ids: calls of all');
reset_statements();
$session->query_safe('SET compute_query_id = on');
$session->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x');
my $columns = 'SELECT num_nonnulls(queryid, query) || \' \' || (max_exec_bytes > 10000000)
	FROM pg_session_memory_statements WHERE userid = ' . "'$user'::regrole";
is($nobody->query_safe($columns), '0 true', 'another role: no id, no text');
is($stats->query_safe($columns), '2 true', 'pg_read_all_stats: both');
$nobody->query_safe('SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS mine');
is( $nobody->query_safe("SELECT query FROM pg_session_memory_statements WHERE userid = 'nobody'::regrole"),
	'SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS mine',
	'another role: its own');
foreach my $statement ('SELECT pg_session_memory_reset_statements()',
	'SET pg_session_memory.statement_threshold = 1',
	'SET pg_session_memory.track_statements = none',
	'SET pg_session_memory.statement_floor = 0')
{
	$nobody->query($statement);
	like($nobody->{stderr}, qr/permission denied/, "another role: $statement");
	$nobody->{stderr} = '';
}

# What pg_stat_statements has, if it is there: the same keys.
$_->quit foreach $session, $nobody, $stats, $observer;

#
# No room at all, and beside pg_stat_statements in either order
#
$node->append_conf('postgresql.conf', "pg_session_memory.max_statements = 0\n");
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x;
		SELECT exec_bytes > 10000000 FROM pg_session_memory_last_statement();
		SELECT count(*) FROM pg_session_memory_statements;
		SELECT pg_session_memory_reset_statements()'),
	"200000\nt\n0\n", 'max_statements = 0: no row, and all else works');

foreach my $order ('pg_session_memory, pg_stat_statements', 'pg_stat_statements, pg_session_memory')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$order'
pg_session_memory.max_statements = 100\n");
	$node->restart;
	$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
	$node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT * FROM big ORDER BY t) AS x');
	$node->safe_psql('postgres', 'PREPARE p AS SELECT count(DISTINCT t) FROM big; EXECUTE p');
	$node->safe_psql('postgres', 'CREATE TABLE t2 AS SELECT t FROM big ORDER BY t; DROP TABLE t2');
	is( $node->safe_psql('postgres',
			"SELECT string_agg(left(p.query, 12), '|' ORDER BY p.query) FROM pg_session_memory_statements m
			JOIN pg_stat_statements p USING (userid, dbid, toplevel, queryid)
			WHERE greatest(m.max_exec_bytes, m.max_peak_bytes) > 5000000"),
		'CREATE TABLE|PREPARE p AS|SELECT count', "$order: they join");
}

done_testing();
