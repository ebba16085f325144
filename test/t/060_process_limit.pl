# process_limit: who may set it, where it counts, what is said of it.

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
my $node = start_watching_server('limit', q(
jit = on
autovacuum = off
compute_query_id = on
pg_session_memory.process_limit = 300MB
));
my $bomb = q(SELECT array_agg(repeat('x', 90) || g)
	FROM generate_series(1, 10000000) g);

$node->safe_psql(
	'postgres', q(
CREATE ROLE limited LOGIN;
ALTER ROLE limited SET pg_session_memory.process_limit = '50MB';
CREATE ROLE other LOGIN;
CREATE DATABASE small;
ALTER DATABASE small SET pg_session_memory.process_limit = '40MB';
));

my $observer = open_session($node);
my $session;

sub limit_of
{
	my ($pid) = @_;

	return $observer->query_safe(
		"SELECT limit_bytes FROM pg_session_memory WHERE pid = $pid");
}

# The limit of the session, in MB as another session sees it; '' for none.
sub limit
{
	my $bytes = limit_of(backend_pid($session));

	return $bytes eq '' ? '' : $bytes / $MB;
}

sub outcome
{
	my ($statements) = @_;

	my $output = $session->query($statements);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return ($output, $error);
}

sub new_session
{
	$session->quit if defined $session;
	$session = open_session($node, @_);
	$session->query_safe("\\set VERBOSITY verbose\n");
}

#
# JIT is on and a limit is set: the log says so at start.
#
SKIP:
{
	skip 'no JIT compilation in this server', 1
	  if $observer->query_safe('SELECT pg_jit_available()') ne 't';
	like(slurp_file($node->logfile),
		qr/WARNING:  pg_session_memory.process_limit is set and jit is on/,
		'a warning at start');
}

#
# Where it comes from.
#
new_session();
is(limit(), 300, 'of the server');
new_session('postgres', 'limited');
is(limit(), 50, 'of the role');
new_session('small', 'other');
is(limit(), 40, 'of the database');

#
# Who may change it.
#
foreach my $statement ('SET pg_session_memory.process_limit = -1',
	'ALTER ROLE other SET pg_session_memory.process_limit = 1',
	'RESET pg_session_memory.process_limit')
{
	my (undef, $error) = outcome("$statement;");
	like($error, qr/ERROR:  42501/, "not without privileges: $statement");
}
is(limit(), 40, 'and it stays');

#
# What a statement that fails says, in the client, the log and the events.
#
new_session('postgres', 'limited');
my $offset = log_end($node);
my $pid = backend_pid($session);
my (undef, $error) = outcome("$bomb;");
like($error, qr/ERROR:\ \ 53200:\ out\ of\ memory\n
	DETAIL:\ \ Failed\ on\ request\ of\ size\ \d+\ in\ memory\ context
	\ "\w+"\.\ The\ process\ holds\ \d+\ MB\ of\ private\ memory,
	\ pg_session_memory.process_limit\ is\ 50\ MB\.
	\ Largest:\ "\w+"\ with\ \d+\ MB\ in\ \d+,.*contexts\.
	\ Query\ id\ -?\d+\.\n
	HINT:\ \ Let\ the\ statement\ handle\ less.*process_limit/x,
	'DETAIL and HINT');
my $log = log_since($node, $offset);
like($log, qr/ERROR:  out of memory.*DETAIL:  Failed.*process_limit is.*Query id.*STATEMENT:  SELECT array_agg/s,
	'the log has them, and the statement');
is( $observer->query_safe(
		"SELECT kind, usename, threshold_bytes / $MB, bytes > 30 * $MB,
			query_id IS NOT NULL, query LIKE 'SELECT array_agg%'
		FROM pg_session_memory_events WHERE pid = $pid AND kind = 'limited'"),
	'limited|limited|50|t|t|t',
	'an event');
is(limit(), 50, 'it counts again');
is($observer->query_safe(
		"SELECT limited FROM pg_session_memory_statements
		WHERE query LIKE 'SELECT array_agg%' AND limited > 0"),
	'1', 'and is counted for its query id');

# Others that say "out of memory" are not ours.
outcome('SELECT 1;');
(undef, $error) = outcome(
	q(DO $$BEGIN RAISE 'out of memory' USING ERRCODE = '53200'; END$$;));
unlike($error, qr/process_limit/, 'nothing is said of an error by RAISE');
(undef, $error) = outcome(q(SELECT repeat('x', 1100000000);));
unlike($error, qr/process_limit/, 'nor of a request that is invalid');

# A session that warns with that code is not free of the limit for it.
(undef, $error) = outcome(
	"DO \$\$BEGIN RAISE WARNING 'x' USING ERRCODE = '53200';
		EXECUTE \$x\$$bomb\$x\$; END\$\$;");
like($error, qr/ERROR:  53200/, 'a WARNING lifts nothing');

#
# A failed block can be ended, and goes on after ROLLBACK TO.
#
(undef, $error) = outcome("BEGIN; SAVEPOINT a; $bomb;");
like($error, qr/53200/, 'fails in a block');
outcome('ROLLBACK TO a;');
is(limit(), 50, 'limited after ROLLBACK TO');
(undef, $error) = outcome("$bomb;");
like($error, qr/53200/, 'fails once more');
outcome('ROLLBACK;');
is(limit(), 50, 'limited after ROLLBACK');

#
# ALTER ROLE is for new sessions; a reload is for all, from their next command.
#
new_session('postgres', 'other');
my $first = limit();
$observer->query_safe(
	q(ALTER ROLE other SET pg_session_memory.process_limit = '60MB'));
is(limit(), $first, 'ALTER ROLE leaves a session as it is');
$node->append_conf('postgresql.conf',
	"pg_session_memory.process_limit = 250MB\n");
$node->reload;
ok( (sub {
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if limit() == 250;
		select undef, undef, undef, 0.1;
	}
	return 0;
	})->(),
	'a reload reaches a session');
new_session('postgres', 'other');
is(limit(), 60, 'ALTER ROLE reaches the next one');

#
# Values at the edges.
#
# (A library can't be loaded then either, which is another error.)
new_session();
$session->query_safe('SET jit = off');
foreach my $value ('0', '1kB', '1MB')
{
	(undef, $error) =
	  outcome("SET pg_session_memory.process_limit = '$value';");
	like($error, qr/NOTICE:  00000: the process holds \d+ kB already/,
		"below what is there, $value: a NOTICE");
	(undef, $error) = outcome("$bomb;");
	like($error, qr/53200/, "$value: it cannot grow");
	my ($output) = outcome('SELECT 1;');
	is($output, '1', "$value: but works");
}
(undef, $error) = outcome("SET pg_session_memory.process_limit = '2000GB';");
is($error, '', 'more than any machine has');
is(limit(), 2000 * 1024, 'is a limit as well');
(undef, $error) = outcome('SET pg_session_memory.process_limit = -2;');
like($error, qr/22023/, 'less than -1 is none');
outcome('SET pg_session_memory.process_limit = -1;');
is(limit(), '', '-1: no limit');
outcome('RESET pg_session_memory.process_limit;');
is(limit(), 250, 'RESET: that of the server');
outcome("BEGIN; SET pg_session_memory.process_limit = '70MB'; ROLLBACK;");
is(limit(), 250, 'SET in a transaction that is rolled back');
outcome("BEGIN; SET LOCAL pg_session_memory.process_limit = '70MB';");
is(limit(), 70, 'SET LOCAL');
outcome('COMMIT;');
is(limit(), 250, 'until the end of the transaction');
outcome('BEGIN; SET pg_session_memory.process_limit = -1; ROLLBACK;');
is(limit(), 250, 'no limit in a transaction that is rolled back');
outcome("SET pg_session_memory.process_limit = '75MB';");
outcome('BEGIN; RESET pg_session_memory.process_limit; ROLLBACK;');
is(limit(), 75, 'RESET in a transaction that is rolled back');
my ($output) = outcome(
	"SET pg_session_memory.process_limit = '80MB'; $bomb;");
is(limit(), 80, 'set and passed in one message');

# What a session leaves at its end is dropped, however full it is.
new_session();
$session->query_safe(
	q(DO $$BEGIN FOR i IN 1..300 LOOP
		EXECUTE format('CREATE TEMP TABLE t%s (a int PRIMARY KEY)', i);
	END LOOP; END$$));
outcome("SET pg_session_memory.process_limit = '1kB';");
$offset = log_end($node);
new_session();
ok( $node->poll_query_until(
		'postgres',
		q(SELECT count(*) = 0 FROM pg_class WHERE relpersistence = 't')),
	'temporary tables are dropped at the end of a full session');
unlike(log_since($node, $offset), qr/FATAL/, 'without an error');

#
# Which processes have one.
#
my $processes = $observer->query_safe(
	q(SELECT string_agg(DISTINCT backend_type, ', ' ORDER BY backend_type)
	FROM pg_session_memory WHERE limit_bytes IS NOT NULL));
is($processes, 'client backend', 'no other process has a limit');


my $walsender_output;
(undef, $walsender_output) = $node->psql('postgres',
	q(SELECT limit_bytes FROM pg_session_memory WHERE pid = pg_backend_pid()),
	replication => 'database');
is($walsender_output, 250 * $MB, 'a walsender has');

#
# A hard limit of the operating system that is lower.
#
$node->stop;
SKIP:
{
	my $limits = `sh -c 'ulimit -d 200000 && ulimit -H -d' 2>&1`;
	skip 'no lower hard limit can be set', 3 if $limits !~ /^200000$/m;

	my $place = -s $node->logfile;
	system('sh', '-c', "ulimit -d 200000 && exec pg_ctl -w -D '"
		  . $node->data_dir . "' -l '" . $node->logfile . "' start >/dev/null");
	my $started = slurp_file($node->logfile, $place);
	like($started,
		qr/WARNING:  pg_session_memory.process_limit is above the hard limit/,
		'a lower hard limit: a WARNING in the log');
	my ($status, $out, $err) = $node->psql('postgres',
		q(SET pg_session_memory.process_limit = '230MB';
		SELECT limit_bytes / 1024 FROM pg_session_memory
		WHERE pid = pg_backend_pid()));
	like($err, qr/WARNING:.*above the hard limit/, 'a WARNING for SET');
	is($out, '200000', 'the hard one counts');
	system('pg_ctl', '-w', '-D', $node->data_dir, 'stop', '-m', 'fast');
}

done_testing();
