#!/usr/bin/env bash
#
# watch.sh
#	  What it costs a session to watch itself.
#
#	test/bench/watch.sh [statement|large]...
#
# statement: instructions a simple primary-key SELECT takes, counted by
# callgrind in a server in single-user mode.  Instructions repeat to the last
# digits where times on a busy machine vary by a third.  The server is fed 300
# and 1,300 statements; the difference of both counts, divided by 1,000, is a
# statement without the start of the server.  Beside ours, on the same data
# directory: nothing loaded, and extensions that many servers have loaded.
#
# What ours does is driven by the clock: it walks over the session's contexts
# at most every 100 ms while nothing changes.  Below valgrind everything takes
# some fifty times longer, so that many walks more fall on 1,000 statements
# than on 1,000 statements of a real server.  Therefore the number of walks is
# shown, and of three rounds the least counts: load from outside only adds.
#
# large: a session with 66,000 contexts (33,000 prepared statements) in
# transactions that do nothing.  It must not take more than max_overhead, here
# one per cent, of its time for measuring: another session counts how often it
# does, which times the CPU time of one measurement is that share.  Beside it,
# the CPU time of a transaction with track on and off in turns, where a busy
# machine adds more noise than there is to be seen.
#
# Environment: ROUNDS of statement (3); RESULTS, a file that gets the rows of
# statement, separated by tabs: what is loaded, instructions a statement, walks,
# those of the instructions that were for them, and milliseconds of all 1,000.  Status 1 if one of the limits below is passed.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/installation.sh"

readonly LIMIT=1.0				# per cent of instructions, ours with defaults
readonly LARGE_LIMIT=1.1		# per cent of time: 1, and a measurement's fraction
readonly ROUNDS=${ROUNDS:-3}	# statement
readonly PREPARED=33000			# two contexts each
readonly LARGE_ROUNDS=5
readonly LARGE_STATEMENTS=300000	# a round, some seconds

status=0

# ---------------------------------------------------------------------------
# Instructions a statement
# ---------------------------------------------------------------------------

# count_instructions STATEMENTS [SETTING...]: prints all instructions that a
# server executes for so many statements, how often it walked, how many of the
# instructions were for that, and the milliseconds that it all took.
count_instructions()
{
	local statements=$1 out=$PRIVATE_DIR/callgrind.out setting options=() began

	shift
	for setting in "$@"; do
		options+=(-c "$setting")
	done
	private_run rm -f "$out"
	began=$(date +%s%3N)
	private_run valgrind --tool=callgrind --callgrind-out-file="$out" \
		"$PRIVATE_BINDIR/postgres" --single -D "$PRIVATE_DIR/watch.data" \
		"${options[@]}" postgres \
		<"$PRIVATE_DIR/$statements.sql" >"$PRIVATE_DIR/callgrind.log" 2>&1 || {
		tail -n 20 "$PRIVATE_DIR/callgrind.log" >&2
		private_die "the server did not run in valgrind"
	}
	# Functions have numbers, and a name where the file has them first; a line
	# calls=COUNT follows the number of the function that is called, and a line
	# with the instructions of all these calls follows that.
	perl -sne '
		$name{$1} = $2 if /^c?fn=\((\d+)\) (.*)/;
		$called = $1 if /^cfn=\((\d+)\)/;
		$walks{$called} += $1 if $counted && /^\S+ (\d+)/;
		$counted = /^calls=(\d+)/;
		$calls{$called} += $1 if $counted;
		$total = $1 if /^(?:totals|summary): (\d+)/;
		END {
			my ($walk) = grep { $name{$_} eq "session_measure" } keys %name;
			print "$total ", defined $walk ? "$calls{$walk} $walks{$walk}" : "0 0",
				" $ms\n";
		}' -- -ms="$(($(date +%s%3N) - began))" "$out"
}

# statement_line NAME [SETTING...]: measures and prints a row; sets each.
statement_line()
{
	local name=$1 round statements count walks walking ms
	local -A least=() least_walks=() least_walking=() least_ms=()

	shift
	for ((round = 1; round <= ROUNDS; round++)); do
		for statements in 300 1300; do
			read -r count walks walking ms < <(count_instructions "$statements" "$@")
			if [[ -z ${least[$statements]:-} || $count -lt ${least[$statements]} ]]; then
				least[$statements]=$count
				least_walks[$statements]=$walks
				least_walking[$statements]=$walking
				least_ms[$statements]=$ms
			fi
		done
	done
	each=$(((least[1300] - least[300]) / 1000))
	: "${nothing_loaded:=$each}"
	awk -v name="$name" -v each="$each" -v base="$nothing_loaded" \
		-v walks="$((least_walks[1300] - least_walks[300]))" 'BEGIN {
			printf "%-40s %9d  %+6.2f %%  %5d\n", name, each,
				100 * (each - base) / base, walks }'
	rows+=("$name	$each	$((least_walks[1300] - least_walks[300]))	$(((\
		least_walking[1300] - least_walking[300]) / 1000))	$((\
		least_ms[1300] - least_ms[300]))")
}

bench_statement()
{
	local ours=shared_preload_libraries=pg_session_memory number nothing_loaded=
	local each over rows=()

	if ! private_packages valgrind; then
		echo "skip instructions a statement: valgrind could not be installed"
		return
	fi
	for number in 300 1300; do
		seq "$number" | sed 's/.*/SELECT t FROM item WHERE id = &/' |
			private_run tee "$PRIVATE_DIR/$number.sql" >/dev/null
	done
	private_start watch
	private_psql -c "CREATE TABLE item (id int PRIMARY KEY, t text)" \
		-c "INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 10000) AS g" \
		-c "VACUUM ANALYZE item"
	private_run pg_ctl -s -w -D "$PRIVATE_DIR/watch.data" stop

	printf 'Instructions a statement (SELECT by primary key), PostgreSQL %s\n' \
		"$PG_MAJOR"
	printf '%-40s %9s  %8s  %5s\n' preloaded each more walks
	statement_line nothing
	statement_line "pg_session_memory" "$ours"
	over=$(awk -v each="$each" -v base="$nothing_loaded" -v limit="$LIMIT" \
		'BEGIN { print (100 * (each - base) / base > limit ? "yes" : "no") }')
	statement_line "pg_session_memory, trim_when_idle" "$ours" \
		pg_session_memory.trim_when_idle=on
	statement_line "pg_session_memory, track = off" "$ours" \
		pg_session_memory.track=off
	statement_line pg_stat_statements \
		shared_preload_libraries=pg_stat_statements
	[[ -z $with_kcache ]] ||
		statement_line "pg_stat_statements, pg_stat_kcache" \
			shared_preload_libraries=pg_stat_statements,pg_stat_kcache
	[[ -z $with_sampling ]] ||
		statement_line pg_wait_sampling \
			shared_preload_libraries=pg_wait_sampling
	private_stop watch
	[[ -z ${RESULTS:-} ]] || printf '%s\n' "${rows[@]}" >"$RESULTS"

	if [[ $over == yes ]]; then
		echo "pg_session_memory takes more than the limit of $LIMIT %"
		status=1
	fi
}

# ---------------------------------------------------------------------------
# A session with very many contexts
# ---------------------------------------------------------------------------

# ask COMMAND: has the open psql do something, and prints what it prints.
ask()
{
	local line

	printf '%s\n\\echo -- done\n' "$1" >&"${session[1]}"
	while IFS= read -r line <&"${session[0]}"; do
		[[ $line != "-- done" ]] || return 0
		printf '%s\n' "$line"
	done
	private_die "psql ended"
}

# cpu_of FILE: runs it in the session, and prints the nanoseconds of CPU and
# of time that it took.
cpu_of()
{
	local before after began

	began=$(date +%s%N)
	read -r before _ <"/proc/$backend/schedstat"
	ask "\\i $PRIVATE_DIR/$1.sql"
	read -r after _ <"/proc/$backend/schedstat"
	echo $((after - before)) $(($(date +%s%N) - began))
}

median()
{
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# Has the session work, and another one count its measurements meanwhile: sets
# measurements, and observed to the nanoseconds that it took.  The other one
# looks every 100 ms, and only at what is published.  At most one measurement
# is counted that is the one before.
count_measurements()
{
	local observer

	private_psql -c "TRUNCATE stop" -c "SET pg_session_memory.live_reads = off" \
		-c "DO \$\$ BEGIN
			WHILE NOT EXISTS (SELECT FROM stop) LOOP
				INSERT INTO measured SELECT measured_at FROM pg_session_memory
					WHERE pid = $backend;
				PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
			END LOOP; END \$\$" &
	observer=$!
	read -r _ observed < <(cpu_of tiny)
	private_psql -c "INSERT INTO stop VALUES (true)"
	wait "$observer"
	measurements=$(private_psql -A -t \
		-c "SELECT count(DISTINCT at) - 1 FROM measured")
}

bench_large()
{
	local backend contexts round kind file cpu walk session_pid
	local measurements observed share
	local -A lines=([walk]=21 [warm]=100000 [tiny]="$LARGE_STATEMENTS")

	if [[ ! -r /proc/self/schedstat ]]; then
		echo "skip a session with 66,000 contexts: this kernel has no schedstat"
		return
	fi
	private_start large shared_preload_libraries=pg_session_memory
	private_psql -c "CREATE EXTENSION pg_session_memory" \
		-c "CREATE TABLE stop (now bool)" \
		-c "CREATE TABLE measured (at timestamptz)"
	for file in "${!lines[@]}"; do
		seq "${lines[$file]}" | sed 's:.*:SELECT 1 \\g /dev/null:' |
			private_run tee "$PRIVATE_DIR/$file.sql" >/dev/null
	done

	coproc session { private_run psql -X -q -A -t 2>&1; }
	session_pid=$!
	backend=$(ask "SELECT pg_backend_pid();")
	ask "DO \$\$ BEGIN FOR i IN 1 .. $PREPARED LOOP
		EXECUTE format('PREPARE s%s AS SELECT 1', i); END LOOP; END \$\$;"
	contexts=$(ask "SELECT count(*) FROM pg_session_memory_contexts();")

	for ((round = 1; round <= LARGE_ROUNDS; round++)); do
		for kind in off on; do
			ask "SET pg_session_memory.track = $kind;"
			# The setting itself is a reason to measure, and in idle time before
			# a session saves up for it: until that is paid.
			cpu_of warm >/dev/null
			if [[ $round -eq 1 && $kind == on ]]; then
				count_measurements
			fi
			cpu_of tiny >>"$PRIVATE_DIR/cpu.$kind"
		done
	done
	# 100: each of these is measured.  That is what the session would have to
	# make up for, so it comes last.
	ask "SET pg_session_memory.max_overhead = 100;"
	read -r cpu _ < <(cpu_of walk)
	walk=$((cpu / lines[walk]))
	printf '\\q\n' >&"${session[1]}"
	wait "$session_pid" || true

	printf '\nA session with %s contexts in transactions of %s us\n' "$contexts" \
		"$(awk -v n="$LARGE_STATEMENTS" '{ print $2 / n / 1000 }' \
			"$PRIVATE_DIR/cpu.off" | median)"
	for kind in off on; do
		printf 'us CPU a transaction, track = %-5s %8.2f\n' "$kind:" \
			"$(awk -v n="$LARGE_STATEMENTS" '{ print $1 / n / 1000 }' \
				"$PRIVATE_DIR/cpu.$kind" | median)"
	done
	printf 'ms CPU of one measurement:          %8.2f\n' \
		"$(awk -v walk="$walk" 'BEGIN { print walk / 1e6 }')"
	printf 'measurements:                       %8d in %.1f s\n' \
		"$measurements" "$(awk -v ns="$observed" 'BEGIN { print ns / 1e9 }')"
	share=$(awk -v n="$measurements" -v walk="$walk" -v time="$observed" \
		'BEGIN { print 100 * n * walk / time }')
	printf 'share of its time, max_overhead 1:  %8.2f %%\n' "$share"
	private_stop large

	if [[ $(awk -v share="$share" -v limit="$LARGE_LIMIT" \
		'BEGIN { print (share > limit ? "yes" : "no") }') == yes ]]; then
		echo "measuring takes more than the limit of $LARGE_LIMIT %"
		status=1
	fi
}

# ---------------------------------------------------------------------------

main()
{
	local parts=("$@") part

	[[ ${#parts[@]} -gt 0 ]] || parts=(statement large)
	private_prepare
	bench_installation
	for part in "${parts[@]}"; do
		case $part in
			statement | large) "bench_$part" ;;
			*) private_die "usage: $0 [statement|large]..." ;;
		esac
	done
	return "$status"
}

main "$@"
