#!/usr/bin/env bash
#
# run.sh
#	  The benchmark: what watching, looking and trimming cost and give, beside
#	  what PostgreSQL and other extensions have, in one go on one machine.
#
#	test/bench/run.sh [PART...]			also: make bench
#
# limits	what the machine takes for a system call, a cache miss and so on
# watch		a statement's instructions, and pgbench, with what is preloaded
# look		sessions of several sizes, from within and from outside
# server	the view over up to 1,000 sessions; pgbench beside who reads it
# trim		what trimming gives back, and the next query after it
# memory	of our own
#
# Each part starts servers of its own (private_server.sh says how, and what
# PG_MAJOR does) and is a program in this directory, whose head says what is
# measured and how.  report.py makes of it a table, the same as JSON, and
# pictures.
#
# The whole takes half an hour on two cores, and 9 GB of memory; do nothing
# else on the machine meanwhile.  It writes results.txt, results.json and the
# pictures into doc/benchmark, and its figures into doc/benchmark.md.  A run of some
# parts, or a smaller one, writes nothing unless OUTPUT is set.
#
# Environment, all optional:
#	ROUNDS			of each comparison (9)
#	SECONDS_A_RUN	of pgbench (2)
#	MAX_CONTEXTS	largest session (300000)
#	MAX_SESSIONS	most sessions at once (1000)
#	OUTPUT			directory to write to; that file then stays as it is
#
# The status is zero if everything was measured, also if a goal is missed.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/installation.sh"

readonly parts_there=(limits watch look server trim memory)

rounds=${ROUNDS:-9}
seconds=${SECONDS_A_RUN:-2}
max_contexts=${MAX_CONTEXTS:-300000}
max_sessions=${MAX_SESSIONS:-1000}

# Sessions look as they are, and nothing but what is measured runs.
readonly settings=(jit=off max_parallel_workers_per_gather=0 autovacuum=off)

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

# At most so many rounds, where one takes long and repeats well.
at_most()
{
	echo $((rounds < $1 ? rounds : $1))
}

bench_limits()
{
	private_run gcc -O2 -Wall -o "$PRIVATE_DIR/results/limits" test/bench/limits.c
	private_run "$PRIVATE_DIR/results/limits" >"$PRIVATE_DIR/results/limits.json"
}

# The same again when all is done: whether the machine was as fast throughout.
bench_limits_after()
{
	[[ ! -x $PRIVATE_DIR/results/limits ]] ||
		private_run "$PRIVATE_DIR/results/limits" \
			>"$PRIVATE_DIR/results/limits_after.json"
}

bench_watch()
{
	local ours=shared_preload_libraries=pg_session_memory name number=0
	local names servers=()
	local -A loaded=()

	# A limit that is passed is a matter of the report, here.
	ROUNDS=$(at_most 3) RESULTS=$PRIVATE_DIR/results/instructions.tsv \
		"$PRIVATE_SOURCE/test/bench/watch.sh" statement ||
		[[ -s $PRIVATE_DIR/results/instructions.tsv ]] ||
		private_die "instructions were not counted"

	names=(nothing pg_session_memory "pg_session_memory, trim_when_idle"
		pg_stat_statements "pg_stat_statements, pg_stat_kcache"
		pg_wait_sampling)
	loaded=([pg_session_memory]=$ours
		["pg_session_memory, trim_when_idle"]=$ours
		[pg_stat_statements]=shared_preload_libraries=pg_stat_statements
		["pg_stat_statements, pg_stat_kcache"]=shared_preload_libraries=pg_stat_statements,pg_stat_kcache
		[pg_wait_sampling]=shared_preload_libraries=pg_wait_sampling)
	for name in "${names[@]}"; do
		number=$((number + 1))
		case $name in
			*kcache) [[ -n $with_kcache ]] || continue ;;
			*sampling) [[ -n $with_sampling ]] || continue ;;
		esac
		set -- ${loaded[$name]:+"${loaded[$name]}"}
		[[ $name != *idle ]] || set -- "$@" pg_session_memory.trim_when_idle=on
		private_start "watch$number" "${settings[@]}" shared_buffers=256MB \
			max_wal_size=8GB "$@"
		private_quietly private_run pgbench -i -q -s 10 postgres
		[[ $name != *statements* ]] ||
			private_psql -c "CREATE EXTENSION pg_stat_statements"
		[[ $name != *kcache ]] ||
			private_psql -c "CREATE EXTENSION pg_stat_kcache"
		servers+=("$name=$(host_of "watch$number")")
	done
	bench watch "$rounds" "$seconds" "$PRIVATE_DIR/results/watch.json" \
		"${servers[@]}"
	for name in "${private_servers[@]}"; do
		private_stop "$name"
	done
}

bench_look()
{
	private_start look "${settings[@]}"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	bench look "$rounds" "$max_contexts" "$PRIVATE_DIR/results/look.json"
	private_stop look
}

bench_server()
{
	private_start server "${settings[@]}" \
		max_connections=$((max_sessions + 100))
	private_psql -c "CREATE EXTENSION pg_session_memory"
	private_quietly private_run pgbench -i -q -s 10 postgres
	bench server "$rounds" "$seconds" "$max_sessions" \
		"$PRIVATE_DIR/results/server.json"
	private_stop server
}

bench_trim()
{
	RESULTS=$PRIVATE_DIR/results/trim.json ROUNDS=$(at_most 3) \
		"$PRIVATE_SOURCE/test/bench/trim.sh" workloads
}

bench_memory()
{
	local ours=shared_preload_libraries=pg_session_memory

	private_start without "${settings[@]}"
	private_psql -c "CREATE EXTENSION pg_session_memory"
	private_start with "${settings[@]}" "$ours"
	private_start more "${settings[@]}" "$ours" max_connections=1000
	bench memory $((rounds * 10)) "$PRIVATE_DIR/results/memory.json" \
		"$(host_of without)" "$(host_of with)" "$(host_of more)"
	private_stop without
	private_stop with
	private_stop more
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
	local parts=("$@") part output=${OUTPUT:-} chapter='' began before=()

	for part in "${parts[@]}"; do
		[[ " ${parts_there[*]} " == *" $part "* ]] ||
			private_die "there is no part \"$part\", only ${parts_there[*]}"
	done
	check_number ROUNDS "$rounds"
	check_number SECONDS_A_RUN "$seconds"
	check_number MAX_CONTEXTS "$max_contexts"
	check_number MAX_SESSIONS "$max_sessions"

	if [[ ${#parts[@]} -eq 0 ]]; then
		parts=("${parts_there[@]}")
		if [[ -z $output && $rounds -ge 9 && $max_contexts -ge 300000 &&
			$max_sessions -ge 1000 ]]; then
			output=$PRIVATE_SOURCE/doc/benchmark
			chapter=$PRIVATE_SOURCE/doc/benchmark.md
		fi
	fi
	if [[ -n $output ]]; then
		mkdir -p "$output"
		output=$(cd "$output" && pwd)
		[[ -w $output ]] || private_die "cannot write to $output"
	fi

	private_prepare
	private_packages python3 python3-psycopg2 strace \
		${output:+gnuplot-nox} ||
		private_die "this needs psycopg2, strace, and gnuplot for pictures"
	bench_installation

	private_run mkdir "$PRIVATE_DIR/results"
	export PGBENCH_CPU=$PRIVATE_DIR/results/pgbench_cpu.so
	private_run gcc -O2 -Wall -shared -fPIC \
		-I "$("$PRIVATE_PG_CONFIG" --includedir)" -o "$PGBENCH_CPU" \
		test/bench/pgbench_cpu.c

	mapfile -t before < <(cpu_ticks)
	printf '%s\t%s\n' rounds "$rounds" seconds_a_run "$seconds" \
		postgresql "$("$PRIVATE_BINDIR/postgres" --version | sed 's/^[^0-9]*//')" \
		busy "$(sleep 2; share_of_cpu busy "${before[@]}")" \
		date "$(date -u +%F)" >"$PRIVATE_DIR/results/run.tsv"
	for part in "${parts[@]}"; do
		private_say "=== $part"
		began=$SECONDS
		"bench_$part"
		printf 'took %s\t%s\n' "$part" $((SECONDS - began)) \
			>>"$PRIVATE_DIR/results/run.tsv"
	done
	bench_limits_after
	printf 'stolen\t%s\n' "$(share_of_cpu stolen "${before[@]}")" \
		>>"$PRIVATE_DIR/results/run.tsv"

	/usr/bin/python3 "$PRIVATE_SOURCE/test/bench/report.py" \
		"$PRIVATE_DIR/results" "$output" "$chapter"
}

main "$@"
