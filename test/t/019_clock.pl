# A clock that is set back by an hour makes nothing wait for an hour.
#
# The clock is set back by a library that is loaded before libc and takes the
# place of gettimeofday in the server's processes: by as many seconds as a file
# says.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $clock_file = "$directory/clock";
my $source = "$directory/clock.c";
my $library = "$directory/clock.so";

append_to_file($source, <<'C');
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int
gettimeofday(struct timeval *tv, void *tz)
{
	char	seconds[16] = "";
	int		result = syscall(SYS_gettimeofday, tv, tz);
	int		file = open(getenv("CLOCK_FILE"), O_RDONLY);

	if (file >= 0)
	{
		if (read(file, seconds, sizeof(seconds) - 1) > 0)
			tv->tv_sec -= atoi(seconds);
		close(file);
	}
	return result;
}
C

if (system("cc -shared -fPIC -w -o $library $source >/dev/null 2>&1") != 0)
{
	plan skip_all => 'no C compiler for the library that sets the clock back';
}

my $node = PostgreSQL::Test::Cluster->new('clock');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_session_memory'\nautovacuum = off\n");
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{CLOCK_FILE} = $clock_file;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION pg_session_memory');

sub set_back
{
	my ($seconds) = @_;

	append_to_file("$clock_file.new", $seconds);
	rename("$clock_file.new", $clock_file) or die "could not rename: $!";
}

my $observer = open_session($node);
my $session = open_session($node);
my $pid = backend_pid($session);

# Each is done in some seconds, or not within the time that a query may take.
start_statement($observer,
	"SELECT count(*) FROM (SELECT pg_session_memory_sample($pid, '1 second', 4)) AS s");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM pg_stat_activity
			WHERE query LIKE '%_sample(%' AND wait_event = 'Extension'"),
	'sample: waits');
set_back(3600);
is($observer->query(''), '4', 'sample: all rows in time');
like($node->safe_psql('postgres', "SELECT clock_timestamp() < '"
			. $observer->query_safe('SELECT pg_postmaster_start_time()') . "'"),
	qr/^t$/, 'sample: the clock was set back');

set_back(0);
$session->query_safe('BEGIN');
start_statement($observer,
	"SELECT outcome FROM pg_session_memory_trim($pid, 3000)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM pg_stat_activity
			WHERE query LIKE '%_trim(%' AND wait_event = 'Extension'"),
	'trim: waits');
set_back(3600);
is($observer->query(''), 'in transaction', 'trim: no longer than it was told to');
$observer->{stderr} = '';
$session->query_safe('COMMIT');

# Measurements go on: the wait while nothing changes is over after 100 ms, and
# the share of the time that measuring may take is earned.
set_back(0);
my $other = open_session($node);
my $other_pid = backend_pid($other);
$other->query_safe('SELECT 1');
my $measured = published($observer, $other_pid)->{measured_at};
set_back(3600);
my $looked;
foreach my $try (1 .. 20)
{
	select undef, undef, undef, 0.2;
	$other->query_safe('SELECT 1');
	$looked = published($observer, $other_pid)->{measured_at};
	last if $looked lt $measured;
}
cmp_ok($looked, 'lt', $measured, 'watch: measures at once, by the new clock');

$other->quit;
$session->quit;
$observer->quit;
$node->stop;

done_testing();
