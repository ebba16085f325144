# The view of events: what has happened, newest first, whoever reads it and
# however many sessions write at once.

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

# Small enough to go round, large enough for what is looked at before that.
my $max_events = 64;
my $node = start_watching_server(
	'events', qq(
pg_session_memory.max_events = $max_events
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = -1
compute_query_id = on
));
my $observer = open_session($node);

sub events
{
	my ($condition) = @_;

	return rows_of($observer,
		'SELECT * FROM pg_session_memory_events WHERE ' . ($condition // 'true'));
}

is(scalar(@{ events() }), 0, 'nothing has happened yet');

#
# Each kind, with all its columns
#
$node->safe_psql('postgres', 'CREATE ROLE worker LOGIN SUPERUSER');
my $session = open_session($node, 'postgres', 'worker');
my $pid = backend_pid($session);
$session->query_safe("SET application_name = 'a pool'");
my $who = $observer->query_safe(
	"SELECT pid, to_json(backend_start), usename, datname, application_name
		FROM pg_stat_activity WHERE pid = $pid");

# Brings something about, and returns the events of it, oldest first, with who
# it was checked.
sub events_of
{
	my ($statement, $what) = @_;
	my $before = $observer->query_safe('SELECT now()');

	# It may be the end of the session, and so of psql.
	eval { $session->query($statement); };
	$session->{stderr} = '';
	my @events = reverse @{ events("at > '$before'") };
	foreach my $event (@events)
	{
		is( join('|',
				@$event{qw(pid)}, qq("$event->{backend_start}"),
				@$event{qw(usename datname application_name)}),
			$who, "$what: the session is the one that did it");
		# psql sends it as it came, with the newline before the semicolon.
		is($event->{query} =~ s/\s*;$//r,
			$statement, "$what: the statement is the one");
		like($event->{query_id}, qr/^-?\d+$/, "$what: it has a query id");
	}
	return @events;
}

$session->query_safe("SET pg_session_memory.context_threshold = '16MB'");
my ($event, @others) = events_of(retain('big', 20 * $MB), 'context');
is(scalar(@others), 0, 'context: one event');
is($event->{kind}, 'context', 'context: kind');
is($event->{context}, 'CachedPlanSource', 'context: name');
# Beside the 20 MB there are other sources of some kB.
cmp_ok($event->{bytes}, '>=', 20 * $MB, 'context: bytes');
cmp_ok($event->{bytes}, '<', 21 * $MB, 'context: bytes of this group only');
is($event->{threshold_bytes}, 16 * $MB, 'context: threshold');
my $row = published($observer, $pid);
is($event->{session_bytes}, $row->{retained_bytes}, 'context: session');
is($event->{query_id}, $row->{query_id}, 'context: query id');
my $context_id = $event->{id};

($event, @others) = events_of('DEALLOCATE ALL', 'fell');
is(scalar(@others), 0, 'fell: one event');
is($event->{kind}, 'fell', 'fell: kind');
is($event->{context}, 'CachedPlanSource', 'fell: name');
is($event->{threshold_bytes}, 16 * $MB, 'fell: threshold');
ok(!defined $event->{bytes} || $event->{bytes} < 16 * $MB, 'fell: bytes');
is($event->{session_bytes}, published($observer, $pid)->{retained_bytes},
	'fell: session');
is($event->{id}, $context_id + 1, 'fell: the id that follows');

$session->query_safe("SET pg_session_memory.context_threshold = -1;
	SET pg_session_memory.session_threshold = '16MB'");
($event, @others) = events_of(retain('big', 20 * $MB), 'session');
is(scalar(@others), 0, 'session: one event');
is($event->{kind}, 'session', 'session: kind');
is($event->{context}, undef, 'session: of no one name');
is($event->{threshold_bytes}, 16 * $MB, 'session: threshold');
is($event->{bytes}, $event->{session_bytes}, 'session: bytes');
is($event->{bytes}, published($observer, $pid)->{retained_bytes},
	'session: as published');
($event, @others) = events_of('DEALLOCATE ALL', 'session fell');
is(scalar(@others), 0, 'session fell: one event');
is($event->{kind}, 'fell', 'session fell: kind');
is($event->{context}, undef, 'session fell: of no one name');
cmp_ok($event->{bytes}, '<', 16 * $MB, 'session fell: bytes');

# A new process has some MB of memory of its own.
($event, @others) =
  events_of("SET pg_session_memory.process_threshold = '100kB'", 'process');
is(scalar(@others), 0, 'process: one event');
is($event->{kind}, 'process', 'process: kind');
is($event->{threshold_bytes}, 100 * 1024, 'process: threshold');
# It is read a moment apart: pages that were touched in between.
$row = published($observer, $pid);
cmp_ok(abs($event->{bytes} - $row->{anon_bytes} - $row->{swap_bytes}),
	'<', 256 * 1024, 'process: bytes');
is($event->{session_bytes}, $row->{retained_bytes}, 'process: session');
($event, @others) =
  events_of('SET pg_session_memory.process_threshold = -1', 'process fell');
is(scalar(@others), 0, 'process fell: one event');
is($event->{kind}, 'fell', 'process fell: kind');

($event, @others) =
  events_of('SELECT FROM pg_session_memory_trim()', 'trimmed');
is(scalar(@others), 0, 'trimmed: one event');
is($event->{kind}, 'trimmed', 'trimmed: kind');
is($event->{bytes}, published($observer, $pid)->{trimmed_bytes},
	'trimmed: bytes given back');
is($event->{threshold_bytes}, undef, 'trimmed: no threshold');

$session->query_safe("SET pg_session_memory.session_threshold = '100kB'");
($event, @others) =
  events_of('SELECT pg_session_memory_recycle()', 'recycled');
is(scalar(@others), 0, 'recycled: one event');
is($event->{kind}, 'recycled', 'recycled: kind');
cmp_ok($event->{bytes}, '>', 100 * 1024, 'recycled: bytes');
is($event->{threshold_bytes}, 100 * 1024, 'recycled: threshold');
eval { $session->quit };

# The session has gone, its events have not.
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'ended session: is gone');
my $events = events();
is( join(' ', map { $_->{kind} } @$events),
	'recycled session trimmed fell process fell session fell context',
	'ended session: its events are there, newest first');
is_deeply(
	[ map { $_->{id} } @$events ],
	[ reverse 1 .. @$events ],
	'ids count up from 1');
is_deeply(
	[ map { $_->{at} } @$events ],
	[ reverse sort map { $_->{at} } @$events ],
	'times go with ids');

#
# More names over the threshold than are shown at a time: one that has stepped
# back behind larger ones has not fallen, and has not crossed anew when they are
# gone.
#
$session = open_session($node, 'postgres', 'worker');
$pid = backend_pid($session);

sub kinds_of
{
	my ($statement) = @_;
	my $last = $observer->query_safe(
		'SELECT coalesce(max(id), 0) FROM pg_session_memory_events');

	$session->query_safe($statement);
	return join ' ', map { $_->{kind} }
	  reverse @{ events("id > $last AND pid = $pid") };
}

$session->query_safe("SET plan_cache_mode = force_generic_plan;
	SET temp_buffers = '16MB';
	SET pg_session_memory.context_threshold = '1MB'");
is( kinds_of(
		q(DECLARE held CURSOR WITH HOLD FOR
			SELECT repeat('x', 1000) FROM generate_series(1, 2000))),
	'context',
	'many names: a cursor');
is( kinds_of(
		q(DO $$ BEGIN EXECUTE 'PREPARE large AS SELECT '''
			|| repeat('x', 4 * 1024 * 1024) || ''''; END $$)),
	'context context',
	'many names: a source and a query');
is(kinds_of('EXECUTE large \\g /dev/null'), 'context', 'many names: a plan');
is( kinds_of(
		q(CREATE TEMP TABLE buffers AS
			SELECT repeat('x', 1000) FROM generate_series(1, 20000))),
	'context',
	'many names: buffers; the cursor has not fallen');
is(kinds_of('SELECT 1'), '', 'many names: nothing happens');
is(kinds_of('DEALLOCATE large'),
	'fell fell fell',
	'many names: three fall; the cursor has not crossed anew');
is(kinds_of('CLOSE held'), 'fell', 'many names: the cursor falls');
$session->quit;

#
# Who may see what: as in pg_stat_activity
#
$node->safe_psql(
	'postgres', q(
CREATE ROLE one LOGIN;
CREATE ROLE two LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE member LOGIN IN ROLE one;
ALTER ROLE one SET pg_session_memory.session_threshold = '100kB';
));
my $one = open_session($node, 'postgres', 'one');
$one->query_safe("SELECT 'a secret'");
my $id = $observer->query_safe('SELECT max(id) FROM pg_session_memory_events');

sub visible_to
{
	my ($role) = @_;

	return $node->safe_psql(
		'postgres',
		"SET SESSION AUTHORIZATION $role;
		SELECT num_nonnulls(id, at, pid, usename, datname, application_name),
			num_nonnulls(backend_start, kind, bytes, threshold_bytes,
				session_bytes, query_id, query)
		FROM pg_session_memory_events WHERE id = $id");
}

# All there is but the context's name, which a session's event has none of.
is(visible_to('one'), '6|7', "permissions: one's own sessions");
is(visible_to('member'), '6|7', "permissions: those of one's groups");
is(visible_to('monitor'), '6|7', 'permissions: all, for pg_monitor');
is(visible_to('two'), '6|0', 'permissions: that there was one, else');
# A role that the session takes on does not make it another's session.
$observer->query_safe('SET ROLE one');
is( $observer->query_safe(
		q(SELECT DISTINCT usename, query IS NULL FROM pg_session_memory_events
			ORDER BY 1)),
	"one|f\nworker|t",
	'permissions: those of the current role');
$observer->query_safe('RESET ROLE');
$one->quit;

my ($status, $stdout, $stderr) =
  $node->psql('postgres', 'SELECT pg_session_memory_reset_events()',
	extra_params => [ '-U', 'two' ]);
isnt($status, 0, 'reset: not for everybody');
like($stderr, qr/permission denied for function pg_session_memory_reset_events/,
	'reset: says so');
$status = $node->psql('postgres', 'SELECT pg_session_memory_reset_events()',
	extra_params => [ '-U', 'monitor' ]);
isnt($status, 0, 'reset: not for pg_monitor');
cmp_ok(scalar(@{ events() }), '>', 0, 'reset: what was refused has done nothing');
$node->safe_psql('postgres',
	'GRANT EXECUTE ON FUNCTION pg_session_memory_reset_events() TO two');
$node->safe_psql(
	'postgres',
	'SELECT pg_session_memory_reset_events()',
	extra_params => [ '-U', 'two' ]);
is(scalar(@{ events() }), 0, 'reset: for those who were granted it');

#
# Nobody fills the ring: a trim that gave back nothing is no event, and a session
# adds at most 30 in a minute.  This takes far less than that.
#
$observer->query_safe('SELECT pg_session_memory_reset_events()');
my $flood = open_session($node, 'postgres', 'two');
$pid = backend_pid($flood);
$observer->query_safe("SELECT FROM pg_session_memory_trim($pid, 180000)")
  foreach 1 .. 20;
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_events
			WHERE pid = $pid AND bytes = 0"),
	0,
	'flood: none for nothing');
cmp_ok(
	$observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_events WHERE pid = $pid"),
	'<', 20, 'flood: not one for each request');
my $began = time;
$flood->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 200 LOOP
		EXECUTE format('PREPARE big AS SELECT %L', repeat('x', 100000));
		DEALLOCATE big;
		PERFORM pg_session_memory_trim(false);
	END LOOP; END $$));
my $minutes = int((time - $began) / 60) + 2;
my $added = $observer->query_safe(
	"SELECT count(*) FROM pg_session_memory_events WHERE pid = $pid");
cmp_ok($added, '>', 0, 'flood: there are some');
cmp_ok($added, '<=', 30 * $minutes, 'flood: and no more than 30 a minute');
note "$added events of 200 trims";
$flood->quit;

#
# Many sessions that all cross at once, in a ring that goes round many times.
# Everything that a session writes carries its number: its name, its threshold
# and its statement.
#
# A session adds at most 30 events a minute, so it ends after one round of these.
my $crossings = 10;
my $script = PostgreSQL::Test::Utils::tempdir() . '/cross.sql';
append_to_file(
	$script, q(
\set threshold 100 + :client_id
SET application_name = 'client :client_id';
) . q(
SET pg_session_memory.session_threshold = :threshold /* :client_id crosses */;
SET pg_session_memory.session_threshold = -1 /* :client_id falls */;
) x $crossings);

# Rows whose fields do not belong together, in words.
sub mixed_rows
{
	my ($rows) = @_;
	my %name_of;
	my @wrong;

	foreach my $row (@$rows)
	{
		my ($client) = ($row->{application_name} // '') =~ /^client (\d+)$/;

		$client = 'none' unless defined $client;
		my $expected = $row->{kind} eq 'session' ? 'crosses' : 'falls';
		push @wrong, "$row->{id}: application $row->{application_name}"
		  if $client eq 'none';
		push @wrong, "$row->{id}: statement $row->{query}, client $client"
		  if $row->{query} !~ /\* $client $expected \*/;
		push @wrong, "$row->{id}: threshold $row->{threshold_bytes}"
		  if $client ne 'none'
		  && $row->{threshold_bytes} != (100 + $client) * 1024;
		# A process is one client.
		$name_of{"$row->{pid} $row->{backend_start}"}{$client} = 1;
	}
	foreach my $process (sort keys %name_of)
	{
		my @names = keys %{ $name_of{$process} };
		push @wrong, "process $process: clients @names"
		  if @names > 1;
	}
	return join "\n", @wrong;
}

# The newest first, each id one less than that before it.
sub in_order
{
	my ($rows) = @_;

	return !grep { $rows->[$_]{id} != $rows->[ $_ - 1 ]{id} - 1 } 1 .. $#$rows;
}

sub storm
{
	my ($clients, $rounds) = @_;
	my $what = "storm, $max_events events";
	my $last_id =
	  $observer->query_safe('SELECT max(id) FROM pg_session_memory_events') || 0;
	my $pgbench = IPC::Run::start(
		[
			'pgbench', '-n', '-C', '-c', $clients, '-j', 4, '-t', $rounds,
			'-f', $script, '-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>', \my $output, '2>', \my $errors);
	my $looks = 0;
	my $wrong = '';
	my $in_order = 1;

	while ($pgbench->pumpable)
	{
		my $rows = events("application_name LIKE 'client%'");

		$looks++ if @$rows;
		$wrong .= mixed_rows($rows);
		$in_order &&= in_order($rows);
		$pgbench->pump_nb;
	}
	ok($pgbench->finish, "$what: nobody failed") or diag $errors;
	cmp_ok($looks, '>', 0, "$what: looked at while it went on");
	note "$looks times";
	is($wrong, '', "$what: no row that is mixed from several, meanwhile");
	ok($in_order, "$what: ids without gaps, meanwhile");

	my $rows = events();
	is(scalar(@$rows), $max_events, "$what: as many as are kept");
	is(mixed_rows($rows), '', "$what: no row that is mixed from several");
	ok(in_order($rows), "$what: the last ones, without gaps");
	is( $rows->[0]{id},
		$last_id + $clients * $rounds * $crossings * 2,
		"$what: none was lost");
}

$observer->query_safe('SELECT pg_session_memory_reset_events()');
# With one event in it, so that it is known where the ids stand: of one more
# client than there are.
$node->safe_psql('postgres', q(SET application_name = 'client 50';
	SET pg_session_memory.session_threshold = 150 /* 50 crosses */));
storm(50, 2);

# In a ring this small, who writes and who reads meet all the time; without
# lines in the log they do so faster.
$observer->quit;
$max_events = 3;
$node->append_conf(
	'postgresql.conf', qq(
pg_session_memory.max_events = $max_events
pg_session_memory.log_level = debug5
));
$node->restart;
$observer = open_session($node);
storm(50, 40);

#
# Statements in another database's encoding are shown as far as they can be
#
$node->safe_psql('postgres',
	q(CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'
		LC_COLLATE 'C' LC_CTYPE 'C'));
my $latin = open_session($node, 'latin');
$latin->query_safe("SET client_encoding = 'LATIN1'");
$latin->query_safe(
	"SET pg_session_memory.session_threshold = '100kB' /* \xe4\xf6 */");
$latin->quit;
$events = events("datname = 'latin' AND kind = 'session'");
is(scalar(@$events), 1, 'encoding: the event is there');
like($events->[0]{query},
	qr{^SET pg_session_memory.session_threshold = '100kB' /\* .* \*/},
	'encoding: and readable');

#
# How many: decided when the server starts
#
my ($result) = $node->psql('postgres', 'SET pg_session_memory.max_events = 7',
	stderr => \$stderr);
like($stderr, qr/cannot be changed without restarting the server/,
	'max_events: not while the server runs');

$observer->quit;
$node->append_conf('postgresql.conf', 'pg_session_memory.max_events = 0');
$node->restart;
my $offset = log_end($node);
is( $node->safe_psql(
		'postgres',
		"SET pg_session_memory.log_level = log;
		SET pg_session_memory.session_threshold = '100kB';
		SELECT count(*) FROM pg_session_memory_events;
		SELECT pg_session_memory_reset_events();
		SELECT count(*) FROM pg_session_memory_bloat"),
	"0\n\n1",
	'max_events 0: none, and all else as ever');
like(log_since($node, $offset), qr/session memory over threshold/,
	'max_events 0: the log as well');
$node->stop;

# PostgreSQL's way with a setting of a library that it cannot accept
$node->append_conf('postgresql.conf', 'pg_session_memory.max_events = 10000001');
$offset = log_end($node);
$node->start;
like(
	log_since($node, $offset),
	qr/10000001 is outside the valid range for parameter "pg_session_memory.max_events"/,
	'max_events too large: says so');
is($node->safe_psql('postgres', 'SHOW pg_session_memory.max_events'),
	'1024', 'max_events too large: the default is taken');
$node->stop;

# The largest takes some 14 GB.  Whether a machine has that is not for us to
# say; with 4 GB of address space it has not.
$node->append_conf('postgresql.conf', 'pg_session_memory.max_events = 10000000');
$offset = log_end($node);
my $command =
  "ulimit -v 4000000 && exec pg_ctl -w -D '" . $node->data_dir . "' -l '"
  . $node->logfile . "' start";
isnt(system('bash', '-c', "$command >/dev/null 2>&1"),
	0, 'out of shared memory: the server does not start');
like(log_since($node, $offset),
	qr/FATAL:  could not map anonymous shared memory: Cannot allocate memory/,
	'out of shared memory: says so');
like(log_since($node, $offset),
	qr/HINT:.*request for a shared memory segment exceeded available memory/,
	'out of shared memory: says what to do');

# With a few more than by default it starts as ever.
$node->append_conf('postgresql.conf', 'pg_session_memory.max_events = 100000');
$node->start;
is( $node->safe_psql(
		'postgres',
		"SET pg_session_memory.session_threshold = '100kB';
		SELECT count(*) FROM pg_session_memory_events"),
	'1',
	'max_events large: works');
$node->stop;

done_testing();
