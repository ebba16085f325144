# Sessions of several roles look at each other: each sees the memory of its
# own role's sessions, and all if it has the privileges of pg_read_all_stats.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('roles');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

$node->safe_psql(
	'postgres', q(
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE heir LOGIN INHERIT IN ROLE alice;
CREATE ROLE stranger LOGIN NOINHERIT IN ROLE alice;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE stats LOGIN IN ROLE pg_read_all_stats;
GRANT bob TO alice;
));
my %session = map { $_ => open_session($node, 'postgres', $_) }
  qw(alice bob heir stranger monitor stats), $superuser;
my %pid = map { $_ => backend_pid($session{$_}) } keys %session;
$pid{checkpointer} = $node->safe_psql('postgres',
	q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'));

# Whose sessions each may see besides its own
my %may_see = (
	alice => [qw(bob)],
	bob => [],
	heir => [qw(alice bob)],
	stranger => [],
	monitor => [ keys %pid ],
	stats => [ keys %pid ],
	$superuser => [ keys %pid ]);

# What an observer gets to see of a process through each function: "seen",
# "denied", that is error 42501 and no rows, or whatever else happens.
sub sight
{
	my ($session, $pid, $query) = @_;
	my $denied =
	  "42501: permission denied to examine the memory of process $pid\n";

	my $output = $session->query("\\set VERBOSITY verbose\n$query");
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return 'seen' if $output eq 't' && $error eq '';
	return 'denied' if $output eq '' && $error =~ /ERROR:  $denied/;
	return "$output$error";
}

sub check_sight
{
	my ($observer, $observed, $expected, $what) = @_;
	my $pid = $pid{$observed};
	my $session = $session{$observer};
	my $row = $session->query_safe(
		"SELECT pid, source, contexts > 5, context_bytes > 0, anon_bytes > 0
		FROM pg_session_memory WHERE pid = $pid");

	is_deeply(
		{
			contexts => sight(
				$session, $pid,
				"SELECT count(*) > 5 FROM pg_session_memory_contexts($pid)"),
			process => sight(
				$session, $pid,
				"SELECT rss_bytes > 0 FROM pg_session_memory_process($pid)"),
			view => $row
		},
		{
			contexts => $expected ? 'seen' : 'denied',
			process => $expected ? 'seen' : 'denied',
			view => $expected ? "$pid|live|t|t|t" : "$pid||||"
		},
		$what);
}

foreach my $observer (sort keys %session)
{
	my %sees = map { $_ => 1 } $observer, @{ $may_see{$observer} };

	foreach my $observed (sort keys %pid)
	{
		check_sight($observer, $observed, $sees{$observed},
			"$observer "
			  . ($sees{$observed} ? 'sees ' : 'does not see ')
			  . $observed);
	}
	is( $session{$observer}->query_safe(
			'SELECT count(*) >= ' . keys(%pid) . ' FROM pg_session_memory'),
		't',
		"$observer sees that there are others");
}

#
# A session belongs to the role that logged in, whatever role it has taken.
#
$session{$superuser}->query_safe('SET ROLE alice');
check_sight('alice', $superuser, 0,
	'a superuser\'s session that is alice for a while is not shown to alice');
check_sight($superuser, 'alice', 1, 'but it sees alice as alice does');
check_sight($superuser, 'monitor', 0, 'and nothing else');
check_sight($superuser, $superuser, 1, 'but itself');
$session{$superuser}->query_safe('RESET ROLE');
$session{$superuser}->query_safe('SET SESSION AUTHORIZATION bob');
check_sight('bob', $superuser, 0,
	'nor is one that has become bob shown to bob');
check_sight($superuser, $superuser, 1, 'it still sees itself');

$session{alice}->query_safe('SET ROLE bob');
check_sight('bob', 'alice', 0, 'alice\'s session is not shown to bob as bob');
check_sight('heir', 'alice', 1, 'but to who has alice\'s privileges');
check_sight('alice', 'alice', 1, 'and to itself');

#
# Rights are those of the moment.
#
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO bob');
check_sight('bob', 'monitor', 1, 'bob with pg_read_all_stats sees monitor');
$node->safe_psql('postgres', 'REVOKE pg_read_all_stats FROM bob');
check_sight('bob', 'monitor', 0, 'and no longer without');

$_->quit foreach values %session;
$node->stop;

done_testing();
