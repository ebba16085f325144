# The extension in dumps: what users have built on it comes back by pg_dump and
# a restore, and DROP EXTENSION does not take it along unasked.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $node = start_watching_server('dump');
my $directory = PostgreSQL::Test::Utils::tempdir();

# Views, functions, rows and privileges of users, on each kind of object of
# ours, in a schema that is in nobody's search_path.
$node->safe_psql(
	'postgres', q(
CREATE ROLE app LOGIN;
CREATE DATABASE origin;
\c origin
CREATE SCHEMA memory;
CREATE EXTENSION pg_session_memory SCHEMA memory;
REVOKE SELECT ON memory.pg_session_memory FROM PUBLIC;
GRANT SELECT ON memory.pg_session_memory TO app;
GRANT EXECUTE ON FUNCTION memory.pg_session_memory_reset_events() TO app;
REVOKE EXECUTE ON FUNCTION memory.pg_session_memory_trim(integer, bigint)
	FROM PUBLIC;
CREATE VIEW big AS
	SELECT pid, context_bytes, s FROM memory.pg_session_memory s
	WHERE context_bytes > 0;
CREATE VIEW bigger AS SELECT pid FROM big WHERE context_bytes > 1024;
CREATE VIEW plans AS
	SELECT c.* FROM pg_stat_activity a,
		LATERAL memory.pg_session_memory_contexts(a.pid) c
	WHERE c.category = 'cached plans';
CREATE MATERIALIZED VIEW looked AS SELECT * FROM memory.pg_session_memory_pools;
CREATE FUNCTION rows_of_pools() RETURNS bigint LANGUAGE sql
	BEGIN ATOMIC SELECT count(*) FROM memory.pg_session_memory_pools; END;
CREATE TABLE kept (name text,
	snapshot jsonb DEFAULT memory.pg_session_memory_snapshot());
INSERT INTO kept VALUES ('first');
CREATE TABLE history (a integer, row memory.pg_session_memory);
INSERT INTO history SELECT 1, s FROM memory.pg_session_memory s
	WHERE pid = pg_backend_pid();
CREATE VIEW growth AS
	SELECT d.* FROM kept,
		memory.pg_session_memory_diff(snapshot,
			memory.pg_session_memory_snapshot()) d;
));

# pg_dump's text, without what differs from run to run.
sub dump_of
{
	my ($database, @options) = @_;
	my $dump = "$directory/$database.dump";

	command_ok(
		[
			'pg_dump', '-f', $dump, @options, '-d',
			$node->connstr($database)
		],
		"pg_dump @options of $database");
	my $text = slurp_file($dump);
	$text =~ s/^\\(?:un)?restrict .*\n//mg;
	return $text;
}

my $text = dump_of('origin');
like(
	$text,
	qr/^CREATE EXTENSION IF NOT EXISTS pg_session_memory WITH SCHEMA memory;$/m,
	'the dump has the extension, and where it is');
unlike(
	$text,
	qr/^CREATE (?:VIEW|FUNCTION) memory\./m,
	'the dump has none of its objects');

# What works in a database with these objects.
sub check_objects
{
	my ($database, $what) = @_;

	is( $node->safe_psql(
			$database, 'SELECT count(*) > 0 FROM bigger;
			SELECT count(*) >= 0 FROM plans;
			SELECT count(*) > 0 FROM looked;
			SELECT rows_of_pools() > 0;
			SELECT (row).pid > 0 FROM history;
			SELECT count(*) > 0 FROM growth;
			INSERT INTO kept VALUES (\'second\') RETURNING name;
			REFRESH MATERIALIZED VIEW looked;'),
		"t\nt\nt\nt\nt\nt\nsecond",
		"$what: what was built on it works");
	is( $node->safe_psql(
			$database, "SELECT
				has_table_privilege('public', 'memory.pg_session_memory', 'SELECT'),
				has_table_privilege('app', 'memory.pg_session_memory', 'SELECT'),
				has_function_privilege('public',
					'memory.pg_session_memory_reset_events()', 'EXECUTE'),
				has_function_privilege('app',
					'memory.pg_session_memory_reset_events()', 'EXECUTE'),
				has_function_privilege('public',
					'memory.pg_session_memory_trim(integer, bigint)', 'EXECUTE'),
				has_function_privilege('public',
					'memory.pg_session_memory_trim(boolean)', 'EXECUTE')"),
		'f|t|f|t|f|t',
		"$what: privileges are those that were given");
}

#
# Plain text, through psql
#
$node->safe_psql('postgres', 'CREATE DATABASE plain TEMPLATE template0');
$node->command_ok(
	[
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$directory/output",
		'-f', "$directory/origin.dump", '-d', $node->connstr('plain')
	],
	'plain: restored without an error');
is(dump_of('plain'), $text, 'plain: a dump of the restored is the same');
check_objects('plain', 'plain');

#
# An archive, through pg_restore
#
$node->command_ok(
	[
		'pg_dump', '-Fc', '-f', "$directory/archive", '-d',
		$node->connstr('origin')
	],
	'archive: dumped');
$node->safe_psql('postgres', 'CREATE DATABASE archive TEMPLATE template0');
$node->command_ok(
	[
		'pg_restore', '--exit-on-error', '-j', 2, '-d',
		$node->connstr('archive'), "$directory/archive"
	],
	'archive: restored without an error');
is(dump_of('archive'), $text, 'archive: a dump of the restored is the same');
check_objects('archive', 'archive');

# Over what is there already
$node->command_ok(
	[
		'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d',
		$node->connstr('archive'), "$directory/archive"
	],
	'archive: restored over itself without an error');
check_objects('archive', 'restored over itself');

#
# DROP EXTENSION
#
my $session = open_session($node, 'plain');
$session->query('\set VERBOSITY verbose
	DROP EXTENSION pg_session_memory');
like(
	$session->{stderr},
	qr/ERROR:  2BP01: cannot drop extension pg_session_memory because other objects depend on it\n/,
	'DROP EXTENSION: refused, for what depends on it');
foreach my $object (
	'view big', 'view bigger', 'view plans', 'materialized view looked',
	'function rows_of_pools\(\)', 'default value for column snapshot of table kept',
	'column "?row"? of table history', 'view growth')
{
	like($session->{stderr}, qr/^(?:DETAIL:  )?$object depends on /m,
		"DROP EXTENSION: it names $object");
}
$session->{stderr} = '';
check_objects('plain', 'refused');

# Whatever of ours the catalogs still know
sub left_behind
{
	return $session->query_safe(
		"SELECT oid::regprocedure::text FROM pg_proc
			WHERE proname ~ 'session_memory'
			OR probin ~ 'session_memory'
		UNION ALL SELECT oid::regclass::text FROM pg_class
			WHERE relname ~ 'session_memory'
		UNION ALL SELECT oid::regtype::text FROM pg_type
			WHERE typname ~ 'session_memory'
		UNION ALL SELECT extname FROM pg_extension
			WHERE extname ~ 'session_memory'");
}
isnt(left_behind(), '', 'the query for what is left behind finds it');
$session->query('DROP EXTENSION pg_session_memory CASCADE');
like($session->{stderr}, qr/drop cascades to 8 other objects/,
	'CASCADE: drops what depends on it');
unlike($session->{stderr}, qr/ERROR/, 'CASCADE: without an error');
$session->{stderr} = '';
is(left_behind(), '', 'CASCADE: nothing is left behind');
is($session->query_safe('SELECT name FROM kept ORDER BY name'),
	"first\nsecond\nsecond", "CASCADE: rows of users' tables stay");
is($session->query_safe('SELECT a FROM history'), 1, 'CASCADE: all of them');
is( $session->query_safe(
		'CREATE EXTENSION pg_session_memory SCHEMA memory;
		SELECT count(*) > 0 FROM memory.pg_session_memory'),
	't',
	'and it can be created again');
$session->quit;

$node->stop;

done_testing();
