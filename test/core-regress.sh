#!/usr/bin/env bash
#
# core-regress.sh
#	  PostgreSQL's own regression suite, with everything of ours switched on.
#
#	test/core-regress.sh [--assert]
#
# The suite of PostgreSQL's installcheck-parallel runs twice, each time on a
# private server of its own: first without the library, then with the library
# preloaded and set to work as much as it can.  Every command's end is
# measured, every session is over its thresholds, a session trims itself after
# 1 ms of idleness, and all the while one more session reads the memory of all
# others and another asks random ones to trim themselves.  None of that may
# change a result: each of PostgreSQL's tests is one of ours here, and it
# passes if its output with the library is right, or the same as without.
# Neither server may crash, and what reads and trims must not raise an error.
#
# --assert builds the server, too, with assertions, from the same source.
#
# The source is that of the installed package, by way of apt-get source.  Of
# it only the tests are used, and C functions for them, which are compiled
# with the headers of the server under test: so they always fit together.
# pg_regress is the one that comes with those headers.
#
# Variables, all optional:
#	PGSM_POSTGRES_SOURCE	an unpacked source tree to use instead of apt's
#	PGSM_ASSERT_SERVER		prefix of an installed server with assertions; it is
#							copied, instead of building one
#	PG_MAJOR, KEEP, TMPDIR	as in private_server.sh
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/postgres_source.sh"

# How many lines of a difference, or of a log, are shown.
readonly TAIL=60

# What says that a server process did not end by itself.
readonly CRASH='terminated by signal|PANIC:|TRAP:|server closed the connection|connection to server was lost|terminating connection because of crash'

# tolerated TEST: the reason why its output may differ, where that is not
# ours; else false.
tolerated()
{
	case $1 in
		random)
			# Marked so in the schedule of 15, and in none of 17 and later.
			[[ $PG_MAJOR -lt 17 ]] || return 1
			echo "it fails at random, and PostgreSQL ignores that" ;;
		*) return 1 ;;
	esac
}

passed=0
failed=0
failures=()
completed=
repeaters=()

pass()
{
	passed=$((passed + 1))
	printf 'ok %s\n' "$*"
}

fail()
{
	failed=$((failed + 1))
	failures+=("$*")
	printf 'not ok %s\n' "$*"
}

heading()
{
	printf '\n=== %s\n' "$*"
}

# private_server.sh calls this at the end, however the script ends.
private_at_exit()
{
	local failure

	[[ -n $completed ]] ||
		fail "the run itself, which ended early with status $1"
	printf '\n'
	for failure in "${failures[@]}"; do
		printf 'failed: %s\n' "$failure"
	done
	printf '%d passed, %d failed\n' "$passed" "$failed"
}

# ---------------------------------------------------------------------------
# A server with assertions
# ---------------------------------------------------------------------------

assert_installation()
{
	if [[ -n ${PGSM_ASSERT_SERVER:-} ]]; then
		use_server "$PGSM_ASSERT_SERVER"
	else
		private_say "Building PostgreSQL with assertions"
		build_server -fno-omit-frame-pointer
	fi
}

# ---------------------------------------------------------------------------
# The suite
# ---------------------------------------------------------------------------

# The C functions that the suite calls, in the server's own terms.
compile_functions()
{
	local file directory=$PRIVATE_DIR/functions

	private_run mkdir -p "$directory"
	for file in src/test/regress/regress contrib/spi/refint contrib/spi/autoinc; do
		private_quietly private_run gcc -O1 -g -w -fPIC -shared \
			-fno-strict-aliasing -fwrapv -D_GNU_SOURCE -DREFINT_VERBOSE \
			-I "$source_tree/$(dirname "$file")" \
			-I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
			-o "$directory/${file##*/}.so" "$source_tree/$file.c" ||
			private_die "could not compile $file.c"
	done
}

# run_suite NAME: on the server in use.  Results are below the directory
# NAME.out, and what pg_regress says of each test in NAME.verdicts.
run_suite()
{
	local out=$PRIVATE_DIR/$1.out log=$PRIVATE_DIR/$1.output status=0 line
	# "ok 1 - name   12 ms" from 16 on, "test name ... ok   12 ms" before, and
	# with leading spaces, no "test", for those that run at the same time
	local tap='^(not )?ok +[0-9]+ +[-+] +([^ ]+)'
	local old='^(test| ) +([^ ]+) +\.\.\. +(ok|FAILED|failed)'
	local verdicts=$PRIVATE_DIR/$1.verdicts

	private_run mkdir "$out"
	private_run env -C "$out" LC_ALL=C.UTF-8 \
		"$PRIVATE_PGXS/test/regress/pg_regress" \
		--inputdir="$source_tree/src/test/regress" --outputdir="$out" \
		--bindir="$PRIVATE_BINDIR" --dlpath="$PRIVATE_DIR/functions" \
		--encoding=UTF8 --no-locale --max-concurrent-tests=20 \
		--schedule="$source_tree/src/test/regress/parallel_schedule" \
		>"$log" 2>&1 || status=$?

	while IFS= read -r line; do
		if [[ $line =~ $tap ]]; then
			printf '%s %s\n' "${BASH_REMATCH[2]}" \
				"$([[ -n ${BASH_REMATCH[1]} ]] && echo failed || echo ok)"
		elif [[ $line =~ $old ]]; then
			printf '%s %s\n' "${BASH_REMATCH[2]}" "${BASH_REMATCH[3],,}"
		fi
	done <"$log" >"$verdicts"
	if [[ ! -s $verdicts ]]; then
		tail -n "$TAIL" "$log"
		private_die "pg_regress ran no test and ended with status $status"
	fi
	printf '%d tests of PostgreSQL, of which %d failed\n' \
		"$(wc -l <"$verdicts")" "$(grep -c ' failed$' "$verdicts" || true)"
}

# show_backtraces DATA: of what crashed, where there are a core and gdb
show_backtraces()
{
	local core

	command -v gdb >/dev/null || return 0
	for core in "$1"/core*; do
		[[ -f $core ]] || continue
		printf -- '--- backtrace\n'
		private_run gdb -batch -nx -ex bt "$PRIVATE_BINDIR/postgres" "$core" \
			2>/dev/null | grep '^#' | head -n "$TAIL" || true
	done
}

# crashed NAME: prints what says so
crashed()
{
	grep -n -E -B 3 -A 3 "$CRASH" "$PRIVATE_DIR/$1.log" | head -n "$TAIL"
	grep -r -l -E "$CRASH" "$PRIVATE_DIR/$1.out/results" | sed 's|.*/||'
}

# check_crash NAME DESCRIPTION
check_crash()
{
	local found

	found=$(crashed "$1" || true)
	if [[ -n $found ]]; then
		fail "no crash $2"
		printf '%s\n' "$found"
		show_backtraces "$PRIVATE_DIR/$1.data"
	else
		pass "no crash $2"
	fi
}

# ---------------------------------------------------------------------------
# What goes on beside it
# ---------------------------------------------------------------------------

# A session that repeats a statement until it is told to stop, in a database
# of its own, since the suite makes and drops its own.  Each repetition is a
# command, and not a turn of a loop in one: such a transaction, as old as the
# run, would keep VACUUM from its work in the catalogs.
#
# repeat NAME STATEMENT
repeat()
{
	local name=$1 statement=$2

	private_run bash -c 'yes "$1" 2>/dev/null |
		PGOPTIONS="-c client_min_messages=error" \
		psql -X -q -A -t -d observer -o "$2.rows" 2>"$2.errors"' \
		bash "$statement" "$PRIVATE_DIR/$name" &
	repeaters+=("$name")
}

# Ends the sessions and with them their programs.
end_repeaters()
{
	local name

	private_psql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = 'observer' AND application_name = 'psql'
			AND pid <> pg_backend_pid()" >/dev/null
	wait
	for name in "${repeaters[@]}"; do
		# the end that we ourselves brought about
		grep -v -E 'terminating connection due to administrator command|server closed the connection unexpectedly|This probably means the server terminated|before or while processing the request|connection to server was lost' \
			"$PRIVATE_DIR/$name.errors" >"$PRIVATE_DIR/$name.complaints" || true
		if [[ -s $PRIVATE_DIR/$name.complaints ]]; then
			fail "$name without an error"
			sort "$PRIVATE_DIR/$name.complaints" | uniq -c | head -n "$TAIL"
		else
			pass "$name without an error"
		fi
	done
}

# more_than NAME NUMBER LEAST: what was meant to happen did happen
more_than()
{
	if [[ $2 -gt $3 ]]; then
		pass "$1: $2"
	else
		fail "$1: $2, which is not more than $3"
	fi
}

run_with_library()
{
	# The levels: formatted and written to the server's log, but not for
	# clients, some of whose tests show debug1.
	private_start with \
		shared_preload_libraries=pg_session_memory \
		pg_session_memory.context_threshold=1kB \
		pg_session_memory.session_threshold=1kB \
		pg_session_memory.process_threshold=1kB \
		pg_session_memory.max_overhead=100 \
		pg_session_memory.trim_when_idle=on \
		pg_session_memory.idle_delay=10ms \
		pg_session_memory.trim_threshold=64kB \
		pg_session_memory.log_level=debug2 \
		pg_session_memory.max_events=100000 \
		log_min_messages=debug2
	private_psql -c 'CREATE DATABASE observer'
	private_psql -d observer -c 'CREATE EXTENSION pg_session_memory'

	repeat "reading all sessions" \
		"SELECT count(*), sum(context_bytes) FROM pg_session_memory;
		SELECT count(c) FROM pg_stat_activity a,
			LATERAL pg_session_memory_contexts(a.pid) c;"
	repeat "trimming random sessions" \
		"SELECT pg_session_memory_trim(pid) FROM pg_stat_activity
			WHERE backend_type = 'client backend'
			ORDER BY random() LIMIT 3;"
	run_suite with

	# After a crash the sessions beside it are gone, and the ring is empty.
	if [[ -n $(crashed with || true) ]]; then
		wait
		return
	fi

	# before the sessions of the suite are out of the ring
	more_than "sessions that reported themselves" "$(private_psql -d observer -A -t \
		-c "SELECT count(DISTINCT (pid, backend_start))
			FROM pg_session_memory_events
			WHERE datname = 'regression' AND kind IN ('context', 'session')")" 50
	more_than "trims" "$(private_psql -d observer -A -t \
		-c "SELECT count(*) FROM pg_session_memory_events
			WHERE datname = 'regression' AND kind = 'trimmed'")" 50
	end_repeaters
	more_than "times that all sessions were read" \
		"$(($(wc -l <"$PRIVATE_DIR/reading all sessions.rows") / 2))" 50
}

# ---------------------------------------------------------------------------
# The comparison
# ---------------------------------------------------------------------------

compare()
{
	local test verdict reason without with

	while read -r test verdict; do
		without=$PRIVATE_DIR/without.out/results/$test.out
		with=$PRIVATE_DIR/with.out/results/$test.out
		if [[ $verdict == ok ]]; then
			pass "$test"
		elif cmp -s "$without" "$with"; then
			pass "$test (fails without the library, and in the same way)"
		elif reason=$(tolerated "$test"); then
			pass "$test (differs: $reason)"
		else
			fail "$test"
			diff -u --label "$test without" --label "$test with" \
				"$without" "$with" 2>&1 | head -n "$TAIL" || true
		fi
	done <"$PRIVATE_DIR/with.verdicts"
	if [[ $(wc -l <"$PRIVATE_DIR/with.verdicts") -ne \
		$(wc -l <"$PRIVATE_DIR/without.verdicts") ]]; then
		fail "as many tests with the library as without"
	fi
}

main()
{
	local assert=

	case ${1:-} in
		'') ;;
		--assert) assert=yes ;;
		*)
			unset -f private_at_exit
			private_say "usage: $0 [--assert]"
			exit 2
			;;
	esac

	ulimit -c unlimited 2>/dev/null || true
	private_prepare
	if [[ -n $assert ]]; then
		private_choose_major
		get_source
		assert_installation
	else
		private_installation
		get_source
	fi
	compile_functions
	private_install

	heading "$("$PRIVATE_BINDIR/postgres" --version)${assert:+, with assertions}: without the library"
	private_start without
	if [[ -n $assert &&
		$(private_psql -A -t -c 'SHOW debug_assertions') != on ]]; then
		private_die "the server was built without assertions"
	fi
	run_suite without
	check_crash without "without the library"
	private_stop without

	heading "With the library, everything switched on"
	run_with_library
	check_crash with "with the library"

	heading "PostgreSQL's tests, with the library"
	compare
	private_stop with

	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"; exit
