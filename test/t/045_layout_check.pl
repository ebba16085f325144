# The layout check compares what we count of this session's own contexts with
# what their stats methods say.  Whatever the session has done before, and so
# wherever the check's own memory lies, they agree.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

# Every number of functions from none to this, each in a session of its own.
my $most = 400;

my $node = start_server('layout_check');
my $observed = open_session($node);
my $pid = backend_pid($observed);

$node->safe_psql('postgres',
	"DO \$do\$ BEGIN FOR i IN 1 .. $most LOOP
		EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE plpgsql
			AS \$\$ BEGIN RETURN %s; END \$\$', i, i);
	END LOOP; END \$do\$");

# One psql, which connects anew for each.  The functions are called by
# statements of their own, as a client does, many of them in one message.
my $script = '';
my $calls = '';
foreach my $functions (0 .. $most)
{
	$calls .= "\\; SELECT f$functions()" if $functions > 0;
	$script .= "\\c -\n\\o /dev/null\nSELECT 0$calls;\n\\o\n";
	$script .= "SELECT $functions, count(*) > 50, count(*) = count(free_bytes)
		FROM pg_session_memory_contexts($pid);\n";
}
my ($status, $stdout, $stderr) = $node->psql(
	'postgres', $script, on_error_stop => 1,
	timeout => 10 * $PostgreSQL::Test::Utils::timeout_default);
my @lines = split /\n/, $stdout;

is($status, 0, 'no error');
is($stderr, '', 'no warning');
is(scalar @lines, $most + 1, 'all sessions have looked');
is(join("\n", grep { !/^\d+\|t\|t$/ } @lines),
	'', 'each knows the free bytes of all contexts');

$observed->quit;
$node->stop;

done_testing();
