# pg_stat_activity, from which the view takes its list, shows in a long
# transaction what there was when the transaction first looked.  Memory is
# read in the moment.  So a session that has ended since is still listed, but
# must not be shown as one that lives.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('long_transaction');
my $observer = open_session($node);

sub row_of
{
	my ($pid) = @_;

	return $observer->query_safe(
		"SELECT source, contexts > 50,
			num_nonnulls(contexts, context_bytes, catalog_cache_bytes,
				cached_plan_bytes, function_bytes, cursor_bytes,
				transaction_bytes, execution_bytes, temp_table_bytes,
				replication_bytes, base_bytes, other_bytes, anon_bytes,
				swap_bytes, unaccounted_bytes, retained_bytes, approximate)
		FROM pg_session_memory WHERE pid = $pid");
}

foreach my $isolation ('READ COMMITTED', 'REPEATABLE READ')
{
	my $ends = open_session($node);
	my $ends_pid = backend_pid($ends);
	my $stays = open_session($node);
	my $stays_pid = backend_pid($stays);

	$observer->query_safe("BEGIN ISOLATION LEVEL $isolation");
	is(row_of($ends_pid), 'live|t|16', "$isolation: the session is live");

	$ends->quit;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $ends_pid");
	my $begins = open_session($node);
	my $begins_pid = backend_pid($begins);

	# The premise of this test
	is( $observer->query_safe(
			"SELECT count(*) FROM pg_stat_activity WHERE pid = $ends_pid"),
		1,
		"$isolation: a session that has ended is still listed");

	is(row_of($ends_pid), '||0', "$isolation: but has no figures");
	is( $observer->query_safe(
			"SELECT count(*) FROM pg_session_memory
			WHERE pid = $ends_pid AND source IS NOT NULL"),
		0,
		"$isolation: and is not live");
	is(row_of($stays_pid), 'live|t|16', "$isolation: one that stays is");

	# The functions go by what there is now.
	foreach my $function ('contexts', 'process')
	{
		my $rows = $observer->query(
			"SELECT count(x) FROM pg_session_memory_$function($ends_pid) AS x
			WHERE x IS NOT NULL");
		is($rows, 0, "$isolation: pg_session_memory_$function shows nothing");
		like(
			$observer->{stderr},
			qr/WARNING:  PID $ends_pid is not a PostgreSQL server process/,
			"$isolation: and warns");
		$observer->{stderr} = '';
		isnt(
			$observer->query_safe(
				"SELECT count(x) FROM pg_session_memory_$function($begins_pid)
					AS x"),
			0,
			"$isolation: but shows one that is new");
	}

	$observer->query_safe('COMMIT');
	is(row_of($ends_pid), '', "$isolation: not listed after the transaction");
	is(row_of($begins_pid), 'live|t|16',
		"$isolation: as the new one is now");
	$_->quit foreach $stays, $begins;
}

$observer->quit;
$node->stop;

done_testing();
