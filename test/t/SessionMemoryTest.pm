# What the tests of this directory have in common: a server with the
# extension, sessions that stay open, and their contexts as rows.
package SessionMemoryTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(
  start_server
  open_session
  start_statement
  backend_pid
  wait_for_ended
  rows_of
  own_contexts
  contexts_of
  logged_contexts
  parallel_setting
  trims_logged
  wait_for_trims_logged
  build_refused_files
  build_refused_limits
  wait_for_logged
);

my $json = JSON::PP->new->utf8;

# A server with the extension in its database postgres.  Without further
# settings no process comes or goes but those that a test starts.
sub start_server
{
	my ($name, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		allows_streaming => 'logical',
		extra => [ '--encoding=UTF8', '--no-locale' ]);
	$node->append_conf('postgresql.conf',
		"autovacuum = off\nmax_connections = 100\nlog_statement = none\n"
		  . ($settings // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_session_memory');
	return $node;
}

# A session that stays open until its quit().  Its query_safe() takes a WARNING
# for a failure, too.  The time that a test may take is that of each query, not
# of all together: some tests are long, and machines slow.
sub open_session
{
	my ($node, $database, $user) = @_;
	my %parameters = (on_error_stop => 0);

	$parameters{extra_params} = [ '-U', $user ] if defined $user;
	my $session = $node->background_psql($database // 'postgres', %parameters);
	$session->set_query_timer_restart();
	# Minor versions of before 2025 take what psql prints of a query without
	# rows for its result, and may miss its errors.
	bless $session, 'SessionMemoryTest::Session'
	  unless exists $session->{query_cnt};
	return $session;
}

# A session whose query() waits for the end of what psql prints on both sides,
# as PostgreSQL's own does by now.
package SessionMemoryTest::Session
{
	our @ISA = ('PostgreSQL::Test::BackgroundPsql');

	sub query
	{
		my ($self, $query) = @_;
		my $end = 'end of query ' . $self->{own_count}++;
		my $there = qr/(^|\n)$end\r?\n/;

		$self->{timeout}->start();
		$self->{stdin} .= "$query\n;\n\\echo '$end'\n\\warn '$end'\n";
		$self->{run}->pump()
		  until ($self->{stdout} =~ $there && $self->{stderr} =~ $there)
		  || $self->{timeout}->is_expired;
		die "psql query timed out" if $self->{timeout}->is_expired;
		$self->{stdout} =~ s/$there$//;
		$self->{stderr} =~ s/$there$//;
		my $output = $self->{stdout};
		$self->{stdout} = '';
		return wantarray ? ($output, $self->{stderr} eq '' ? 0 : 1) : $output;
	}
}

# Sends a statement that will not end soon, and returns when psql sends it.
sub start_statement
{
	my ($session, $statement) = @_;

	$session->query_until(qr/statement is next/,
		"\\echo statement is next\n$statement;\n");
}

sub backend_pid
{
	my ($session) = @_;

	return $session->query_safe('SELECT pg_backend_pid()');
}

# Waits until no process of the server is about to end: there are no sessions
# but these, nor parallel workers.  A client that has disconnected says
# nothing of when its session is gone.
sub wait_for_ended
{
	my (@sessions) = @_;
	my $pids = join ', ', -1, map { backend_pid($_) } @sessions;

	# Asked by one of them: each question by another session adds one.
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return
		  if $sessions[0]->query_safe(
			"SELECT count(*) FROM pg_stat_activity
			WHERE backend_type IN ('client backend', 'parallel worker')
				AND pid NOT IN ($pids)") == 0;
		select undef, undef, undef, 0.1;
	}
	die "timed out waiting for sessions to end";
}

# The rows of a query, as hashes.  They come by way of a file, for the
# session's output goes to the log, and these can be thousands.
my $directory;

sub rows_of
{
	my ($session, $query) = @_;

	$directory //= PostgreSQL::Test::Utils::tempdir_short();
	my $file = "$directory/rows";
	$session->query_safe("SELECT row_to_json(r) FROM ($query) AS r \\g $file");
	my @rows = map { $json->decode($_) } split /\n/, slurp_file($file);
	unlink $file;
	return \@rows;
}

# What a session says of its own contexts, parents before children, siblings
# in the order of the list, with levels from 1 and the parents' names.
#
# PostgreSQL's rows are in this order before 18.  From 18 on, and ours always,
# they are level by level, with a path that gives the order.
sub own_contexts
{
	my ($session) = @_;

	# The second time nothing is left to be cached.
	rows_of($session, 'SELECT * FROM pg_backend_memory_contexts');
	return tree_order(
		rows_of($session, 'SELECT * FROM pg_backend_memory_contexts'));
}

# The same of a session as another one sees it.
sub contexts_of
{
	my ($observer, $pid) = @_;

	return tree_order(
		rows_of($observer, "SELECT * FROM pg_session_memory_contexts($pid)"));
}

sub by_path
{
	for (my $i = 0;; $i++)
	{
		return @{ $a->{path} } <=> @{ $b->{path} }
		  if $i >= @{ $a->{path} } || $i >= @{ $b->{path} };
		my $order = $a->{path}[$i] <=> $b->{path}[$i];
		return $order if $order != 0;
	}
}

sub tree_order
{
	my ($rows) = @_;
	my $offset = @$rows ? $rows->[0]{level} - 1 : 0;
	my @above;

	$rows = [ sort by_path @$rows ] if @$rows && $rows->[0]{path};
	foreach my $row (@$rows)
	{
		$row->{level} -= $offset;
		$above[ $row->{level} ] = $row->{name};
		$row->{above} = $above[ $row->{level} - 1 ];
	}
	return $rows;
}

# What the server's log has from this place on, once that matches, or when there
# is no more time: whether it does is the caller's to see.
sub wait_for_logged
{
	my ($node, $pattern, $offset) = @_;
	my $log;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$log = slurp_file($node->logfile, $offset // 0);
		last if $log =~ $pattern;
		select undef, undef, undef, 0.1;
	}
	return $log;
}

# What any process of the server says of its own contexts: it writes them to
# the log when asked to.  PostgreSQL writes at most 100 children of a context,
# so this is for processes that are not sessions of a user.
sub logged_contexts
{
	my ($node, $pid) = @_;
	my $offset = -s $node->logfile;
	my @rows;

	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	my $log =
	  wait_for_logged($node, qr/\[$pid\].*Grand total:.*\n/, $offset);
	# Some kinds also write their chunks or their empty blocks.
	while ($log =~ /\[$pid\].*\ level:\ (\d+);\ (.*?):
		\ (\d+)\ total\ in\ (\d+)\ blocks(?:\ \(\d+\ chunks\))?;
		(?:\ \d+\ empty\ blocks;)?\ (\d+)\ free\ \((\d+)\ chunks\);
		\ (\d+)\ used(?::\ (.*))?$/gmx)
	{
		push @rows,
		  {
			level => $1,
			name => $2,
			total_bytes => $3,
			total_nblocks => $4,
			free_bytes => $5,
			free_chunks => $6,
			used_bytes => $7,
			ident => $8
		  };
	}
	return tree_order(\@rows);
}

# The setting that makes every plan a parallel one, if it can be.
sub parallel_setting
{
	my ($node) = @_;

	return $node->pg_version >= 16
	  ? 'debug_parallel_query'
	  : 'force_parallel_mode';
}

# How many trims the log tells of, at log_min_messages = debug1, of sessions
# whose line begins like this: [pid] application.
sub trims_logged
{
	my ($node, $whose) = @_;

	return scalar(() = slurp_file($node->logfile) =~
		  /$whose.* DEBUG: +session memory trimmed/g);
}

# Waits until there are as many; false if that does not happen.
sub wait_for_trims_logged
{
	my ($node, $whose, $count) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if trims_logged($node, $whose) >= $count;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

# Builds a library of test/ for LD_PRELOAD.  Returns its name; undef where there
# is no C compiler.
sub build_preloaded
{
	my ($name, @definitions) = @_;
	my $library = PostgreSQL::Test::Utils::tempdir() . "/$name.so";

	# Nothing may be called by another name than the source does.
	return undef
	  if system('cc', '-shared', '-fPIC', '-w', '-fno-builtin',
		'-D_FILE_OFFSET_BITS=32', '-U_FORTIFY_SOURCE', @definitions,
		'-o', $library, "$FindBin::RealBin/../$name.c", '-ldl') != 0;
	return $library;
}

# No file whose path contains this can be opened, for a reason that errno has a
# name for.
sub build_refused_files
{
	my ($path, $reason) = @_;

	return build_preloaded('refused_files', "-DREFUSED=\"$path\"",
		"-DERROR_NUMBER=$reason");
}

# No process can set the limits of another one.
sub build_refused_limits
{
	return build_preloaded('refused_limits');
}

1;
