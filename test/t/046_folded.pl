# Folded stacks, from which flame graphs are drawn: their sum is what the view
# says, to the byte, whatever contexts, statements, roles and applications are
# called.  They are read here by the rules of the programs that people use:
# flamegraph.pl and speedscope.

use strict;
use warnings;

use Encode;
use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionMemoryTest;
use Test::More;

my $node = start_server('folded');
my $user = $node->safe_psql('postgres', 'SELECT user');
$node->safe_psql('postgres', 'CREATE ROLE "ro;le" LOGIN; CREATE ROLE nobody LOGIN');
my $observer = open_session($node);

# The stacks that a call gives, and their bytes.  Who reads them takes each
# line apart like this, and complains of those that do not fit.
sub stacks_of
{
	my ($call, $session) = @_;
	my %stacks;

	foreach my $row (
		@{ rows_of($session // $observer, "SELECT s FROM $call AS s") })
	{
		my $line = decode('UTF-8', encode('UTF-8', $row->{s}));
		my ($stack, $bytes) = $line =~ /^(.*)\s+?(\d+(?:\.\d*)?)$/;

		# flamegraph.pl: a second amount would be a difference
		die "flamegraph.pl: $line"
		  if !defined $bytes || $stack =~ /^(.*)\s+?(\d+(?:\.\d*)?)$/;
		# speedscope: the dot of JavaScript
		die "speedscope: $line"
		  if $line !~ /^([^\n\r\x{2028}\x{2029}]*) (\d+)$/ || $1 ne $stack;
		die "a control character: $line" if $line =~ /[\x00-\x1f\x7f-\x9f]/;
		die "an empty frame: $line"
		  if grep { /^\s*$/ } split /;/, $stack, -1;
		die "twice: $line" if exists $stacks{$stack};
		$stacks{$stack} = $bytes;
	}
	return \%stacks;
}

sub sum_of
{
	my ($stacks, $which) = @_;
	my $sum = 0;

	$sum += $stacks->{$_}
	  foreach grep { !defined $which || $_ =~ $which } keys %$stacks;
	return $sum;
}

# A frame as it is to be made of a name or an ident.
sub frame
{
	my ($text) = @_;

	$text =~ s/[\x00-\x20\x7f-\x9f\x{2028}-\x{202e}]+/ /g;
	$text =~ s/^ | $//g;
	$text =~ s/;/,/g;
	$text =~ s/ ([0-9.]+)$/_$1/;
	return $text eq '' ? '?' : $text;
}

#
# A session like those in pools
#
my $pool = open_session($node);
my $pid = backend_pid($pool);
$pool->query_safe(
	q(SET application_name = 'shop; 2';
	DO $$ BEGIN
		FOR n IN 1..500 LOOP
			EXECUTE format('PREPARE s%s AS SELECT relname, %s FROM pg_class
				WHERE oid = $1', n, n);
		END LOOP;
	END $$;
	BEGIN; DECLARE "cur;sor 1" CURSOR WITH HOLD FOR
		SELECT generate_series(1, 10000); COMMIT;
	BEGIN; SAVEPOINT a; SAVEPOINT b; SAVEPOINT c));
my $bytes = $observer->query_safe(
	"SELECT context_bytes FROM pg_session_memory WHERE pid = $pid");

my $stacks = stacks_of("pg_session_memory_folded($pid)");
my $with_idents = stacks_of("pg_session_memory_folded($pid, true)");
is(sum_of($stacks), $bytes, 'a session: the sum is context_bytes');
is(sum_of($with_idents), $bytes, 'with idents it is, too');
cmp_ok(scalar(keys %$stacks), '<', 100, 'contexts of one name are together');
cmp_ok(scalar(keys %$with_idents),
	'<', 400, 'so are idents that differ in numbers alone');

# A snapshot has each path, but for those of a name below the same name.
my %paths = map { 'TopMemoryContext'
		. ($_->{path} eq 'TopMemoryContext' ? ''
			: ';' . join(';', map { frame($_) } split / > /, $_->{path}))
	  => $_->{bytes} } @{ rows_of($observer,
		"SELECT path, bytes FROM pg_session_memory_snapshot_paths(
			pg_session_memory_snapshot($pid)) WHERE contexts IS NOT NULL") };
my $nested = 'TopMemoryContext;TopTransactionContext;CurTransactionContext';
is(delete $paths{$nested}, sum_of($stacks, qr/^$nested/),
	'nested savepoints are a stack each, of the same bytes together');
my %others = map { $_ => $stacks->{$_} } grep { !/^$nested/ } keys %$stacks;
is_deeply(\%others, \%paths, 'each other stack has the bytes of its path');
ok(exists $stacks->{"$nested;CurTransactionContext;CurTransactionContext"},
	'a stack for each level');

my %idents;
$idents{ frame($_->{pattern}) } += $_->{total_bytes}
  foreach @{ rows_of($observer,
		"SELECT pattern, total_bytes
		FROM pg_session_memory_idents($pid, 1000000)") };
my %last_frames;
foreach my $stack (keys %$with_idents)
{
	my ($last) = $stack =~ /;([^;]*)$/;

	$last_frames{$last} += $with_idents->{$stack}
	  if defined $last && exists $idents{$last};
}
is_deeply(\%last_frames, \%idents,
	'last frames are the patterns of pg_session_memory_idents, with its bytes');
is( scalar(
		grep { /;CachedPlanSource;PREPARE s# AS SELECT relname, # FROM pg_class WHERE oid = \$#$/ }
		  keys %$with_idents),
	1,
	'a statement over two lines is one frame');
ok((grep { /;PortalHoldContext;cur,sor #$/ } keys %$with_idents)
	  || (grep { /;cur,sor #$/ } keys %$with_idents),
	'a cursor whose name has a semicolon');

#
# Names that take the format at its word
#
SKIP:
{
	my $library =
	  PostgreSQL::Test::Utils::tempdir() . '/misbehaving_module.so';
	chomp(my $include = `pg_config --includedir-server`);
	skip 'no C compiler for contexts of any name', 5
	  if system("cc -shared -fPIC -w -I $include -o $library"
		  . " $FindBin::RealBin/../misbehaving_module.c") != 0;
	$node->safe_psql('postgres',
		"CREATE FUNCTION make_context(text, text) RETURNS void
			AS '$library', 'misbehaving_make_context' LANGUAGE C");

	my @names = (
		'a;b', "two\nlines", "tab\tand\r\nmore", '  blanks  around  ',
		'an amount 42', 'an amount 4.5', 'amounts 1 2', '7', ' 8 ', ' ', ';',
		'; 9', "bell\a", "next\x{85}line", "line\x{2028}separator",
		"paragraph\x{2029}separator", "right\x{202e}tfel", "\x{e4}\x{20ac}\x{1f600}",
		'<script>alert("&")</script>', 'x' x 127);
	my $strange = open_session($node);
	my $strange_pid = backend_pid($strange);
	my %expected;

	foreach my $name (@names)
	{
		my $literal = join '||', map { 'chr(' . ord($_) . ')' } split //, $name;

		$strange->query_safe("SELECT make_context($literal, 'x' || $literal)");
		$expected{'TopMemoryContext;' . frame($name)} = 1;
	}
	$bytes = $observer->query_safe(
		"SELECT context_bytes FROM pg_session_memory WHERE pid = $strange_pid");
	$stacks = stacks_of("pg_session_memory_folded($strange_pid)");
	is(sum_of($stacks), $bytes, 'strange names: the sum is context_bytes');
	is_deeply([ grep { !exists $stacks->{$_} } sort keys %expected ],
		[], 'strange names: each is a frame');
	is( sum_of(stacks_of("pg_session_memory_folded($strange_pid, true)")),
		$bytes,
		'strange idents: the sum is context_bytes');
	# Only the own session has names of any length at hand.
	$strange->query_safe(
		"SELECT make_context(repeat(chr(8364), 100000), repeat(chr(8364), 100000))");
	my $own = stacks_of('pg_session_memory_folded(pg_backend_pid(), true)',
		$strange);
	ok(exists $own->{'TopMemoryContext;'
			  . "\x{20ac}" x 341 . ';'
			  . "\x{20ac}" x 256},
		'a name of 300,000 bytes is cut at a character');
	$bytes = $observer->query_safe(
		"SELECT context_bytes FROM pg_session_memory WHERE pid = $strange_pid");
	is( sum_of(
			stacks_of('pg_session_memory_folded()'),
			qr/, pid $strange_pid;/),
		$bytes,
		'strange names among all processes');
	$strange->quit;
}

#
# All processes
#
my $other = open_session($node, 'postgres', 'ro;le');
my $other_pid = backend_pid($other);
my $checkpointer = $observer->query_safe(
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
my %seen = map { $_->{pid} => $_->{context_bytes} } @{ rows_of($observer,
		'SELECT pid, context_bytes FROM pg_session_memory
		WHERE context_bytes IS NOT NULL') };
my $all = stacks_of('pg_session_memory_folded()');
my %roots = map { (split /;/)[0] => 1 } keys %$all;
my %roots_of_pids = map { /, pid (\d+)$/ ? ($1 => $_) : die $_ } keys %roots;
is_deeply([ sort keys %roots_of_pids ],
	[ sort keys %seen ], 'all processes: a root for each that the view reads');
is($roots_of_pids{$pid}, "$user\@postgres, shop,_2, pid $pid",
	'a root says role, database and application');
like($roots_of_pids{$other_pid}, qr/^ro,le\@postgres, .*, pid $other_pid$/,
	'a role whose name has a semicolon');
is($roots_of_pids{$checkpointer}, "checkpointer, pid $checkpointer",
	'a process that is no session');
foreach my $idle ($pid, $other_pid, $checkpointer)
{
	is(sum_of($all, qr/^[^;]*, pid $idle;/), $seen{$idle},
		"the stacks of $roots_of_pids{$idle} are its context_bytes");
}
is( sum_of(
		stacks_of('pg_session_memory_folded(NULL, true)'),
		qr/^[^;]*, pid $pid;/),
	$seen{$pid},
	'with idents they are, too');

#
# Who may see what
#
my $nobody = open_session($node, 'postgres', 'nobody');
my $nobody_pid = backend_pid($nobody);
my @own = keys %{ stacks_of('pg_session_memory_folded()', $nobody) };
is(scalar(grep { !/^nobody\@postgres, .*, pid $nobody_pid;/ } @own),
	0, 'all processes: only those that the caller may see');
cmp_ok(scalar(@own), '>', 10, 'these they are');
$nobody->query(
	"\\set VERBOSITY sqlstate\nSELECT pg_session_memory_folded($pid)");
like($nobody->{stderr}, qr/ERROR:  42501/, 'another session is refused');
$nobody->{stderr} = '';

$_->quit foreach $nobody, $other, $pool, $observer;
$node->stop;
done_testing();
