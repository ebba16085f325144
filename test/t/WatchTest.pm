# What the tests of sessions that watch themselves have in common.
package WatchTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;

our @EXPORT = qw(
  start_watching_server
  published
  retain
  log_end
  log_since
  build_misbehaving_module
);

# A server whose sessions watch themselves.  Each command is measured, unless
# the settings say something else, and the watcher leaves running statements
# alone: what happens must not depend on how long the machine takes for it.
sub start_watching_server
{
	my ($name, $settings) = @_;

	return start_server(
		$name, q(
shared_preload_libraries = 'pg_session_memory'
pg_session_memory.max_overhead = 100
pg_session_memory.watch_interval = 0
) . ($settings // ''));
}

# A session's row of the view, as another session sees it.
sub published
{
	my ($observer, $pid) = @_;

	return rows_of($observer,
		"SELECT * FROM pg_session_memory WHERE pid = $pid")->[0];
}

# The statement by which a session comes to retain so many bytes, until it does
# DEALLOCATE: a prepared statement with a comment.  Its text, all of it, is in
# a context CachedPlanSource.
sub retain
{
	my ($name, $bytes) = @_;

	return "DO \$\$ BEGIN EXECUTE 'PREPARE $name AS SELECT 1 /*'
		|| repeat('x', $bytes) || '*/'; END \$\$";
}

# Builds test/misbehaving_module.c and returns the library's name; undef where
# there is no C compiler.
sub build_misbehaving_module
{
	my $library = PostgreSQL::Test::Utils::tempdir() . '/misbehaving_module.so';
	my ($include) = run_command([ 'pg_config', '--includedir-server' ]);

	return undef
	  if system("cc -shared -fPIC -w -I $include -o $library"
		  . " $FindBin::RealBin/../misbehaving_module.c") != 0;
	return $library;
}

# A place in the server's log, and what has been written since.  What a session
# writes at the end of a command is there when its client sees the end.
sub log_end
{
	my ($node) = @_;

	return -s $node->logfile;
}

sub log_since
{
	my ($node, $offset) = @_;

	return slurp_file($node->logfile, $offset);
}

1;
