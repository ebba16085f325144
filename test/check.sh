#!/usr/bin/env bash
#
# check.sh
#	  Every test of the project, on private servers.
#
#	test/check.sh [build|style|regress|tap|clients|pictures|oom|vm|stress]... [FILE.pl...]
#
# All parts without an argument; of the TAP files, those that are named:
#
#	test/check.sh test/t/003_cancel.pl
#
# Packages that are missing are installed; see private_server.sh for that, and
# for what PG_MAJOR, KEEP and TMPDIR do.  Nothing is written to the checkout.
# Where PGSM_SEEN_WITH names a version, what it has shown for each is skipped:
# style, pictures, and the virtual machine.  PGSM_STRESS_SECONDS is how long
# stress takes, 60 by default, and then 20.
#
# The last line is "N passed, M failed", with ", K skipped" where something
# was, and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

# How many lines of a log are shown when something has failed.
readonly TAIL=40

seconds=						# that each part took, in words
tap_files=()					# that were named

before_result_line()
{
	[[ -z $seconds ]] || printf '\nSeconds: %s\n' "$seconds"
}

# Counts a test that consists in one command.
check()
{
	local name=$1

	shift
	if "$@"; then pass "$name"; else fail "$name"; fi
}

# seen PART WHAT: whether a part need not be repeated with this version; says so.
seen()
{
	[[ -n ${PGSM_SEEN_WITH:-} ]] || return
	skip "$1" "$2 with PostgreSQL $PGSM_SEEN_WITH"
}

# follow LOG COMMAND...: runs a command with its output in LOG, and shows it
# here as it comes.  Not with tee in a pipeline, since bash would not react to
# signals until the end of that.
follow()
{
	local log=$1 status=0 command tail

	shift
	: >"$log"
	"$@" >"$log" 2>&1 &
	command=$!
	tail -q -n +1 -s 0.2 -f --pid="$command" "$log" &
	tail=$!
	private_wait "$command" || status=$?
	wait "$tail" || true
	return "$status"
}

# For a test that needs packages which cannot be had: skipped for a user
# without network, but the machine that decides has to have them.
without_packages()
{
	if [[ -n ${CI:-} ]]; then
		fail "$1: the packages are missing"
	else
		skip "$1" "the packages could not be installed"
	fi
}

# ---------------------------------------------------------------------------
# build: with all warnings of the server's own flags, and none of them
# ---------------------------------------------------------------------------

build_without_warning()
{
	local log=$PRIVATE_DIR/build.output

	if ! private_make "-j$(nproc)" COPT=-Werror all >"$log" 2>&1; then
		tail -n "$TAIL" "$log"
		return 1
	fi
	# make and the linker warn as well, and do not fail.
	! grep -i 'warning:' "$log"
}

# Names of ours would otherwise stand for those of other modules.
shows_few_symbols()
{
	local names

	names=$(nm -D --defined-only "$PRIVATE_TREE/pg_session_memory.so" |
		awk '{print $3}')
	grep -q '^_PG_init$' <<<"$names" && ! grep -v -E \
		'^(Pg_magic_func|_PG_init|(pg_finfo_)?pg_session_memory[a-z_]*)$' \
		<<<"$names"
}

# The readers live as long as the program.  The server may be one with
# assertions, whose function for those that fail is needed.
run_memory_reader()
(
	cd "$PRIVATE_TREE" &&
		private_run gcc -g -O1 -Wall -D_GNU_SOURCE \
			-fsanitize=address,undefined -fno-sanitize-recover=undefined \
			-Isrc -I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
			-o "$PRIVATE_TREE/memory_reader_test" \
			test/memory_reader_test.c src/reading/mapped_file.c \
			src/reading/memory_reader.c src/reading/page_map.c -x c - \
			<<<'void abort(void); void ExceptionalCondition(void) { abort(); }' &&
		private_run env ASAN_OPTIONS=detect_leaks=0 ./memory_reader_test
)

# run_alone NAME SOURCE...: compiles test/NAME.c with what it tests, without a
# server, and runs it in an empty directory.
run_alone()
{
	local name=$1 directory=$PRIVATE_DIR/$1

	shift
	cd "$PRIVATE_TREE" && private_run mkdir "$directory" &&
		private_run gcc -g -O1 -Wall -D_GNU_SOURCE \
			-fsanitize=address,undefined -fno-sanitize-recover=undefined \
			-Isrc -I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
			-o "$PRIVATE_TREE/$name" "test/$name.c" "$@" \
			-L "$("$PRIVATE_PG_CONFIG" --pkglibdir)" -lpgcommon -lpgport &&
		private_run env ASAN_OPTIONS=detect_leaks=0 \
			"./$name" "$directory"
}

# Where processes are not forked, the library must not even compile.
refuse_exec_backend()
{
	local log=$PRIVATE_DIR/exec_backend.output

	cd "$PRIVATE_TREE" || return
	if private_run gcc -fsyntax-only -D_GNU_SOURCE -DEXEC_BACKEND -Isrc \
		-I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
		src/module.c src/session/watch.c >"$log" 2>&1; then
		return 1
	fi
	grep -q 'error: .*EXEC_BACKEND is not supported' "$log"
}

check_build()
{
	heading "Build for PostgreSQL $PG_MAJOR"
	check "builds without a warning" build_without_warning
	check "shows other modules no symbols but those that PostgreSQL looks up" \
		shows_few_symbols
	check "memory_reader reads what is there, and nothing else" \
		run_memory_reader
	check "process_memory finds its figures in long files" \
		run_alone process_memory_test
	check "context_walk is left at once when it is cancelled" \
		run_alone context_walk_test src/reading/context_walk.c \
		src/reading/context_category.c src/reading/constant_memory.c
	check "EXEC_BACKEND is refused" refuse_exec_backend
	check "server_memory finds the limit that holds" \
		run_alone server_memory_test src/watcher/server_memory.c
	check "environment says what is wrong with a machine, and nothing else" \
		run_alone environment_test src/watcher/environment.c \
		src/watcher/guard.c src/watcher/server_memory.c
	check "guard keeps made-up servers from running out of memory" \
		run_alone guard_test src/watcher/guard.c -lm
	check "recorder gives back what it was given, whatever happens to its file" \
		run_alone recorder_test src/watcher/recorder.c \
			src/watcher/recorded_sample.c
}

# ---------------------------------------------------------------------------
# style
# ---------------------------------------------------------------------------

# Names of the types that the project defines.
own_typedefs()
{
	perl -0777 -ne '
		my $braces;
		$braces = qr/\{(?:[^{}]++|(??{$braces}))*\}/;
		s!/\*.*?\*/!!gs;
		while (/\btypedef\s+(?:
				(?:struct|union|enum)\b[^;{]*$braces\s*(\w+)
				| [^;{]*?\(\s*\*\s*(\w+)\s*\)\s*\([^;]*\)
				| [^;{]*?(\w+))\s*;/gx)
		{
			print $1 // $2 // $3, "\n";
		}' src/*.[ch] src/*/*.[ch]
}

# PostgreSQL writes one space before the star of a return type, pg_bsd_indent
# may write more, and pgindent takes them out again; both will do here.
single_space_before_star()
{
	sed -E 's/^([A-Za-z_][^[:space:]]*)[[:blank:]]+\*$/\1 */' "$@"
}

formatted()
{
	local options=(-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1
		-i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4)
	local typedefs=$PRIVATE_DIR/typedefs.list
	local file status=0

	cd "$PRIVATE_TREE" || return
	{
		grep -v '^#' test/typedefs.list
		own_typedefs
	} | LC_ALL=C sort -u >"$typedefs"

	for file in src/*.[ch] src/*/*.[ch]; do
		pg_bsd_indent "${options[@]}" "-U$typedefs" <"$file" \
			>"$PRIVATE_DIR/indented" || status=1
		diff -u --label "$file" --label "$file, formatted" \
			<(single_space_before_star "$file") \
			<(single_space_before_star "$PRIVATE_DIR/indented") || status=1
	done
	return "$status"
}

# Without PostgreSQL's headers: what cppcheck says of those is not about us.
# As the code is for each version, since it is not the same code.
analysed()
{
	local major

	cd "$PRIVATE_TREE" || return
	for major in 15 16 17 18 19; do
		cppcheck --quiet -Isrc --enable=warning --std=c99 --inline-suppr \
			--suppress=missingInclude --suppress=missingIncludeSystem \
			--suppress=normalCheckLevelMaxBranches \
			-DPG_VERSION_NUM="${major}0000" -DMAXIMUM_ALIGNOF=8 \
			-DINT64_FORMAT='"%ld"' -DUINT64_FORMAT='"%lu"' \
			--error-exitcode=1 src 2>&1 || return 1
	done
}

# What people copy goes on to work when a view has another column.
columns_named()
{
	cd "$PRIVATE_TREE" || return
	! grep -rniE '(select|returning|,)[[:blank:]]+([a-z_]+\.)?\*($|[^a-z_])' README.md doc examples \
		--include='*.md' --include='*.sql' --include='*.y*ml' \
		--include='*.cfg' --include='*.py' --include='*.mjs' \
		--include='*.properties' --include=psqlrc
}

# Databases have what a released script has made, and no other script repeats
# it: what changes belongs to an update script.
released_scripts_unchanged()
{
	cd "$PRIVATE_TREE" || return
	sha256sum --check --quiet test/released.sha256 || {
		echo "This script is released.  What is to change goes into another, as" \
			"pg_session_memory--1.0--1.1.sql, with default_version in the control" \
			"file; a new script gets a line of its own in test/released.sha256."
		return 1
	}
}

check_style()
{
	local name

	heading "Style"
	! seen style "the same files were looked at" || return 0
	for name in "recipes name every column" "formatted with pg_bsd_indent" \
		"no finding of cppcheck" "released scripts are unchanged"; do
		case $name in
			recipes*) set -- perl columns_named ;;
			formatted*) set -- pg-bsd-indent formatted ;;
			released*) set -- coreutils released_scripts_unchanged ;;
			*) set -- cppcheck analysed ;;
		esac
		if private_packages "$1" perl; then
			# in a subshell, since these change the directory
			if ("$2"); then pass "$name"; else fail "$name"; fi
		else
			without_packages "$name"
		fi
	done
}

# ---------------------------------------------------------------------------
# regress: pg_regress on a server that has nothing preloaded
# ---------------------------------------------------------------------------

check_regress()
{
	local log=$PRIVATE_DIR/regress.output status=0 line file
	local before=$((passed + failed)) failed_before=$failed
	# "ok 1 - name   12 ms" from 16 on, "test name ... ok   12 ms" before, and
	# with leading spaces, no "test", for those that run at the same time
	local tap='^(not )?ok +[0-9]+ +[-+] +([^ ]+)'
	local old='^(test| ) +([^ ]+) +\.\.\. +(ok|FAILED|failed)'

	heading "pg_regress, nothing preloaded"
	private_install
	private_start regress

	# The Makefile may want TAP tests here too; they have their own part.
	private_make installcheck TAP_TESTS= >"$log" 2>&1 || status=$?

	while IFS= read -r line; do
		if [[ $line =~ $tap ]]; then
			if [[ -z ${BASH_REMATCH[1]} ]]; then
				pass "${BASH_REMATCH[2]}"
			else
				fail "regress ${BASH_REMATCH[2]}"
			fi
		elif [[ $line =~ $old ]]; then
			if [[ ${BASH_REMATCH[3]} == ok ]]; then
				pass "${BASH_REMATCH[2]}"
			else
				fail "regress ${BASH_REMATCH[2]}"
			fi
		fi
	done <"$log"

	if [[ $((passed + failed)) -eq $before ]]; then
		fail "pg_regress: it ran no test"
	elif [[ $status -ne 0 && $failed -eq $failed_before ]]; then
		fail "pg_regress: it ended with status $status"
	fi
	if [[ $failed -gt $failed_before ]]; then
		file=$PRIVATE_TREE/regression.diffs
		[[ -f $file ]] || file=$log
		printf -- '--- %s\n' "${file#"$PRIVATE_TREE/"}"
		head -n 400 "$file"
		show_crashes "$PRIVATE_DIR/regress.log"
	fi
	private_stop regress
}

# A server that went down is the first thing to know about a failure.
show_crashes()
{
	grep -H -E -A 3 'PANIC|FATAL.*(signal|crash)|terminated by signal|TRAP:' "$@" |
		sed "s|^$PRIVATE_DIR/||" | head -n 20 || true
}

# ---------------------------------------------------------------------------
# tap
# ---------------------------------------------------------------------------

# prove's own engine, for counts of tests rather than of files, and a reason
# for each that was skipped.
write_harness()
{
	cat >"$PRIVATE_DIR/harness.pl" <<'END'
use strict;
use warnings;
use File::Basename;
use TAP::Harness;

my ($library, $jobs, $counts, @files) = @ARGV;
my %count = (passed => 0, failed => 0, skipped => 0);
my @failures;
my %details;

$| = 1;

my $harness = TAP::Harness->new(
	{ jobs => $jobs, lib => [$library], verbosity => -3 });

$harness->callback(
	made_parser => sub {
		my ($parser, $job) = @_;
		my $file = $job->[0];
		$parser->callback(
			test => sub {
				my $test = shift;
				my $name = $test->number . " " . $test->description;
				$name =~ s/\s+-\s+/: /;
				$name =~ s/\s+$//;
				if (!$test->is_ok)
				{
					push @{ $details{$file} }, "not ok $file $name";
					push @failures, "$file $name";
				}
				elsif ($test->has_skip)
				{
					push @{ $details{$file} },
					  "skip $file $name: " . $test->explanation;
				}
			});
	});

$harness->callback(
	after_test => sub {
		my ($job, $parser) = @_;
		my $file = $job->[0];
		my $skipped = () = $parser->skipped;
		my $failed = () = $parser->failed;
		my $passed = (() = $parser->passed) - $skipped;

		print "$_\n" foreach @{ $details{$file} };
		if (defined $parser->skip_all)
		{
			print "skip $file: " . $parser->skip_all . "\n";
			$skipped = 1;
		}
		# A script can die after its last test, or before its first.
		elsif (!$failed && $parser->has_problems || !$parser->tests_run)
		{
			my $why = join '; ', $parser->parse_errors,
			  $parser->exit ? "exit status " . $parser->exit : ();
			$why ||= "it ran no test";
			print "not ok $file: $why\n";
			push @failures, "$file: $why";
			$failed = 1;
		}
		print "ok $file: $passed tests\n" if !$failed && $passed;

		$count{passed} += $passed;
		$count{failed} += $failed;
		$count{skipped} += $skipped;

		my $log = "$ENV{TESTLOGDIR}/regress_log_" . basename($file, '.pl');
		if ($failed && -f $log)
		{
			print "--- end of $log\n";
			system('tail', '-n', $ENV{TAIL}, $log);
			print "---\n";
		}
	});

$harness->runtests(@files);

open my $out, '>', $counts or die "could not write $counts: $!";
print $out "$count{passed} $count{failed} $count{skipped}\n";
print $out "$_\n" foreach @failures;
close $out;
END
}

check_tap()
{
	local counts=$PRIVATE_DIR/tap.counts files=("${tap_files[@]}") file status=0
	local file_passed file_failed file_skipped failure

	heading "TAP"
	if [[ ${#files[@]} -eq 0 ]]; then
		for file in "$PRIVATE_TREE"/test/t/*.pl; do
			[[ ! -f $file ]] || files+=("test/t/${file##*/}")
		done
	fi
	if [[ ${#files[@]} -eq 0 ]]; then
		fail "TAP: there is no test"
		return
	fi
	if ! private_packages perl libipc-run-perl; then
		without_packages "TAP"
		return
	fi
	if [[ ! -f $PRIVATE_PGXS/test/perl/PostgreSQL/Test/Cluster.pm ]]; then
		skip "TAP" "this PostgreSQL came without PostgreSQL::Test::Cluster"
		return
	fi
	private_install
	# For a test that runs out of memory in them; it says so where they are not.
	if private_packages "postgresql-plpython3-$PG_MAJOR" \
		"postgresql-plperl-$PG_MAJOR"; then
		private_extensions
	fi
	write_harness

	follow "$PRIVATE_DIR/tap.output" private_run \
		env TAIL="$TAIL" PGPORT=65432 \
		TESTDIR="$PRIVATE_TREE" TESTDATADIR="$PRIVATE_TREE/tmp_check" \
		TESTLOGDIR="$PRIVATE_TREE/tmp_check/log" \
		PG_REGRESS="$PRIVATE_PGXS/test/regress/pg_regress" \
		perl "$PRIVATE_DIR/harness.pl" "$PRIVATE_PGXS/test/perl" 2 \
		"$counts" "${files[@]}" || status=$?

	if [[ ! -f $counts ]]; then
		fail "TAP: it ended early with status $status"
		return
	fi
	{
		read -r file_passed file_failed file_skipped
		passed=$((passed + file_passed))
		failed=$((failed + file_failed))
		skipped=$((skipped + file_skipped))
		while IFS= read -r failure; do
			failures+=("$failure")
		done
	} <"$counts"
	if [[ $file_failed -gt 0 ]]; then
		show_crashes "$PRIVATE_TREE"/tmp_check/log/*.log
	fi
}

# ---------------------------------------------------------------------------
# clients: real drivers and poolers
# ---------------------------------------------------------------------------

check_clients()
{
	heading "Drivers and poolers"
	count_lines clients "$PRIVATE_SOURCE/test/clients/run"
}

# count_lines PART COMMAND...: counts the tests of a script by its lines "ok
# NAME", "not ok NAME: WHY" and "skip NAME: REASON".
count_lines()
{
	local part=$1 log=$PRIVATE_DIR/$1.lines status=0 line
	local before=$((passed + failed + skipped)) failed_before=$failed

	shift
	# It shares this script's work directory, and is told so by the
	# environment.
	follow "$log" env --default-signal=INT,QUIT "$@" || status=$?

	while IFS= read -r line; do
		case $line in
			"ok "*) passed=$((passed + 1)) ;;
			"not ok "*)
				failed=$((failed + 1))
				failures+=("$part: ${line#not ok }")
				;;
			"skip "*) skipped=$((skipped + 1)) ;;
		esac
	done <"$log"

	if [[ $((passed + failed + skipped)) -eq $before ]]; then
		fail "$part: ${1##*/} reported no test, status $status"
	elif [[ $status -ne 0 && $failed -eq $failed_before ]]; then
		fail "$part: ${1##*/} ended with status $status"
	fi
}

# ---------------------------------------------------------------------------
# pictures: the HTML page, in a browser
# ---------------------------------------------------------------------------

check_pictures()
{
	heading "Pictures"
	! seen pictures "the same page was looked at" || return 0
	count_lines pictures "$PRIVATE_SOURCE/test/pictures/run"
}

# ---------------------------------------------------------------------------
# oom: the kernel's OOM killer, in a control group, and the guard against it
# ---------------------------------------------------------------------------

check_oom()
{
	heading "Out of memory"
	count_lines oom "$PRIVATE_SOURCE/test/oom.sh"
	count_lines guard "$PRIVATE_SOURCE/test/guard.sh"
}

# ---------------------------------------------------------------------------
# vm: Yama, swap and cgroup v2, in a virtual machine
# ---------------------------------------------------------------------------

check_vm()
{
	heading "Virtual machine"
	! seen vm "what Linux allows was tried" || return 0
	count_lines vm "$PRIVATE_SOURCE/test/vm.sh"
}

# ---------------------------------------------------------------------------
# stress: a hundred sessions at once
# ---------------------------------------------------------------------------

check_stress()
{
	local seconds=60

	[[ -z ${PGSM_SEEN_WITH:-} ]] || seconds=20
	heading "Stress"
	count_lines stress "$PRIVATE_SOURCE/test/stress.sh" \
		"${PGSM_STRESS_SECONDS:-$seconds}"
}

# ---------------------------------------------------------------------------

# Packages that a part wants beside PostgreSQL and a compiler
packages_of()
{
	[[ -z ${PGSM_SEEN_WITH:-} || $1 != @(style|pictures) ]] || return 0
	case $1 in
		style) echo pg-bsd-indent perl cppcheck ;;
		tap) echo perl libipc-run-perl ;;
		clients)
			# Node.js that is no package of Debian will do, too.
			echo python3
			"$PRIVATE_SOURCE/test/clients/run" --packages |
				if command -v npm >/dev/null; then
					grep -v -x -e nodejs -e npm
				else
					cat
				fi
			;;
		pictures)
			"$PRIVATE_SOURCE/test/pictures/run" --packages |
				if command -v npm >/dev/null; then
					grep -v -x -e nodejs -e npm
				else
					cat
				fi
			;;
		stress) echo python3 python3-psycopg2 ;;
	esac
}

main()
{
	local parts=() part packages started

	for part in "$@"; do
		case $part in
			build | style | regress | tap | clients | pictures | oom | vm | stress) parts+=("$part") ;;
			*.pl)
				if [[ ! -f $PRIVATE_SOURCE/test/t/${part##*/} ]]; then
					unset -f private_at_exit
					private_die "there is no TAP file $part"
				fi
				tap_files+=("test/t/${part##*/}")
				;;
			*)
				unset -f private_at_exit
				private_say "usage: $0 [build|style|regress|tap|clients|pictures|oom|vm|stress]... [FILE.pl...]"
				exit 2
				;;
		esac
	done
	if [[ ${#tap_files[@]} -gt 0 && " ${parts[*]} " != *" tap "* ]]; then
		parts+=(tap)
	fi
	[[ ${#parts[@]} -gt 0 ]] || parts=(build style regress tap clients pictures oom vm stress)

	private_prepare
	# All at once: whoever may not install them is told once.
	mapfile -t packages < <(for part in "${parts[@]}"; do
		packages_of "$part"
	done | tr -s ' ' '\n' | awk '!seen[$0]++')
	if [[ ${parts[*]} == style ]]; then
		private_packages "${packages[@]}" || true
	else
		private_installation "${packages[@]}"
	fi
	seconds="to prepare $SECONDS"
	for part in "${parts[@]}"; do
		started=$SECONDS
		"check_$part"
		seconds+=", $part $((SECONDS - started))"
	done
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"
