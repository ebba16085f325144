# The recorder's file is missing, damaged, or cannot be written: the server goes
# on, what can be read is shown, and recording goes on as soon as it can.

use strict;
use warnings;

use Fcntl qw(SEEK_SET);
use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server(
	'recorder', "shared_preload_libraries = 'pg_session_memory'
	pg_session_memory.record_interval = '50ms'
	pg_session_memory.record_size = '256kB'\n");
my $path = $node->data_dir . '/pg_stat_tmp/pg_session_memory.history';

# Samples come that are later than now.  A reload makes the watcher look at its
# file at once.
sub samples_come
{
	my ($what) = @_;
	my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	$node->reload;
	ok( $node->poll_query_until(
			'postgres', "SELECT count(*) > 2 FROM pg_session_memory_history
			WHERE at > '$now'"),
		"$what: samples come");
}

sub put_bytes
{
	my ($offset, $bytes) = @_;

	open(my $file, '+<', $path) || die "$path: $!";
	sysseek($file, $offset, SEEK_SET) && syswrite($file, $bytes) || die $!;
	close $file;
}

samples_come('a new file');
is(-s $path, 256 * 1024, 'it has its size at once');

unlink $path;
is( $node->safe_psql(
		'postgres', 'SELECT count(*) >= 0 FROM pg_session_memory_history_sessions'),
	't',
	'removed: the view is empty, and no error');
samples_come('removed');

truncate($path, 50000);
is( $node->safe_psql(
		'postgres', 'SELECT bool_and(anon_bytes > 0) IS NOT FALSE
		FROM pg_session_memory_history'),
	't',
	'cut: what is there is right');
samples_come('cut');
is(-s $path, 256 * 1024, 'cut: it has its size again');

# Random bytes, everywhere: not ours any more, so it is put aside.
my $offset = -s $node->logfile;
put_bytes(0, pack('C*', map { int(rand(256)) } 1 .. 200000));
is($node->safe_psql('postgres',
		'SELECT count(*) FROM pg_session_memory_history'),
	'0', 'random bytes: nothing is shown');
$node->restart;
samples_come('random bytes');
like(slurp_file($node->logfile, $offset),
	qr/is not a history that this version .* can read/,
	'random bytes: the log says so');
ok(-e "$path.old", 'random bytes: the file was put aside');

# A later version of the format.
put_bytes(8, pack('V', 4711));
is($node->safe_psql('postgres',
		'SELECT count(*) FROM pg_session_memory_history'),
	'0', 'another version: nothing is shown');
$node->restart;
samples_come('another version');

# A directory in its place: one line in the log, however often it is tried.
unlink $path;
mkdir $path || die $!;
$offset = -s $node->logfile;
$node->reload;
$node->wait_for_log(qr/could not open the history of session memory/, $offset);
foreach my $try (1 .. 3)
{
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		'SELECT count(*) FROM pg_session_memory_history');
	is($stdout, '0', 'a directory: the view is empty');
	like($stderr, qr/WARNING:  could not read the history/,
		'a directory: a WARNING says why');
	$node->reload;
}
is( scalar(
		() = slurp_file($node->logfile, $offset) =~
		  /LOG:  could not open the history/g),
	1,
	'a directory: the log says it once');
rmdir $path;
samples_come('the directory is gone');

# Not to be written.
SKIP:
{
	skip 'root may write anything', 1 if $> == 0;
	my $directory = $node->data_dir . '/pg_stat_tmp';
	$offset = -s $node->logfile;
	unlink $path;
	chmod 0500, $directory;
	$node->reload;
	$node->wait_for_log(
		qr/could not open the history of session memory in .*: Permission denied/,
		$offset);
	is($node->safe_psql('postgres', 'SELECT 1'),
		'1', 'a directory that cannot be written: the server goes on');
	chmod 0700, $directory;
	samples_come('it can be written again');
}

# Another size: what fits stays.
my $latest = $node->safe_psql('postgres',
	'SELECT max(at) FROM pg_session_memory_history');
my $before = $node->safe_psql('postgres',
	'SELECT count(*) FROM pg_session_memory_history');
$node->append_conf('postgresql.conf', "pg_session_memory.record_size = '1MB'");
$node->restart;
samples_come('larger');
is(-s $path, 1024 * 1024, 'larger: it has its size');
is($node->safe_psql('postgres',
		"SELECT count(*) > 0 FROM pg_session_memory_history
		WHERE before_restart AND at = '$latest'"),
	't', 'larger: the last sample of before is there');
$latest = $node->safe_psql('postgres',
	'SELECT max(at) FROM pg_session_memory_history');
$node->append_conf('postgresql.conf', "pg_session_memory.record_size = '256kB'");
$node->restart;
samples_come('smaller');
is(-s $path, 256 * 1024, 'smaller: it has its size');

# Many sessions that come and go: the watcher's own memory stays.
my $watcher = "SELECT anon_bytes FROM pg_session_memory
	WHERE backend_type = 'pg_session_memory watcher'";
my $bytes = $node->safe_psql('postgres', $watcher);
$node->append_conf('postgresql.conf',
	"pg_session_memory.watch_interval = '1ms'\n");
$node->reload;
my $script = PostgreSQL::Test::Utils::tempdir() . '/connect.sql';
append_to_file($script, "SELECT 1;\n");
$node->command_ok(
	[
		'pgbench', '-n', '-C', '-c', '10', '-t', '100', '-f', $script, 'postgres'
	],
	'1,000 sessions come and go');
cmp_ok($node->safe_psql('postgres', $watcher) - $bytes,
	'<', 1024 * 1024, 'the watcher needs no more memory than before');
my ($pid) = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'pg_session_memory watcher'");
cmp_ok(scalar(() = glob "/proc/$pid/fd/*"),
	'<', 30, 'and keeps no descriptors');

$node->stop;
done_testing();
