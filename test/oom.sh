#!/usr/bin/env bash
#
# oom.sh
#	  What is known after the kernel's OOM killer was at work.
#
#	test/oom.sh
#
# A private server in a control group of 512 MB, five idle sessions, and one
# statement that takes all there is.  The kernel ends its session, PostgreSQL
# restarts all others, and then the extension has to tell who it was.  Needs
# root and a memory controller; skipped, with the reason, where there is none.
# See private_server.sh for what PG_MAJOR, KEEP and TMPDIR do.
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

main()
{
	local culprit i

	if [[ $# -gt 0 ]]; then
		unset -f private_at_exit
		private_say "usage: $0"
		exit 2
	fi
	private_prepare
	if ! memory_group_make "$GROUP_BYTES"; then
		skip oom "$memory_group_why"
		completed=yes
		return 0
	fi
	private_installation
	private_install
	memory_group_start oom
	private_psql -c 'CREATE EXTENSION pg_session_memory' \
		-c 'CREATE ROLE app LOGIN'
	is "the limit of the group is known" \
		"$(answer "SELECT total_bytes, limit_source LIKE '/pg_session_memory.%'
			FROM pg_session_memory_server")" "$GROUP_BYTES|t"

	for i in 1 2 3 4 5; do
		private_run psql -X -q -c 'SELECT pg_sleep(1000)' >/dev/null 2>&1 &
	done
	culprit=$(memory_group_runaway)
	is "the kernel has ended the session" \
		"$(grep -c "server process (PID $culprit) was terminated by signal 9" \
			"$PRIVATE_DIR/oom.log")" 1
	is "who, whose, which statement, what kind of memory, and how much of it" \
		"$(answer "SELECT pid, usename, query LIKE '/* takes all */%', state,
				execution_bytes > context_bytes / 2,
				anon_bytes > 0.8 * $GROUP_BYTES
			FROM pg_session_memory_history_sessions
			WHERE before_restart ORDER BY at DESC, anon_bytes DESC LIMIT 1")" \
		"$culprit|app|t|active|t|t"
	is "the last sample is of the last second" \
		"$(answer "WITH killed AS (SELECT min(at) AS at
				FROM pg_session_memory_history
				WHERE NOT before_restart)
			SELECT max(h.at) > (SELECT xact_start FROM (
				SELECT '$(grep -m 1 "PID $culprit) was terminated" \
					"$PRIVATE_DIR/oom.log" | cut -d ' ' -f 1-3)'::timestamptz
					- interval '1 second' AS xact_start) AS k)
			FROM pg_session_memory_history AS h, killed
			WHERE before_restart")" t
	is "how little memory there was" \
		"$(answer "SELECT available_bytes < total_bytes / 5, total_bytes
			FROM pg_session_memory_history
			WHERE before_restart ORDER BY at DESC LIMIT 1")" "t|$GROUP_BYTES"
	is "one line of the log tells it" \
		"$(grep -c "was not shut down before it started: at .*OOM killer has ended 1 process" \
			"$PRIVATE_DIR/oom.log")" 1
	is "with the largest session" \
		"$(grep -c "Largest processes: PID $culprit of app@postgres (active) with 4.. MB, most of it execution" \
			"$PRIVATE_DIR/oom.log")" 1
	is "and an event" \
		"$(answer "SELECT pid, usename, kind FROM pg_session_memory_events
			WHERE kind = 'restarted'")" "$culprit|app|restarted"
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"
