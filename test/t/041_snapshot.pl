# Snapshots: of what another one sees, small and quick for any session, and
# what has changed between two of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('snapshot');
my $observer = open_session($node);
my $json = JSON::PP->new;

sub snapshot
{
	my ($pid) = @_;

	return $json->decode(
		rows_of($observer, "SELECT pg_session_memory_snapshot($pid)::text AS s")
		  ->[0]{s});
}

sub diff
{
	my ($one, $other) = @_;

	return rows_of($observer,
		"SELECT d.* FROM taken a, taken b, pg_session_memory_diff(a.s, b.s) d
		WHERE a.name = '$one' AND b.name = '$other'");
}

sub take
{
	my ($name, $pid) = @_;

	$observer->query_safe(
		"INSERT INTO taken VALUES ('$name', pg_session_memory_snapshot($pid))");
}

sub prepare
{
	my ($session, $from, $to) = @_;

	$session->query_safe(
		"DO \$\$ BEGIN FOR i IN $from .. $to LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END \$\$");
}

$node->safe_psql('postgres', 'CREATE TABLE taken (name text PRIMARY KEY, s jsonb)');

#
# The same contexts as pg_session_memory_contexts() shows, by path
#
my $session = open_session($node);
my $pid = backend_pid($session);
prepare($session, 1, 50);
$session->query_safe('BEGIN; SAVEPOINT a; SAVEPOINT b');
my %expected;
my @names;

foreach my $row (@{ contexts_of($observer, $pid) })
{
	$#names = $row->{level} - 1;
	$names[-1] = $row->{name};
	# Of one name below each other: of one path, and the root is in none
	my @path = map { $names[$_] }
	  grep { $_ == 0 || $names[$_] ne $names[ $_ - 1 ] } 0 .. $#names;
	shift @path if @path > 1;
	my $path = join ' > ', @path;

	$expected{$path}{contexts}++;
	$expected{$path}{bytes} += $row->{total_bytes};
}
my $seen = snapshot($pid);
is($seen->{paths}{'CacheMemoryContext > CachedPlanSource'}{contexts},
	50, 'prepared statements are of one path');
is_deeply($seen->{paths}, \%expected,
	'each path has the contexts and bytes of its contexts');
is($seen->{pid}, $pid, 'the process is named');
is( $observer->query_safe(
		"SELECT backend_start = '$seen->{backend_start}'
			AND '$seen->{at}' BETWEEN backend_start AND now()
		FROM pg_stat_activity WHERE pid = $pid"),
	't',
	'it says since when the process exists, and when it was taken');
ok($seen->{anon_bytes} > 1000000 && $seen->{swap_bytes} >= 0,
	'the memory of the process is in it');
is( $seen->{approximate} ? 'approximate' : 'exact',
	'exact', 'a session that rests is read exactly');
$session->query_safe('ROLLBACK');
$session->quit;

#
# What has changed, from snapshots that are stored
#
$session = open_session($node);
$pid = backend_pid($session);
take('fresh', $pid);
prepare($session, 1, 1000);
take('first', $pid);
prepare($session, 1001, 3000);
take('second', $pid);
$session->query_safe('DEALLOCATE ALL');
take('last', $pid);

my $change = diff('fresh', 'first');
is($change->[0]{contexts_after} - $change->[0]{contexts_before},
	1000, 'against a fresh session: what has grown comes first');
like($change->[0]{path},
	qr/CachedPlan/, 'against a fresh session: the path says what it is');
is($change->[0]{contexts_before}, 0, 'new: had none before');

$change = diff('first', 'second');
my %second = map { $_->{path} => $_ } @$change;
my $sources = $second{'CacheMemoryContext > CachedPlanSource'};
is("$sources->{contexts_before} $sources->{contexts_after}",
	'1000 3000', 'grown: both counts');
is($sources->{growth_bytes}, $sources->{bytes_after} - $sources->{bytes_before},
	'grown: by the difference');
is( join(' ', map { $_->{growth_bytes} } @$change),
	join(' ',
		sort { $b <=> $a } map { $_->{growth_bytes} } @$change),
	'the largest growth comes first');
cmp_ok($second{'outside contexts'}{growth_bytes} // 0,
	'<', 4 * 1024 * 1024, 'grown: not outside of contexts');

my ($gone) = grep { $_->{path} eq 'CacheMemoryContext > CachedPlanSource' }
  @{ diff('second', 'last') };
is("$gone->{contexts_before} $gone->{contexts_after}",
	'3000 0', 'gone: has none after');
cmp_ok($gone->{growth_bytes}, '<', -3000 * 1024, 'gone: growth is negative');
# What is freed stays with the process.
($gone) = grep { $_->{path} eq 'outside contexts' } @{ diff('fresh', 'last') };
is("@{[ map { $_ // 'NULL' } @$gone{qw(contexts_before contexts_after)} ]}",
	'NULL NULL', 'outside of contexts: no contexts');

#
# 66,000 contexts: how large
#
prepare($session, 1, 33000);
is( $observer->query_safe(
		"SELECT contexts > 66000 FROM pg_session_memory WHERE pid = $pid"),
	't',
	'66,000 contexts: are there');
my ($entries, $size, $length) = split /\|/,
  $observer->query_safe(
	"SELECT (SELECT count(*) FROM jsonb_object_keys(s -> 'paths')),
		octet_length(s::text), pg_column_size(s)
	FROM pg_session_memory_snapshot($pid) AS s");
cmp_ok($entries, '<', 400, "66,000 contexts: $entries paths");
cmp_ok($size, '<', 100000, "66,000 contexts: $size bytes as text");
cmp_ok($length, '<', 100000, "66,000 contexts: $length bytes as jsonb");
$session->quit;

#
# A session that has ended
#
my ($result, $output, $error) = $node->psql('postgres',
	"SELECT pg_session_memory_snapshot($pid) IS NULL");
is($output, 't', 'ended: NULL');
like($error, qr/WARNING:  PID $pid is not a PostgreSQL server process/,
	'ended: a warning says why');

#
# All kinds of processes can be taken, and compared with anything.  Sessions
# whose clients are gone are not: one that ends meanwhile is worth a WARNING.
#
wait_for_ended($observer);
is( $observer->query_safe(
		"SELECT count(*) FROM pg_stat_activity,
			pg_session_memory_snapshot(pid) AS s
		WHERE s IS NULL OR s -> 'pid' <> to_jsonb(pid)"),
	0,
	'a snapshot of every process');
is( $observer->query_safe(
		"SELECT count(*) > 10 FROM pg_stat_activity,
			pg_session_memory_diff(pg_session_memory_snapshot(pid),
				pg_session_memory_snapshot())
		WHERE backend_type = 'checkpointer'"),
	't',
	'of different processes, compared');

$observer->quit;
$node->stop;

done_testing();
