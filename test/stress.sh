#!/usr/bin/env bash
#
# stress.sh
#	  A hundred sessions at everything that can go wrong, and four that read
#	  them all the while.
#
#	test/stress.sh [SECONDS]
#
# For 60 seconds, or as many as are given, on a private server; test/stress.py
# tells what happens, and what has to be true afterwards.  Packages that are
# missing are installed; see private_server.sh for that, and for what PG_MAJOR,
# KEEP and TMPDIR do.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

main()
{
	local seconds=${1:-60} output status=0

	if [[ $# -gt 1 || ! $seconds =~ ^[1-9][0-9]{0,5}$ ]]; then
		unset -f private_at_exit
		private_say "usage: $0 [SECONDS]"
		exit 2
	fi

	private_prepare
	private_installation python3 python3-psycopg2
	if ! private_packages python3 python3-psycopg2; then
		completed=yes
		# The machine that decides has to have them.
		if [[ -n ${CI:-} ]]; then
			fail "stress: the packages are missing"
			return 1
		fi
		skip stress "the packages could not be installed"
		return 0
	fi
	private_install

	# No more room than is needed, so that slots are used again and again.
	private_start stress \
		shared_preload_libraries=pg_session_memory \
		max_connections=125 superuser_reserved_connections=3 \
		shared_buffers=64MB autovacuum_naptime=1s \
		parallel_setup_cost=0 min_parallel_table_scan_size=0 \
		log_line_prefix='%m [%p] %b, %e ' log_min_error_statement=panic
	private_psql <<-'END'
		CREATE EXTENSION pg_session_memory;
		CREATE ROLE app LOGIN;
		CREATE ROLE monitor IN ROLE pg_monitor;
		GRANT TEMPORARY ON DATABASE postgres TO app;
		CREATE TABLE parted (id integer PRIMARY KEY, t text)
			PARTITION BY RANGE (id);
		DO $$BEGIN
			FOR i IN 0 .. 99 LOOP
				EXECUTE format('CREATE TABLE parted_%s PARTITION OF parted
					FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10);
			END LOOP;
		END$$;
		INSERT INTO parted SELECT g, g FROM generate_series(1, 999) AS g;
		GRANT SELECT ON parted TO app;
		-- Calls itself: a context a level, and the frames of all of them
		CREATE FUNCTION bloat(depth integer) RETURNS integer LANGUAGE plpgsql AS
		$$BEGIN
			IF depth = 0 THEN
				RETURN (SELECT count(*) FROM parted);
			END IF;
			BEGIN
				RETURN bloat(depth - 1);
			EXCEPTION WHEN division_by_zero THEN
				RETURN 0;
			END;
		END$$;
	END

	output=$PRIVATE_DIR/stress.output
	private_run /usr/bin/python3 -u "$PRIVATE_TREE/test/stress.py" "$seconds" \
		"$PRIVATE_DIR/stress.log" > >(tee "$output") 2>&1 || status=$?
	wait $! || true
	passed=$(grep -c '^ok ' "$output" || true)
	failed=$(grep -c '^not ok ' "$output" || true)
	if [[ $failed -gt 0 ]]; then
		grep -E -A 3 'PANIC|TRAP:|terminated by signal' \
			"$PRIVATE_DIR/stress.log" | head -n 20 || true
	fi
	# It can also end before it gets to its assertions.
	if [[ $status -eq 0 && $passed -gt 0 ]] || [[ $failed -gt 0 ]]; then
		completed=yes
	fi
	[[ $status -eq 0 && $failed -eq 0 && $passed -gt 0 ]]
}

main "$@"; exit
