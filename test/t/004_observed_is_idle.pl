# A session that is observed does nothing for it: the kernel's account of its
# processor time and of how often it ran stays as it is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = start_server('idle');
my $observed = open_session($node);
my $observer = open_session($node);
my $pid = backend_pid($observed);

plan skip_all => 'the kernel keeps no account of processes'
  unless -r "/proc/$pid/schedstat";

# A session of some size, for a look that takes a while.  What it counted for
# the statistics views it hands over at once, instead of ten seconds later.
$observed->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 500 LOOP
		EXECUTE format('PREPARE s%s AS SELECT %s', i, i);
	END LOOP; END $$));
$observed->query_safe('SELECT pg_stat_force_next_flush()');

# Nanoseconds on a processor, and how many times it got one
sub account
{
	my ($run, $waited, $times) = split / /, slurp_file("/proc/$pid/schedstat");

	chomp $times;
	return "$run ns, $times times";
}

# It has become idle when nothing changes for half a second.
my $before = account();
foreach my $try (1 .. 60)
{
	sleep 0.5;
	last if account() eq $before;
	$before = account();
}

# A thousand looks by a query.  PostgreSQL itself may have something to do for an
# idle session once in a while, so it is looked at anew when it has run; what is
# done for a look would be seen each time.
sub looked_at
{
	my ($query, $expected, $name) = @_;
	my ($is, $after);

	foreach my $try (1 .. 3)
	{
		$before = account();
		$is = $observer->query_safe($query);
		$after = account();
		last if $after eq $before;
	}
	is($is, $expected, $name);
	is($after, $before, 'it did not run');
}

looked_at(
	"SELECT count(*), count(source), min(contexts) > 1000
	FROM generate_series(1, 1000) AS g,
		LATERAL pg_session_memory_measure($pid + g * 0, NULL)",
	'1000|1000|t',
	'its figures are read 1,000 times');
looked_at(
	"SELECT count(*) > 1000 * 1000, count(free_bytes) = count(*)
	FROM generate_series(1, 1000) AS g,
		LATERAL pg_session_memory_contexts($pid + g * 0)",
	't|t',
	'its contexts are read 1,000 times');
looked_at(
	"SELECT count(rss_bytes) FROM generate_series(1, 1000) AS g,
		LATERAL pg_session_memory_process($pid + g * 0)",
	1000,
	'its process is looked at 1,000 times');

# The account is one that would have told: a single request to write its
# contexts to the log shows.
$observer->query_safe("SELECT pg_log_backend_memory_contexts($pid)");
foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	last if account() ne $before;
	sleep 0.1;
}
isnt(account(), $before, 'what it is asked to do itself is in the account');

$_->quit foreach $observed, $observer;
$node->stop;

done_testing();
