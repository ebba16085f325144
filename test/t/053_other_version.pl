# A library and SQL objects that are not of one version, as between the
# replacement of a package's files and ALTER EXTENSION UPDATE: what does not
# fit is refused with a message that says so, and nothing else happens.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $node = start_watching_server('other_version');
my $session = open_session($node);
my $pid = backend_pid($session);

# Something to be shown by those that show only what there is
$session->query_safe("SET pg_session_memory.session_threshold = '1MB'");
$session->query_safe(retain('over', 2 * 1024 * 1024));

$node->poll_query_until('postgres',
	'SELECT count(*) > 0 FROM pg_session_memory_history_sessions')
  or die 'nothing was recorded';

# Arguments with which a function returns a row, by its symbol in the library
my %arguments = (
	pg_session_memory_contexts => "$pid, -1",
	pg_session_memory_measure => "$pid, NULL",
	pg_session_memory_process => $pid,
	pg_session_memory_get_bloat => '',
	pg_session_memory_get_events => '',
	pg_session_memory_get_history => '',
	pg_session_memory_get_history_sessions => '',
	pg_session_memory_get_server => '',
	pg_session_memory_get_statements => '',
	pg_session_memory_last_statement => '',
	pg_session_memory_environment => '',
	pg_session_memory_trim => 'true',
	pg_session_memory_trim_other => "$pid, 1000",
	pg_session_memory_categories => $pid,
	pg_session_memory_report_tree => "ARRAY[$pid]",
	pg_session_memory_idents => "$pid, 20, true",
	pg_session_memory_snapshot_paths => "pg_session_memory_snapshot($pid)",
	pg_session_memory_sample => "$pid, '1 ms', 2");

# Every function of the library that returns rows of columns
my $functions = rows_of(
	$session, q(
	SELECT p.proname AS name, p.prosrc AS symbol, p.proretset AS rows,
		oidvectortypes(p.proargtypes) AS takes, (
			SELECT json_agg(json_build_array(a.name, a.type::regtype::text)
				ORDER BY a.n)
			FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes)
				WITH ORDINALITY AS a(name, type, mode, n)
			WHERE a.mode = 'o') AS columns
	FROM pg_proc p
		JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
		JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e'
		JOIN pg_language l ON l.oid = p.prolang
	WHERE e.extname = 'pg_session_memory' AND l.lanname = 'c'
		AND p.prorettype = 'record'::regtype));
is_deeply(
	[ sort map { $_->{symbol} } @$functions ],
	[ sort keys %arguments ],
	'every function that returns columns is tested');

# What the library says when it is declared with these columns.
sub declared_as
{
	my ($function, @columns) = @_;
	my $out = join ', ', map { "OUT \"$_->[0]\" $_->[1]" } @columns;
	my $in = $function->{takes};

	$session->query_safe("CREATE FUNCTION declared("
		  . join(', ', $in eq '' ? () : $in, $out)
		  . ') RETURNS '
		  . ($function->{rows} ? 'SETOF record' : 'record')
		  . " LANGUAGE C AS 'pg_session_memory', '$function->{symbol}'");
	my $output = $session->query('\set VERBOSITY verbose
		SELECT d FROM declared('
		  . $arguments{ $function->{symbol} } . ') AS d LIMIT 1');
	my $said = $session->{stderr};
	$session->{stderr} = '';
	$session->query_safe("DROP FUNCTION declared($in)");
	return ($output, $said);
}

my $refusal = qr/ERROR:  42804: the library of pg_session_memory and its SQL objects are not of one version\nHINT:  Use ALTER EXTENSION pg_session_memory UPDATE/;

foreach my $function (@$functions)
{
	my $name = $function->{symbol};
	my @columns = @{ $function->{columns} };
	my ($output, $said);

	($output, $said) = declared_as($function, @columns);
	like($output, qr/^\(.*\)$/s, "$name, as it is: a row");
	is($said, '', "$name, as it is: without a complaint");

	(undef, $said) =
	  declared_as($function, @columns, [ 'one_more', 'bigint' ]);
	like($said, $refusal, "$name with a column more: refused");

	(undef, $said) = declared_as($function, @columns[ 0 .. $#columns - 1 ]);
	like($said, $refusal, "$name with a column less: refused");
}

# This one writes its columns by their types, and would take a number for an
# address.
my ($contexts) =
  grep { $_->{name} eq 'pg_session_memory_contexts' } @$functions;
my @columns = @{ $contexts->{columns} };
$columns[3] = [ 'level', 'text' ];
my (undef, $said) = declared_as($contexts, @columns);
like($said, $refusal, 'a column of another type: refused');

# A function of a later version
$session->query("CREATE FUNCTION later() RETURNS void
	LANGUAGE C AS 'pg_session_memory', 'pg_session_memory_later'");
like(
	$session->{stderr},
	qr/could not find function "pg_session_memory_later" in file/,
	'a function that the library does not have: refused');
$session->{stderr} = '';

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/,
	'nothing crashed');
$session->quit;
$node->stop;

done_testing();
