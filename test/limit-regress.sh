#!/usr/bin/env bash
#
# limit-regress.sh
#	  PostgreSQL's own tests, each session of which soon runs out of memory.
#
#	test/limit-regress.sh [--ulimit | --ceilings] [kB...]
#
# process_limit makes allocations fail at places of chance, in all of
# PostgreSQL: a fault injector.  Its regression suite and its isolation tests
# run on a server with assertions, once for each limit in kB: by default from
# just above what a session has when it has connected, 1 MB at a time at first.
# Statements may fail with "out of memory", as many as will.  But no process
# may crash, no assertion fail, no abort meet another, no session be lost, and
# each must be able to run a SELECT after its test.
#
# With every other limit sessions log nothing below PANIC, so that PostgreSQL
# does not call emit_log_hook for their errors.
#
# --ulimit leaves our library out, and limits the server's processes as
# "ulimit -d" does: what happens then as well is PostgreSQL's own.
#
# --ceilings lets the guard's ceilings do it: there is no process_limit, but a
# module of the tests (ceiling_module.c) moves the ceiling of each session every
# 10 ms, at random, between what the session has and as many kB more: by default
# 64 MB, and 8 MB.
#
# Variables, as for core-regress.sh: PGSM_POSTGRES_SOURCE, PGSM_ASSERT_SERVER,
# PG_MAJOR, KEEP, TMPDIR.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/postgres_source.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"
source "$(dirname "${BASH_SOURCE[0]}")/core_suite.sh"

# What says that the server has crashed.  A session may have lost its server
# for another reason, see FATAL_FUNCTIONS.
readonly SERVER_CRASH='terminated by signal|PANIC:|TRAP:|because of crash|terminating any other active'

# PostgreSQL's functions that make FATAL of a failed allocation: the buffers
# of temporary tables.
readonly FATAL_FUNCTIONS='InitLocalBuffers'

# An abort that was itself aborted.  In START state is none: PostgreSQL says so
# of a transaction that has found no memory to begin with.
readonly NESTED='Abort(Sub)?Transaction while in (ABORT|COMMIT|PREPARE|DEFAULT|INPROGRESS)'

with_ulimit=
with_ceilings=
jumper=

# A program between pg_regress and psql.  What the suite's other tests are
# about must be there, so the first one has no limit; and each session is asked
# at its end whether it still works.  With ceilings that may have to be asked
# more than once: what a session has may leave no room for a new statement.
#
# make_launcher OPTIONS TRIES
make_launcher()
{
	private_run tee "$PRIVATE_DIR/launcher" >/dev/null <<-END
		#!/bin/sh
		case \$(readlink /proc/self/fd/0) in
			*/test_setup.sql)
				PGOPTIONS="\${PGOPTIONS:-} $1"
				export PGOPTIONS ;;
		esac
		{
			cat
			printf '%s\n' '' ';' '\\o' '\\pset format unaligned' \\
				'\\pset expanded off' '\\pset tuples_only off' \\
				'\\unset FETCH_COUNT'
			for try in \$(seq $2); do
				printf '%s\n' 'ROLLBACK;' 'SELECT 1 AS alive;' \\
					'SELECT pg_sleep(0.03);'
			done
		} | "\$@"
	END
	private_run chmod +x "$PRIVATE_DIR/launcher"
}

# What a session has when it has connected, in kB.
fresh_session()
{
	private_psql -A -t -c "SELECT (regexp_match(
		pg_read_file('/proc/self/status'), 'VmData:\s+(\d+)'))[1]"
}

# limit_server NAME kB [SET=VALUE..]
limit_server()
{
	local name=$1 kilobytes=$2

	shift 2
	if [[ -n $with_ceilings ]]; then
		private_start "$name" shared_preload_libraries=pg_session_memory \
			pg_session_memory.guard=on "$@"
	elif [[ -n $with_ulimit ]]; then
		private_start "$name" "$@"
		private_run prlimit \
			--pid "$(head -n 1 "$PRIVATE_DIR/$name.data/postmaster.pid")" \
			--data="$((kilobytes * 1024)):unlimited"
	else
		private_start "$name" shared_preload_libraries=pg_session_memory \
			pg_session_memory.process_limit="${kilobytes}kB" "$@"
	fi
}

# What moves ceilings: it is built together with the library's own code, and
# finds its shared memory.
build_jumper()
{
	private_run gcc -shared -fPIC -w -O1 -D_GNU_SOURCE -Wl,-Bsymbolic \
		-I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
		-I "$PRIVATE_TREE/src" -o "$PRIVATE_DIR/ceiling_module.so" \
		"$PRIVATE_TREE/test/ceiling_module.c" \
		"$PRIVATE_TREE/src/session/ceiling.c" \
		"$PRIVATE_TREE/src/reading/process_memory.c" \
		"$PRIVATE_TREE/src/reading/server_process.c" ||
		private_die "could not compile ceiling_module.c"
}

# start_jumper kB: on the server in use.  The database from which the tests' own
# databases are made, and ceilings are moved, is exempt.
start_jumper()
{
	private_psql -d postgres \
		-c 'ALTER DATABASE postgres SET pg_session_memory.guard_weight = 0' \
		-c "CREATE FUNCTION ceiling_jump(bigint) RETURNS void
			AS '$PRIVATE_DIR/ceiling_module.so', 'ceiling_jump' LANGUAGE C"
	private_psql -d postgres -c "SELECT ceiling_jump($1 * 1024::bigint)" \
		>"$PRIVATE_DIR/jumper.output" 2>&1 &
	jumper=$!
}

# It must have been there all the time.
stop_jumper()
{
	local found

	kill -0 "$jumper" 2>/dev/null || {
		cat "$PRIVATE_DIR/jumper.output"
		fail "ceilings were moved until the end"
		return
	}
	found=$(private_psql -A -t -d postgres -c "SELECT count(*) FROM
		(SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
		WHERE query LIKE 'SELECT ceiling_jump%') s")
	wait "$jumper" || true
	[[ $found == 1 ]] && pass "ceilings were moved until the end" ||
		fail "ceilings were moved until the end"
}

# none FINDINGS DESCRIPTION
none()
{
	if [[ -s $1 ]]; then
		fail "$2"
		head -n "$TAIL" "$1"
	else
		pass "$2"
	fi
}

# Sessions that did not come to their end, or could do nothing there.  One that
# never was, since it could not even connect, is not meant, nor is a test that
# ends itself, nor one that PostgreSQL ends: see check_fatal.
check_alive()
{
	local name=$1 result found=$PRIVATE_DIR/$1.found

	for result in "$PRIVATE_DIR/$name.out/results"/*.out; do
		grep -a -q -x -e alive "$result" ||
			grep -a -q -E -e 'connection to server .* failed' -e '\\quit$' \
				-e '^FATAL:  out of memory' "$result" ||
			printf '%s: %s\n' "${result##*/}" "$(tail -n 5 "$result" | tr '\n' ' ')"
	done >"$found"
	none "$found" "every session can work after its test, $2"
}

# Sessions that were ended for want of memory: by whom, where the log tells.
check_fatal()
{
	local name=$1 found=$PRIVATE_DIR/$1.found

	# The lines of a message have its process in common.
	awk '/^[0-9-]+ / { process = $4 }
		/FATAL: .*out of memory/ { fatal[process] = 1 }
		/LOCATION:/ && fatal[process] {
			sub(/.*LOCATION/, "LOCATION"); print
			delete fatal[process]
		}' "$PRIVATE_DIR/$name.log" |
		grep -v -E "$FATAL_FUNCTIONS" | sort | uniq -c >"$found" || true
	none "$found" "no other FATAL than PostgreSQL's own, $2"
}

# isolation NAME: the isolation tests on the server in use
isolation()
{
	local out=$PRIVATE_DIR/$1.isolation

	private_run mkdir "$out"
	private_run env -C "$out" LC_ALL=C.UTF-8 PGISOLATIONTIMEOUT=20 \
		PG_TEST_TIMEOUT_DEFAULT=20 \
		"$PRIVATE_PGXS/test/isolation/pg_isolation_regress" \
		--inputdir="$source_tree/src/test/isolation" --outputdir="$out" \
		--bindir="$PRIVATE_BINDIR" --encoding=UTF8 --no-locale \
		--schedule="$source_tree/src/test/isolation/isolation_schedule" \
		>"$PRIVATE_DIR/$1.isolation.output" 2>&1 || true
	grep -q -E '(ok|FAILED|failed) +[0-9]+ ms' \
		"$PRIVATE_DIR/$1.isolation.output" || {
		tail -n "$TAIL" "$PRIVATE_DIR/$1.isolation.output"
		private_die "pg_isolation_regress ran no test"
	}
}

# run_limit kB [SET=VALUE..]: all of it at one limit
run_limit()
{
	local kilobytes=$1 name=limit_$1 words="at $1 kB" found errors

	shift
	if [[ -n $with_ceilings ]]; then
		words="with ceilings up to $kilobytes kB above"
		heading "Ceilings up to $kilobytes kB above what a session has"
	else
		heading "Every session has $kilobytes kB"
	fi
	# An isolation test whose statement has failed may wait for itself.
	limit_server "$name" "$kilobytes" log_error_verbosity=verbose \
		idle_in_transaction_session_timeout=60s "$@"
	# for every role, so that the postmaster goes on telling of crashes
	[[ $((step % 2)) -eq 0 ]] ||
		private_psql -c 'ALTER ROLE ALL SET log_min_messages = panic'
	[[ -z $with_ceilings ]] || start_jumper "$kilobytes"
	run_suite "$name" --launcher="$PRIVATE_DIR/launcher"
	isolation "$name"
	[[ -z $with_ceilings ]] || stop_jumper

	found=$PRIVATE_DIR/$name.found
	errors=$(cat "$PRIVATE_DIR/$name.log" "$PRIVATE_DIR/$name.out"/results/* |
		grep -a -c 'ERROR:.*out of memory' || true)
	printf '%s errors "out of memory", %s FATAL\n' "$errors" \
		"$(grep -a -c 'FATAL:.*out of memory' "$PRIVATE_DIR/$name.log" || true)"
	[[ $step -gt 0 || $errors -gt 0 ]] ||
		fail "any statement runs out of memory $words"

	grep -a -n -E -B 3 -A 3 "$SERVER_CRASH" "$PRIVATE_DIR/$name.log" |
		head -n "$TAIL" >"$found" || true
	none "$found" "no crash $words"
	show_backtraces "$PRIVATE_DIR/$name.data"
	check_fatal "$name" "$words"
	grep -a -E -h "$NESTED" "$PRIVATE_DIR/$name.log" \
		"$PRIVATE_DIR/$name.out"/results/* \
		"$PRIVATE_DIR/$name.isolation"/output_iso/results/* 2>/dev/null |
		sort | uniq -c >"$found" || true
	none "$found" "no abort in an abort $words"
	check_alive "$name" "$words"
	if private_psql -A -t -c 'SELECT 1' >"$found" 2>&1; then
		pass "new sessions can work $words"
	else
		fail "new sessions can work $words"
		tail -n 5 "$found"
	fi
	[[ -n ${KEEP:-} ]] || rm -rf "${PRIVATE_DIR:?}/$name.out" \
		"${PRIVATE_DIR:?}/$name.isolation"
	private_stop "$name"
	[[ -n ${KEEP:-} ]] || rm -f "$PRIVATE_DIR/$name.log"
}

main()
{
	local limits=() first more

	while [[ $# -gt 0 ]]; do
		case $1 in
			--ulimit) with_ulimit=yes ;;
			--ceilings) with_ceilings=yes ;;
			*[!0-9]*)
				unset -f private_at_exit
				private_say "usage: $0 [--ulimit | --ceilings] [kB...]"
				exit 2
				;;
			*) limits+=("$1") ;;
		esac
		shift
	done

	ulimit -c unlimited 2>/dev/null || true
	private_prepare
	private_choose_major
	get_source
	assert_installation
	compile_functions
	if [[ -n $with_ulimit ]]; then
		make_launcher '' 1
	elif [[ -n $with_ceilings ]]; then
		private_install
		build_jumper
		make_launcher '-c pg_session_memory.guard_weight=0' 30
		[[ ${#limits[@]} -gt 0 ]] || limits=(65536 8192)
	else
		private_install
		make_launcher '-c pg_session_memory.process_limit=-1' 1
	fi

	if [[ ${#limits[@]} -eq 0 ]]; then
		limit_server fresh 1000000
		first=$(($(fresh_session) / 1024 + 1))
		private_stop fresh
		for more in 0 1 2 3 4 6 10 16; do
			limits+=("$(((first + more) * 1024))")
		done
	fi
	for step in "${!limits[@]}"; do
		run_limit "${limits[step]}"
	done

	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"; exit
