# The view of bloat: who is over a threshold now, by how much, since when, and
# what to do.

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
	'bloat', q(
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = -1
));
my $observer = open_session($node);
$node->safe_psql(
	'postgres', q(
CREATE ROLE worker LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
GRANT SET ON PARAMETER pg_session_memory.context_threshold,
	pg_session_memory.session_threshold, pg_session_memory.process_threshold,
	pg_session_memory.track TO worker;
));

my $session = open_session($node, 'postgres', 'worker');
my $pid = backend_pid($session);
$session->query_safe("SET application_name = 'a pool'");

sub bloat
{
	return rows_of($observer,
		'SELECT * FROM pg_session_memory_bloat ORDER BY kind, context');
}

sub threshold
{
	my ($kind, $value) = @_;

	$session->query_safe("SET pg_session_memory.${kind}_threshold = '$value'");
}

is_deeply(bloat(), [], 'healthy: no row');
$session->query_safe(retain('below', 5 * $MB));
threshold('context', '16MB');
is_deeply(bloat(), [], 'below the threshold: no row');

#
# Contexts of one name
#
my $before = $observer->query_safe('SELECT to_json(now())');
$session->query_safe(retain('over', 15 * $MB));
my $rows = bloat();
is(scalar(@$rows), 1, 'context: a row');
my $row = $rows->[0];
my $seen = published($observer, $pid);
my $who = 'pid usename datname application_name client_addr state state_change';
is_deeply([ @$row{ split ' ', $who } ],
	[ @{ rows_of($observer, 'SELECT ' . join(', ', split ' ', $who)
			  . " FROM pg_stat_activity WHERE pid = $pid")->[0] }
		  { split ' ', $who } ],
	'context: whose it is, as in pg_stat_activity');
is($row->{usename}, 'worker', 'context: the role');
is($row->{kind}, 'context', 'context: kind');
is($row->{context}, 'CachedPlanSource', 'context: name');
is( $row->{bytes},
	$observer->query_safe(
		"SELECT sum(total_bytes) FROM pg_session_memory_contexts($pid)
			WHERE name = 'CachedPlanSource'"),
	'context: bytes of all contexts of the name');
is($row->{threshold_bytes}, 16 * $MB, 'context: threshold');
is($row->{since}, $seen->{measured_at}, 'context: since it was found');
cmp_ok(qq("$row->{since}"), 'gt', $before, 'context: not since before that');
like($row->{remedy}, qr/DEALLOCATE/, 'context: the remedy for cached plans');

# As it goes on
$session->query_safe(retain('more', 5 * $MB));
my $later = bloat()->[0];
cmp_ok($later->{bytes}, '>=', $row->{bytes} + 5 * $MB, 'later: bytes of now');
is($later->{since}, $row->{since}, 'later: since then still');
$session->query_safe('DEALLOCATE over');
is_deeply(bloat(), [], 'fell: no row');
$session->query_safe(retain('over', 15 * $MB));
cmp_ok(bloat()->[0]{since}, 'gt', $row->{since}, 'anew: since then');

#
# A row for each reason
#
threshold('session', '8MB');
threshold('process', '9MB');
$rows = bloat();
is( join(', ', map { "$_->{kind} " . ($_->{context} // '') . " $_->{threshold_bytes}" }
		  @$rows),
	'context CachedPlanSource ' . 16 * $MB . ', process  ' . 9 * $MB
	  . ', session  ' . 8 * $MB,
	'a row for each reason');
$seen = published($observer, $pid);
is($rows->[2]{bytes}, $seen->{retained_bytes}, 'session: bytes');
# It is read a moment apart: pages that were touched in between.
cmp_ok(abs($rows->[1]{bytes} - $seen->{anon_bytes} - $seen->{swap_bytes}),
	'<', 256 * 1024, 'process: bytes');
cmp_ok($rows->[0]{since}, 'lt', $rows->[2]{since}, 'each since its own time');
threshold('context', -1);
is(join(' ', map { $_->{kind} } @{ bloat() }), 'process session',
	'a threshold that is switched off is no reason');

# Memory that contexts do not explain has another remedy: here that of a process
# whose contexts are small.  malloc keeps what the statements had; when it has
# given that back, the libraries are left.
$session->query_safe('DEALLOCATE ALL');
threshold('process', '100kB');
threshold('session', -1);
like(bloat()->[0]{remedy},
	qr/kept by malloc: pg_session_memory_trim\($pid\) gives it back/,
	'process: the remedy for what malloc keeps');
$session->query_safe('SELECT pg_session_memory_trim()');
like(bloat()->[0]{remedy},
	qr/outside of all memory contexts and in use.* pg_terminate_backend\($pid\)/,
	'process: the remedy for what no context knows');

# More names over the threshold than are told of: the largest
threshold('process', -1);
threshold('context', 0);
$rows = rows_of($observer, 'SELECT context FROM pg_session_memory_bloat
	ORDER BY bytes DESC, context');
my $largest = rows_of(
	$observer, "SELECT name AS context
		FROM pg_session_memory_contexts($pid) WHERE name <> 'MessageContext'
		GROUP BY name ORDER BY sum(total_bytes) DESC, name LIMIT 4");
is_deeply($rows, $largest, 'many names: the four largest');
threshold('context', -1);

#
# Who may see it
#
threshold('session', '100kB');

sub rows_for
{
	my ($role) = @_;

	return $node->safe_psql('postgres',
		"SET SESSION AUTHORIZATION $role;
		SELECT count(*) FROM pg_session_memory_bloat WHERE pid = $pid");
}
is(rows_for('worker'), 1, 'permissions: the role itself');
is(rows_for('monitor'), 1, 'permissions: pg_monitor');
is(rows_for('other'), 0, 'permissions: nobody else');

# What a cron job does
$observer->query_safe(
	'CREATE TABLE memory_alert AS
		SELECT now() AS at, * FROM pg_session_memory_bloat WITH NO DATA');
$observer->query_safe(
	'INSERT INTO memory_alert SELECT now(), * FROM pg_session_memory_bloat');
is($observer->query_safe('SELECT usename, kind FROM memory_alert'),
	'worker|session', 'a job that keeps what it sees');
is( $observer->query_safe(
		"SELECT sum(bloated) FROM pg_session_memory_pools
			WHERE application_name = 'a pool'"),
	1,
	'the view of pools counts it');

#
# What ends it
#
$session->query_safe('SET pg_session_memory.track = off');
is_deeply(bloat(), [], 'not tracked: no row');
$session->query_safe('SET pg_session_memory.track = on');
is(scalar(@{ bloat() }), 1, 'tracked again: a row');
$session->quit;
ok( $node->poll_query_until('postgres',
		'SELECT count(*) = 0 FROM pg_session_memory_bloat'),
	'ended: no row');

$observer->quit;
$node->stop;

done_testing();
