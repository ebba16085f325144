# pg_upgrade of a server with the extension, preloaded, and with what users
# have built on it.
#
# The old server is of this version, too, unless PGSM_OLD_BINDIR names the
# programs' directory of another PostgreSQL that has the extension installed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $old_bindir = $ENV{PGSM_OLD_BINDIR};
my @old_installation;

if ($old_bindir)
{
	my ($sharedir) =
	  run_command([ "$old_bindir/pg_config", '--sharedir' ]);

	plan skip_all => "PGSM_OLD_BINDIR: $old_bindir has no pg_session_memory"
	  unless -f "$sharedir/extension/pg_session_memory.control";
	@old_installation = (install_path => dirname($old_bindir));
}

my $old = PostgreSQL::Test::Cluster->new('old', @old_installation);
my $new = PostgreSQL::Test::Cluster->new('new');
my $new_bindir = $new->config_data('--bindir');
$old_bindir ||= $new_bindir;
my @initdb = ('--encoding=UTF8', '--no-locale');

note 'from ' . $old->pg_version . ' to ' . $new->pg_version;

# The default has changed, and both must agree.
sub init
{
	my ($node) = @_;

	$node->init(
		extra => [
			@initdb, $node->pg_version >= 18 ? '--no-data-checksums' : ()
		]);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'pg_session_memory'\nautovacuum = off\n"
		  . "compute_query_id = on\n"
		  . "pg_session_memory.record_interval = '100ms'\n");
}

# Takes some 20 MB.
my $large = "SELECT array_length(array_agg(md5(i::text)), 1)
	FROM generate_series(1, 200000) AS i";

init($old);
init($new);
$old->start;
$old->safe_psql(
	'postgres', q(
CREATE SCHEMA memory;
CREATE EXTENSION pg_session_memory SCHEMA memory;
CREATE ROLE app;
GRANT EXECUTE ON FUNCTION memory.pg_session_memory_reset_events() TO app;
REVOKE SELECT ON memory.pg_session_memory_events FROM PUBLIC;
ALTER ROLE app LOGIN;
ALTER ROLE app SET pg_session_memory.session_threshold = '5MB';
ALTER ROLE app SET pg_session_memory.process_limit = '200MB';
ALTER DATABASE postgres SET pg_session_memory.process_limit = '300MB';
CREATE TABLE kept AS SELECT memory.pg_session_memory_snapshot() AS snapshot;
CREATE TABLE history AS
	SELECT s AS row FROM memory.pg_session_memory s
	WHERE pid = pg_backend_pid();
CREATE VIEW big AS SELECT * FROM memory.pg_session_memory
	WHERE context_bytes > 0;
CREATE VIEW worst AS SELECT queryid, max_exec_bytes, query
	FROM memory.pg_session_memory_statements WHERE max_exec_bytes > 10000000;
CREATE VIEW night AS SELECT h.at, h.anon_bytes, s.pid, s.context_bytes
	FROM memory.pg_session_memory_history h
	JOIN memory.pg_session_memory_history_sessions s USING (at);
CREATE VIEW server AS SELECT available_bytes
	FROM memory.pg_session_memory_server;
) . "$large;");
my $recorded = 'SELECT count(*) > 0 FROM night
	WHERE anon_bytes > 0 AND context_bytes > 0';
ok($old->poll_query_until('postgres', $recorded),
	'there is a history before the upgrade');
$old->safe_psql(
	'postgres', q(
CREATE TABLE statements AS
	SELECT s AS row FROM memory.pg_session_memory_statements s;
CREATE TABLE samples AS SELECT h AS row
	FROM memory.pg_session_memory_history h;
CREATE TABLE sessions AS SELECT s AS row
	FROM memory.pg_session_memory_history_sessions s;
));
my $columns_query = q(
	SELECT table_name, string_agg(column_name || ' ' || data_type, ', '
		ORDER BY ordinal_position)
	FROM information_schema.columns WHERE table_schema = 'memory'
	GROUP BY table_name ORDER BY table_name);
my $columns = $old->safe_psql('postgres', $columns_query);
my $functions_query = q(
	SELECT p.oid::regprocedure::text, p.prosrc, p.probin, p.provolatile
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
		AND d.objid = p.oid AND d.deptype = 'e'
	WHERE p.proname LIKE 'pg_session_memory%' ORDER BY 1);
my $functions = $old->safe_psql('postgres', $functions_query);
$old->stop;

# It writes files where it runs.
chdir $PostgreSQL::Test::Utils::tmp_check or die;
command_ok(
	[
		"$new_bindir/pg_upgrade", '--no-sync',
		'-b', $old_bindir, '-B', $new_bindir,
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-p', $old->port, '-P', $new->port,
		'-s', $new->host
	],
	'pg_upgrade');

$new->start;
is($new->safe_psql('postgres', $columns_query),
	$columns, 'the views have the columns that they had');
is($new->safe_psql('postgres', $functions_query),
	$functions, 'the functions are those that were there');
is( $new->safe_psql(
		'postgres', q(
SELECT count(*) > 2 FROM big WHERE source = 'live';
SELECT count(*) = 1 FROM history WHERE (row).context_bytes > 0;
SELECT count(*) > 0 FROM kept,
	memory.pg_session_memory_diff(snapshot, memory.pg_session_memory_snapshot());
SELECT count(*) > 0 FROM memory.pg_session_memory_contexts()
	WHERE used_bytes IS NOT NULL;
SELECT count(*) > 0 FROM memory.pg_session_memory();
SELECT count(*) > 0 FROM memory.pg_session_memory_pools;
SELECT count(*) = 1 FROM memory.pg_session_memory_trim();
SELECT count(*) > 0 FROM memory.pg_session_memory_events
	WHERE kind = 'trimmed';)),
	join("\n", ('t') x 8),
	'everything works, also what was built on it');
is( $new->safe_psql(
		'postgres', "SELECT
			has_function_privilege('app',
				'memory.pg_session_memory_reset_events()', 'EXECUTE'),
			has_function_privilege('public',
				'memory.pg_session_memory_reset_events()', 'EXECUTE'),
			has_table_privilege('public',
				'memory.pg_session_memory_events', 'SELECT')"),
	't|f|f',
	'privileges are those that were given');
is( $new->safe_psql(
		'postgres', "SELECT setconfig FROM pg_db_role_setting
			WHERE setrole = 'app'::regrole"),
	'{pg_session_memory.session_threshold=5MB,pg_session_memory.process_limit=200MB}',
	"a role's settings are there");
my $limit = 'SELECT limit_bytes FROM memory.pg_session_memory
	WHERE pid = pg_backend_pid()';
$new->safe_psql('postgres', 'GRANT USAGE ON SCHEMA memory TO app');
is( $new->safe_psql('postgres', $limit, extra_params => [ '-U', 'app' ]),
	200 * 1024 * 1024,
	"a role's limit holds");
is($new->safe_psql('postgres', $limit),
	300 * 1024 * 1024, "a database's limit holds");

# What was kept in tables is there; statements and the history begin anew.
is( $new->safe_psql(
		'postgres', "
SELECT count(*) = 1 FROM statements WHERE (row).max_exec_bytes > 10000000
	AND (row).query LIKE 'SELECT array_length(%';
SELECT count(*) > 0 FROM samples WHERE (row).anon_bytes > 0;
SELECT count(*) > 0 FROM sessions WHERE (row).context_bytes > 0;
SELECT count(*) FROM worst;
$large;
SELECT query LIKE 'SELECT array_length(%' FROM worst;
SELECT available_bytes > 0 FROM server;
SELECT count(*) > 0 FROM memory.pg_session_memory_environment()"),
	"t\nt\nt\n0\n200000\nt\nt\nt",
	'statements, the server and its environment');
ok($new->poll_query_until('postgres', $recorded), 'a history, too');

# All that belongs to the extension goes with it.
is( $new->safe_psql(
		'postgres', "ALTER EXTENSION pg_session_memory UPDATE;
			DROP EXTENSION pg_session_memory CASCADE;
			SELECT count(*) FROM pg_proc WHERE proname LIKE 'pg_session_memory%'"),
	0,
	'the extension owns its objects');
$new->stop;

done_testing();
