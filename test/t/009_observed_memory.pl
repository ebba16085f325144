# A session that is observed has afterwards the memory that it had before: no
# look makes a page of what malloc has given back to the kernel, of what was
# allocated and never touched, or of what is still shared with the postmaster.

use strict;
use warnings;
no warnings 'portable';		# addresses

use FindBin;
use lib $FindBin::RealBin;

use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(sleep);

# Shared memory that another session touches becomes shared with that; little
# of it is easier to be left out.
my $node = start_server('memory',
	"temp_buffers = 64MB\nwork_mem = 64MB\njit = off\n");
my $observer = open_session($node);
my $page_bytes = POSIX::sysconf(POSIX::_SC_PAGESIZE());

# The kernel's account of a process: its anonymous memory, and of that which is
# in mappings without a file, as most is, how much it does not share with the
# postmaster, and how many pages there are: also those of zeros only, which the
# kernel counts nowhere else.
sub account
{
	my ($pid) = @_;
	my %sum = map { $_ => 0 } qw(Anonymous Private Swap);
	my $nameless = 0;
	my $pages = 0;

	open my $pagemap, '<:raw', "/proc/$pid/pagemap"
	  or die "could not open pagemap: $!";
	foreach my $line (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		if ($line =~ /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)/)
		{
			my ($from, $to) = (hex $1, hex $2);

			$nameless = $3 eq '' || $3 eq '[heap]';
			next unless $nameless;
			sysseek $pagemap, $from / $page_bytes * 8, 0;
			sysread $pagemap, my $entries, ($to - $from) / $page_bytes * 8;
			$pages += grep { $_ >> 63 } unpack 'Q*', $entries;
		}
		elsif ($line =~ /^(Anonymous|Swap): +(\d+)/)
		{
			$sum{$1} += $2;
		}
		elsif ($line =~ /^Private_(?:Clean|Dirty): +(\d+)/ && $nameless)
		{
			$sum{Private} += $1;
		}
	}
	my ($tables) = slurp_file("/proc/$pid/status") =~ /^VmPTE:\s+(\d+)/m;
	my ($rss) = slurp_file("/proc/$pid/smaps_rollup") =~ /^Rss:\s+(\d+)/m;
	my @stat = split / /, slurp_file("/proc/$pid/stat") =~ s/.*\) //r;

	return "anonymous $sum{Anonymous} kB, own $sum{Private} kB in $pages pages,"
	  . " swap $sum{Swap} kB, in RAM $rss kB, page tables $tables kB,"
	  . " page faults $stat[7] and $stat[9]";
}

# It has become idle when nothing changes for half a second.
sub settled_account
{
	my ($pid) = @_;
	my $before = account($pid);

	foreach my $try (1 .. 60)
	{
		sleep 0.5;
		last if account($pid) eq $before;
		$before = account($pid);
	}
	return $before;
}

# One that has just begun, one that has given back much of what it had, and one
# in whose temporary buffers, which come in ever larger pieces, is a large one
# that was never touched.
my %observed = map { $_ => open_session($node) } qw(fresh trimmed untouched);
my %pid = map { $_ => backend_pid($observed{$_}) } keys %observed;

$observed{trimmed}->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 10000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT %s', i, i);
	END LOOP; END $$));
$observed{trimmed}->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 10000 LOOP
		IF i % 50 > 0 THEN EXECUTE format('DEALLOCATE s%s', i); END IF;
	END LOOP; END $$));
$observed{trimmed}->query_safe(
	'SELECT count(*) FROM (SELECT g FROM generate_series(1, 200000) g
		ORDER BY g DESC OFFSET 1) s');
cmp_ok(
	$observed{trimmed}->query_safe(
		'SELECT released_bytes FROM pg_session_memory_trim()'),
	'>', 5_000_000,
	'a session has given back 5 MB');

$observed{untouched}->query_safe(
	q(CREATE TEMP TABLE t AS SELECT repeat('x', 1000) FROM
		generate_series(1, 8400)));
cmp_ok(
	$observed{untouched}->query_safe(
		q(SELECT pg_relation_size('t') < 10000000 AND total_bytes > 16000000
		FROM pg_session_memory_contexts() WHERE name = 'LocalBufferContext'))
	, 'eq', 't',
	'a session has 6 MB that it has never touched');
$_->query_safe('SELECT pg_stat_force_next_flush()') foreach values %observed;

my @looks = (
	[
		'the figures of the view',
		'SELECT count(contexts) FROM generate_series(1, 1000) AS g,
			LATERAL pg_session_memory_measure(PID + g * 0, NULL)'
	],
	[
		'the view',
		'SELECT count(*) FROM generate_series(1, 1000) AS g, LATERAL
			(SELECT s FROM pg_session_memory AS s WHERE pid = PID + g * 0
			OFFSET 0) AS s'
	],
	[
		'contexts, all columns',
		'SELECT count(DISTINCT g) FROM generate_series(1, 1000) AS g,
			LATERAL (SELECT * FROM pg_session_memory_contexts(PID + g * 0)
			OFFSET 0) AS c WHERE c IS DISTINCT FROM NULL AND free_bytes >= 0'
	],
	[
		'categories',
		'SELECT count(DISTINCT g) FROM generate_series(1, 1000) AS g,
			LATERAL pg_session_memory_categories(PID + g * 0)'
	],
	[
		'idents',
		'SELECT count(DISTINCT g) FROM generate_series(1, 1000) AS g,
			LATERAL pg_session_memory_idents(PID + g * 0)'
	],
	[
		'snapshots',
		'SELECT count(pg_session_memory_snapshot(PID + g * 0))
		FROM generate_series(1, 1000) AS g'
	],
	[
		'samples', "SELECT count(DISTINCT s.*)
		FROM pg_session_memory_sample(PID, '1 ms', 1000) AS s"
	],
	[
		'process',
		'SELECT count(rss_bytes) FROM generate_series(1, 1000) AS g,
			LATERAL pg_session_memory_process(PID + g * 0)'
	]);

foreach my $name (sort keys %observed)
{
	my $before = settled_account($pid{$name});

	note "$name: $before";
	foreach my $look (@looks)
	{
		my ($what, $sql) = @$look;

		$sql =~ s/PID/$pid{$name}/g;
		is($observer->query_safe($sql),
			1000, "$name: $what, 1,000 times");
		is(account($pid{$name}), $before, "$name: it has the same memory");
	}
}

# Who looks at itself needs memory for that, but 6 MB of it are not touched.
my $self = $observed{untouched};
my ($before) = account($pid{untouched}) =~ /anonymous (\d+)/;
$self->query_safe('SELECT count(c) FROM pg_session_memory_contexts() AS c')
  foreach 1 .. 100;
my ($after) = account($pid{untouched}) =~ /anonymous (\d+)/;
cmp_ok($after, '<', $before + 2000, 'looking at oneself 100 times');

# The account is one that would have told.
$before = account($pid{fresh});
$observed{fresh}->query_safe("SELECT repeat('x', 10000000) IS NULL");
isnt(account($pid{fresh}), $before, 'what it does itself is in the account');

$_->quit foreach values %observed, $observer;
$node->stop;

done_testing();
