# A large statement is no bloat: what it needs is gone with the next one, in
# whichever way of the protocol it comes.  A prepared one is kept, and counts.
#
# 35 MB of text, or in a parameter: a session that retained it would be over
# its threshold for contexts of one name.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ProtocolClient;
use SessionMemoryTest;
use Test::More;
use WatchTest;

my $MB = 1024 * 1024;
my $node = start_watching_server('large');
my $observer = open_session($node);
my $superuser = $node->safe_psql('postgres', 'SELECT user');
my $client = ProtocolClient->new($node, $superuser);

$node->safe_psql('postgres', 'CREATE TABLE documents (bytes int)');
$client->query("SET pg_session_memory.context_threshold = '32MB'");
my $pid = $client->query('SELECT pg_backend_pid()')->[1]{columns}[0];
my $large = 'x' x (35 * $MB);
my $insert = "INSERT INTO documents VALUES (length('$large'))";
my $insert_parameter = 'INSERT INTO documents VALUES (length($1))';

# What the session retains after these messages, beyond a small statement; and
# nothing of it may be reported.
sub is_left_out
{
	my ($what, @messages) = @_;
	my $before = published($observer, $pid);

	$client->send(@messages);
	$client->send(ProtocolClient::sync()) unless $messages[0] =~ /^Q/;
	my $response = $client->response;
	is(join(' ', map { $_->{M} } grep { $_->{type} eq 'E' } @$response),
		'', "$what: no error");
	my $after = published($observer, $pid);
	cmp_ok($after->{measured_at}, 'gt', $before->{measured_at},
		"$what: was measured");
	cmp_ok($after->{retained_bytes}, '<', $before->{retained_bytes} + $MB,
		"$what: is not retained");
	is($after->{status}, 'ok', "$what: status");
	is(ProtocolClient::statuses($response), '', "$what: nothing is reported");
}

# Tables and types are known from here on.
$client->send(ProtocolClient::parse('', $insert_parameter),
	ProtocolClient::execute('', 'x'), ProtocolClient::sync());
$client->response;

is_left_out('simple query', ProtocolClient::simple($insert));
is_left_out('text', ProtocolClient::parse('', $insert),
	ProtocolClient::execute(''));
is_left_out('parameter', ProtocolClient::parse('', $insert_parameter),
	ProtocolClient::execute('', $large));
is_left_out('text and parameter',
	ProtocolClient::parse('',
		"INSERT INTO documents VALUES (length('$large') + length(\$1))"),
	ProtocolClient::execute('', $large));
is_left_out('text that is parsed and not executed',
	ProtocolClient::parse('', $insert));
is_left_out('executed after that', ProtocolClient::execute(''));
is_left_out('executed once more', ProtocolClient::execute(''));
# A generic plan, which PostgreSQL keeps with the statement
is_left_out("plan with a parameter, execution $_",
	$_ == 1
	? ProtocolClient::parse('', "SELECT length('$large') FROM documents WHERE bytes = \$1")
	: (), ProtocolClient::execute('', 1))
  foreach 1 .. 7;
is_left_out('named statement with a large parameter',
	ProtocolClient::parse('named', $insert_parameter),
	ProtocolClient::execute('named', $large));
is_left_out('COPY', ProtocolClient::simple(
		"COPY documents FROM PROGRAM 'seq 1 100000'"));

# In a transaction block the portal is there until the next one.
$client->query('BEGIN');
foreach my $messages (
	[ 'text', ProtocolClient::parse('', $insert), ProtocolClient::execute('') ],
	[
		'parameter', ProtocolClient::parse('', $insert_parameter),
		ProtocolClient::execute('', $large)
	])
{
	my ($what, @messages) = @$messages;

	$client->send(@messages, ProtocolClient::sync());
	$client->response;
	$client->query('SAVEPOINT s');
	is( $client->query('SELECT pg_session_memory_is_bloated()')->[1]{columns}[0],
		'f',
		"in a transaction block, $what: not bloated");
}
is(ProtocolClient::statuses($client->query('COMMIT')),
	'', 'in a transaction block: nothing is reported at its end');

# A question that is itself in a large statement, by its text or its parameter
foreach my $case ([ 'text', "length('$large') > 0" ],
	[ 'parameter', 'length($1) > 0', $large ])
{
	my ($what, $condition, @parameters) = @$case;

	$client->send(
		ProtocolClient::parse('',
			"SELECT pg_session_memory_is_bloated() AND $condition"),
		ProtocolClient::execute('', @parameters),
		ProtocolClient::sync());
	is((grep { $_->{type} eq 'D' } @{ $client->response })[0]{columns}[0],
		'f', "asked in a large statement, $what: not bloated");
}

# The process is judged without it as well.
$client->query("SET pg_session_memory.process_threshold = '32MB'");
is_left_out('process, text', ProtocolClient::parse('', $insert),
	ProtocolClient::execute(''));
$client->query('SET pg_session_memory.process_threshold = -1');

# What the client gave a name is kept, and so is what it prepared with SQL.
foreach my $case (
	[ 'named statement', 'DEALLOCATE large', ProtocolClient::parse('large', $insert) ],
	[
		'PREPARE', 'DEALLOCATE prepared',
		ProtocolClient::simple("PREPARE prepared AS $insert")
	])
{
	my ($what, $deallocate, @messages) = @$case;
	my $before = published($observer, $pid)->{retained_bytes};

	$client->send(@messages);
	$client->send(ProtocolClient::sync()) unless $messages[0] =~ /^Q/;
	is(ProtocolClient::statuses($client->response),
		'bloated', "$what: is reported");
	cmp_ok(published($observer, $pid)->{retained_bytes},
		'>', $before + 70 * $MB, "$what: is retained, text and tree");
	is(ProtocolClient::statuses($client->query($deallocate)),
		'ok', "$what: until it is deallocated");
}

# Beside an unnamed statement, named ones are found as ever.
$client->send(
	ProtocolClient::parse('large', $insert),
	ProtocolClient::parse('', $insert),
	ProtocolClient::sync());
is(ProtocolClient::statuses($client->response),
	'bloated', 'named and unnamed: the named one counts');
my $both = published($observer, $pid)->{retained_bytes};
cmp_ok($both, '<', 110 * $MB, 'named and unnamed: only that');
$client->close;

$observer->quit;
$node->stop;

done_testing();
