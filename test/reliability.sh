#!/usr/bin/env bash
#
# reliability.sh
#	  What was tried, how often, and what was found: one table.
#
#	test/reliability.sh short|full [PART...]
#
# stress		a hundred sessions that work, fail and terminate each other
# looks			live reads of sessions that change all the while
# core			PostgreSQL's regression suite with everything switched on
# limit			that suite and the isolation tests with limits stepping
# sqlsmith		random queries over everything of ours
# guard			runaways in a control group, as root
# sanitizers	the tests with AddressSanitizer and UndefinedBehaviorSanitizer
# valgrind		the unit tests, which need no server
#
# full takes most of a day, short some hours at most; short [PART] is minutes.
# A part that fails, or cannot be run, is in the table, and the others go on.
# Versions: PG_MAJOR=18 test/reliability.sh ..., or test/versions.sh.
#
# It prints the table as Markdown, and writes that and the same as JSON to
# OUTPUT/reliability.md and .json where OUTPUT is set.  Parts can be run one by
# one: what is there of other parts, of the same version, is kept.  The status is
# zero only if nothing was found.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"

readonly parts_there=(stress looks core limit sqlsmith guard sanitizers
	valgrind)

# try PART WHAT COMMAND...: the last line of a script of ours is "N passed, M
# failed", and its lines "not ok" are what was found.
try()
{
	local part=$1 what=$2 log=$PRIVATE_DIR/$1.reliability status=0 said found
	local began=$SECONDS

	shift 2
	private_say "=== $part: $what"
	"$@" >"$log" 2>&1 &
	private_wait $! || status=$?
	said=$(grep -a -E '^[0-9]+ passed, [0-9]+ failed' "$log" |
		tail -n 1) || true
	[[ -n $said ]] || said=$(grep -a -v '^$' "$log" | tail -n 1 |
		cut -c 1-200) || true
	found=$(grep -a -E '^not ok ' "$log" | cut -c 8-200 | head -n 5 |
		paste -s -d ';') || true
	if grep -a -q '^skip ' "$log" && [[ $said == "0 passed"* ]]; then
		found="not tried: $(grep -a '^skip ' "$log" | head -n 1)"
	elif [[ $status -ne 0 && -z $found ]]; then
		found="status $status"
	fi
	[[ $status -eq 0 ]] || tail -n 20 "$log" >&2
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$part" "$what" "$said" \
		"${found:-nothing}" "$status" $((SECONDS - began)) "$(date -u +%F)" \
		>>"$rows"
}

# no_restarts RUNS: what guard.py says of restarts, as a test would say it
no_restarts()
{
	local output=$PRIVATE_DIR/guard.output

	RUNS=$1 "$PRIVATE_SOURCE/test/bench/guard.sh" on >"$output" 2>&1 || {
		cat "$output"
		return 1
	}
	cat "$output"
	grep -E '^guard = on: ' "$output" | grep -q ' 0 restarts' || {
		echo "not ok the server had to restart"
		return 1
	}
	grep -E '^guard = on: ' "$output"
}

live_reads()
{
	private_packages python3 python3-psycopg2
	private_installation
	private_install
	private_start looks
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/churn.py" "$1"
	private_stop looks
}

# unit NAME SOURCE...: compiles test/NAME.c with what it tests, as check.sh
# does, and runs it in valgrind.
unit()
{
	local name=$1 arguments=("$PRIVATE_DIR/$1") status=0

	shift
	private_run mkdir "${arguments[0]}"
	# A seed, and rounds
	[[ $name != memory_reader_test ]] || arguments=(1 "$rounds")
	private_run gcc -g -O1 -D_GNU_SOURCE -Isrc \
		-I "$("$PRIVATE_PG_CONFIG" --includedir-server)" \
		-o "$PRIVATE_TREE/$name" "test/$name.c" "$@" -x c - -x none \
		-L "$("$PRIVATE_PG_CONFIG" --pkglibdir)" -lpgcommon -lpgport -lm \
		<<<'void abort(void);
			__attribute__((weak)) void ExceptionalCondition(void) { abort(); }'
	# What the tests say of amounts of memory is not true in there, so judged
	# is what valgrind says.
	private_run timeout 900 valgrind -q --error-exitcode=9 \
		"$PRIVATE_TREE/$name" "${arguments[@]}" || status=$?
	if [[ $status -eq 0 || $status -eq 1 ]]; then
		units=$((units + 1))
	else
		echo "not ok $name: status $status"
		bad=$((bad + 1))
	fi
}

in_valgrind()
{
	local rounds=$1 units=0 bad=0

	private_packages valgrind
	private_installation
	unit memory_reader_test src/reading/mapped_file.c \
		src/reading/memory_reader.c src/reading/page_map.c
	unit process_memory_test
	unit context_walk_test src/reading/context_walk.c \
		src/reading/context_category.c src/reading/constant_memory.c
	unit server_memory_test src/watcher/server_memory.c
	unit environment_test src/watcher/environment.c src/watcher/guard.c \
		src/watcher/server_memory.c
	unit guard_test src/watcher/guard.c
	unit recorder_test src/watcher/recorder.c \
		src/watcher/recorded_sample.c
	echo "$units passed, $bad failed"
	[[ $bad -eq 0 ]]
}

run_part()
{
	local short=$1 part=$2 tests=$PRIVATE_SOURCE/test

	# amount SHORT FULL
	amount()
	{
		if [[ $short == short ]]; then echo "$1"; else echo "$2"; fi
	}

	case $part in
		stress)
			try stress "$(amount 60 3600) s, 100 sessions" \
				"$tests/stress.sh" "$(amount 60 3600)"
			;;
		looks)
			try looks "$(amount 10000 1000000) live reads" \
				live_reads "$(amount 10000 1000000)"
			;;
		core)
			try core "regression suite, everything on" \
				"$tests/core-regress.sh" $(amount '' --assert)
			;;
		limit)
			try limit "regression suite and isolation tests, limits" \
				"$tests/limit-regress.sh" $(amount 8192 '')
			;;
		sqlsmith)
			try sqlsmith "$(amount 1000 100000) random queries" \
				"$tests/sqlsmith.sh" "$(amount 1000 100000)"
			;;
		guard)
			try guard "$(amount 8 200) runs" no_restarts "$(amount 8 200)"
			;;
		sanitizers)
			try sanitizers "$(amount regress 'regress, tap and stress')" \
				"$tests/memory-safety.sh" $(amount regress '')
			;;
		valgrind)
			try valgrind "7 unit tests" in_valgrind "$(amount 2 40)"
			;;
	esac
}

report()
{
	/usr/bin/python3 - "$rows" "${OUTPUT:-}" "$PG_MAJOR" \
		"${parts_there[*]}" <<-'END'
		import json, os, sys
		rows, output, major, parts = sys.argv[1:]
		names = ("part", "tried", "said", "found", "status", "seconds", "on")
		with open(rows, encoding="utf-8", errors="replace") as file:
		    now = [dict(zip(names, line.rstrip("\n").split("\t")))
		           for line in file]
		found = list(now)
		if output and os.path.exists(f"{output}/reliability.json"):
		    with open(f"{output}/reliability.json", encoding="utf-8") as file:
		        before = json.load(file)
		    if before["postgresql"] == major:
		        tried = [row["part"] for row in now]
		        found += [row for row in before["rows"]
		                  if row["part"] not in tried]
		found.sort(key=lambda row: parts.split().index(row["part"]))
		text = f"# What was tried, and what was found\n\nPostgreSQL {major}\n\n"
		text += "| | tried | tests | found | s | on |\n"
		text += "|---|---|---|---|---:|---|\n"
		for row in found:
		    cells = [row[name].replace("|", "/") for name in names
		             if name != "status"]
		    text += "| " + " | ".join(cells) + " |\n"
		print(text)
		if output:
		    with open(f"{output}/reliability.md", "w", encoding="utf-8") as file:
		        file.write(text)
		    with open(f"{output}/reliability.json", "w",
		              encoding="utf-8") as file:
		        json.dump({"postgresql": major, "rows": found}, file, indent=1)
		sys.exit(any(row["status"] != "0" for row in now))
	END
}

main()
{
	local scale=${1:-} part parts

	[[ $scale == short || $scale == full ]] ||
		private_die "usage: $0 short|full [${parts_there[*]}]..."
	shift
	parts=("$@")
	[[ ${#parts[@]} -gt 0 ]] || parts=("${parts_there[@]}")
	for part in "${parts[@]}"; do
		[[ " ${parts_there[*]} " == *" $part "* ]] ||
			private_die "there is no part \"$part\", only ${parts_there[*]}"
	done
	[[ -z ${OUTPUT:-} ]] || {
		mkdir -p "$OUTPUT"
		OUTPUT=$(cd "$OUTPUT" && pwd)
	}
	private_prepare
	private_choose_major
	rows=$PRIVATE_DIR/reliability.tsv
	: >"$rows"
	for part in "${parts[@]}"; do
		run_part "$scale" "$part"
	done
	report
}

main "$@"
