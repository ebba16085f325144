# Where the operating system refuses to read other processes, or reads fail in
# the middle, every object answers as documented: the view says what sessions
# published, or that they are unavailable; the functions raise an error with a
# hint; nothing crashes and no figure is made up.
#
# The refusals are made by a library that is loaded before libc and takes the
# place of process_vm_readv in all server processes.  Which one it plays is
# read from a file at each call, so that one server sees them all.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $fault_file = "$directory/fault";
my $source = "$directory/faults.c";
my $library = "$directory/faults.so";

append_to_file($source, <<'C');
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t
process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals,
				 const struct iovec *remote, unsigned long remotes,
				 unsigned long flags)
{
	char	fault[16] = "";
	struct iovec shorter = *remote;
	int		file = open(getenv("FAULT_FILE"), O_RDONLY);

	if (file >= 0)
	{
		if (read(file, fault, sizeof(fault) - 1) < 0)
			fault[0] = 0;
		close(file);
	}
	if (strcmp(fault, "EPERM") == 0) { errno = EPERM; return -1; }
	if (strcmp(fault, "ENOSYS") == 0) { errno = ENOSYS; return -1; }
	if (strcmp(fault, "ESRCH") == 0) { errno = ESRCH; return -1; }
	if (strcmp(fault, "EFAULT") == 0) { errno = EFAULT; return -1; }
	if (strcmp(fault, "random") == 0)
		switch (random() % 8)
		{
			case 0: errno = EFAULT; return -1;
			case 1: shorter.iov_len = random() % remote->iov_len; break;
			case 2:
				/* A page of garbage: no pointer in it may be followed far. */
				for (size_t i = 0; i < local->iov_len / sizeof(long); i++)
					((long *) local->iov_base)[i] = random() << 16 ^ random();
				return local->iov_len;
			case 3: if (random() % 50 == 0) { errno = ESRCH; return -1; } break;
			case 4: if (random() % 50 == 0) { errno = EPERM; return -1; } break;
		}
	return syscall(SYS_process_vm_readv, pid, local, 1, &shorter, 1, flags);
}
C

if (system("cc -shared -fPIC -w -o $library $source >/dev/null 2>&1") != 0)
{
	plan skip_all => 'no C compiler for the library that plays the faults';
}

my $node = PostgreSQL::Test::Cluster->new('refused');
$node->init;
$node->append_conf('postgresql.conf',
	    "shared_preload_libraries = 'pg_session_memory'\n"
	  . "pg_session_memory.max_overhead = 100\nautovacuum = off\n"
	  . "pg_session_memory.record_interval = '100ms'\n"
	  . "restart_after_crash = on\n");
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{FAULT_FILE} = $fault_file;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION pg_session_memory');

sub play
{
	unlink $fault_file;
	append_to_file($fault_file, $_[0]) if $_[0];
}

my $observed = open_session($node);
my $pid = backend_pid($observed);

# An idle session publishes at the end of its command; no thresholds here.
my $sources = "SELECT string_agg(DISTINCT source, ',' ORDER BY source)
	FROM pg_session_memory";
my $of_session = "SELECT source, contexts > 50, context_bytes = retained_bytes,
	anon_bytes > 0, approximate IS NULL
	FROM pg_session_memory WHERE pid = $pid";

is($node->safe_psql('postgres', $sources), 'live',
	'without a fault: all processes are live');

foreach my $fault ([ EPERM => '42501' ], [ ENOSYS => '0A000' ])
{
	my ($name, $sqlstate) = @$fault;

	play($name);
	is($node->safe_psql('postgres', $of_session), 'published|t|t|t|t',
		"$name: the view shows what a session published");
	is( $node->safe_psql(
			'postgres', "$sources WHERE backend_type = 'checkpointer'"),
		'unavailable',
		"$name: a process that publishes nothing is unavailable");
	is( $node->safe_psql(
			'postgres', "$sources WHERE pid = pg_backend_pid()"),
		'live',
		"$name: the own session needs no such read");
	foreach my $call ("pg_session_memory_contexts($pid)",
		"pg_session_memory_categories($pid)",
		"pg_session_memory_snapshot($pid)",
		"pg_session_memory_folded($pid)")
	{
		my ($status, $stdout, $stderr) = $node->psql('postgres',
			"\\set VERBOSITY verbose\nSELECT count(*) FROM $call");

		like($stderr, qr/ERROR:  $sqlstate: could not read memory of process $pid/,
			"$name: $call raises an error");
		like($stderr, qr/HINT:.*shared_preload_libraries.*ptrace_scope/,
			"$name: $call hints at preloading and at Yama");
	}
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		"SELECT count(DISTINCT split_part(s, ';', 1))
		FROM pg_session_memory_folded() s");
	is("$status $stdout", '0 1', "$name: stacks of the own session alone");
	like($stderr, qr/WARNING:  memory contexts of \d+ processes could not be read/,
		"$name: a warning says that others are missing");
	is( $node->safe_psql('postgres',
			"SELECT rss_bytes > 0 FROM pg_session_memory_process($pid)"),
		't',
		"$name: what the operating system counts needs no such read");
}

# As if the process had ended between two looks.
foreach my $name ('ESRCH', 'EFAULT')
{
	play($name);
	is($node->safe_psql('postgres', $of_session), 'published|t|t|t|t',
		"$name: the view shows what a session published");
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		"SELECT count(*) FROM pg_session_memory_contexts($pid)");
	is("$status $stdout", '0 0', "$name: no rows and no error");
	like($stderr, qr/WARNING:  PID $pid is not a PostgreSQL server process/,
		"$name: a warning says so");
}

# 2,000 walks through a memory of which one part in eight cannot be read, one
# is cut short and one is garbage.  Refusals may end a statement with an
# error, so each stands in a block of its own.
play('random');
my ($status, $stdout, $stderr) = $node->psql(
	'postgres', "DO \$\$
DECLARE
	bytes numeric;
BEGIN
	FOR i IN 1..1000 LOOP
		BEGIN
			SELECT sum(total_bytes) INTO bytes
			FROM pg_session_memory_contexts($pid);
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
		SELECT sum(context_bytes) INTO bytes
		FROM pg_session_memory WHERE pid = $pid;
	END LOOP;
END \$\$");
is($status, 0, 'faults at random: 2,000 looks and no crash');
unlike($stderr, qr/ERROR|terminated|lost/,
	'faults at random: no error but refusals');

# Stacks have no column that says so.
($status, $stdout, $stderr) = $node->psql(
	'postgres', "DO \$\$
BEGIN
	FOR i IN 1..200 LOOP
		BEGIN
			PERFORM pg_session_memory_folded($pid);
			PERFORM pg_session_memory_folded();
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
	END LOOP;
END \$\$");
is($status, 0, 'faults at random: 400 times stacks');
like($stderr,
	qr/WARNING:  memory contexts of \d+ process(es)? changed while they were read/,
	'faults at random: stacks come with a warning');
unlike($stderr, qr/ERROR|terminated|lost/,
	'faults at random: no error for stacks but refusals');

# Who measures nothing of itself has no figure of its contexts in the events
# either: not with a statement that took much, nor after a restart.
play('EPERM');
my $large = open_session($node);
my $large_pid = backend_pid($large);
my $array = '(SELECT array_agg(md5(i::text)) AS a
	FROM generate_series(1, 200000) AS i) AS s';
my $events = "SELECT kind, bytes > 10000000, session_bytes > 100000
	FROM pg_session_memory_events WHERE pid = $large_pid";
foreach my $track ('on', 'off')
{
	$large->query_safe("SET pg_session_memory.track = $track");
	$large->query_safe("SET pg_session_memory.statement_threshold = '10MB'");
	$large->query_safe("SELECT array_length(a, 1) FROM $array");
	$large->query_safe('RESET pg_session_memory.statement_threshold');
	is( $node->safe_psql('postgres', "$events AND kind = 'statement'"),
		'statement|t|' . ($track eq 'on' ? 't' : ''),
		"track $track: session_bytes of a statement's event");
	$node->safe_psql('postgres', 'SELECT pg_session_memory_reset_events()');
}
# What is told of a restart is out of the last ten seconds' samples: that one in
# which all processes together had most.  So it takes more than what comes and
# goes.
$array =~ s/200000/600000/;
$node->safe_psql('postgres', 'SELECT pg_session_memory_reset_history()');
my $began = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
start_statement($large, "SELECT array_length(a, 1), pg_sleep(1000) FROM $array");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) > 0 FROM pg_session_memory_history_sessions
			WHERE pid = $large_pid AND at > '$began' AND anon_bytes > 40000000"),
	'a session whose contexts nobody can see is recorded');
$observed->quit;
my $log_end = -s $node->logfile;
kill 'KILL', $large_pid;
eval { $large->{run}->kill_kill };
$node->wait_for_log(qr/Largest processes/, $log_end);
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is up again');
is($node->safe_psql('postgres', "$events AND kind = 'restarted'"),
	'restarted|t|', 'session_bytes of a restart that such a session made: NULL');
$observed = open_session($node);
$pid = backend_pid($observed);

play('');
is($node->safe_psql('postgres', "SELECT source, approximate
		FROM pg_session_memory WHERE pid = $pid"),
	'live|f', 'after the faults: live and exact again');
ok($observed->query_safe('SELECT 1') eq '1',
	'the observed session noticed nothing');

$observed->quit;
$node->stop;
unlike(slurp_file($node->logfile),
	qr/terminated by signal (?!9:)|PANIC/,
	'no process of the server has crashed, but for the one that was killed');

done_testing();
