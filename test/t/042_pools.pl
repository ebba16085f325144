# pg_session_memory_pools: sessions of one pool as a whole.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server(
	'pools', q(
shared_preload_libraries = 'pg_session_memory'
));
$node->safe_psql(
	'postgres', q(
CREATE ROLE one LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats;
CREATE DATABASE elsewhere));
my $observer = open_session($node);

sub pool
{
	my ($name, $from) = @_;

	return rows_of($from // $observer,
		"SELECT *, extract(epoch FROM longest_idle) AS idle_s,
			extract(epoch FROM longest_idle_in_transaction) AS idle_in_s
		FROM pg_session_memory_pools WHERE application_name = '$name'
		ORDER BY datname, usename");
}

sub pooled
{
	my ($name, $database, $user) = @_;
	my $session = open_session($node, $database, $user);

	$session->query_safe("SET application_name = '$name'");
	return $session;
}

# Nobody of that name
is(scalar @{ pool('app') }, 0, 'no sessions, no row');

#
# One pool, a session in each state
#
my @sessions = map { pooled('app', 'postgres', 'one') } 0 .. 4;
my @pids = map { backend_pid($_) } @sessions;
$sessions[1]->query_safe('BEGIN');
$sessions[2]->query_safe('BEGIN');
$sessions[2]->query('SELECT 1 / 0');
start_statement($sessions[3], 'SELECT pg_sleep(1000)');
$node->poll_query_until('postgres',
	"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pids[3]");
$observer->query_safe('SELECT pg_sleep(1.1)');

my $pools = pool('app');
is(scalar @$pools, 1, 'sessions that have all in common are one row');
my $app = $pools->[0];
is(join(' ', @$app{qw(datname usename)}), 'postgres one', 'whose they are');
is($app->{client_addr}, undef, 'they came by the socket');
is( join(' ', @$app{qw(sessions active idle idle_in_transaction)}),
	'5 1 2 2',
	'each state is counted, a failed transaction as one');
cmp_ok($app->{idle_s}, '>=', 1.1, 'the longest idle');
cmp_ok($app->{idle_in_s}, '>=', 1.1, 'the longest idle in transaction');
cmp_ok($app->{idle_s}, '<', 1000, 'in seconds');
is( $observer->query_safe(
		"SELECT min(p.oldest_backend_start) = min(a.backend_start)
		FROM pg_session_memory_pools p, pg_stat_activity a
		WHERE p.application_name = 'app' AND a.application_name = 'app'"),
	't',
	'the oldest session');

#
# Its memory is the sum of the sessions' own
#
sub check_sums
{
	my ($what) = @_;

	is( $observer->query_safe(
			"SELECT p.context_bytes = s.context_bytes,
				p.avg_context_bytes = round(s.context_bytes / 5.0),
				p.max_context_bytes = s.max_context_bytes,
				abs(p.anon_bytes - s.anon_bytes) < 1000000,
				abs(p.max_anon_bytes - s.max_anon_bytes) < 1000000
			FROM pg_session_memory_pools p, (
				SELECT sum(context_bytes) AS context_bytes,
					max(context_bytes) AS max_context_bytes,
					sum(anon_bytes) AS anon_bytes,
					max(anon_bytes) AS max_anon_bytes
				FROM pg_session_memory
				WHERE pid IN (" . join(', ', @pids) . ")) s
			WHERE p.application_name = 'app'"),
		't|t|t|t|t',
		"$what: sums, average and maximum");
}
check_sums('even');
cmp_ok($app->{max_context_bytes}, '<', 2 * $app->{avg_context_bytes},
	'even: the largest is near the average');
is($app->{bloated}, 0, 'even: none is bloated');

$sessions[0]->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END $$));
check_sums('uneven');
$app = pool('app')->[0];
cmp_ok($app->{max_context_bytes}, '>', 3 * $app->{avg_context_bytes},
	'uneven: the largest is far from the average');
is($app->{bloated}, 0, 'uneven: over no threshold');

# A threshold of one's own
$node->safe_psql('postgres',
	"ALTER ROLE other SET pg_session_memory.session_threshold = '2MB'");
my $bloated = pooled('app', 'postgres', 'other');
$bloated->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 1000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END $$));
$bloated->query_safe('SELECT 1');
$pools = pool('app');
is(join(' ', map { "$_->{usename} $_->{bloated}" } @$pools),
	'one 0 other 1', 'bloated: by each session\'s own threshold');
is($pools->[1]{idle}, 1, 'another role is another row');

#
# What else makes another row
#
my @others = (
	pooled('app', 'elsewhere', 'one'),
	pooled('another app', 'postgres', 'one'));
is( join(' ',
		map { "$_->{datname}/$_->{usename}: $_->{sessions}" } @{ pool('app') }),
	'elsewhere/one: 1 postgres/one: 5 postgres/other: 1',
	'another database');
is(pool('another app')->[0]{sessions}, 1, 'another application');

# Clients only: no worker, no walsender, which has a role as well
my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = IPC::Run::start(
	[
		'pg_receivewal', '-D', $directory, '-d',
		$node->connstr('postgres') . ' application_name=receiver'
	],
	'>', \my $output, '2>&1');
$node->poll_query_until('postgres',
	q(SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'));
is(scalar @{ pool('receiver') }, 0, 'a walsender is no session of a pool');
is( $observer->query_safe(
		"SELECT sum(sessions) = (SELECT count(*) FROM pg_stat_activity
			WHERE backend_type = 'client backend')
		FROM pg_session_memory_pools"),
	't',
	'each session of a client is in one pool');
$receiver->kill_kill;

#
# Who may see what
#
my $watcher = pooled('watch', 'postgres', 'watcher');
is( join(' ',
		map { "$_->{datname}/$_->{usename}: $_->{sessions}" }
		  @{ pool('app', $watcher) }),
	'elsewhere/one: 1 postgres/one: 5 postgres/other: 1',
	'with pg_read_all_stats: all of them');
is( join(' ',
		map { "$_->{datname}/$_->{usename}: $_->{sessions}" }
		  @{ pool('app', $bloated) }),
	'postgres/other: 1',
	'without: those of the own role');
ok(pool('app', $bloated)->[0]{context_bytes} > 2 * 1024 * 1024,
	'without: with their memory');

#
# The same of the functions of one process
#
my %functions = (
	categories => "SELECT count(*) > 3 FROM pg_session_memory_categories(%s)",
	idents => "SELECT count(*) > 3 FROM pg_session_memory_idents(%s)",
	snapshot => "SELECT pg_session_memory_snapshot(%s) IS NOT NULL",
	sample => "SELECT count(*) = 1
		FROM pg_session_memory_sample(%s, '1 s', 1)");
my $other_pid = backend_pid($bloated);
foreach my $function (sort keys %functions)
{
	my $own = sprintf $functions{$function}, $pids[0];
	my $others = sprintf $functions{$function}, $other_pid;

	is($sessions[4]->query_safe($own),
		't', "$function: another session of the own role");
	is($watcher->query_safe($own), 't', "$function: with pg_read_all_stats");
	my ($result, $output, $error) = $node->psql(
		'postgres', $others,
		extra_params => [ '-U', 'one', '-v', 'VERBOSITY=verbose' ]);
	like($error,
		qr/ERROR:  42501: permission denied to examine the memory of process $other_pid/,
		"$function: not one of another role");
}

$observer->query_safe("SELECT pg_terminate_backend($pids[3])");
$_->quit foreach @sessions[ 0, 1, 2, 4 ], $bloated, @others, $watcher, $observer;
$node->stop;

done_testing();
