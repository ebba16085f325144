# EXPLAIN (ANALYZE, SESSION_MEMORY), where extensions may add options.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $node = start_watching_server(
	'explain', q(
work_mem = 64MB
max_parallel_workers_per_gather = 0
));

plan skip_all => 'before PostgreSQL 18 no extension may add options'
  if $node->pg_version < 18;

my $query = 'SELECT count(*) FROM (SELECT * FROM generate_series(1, 300000) AS g
	ORDER BY g % 7) AS x';
my $text = $node->safe_psql('postgres',
	"EXPLAIN (ANALYZE, SESSION_MEMORY) $query");
like($text, qr/^Session Memory: planner=\d+ \w+ executor=\d+ MB peak=\d+ \w+$/m,
	'text: planner, executor and peak');
unlike($node->safe_psql('postgres', "EXPLAIN (ANALYZE) $query"),
	qr/Session Memory/, 'only if asked for');
unlike(
	$node->safe_psql(
		'postgres', "EXPLAIN (ANALYZE, SESSION_MEMORY off) $query"),
	qr/Session Memory/,
	'and not if it is off');
like($node->safe_psql('postgres', "EXPLAIN (SESSION_MEMORY) $query"),
	qr/^Session Memory: planner=\d+ \w+ executor=\d+ \w+$/m,
	'without ANALYZE there is no peak');

my $json = decode_json(
	$node->safe_psql(
		'postgres',
		"EXPLAIN (ANALYZE, SESSION_MEMORY, FORMAT json) $query"));
my $memory = $json->[0]{'Session Memory'};
cmp_ok($memory->{Executor}, '>', 8 * 1024, 'JSON: executor, in kB');
ok(exists $memory->{Planner} && exists $memory->{Peak},
	'JSON: planner and peak');

done_testing();
