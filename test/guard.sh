#!/usr/bin/env bash
#
# guard.sh
#	  The guard against the kernel's OOM killer.
#
#	test/guard.sh
#
# A private server in a control group of 512 MB, five sessions at rest, and one
# statement that takes all there is.  With guard = off the kernel ends its
# session and PostgreSQL restarts all others.  With guard = on the statement
# fails, and nothing else happens: three times that statement, then one that
# asks for twice as much each time, and as many sessions at once.  Needs root
# and a memory controller; skipped, with the reason, where there is none.  See
# private_server.sh for what PG_MAJOR, KEEP and TMPDIR do.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"
source "$(dirname "${BASH_SOURCE[0]}")/memory_group.sh"

readonly GROUP_BYTES=$((512 * 1024 * 1024))

before_result_line()
{
	memory_group_remove
}

# How often the kernel has ended a process of the server so far.
kills()
{
	grep -c 'was terminated by signal 9' "$PRIVATE_DIR/guard.log" || true
}

sleepers()
{
	answer "SELECT count(*) FROM pg_stat_activity
		WHERE query = 'SELECT pg_sleep(1000)'"
}

# runaway STATEMENT: prints the SQLSTATE of its error, and whether the session
# has lived on.
runaway()
{
	private_run psql -X -q -A -t -U app -v VERBOSITY=verbose -c "$1" \
		-c "SELECT 'lives'" 2>&1 |
		sed -n -e 's/^.*\(ERROR\|FATAL\): *\([0-9A-Z]*\): .*/\2/p' \
			-e '/^lives/p' | tr '\n' ' ' | sed 's/ $//'
}

readonly ARRAY_AGG="SELECT array_length(array_agg(repeat(md5(i::text), 10)), 1)
	FROM (SELECT generate_series(1, 100000000) AS i) AS s"
readonly DOUBLING="DO \$\$DECLARE t text := repeat('x', 1000000);
	BEGIN LOOP t := t || t; END LOOP; END\$\$"

main()
{
	local i before

	if [[ $# -gt 0 ]]; then
		unset -f private_at_exit
		private_say "usage: $0"
		exit 2
	fi
	private_prepare
	if ! memory_group_make "$GROUP_BYTES"; then
		skip guard "$memory_group_why"
		completed=yes
		return 0
	fi
	private_installation
	private_install
	memory_group_start guard pg_session_memory.guard=off
	private_psql -c 'CREATE EXTENSION pg_session_memory' \
		-c 'CREATE ROLE app LOGIN'

	memory_group_runaway >/dev/null
	is "without the guard the kernel ends the session" "$(kills)" 1

	private_psql -c "ALTER SYSTEM SET pg_session_memory.guard = 'on'" \
		-c 'SELECT pg_reload_conf()' >/dev/null
	before=$(kills)
	for i in 1 2 3 4 5; do
		private_run psql -X -q -c 'SELECT pg_sleep(1000)' >/dev/null 2>&1 &
	done
	for ((i = 0; i < 600; i++)); do
		[[ $(answer "SELECT guard_state IS NOT NULL
			FROM pg_session_memory_server")$(sleepers) != t5 ]] || break
		sleep 0.1
	done
	is "the guard works" \
		"$(answer 'SELECT guard, guard_state FROM pg_session_memory_server')" \
		"on|quiet"
	for i in 1 2 3; do
		is "with the guard the statement fails, run $i" \
			"$(runaway "$ARRAY_AGG")" "53200 lives"
	done
	is "one that asks for twice as much each time" \
		"$(runaway "$DOUBLING")" "53200 lives"
	for i in 1 2 3 4 5 6; do
		runaway "$ARRAY_AGG" >"$PRIVATE_DIR/runaway.$i" &
		echo $! >>"$PRIVATE_DIR/runaways"
	done
	while read -r i; do private_wait "$i" || true; done \
		<"$PRIVATE_DIR/runaways"
	is "six at once: each fails, or is cancelled, and none is lost" \
		"$(grep -c -E '^(53200|57014) lives$' "$PRIVATE_DIR"/runaway.? |
			grep -c ':1$')" 6
	is "no session was ended by the kernel" "$(($(kills) - before))" 0
	is "the other sessions have not noticed" "$(sleepers)" 5
	is "the events say who it was" \
		"$(answer "SELECT count(*) > 0 FROM pg_session_memory_events
			WHERE kind = 'limited' AND usename = 'app'")" t
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"
