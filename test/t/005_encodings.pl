# Text out of a session whose database has another encoding than the
# observer's is valid text for the observer, and idents are cut between
# characters, not in them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('encodings');
my %encoding_of = (
	postgres => 'UTF8',
	latin1 => 'LATIN1',
	sql_ascii => 'SQL_ASCII',
	euc_jp => 'EUC_JP');
my @databases = sort keys %encoding_of;

foreach my $database (grep { $_ ne 'postgres' } @databases)
{
	$node->safe_psql('postgres',
		"CREATE DATABASE $database TEMPLATE template0
		ENCODING '$encoding_of{$database}' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, 'CREATE EXTENSION pg_session_memory');
}

# Prepared statements whose text is a letter of so many bytes 600 times, behind
# none to three others: so each way to cut it at byte 1023 comes up.
sub prepare
{
	my ($session, $letter, $name) = @_;

	$session->query_safe(
		"DO \$\$ BEGIN FOR i IN 0 .. 3 LOOP
			EXECUTE format('PREPARE ${name}_%s AS SELECT %L', i,
				repeat('a', i) || repeat($letter, 600));
		END LOOP; END \$\$");
}

#
# A session of a UTF8 database, as one of the same encoding sees it
#
my $observed = open_session($node);
my $pid = backend_pid($observed);
prepare($observed, q(U&'\00e9'), 'two');
prepare($observed, q(U&'\65e5'), 'three');
prepare($observed, q(U&'\+01f600'), 'four');
$observed->query_safe(
	q(DO $$ BEGIN
		EXECUTE format('CREATE TEMP TABLE t (a int CONSTRAINT %I UNIQUE)',
			U&'\00edndice \65e5');
	END $$));
$observed->query_safe('SELECT count(*) FROM t');

# Idents as the session itself has them, and how many bytes they have
my $idents = q(SELECT ident, octet_length(ident) AS bytes FROM %s
	WHERE ident LIKE 'PREPARE%%' OR ident LIKE '%%ndice%%'
	ORDER BY ident COLLATE "C");
rows_of($observed, sprintf $idents, 'pg_backend_memory_contexts');
my $own = rows_of($observed, sprintf $idents, 'pg_backend_memory_contexts');
my $observer = open_session($node);
my $seen =
  rows_of($observer, sprintf $idents, "pg_session_memory_contexts($pid)");

is(scalar(grep { $_->{ident} =~ /^PREPARE/ } @$own),
	12, 'the session has 12 long idents');
is(scalar(grep { $_->{ident} =~ /^\x{ed}ndice/ } @$own),
	1, 'and one that is not long');
is_deeply($seen, $own, 'UTF8 seen from UTF8: the same idents');
is_deeply(
	[
		sort { $a <=> $b } keys %{
			{
				map { $_->{bytes} => 1 }
				grep { $_->{ident} =~ /^PREPARE/ } @$seen
			}
		}
	],
	[ 1020 .. 1023 ],
	'UTF8 seen from UTF8: idents are cut between characters, not in them');
my $contexts = @{ contexts_of($observer, $pid) };
$observer->quit;

#
# The same session, seen from databases of other encodings
#

# Of all texts, how many are valid in the observer's encoding.  To convert
# them from there verifies them, even if it is not to another encoding.
sub check_text
{
	my ($observer, $pid, $contexts, $what) = @_;

	is( $observer->query_safe(
			"SELECT count(*), count(*) FILTER (WHERE
				convert_from(convert_to(v.t, getdatabaseencoding()),
					getdatabaseencoding()) = v.t) = count(v.t)
			FROM pg_session_memory_contexts($pid) AS c,
				LATERAL (VALUES (name), (ident), (parent)) AS v(t)"),
		3 * $contexts . '|t',
		"$what: all texts are valid");
}

foreach my $database (grep { $_ ne 'postgres' } @databases)
{
	my $what = "UTF8 seen from $encoding_of{$database}";

	$observer = open_session($node, $database);
	check_text($observer, $pid, $contexts, $what);

	# ASCII is ASCII everywhere.
	is( $observer->query_safe(
			"SELECT count(*) FROM pg_session_memory_contexts($pid)
			WHERE ident ~ '^PREPARE (two|three|four)_\\d AS SELECT ''a*' AND
				octet_length(ident) BETWEEN 1020 AND 1023"),
		12,
		"$what: the idents are there, and of full length");
	$observer->quit;
}
$observed->quit;

#
# Sessions of other encodings, as one of a UTF8 database sees them.  Their
# letters are not valid there and become a question mark for each byte.
#
my %letter_in = (
	latin1 => [ q(E'\xe9'), 1 ],
	euc_jp => [ q(E'\xc6\xfc'), 2 ],
	sql_ascii => [ q(E'\xff'), 1 ]);

$observer = open_session($node);
foreach my $database (sort keys %letter_in)
{
	my ($letter, $bytes) = @{ $letter_in{$database} };
	my $what = "$encoding_of{$database} seen from UTF8";

	$observed = open_session($node, $database);
	$observed->query_safe(
		"DO \$\$ BEGIN
			EXECUTE format('PREPARE short AS SELECT %L', repeat($letter, 7));
		END \$\$");
	prepare($observed, $letter, 'long');
	$pid = backend_pid($observed);
	check_text($observer, $pid, scalar @{ contexts_of($observer, $pid) },
		$what);
	is( $observer->query_safe(
			"SELECT ident FROM pg_session_memory_contexts($pid)
			WHERE ident LIKE 'PREPARE short%'"),
		"PREPARE short AS SELECT '" . '?' x (7 * $bytes) . "'",
		"$what: question marks for what is not valid");
	$observed->quit;
}

$observer->quit;
$node->stop;

done_testing();
