#!/usr/bin/env bash
#
# run.sh
#	  The benchmark: what looking, watching, guarding and giving back cost and
#	  give, beside what PostgreSQL and other programs have, in one go.
#
#	test/bench/run.sh [PART...]			also: make bench
#
# limits		what the machine takes for a system call, a page fault and so on
# look			sessions of several sizes, from within and from outside
# server		the view over up to 1,000 sessions
# instructions	of pgbench's scripts, with what is preloaded
# pairs			pgbench -S on servers with it and without, in turns
# truth			what is said of a statement's memory, beside a witness
# alerts		thresholds that fire, by cause, and how soon
# looks			live reads of sessions that change meanwhile
# watcher		its CPU, what it writes, and how soon it knows
# guard			restarts without it and with it, and how fast memory may go
# trim			what trimming gives back, and the next query after it
# pool			a pool after a day's work: no trims, trims, recycling
# memory		of our own
#
# Each part starts servers of its own (private_server.sh says how, and what
# PG_MAJOR does) and is a program in this directory, whose head says what is
# measured and how.  A part that fails, or takes longer than it may, is named
# at the end and in the document, and the others go on.
#
# The whole takes at most 40 minutes on two cores, and 9 GB of memory; do
# nothing else on the machine meanwhile.  It writes doc/benchmark.md, and
# results.json and the pictures into doc/benchmark.  A run of some parts, or a
# smaller one, writes nothing unless OUTPUT is set.  What is tried for hours,
# and what it has found, is reliability.sh's.
#
# Environment, all optional:
#	ROUNDS			of each comparison (5)
#	MAX_CONTEXTS	largest session (300000)
#	MAX_SESSIONS	most sessions at once (1000)
#	SECONDS_A_LOAD	of the watcher (40)
#	OUTPUT			directory to write to
#	BASE			results.json of a run of all parts: what is measured now
#					takes the place of what it has
#
# The status is zero if everything was measured, also if a goal is missed.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/installation.sh"

readonly parts_there=(limits look server instructions pairs truth alerts looks
	watcher guard trim pool memory)

# Seconds that a part may take
readonly -A most_seconds=([limits]=60 [look]=420 [server]=200
	[instructions]=600 [pairs]=330 [truth]=300 [alerts]=240 [looks]=120
	[watcher]=330 [guard]=600 [trim]=240 [pool]=360 [memory]=60)

# and the whole: what is not measured by then is not
readonly MOST_SECONDS=2370

rounds=${ROUNDS:-5}
max_contexts=${MAX_CONTEXTS:-300000}
max_sessions=${MAX_SESSIONS:-1000}
load_seconds=${SECONDS_A_LOAD:-40}

# Sessions look as they are, and nothing but what is measured runs.
readonly settings=(jit=off max_parallel_workers_per_gather=0 autovacuum=off)
readonly ours=shared_preload_libraries=pg_session_memory

bench()
{
	local program=$1

	shift
	private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/$program.py" "$@"
}

# The name of a server's socket directory
host_of()
{
	printf '%s\n' "$PRIVATE_DIR/$1.socket"
}

bench_limits()
{
	private_run gcc -O2 -Wall -o "$results/limits" test/bench/limits.c
	private_run "$results/limits" >"$results/limits.json"
}

# The same again when all is done: whether the machine was as fast throughout.
bench_limits_after()
{
	[[ ! -x $results/limits ]] ||
		private_run "$results/limits" >"$results/limits_after.json"
}

bench_look()
{
	private_start look "${settings[@]}"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench look "$rounds" "$max_contexts" "$results/look.json"
}

bench_server()
{
	private_start server "${settings[@]}" \
		max_connections=$((max_sessions + 100))
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench server "$rounds" "$max_sessions" "$results/server.json"
}

bench_instructions()
{
	local servers=(nothing= pg_session_memory=pg_session_memory
		"pg_session_memory, process_limit=pg_session_memory;pg_session_memory.process_limit=1GB"
		"pg_session_memory, trim_when_idle=pg_session_memory;pg_session_memory.trim_when_idle=on"
		pg_stat_statements=pg_stat_statements
		"both=pg_session_memory,pg_stat_statements")
	local loaded=auto_explain

	private_packages valgrind || private_die "this needs valgrind"
	private_start instructions "${settings[@]}" shared_buffers=64MB
	private_psql -c "CREATE EXTENSION pg_stat_statements"
	private_quietly private_run pgbench -i -q -s 1 postgres
	private_run pg_ctl -s -w -D "$PRIVATE_DIR/instructions.data" stop
	! has_module pg_stat_kcache ||
		servers+=("pg_stat_statements, pg_stat_kcache=pg_stat_statements,pg_stat_kcache")
	! has_module pg_wait_sampling ||
		servers+=(pg_wait_sampling=pg_wait_sampling)
	servers+=("$loaded=$loaded;auto_explain.log_min_duration=1s")
	bench instructions "$PRIVATE_DIR/instructions.data" \
		"$results/instructions.json" "${servers[@]}"
}

bench_pairs()
{
	private_start first "${settings[@]}"
	private_start twin "${settings[@]}"
	private_start loaded "${settings[@]}" "$ours"
	bench pairs $((rounds * 6)) 2 "$results/pairs.json" \
		"nothing=$(host_of first)" "nothing, its twin=$(host_of twin)" \
		"pg_session_memory=$(host_of loaded)"
}

has_module()
{
	[[ -e $("$PRIVATE_PG_CONFIG" --pkglibdir)/$1.so ]]
}

# A goal that is missed is a matter of the report: measured is what was written.
measured()
{
	local file=$1

	shift
	RESULTS=$file "$@" || [[ -s $file ]]
}

bench_truth()
{
	ROUNDS=3 measured "$results/truth.json" \
		"$PRIVATE_SOURCE/test/bench/statements.sh"
}

bench_alerts()
{
	private_start alerts "${settings[@]}" "$ours"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench alerts "$rounds" "$PRIVATE_DIR/alerts.log" "$results/alerts.json"
}

bench_looks()
{
	private_start looks "${settings[@]}"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench churn $((rounds * 4000)) "$results/churn.json"
}

bench_watcher()
{
	ROUNDS=10 MAX_SESSIONS=$max_sessions measured "$results/watcher.json" \
		"$PRIVATE_SOURCE/test/bench/watcher.sh" "$load_seconds"
}

bench_guard()
{
	local status=0

	RUNS=16 RESULTS=$results "$PRIVATE_SOURCE/test/bench/guard.sh" on ||
		status=$?
	SHORT=yes RESULTS=$results "$PRIVATE_SOURCE/test/bench/guard.sh" rates ||
		status=$?
	RUNS=8 RESULTS=$results "$PRIVATE_SOURCE/test/bench/guard.sh" off ||
		status=$?
	RUNS=8 RESULTS=$results "$PRIVATE_SOURCE/test/bench/guard.sh" earlyoom ||
		status=$?
	return "$status"
}

bench_trim()
{
	RESULTS=$results/trim.json ROUNDS=$((rounds < 3 ? rounds : 3)) \
		"$PRIVATE_SOURCE/test/bench/trim.sh" workloads
}

bench_pool()
{
	local pool_settings=(autovacuum=off max_parallel_workers_per_gather=0
		max_locks_per_transaction=512 jit=off)

	private_start without "${pool_settings[@]}"
	private_start trims "${pool_settings[@]}" "$ours" \
		pg_session_memory.trim_when_idle=on
	private_start recycles "${pool_settings[@]}" "$ours" \
		pg_session_memory.session_threshold=32MB \
		pg_session_memory.process_threshold=48MB
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench pool_day "$results/pool.json" "no trims=$(host_of without)" \
		"trim_when_idle=$(host_of trims)" "recycling=$(host_of recycles)"
}

bench_memory()
{
	private_start without "${settings[@]}"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	private_start with "${settings[@]}" "$ours"
	private_start more "${settings[@]}" "$ours" max_connections=1000
	bench memory $((rounds * 10)) "$results/memory.json" \
		"$(host_of without)" "$(host_of with)" "$(host_of more)"
}

# run_part PART: this script again, with the work directory of this one, so
# that whatever happens to it is the end of that part alone.
run_part()
{
	local part=$1 began=$SECONDS status=0 most=${most_seconds[$1]}
	local left=$((MOST_SECONDS - SECONDS))

	private_say "=== $part"
	[[ $left -ge 1 ]] || left=1
	BENCH_PART=$part timeout -k 20 $((most < left ? most : left)) \
		"$PRIVATE_SOURCE/test/bench/run.sh" &
	private_wait $! || status=$?
	if [[ $status -ne 0 ]]; then
		private_say "$part has failed, status $status"
		failed+=("$part")
		# What it has left may not run beside the next one.
		private_end_processes
		printf 'failed %s\t%s\n' "$part" "$status" >>"$results/run.tsv"
	fi
	printf 'took %s\t%s\n' "$part" $((SECONDS - began)) >>"$results/run.tsv"
}

# The machine's ticks since it started: all, idle, and those that the host did
# not give it, one in each line.  See proc(5); guests' are in user and nice.
cpu_ticks()
{
	awk '$1 == "cpu" {
		print $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; print $5 + $6; print $9
	}' /proc/stat
}

# share_of_cpu busy|stolen ALL IDLE STOLEN: per cent since cpu_ticks said that
share_of_cpu()
{
	cpu_ticks | tr '\n' ' ' |
		awk -v what="$1" -v all="$2" -v idle="$3" -v stolen="$4" '{
			all = $1 - all
			share = what == "busy" ? all - ($2 - idle) : $3 - stolen
			printf "%.1f\n", (all > 0 ? 100 * share / all : 0)
		}'
}

check_number()
{
	[[ $2 =~ ^[1-9][0-9]{0,8}$ ]] ||
		private_die "$1 is \"$2\", but must be a whole number of 1 or more"
}

main()
{
	local parts=("$@") part output=${OUTPUT:-} before=() failed=() document=''

	for part in "${parts[@]}"; do
		[[ " ${parts_there[*]} " == *" $part "* ]] ||
			private_die "there is no part \"$part\", only ${parts_there[*]}"
	done
	check_number ROUNDS "$rounds"
	check_number SECONDS_A_LOAD "$load_seconds"
	check_number MAX_CONTEXTS "$max_contexts"
	check_number MAX_SESSIONS "$max_sessions"

	# What the kernel takes is what looks are measured by.
	if [[ " ${parts[*]} " == *@(" look "|" server ")* &&
		" ${parts[*]} " != *" limits "* ]]; then
		parts=(limits "${parts[@]}")
	fi
	if [[ ${#parts[@]} -eq 0 ]]; then
		parts=("${parts_there[@]}")
		if [[ -z $output && $rounds -ge 5 && $max_contexts -ge 300000 &&
			$max_sessions -ge 1000 ]]; then
			output=$PRIVATE_SOURCE/doc/benchmark
			document=$PRIVATE_SOURCE/doc/benchmark.md
		fi
	fi
	if [[ -n $output ]]; then
		mkdir -p "$output"
		output=$(cd "$output" && pwd)
		[[ -w $output ]] || private_die "cannot write to $output"
		document=${document:-$output/benchmark.md}
	fi

	private_prepare
	private_packages python3 python3-psycopg2 strace ||
		private_die "this needs psycopg2 and strace"
	bench_installation

	results=$PRIVATE_DIR/results
	private_run mkdir "$results"
	export PRIVATE_BINDIR
	mapfile -t before < <(cpu_ticks)
	printf '%s\t%s\n' rounds "$rounds" \
		postgresql "$("$PRIVATE_BINDIR/postgres" --version | sed 's/^[^0-9]*//')" \
		busy "$(sleep 2; share_of_cpu busy "${before[@]}")" \
		date "$(date -u +%F)" >"$results/run.tsv"
	for part in "${parts[@]}"; do
		run_part "$part"
	done
	bench_limits_after || failed+=("limits, after")
	printf '%s\t%s\n' stolen "$(share_of_cpu stolen "${before[@]}")" \
		seconds "$SECONDS" >>"$results/run.tsv"

	/usr/bin/python3 "$PRIVATE_SOURCE/test/bench/report.py" \
		"$results" "$output" "$document"
	printf 'The whole took %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
	[[ ${#failed[@]} -eq 0 ]] || private_die "not measured: ${failed[*]}"
}

results=${PRIVATE_DIR:-}/results
if [[ -n ${BENCH_PART:-} ]]; then
	# Started by run_part
	part=$BENCH_PART
	unset BENCH_PART
	private_prepare
	"bench_$part"
else
	main "$@"
fi
