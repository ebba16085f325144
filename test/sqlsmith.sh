#!/usr/bin/env bash
#
# sqlsmith.sh
#	  Random queries over everything of ours, by sqlsmith.
#
#	test/sqlsmith.sh [QUERIES]
#
# So many queries, 20,000 by default, half of them by a role that sees
# everything, half by one that sees nothing, against a private server that has
# the library preloaded.  sqlsmith takes functions and constants at random;
# for it there are views of what our functions say of all processes, and
# functions that make a live pid of any number.  While it goes on, sessions
# come and go.  Queries may fail, the server may not.
#
# Variables, all optional:
#	PGSM_ASSERT_SERVER		prefix of an installed server with assertions, or
#							with sanitizers, to use in place of the package's
#	SEED					of sqlsmith's random numbers, default 1
#	PG_MAJOR, KEEP, TMPDIR	as in private_server.sh
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/postgres_source.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

# ok NAME WHY COMMAND...
ok()
{
	local name=$1 why=$2

	shift 2
	if "$@"; then
		pass "$name"
	else
		fail "$name: $why"
	fi
}

value()
{
	private_psql -A -t -c "$1"
}

# What sqlsmith has to play with.  It calls the functions of the extension
# itself, too, mostly with numbers that are nobody's pid.
write_targets()
{
	private_psql <<-'END'
		CREATE EXTENSION pg_session_memory;
		CREATE ROLE seeing LOGIN IN ROLE pg_monitor, pg_signal_backend;
		CREATE ROLE blind LOGIN;
		ALTER ROLE seeing SET statement_timeout = '2s';
		ALTER ROLE blind SET statement_timeout = '2s';
		GRANT EXECUTE ON FUNCTION pg_session_memory_reset_events(),
			pg_session_memory_reset_statements(),
			pg_session_memory_reset_history() TO seeing;
		CREATE TABLE numbers AS SELECT g AS a, g::bigint AS b, g::text AS c
			FROM generate_series(1, 10) AS g;
		CREATE TABLE snapshots AS
			SELECT g AS a, pg_session_memory_snapshot() AS snapshot
			FROM generate_series(1, 3) AS g;
		INSERT INTO snapshots VALUES (4, '{"format": 1}'), (5, '[]'), (6, NULL);
		-- Of those that the role may see, or its queries all fail.
		CREATE VIEW seen AS SELECT pid FROM pg_stat_activity
			WHERE pg_has_role('pg_read_all_stats', 'USAGE')
				OR pg_has_role(usesysid, 'USAGE');
		CREATE FUNCTION live_pid(a integer) RETURNS integer LANGUAGE sql AS
			'SELECT (array_agg(pid))[1 + abs(a::bigint) % count(*)] FROM seen';
		CREATE FUNCTION live_snapshot(a integer) RETURNS jsonb LANGUAGE sql AS
			'SELECT pg_session_memory_snapshot(live_pid(a))';
		CREATE FUNCTION live_trim(a integer) RETURNS text LANGUAGE sql AS
			'SELECT outcome FROM pg_session_memory_trim(live_pid(a), a % 20)';
		CREATE FUNCTION live_growth(a jsonb, b jsonb) RETURNS numeric
			LANGUAGE sql AS
			'SELECT sum(growth_bytes) FROM pg_session_memory_diff(a, b)';
		CREATE VIEW contexts AS SELECT c.* FROM seen s,
			LATERAL pg_session_memory_contexts(s.pid) c;
		CREATE VIEW categories AS SELECT c.* FROM seen s,
			LATERAL pg_session_memory_categories(s.pid) c;
		CREATE VIEW idents AS SELECT c.* FROM seen s,
			LATERAL pg_session_memory_idents(s.pid, s.pid % 100) c;
		CREATE VIEW stacks AS SELECT c.stack FROM seen s,
			LATERAL pg_session_memory_folded(s.pid, s.pid % 2 = 0) c(stack);
		CREATE VIEW processes AS SELECT c.* FROM seen s,
			LATERAL pg_session_memory_process(s.pid) c;
		CREATE VIEW samples AS SELECT c.* FROM numbers n,
			LATERAL pg_session_memory_sample(live_pid(n.a), '1 ms', n.a) c;
		CREATE VIEW paths AS SELECT c.* FROM snapshots s,
			LATERAL pg_session_memory_snapshot_paths(s.snapshot) c
			WHERE s.a < 4;
		CREATE VIEW wrong_paths AS SELECT c.* FROM snapshots s,
			LATERAL pg_session_memory_snapshot_paths(s.snapshot) c;
		CREATE VIEW own AS SELECT c.* FROM pg_session_memory_contexts() c;
		CREATE VIEW trims AS SELECT c.* FROM pg_session_memory_trim() c;
		CREATE VIEW requests AS
			SELECT live_trim(n.a) AS asked, n.a FROM numbers n;
		CREATE VIEW measures AS SELECT c.* FROM seen s,
			LATERAL pg_session_memory_measure(s.pid, NULL) c;
		CREATE VIEW states AS SELECT n.a,
				pg_session_memory_is_bloated() AS bloated,
				pg_session_memory_reset_peak() IS NULL AS reset
			FROM numbers n;
		CREATE VIEW checks AS SELECT pg_session_memory_check() AS fine;
		CREATE VIEW recycles AS SELECT pg_session_memory_recycle() AS fine;
		CREATE VIEW resets AS
			SELECT pg_session_memory_reset_events() IS NULL AS events,
				pg_session_memory_reset_statements() IS NULL AS statements,
				pg_session_memory_reset_history() IS NULL AS history;
		CREATE VIEW lasts AS
			SELECT c.* FROM pg_session_memory_last_statement() c;
		CREATE VIEW environment AS
			SELECT c.* FROM pg_session_memory_environment() c;
		CREATE VIEW lines AS SELECT line
			FROM pg_session_memory_report('1 h', 3) AS line;
		CREATE VIEW texts AS
			SELECT pg_session_memory_report_text(n.c, n.a) AS text FROM numbers n;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC;
	END
}

# Sessions that come, grow and go, so that pids are not always the same ones.
churn()
{
	local script=$PRIVATE_TREE/churn.sql

	private_run tee "$script" >/dev/null <<-'END'
		SELECT count(*) FROM pg_class;
		PREPARE p AS SELECT count(*) FROM pg_attribute;
		EXECUTE p;
		\sleep 50 ms
	END
	private_run pgbench -n -C -c 4 -T 100000 -f "$script" >/dev/null 2>&1
}

# run_sqlsmith ROLE QUERIES SEED
run_sqlsmith()
{
	local log=$PRIVATE_DIR/sqlsmith.$1 status=0

	private_run sqlsmith --seed="$3" --exclude-catalog --verbose \
		--max-queries="$2" \
		--target="host=$PGHOST port=$PGPORT dbname=postgres user=$1" \
		>"$log" 2>&1 || status=$?
	# It reports what it has done every so many queries, and at its end.
	tail -n 2 "$log" | cut -c 1-200 | sed 's/^/# /'
	ok "sqlsmith has made its queries as $1" "status $status" \
		test "$status" -eq 0
}

main()
{
	local queries=${1:-20000} log started churning crashes wrong

	if [[ $# -gt 1 || ! $queries =~ ^[1-9][0-9]{0,8}$ ]]; then
		unset -f private_at_exit
		private_say "usage: $0 [QUERIES]"
		exit 2
	fi

	private_prepare
	if ! private_packages sqlsmith; then
		completed=yes
		skip sqlsmith "the package could not be installed"
		return 0
	fi
	if [[ -n ${PGSM_ASSERT_SERVER:-} ]]; then
		use_server "$PGSM_ASSERT_SERVER"
	else
		private_installation
	fi
	private_install
	private_start sqlsmith shared_preload_libraries=pg_session_memory \
		track_functions=all \
		pg_session_memory.max_overhead=100 \
		pg_session_memory.session_threshold=8MB \
		pg_session_memory.trim_when_idle=on \
		pg_session_memory.idle_delay=10ms \
		pg_session_memory.trim_threshold=64kB \
		log_line_prefix='%m [%p] %e ' log_min_error_statement=panic
	log=$PRIVATE_DIR/sqlsmith.log
	write_targets
	started=$(value 'SELECT pg_postmaster_start_time()')
	churn &
	churning=$!

	run_sqlsmith seeing $((queries / 2)) "${SEED:-1}"
	run_sqlsmith blind $((queries - queries / 2)) "$((${SEED:-1} + 1))"

	kill "$churning" 2>/dev/null || true
	wait "$churning" 2>/dev/null || true
	ok "the server is the one that it was" "it is another one" \
		test "$(value 'SELECT pg_postmaster_start_time()')" = "$started"
	crashes=$(grep -E -A 2 'TRAP:|PANIC:|terminated by signal|reinitializing' \
		"$log" | head -n 20 || true)
	ok "no crash in the log" "$crashes" test -z "$crashes"
	wrong=$(grep -E 'XX[0-9A-Z]{3} (ERROR|FATAL)' "$log" |
		grep -E 'session_memory|must be a row type' | head -n 5 || true)
	ok "no internal error of ours" "$wrong" test -z "$wrong"
	value "SELECT '# ' || p.proname || ' called ' || coalesce(f.calls, 0)
		FROM pg_proc p LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid
		WHERE p.proname LIKE 'pg\_session\_memory%' ORDER BY 1"
	wrong=$(value "SELECT string_agg(p.proname, ', ') FROM pg_proc p
		LEFT JOIN pg_stat_user_functions f ON f.funcid = p.oid
		WHERE p.proname LIKE 'pg\_session\_memory%' AND p.prokind = 'f'
			AND p.prorettype <> 'internal'::regtype
			AND coalesce(f.calls, 0) < 1 AND p.proname NOT IN
				('pg_session_memory', 'pg_session_memory_diff',
					'pg_session_memory_report_cell')")
	ok "each function was called" "not $wrong" test -z "$wrong"

	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"; exit
