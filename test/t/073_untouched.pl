# Shared buffers that nobody has touched yet are promised memory: how much that
# is, and that it becomes less as they are filled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $MB = 1024 * 1024;
my $node = start_server(
	'untouched', q(
shared_buffers = 256MB
huge_pages = off
max_wal_size = 4GB
checkpoint_timeout = 1h
pg_session_memory.record_interval = 0
shared_preload_libraries = pg_session_memory
));

# The server's own figure, in MB.
sub untouched
{
	return $node->safe_psql('postgres',
		"SELECT untouched_bytes / $MB FROM pg_session_memory_server");
}

my $at_start = untouched();
cmp_ok($at_start, '>', 200, 'most is untouched at the start');
cmp_ok($at_start, '<', 300, 'and no more than there is');

# INSERT takes new buffers for each page, unlike CREATE TABLE AS.
sub fill
{
	my ($megabytes) = @_;

	$node->safe_psql('postgres',
		"CREATE TABLE IF NOT EXISTS filler (line text);
		INSERT INTO filler SELECT repeat('x', 1000)
		FROM generate_series(1, 1000 * $megabytes)");
}

# By samples: each stands for half a MB.
fill(60);
my $filled = untouched();
cmp_ok($at_start - $filled, '>', 50, 'a table of 60 MB has touched as much');
cmp_ok($at_start - $filled, '<', 100, 'and not much more');
fill(240);
cmp_ok(untouched(), '<', 20, 'all of it, in the end');

# What goes out of the buffers stays touched.
$node->safe_psql('postgres', 'DROP TABLE filler');
cmp_ok(untouched(), '<', 20, 'empty buffers are not given back');

done_testing();
