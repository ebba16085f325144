#!/usr/bin/env bash
#
# trim.sh
#	  What trimming gives, and what it costs.
#
#	test/bench/trim.sh [workloads|pool]...
#
# workloads: sessions that have done one kind of work each, what they hold
# afterwards, what pg_session_memory_trim() and DISCARD ALL leave of it, and
# the time of the next query.
#
# pool: two pools of 50 sessions, which plan queries over a table of 3,000
# partitions, in rounds of work and pause.  One is of a server that knows
# nothing of this extension, the other one of a server where sessions have
# trim_when_idle on; they take turns.  Half an hour, and 9 GB of memory.
# Status 1 if the second one's memory at rest is not 2.5 times less, or its
# throughput more than 3 per cent lower.
#
# Environment: ROUNDS of workloads (5), TRIALS of pool (2); RESULTS, a file for
# those of workloads as JSON.  trim.py says what is measured, and how.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"

# Plans over all partitions cost enough for a compiler and parallel workers,
# whose memory and time are another matter.  All locks of two or more such
# plans at a time are 9,000 each.
readonly settings=(jit=off max_parallel_workers_per_gather=0
	max_locks_per_transaction=512 autovacuum=off)

bench()
{
	private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/trim.py" "$@"
}

bench_workloads()
{
	private_start trim "${settings[@]}" \
		shared_preload_libraries=pg_session_memory
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	bench workloads "${ROUNDS:-5}" ${RESULTS:+"$RESULTS"}
	private_stop trim
}

bench_pool()
{
	local without with status=0

	private_start without "${settings[@]}"
	without=$PGHOST
	private_start with "${settings[@]}" \
		shared_preload_libraries=pg_session_memory \
		pg_session_memory.trim_when_idle=on
	with=$PGHOST
	bench pool "${TRIALS:-2}" "$without" "$with" || status=$?
	private_stop without
	private_stop with
	return "$status"
}

main()
{
	local parts=("$@") part

	[[ ${#parts[@]} -gt 0 ]] || parts=(workloads pool)
	for part in "${parts[@]}"; do
		[[ $part == workloads || $part == pool ]] ||
			private_die "usage: $0 [workloads|pool]..."
	done

	private_prepare
	private_packages python3 python3-psycopg2 ||
		private_die "this needs psycopg2"
	private_installation
	private_install
	for part in "${parts[@]}"; do
		"bench_$part"
	done
}

main "$@"
