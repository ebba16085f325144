# pg_session_memory_report(): who sees what on the page, what becomes of names
# and statements that are made to break it, in any encoding, how large it gets
# and how long that takes, and that a standby makes one.  What it looks like is
# tested in a browser, by test/pictures.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use Time::HiRes qw(time);
use WatchTest;

my $script = "$FindBin::RealBin/../../examples/report.sh";
my $node = start_watching_server(
	'report', q(
max_connections = 1050
shared_buffers = 64MB
compute_query_id = on
pg_session_memory.record_interval = '200ms'
pg_session_memory.statement_threshold = '4MB'
));

# The page as psql writes it, and the rows of it
sub page
{
	my ($database, %options) = @_;
	my $arguments = $options{arguments} // '';
	my ($output, $errors);

	local $ENV{PGCLIENTENCODING} = $options{encoding} // 'UTF8';
	my $status = IPC::Run::run(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1',
			'-d', $options{node}
			? $options{node}->connstr($database)
			: $node->connstr($database),
			$options{user} ? ('-U', $options{user}) : (),
			'-c', "SELECT pg_session_memory_report($arguments)"
		],
		'>', \$output, '2>', \$errors);
	is($errors, '', "$options{name}: without a complaint")
	  if defined $options{name};
	BAIL_OUT("no page: $errors") unless $status;
	return $output;
}

sub is_whole
{
	my ($page, $name) = @_;

	like(
		$page,
		qr{^<!DOCTYPE html><html lang="en">\n<!-- .*</body></html>\n\z}s,
		"$name: from its first row to its last");
	unlike($page, qr/[^\n -~]|\\/, "$name: all ASCII");
	is(scalar(() = $page =~ /<script/gi), 1, "$name: the only script is ours");
	unlike($page, qr/<(img|iframe|link|object|a href="(?!#))/i,
		"$name: nothing to load");
	# Each element that was begun is ended.
	foreach my $tag (
		qw(html head body title style script main header footer nav table thead tbody
		tr th td div span p ul li dl dt dd h1 h2 h3 code bdi details summary
		figure figcaption svg b i caption small))
	{
		my $begins = () = $page =~ /<$tag[ >]/g;
		my $ends = () = $page =~ m{</$tag>}g;
		is($ends, $begins, "$name: $tag") if $begins != $ends;
	}
	cmp_ok(length $page, '<', 2_000_000, "$name: less than 2 MB");
}

# ----------------------------------------------------------------------------
# Who sees what
# ----------------------------------------------------------------------------

$node->safe_psql(
	'postgres', q(
CREATE ROLE secret_role LOGIN;
CREATE ROLE nobody LOGIN;
CREATE ROLE watching LOGIN IN ROLE pg_read_all_stats;
ALTER ROLE secret_role SET pg_session_memory.session_threshold = '4MB'));
my $secret = open_session($node, 'postgres', 'secret_role');
my $secret_pid = backend_pid($secret);
$secret->query_safe(
	"SET application_name = 'secret_application';
	SELECT /* secret_statement */ length(string_agg(repeat('x', 1000), ''))
	FROM generate_series(1, 8000);");
$secret->query_safe(retain('secret_prepared', 8 * 1024 * 1024));
$node->poll_query_until('postgres',
	"SELECT count(*) > 0 FROM pg_session_memory_history_sessions
	WHERE pid = $secret_pid AND context_bytes > 8000000")
  or die 'nothing was recorded';

my $page = page('postgres', user => 'watching', name => 'pg_read_all_stats');
is_whole($page, 'pg_read_all_stats');
foreach my $what ('secret_role', 'secret_application', 'secret_statement',
	'id="s' . $secret_pid)
{
	like($page, qr/$what/, "pg_read_all_stats sees $what");
}
like($page, qr/data-l="Kind"><bdi>session</, 'and its event');
unlike($page, qr/are not on this page/, 'and nothing is missing');

$page = page('postgres', user => 'nobody', name => 'another role');
is_whole($page, 'another role');
unlike($page, qr/secret_/, 'another role sees nothing of it');
unlike($page, qr/\b$secret_pid\b/, 'not even that it is there');
like(
	$page,
	qr/\d+ processes of other roles are not on this page, since nobody may/,
	'and the page says that something is missing');
like($page, qr/, this report</, 'its own session is there');

$page = page('postgres', user => 'secret_role', name => 'the role itself');
like($page, qr/id="s$secret_pid"/, 'the role itself sees it');
$secret->quit;

# ----------------------------------------------------------------------------
# Names and statements that are made to break it
# ----------------------------------------------------------------------------

$node->safe_psql(
	'postgres', q(
CREATE ROLE "<img src=x onerror=alert(1)>" LOGIN;
CREATE DATABASE "</td></table>&'"" x";
SET client_encoding = 'UTF8';
CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0
	LOCALE 'C';
CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C';
CREATE DATABASE japanese ENCODING 'EUC_JP' TEMPLATE template0 LOCALE 'C'));
my $named = open_session(
	$node,
	q(</td></table>&'" x),
	'<img src=x onerror=alert(1)>');
my $named_pid = backend_pid($named);
$named->query_safe(
	q(SET application_name = '</bdi></td><script>app()</script>';
	PREPARE "<script>prepared()</script>" AS SELECT '--></style><script>text()</script>';
	SET client_encoding = 'UTF8';
	DO $$ BEGIN
		EXECUTE 'PREPARE large AS SELECT 1 /*<script>large()</script>'
			|| repeat('<b>"x&', 1024 * 1024 / 6) || '*/';
		EXECUTE 'PREPARE signs AS SELECT 1 /*' || chr(1) || chr(27) || chr(127)
			|| chr(133) || chr(8238) || chr(1488) || chr(8294) || chr(128512)
			|| chr(65534) || repeat('y', 300000) || '*/';
	END $$));
$page = page('postgres', name => 'names');
is_whole($page, 'names');
foreach my $what (
	'&#60;img src=x onerror=alert(1)&#62;',
	'&#60;/td&#62;&#60;/table&#62;&#38;&#39;&#34; x',
	'&#60;/bdi&#62;&#60;/td&#62;&#60;script&#62;app()&#60;/script&#62;',
	'&#60;script&#62;large()&#60;/script&#62;&#60;b&#62;&#34;x&#38;',
	'&#9217;&#9243;&#9249;&#65533;&#65533;&#1488;&#65533;&#128512;&#65533;y')
{
	ok(index($page, $what) >= 0, "as it was written: $what");
}
like($page, qr/id="s$named_pid".*MB of.*&#60;img/,
	'a heading with the name of the role');

# In other encodings, of the database and of the client
is( $node->safe_psql(
		'postgres', q(
		SELECT count(*), count(*) FILTER (
			WHERE html ~ '^([ -~]|&#[0-9]{2,7};)$' AND html !~ '[<>"''\\\\]')
		FROM (SELECT pg_session_memory_report_text(chr(c)) AS html
			FROM (SELECT generate_series(1, 55295) UNION ALL
				SELECT generate_series(57344, 1114111)) AS n(c)) AS h)),
	'1112063|1112063',
	'no character comes out as another');
my %texts = (
	latin => [ q('\xe9'), 'LATIN1', 'caf&#233;' ],
	japanese => [ q('\xc6fccbdc'), 'EUC_JP', 'caf&#26085;&#26412;' ],
	bytes => [ q('\xffc3a9'), 'SQL_ASCII', 'caf&#65533;&#233;' ]);
foreach my $database (sort keys %texts)
{
	my ($bytes, $encoding, $html) = @{ $texts{$database} };

	$node->safe_psql($database, 'CREATE EXTENSION pg_session_memory');
	is( $node->safe_psql(
			$database,
			"SELECT pg_session_memory_report_text('caf'
				|| encode_as_text) FROM (SELECT convert_from(${bytes}::bytea,
				'$encoding')) AS c(encode_as_text)"),
		$html,
		"$encoding: characters become what they are");
	my $output = page(
		$database,
		name => $encoding,
		encoding => $encoding,
		arguments =>
		  "title => 'caf' || convert_from(${bytes}::bytea, '$encoding')");
	is_whole($output, $encoding);
	ok(index($output, "<h1>$html</h1>") >= 0, "$encoding: the title");
}
$named->quit;

# ----------------------------------------------------------------------------
# Sizes.  The bound of time is what a machine takes that does much else.
# ----------------------------------------------------------------------------

# Statements whose characters take most room on a page
my $file = PostgreSQL::Test::Utils::tempdir() . '/work.sql';
append_to_file($file,
	"SELECT count(*) FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid
	/* " . ("\xf0\x9f\x98\x80" x 700) . " */;\n"
	  . join('', map { "PREPARE p$_ AS SELECT $_ AS \""
			  . chr(96 + $_) x 3 . ("\xf0\x9f\x98\x80" x 12) . "\" /* "
			  . ("\xf0\x9f\x98\x80" x 700) . " */;\n" } 1 .. 8)
	  . "\\sleep 1000 s\n");
foreach my $sessions (1, 100, 1000)
{
	my $pgbench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', 1, '-f', $file,
			$node->connstr('postgres')
		],
		'>', '/dev/null', '2>&1');
	$node->poll_query_until('postgres',
		"SELECT count(*) = $sessions FROM pg_stat_activity
		WHERE state = 'idle' AND query LIKE 'PREPARE p8%'")
	  or die 'the sessions did not get there';

	my $begun = time;
	my $output = page('postgres', name => "$sessions sessions");
	my $seconds = time - $begun;
	is_whole($output, "$sessions sessions");
	note sprintf('%d sessions: %.2f s, %d bytes', $sessions, $seconds,
		length $output);
	cmp_ok($seconds, '<', 60, "$sessions sessions: in time");
	my ($held) = $output =~ /<p>(\d+) processes hold/;
	cmp_ok($held, '>=', $sessions, "$sessions sessions: all are counted");

	if ($sessions == 100)
	{
		$output =
		  page('postgres', name => 'details', arguments => 'details => 1000');
		is_whole($output, 'details');
		my $shown = () = $output =~ /<details/g;
		note sprintf('%d details, %d bytes', $shown, length $output);
		cmp_ok($shown, '>=', 10, 'details: more than without');
		my ($left_out) = $output =~ /stay below 2 MB: (\d+) sessions/;
		is($shown + $left_out, 100, 'details: of 100, and what was left out');
	}
	$pgbench->kill_kill;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity
		WHERE query LIKE 'PREPARE p8%'");
}

# ----------------------------------------------------------------------------
# From psql, by COPY, by the script, on a standby
# ----------------------------------------------------------------------------

# What changes from one page to the next are figures.
sub without_figures
{
	return $_[0] =~ s/[0-9]+//gr;
}

my $session = open_session($node);
my $copied = PostgreSQL::Test::Utils::tempdir() . '/copied.html';
my $query = "pg_session_memory_report('0', 0)";
# A sample may be taken between the beginning of the statement and its look.
foreach my $try (1 .. 100)
{
	$session->query_safe("\\copy (SELECT * FROM $query) TO $copied");
	last if slurp_file($copied) =~ /The recorder has no sample of this time/;
}
is_whole(slurp_file($copied), '\copy');
like(slurp_file($copied), qr/The recorder has no sample of this time/,
	'a page without history');
$session->quit;

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$page = page('postgres', node => $standby, name => 'standby');
is_whole($page, 'standby');
like($page, qr/, a standby, up for/, 'it says that it is of a standby');
like($page, qr/startup/, 'with the process that replays');

my $output = PostgreSQL::Test::Utils::tempdir() . '/by_script.html';
my @where = ('-d', $standby->connstr('postgres'));

sub run_script
{
	my (@arguments) = @_;
	my ($stdout, $stderr);

	IPC::Run::run([ 'bash', $script, @arguments ], '>', \$stdout, '2>', \$stderr);
	return ($? >> 8, $stdout, $stderr);
}

my ($status, $stdout, $stderr) = run_script(@where, '-o', $output,
	'--title', q(It's a "standby" \ <b>), '--history=2 hours', '--details', 2);
is($status, 0, 'report.sh, from a standby') or diag $stderr;
like($stderr, qr/^The report is in .*by_script\.html \(\d+ bytes\)\.\n$/,
	'it says where the page is');
is_whole(slurp_file($output), 'report.sh');
like(
	slurp_file($output),
	qr{<h1>It&#39;s a &#34;standby&#34; &#92; &#60;b&#62;</h1>},
	'with the title, whatever is in it');
like(slurp_file($output), qr/in the last 2&#160;h/, 'and as much history');
($status, $stdout, $stderr) = run_script(@where, '-o', '-');
is($stderr, '', 'report.sh to standard output says nothing');
is_whole($stdout, 'report.sh to standard output');
($status, $stdout, $stderr) = run_script('--help');
is($status, 0, 'report.sh --help');
like($stdout, qr/^Usage: report.sh.*--history INTERVAL/ms, 'tells how to use it');

foreach my $case (
	[ qr/no extension pg_session_memory/, '-d', $standby->connstr('template1') ],
	[ qr/could not ask the server/, '-h', '/nonexistent' ],
	[ qr/could not make the report/, @where, '-o', $output, '--history', 'x' ],
	[ qr/--details wants a number, not "x"/, @where, '--details', 'x' ],
	[ qr/could not write/, @where, '-o', '/nonexistent/page' ],
	[ qr/option -o needs a value/, '-o' ],
	[ qr/unknown option "page"; try/, 'page' ])
{
	my ($said, @arguments) = @$case;

	($status, $stdout, $stderr) = run_script(@arguments);
	is($status, 1, "report.sh fails where $said");
	like($stderr, qr/^report\.sh: .*$said/m, "it says so: $said");
}
is_whole(slurp_file($output), 'after a failure, what was there before,');

$standby->stop;
$node->stop;

done_testing();
