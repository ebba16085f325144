# A large session that changes its contexts while it is looked at: 5,000
# prepared statements stay, and the plan that each execution makes comes and
# goes at the beginning of the same list.  Whoever looks sees nearly all of it
# each time: figures that are not said to be approximate have at least 90 per
# cent of what is there, and those that are at least half.
#
# When a context that is not believed ended its list, a third of the looks at
# such a session had 3 per cent of it, and most functions did not say so.
#
# PGSM_LOOKS is how often each function looks at least: 50 where it is not set.
# 1,200 make more than 10,000 looks, and take some minutes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $least_looks = $ENV{PGSM_LOOKS} || 50;
my $node = start_server('changing_lists');
$node->safe_psql('postgres', 'CREATE TABLE t (a int, b int, c text)');

my $busy = open_session($node);
my $pid = backend_pid($busy);
$busy->query_safe("SET application_name = 'busy'");
$busy->query_safe('SET plan_cache_mode = force_custom_plan');
$busy->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 5000 LOOP
		EXECUTE format('PREPARE s%s(int) AS SELECT x.a, y.c
			FROM t x JOIN t y ON x.a = y.b
			WHERE x.a = $1 AND y.c LIKE %L AND x.b IN (%s, 2, 3)', i, 'x', i);
	END LOOP; END $$));
# What a first execution leaves behind
$busy->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 10 LOOP
		EXECUTE format('EXECUTE s%s(1)', i);
	END LOOP; END $$));

# Each of them looks from outside, and says how many bytes it saw and whether
# that is approximate.
my %look = (
	'view' => "SELECT context_bytes, approximate
		FROM pg_session_memory WHERE pid = $pid",
	'contexts' => "SELECT sum(total_bytes), bool_or(approximate)
		FROM pg_session_memory_contexts($pid)",
	'contexts, counted' =>
	  "SELECT sum(used_bytes + free_bytes), bool_or(approximate)
		FROM pg_session_memory_contexts($pid)",
	'categories' => "SELECT sum(total_bytes), bool_or(approximate)
		FROM pg_session_memory_categories($pid) WHERE contexts IS NOT NULL",
	'idents' => "SELECT sum(total_bytes), bool_or(approximate)
		FROM pg_session_memory_idents($pid, 1000000)",
	'sample' => "SELECT context_bytes, approximate
		FROM pg_session_memory_sample($pid, '1 ms', 1)",
	'snapshot' => "SELECT sum(bytes), bool_or(approximate)
		FROM pg_session_memory_snapshot_paths(
			pg_session_memory_snapshot($pid)) WHERE contexts IS NOT NULL",
	'diff' => "SELECT sum(bytes_after), bool_or(approximate)
		FROM pg_session_memory_diff(jsonb_set(
			pg_session_memory_snapshot(), '{paths}', '{}'),
			pg_session_memory_snapshot($pid)) WHERE contexts_after IS NOT NULL",
	'pools' => "SELECT context_bytes, approximate
		FROM pg_session_memory_pools WHERE application_name = 'busy'");

my $observer = open_session($node);
my %rest;
foreach my $what (sort keys %look)
{
	($rest{$what}, my $approximate) = split /\|/,
	  $observer->query_safe($look{$what});
	is($approximate, 'f', "$what: exact while the session rests");
	cmp_ok($rest{$what}, '>', 50_000_000, "$what: it is large");
}

start_statement($busy,
	q(DO $$ BEGIN LOOP
		EXECUTE format('EXECUTE s%s(1)', 1 + (random() * 4999)::int);
	END LOOP; END $$));
$node->poll_query_until('postgres',
	"SELECT state = 'active' FROM pg_stat_activity WHERE pid = $pid");

# For two seconds each, and some times on the slowest machine.  No query lasts
# as long as a query may.
$observer->query_safe('CREATE TEMP TABLE looks (what text, bytes float8,
	approximate boolean)');
foreach my $what (sort keys %look)
{
	for (my $looks = 0; $looks < $least_looks; $looks += 50)
	{
		$observer->query_safe(
			"DO \$\$
			DECLARE
				began timestamptz := clock_timestamp();
				looks int := 0;
			BEGIN
				WHILE looks < 50 OR
					$looks = 0 AND clock_timestamp() < began + '2 s' LOOP
					PERFORM pg_stat_clear_snapshot();
					INSERT INTO looks SELECT '$what', l.*
						FROM ($look{$what}) AS l;
					looks := looks + 1;
				END LOOP;
			END \$\$");
	}
	my ($looks, $known, $bytes, $exact, $least, $most, $approximate) =
	  split /\|/,
	  $observer->query_safe(
		"SELECT count(*), count(bytes), count(DISTINCT bytes),
			coalesce(min(bytes) FILTER (WHERE NOT approximate),
				$rest{$what}) / $rest{$what},
			min(bytes) / $rest{$what}, max(bytes) / $rest{$what},
			count(*) FILTER (WHERE approximate)
		FROM looks WHERE what = '$what'");

	note "$what: $approximate of $looks looks are approximate, "
	  . "$bytes different ones, from $least to $most of what is there";
	is($known, $looks, "$what: has figures each time");
	cmp_ok($bytes, '>', 1, "$what: the session changed");
	cmp_ok($exact, '>=', 0.9, "$what: nearly all, if not approximate");
	cmp_ok($least, '>=', 0.5, "$what: more than half, if approximate");
	cmp_ok($most, '<', 1.2, "$what: nothing twice");
}
my ($all, $approximate, $exact, $least) = split /\|/,
  $observer->query_safe("SELECT count(*), count(*) FILTER (WHERE approximate),
	min(bytes / rest) FILTER (WHERE NOT approximate), min(bytes / rest)
	FROM looks JOIN (VALUES "
	  . join(', ', map { "('$_', $rest{$_})" } sort keys %rest)
	  . ") AS r (what, rest) USING (what)");
note "$approximate of all $all looks are approximate; the least is $least, "
  . "and $exact of those that are not";
cmp_ok($all, '>=', $least_looks * keys %look, 'as many looks as were asked for');

is( $node->safe_psql(
		'postgres', "SELECT state, pg_cancel_backend(pid)
		FROM pg_stat_activity WHERE pid = $pid"),
	'active|t',
	'the session was at work all the time');
# It has worked for longer than a query may, if there were many looks.
$busy->query('SELECT 1');
$_->quit foreach $busy, $observer;
$node->stop;

done_testing();
