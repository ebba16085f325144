# A PostgreSQL whose contexts look different inside than this library thinks:
# the figures that depend on it are NULL, one WARNING says so, nothing is wrong
# and nothing crashes.
#
# The library is built once more with a layout of AllocSet that is wrong on
# purpose.  Its functions are made by hand here, for one session can load only
# one of the two.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Copy qw(copy);
use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = abs_path("$FindBin::RealBin/../..");
my $build = PostgreSQL::Test::Utils::tempdir();

mkdir $_ =~ s/^\Q$tree\E/$build/r
  foreach ("$tree/src", grep { -d } glob "$tree/src/*");
copy($_, $_ =~ s/^\Q$tree\E/$build/r) || die "$_: $!"
  foreach (glob("$tree/src/*.{c,h,map}"), glob("$tree/src/*/*.[ch]"));
copy("$tree/$_", "$build/") || die "$_: $!"
  foreach ('Makefile', 'pg_session_memory.control',
	'pg_session_memory--1.0.sql');
chomp(my $pg_config = `which pg_config`);
system_or_bail('make', '-s', '-C', $build, 'with_llvm=no',
	"PG_CONFIG=$pg_config", 'COPT=-DPGSM_WRONG_LAYOUT', 'all');

my $node = PostgreSQL::Test::Cluster->new('wrong_layout');
$node->init;
$node->start;

# The definition is the extension's own, with another library.
my $script = slurp_file("$tree/pg_session_memory--1.0.sql");
my ($definition) =
  $script =~ /(CREATE FUNCTION pg_session_memory_contexts\(.*?;)/s;
$definition =~ s/\bSUPPORT \w+//;
$definition =~ s/MODULE_PATHNAME/$build\/pg_session_memory.so/;
$node->safe_psql('postgres', $definition);

my $observed = $node->background_psql('postgres');
$observed->set_query_timer_restart();
my $pid = $observed->query_safe('SELECT pg_backend_pid()');
my $looks = "SELECT count(*) > 50, count(*) FILTER (WHERE total_bytes > 0) > 50,
	num_nonnulls(sum(total_nblocks), sum(free_bytes), sum(free_chunks),
		sum(used_bytes))
	FROM pg_session_memory_contexts($pid) WHERE type = 'AllocSet';";
my ($status, $stdout, $stderr) =
  $node->psql('postgres', "$looks\n$looks\n$looks");

is($status, 0, 'no error');
is($stdout, "t|t|0\nt|t|0\nt|t|0",
	'contexts and their sizes are there, what depends on the layout is NULL');
is(scalar(() = $stderr =~ /WARNING/g), 1, 'one WARNING in a session');
like($stderr, qr/WARNING:.*AllocSet/, 'it names the kind');

# One's own session needs no such layout.
is( $node->safe_psql(
		'postgres', 'SELECT count(*) FROM pg_session_memory_contexts()
		WHERE free_bytes IS NULL OR total_nblocks IS NULL'),
	'0',
	'the own session: all figures are there');
is($observed->query_safe('SELECT 1'), '1', 'the observed session lives');

$observed->quit;
$node->stop;
done_testing();
