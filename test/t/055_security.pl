# The promises of SECURITY.md that no other test is about: what a role without
# privileges can neither see nor change, nor make others do.

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
my $node = start_watching_server(
	'security', q(
pg_session_memory.record_interval = '100ms'
pg_session_memory.statement_floor = 0
compute_query_id = on
));

$node->safe_psql(
	'postgres', q(
CREATE ROLE nobody_special LOGIN;
CREATE ROLE someone LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend;
CREATE TABLE readable AS SELECT 1 AS a;
GRANT SELECT ON readable TO PUBLIC;
));

my $superuser = $node->safe_psql('postgres', 'SELECT user');
my %session = map { $_ => open_session($node, 'postgres', $_) }
  qw(nobody_special someone monitor signaller), $superuser;
my %pid = map { $_ => backend_pid($session{$_}) } keys %session;

# What a role gets for a statement: its output, or the SQLSTATE.
sub outcome
{
	my ($role, $statement) = @_;
	my $session = $session{$role};

	my $output =
	  $session->query("\\set VERBOSITY sqlstate\n$statement");
	my ($state) = $session->{stderr} =~ /ERROR:  (\w{5})/;
	$session->{stderr} = '';
	return defined $state ? "SQLSTATE $state" : $output;
}

#
# Every function that takes a pid, of whatever version: the sessions of others
# are refused, or nothing is told of them.
#
my @with_pid = split /\n/, $session{$superuser}->query_safe(
	q(SELECT p.proname || '(%s' || CASE WHEN p.pronargs - p.pronargdefaults > 1
			THEN CASE WHEN p.proisstrict THEN ', 1' ELSE ', NULL' END
			ELSE '' END || ')'
	FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
		AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid
	WHERE e.extname = 'pg_session_memory' AND p.proargnames[1] = 'pid'
		AND p.proargtypes[0] = 'integer'::regtype
	ORDER BY 1));
# By default it takes a minute.
s/_sample\(%s\)/_sample(%s, '1 ms', 2)/ foreach @with_pid;
cmp_ok(scalar(@with_pid), '>=', 8, 'functions that take a pid are found');
foreach my $function (@with_pid)
{
	foreach my $other ('someone', $superuser)
	{
		my $call = sprintf $function, $pid{$other};
		if ($function =~ /_trim/)
		{
			is( outcome('nobody_special', "SELECT t::text FROM $call AS t"),
				'("not permitted",,,,,,,,)',
				"a role without privileges: $call of $other");
			next;
		}
		my $expected = $function =~ /_measure/ ? 't' : 'SQLSTATE 42501';

		is( outcome(
				'nobody_special',
				"SELECT count(f) = 0 FROM (SELECT $call AS f) AS c
					WHERE NOT f IS NULL"),
			$expected,
			"a role without privileges: $call of $other");
		is( outcome(
				'monitor',
				"SELECT count(*) > 0 FROM (SELECT $call AS f) AS c
					WHERE NOT f IS NULL"),
			't',
			"pg_monitor: $call of $other");
	}
}
is( outcome('signaller',
		"SELECT outcome FROM pg_session_memory_trim($pid{someone})"),
	'asked', 'pg_signal_backend: may have a session trim itself');
is( outcome('signaller',
		"SELECT outcome FROM pg_session_memory_trim($pid{$superuser})"),
	'not permitted', 'pg_signal_backend: but not one of a superuser');
is( outcome('signaller',
		"SELECT t::text FROM pg_session_memory_trim($pid{someone}, 180000) AS t"),
	'(trimmed,,,,,,,,)',
	'pg_signal_backend: and is not told what that gave');
is( outcome('signaller', "SELECT pg_session_memory_process($pid{someone})"),
	'SQLSTATE 42501', 'pg_signal_backend: nor see what it holds');
is( outcome('monitor',
		"SELECT outcome FROM pg_session_memory_trim($pid{someone})"),
	'not permitted', 'pg_monitor: may not have it trim itself');

#
# A secret in the text of a statement: in a cached plan, a cursor, an event, a
# sample, what statements took and the name of an object.  Who has no privileges
# finds it nowhere.
#
$node->safe_psql('postgres',
	"ALTER ROLE someone SET pg_session_memory.session_threshold = '5MB'");
$session{someone}->quit;
$session{someone} = open_session($node, 'postgres', 'someone');
$pid{someone} = backend_pid($session{someone});
$session{someone}->query_safe('PREPARE p AS SELECT \'secret 4711\', a FROM readable');
$session{someone}->query_safe('DECLARE "secret 4711" CURSOR WITH HOLD FOR
	SELECT \'secret 4711\' FROM readable');
$session{someone}->query_safe(
	'CREATE TEMP TABLE "secret 4711" (a integer PRIMARY KEY)');
$session{someone}->query_safe(
	"/* secret 4711 */ " . retain('over', 8 * $MB));
$node->poll_query_until('postgres',
	"SELECT count(*) > 0 FROM pg_session_memory_history_sessions
	WHERE pid = $pid{someone} AND query LIKE '%secret 4711%'")
  or die 'nothing was recorded';

# The statement that looks does not have it in its own text.
sub secrets
{
	my ($role) = @_;
	my @found;

	foreach my $source (
		'pg_session_memory', 'pg_session_memory_bloat',
		'pg_session_memory_events', 'pg_session_memory_pools',
		'pg_session_memory_history', 'pg_session_memory_history_sessions',
		'pg_session_memory_statements',
		"pg_session_memory_get_events()", "pg_session_memory_get_bloat()",
		'pg_session_memory_get_history()',
		'pg_session_memory_get_history_sessions()',
		'pg_session_memory_get_statements()',
		'pg_session_memory_last_statement()',
		map { sprintf $_, $pid{someone} } grep { !/_trim/ } @with_pid)
	{
		push @found, $source
		  if outcome($role,
			"SELECT count(*) FROM (SELECT f::text AS t FROM $source AS f) AS c
				WHERE t LIKE '%secret ' || 4711 || '%'") =~ /^[1-9]\d*$/;
	}
	return join ', ', @found;
}
is( secrets('monitor'),
	'pg_session_memory_events, pg_session_memory_history_sessions, '
	  . 'pg_session_memory_statements, pg_session_memory_get_events(), '
	  . 'pg_session_memory_get_history_sessions(), '
	  . 'pg_session_memory_get_statements(), '
	  . "pg_session_memory_contexts($pid{someone}), "
	  . "pg_session_memory_idents($pid{someone})",
	'pg_monitor: sees texts of statements in these');
is(secrets('nobody_special'), '', 'a role without privileges: in none');
is(secrets('signaller'), '', 'pg_signal_backend: in none');

# Of other roles' events it sees that they are.
is( outcome('nobody_special',
		"SELECT count(*) > 0, count(backend_start), count(kind), count(context),
			count(bytes), count(threshold_bytes), count(session_bytes),
			count(query_id), count(query)
		FROM pg_session_memory_events"),
	't|0|0|0|0|0|0|0|0',
	'a role without privileges: that there are events, and no more');
# And so of what statements of theirs took, and of samples.
is( outcome('nobody_special',
		"SELECT count(*) > 0, count(queryid), count(query)
		FROM pg_session_memory_statements WHERE userid <> 'nobody_special'::regrole"),
	't|0|0',
	'a role without privileges: what statements took, but not which');
is( outcome('nobody_special',
		"SELECT count(*) > 0, count(backend_start), count(state),
			count(query_id), count(nullif(query, '<insufficient privilege>')),
			count(anon_bytes), count(context_bytes), count(catalog_cache_bytes),
			count(largest_context), count(largest_context_bytes)
		FROM pg_session_memory_history_sessions WHERE pid = $pid{someone}"),
	't|0|0|0|0|0|0|0|0|0',
	'a role without privileges: that a session was among the largest');
is( outcome('nobody_special', 'SELECT count(*) FROM pg_session_memory_bloat'),
	0,
	'a role without privileges: nothing of who is bloated');

#
# Settings
#
foreach my $setting (
	'track = off', 'context_threshold = -1', 'session_threshold = -1',
	'process_threshold = 0', 'log_level = warning', 'max_overhead = 100')
{
	is(outcome('nobody_special', "SET pg_session_memory.$setting"),
		'SQLSTATE 42501', "SET $setting: refused");
	is( outcome('nobody_special',
			"ALTER ROLE nobody_special SET pg_session_memory.$setting"),
		'SQLSTATE 42501',
		"ALTER ROLE of oneself SET $setting: refused");
}
foreach my $role ('nobody_special', $superuser)
{
	is(outcome($role, "SET pg_session_memory.status = 'ok'"),
		'SQLSTATE 55P02', "SET status by $role: refused");
	is(outcome($role, 'SET pg_session_memory.max_events = 0'),
		'SQLSTATE 55P02', "SET max_events by $role: refused");
}
foreach my $what ('events', 'history', 'statements')
{
	foreach my $role ('nobody_special', 'monitor')
	{
		is( outcome($role, "SELECT pg_session_memory_reset_$what()"),
			'SQLSTATE 42501', "reset_$what by $role: refused");
	}
}

#
# Nothing runs with the rights of somebody else, and nothing is for all that
# could be for few: as the catalogs have it
#
is( $session{$superuser}->query_safe(
		q(SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d
			ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
				AND d.deptype = 'e'
			JOIN pg_extension e ON e.oid = d.refobjid
		WHERE e.extname = 'pg_session_memory'
			AND (p.prosecdef OR p.proleakproof))),
	'',
	'no function has the rights of its owner');
is( $session{$superuser}->query_safe(
		q(SELECT string_agg(proname, ', ' ORDER BY proname) FROM pg_proc p
		WHERE proname LIKE 'pg\_session\_memory%'
			AND NOT has_function_privilege('public', oid, 'EXECUTE'))),
	'pg_session_memory_reset_events, pg_session_memory_reset_history, '
	  . 'pg_session_memory_reset_statements',
	'what takes from all is not for all');
is( $session{$superuser}->query_safe(
		q(SELECT c.oid::regclass, has_table_privilege('public', c.oid,
			'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
		FROM pg_class c WHERE relname LIKE 'pg\_session\_memory%'
			AND has_table_privilege('public', c.oid,
				'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'))),
	'',
	'views are for reading');
# A stricter administrator can have it so.
$session{$superuser}->query_safe(
	'REVOKE EXECUTE ON FUNCTION pg_session_memory_contexts(integer, integer) FROM PUBLIC');
is(outcome('nobody_special', 'SELECT count(*) FROM pg_session_memory_contexts()'),
	'SQLSTATE 42501', 'EXECUTE that was revoked is needed, also for oneself');

#
# A flood of requests: the session follows them with one trim, when it is free.
#
my $asked = $session{someone};
my $trims = "SELECT count(*) FROM pg_session_memory_events
	WHERE pid = $pid{someone} AND kind = 'trimmed'";
my $before = $session{$superuser}->query_safe($trims);
$asked->query_safe('BEGIN');
is( outcome('signaller',
		"SELECT count(*) FROM generate_series(1, 5000)
			WHERE (pg_session_memory_trim($pid{someone})).outcome = 'in transaction'"),
	5000,
	'a flood of requests for trims: taken');
$asked->query_safe('COMMIT');
is( $session{$superuser}->query_safe(
		"SELECT outcome FROM pg_session_memory_trim($pid{someone}, 180000)"),
	'trimmed',
	'a flood of requests: answered');
# The wait may have added one.
cmp_ok($session{$superuser}->query_safe($trims) - $before,
	'<=', 2, 'a flood of requests: one trim for all of them');

# Who trims for nothing, again and again, displaces nobody's event.
$session{nobody_special}->query_safe(
	'SELECT count(f) FROM (SELECT pg_session_memory_trim(false) AS f
		FROM generate_series(1, 100)) t');
cmp_ok(
	$session{$superuser}->query_safe(
		"SELECT count(*) FROM pg_session_memory_events
		WHERE pid = $pid{nobody_special} AND kind = 'trimmed'"),
	'<', 50, 'a flood of trims: no event for those that gave nothing back');

#
# A function of an index cannot end the session of who analyzes the table.
#
$session{$superuser}
  ->query_safe('GRANT CREATE ON SCHEMA public TO nobody_special');
$session{nobody_special}->query_safe(
	q(CREATE FUNCTION ends(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
		'BEGIN PERFORM public.pg_session_memory_recycle(); RETURN a; END';
	CREATE TABLE trap AS SELECT g AS a FROM generate_series(1, 100) AS g;
	CREATE INDEX ON trap (ends(a))));
$session{$superuser}->query_safe(
	"SET pg_session_memory.session_threshold = '100kB'");
is(outcome($superuser, 'ANALYZE trap'),
	'SQLSTATE 42501', 'recycle() in a function of an index is refused');
is($session{$superuser}->query_safe('SELECT pg_backend_pid()'),
	$pid{$superuser}, 'and the session goes on');

$_->quit foreach values %session;
$node->stop;

done_testing();
