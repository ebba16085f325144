#!/usr/bin/env bash
#
# demo.sh
#	  The product at work: a connection pool on a private server, what one sees
#	  of its memory, and what one does about it.
#
#	test/demo.sh
#
# demo_schema.sql makes the tables, demo_pool.py the pool with its sessions,
# demo.sql asks the questions and gives the answers.  The server may have 1 GB:
# as root, and where there is a memory controller, by a control group, else by
# pg_session_memory.server_limit.  demo_guard.sql wants more than that.  At the
# end the guard is off, and demo_night.sql asks who it was; where the kernel's
# OOM killer cannot be had, the session is killed by hand.
#
# It takes less than a minute, without packages that are missing and without
# the build.  A page is left, whose path is said, and nothing else;
# private_server.sh says how, and what PG_MAJOR, KEEP and TMPDIR do.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/memory_group.sh"

readonly SERVER_MEGABYTES=1024
readonly SETTINGS=(shared_preload_libraries=pg_session_memory
	shared_buffers=32MB jit=off work_mem=64MB compute_query_id=on
	cluster_name=demonstration
	pg_session_memory.guard=log
	pg_session_memory.session_threshold=48MB
	pg_session_memory.context_threshold=24MB
	pg_session_memory.record_interval=500ms)

group=							# the control group, also when it is gone
page=							# the report, once it is there
built=							# when the build was done

# Says what is left, having looked.
private_at_exit()
{
	local left=()

	memory_group_remove
	[[ -z ${KEEP:-} && -n ${PRIVATE_DIR:-} ]] || return 0
	[[ ! -e $PRIVATE_DIR ]] || left+=("$PRIVATE_DIR")
	[[ -z $group || ! -e $group ]] || left+=("$group")
	if [[ ${#left[@]} -gt 0 ]]; then
		private_say "This is left: ${left[*]}"
		return
	fi
	[[ ${#private_installed[@]} -eq 0 ]] ||
		private_say "These packages stay: ${private_installed[*]}"
	if [[ -n $page ]]; then
		private_say "Nothing is left but the page, $page"
	else
		private_say "Nothing is left."
	fi
}

# The sessions of the pool live as long as this has not closed its pipe.
start_pool()
{
	coproc pool {
		private_run /usr/bin/python3 test/demo_pool.py \
			sh -c 'touch ../pool.ready && cat'
	}
	# shellcheck disable=SC2154
	while [[ ! -e $PRIVATE_DIR/pool.ready ]]; do
		kill -0 "$pool_PID" 2>/dev/null || private_die "the pool has failed"
		sleep 0.1
	done
}

# In the control group, if there is one.
start_server()
{
	if memory_group_make $((SERVER_MEGABYTES * 1024 * 1024)); then
		group=$memory_group
		memory_group_start demo "${SETTINGS[@]}"
	else
		private_start demo "${SETTINGS[@]}" \
			pg_session_memory.server_limit="${SERVER_MEGABYTES}MB"
	fi
}

guarded()
{
	private_psql -c "ALTER SYSTEM SET pg_session_memory.guard = 'on'" \
		-c 'SELECT pg_reload_conf()' >/dev/null || return
	private_run psql -X -q <"$PRIVATE_TREE/test/demo_guard.sql" \
		>"$PRIVATE_DIR/guarded.output" 2>&1
}

write_page()
{
	private_run examples/report.sh -o "$PRIVATE_DIR/report.html" 2>/dev/null ||
		private_die "could not make the report"
	page=$(mktemp --suffix=.html "${TMPDIR:-/tmp}/session_memory.XXXXXX")
	cat "$PRIVATE_DIR/report.html" >"$page"
	chmod a+r "$page"
}

# One session takes memory until it is killed, and then all of them are gone.
# Without a control group nothing but this script keeps it from taking all of
# the machine's, so there it takes only some.
night()
{
	local started pid='' try

	private_psql -c "ALTER SYSTEM SET pg_session_memory.guard = 'log'" \
		-c 'ALTER SYSTEM SET pg_session_memory.server_limit = -1' \
		-c 'SELECT pg_reload_conf()' >/dev/null
	if [[ -n $group ]]; then
		memory_group_runaway >/dev/null
		return
	fi
	started=$(private_psql -A -t -c 'SELECT clock_timestamp()')
	private_run psql -X -q -U app -c "/* takes all */ SELECT array_length(a, 1),
		pg_sleep(100) FROM (SELECT array_agg(repeat(md5(i::text), 10)) AS a
			FROM generate_series(1, 1000000) AS i) AS s" >/dev/null 2>&1 &
	for ((try = 0; try < 600; try++)); do
		pid=$(private_psql -A -t -c "SELECT pid
			FROM pg_session_memory_history_sessions
			WHERE usename = 'app' AND anon_bytes > 300000000
				AND at > '$started' AND query LIKE '/* takes all */%' LIMIT 1")
		[[ -z $pid ]] || break
		sleep 0.1
	done
	[[ -n $pid ]] || private_die "the session has not grown"
	# The shell's own: not every machine has the program.
	private_run bash -c "kill -KILL $pid" || private_die "could not kill $pid"
	memory_group_wait "$started"
}

main()
{
	local packages=(python3 python3-psycopg2) who=("the kernel's OOM killer")

	if [[ $# -gt 0 ]]; then
		private_say "usage: $0"
		exit 2
	fi
	private_prepare
	# Debian's own Python, since its psycopg2 is for no other.
	private_installation "${packages[@]}"
	private_packages "${packages[@]}" ||
		private_die "the demonstration needs psycopg2"
	private_progress "Building pg_session_memory for PostgreSQL $PG_MAJOR" \
		private_install
	built=$SECONDS

	private_progress "Starting a server that may have 1 GB" start_server
	private_progress "Making 3,000 partitions" \
		private_quietly private_psql -f test/demo_schema.sql
	private_progress "Putting a pool of ten sessions to work" start_pool
	private_run env LOG="$PRIVATE_DIR/demo.log" \
		psql -X -q <"$PRIVATE_TREE/test/demo.sql" 2>&1

	printf '\n=== 6. A statement that would take all the memory of the server\n\n'
	private_progress "It may have 1 GB, sessions have $(private_psql -A -t -c "
		SELECT pg_size_pretty(anon_bytes) FROM pg_session_memory_server"); guard = on" \
		guarded
	cat "$PRIVATE_DIR/guarded.output"

	printf '\n=== 7. The whole, to read and to send\n\n'
	private_progress "Writing a page" write_page
	printf -- '--> Open this in a browser: %s\n' "$page"

	printf '\n=== 8. The same night without the guard\n\n'
	[[ -n $group ]] || who=("a kill -9, in the place of the OOM killer")
	private_progress "The same statement, guard = log, and ${who[0]}" night
	private_run psql -X -q <"$PRIVATE_TREE/test/demo_night.sql" 2>&1
	printf '\nThat was all, in %d seconds and %d for packages and build.\n' \
		$((SECONDS - built)) "$built"
}

main "$@"
