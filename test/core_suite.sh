# shellcheck shell=bash
#
# core_suite.sh
#	  PostgreSQL's own regression suite on a private server, and whether
#	  anything has crashed.
#
# Source it after private_server.sh, postgres_source.sh and result_line.sh;
# get_source first.
#
#	assert_installation				a server with assertions
#	compile_functions				C functions that the suite calls
#	run_suite NAME [OPTION..]		the suite, with options of pg_regress
#	crashed NAME					prints what says that something has crashed
#	check_crash NAME DESCRIPTION	the same as a test

# How many lines of a difference, or of a log, are shown.
readonly TAIL=60

# What says that a server process did not end by itself.
readonly CRASH='terminated by signal|PANIC:|TRAP:|server closed the connection|connection to server was lost|terminating connection because of crash'

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

# run_suite NAME [OPTION..]: on the server in use.  Results are below the directory
# NAME.out, and what pg_regress says of each test in NAME.verdicts.
run_suite()
{
	local out=$PRIVATE_DIR/$1.out log=$PRIVATE_DIR/$1.output status=0 line
	# "ok 1 - name   12 ms" from 16 on, "test name ... ok   12 ms" before, and
	# with leading spaces, no "test", for those that run at the same time
	local tap='^(not )?ok +[0-9]+ +[-+] +([^ ]+)'
	local old='^(test| ) +([^ ]+) +\.\.\. +(ok|FAILED|failed)'
	local verdicts=$PRIVATE_DIR/$1.verdicts

	shift
	private_run mkdir "$out"
	private_run env -C "$out" LC_ALL=C.UTF-8 \
		"$PRIVATE_PGXS/test/regress/pg_regress" \
		--inputdir="$source_tree/src/test/regress" --outputdir="$out" \
		--bindir="$PRIVATE_BINDIR" --dlpath="$PRIVATE_DIR/functions" \
		--encoding=UTF8 --no-locale --max-concurrent-tests=20 \
		--schedule="$source_tree/src/test/regress/parallel_schedule" "$@" \
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
