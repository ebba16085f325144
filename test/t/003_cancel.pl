# A look at a large session can be cancelled while it goes on, and leaves
# nothing behind in the observer, however it ends.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(time);

my $node = start_server('cancel');

# 60,000 contexts: two for each prepared statement
my $large = open_session($node);
$large->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 30000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT %s', i, i);
	END LOOP; END $$));
my $pid = backend_pid($large);
my $observer = open_session($node);
my $observer_pid = backend_pid($observer);

# How many contexts a process has, whose pid is an expression
my %look = (
	'pg_session_memory_contexts' =>
	  'SELECT count(free_bytes) FROM pg_session_memory_contexts(%s)',
	'pg_session_memory' =>
	  'SELECT contexts FROM pg_session_memory WHERE pid = %s');

# The observer's own memory, but for what it caches of catalogs whenever a
# statement is another one than before.
sub observers_bytes
{
	return $observer->query_safe(
		q(SELECT sum(total_bytes) FROM pg_backend_memory_contexts
		WHERE name NOT IN ('CacheMemoryContext', 'index info')));
}

# A look needs 2 MB of pages, and 20 MB for the rows of 60,000 contexts.  If a
# tenth of the pages were left, it would be noticed.
sub check_memory
{
	my ($before, $what) = @_;

	cmp_ok(observers_bytes(), '<', $before + 200_000,
		"$what: the observer has no more memory than before");
	is( $observer->query_safe(
			q(SELECT string_agg(name, ', ') FROM pg_backend_memory_contexts
			WHERE name LIKE 'pg\_session\_memory%')),
		'',
		"$what: nor contexts of ours");
}

sub seconds_of
{
	my ($query) = @_;
	my $start = time;

	my ($output) = $observer->query($query);
	my $seconds = time - $start;
	my $error = $observer->{stderr};
	$observer->{stderr} = '';
	return ($seconds, $output, $error);
}

foreach my $what (sort keys %look)
{
	my $look = sprintf $look{$what}, $pid;

	# The whole look
	seconds_of($look);
	observers_bytes();
	my $before = observers_bytes();
	my @whole;
	foreach (1 .. 5)
	{
		my ($seconds, $output, $error) = seconds_of($look);
		push @whole, $seconds;
		cmp_ok($output, '>=', 60000, "$what: sees 60,000 contexts");
	}
	check_memory($before, "$what, complete");

	# It ends early when it shall: after a tenth of the time, and in less than
	# half of it.  Whatever else the machine does only makes it slower, so the
	# fastest of several tries counts on both sides.
	my $whole = min @whole;
	my $timeout = int($whole * 1000 / 10) || 1;
	my @ended;
	$observer->query_safe("SET statement_timeout = $timeout");
	foreach (1 .. 10)
	{
		my ($seconds, $output, $error) = seconds_of($look);
		push @ended, $seconds
		  if $error =~ /canceling statement due to statement timeout/;
	}
	$observer->query_safe('RESET statement_timeout');
	is(scalar @ended, 10, "$what: statement_timeout ends it");
	cmp_ok(min(@ended), '<', $whole / 2, "$what: in the middle of the walk");
	note sprintf '%s: %.1f ms, with a timeout of %d ms %.1f ms', $what,
	  $whole * 1000, $timeout, min(@ended) * 1000;
	check_memory($before, "$what, with a timeout");

	# One look after the other, until somebody ends it.  A loop, since a single
	# statement need not take as long as it seems: where the planner may, it
	# looks once and joins a million rows with that.
	my $loop = "DO \$\$ BEGIN LOOP PERFORM * FROM ($look) AS x; END LOOP; END \$\$";
	my $running = "FROM pg_stat_activity
		WHERE pid = $observer_pid AND state = 'active' AND query LIKE '%LOOP%'";
	start_statement($observer, $loop);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 $running")
	  or die "$what: the loop did not begin";
	is($node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $running"),
		't', "$what: is in the loop and can be cancelled");
	my ($seconds, $output, $error) = seconds_of('SELECT');
	like($error, qr/canceling statement due to user request/,
		"$what: pg_cancel_backend ends it");
	check_memory($before, "$what, cancelled");

	# An error that has another reason
	($seconds, $output, $error) =
	  seconds_of("SELECT 1 / (x.n - x.n) FROM ($look) AS x(n)");
	like($error, qr/division by zero/, "$what: an error in the same query");
	check_memory($before, "$what, after an error");

	# Many looks in one statement, and one of which not all rows are wanted
	$observer->query_safe(
		'SELECT (' . sprintf($look{$what}, "$pid + g * 0") . ')
		FROM generate_series(1, 10) AS g');
	$observer->query_safe("SELECT name FROM pg_session_memory_contexts($pid)
		LIMIT 1");
	check_memory($before, "$what, many times");
}

$_->quit foreach $large, $observer;
$node->stop;

done_testing();
