# The log line: when it comes, what it says, and who decides about both.
#
# A session's lines are in the log when its client sees the end of the command
# that caused them, so nothing here waits.  Each command is measured.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $MB = 1024 * 1024;

# Longer than what a report takes of a statement, so that it is the report
# that cuts.
my $node = start_watching_server(
	'log', q(
log_line_prefix = '%m [%p] %u@%d/%a %e: '
track_activity_query_size = 8kB
pg_session_memory.context_threshold = -1
pg_session_memory.session_threshold = -1
));
my $observer = open_session($node);
my ($session, $pid);
$node->safe_psql(
	'postgres', q(
CREATE ROLE growing LOGIN;
ALTER ROLE growing SET pg_session_memory.context_threshold = '16MB'));

sub new_session
{
	$session->quit if defined $session;
	$session = open_session($node, @_);
	$pid = backend_pid($session);
}

# The reports in the log since a place, oldest first, with what each of their
# lines says.  A statement in a report can have several lines.
sub reports_since
{
	my ($offset) = @_;
	my @reports;

	foreach my $entry (split /^(?=\d{4}-\d\d-\d\d )/m, log_since($node, $offset))
	{
		next
		  unless $entry =~
		  /^\S+\ \S+\ \S+\ \[(\d+)\]\ (.*?)@(.*?)\/(.*?)\ (\w+):\ (\w+):\ \ (.*)\n$/sx;
		my %line = (
			pid => $1, user => $2, database => $3, application => $4,
			sqlstate => $5, severity => $6, text => $7);

		if ($line{text} =~ /over threshold/)
		{
			push @reports, \%line;
		}
		elsif (@reports && $line{pid} == $reports[-1]{pid})
		{
			$reports[-1]{ lc $line{severity} } //= $line{text};
		}
	}
	return \@reports;
}

# What a statement brings about, as words: a line's reasons are joined by +, the
# amounts are not compared.
sub crossings
{
	my ($statement) = @_;
	my $offset = log_end($node);

	$session->query_safe($statement);
	return join ', ', map {
		my ($reasons) = $_->{text} =~ /^session memory over threshold: (.*)$/;
		join '+', map {
			/^(?:contexts "(\w+)" hold|the (\w+) holds) \d+ \w+, pg_session_memory\.\w+_threshold is \d+ \w+$/
			  ? $1 // $2
			  : 'unknown'
		} split /; /, $reasons;
	} @{ reports_since($offset) };
}

#
# Contexts of one name, all of them together
#
new_session();
$session->query_safe("SET application_name = 'a pool';
	SET pg_session_memory.context_threshold = '16MB'");
is(crossings(retain('below', 6 * $MB)), '', 'context: not below the threshold');

# Three statements of 6 MB: none of them is over 16 MB.
is(crossings(retain('also_below', 6 * $MB)), '', 'context: nor at 12 MB');
my $offset = log_end($node);
$session->query_safe(retain('over', 6 * $MB));
my $row = published($observer, $pid);
my $reports = reports_since($offset);
is(scalar(@$reports), 1, 'context: one line at the crossing');
my $report = $reports->[0];
is($report->{text},
	'session memory over threshold: contexts "CachedPlanSource" hold 18 MB,'
	  . ' pg_session_memory.context_threshold is 16 MB',
	'context: what, how much, and the threshold');
is($report->{severity}, 'LOG', 'context: level');
is($report->{sqlstate}, '53400', 'context: SQLSTATE');
is("$report->{pid} $report->{user} $report->{database} $report->{application}",
	"$pid " . $session->query_safe('SELECT user') . ' postgres a pool',
	"context: the line is the session's own");

# A figure as the line writes it
sub pretty
{
	my ($bytes) = @_;

	return int($bytes / $MB) . ' MB' if $bytes >= 10 * $MB;
	return int($bytes / 1024) . ' kB' if $bytes >= 10 * 1024;
	return "$bytes bytes";
}

my ($total, $contexts, $growth, $largest, $statement) = $report->{detail} =~
  /^The\ session\ retains\ (.*?)\ in\ (\d+)\ contexts,\ (.*?)\ more\ than
  \ before\ its\ first\ command\.\ Largest:\ (.*?)\ contexts\.
  \ Seen\ after\ statement:\ (.*)$/sx;
is($total, pretty($row->{retained_bytes}), "detail: the session's total");
my $seen = rows_of(
	$observer, "SELECT name, count(*) AS contexts, sum(total_bytes) AS bytes
		FROM pg_session_memory_contexts($pid)
		WHERE name <> 'MessageContext'
		GROUP BY name ORDER BY 3 DESC LIMIT 3");
is($contexts, $row->{contexts} - 1, 'detail: its contexts');
is($growth, pretty($row->{growth_bytes}), 'detail: its growth');
is( $largest,
	join(', ',
		map { qq("$_->{name}" with ) . pretty($_->{bytes}) . " in $_->{contexts}" }
		  @$seen),
	'detail: the three largest groups');
like($statement, qr/^DO .*PREPARE over AS .*END \$\$/s, 'detail: the statement');
is( $report->{hint},
	$observer->query_safe(
		"SELECT remedy FROM pg_session_memory_bloat WHERE pid = $pid"),
	'hint: the remedy that the view tells');
like($report->{hint}, qr/DEALLOCATE/, 'hint: the one for cached plans');

#
# Again when it has doubled, and anew after it fell
#
is(crossings('SELECT 1'), '', 'repeated: not for as much as before');
is(crossings(retain('more', 10 * $MB)), '', 'repeated: not at 28 MB');
is(crossings(retain('double', 10 * $MB)),
	'CachedPlanSource', 'repeated: at 38 MB, double of 18 MB');
is(crossings(retain('more_still', 10 * $MB)), '', 'repeated: not at 48 MB');
is(crossings('DEALLOCATE double'), '', 'repeated: not when it shrinks');
is(crossings('DEALLOCATE ALL'), '', 'fell: no line');
is(crossings(retain('below', 6 * $MB)), '', 'fell: nothing below the threshold');
is(crossings(retain('over', 12 * $MB)),
	'CachedPlanSource', 'fell: anew when it crosses again');

# A constant is in the statement's text, in its raw parse tree, and in the query
# made of that, which is a context CachedPlanQuery.
$session->query_safe('DEALLOCATE ALL');
is( crossings(
		q(DO $$ BEGIN EXECUTE 'PREPARE twice AS SELECT '''
			|| repeat('x', 20 * 1024 * 1024) || ''''; END $$)),
	'CachedPlanSource+CachedPlanQuery',
	'context: each group by itself, in one line');

#
# All of a session's contexts
#
new_session();
$session->query_safe("SET pg_session_memory.session_threshold = '24MB'");
is(crossings(retain('below', 18 * $MB)), '', 'session: not below the threshold');
$offset = log_end($node);
$session->query_safe(retain('over', 18 * $MB));
$row = published($observer, $pid);
$reports = reports_since($offset);
is(scalar(@$reports), 1, 'session: one line at the crossing');
is($reports->[0]{text},
	'session memory over threshold: the session holds '
	  . pretty($row->{retained_bytes})
	  . ', pg_session_memory.session_threshold is 24 MB',
	'session: what, how much, and the threshold');
like($reports->[0]{hint}, qr/DEALLOCATE/,
	'session: the hint is for what it holds most of');
is(crossings(retain('double', 39 * $MB)), 'session', 'session: again when doubled');
is(crossings('DEALLOCATE ALL'), '', 'session: no line when it falls');
is(crossings(retain('over', 30 * $MB)), 'session', 'session: anew after that');

# A statement that fails can have crossed a threshold all the same.
new_session();
$session->query_safe("SET pg_session_memory.session_threshold = '24MB'");
$offset = log_end($node);
$session->query(retain('over', 30 * $MB) . '\; SELECT 1/0');
$session->{stderr} = '';
is(scalar(@{ reports_since($offset) }), 1,
	'session: a statement that fails is reported, too');

#
# The process: what it holds whether a context knows of it or not.  A new one
# has some MB, most of it outside of contexts.
#
new_session();
is(crossings('SELECT 1'), '', 'process: a new one is not over the default');
$offset = log_end($node);
$session->query_safe("SET pg_session_memory.process_threshold = '100kB'");
$reports = reports_since($offset);
$row = published($observer, $pid);
is(scalar(@$reports), 1, 'process: one line at the crossing');
my ($amount) = $reports->[0]{text} =~
  /^session memory over threshold: the process holds (\d+) kB, pg_session_memory.process_threshold is 100 kB$/;
# It is read a moment apart: pages that were touched in between.
cmp_ok(
	abs($amount * 1024 - $row->{anon_bytes} - $row->{swap_bytes}),
	'<', 256 * 1024,
	'process: what, how much, and the threshold');
SKIP:
{
	# So it is where a server has no assertions and the usual libraries.
	skip 'most of what a new session holds is in its contexts', 1
	  if $row->{retained_bytes} > $row->{anon_bytes} / 2;
	like($reports->[0]{hint}, qr/outside of all memory contexts/,
		'process: the hint says that contexts do not explain it');
}

new_session();
$session->query_safe("SET pg_session_memory.process_threshold = '30MB'");
$offset = log_end($node);
$session->query_safe(retain('over', 60 * $MB));
$reports = reports_since($offset);
like($reports->[0]{text}, qr/the process holds \d\d MB/,
	'process: crosses with what contexts hold');
like($reports->[0]{hint}, qr/DEALLOCATE/, 'process: and then the hint says what');

# All three at once are one line, with one remedy; so are two, and what is over
# already is a reason as well when another one is added.
new_session();
$session->query_safe("SET pg_session_memory.process_threshold = '30MB';
	SET pg_session_memory.session_threshold = '30MB';
	SET pg_session_memory.context_threshold = '30MB'");
$offset = log_end($node);
is(crossings(retain('over', 60 * $MB)),
	'CachedPlanSource+session+process', 'all three: one line, all reasons');
is(scalar(() = reports_since($offset)->[0]{hint} =~ /DEALLOCATE/g),
	1, 'all three: one remedy');
new_session();
$session->query_safe("SET pg_session_memory.context_threshold = '16MB';
	SET pg_session_memory.session_threshold = '30MB'");
is(crossings(retain('over', 20 * $MB)), 'CachedPlanSource', 'one by one: the first');
is(crossings(retain('more', 15 * $MB)),
	'CachedPlanSource+session', 'one by one: all that is over');
is(crossings('SELECT 1'), '', 'one by one: once');

# The first command is the expensive one: what it took is growth.
new_session('postgres', 'growing');
$offset = log_end($node);
$session->quit;
$session = open_session($node, 'postgres', 'growing');
$session->query_safe(retain('over', 60 * $MB));
$reports = reports_since($offset);
is(scalar(@$reports), 1, 'first command: one line');
like($reports->[0]{detail}, qr/, 6\d MB more than before its first command\./,
	'first command: is compared with what was before it');

#
# Thresholds by role and by database, for new sessions; and by reload, for all
#
$node->safe_psql(
	'postgres', q(
CREATE DATABASE strict;
CREATE ROLE frugal LOGIN;
CREATE ROLE lavish LOGIN;
ALTER DATABASE strict SET pg_session_memory.session_threshold = '12MB';
ALTER ROLE frugal SET pg_session_memory.context_threshold = '12MB';
ALTER ROLE lavish IN DATABASE strict
	SET pg_session_memory.session_threshold = '1GB';
));
# Over 12 MB
my $fifteen = retain('fifteen', 15 * $MB);

new_session('postgres', 'frugal');
is(crossings($fifteen), 'CachedPlanSource', 'role: its own threshold');
$session->query('SET pg_session_memory.context_threshold = -1');
like($session->{stderr}, qr/permission denied to set parameter/,
	'role: it cannot raise it');
$session->{stderr} = '';
$session->query('SET pg_session_memory.track = off');
like($session->{stderr}, qr/permission denied to set parameter/,
	'role: it cannot switch tracking off');
$session->{stderr} = '';
new_session('postgres', 'lavish');
is(crossings($fifteen), '', "role: another role's threshold is another one");
new_session('strict', 'frugal');
is(crossings($fifteen),
	'CachedPlanSource+session', 'database: its own threshold, and the role\'s');
new_session('strict', 'lavish');
is(crossings($fifteen), '', 'role in database: goes before both');

# A session that connects when a role's setting changes keeps what it has.
new_session('postgres', 'lavish');
$node->safe_psql('postgres',
	q(ALTER ROLE lavish SET pg_session_memory.context_threshold = '12MB'));
is(crossings($fifteen), '', 'role: effective for its next session');
$offset = log_end($node);
$node->append_conf('postgresql.conf',
	"pg_session_memory.session_threshold = 12MB");
$node->reload;
# The session takes it in before its next command; that it has come we see by
# its effect only.
my $took_effect = 0;
foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$session->query_safe('SELECT 1');
	$took_effect = grep { $_->{pid} == $pid } @{ reports_since($offset) };
	last if $took_effect;
	select undef, undef, undef, 0.1;
}
is($took_effect, 1, 'reload: effective for sessions that are there');
is(crossings('SELECT 1'), '', 'reload: reported once');
$node->append_conf('postgresql.conf', 'pg_session_memory.session_threshold = -1');
$node->reload;
$node->poll_query_until('postgres',
	q(SELECT current_setting('pg_session_memory.session_threshold') = '-1'));
$observer->query_safe('SELECT 1');

#
# The level
#
new_session();
$session->query_safe("SET pg_session_memory.session_threshold = '12MB'");

sub at_level
{
	my ($level) = @_;
	my $offset = log_end($node);

	$session->query_safe('DEALLOCATE ALL');
	$session->query_safe("SET pg_session_memory.log_level = $level");
	$session->query($fifteen);
	my ($client) =
	  $session->{stderr} =~ /(\w+):  session memory over threshold: the session/;
	$session->{stderr} = '';
	return join ', ', "client $client", map { "log $_->{severity}" }
	  @{ reports_since($offset) }
	  if defined $client;
	return join ', ', map { "log $_->{severity}" } @{ reports_since($offset) };
}

# PostgreSQL's own settings decide who gets what: log_min_messages is warning,
# client_min_messages is notice, and LOG is for the log before all.
is(at_level('log'), 'log LOG', 'log_level log: in the log');
is(at_level('warning'), 'client WARNING, log WARNING',
	'log_level warning: the client sees it, too');
is(at_level('notice'), 'client NOTICE',
	'log_level notice: for the client alone');
is(at_level('debug1'), '', 'log_level debug1: for nobody');
foreach my $level (qw(error fatal panic))
{
	$session->query("SET pg_session_memory.log_level = $level");
	like($session->{stderr}, qr/invalid value for parameter/,
		"log_level $level: cannot be: nothing may end because of it");
	$session->{stderr} = '';
}
$session->query_safe('RESET pg_session_memory.log_level');

$session->query_safe('DEALLOCATE ALL');
$session->query_safe('SET log_min_messages = panic');
is(crossings($fifteen), '', 'log_min_messages panic: no line');
is($session->query_safe('SHOW pg_session_memory.status'),
	'bloated', 'log_min_messages panic: the status is as ever');
is( $observer->query_safe(
		"SELECT kind FROM pg_session_memory_events WHERE pid = $pid
			ORDER BY id DESC LIMIT 1"),
	'session',
	'log_min_messages panic: and so are events');
$session->query_safe('RESET log_min_messages');

#
# The statement: at most 1 kB of it, and whole characters
#
# 500 times two letters of two bytes each
my $padding = "\xc3\xa4\xc3\xb6" x 500;
foreach my $shift ('', 'x')
{
	$session->query_safe('DEALLOCATE ALL');
	$offset = log_end($node);
	# An odd number of bytes before puts the cut inside of a character.
	$session->query_safe("/* $shift$padding */ $fifteen");
	($statement) = reports_since($offset)->[0]{detail} =~
	  /Seen after statement: (.*)$/s;
	cmp_ok(length($statement), '<=', 1023, "statement $shift: at most 1 kB");
	cmp_ok(length($statement), '>=', 1022, "statement $shift: nearly as much");
	ok(utf8::decode(my $copy = $statement), "statement $shift: whole characters");
}

#
# Its query id, if there is one
#
$session->query_safe('DEALLOCATE ALL');
$offset = log_end($node);
$session->query_safe('SET compute_query_id = off');
$session->query_safe($fifteen);
unlike(reports_since($offset)->[0]{detail},
	qr/query id/, 'query id: none where it is not computed');
# One of nineteen digits and a sign is the longest that there can be: nearly
# every other statement has one.
$session->query_safe('SET compute_query_id = on');
my $query_id;
foreach my $try (1 .. 50)
{
	$session->query_safe('DEALLOCATE ALL');
	$offset = log_end($node);
	$session->query_safe(retain("fifteen_$try", 15 * $MB));
	$query_id = $observer->query_safe(
		"SELECT query_id FROM pg_stat_activity WHERE pid = $pid");
	last if length $query_id == 20;
}
is(length $query_id, 20, 'query id: a long one');
like(reports_since($offset)->[0]{detail},
	qr/ Seen after statement \(query id $query_id\): DO /,
	'query id: as in pg_stat_activity');

$session->quit;
$observer->quit;

#
# csvlog and jsonlog, with a statement and a name that have to be quoted
#
$node->append_conf(
	'postgresql.conf', q(
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_filename = 'server.log'
log_rotation_age = 0
log_rotation_size = 0
));
$node->restart;
undef $session;
new_session();
$session->query_safe(q(SET application_name = 'a "quoted", name';
	SET pg_session_memory.session_threshold = '12MB'));
$session->query_safe(qq(/* "quoted",\n "lines" */ $fifteen));

my $expected =
  qr/^session memory over threshold: the session holds \d+ MB, pg_session_memory.session_threshold is 12 MB$/;
my $logs = $node->data_dir . '/log';

# The collector writes when it gets to it.
sub wait_for_entry
{
	my ($file) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $text = -f $file ? slurp_file($file) : '';
		return $text if $text =~ /over threshold.*\n/;
		select undef, undef, undef, 0.1;
	}
	die "nothing was written to $file";
}

my ($json) = grep { $_->{message} =~ /over threshold/ }
  map { JSON::PP->new->utf8->decode($_) }
  grep { /over threshold/ } split /\n/, wait_for_entry("$logs/server.json");
like($json->{message}, $expected, 'jsonlog: message');
is($json->{state_code}, '53400', 'jsonlog: SQLSTATE');
is($json->{error_severity}, 'LOG', 'jsonlog: severity');
is($json->{pid}, $pid, 'jsonlog: pid');
is($json->{application_name}, 'a "quoted", name', 'jsonlog: application');
like(
	$json->{detail},
	qr{^The session retains .* Seen after statement: /\* "quoted",\n "lines" \*/ DO }s,
	'jsonlog: detail');
like($json->{hint}, qr/DEALLOCATE/, 'jsonlog: hint');

# PostgreSQL itself reads its csvlog best.  The number of columns is a
# version's own: 26 since 14.
$session->query_safe(
	q(CREATE TABLE csvlog (log_time text, user_name text, database_name text,
	pid int, connection_from text, session_id text, line bigint, tag text,
	session_start text, vxid text, xid text, severity text, sqlstate text,
	message text, detail text, hint text, internal_query text,
	internal_pos int, context text, query text, query_pos int, location text,
	application text, backend_type text, leader_pid int, query_id bigint)));
wait_for_entry("$logs/server.csv");
$session->query_safe("COPY csvlog FROM '$logs/server.csv' (FORMAT csv)");
my $csv = rows_of($session,
	q(SELECT * FROM csvlog WHERE message LIKE 'session memory over threshold:%')
);
is(scalar(@$csv), 1, 'csvlog: one row');
like($csv->[0]{message}, $expected, 'csvlog: message');
is($csv->[0]{sqlstate}, '53400', 'csvlog: SQLSTATE');
is($csv->[0]{severity}, 'LOG', 'csvlog: severity');
is($csv->[0]{pid}, $pid, 'csvlog: pid');
is($csv->[0]{application}, 'a "quoted", name', 'csvlog: application');
is($csv->[0]{detail}, $json->{detail}, 'csvlog: detail');
is($csv->[0]{hint}, $json->{hint}, 'csvlog: hint');
like(wait_for_entry("$logs/server.log"),
	qr/53400: LOG:  session memory over threshold/,
	'stderr: the same line');

$session->quit;
$node->stop;

done_testing();
