# A tree of contexts can be deep: each nested savepoint hangs from the one
# before.  Anybody can make 50,000 of them within a second, and whoever looks
# must neither take longer for each context than in other trees, nor be out of
# reach of a cancel meanwhile.
#
# The bounds of time are no measurement: a look takes less than a second on an
# idle machine.  When leaving a level meant to climb, it took hours.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(time);

my $node = start_server('deep');

# With assertions PostgreSQL itself checks all contexts at each command.
my $levels =
  $node->safe_psql('postgres', 'SHOW debug_assertions') eq 'on' ? 20_000 : 50_000;
my $deep = open_session($node);
my $pid = backend_pid($deep);
my $observer = open_session($node);

# Those that each session has from its start
my $fresh = $observer->query_safe(
	"SELECT contexts FROM pg_session_memory WHERE pid = $pid");

$deep->query_safe('BEGIN');
$deep->query_safe('SAVEPOINT s\;' x 999 . 'SAVEPOINT s')
  foreach 1 .. $levels / 1000;
# It has it loaded and does not change any more.
$deep->query_safe('SELECT pg_session_memory_is_bloated()');
$deep->query_safe('SAVEPOINT s');

$observer->query_safe(q(SET statement_timeout = '100s'));

#
# Another session
#
my ($contexts, $bytes, $transaction, $approximate) = split /\|/,
  $observer->query_safe(
	"SELECT contexts, context_bytes, transaction_bytes, approximate
	FROM pg_session_memory WHERE pid = $pid");
cmp_ok($contexts, '>', $levels, 'the view counts the contexts of all levels');
cmp_ok($contexts, '<', $levels + $fresh + 200, 'and no others');
is($approximate, 'f', 'exactly');
cmp_ok($transaction, '>=', $levels * 8192, 'they are of the transaction');

is( $observer->query_safe(
		"SELECT count(*), sum(total_bytes), sum(total_bytes)
			FILTER (WHERE category = 'transaction'), max(level) > $levels
		FROM pg_session_memory_contexts($pid)"),
	"$contexts|$bytes|$transaction|t",
	'so does pg_session_memory_contexts, which goes as deep');
is( $observer->query_safe(
		"SELECT count(c), sum(total_bytes) FROM (
			SELECT * FROM pg_session_memory_contexts($pid) OFFSET 0) AS c"),
	"$contexts|$bytes",
	'also with all columns');
is( $observer->query_safe(
		"SELECT total_bytes FROM pg_session_memory_categories($pid)
		WHERE category = 'transaction'"),
	$transaction,
	'pg_session_memory_categories');
is( $observer->query_safe(
		"SELECT count(*) FROM pg_session_memory_idents($pid)"),
	20,
	'pg_session_memory_idents');
is( $observer->query_safe(
		"SELECT sum(substring(s FROM '\\d+\$')::bigint), count(*) < 300,
			max(length(s)) < 10000
		FROM pg_session_memory_folded($pid) AS s"),
	"$bytes|t|t",
	'pg_session_memory_folded, in a few short lines');
is( $observer->query_safe(
		"SELECT s->'contexts', s->'context_bytes'
		FROM pg_session_memory_snapshot($pid) AS s"),
	"$contexts|$bytes",
	'pg_session_memory_snapshot');
is( $observer->query_safe(
		"SELECT contexts, context_bytes
		FROM pg_session_memory_sample($pid, '1 ms', 1)"),
	"$contexts|$bytes",
	'pg_session_memory_sample');

#
# Paths: those of all contexts would have 5 GB.
#
is( $observer->query_safe(
		"SELECT max(array_length(path, 1)),
			count(*) FILTER (WHERE array_length(path, 1) = least(level, 100))
				= count(*),
			sum(pg_column_size(path)) < 450 * $contexts
		FROM pg_session_memory_contexts($pid)"),
	'100|t|t',
	'a path has the numbers of 100 levels at most');
is( $observer->query_safe(
		"WITH c AS (SELECT * FROM pg_session_memory_contexts($pid))
		SELECT count(*) > $levels - 100,
			sum(below.total_bytes) = max(above.subtree_bytes)
		FROM c AS above JOIN c AS below
			ON below.path[above.level] = above.path[above.level]
		WHERE above.level = 90"),
	't|t',
	'by path, all that is below a context is found');
is( $observer->query_safe(
		"WITH c AS (SELECT * FROM pg_session_memory_contexts($pid))
		SELECT count(*) FROM c AS child JOIN c AS parent
			ON child.path[child.level - 1] = parent.path[parent.level]
		WHERE child.level BETWEEN 20 AND 100 AND
			parent.level = child.level - 1 AND
			child.parent IS DISTINCT FROM parent.name"),
	0,
	'and the parent of each context');

#
# The session itself, where nothing may be allocated and nothing may change
#
$deep->query_safe(q(SET LOCAL statement_timeout = '100s'));
is($deep->query_safe('SELECT pg_session_memory_is_bloated()'),
	'f', 'pg_session_memory_is_bloated');
is( $deep->query_safe(
		"SELECT count(*) FILTER (WHERE name = 'CurTransactionContext') > $levels,
			count(*) FILTER (WHERE name = 'CurTransactionContext' AND
				category <> 'transaction'), max(level) > $levels
		FROM pg_session_memory_contexts()"),
	't|0|t',
	'pg_session_memory_contexts of oneself');
is( $deep->query_safe(
		"SELECT contexts > $levels FROM pg_session_memory
		WHERE pid = pg_backend_pid()"),
	't',
	'the view, of oneself');

#
# Each of them can be cancelled.  Nothing is as fast as a millisecond.
#
foreach my $look (
	"SELECT contexts FROM pg_session_memory_measure($pid, NULL)",
	"SELECT count(c) FROM pg_session_memory_contexts($pid) AS c",
	"SELECT count(*) FROM pg_session_memory_categories($pid)",
	"SELECT count(*) FROM pg_session_memory_idents($pid)",
	"SELECT pg_session_memory_snapshot($pid)")
{
	my ($what) = $look =~ /(pg_session_memory_\w+)/;
	my $start = time;

	# The end of the transaction must not time out, too.
	$observer->query("BEGIN; SET LOCAL statement_timeout = '1ms'; $look; ROLLBACK");
	my $seconds = time - $start;
	like(
		$observer->{stderr},
		qr/canceling statement due to statement timeout/,
		"$what is cancelled");
	$observer->{stderr} = '';
	cmp_ok($seconds, '<', 20, "$what: at once");
	note sprintf '%s: %.3f s', $what, $seconds;
}

$deep->query_safe('COMMIT');
$_->quit foreach $deep, $observer;
$node->stop;

done_testing();
