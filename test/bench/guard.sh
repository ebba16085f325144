#!/usr/bin/env bash
#
# guard.sh
#	  What the guard keeps from happening.
#
#	test/bench/guard.sh [off|on|log|earlyoom|calm|rates]...
#
# A private server in a control group of its own, in which the kernel's OOM
# killer sets in at GROUP_MB.  off, on and log are values of
# pg_session_memory.guard: twenty sessions of ordinary work, and runaways of
# fifteen kinds, one after the other, seven at once, and a crowd of thirty.
# earlyoom is off, with the program of that name beside it (earlyoom.py).
# calm looks for false alarms in large but legal work.  rates finds out how
# fast memory may be taken.  guard.py says what is counted.  Needs root and a
# memory controller.
#
# Environment: RUNS (off: 20, on: 300), MINUTES of calm (60), GROUP_MB (1024,
# calm: 3072), RESULTS, a directory for the results as JSON; SHORT, not
# empty: rates with one step.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../memory_group.sh"

beside=

# The program beside the server
end_beside()
{
	[[ -z $beside ]] || kill "$beside" 2>/dev/null || true
	beside=
}

private_at_exit()
{
	end_beside
	memory_group_remove
}

# bench NAME GROUP_MB GUARD ARGUMENT... [-- SETTING=VALUE...]
bench()
{
	local name=$1 megabytes=$2 guard=$3 arguments=()

	shift 3
	while [[ $# -gt 0 && $1 != -- ]]; do
		arguments+=("$1")
		shift
	done
	[[ $# -eq 0 ]] || shift
	memory_group_make $((megabytes * 1024 * 1024)) ||
		private_die "$memory_group_why"
	memory_group_start "$name" pg_session_memory.guard="$guard" \
		fsync=off max_wal_size=4GB autovacuum=off max_connections=150 "$@"
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	if [[ $name == earlyoom ]]; then
		unshare -m /usr/bin/python3 "$PRIVATE_TREE/test/bench/earlyoom.py" \
			"$memory_group" >"$PRIVATE_DIR/earlyoom.output" 2>&1 &
		beside=$!
	fi
	LOG=$PRIVATE_DIR/$name.log GROUP=$memory_group GROUP_MB=$megabytes \
		private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/guard.py" \
		"${arguments[@]}" "${RESULTS:-$PRIVATE_DIR/tmp}/guard_$name.json" \
		${AFTER:+"$AFTER"}
	if [[ -n $beside ]]; then
		kill -0 "$beside" ||
			private_die "earlyoom: $(tail -n 5 "$PRIVATE_DIR/earlyoom.output")"
		grep -c '^sending SIG' "$PRIVATE_DIR/earlyoom.output" || true
		end_beside
	fi
	private_stop "$name"
	memory_group_remove
}

build_take()
{
	private_run gcc -shared -fPIC -O2 -Wall \
		-I"$("$PRIVATE_PG_CONFIG" --includedir-server)" \
		-o "$PRIVATE_DIR/tmp/take.so" "$PRIVATE_TREE/test/bench/take.c"
}

main()
{
	local parts=("$@") part

	[[ ${#parts[@]} -gt 0 ]] || parts=(off on calm rates)
	for part in "${parts[@]}"; do
		[[ $part == @(off|on|log|earlyoom|calm|rates) ]] ||
			private_die "usage: $0 [off|on|log|earlyoom|calm|rates]..."
	done
	[[ -z ${RESULTS:-} || -d $RESULTS ]] ||
		private_die "there is no directory $RESULTS for the results"
	private_prepare
	private_packages python3 python3-psycopg2 ||
		private_die "this needs psycopg2"
	private_installation
	private_install
	private_packages "postgresql-plpython3-$PG_MAJOR" && private_extensions
	for part in "${parts[@]}"; do
		case $part in
			off) bench off "${GROUP_MB:-1024}" off runs off "${RUNS:-20}" ;;
			log) bench log "${GROUP_MB:-1024}" log runs log "${RUNS:-20}" ;;
			earlyoom)
				private_packages earlyoom || private_die "this needs earlyoom"
				bench earlyoom "${GROUP_MB:-1024}" off runs off "${RUNS:-20}"
				;;
			on) bench on "${GROUP_MB:-1024}" on runs on "${RUNS:-300}" ;;
			calm)
				bench calm "${GROUP_MB:-3072}" on calm "${MINUTES:-60}" \
					-- shared_buffers=$((${GROUP_MB:-3072} / 2))MB
				;;
			rates)
				build_take
				AFTER=${SHORT:+short} bench rates "${GROUP_MB:-1024}" on rates \
					"$PRIVATE_DIR/tmp/take.so"
				;;
		esac
	done
}

main "$@"
