# Where a session may be when it runs out of memory at its process_limit: in
# each place the statement fails, the session lives, and is limited again.
#
# Everything is done twice, the second time with a log level at which
# PostgreSQL does not call the hooks of messages.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

# Without fsync and with room for what a failed statement leaves in the log.
my $node = start_watching_server('places', q(
fsync = off
jit = off
max_parallel_workers_per_gather = 2
));
my $observer = open_session($node);
my $force_parallel = parallel_setting($node);

# Takes some 100 MB: at the limits below it never comes to its end.
my $bomb = q((SELECT count(DISTINCT b) FROM
	(SELECT array_agg(repeat('x', 90) || g) AS b
	FROM generate_series(1, 1000000) g) AS s));

$node->safe_psql(
	'postgres', "
CREATE TABLE plain (a text);
CREATE TABLE triggered (a int);
CREATE TABLE deferred (a int);
CREATE TABLE ten AS SELECT generate_series(1, 10) AS a;
CREATE FUNCTION explode() RETURNS trigger LANGUAGE plpgsql AS
	\$\$BEGIN PERFORM $bomb; RETURN NEW; END\$\$;
CREATE TRIGGER explode BEFORE INSERT ON triggered
	FOR EACH ROW EXECUTE FUNCTION explode();
CREATE CONSTRAINT TRIGGER explode AFTER INSERT ON deferred
	DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION explode();
CREATE EXTENSION dblink;
");

# An extension, or undef with the reason printed.
sub extension
{
	my ($name) = @_;
	my ($status, $out, $error) =
	  $node->psql('postgres', "CREATE EXTENSION $name");

	return 1 if $status == 0;
	note("no $name: $error");
	return 0;
}

my $session;

# A session that may have so many MB more than it has now.
sub limit_more
{
	my ($megabytes) = @_;
	my $now = $session->query_safe(
		q(SELECT (regexp_match(pg_read_file('/proc/self/status'),
			'VmData:\s+(\d+)'))[1]));

	my $limit = $now + int($megabytes * 1024);
	$session->query("SET pg_session_memory.process_limit = $limit");
	# It may say that there is more already.
	$session->{stderr} = '';
	return $limit * 1024;
}

# The output of statements, and what was written to stderr.
sub outcome
{
	my ($statements) = @_;

	my $output = $session->query($statements);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return ($output, $error);
}

# A statement with its end, unless it is one that psql ends.
sub finished
{
	my ($statement) = @_;

	return $statement =~ /\\gexec$/ ? $statement : "$statement;";
}

# A session has its limit; where its process may still be full at rest, with a
# reserve in MB: 8 that it can execute something at all, and 32 for what an
# interpreter has kept.
sub is_limit
{
	my ($pid, $limit, $reserve, $name) = @_;
	my $bytes = $observer->query_safe(
		"SELECT limit_bytes FROM pg_session_memory WHERE pid = $pid");

	return is($bytes, $limit, $name) unless $reserve;
	ok($bytes >= $limit && $bytes <= $limit + $reserve * 1024 * 1024, $name)
	  or diag("$bytes for $limit");
}

# One place: what is done before the limit is set, how much more the session
# may have, the statement, what is expected of its error, what comes after.
my @places = (
	{
		name => 'parser',
		statement => q(SELECT 'SELECT 1 WHERE 1 IN (1' || repeat(',1', 700000)
			|| ')' \gexec)
	},
	{
		name => 'planner',
		before => q(SELECT 'PREPARE p(int) AS SELECT count(*) FROM ten
			WHERE a + $1 IN (1' || string_agg(',' || g, '') || ')'
			FROM generate_series(1, 150000) g \gexec),
		megabytes => 4,
		reserve => 8,
		statement => 'EXECUTE p(1)'
	},
	{ name => 'executor', statement => "SELECT $bomb" },
	{
		name => 'one large request',
		statement => "SELECT length(repeat('x', 500000000))"
	},
	{
		name => 'transaction block',
		statement => "BEGIN;\nSELECT $bomb",
		after => 'ROLLBACK'
	},
	{
		name => 'savepoint',
		statement => "BEGIN;\nSAVEPOINT s;\nSELECT $bomb",
		after => "ROLLBACK TO s;\nSELECT 2;\nCOMMIT"
	},
	{
		name => 'COPY FROM',
		statement =>
		  q(COPY plain FROM PROGRAM 'head -c 100000000 /dev/zero | tr "\\\\0" x')
	},
	{
		name => 'COPY TO',
		statement => "COPY (SELECT $bomb) TO '/dev/null'"
	},
	{
		name => 'trigger',
		statement => 'INSERT INTO triggered VALUES (1)'
	},
	{
		name => 'commit',
		statement => "BEGIN;\nINSERT INTO deferred VALUES (1);\nCOMMIT"
	},
	{
		name => 'holdable cursor at commit',
		before => 'SET work_mem = \'1GB\'',
		statement => "BEGIN;\nDECLARE c CURSOR WITH HOLD FOR
			SELECT repeat('x', 1000) FROM generate_series(1, 200000);\nCOMMIT"
	},
	{
		name => 'parallel worker',
		before => "SET $force_parallel = on;\n SELECT count(*) FROM ten",
		statement => "SELECT array_agg(repeat('x', 90) || g)
			FROM ten, generate_series(1, 300000) g",
		error => qr/CONTEXT:.*parallel worker/s
	},
	{
		name => 'dblink',
		statement => qq(SELECT count(*) FROM dblink(
			'host=@{[$node->host]} port=@{[$node->port]} dbname=postgres',
			'SELECT repeat(''x'', 200000000)')
			AS t(a text)),
		error => qr/ERROR:/
	});

push @places,
  {
	name => 'libxml',
	before => q(SELECT xmlparse(document '<a/>')),
	megabytes => 60,
	statement => q(SELECT xmlparse(document '<a>' ||
		repeat('<b>x</b>', 1000000) || '</a>') IS NULL),
	error => qr/ERROR:/
  }
  if $node->psql('postgres', q(SELECT xmlparse(document '<a/>'))) == 0;

push @places,
  {
	name => 'ICU',
	statement => q(SELECT upper(repeat('ä', 8000000) COLLATE "und-x-icu"))
  }
  if $observer->query_safe(
	q(SELECT count(*) FROM pg_collation
	WHERE collname = 'und-x-icu')) == 1;

if (extension('plpython3u'))
{
	$node->safe_psql(
		'postgres', q(
CREATE FUNCTION python_list() RETURNS int LANGUAGE plpython3u AS
	'return len([str(i) * 100 for i in range(5000000)])';
CREATE FUNCTION python_spi(statement text) RETURNS int LANGUAGE plpython3u AS
	'return len(plpy.execute(statement))';
CREATE FUNCTION python_caught(statement text) RETURNS text
LANGUAGE plpython3u AS
'
caught = 0
for i in range(5):
    try:
        plpy.execute(statement)
    except plpy.SPIError as e:
        caught += 1
return caught
';
));
	push @places,
	  {
		name => 'PL/Python',
		before => "SELECT python_spi('SELECT 1')",
		reserve => 40,
		statement => 'SELECT python_list()',
		error => qr/ERROR:  \w{5}: MemoryError/
	  },
	  {
		name => 'PL/Python, in its statement',
		before => "SELECT python_spi('SELECT 1')",
		statement => qq(SELECT python_spi(\$\$SELECT $bomb\$\$)),
		error => qr/out of memory/
	  },
	  {
		name => 'PL/Python, caught',
		before => "SELECT python_spi('SELECT 1')",
		statement => qq(SELECT python_caught(\$\$SELECT $bomb\$\$)),
		output => qr/^5$/m
	  };
}

my $has_perl = extension('plperl');
if ($has_perl)
{
	$node->safe_psql(
		'postgres', q(
CREATE FUNCTION perl_spi(statement text) RETURNS int LANGUAGE plperl AS
	'return spi_exec_query($_[0])->{processed}';
CREATE FUNCTION perl_caught(statement text) RETURNS int LANGUAGE plperl AS
	'my $caught = 0;
	for (1 .. 5) { eval { spi_exec_query($_[0]); 1 } or $caught++; }
	return $caught;';
));
	push @places,
	  {
		name => 'PL/Perl, in its statement',
		before => "SELECT perl_spi('SELECT 1')",
		statement => qq(SELECT perl_spi(\$\$SELECT $bomb\$\$)),
		error => qr/out of memory/
	  },
	  {
		name => 'PL/Perl, caught',
		before => "SELECT perl_spi('SELECT 1')",
		statement => qq(SELECT perl_caught(\$\$SELECT $bomb\$\$)),
		output => qr/^5$/m
	  };
}

push @places,
  {
	name => 'caught by PL/pgSQL',
	statement => "DO \$\$DECLARE caught int := 0; detail text;
		BEGIN
			FOR i IN 1..20 LOOP
				BEGIN
					PERFORM $bomb;
				EXCEPTION WHEN out_of_memory THEN
					caught := caught + 1;
					GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
				END;
			END LOOP;
			RAISE NOTICE 'caught % times: %', caught, detail;
		END\$\$",
	error => qr/NOTICE:.*caught 20 times: .*process_limit is/
  };

foreach my $level ('warning', 'panic')
{
	foreach my $place (@places)
	{
		my $name = "$place->{name}, log_min_messages = $level";
		my $expected = $place->{error};
		my ($output, $error);

		$session = open_session($node);
		my $pid = backend_pid($session);
		$session->query_safe("\\set VERBOSITY verbose\n"
			  . "SET log_min_messages = $level;\n" . finished($place->{before}))
		  if defined $place->{before};
		$session->query_safe("\\set VERBOSITY verbose\n"
			  . "SET log_min_messages = $level;");
		my $limit = limit_more($place->{megabytes} // 30);

		($output, $error) = outcome(finished($place->{statement}));
		if (defined $place->{output})
		{
			like($output, $place->{output}, "$name: as it shall be");
			is($error, '', "$name: nobody else hears of it");
		}
		else
		{
			$expected //= qr/ERROR:\ \ 53200:\ out\ of\ memory.*
				DETAIL:.*process_limit\ is.*Largest:.*
				HINT:.*process_limit/sx;
			like($error, $expected, "$name: the statement fails");
		}
		unlike($error, qr/WARNING|FATAL|PANIC|connection to server/,
			"$name: and nothing else");

		outcome(finished($place->{after})) if defined $place->{after};
		is_limit($pid, $limit, $place->{reserve}, "$name: limited again");
		($output, $error) = outcome('SELECT 1;');
		is("$output$error", '1', "$name: the session lives");
		($output, $error) = outcome("SELECT $bomb;");
		like($error, qr/53200: out of memory/, "$name: and is limited");
		is_limit($pid, $limit, $place->{reserve}, "$name: to the same");
		$session->quit;
	}
}

#
# Interpreters that do not outlive a failed allocation: the least that the
# session has is what they need to begin.
#
my %first_use = (
	plperl => q(DO 'my @a; push @a, "x$_" foreach 1 .. 1000000;'
		LANGUAGE plperl),
	plpython3u => q(DO 'a = [str(i) for i in range(1000000)]'
		LANGUAGE plpython3u));

foreach my $language (sort keys %first_use)
{
	next
	  unless $observer->query_safe(
		"SELECT count(*) FROM pg_language WHERE lanname = '$language'");

	my ($alive, $refused, $ended) = (0, 0, 0);
	foreach my $megabytes (0, 0.1, 0.3, 0.5, 1, 2, 4, 8)
	{
		my ($status, $output, $error) = $node->psql(
			'postgres', "
SELECT set_config('pg_session_memory.process_limit',
	((regexp_match(pg_read_file('/proc/self/status'),
		'VmData:\\s+(\\d+)'))[1]::int + (1024 * $megabytes)::int)::text, false);
$first_use{$language};
SELECT 'alive';
", on_error_stop => 0);
		$output =~ /alive/ ? $alive++ : $ended++;
		$refused++ if $error =~ /ERROR/;
		note("$language, $megabytes MB: $error");
	}
	note("$language: $alive sessions live, $ended have ended");
	# Perl of some versions ends its process where it gets no memory.
	is($ended, 0, "$language, first used at its limit: the session lives")
	  if $language ne 'plperl';
	cmp_ok($refused + $ended, '>', 0, "$language: the limit is one");
	is($observer->query_safe('SELECT 1'),
		'1', "$language: other sessions live");
}

#
# LLVM cannot do without memory either: there PostgreSQL ends the session, and
# nothing else.
#
SKIP:
{
	skip 'no JIT compilation', 2
	  if $node->safe_psql('postgres',
		'SET jit = on; SELECT pg_jit_available()') ne 't';

	my ($alive, $ended) = (0, 0);
	foreach my $megabytes (0 .. 11)
	{
		my ($status, $output, $error) = $node->psql(
			'postgres', "
SET jit = on;
SET jit_above_cost = 0;
SET jit_inline_above_cost = 0;
SET jit_optimize_above_cost = 0;
SELECT set_config('pg_session_memory.process_limit',
	((regexp_match(pg_read_file('/proc/self/status'),
		'VmData:\\s+(\\d+)'))[1]::int + 2048 * $megabytes)::text, false);
SELECT sum(a * 2 + 1) FROM ten WHERE a < 5;
SELECT 'alive';
", on_error_stop => 0);
		$output =~ /alive/ ? $alive++ : $ended++;
		note("2 MB * $megabytes: $error") if $error ne '';
	}
	note("$alive sessions live, $ended have ended");
	cmp_ok($alive, '>', 0, 'JIT compilation at a limit');
	is($observer->query_safe('SELECT 1'), '1', 'other sessions live');
}

my $log = slurp_file($node->logfile);
unlike($log,
	qr/PANIC|TRAP|terminated by signal|Transaction while in/,
	'nothing has crashed, and no abort met another');

$observer->quit;
$node->stop;
done_testing();
