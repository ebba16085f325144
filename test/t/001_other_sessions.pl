# What is read from outside is what the observed session says of itself.
#
# The session reports its own contexts through pg_backend_memory_contexts;
# when it has become idle, another one looks at it.  Both must agree, context
# by context and to the byte, but for what the reporting statement itself
# needed while it ran.  Processes that cannot run a query report to the log.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

# What only a statement has, and what hangs from it: not compared at all.  An
# unnamed portal is a statement's, one with a name is a cursor.
sub is_statements
{
	my ($row) = @_;

	return $row->{name} eq 'MessageContext'
	  || ( $row->{name} eq 'PortalContext'
		&& ($row->{ident} // '') eq '<unnamed>');
}

# Contexts in which a statement keeps something while it runs: locks, resource
# owners and its portal.  What is free in them differs.
my %used_by_statements =
  map { $_ => 1 } qw(TopMemoryContext TopPortalContext);

# The rows that have to agree, each as one line.
sub lines
{
	my ($rows, $with_type, $all) = @_;
	my @lines;
	my $dropped;

	foreach my $row (@$rows)
	{
		next if defined $dropped && $row->{level} > $dropped;
		undef $dropped;
		if (!$all && is_statements($row))
		{
			$dropped = $row->{level};
			next;
		}
		# A statement has it in any case, an idle session only from 17 on.
		next if !$all && $row->{name} eq 'TopTransactionContext';

		# Counts for the statistics views are handed over at a statement's end.
		my $pending = !$all && $row->{name} eq 'PgStat Pending';

		my @columns = qw(level name ident above);
		push @columns, 'type' if $with_type;
		push @columns, qw(total_bytes total_nblocks) if !$pending;
		push @columns, qw(free_bytes free_chunks used_bytes)
		  if !$pending && ($all || !$used_by_statements{ $row->{name} });
		push @lines, join '|', map { $_ . '=' . ($row->{$_} // '') } @columns;
	}
	return \@lines;
}

# Numbers, paths, parents and sums of what was read from outside.
sub check_tree
{
	my ($rows, $what) = @_;
	my %by_path = map { join(',', @{ $_->{path} }) => $_ } @$rows;
	my %subtree;
	my @wrong;
	my $number = 0;

	foreach my $row (sort { $a->{path}[-1] <=> $b->{path}[-1] } @$rows)
	{
		my @path = @{ $row->{path} };

		push @wrong, "number $path[-1]" if $path[-1] != ++$number;
		push @wrong, "level of $number" if @path != $row->{level};
		$subtree{ join ',', @path[ 0 .. $_ ] } += $row->{total_bytes}
		  foreach 0 .. $#path;
		next if @path == 1;
		my $parent = $by_path{ join ',', @path[ 0 .. $#path - 1 ] };
		push @wrong, "path of $number" if !defined $parent;
		push @wrong, "parent of $number"
		  if defined $parent && $parent->{name} ne $row->{parent};
	}
	push @wrong, "subtree_bytes of $_->{path}[-1]"
	  foreach
	  grep { $subtree{ join ',', @{ $_->{path} } } != $_->{subtree_bytes} }
	  @$rows;
	push @wrong, "approximate" if grep { $_->{approximate} } @$rows;
	is("@wrong", '', "$what: paths, parents and sums are consistent");
}

# The view has the same totals as the rows.
my @categories = qw(catalog_cache cached_plan function cursor transaction
  execution temp_table replication base other);
my %column_of = (
	'cached plans' => 'cached_plan',
	'functions' => 'function',
	'cursors' => 'cursor',
	'temporary tables' => 'temp_table',
	'catalog cache' => 'catalog_cache');

sub check_totals
{
	my ($observer, $pid, $rows, $what) = @_;
	my $seen = rows_of($observer,
		"SELECT * FROM pg_session_memory WHERE pid = $pid")->[0];
	my %expected = map { $_ . '_bytes' => 0 } @categories, 'context';

	foreach my $row (@$rows)
	{
		my $category = $row->{category};
		$expected{ ($column_of{$category} // $category) . '_bytes' } +=
		  $row->{total_bytes};
		$expected{context_bytes} += $row->{total_bytes};
		$expected{contexts}++;
	}
	# The view adds up what contexts say they have.  That leaves out headers of
	# kinds other than AllocSet: less than 8 kB each, a slab's table of lists.
	my $others = grep { $_->{type} ne 'AllocSet' } @$rows;
	my @wrong = grep {
		abs($seen->{$_} - $expected{$_}) > ($_ eq 'contexts' ? 0 : $others * 8192)
	} sort keys %expected;
	is("@wrong", '', "$what: the view's totals are those of the rows");
	ok($seen->{source} eq 'live' && !$seen->{approximate},
		"$what: the view's figures are live and exact");
}

# A query that uses one column gets what is in that column of whole rows.
sub check_columns
{
	my ($observer, $pid, $what) = @_;
	my @columns = qw(name ident type level path total_bytes total_nblocks
	  free_bytes free_chunks used_bytes parent category subtree_bytes
	  approximate);
	my $sum = q(SELECT md5(string_agg(coalesce(%s::text, 'NULL'), '|')) FROM );
	my @wrong = grep {
		$observer->query_safe(
			sprintf($sum, $_) . "pg_session_memory_contexts($pid)") ne
		  $observer->query_safe(
			sprintf($sum, "(c).$_")
			  . "(SELECT c FROM pg_session_memory_contexts($pid) c OFFSET 0) o")
	} @columns;
	is("@wrong", '', "$what: each column alone is the same");
}

my $node = start_server(
	'observed', q(
autovacuum = on
autovacuum_naptime = 1d
archive_mode = on
archive_command = 'true'
max_locks_per_transaction = 256
));
my $with_type = $node->pg_version >= 18;
my $observer = open_session($node);

sub is_same
{
	my ($session, $what) = @_;
	my $pid = backend_pid($session);
	my $own = own_contexts($session);
	my $seen = contexts_of($observer, $pid);

	is_deeply(lines($seen, $with_type),
		lines($own, $with_type),
		"$what: seen as the session sees itself");
	return $seen;
}

sub check_session
{
	my ($session, $what, $least) = @_;
	my $pid = backend_pid($session);
	my $seen = is_same($session, $what);

	# Nothing is proven by two empty lists.
	cmp_ok(scalar @$seen, '>=', $least, "$what: at least $least contexts");
	is(scalar(grep { !defined $_->{free_bytes} } @$seen),
		0, "$what: blocks and free bytes of all contexts are known");
	check_tree($seen, $what);
	check_totals($observer, $pid, $seen, $what);
	check_columns($observer, $pid, $what);
	return $seen;
}

#
# A session that did nothing yet but report: some 70 catalog indexes, and the
# base
#
my $session = open_session($node);
check_session($session, 'fresh', 80);
is( $observer->query_safe(
		'SELECT num_nonnulls(retained_bytes, baseline_bytes, growth_bytes,
			peak_bytes, measured_at, status, last_trim_at, trimmed_bytes)
		FROM pg_session_memory WHERE pid = ' . backend_pid($session)),
	0,
	'fresh: publishes nothing, for the library is not preloaded');
$session->quit;

#
# 3,000 partitions, all planned: each with its constraint and two indexes, an
# "index info" each, makes 6,000 contexts
#
$node->safe_psql(
	'postgres', q(
CREATE TABLE part (a int, b int) PARTITION BY RANGE (a);
CREATE INDEX ON part (a);
CREATE INDEX ON part (b)));
$node->safe_psql(
	'postgres', qq(
DO \$\$ BEGIN FOR i IN $_ * 500 .. $_ * 500 + 499 LOOP
	EXECUTE format('CREATE TABLE part_%s PARTITION OF part
		FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
END LOOP; END \$\$)) foreach 0 .. 5;
$session = open_session($node);
$session->query_safe('SELECT count(*) FROM part WHERE b = 1');
my $seen = check_session($session, 'partitions', 6000);
is( scalar(
		grep { $_->{category} eq 'catalog cache' && $_->{ident} =~ /^part_\d/ }
		grep { $_->{name} eq 'index info' } @$seen),
	6000,
	'partitions: each index is named, as catalog cache');
$session->quit;

#
# 5,000 prepared statements: a source and a query tree each, and a plan for
# those that were executed
#
$session = open_session($node);
$session->query_safe(
	q(DO $$ BEGIN FOR i IN 1 .. 5000 LOOP
		EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);
	END LOOP; END $$));
$session->query_safe("EXECUTE s$_ \\g /dev/null") foreach 1 .. 20;
$seen = check_session($session, 'prepared statements', 10020);
is( scalar(
		grep { $_->{name} eq 'CachedPlanSource' && $_->{ident} =~ /PREPARE s\d/ }
		@$seen),
	5000,
	'prepared statements: each is named');
$session->quit;

#
# One observer, several sessions in turns, which change in between
#
my @changing = (open_session($node), open_session($node));
foreach my $round (1 .. 3)
{
	foreach my $number (0 .. 1)
	{
		my $prepared = $round * 700 + $number * 300;

		$session = $changing[$number];
		$session->query_safe(
			qq(DO \$\$ DECLARE s record; BEGIN
				FOR s IN SELECT name FROM pg_prepared_statements
					WHERE hashtext(name) % 3 = 0 LOOP
					EXECUTE 'DEALLOCATE ' || s.name;
				END LOOP;
				FOR i IN 1 .. $prepared LOOP
					EXECUTE format('PREPARE r${round}_%s AS SELECT %L', i,
						repeat('x', i * $round % 1500));
				END LOOP;
			END \$\$));
		is_same($session, "session $number changed $round times");
	}
}
is_same($changing[0], 'the first of them, after the other one');
$_->quit foreach @changing;

#
# A transaction with open cursors: a sort's rows are in a Generation context,
# from 17 on in a Bump context, whose blocks are other ones than an AllocSet's;
# and with a temporary table, a large object and a trigger that is deferred
#
$session = open_session($node);
$session->query_safe(
	q(CREATE TEMP TABLE temporary (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
	BEGIN;
	DECLARE sorted CURSOR FOR SELECT g, repeat('x', g % 100) AS t
		FROM generate_series(1, 20000) AS g ORDER BY t, g;
	MOVE 5 FROM sorted;
	DECLARE hashed CURSOR FOR
		SELECT * FROM generate_series(1, 10000) a JOIN generate_series(1, 10000) b
		ON a = b;
	MOVE 5 FROM hashed;
	DECLARE grouped CURSOR FOR SELECT g % 5000, count(*)
		FROM generate_series(1, 10000) AS g GROUP BY 1;
	MOVE 5 FROM grouped;
	INSERT INTO temporary SELECT 1 FROM generate_series(1, 2);
	DELETE FROM temporary WHERE ctid = '(0,1)';
	SELECT lo_open(lo_create(4711), 131072)));
$seen = check_session($session, 'open cursors', 100);
ok((grep { $_->{type} =~ /^(Generation|Bump)$/ && $_->{total_bytes} > 100000 }
		@$seen),
	'open cursors: a large context is of another kind than AllocSet');
$session->quit;

#
# Contexts below each other: each savepoint's context is a child of the one
# before, and has a sibling, since 17 notifications make a hash table.  What the
# walk keeps for each level on its way ends at the 100th level; the siblings are
# where it goes on its way back.  Paths end there as well, so a session that
# goes as deep as that is compared in full, and a deeper one with itself.
#
sub savepoints
{
	my ($from, $to) = @_;

	return join ';', map {
		"SELECT count(pg_notify('channel', 's${_}_' || g)) "
		  . "FROM generate_series(1, 17) AS g; SAVEPOINT s$_"
	} $from .. $to;
}

$session = open_session($node);
$session->query_safe('BEGIN');
$session->query_safe(savepoints(1, 90));
check_session($session, 'savepoints', 180);
$session->query_safe(savepoints(91, 200));
$seen = contexts_of($observer, backend_pid($session));
my @deep = grep { $_->{level} > 105 } @$seen;
foreach my $name ('CurTransactionContext', 'Pending Notifies')
{
	cmp_ok(scalar(grep { $_->{name} eq $name } @deep),
		'>=', 90, "savepoints: 90 of $name below level 105");
}
is(scalar(grep { $_->{category} ne 'transaction' } @deep),
	0, 'savepoints: of the same category on each level');

# The walk through one's own tree is the same walk.
is_deeply(
	lines(
		[
			grep { $_->{level} > 105 }
			  @{ contexts_of($session, backend_pid($session)) }
		]),
	lines(\@deep),
	'savepoints: the session itself sees the same');
$session->quit;

#
# A session in the middle of a statement is read as well.
#
$session = open_session($node);
my $pid = backend_pid($session);
start_statement($session, 'SELECT pg_sleep(1000)');
$node->poll_query_until(
	'postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity
	WHERE pid = $pid");
$seen = contexts_of($observer, $pid);
ok((grep { $_->{name} eq 'ExecutorState' && $_->{category} eq 'execution' }
		@$seen),
	'sleeping: the executor of the statement is seen');
check_tree($seen, 'sleeping');
$observer->query_safe("SELECT pg_cancel_backend($pid)");
$session->quit;

#
# Processes without a user's session, and other kinds of sessions
#
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
$node->safe_psql('postgres',
	q(SELECT pg_create_logical_replication_slot('decoded', 'pgoutput')));

my $wal_directory = PostgreSQL::Test::Utils::tempdir();
my @clients;
push @clients,
  IPC::Run::start(
	[
		'pg_receivewal', '-D', $wal_directory, '-d',
		$node->connstr('postgres') . " application_name=physical"
	],
	'>', \my $output, '2>&1');
push @clients,
  IPC::Run::start(
	[
		'pg_recvlogical', '-S', 'decoded', '-d',
		$node->connstr('postgres') . " application_name=logical",
		'-f', '-', '--start', '-o', 'proto_version=1', '-o',
		'publication_names=everything'
	],
	'>', \my $changes, '2>&1');
$node->poll_query_until('postgres',
	q(SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'));
$node->safe_psql('postgres',
	'CREATE TABLE decoded AS SELECT g FROM generate_series(1, 1000) AS g');
$node->poll_query_until(
	'postgres', q(SELECT pg_current_wal_lsn() <= min(sent_lsn)
	FROM pg_stat_replication));

my $leader = open_session($node);
my $leader_pid = backend_pid($leader);
$leader->query_safe('SET ' . parallel_setting($node) . ' = on');
start_statement($leader, 'SELECT pg_sleep(1000)');
$node->poll_query_until(
	'postgres', qq(SELECT count(*) = 1 FROM pg_stat_activity
	WHERE leader_pid = $leader_pid AND pid <> leader_pid
		AND wait_event = 'PgSleep'));

# Contexts that these processes must have, by what they are for
my %context_of = (
	'archiver' => undef,
	'autovacuum launcher' => 'Autovacuum Launcher',
	'background writer' => 'Background Writer',
	'checkpointer' => 'Checkpointer',
	'logical replication launcher' => undef,
	'parallel worker' => 'ExecutorState',
	'walsender' => undef,
	'walwriter' => 'Wal Writer');
my %found;

foreach my $process (
	@{ rows_of($observer, q(SELECT pid, backend_type, application_name
		FROM pg_stat_activity WHERE pid <> pg_backend_pid()
			AND backend_type <> 'client backend' ORDER BY backend_type)) })
{
	my ($pid, $type) = @$process{qw(pid backend_type)};
	my $what = "$type $process->{application_name}";
	$what =~ s/ $//;

	# The first report makes room for what a report needs.
	logged_contexts($node, $pid);
	my $own = logged_contexts($node, $pid);
	my $seen = contexts_of($observer, $pid);

	# Some of them work by themselves: then the two are of different times.
	foreach my $try (1 .. 5)
	{
		last if join("\n", @{ lines($seen, 0, 1) }) eq
		  join("\n", @{ lines($own, 0, 1) });
		$own = logged_contexts($node, $pid);
		$seen = contexts_of($observer, $pid);
	}

	$found{$type} = 1;
	cmp_ok(scalar @$seen, '>=', 5, "$what: at least 5 contexts");
	is_deeply(lines($seen, 0, 1),
		lines($own, 0, 1), "$what: seen as the process sees itself");
	check_tree($seen, $what);
	check_totals($observer, $pid, $seen, $what);
	ok((grep { $_->{name} eq $context_of{$type} } @$seen),
		"$what: $context_of{$type} is there")
	  if defined $context_of{$type};
	if ($what eq 'walsender logical')
	{
		my %kinds = map { $_->{type} => 1 } @$seen;
		ok($kinds{Slab} && $kinds{Generation},
			'walsender logical: has Slab and Generation contexts');
		ok((grep { $_->{name} eq 'ReorderBuffer'
				  && $_->{category} eq 'replication' } @$seen),
			'walsender logical: decoding is replication');
	}
}
is_deeply([ grep { !$found{$_} } sort keys %context_of ],
	[], 'all kinds of processes were there');

$observer->query_safe("SELECT pg_cancel_backend($leader_pid)");
$leader->quit;
$_->signal('TERM') foreach @clients;
IPC::Run::finish($_) foreach @clients;
$observer->quit;
$node->stop;

done_testing();
