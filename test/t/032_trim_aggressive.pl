# All inputs of pg_regress give the same results when sessions trim themselves
# all the time, with their caches.
#
# First after each command, whatever it was, also inside of transactions: psql
# is connected to a proxy, which has the session trim itself before it lets
# psql know that the session is ready for the next command.  Then in idle
# sessions, the moment they are idle, and asked by another session without a
# pause.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Basename;
use IO::Select;
use IO::Socket::UNIX;
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $inputs = "$FindBin::RealBin/../..";
my @tests = map { basename($_, '.sql') } sort glob("$inputs/sql/*.sql");
# The 128 buffers that a server for tests has are too few for a scan of 200
# partitions in order, each of which pins one.
my $node = start_server('aggressive', "shared_buffers = 16MB\n");

# Tests drop the extension, and look what is there when they have: so the
# function that trims is one of our own.
sub create_database
{
	my ($name) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
	$node->safe_psql(
		'postgres', "ALTER DATABASE $name SET lc_messages TO 'C';
		ALTER DATABASE $name SET bytea_output TO 'hex'");
	$node->safe_psql(
		$name, q(
CREATE SCHEMA aggressive;
GRANT USAGE ON SCHEMA aggressive TO PUBLIC;
CREATE FUNCTION aggressive.trim(caches boolean, OUT a bigint, OUT b bigint,
	OUT c bigint, OUT d bigint, OUT e bigint, OUT caches_dropped boolean,
	OUT g boolean, OUT h double precision)
RETURNS record AS '$libdir/pg_session_memory', 'pg_session_memory_trim'
LANGUAGE C;
GRANT ALL ON SCHEMA public TO PUBLIC));
}

# Runs all of them one after the other, and reports each.
sub run_inputs
{
	my ($what, $host, $database) = @_;
	my $output = PostgreSQL::Test::Utils::tempdir();
	my $stdout = '';
	local %ENV = $node->_get_env();

	IPC::Run::run(
		[
			$ENV{PG_REGRESS}, '--use-existing', '--bindir=',
			"--inputdir=$inputs", "--outputdir=$output",
			"--dbname=$database", "--host=$host", '--port=' . $node->port,
			@tests
		],
		'>', \$stdout, '2>&1');
	foreach my $test (@tests)
	{
		# "ok 1 - name   12 ms" from 16 on, "test name   ... ok   12 ms" before
		like($stdout, qr/^(ok \d+ +[-+] \Q$test\E |test \Q$test\E +\.\.\. ok )/m,
			"$what: the same result of $test");
	}
	diag(-f "$output/regression.diffs"
		? slurp_file("$output/regression.diffs")
		: $stdout)
	  if $stdout =~ /^not ok|FAILED|could not|abort/m;
}

# ---------------------------------------------------------------------------
# The proxy.  It is a process for each connection, which passes everything on,
# and keeps back each "ready for query" of the server until the session has
# trimmed itself.
# ---------------------------------------------------------------------------

my $trim = "SELECT caches_dropped FROM aggressive.trim(true)\0";
my $trim_message = pack('a N a*', 'Q', 4 + length $trim, $trim);

# Takes a whole message off the buffer, if there is one.
sub take_message
{
	my ($buffer) = @_;

	return if length $$buffer < 5;
	my $length = 1 + unpack('x N', $$buffer);
	return if length $$buffer < $length;
	return substr($$buffer, 0, $length, '');
}

sub send_all
{
	my ($socket, $data) = @_;

	while (length $data)
	{
		my $sent = syswrite($socket, $data) // return 0;
		substr($data, 0, $sent, '');
	}
	return 1;
}

sub serve
{
	my ($client, $server, $count_file) = @_;
	my $both = IO::Select->new($client, $server);
	my $buffer = '';
	my $kept_back;				# the message that the client waits for
	my ($trims, $failures) = (0, 0);

  CONNECTION: while (1)
	{
		foreach my $socket ($both->can_read)
		{
			sysread($socket, my $data, 65536) or last CONNECTION;
			if ($socket == $client)
			{
				send_all($server, $data) or last CONNECTION;
				next;
			}
			$buffer .= $data;
			while (defined(my $message = take_message(\$buffer)))
			{
				my $type = substr($message, 0, 1);

				if (defined $kept_back)
				{
					# The answer to our own command: a row that says true, and
					# what would have come at any time goes to the client.
					$trims++ if $type eq 'D' && $message =~ /t$/;
					$failures++ if $type eq 'E';
					if ($type eq 'Z')
					{
						send_all($client, $kept_back);
						undef $kept_back;
					}
					send_all($client, $message) if $type =~ /[AS]/;
				}
				# Not in a transaction that has failed: nothing is done there.
				elsif ($type eq 'Z' && $message !~ /E$/)
				{
					$kept_back = $message;
					send_all($server, $trim_message) or last CONNECTION;
				}
				else
				{
					send_all($client, $message);
				}
			}
		}
	}
	append_to_file($count_file, "$trims $failures\n");
}

# Returns its process id.
sub start_proxy
{
	my ($directory, $count_file) = @_;
	my $name = '.s.PGSQL.' . $node->port;
	my $listener = IO::Socket::UNIX->new(
		Local => "$directory/$name",
		Listen => 10) or die "could not listen: $!";
	my $pid = fork // die "could not fork: $!";

	return $pid if $pid != 0;

	# What the test does at its end is not for this process, nor for those
	# that it starts.
	$SIG{$_} = 'DEFAULT' foreach qw(HUP INT TERM);
	$SIG{CHLD} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		next if fork;
		my $server = IO::Socket::UNIX->new(Peer => $node->host . "/$name");

		serve($client, $server, $count_file) if $server;
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}

my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $counts = PostgreSQL::Test::Utils::tempdir() . '/counts';
my $proxy = start_proxy($directory, $counts);

END
{
	# also where the test has died
	my $status = $?;

	if ($proxy)
	{
		kill TERM => $proxy;
		waitpid $proxy, 0;
	}
	$? = $status;
}

create_database('after_each');
run_inputs('after each command', $directory, 'after_each');

# A connection's count is written when psql has ended it.  There are more
# commands in each input than 10, and psql was told of each one's end.
my ($trims, $failures) = (0, 0);
foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	my @lines = -f $counts ? split /\n/, slurp_file($counts) : ();

	($trims, $failures) = (0, 0);
	foreach my $line (@lines)
	{
		my ($connection_trims, $connection_failures) = split / /, $line;
		$trims += $connection_trims;
		$failures += $connection_failures;
	}
	last if @lines >= @tests;
	select undef, undef, undef, 0.1;
}
cmp_ok($trims, '>', 10 * @tests, "after each command: $trims trims");
is($failures, 0, 'after each command: each of them went well');

# ---------------------------------------------------------------------------
# Idle sessions.  What drops the caches is the other session: where the catalog
# cache is small, a session that is idle keeps it.
# ---------------------------------------------------------------------------

$node->append_conf(
	'postgresql.conf', q(
shared_preload_libraries = 'pg_session_memory'
pg_session_memory.trim_when_idle = on
pg_session_memory.idle_delay = 10ms
pg_session_memory.trim_threshold = 64kB
));
$node->restart;
create_database('when_idle');

# Sessions come and go, so some of those it asks are gone: it does not want to
# know.
$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_session_memory');
append_to_file(
	"$directory/ask.sql", q(
SELECT count(pg_session_memory_trim(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
));
my $output = '';
my $asking;
{
	local %ENV = $node->_get_env(
		PGOPTIONS => '-c client_min_messages=error -c log_min_messages=error');
	$asking = IPC::Run::start(
		[
			'pgbench', '-n', '-T', 3600, '-f', "$directory/ask.sql",
			'postgres'
		],
		'>', \$output, '2>&1');
}
run_inputs('when idle', $node->host, 'when_idle');

# Every event has a number, and there is one for each trim that gave back
# something, up to some a minute of each session.
cmp_ok(
	$node->safe_psql(
		'postgres', "SELECT max(id) FROM pg_session_memory_events
		WHERE kind = 'trimmed'"),
	'>',
	@tests,
	'when idle: sessions trimmed themselves');
$asking->signal('TERM');
$asking->finish;

unlike(
	slurp_file($node->logfile),
	qr/PANIC|TRAP|was terminated by signal/,
	'no sign of a crash in the log');
$node->stop;

done_testing();
