#!/usr/bin/env bash
#
# watcher.sh
#	  What the watcher costs, and how soon it knows.
#
#	test/bench/watcher.sh [SECONDS]
#
# The background worker with defaults, beside 10, 100 and 1,000 sessions, half
# of which run short statements, SECONDS (600) each: its CPU time, and what it
# writes.  Then how long after a statement has begun to grow the view, the log
# and the recorder know of it.  Status 1 if a goal is missed: at most 0.1 per
# cent of a core with 100 sessions, 0.5 per cent with 1,000, and 10 kB a second.
#
# Environment: MAX_SESSIONS (1000); ROUNDS of growing statements (20);
# RESULTS, a file for the figures as JSON.
# watcher.py says what is measured, and how.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"

main()
{
	local seconds=${1:-600} sessions=${MAX_SESSIONS:-1000} status=0

	[[ $# -le 1 && $seconds =~ ^[1-9][0-9]*$ ]] ||
		private_die "usage: $0 [SECONDS]"
	private_prepare
	private_packages python3 python3-psycopg2 ||
		private_die "this needs psycopg2"
	private_installation
	private_install
	private_start watcher max_connections="$((sessions + 100))" \
		shared_buffers=32MB autovacuum=off \
		shared_preload_libraries=pg_session_memory
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/watcher.py" \
		"$seconds" "$sessions" "${ROUNDS:-20}" "$PRIVATE_DIR/watcher.log" \
		${RESULTS:+"$RESULTS"} ||
		status=$?
	private_stop watcher
	return "$status"
}

main "$@"
