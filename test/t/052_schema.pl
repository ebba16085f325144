# The extension in a schema of its own: every function and view works with an
# empty search_path, also after the schema was changed, and nothing that others
# have put into that schema before is taken for something else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $node = start_watching_server(
	'schema', q(
pg_session_memory.record_interval = '100ms'
));

# A session to look at, over its thresholds, so that each view has a row
my $observed = open_session($node);
my $pid = backend_pid($observed);
$observed->query_safe("SET pg_session_memory.session_threshold = '4MB'");
$observed->query_safe(retain('over', 8 * 1024 * 1024));

# Argument lists with which each function returns at least one row; SCHEMA
# stands for that of the extension.
my %calls = (
	'pg_session_memory()' => [''],
	'pg_session_memory_categories(integer)' => [ '', $pid ],
	'pg_session_memory_check()' => [''],
	'pg_session_memory_contexts(integer, integer)' =>
	  [ '', $pid, "$pid, 1" ],
	'pg_session_memory_diff(jsonb, jsonb)' => [
		"SCHEMA.pg_session_memory_snapshot(), SCHEMA.pg_session_memory_snapshot($pid)"
	],
	'pg_session_memory_environment()' => [''],
	'pg_session_memory_folded(integer, boolean)' =>
	  [ '', $pid, "$pid, true", 'idents => true' ],
	'pg_session_memory_get_bloat()' => [''],
	'pg_session_memory_get_events()' => [''],
	'pg_session_memory_get_history()' => [''],
	'pg_session_memory_get_history_sessions()' => [''],
	'pg_session_memory_get_server()' => [''],
	'pg_session_memory_get_statements()' => [''],
	'pg_session_memory_idents(integer, integer, boolean)' =>
	  [ '', $pid, "$pid, 3", 'max_rows => 3', 'by_pattern => false' ],
	'pg_session_memory_is_bloated()' => [''],
	'pg_session_memory_last_statement()' => [''],
	'pg_session_memory_measure(integer, timestamp with time zone)' =>
	  ["$pid, NULL"],
	'pg_session_memory_process(integer)' => [ '', $pid ],
	'pg_session_memory_recycle()' => [''],
	'pg_session_memory_report(interval, integer, text)' =>
	  [ '', "'1 hour', details => 2", "title => 'A title'" ],
	'pg_session_memory_report_bar(bigint[], bigint)' => ["'{1,2}', 3"],
	'pg_session_memory_report_cell(text, bigint)' => ["'A', 1"],
	'pg_session_memory_report_cell(text, text, integer)' => ["'A', 'b', 1"],
	'pg_session_memory_report_duration(interval)' => ["'1 hour'"],
	'pg_session_memory_report_events()' => [''],
	'pg_session_memory_report_history(pg_session_memory_history[])' =>
	  ["ARRAY(SELECT h FROM SCHEMA.pg_session_memory_history h)"],
	'pg_session_memory_report_icicle(integer[], bigint, text, text)' =>
	  ["ARRAY[$pid], 0, 'root', 'label'"],
	'pg_session_memory_report_key(text)' => ["''"],
	'pg_session_memory_report_kinds()' => [''],
	'pg_session_memory_report_script()' => [''],
	'pg_session_memory_report_session(pg_session_memory, text, bigint)' => [
		"(SELECT s FROM SCHEMA.pg_session_memory s WHERE pid = $pid), '', 1"
	],
	'pg_session_memory_report_size(bigint)' => ['1'],
	'pg_session_memory_report_statements()' => [''],
	'pg_session_memory_report_style()' => [''],
	'pg_session_memory_report_text(text, integer)' => [ "''", "'a', 1" ],
	'pg_session_memory_report_tree(integer[])' => ["ARRAY[$pid]"],
	'pg_session_memory_reset_events()' => [''],
	'pg_session_memory_reset_history()' => [''],
	'pg_session_memory_reset_peak()' => [''],
	'pg_session_memory_reset_statements()' => [''],
	'pg_session_memory_sample(integer, interval, integer)' =>
	  [ "$pid, '1 ms', 2", "$pid, count => 1" ],
	'pg_session_memory_snapshot(integer)' => [ '', $pid ],
	'pg_session_memory_snapshot_paths(jsonb)' =>
	  ["SCHEMA.pg_session_memory_snapshot($pid)"],
	'pg_session_memory_trim(boolean)' => [ '', 'false', 'caches => false' ],
	'pg_session_memory_trim(integer, bigint)' =>
	  [ $pid, "$pid, 180000", "$pid, timeout => 180000" ]);

# These would take the rows from those that come after them.
my @last = (
	'pg_session_memory_reset_events()',
	'pg_session_memory_reset_history()',
	'pg_session_memory_reset_statements()');

# What belongs to the extension, but for what only the server can call
sub members
{
	my ($session) = @_;

	return rows_of(
		$session, q(
		SELECT n.nspname AS schema, coalesce(c.relname, p.proname) AS name,
			p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS signature
		FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			LEFT JOIN pg_proc p
				ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
			LEFT JOIN pg_class c
				ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
			JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, p.pronamespace)
		WHERE e.extname = 'pg_session_memory'
			AND p.prorettype IS DISTINCT FROM 'internal'::regtype
		ORDER BY 2, 3));
}

# Everything, from a session without a search_path
sub check_all
{
	my ($session, $schema, $what) = @_;
	my $quoted = '"' . ($schema =~ s/"/""/gr) . '"';
	my $members = members($session);
	my %is_last = map { $_ => 1 } @last;
	my @signatures;

	is_deeply([ grep { $_->{schema} ne $schema } @$members ],
		[], "$what: all objects are in the schema");

	# After the last time the recorder's history is empty.
	$node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM $quoted.pg_session_memory_history_sessions")
	  or die 'nothing was recorded';

	foreach my $view (grep { !defined $_->{signature} } @$members)
	{
		is( $session->query_safe(
				"SET search_path = '';
				SELECT count(*) > 0 FROM $quoted.$view->{name}"),
			't',
			"$what: view $view->{name}");
	}

	# Arguments of the views' types have the schema's name in them.
	@signatures =
	  map { defined $_->{signature}
		? $_->{signature} =~ s/(?:"(?:[^"]|"")+"|\w+)\.//gr
		: () } @$members;
	is_deeply([ sort @signatures ],
		[ sort keys %calls ], "$what: all functions are tested");
	foreach my $signature ((grep { !$is_last{$_} } @signatures), @last)
	{
		my ($name) = $signature =~ /^(\w+)/;

		foreach my $call (@{ $calls{$signature} // [] })
		{
			my $arguments = $call =~ s/SCHEMA/$quoted/gr;

			is( $session->query_safe(
					"SELECT count(*) > 0 FROM $quoted.$name($arguments)"),
				't',
				"$what: $name($arguments)");
		}
	}

	# An event and a statement again, for the next time
	$observed->query_safe('DEALLOCATE ALL');
	$observed->query_safe(retain('over', 8 * 1024 * 1024));
}

#
# A name that must be quoted
#
my $name = 'Memory of "sessions"; --';
my $session = open_session($node);
$session->query_safe(
	'DROP EXTENSION pg_session_memory;
	CREATE SCHEMA "Memory of ""sessions""; --";
	CREATE EXTENSION pg_session_memory SCHEMA "Memory of ""sessions""; --"');
check_all($session, $name, 'a schema of its own');

#
# Another one afterwards, in a session that has used it before, and in a fresh
# one
#
$session->query_safe('CREATE SCHEMA another;
	ALTER EXTENSION pg_session_memory SET SCHEMA another;
	DROP SCHEMA "Memory of ""sessions""; --"');
check_all($session, 'another', 'SET SCHEMA, the same session');
$session->quit;
$session = open_session($node);
check_all($session, 'another', 'SET SCHEMA, a fresh session');

# What of users depends on it goes along.
$session->query_safe(
	'CREATE VIEW public.mine AS SELECT * FROM another.pg_session_memory;
	ALTER EXTENSION pg_session_memory SET SCHEMA public');
is( $session->query_safe('SELECT count(*) > 0 FROM public.mine'),
	't', "SET SCHEMA: users' views follow");
check_all($session, 'public', 'SET SCHEMA public');

# Where a name is taken already it stays where it is.
$session->query_safe('CREATE SCHEMA taken;
	CREATE FUNCTION taken.pg_session_memory_check() RETURNS integer
		LANGUAGE sql AS \'SELECT 1\'');
$session->query('ALTER EXTENSION pg_session_memory SET SCHEMA taken');
like($session->{stderr}, qr/ERROR:.*already exists in schema "taken"/,
	'SET SCHEMA to where a name is taken: refused');
$session->{stderr} = '';
check_all($session, 'public', 'SET SCHEMA was refused');

#
# A schema into which somebody has put what fits better than what we mean: with
# the types of our columns, and some that PostgreSQL would have to convert.
#
$session->query_safe(
	q(DROP VIEW public.mine;
	DROP EXTENSION pg_session_memory;
	CREATE ROLE intruder;
	CREATE SCHEMA trapped;
	GRANT ALL ON SCHEMA trapped TO intruder;
	SET ROLE intruder;
	SET search_path = 'trapped';
	CREATE FUNCTION state(bigint, anyelement) RETURNS bigint
		LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;));
foreach my $type ('integer', 'bigint', 'text', 'timestamptz', 'interval', 'jsonb')
{
	foreach my $aggregate ('sum', 'avg', 'max', 'min', 'count')
	{
		$session->query_safe(
			"CREATE AGGREGATE $aggregate($type)
				(sfunc = state, stype = bigint)");
	}
	foreach my $operator ('=', '<>', '<', '>', '+', '-', '*', '||', '~~')
	{
		foreach my $other ('integer', 'bigint', 'text', 'interval')
		{
			$session->query_safe(
				"CREATE FUNCTION operate(a $type, b $other) RETURNS boolean
					LANGUAGE plpgsql AS \$\$BEGIN RAISE 'trapped'; END\$\$")
			  if $operator eq '=';
			$session->query_safe(
				"CREATE OPERATOR $operator
					(leftarg = $type, rightarg = $other, function = operate)");
		}
	}
}
$session->query_safe('RESET ROLE; RESET search_path;
	CREATE EXTENSION pg_session_memory SCHEMA trapped');
is( $session->query_safe(
		"WITH trap AS (
			SELECT oid FROM pg_proc WHERE proowner = 'intruder'::regrole
			UNION ALL
			SELECT oid FROM pg_operator WHERE oprowner = 'intruder'::regrole)
		SELECT pg_describe_object(classid, objid, objsubid),
			pg_describe_object(refclassid, refobjid, refobjsubid)
		FROM pg_depend
		WHERE refobjid IN (SELECT oid FROM trap)
			AND objid NOT IN (SELECT oid FROM trap)"),
	'',
	'traps: nothing of ours depends on them');
check_all($session, 'trapped', 'traps');

$session->quit;
$observed->quit;
$node->stop;

done_testing();
