#!/usr/bin/env bash
#
# statements.sh
#	  What is said of a statement's memory, beside what a witness has seen.
#
#	test/bench/statements.sh
#
# Statements of some thirty kinds, each in a session of its own.  The witness
# is another process that reads the session's anonymous memory every 2 ms.
# statements.py says what is measured, and prints a table.
#
# Environment: ROUNDS (3), of which of each kind that one counts in which the
# witness has seen most; RESULTS, a file for them as JSON.  Status 1 if one of
# the goals is missed: that what a statement took, the larger of plan + exec and
# peak, is 80 to 140 % of what the witness saw for 95 % of the kinds, and the
# peak 95 to 105 %, or less than half a MB off, wherever there is one.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"

main()
{
	private_prepare
	private_packages python3 python3-psycopg2 ||
		private_die "this needs psycopg2"
	# Before PostgreSQL is copied: it then is in the copy.
	private_choose_major
	private_packages "postgresql-plpython3-$PG_MAJOR" || true
	private_installation
	private_install
	private_start statements jit=off autovacuum=off compute_query_id=on \
		max_parallel_workers_per_gather=0 shared_buffers=256MB max_wal_size=4GB \
		shared_preload_libraries=pg_session_memory
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/statements.py" \
		"${ROUNDS:-3}" ${RESULTS:+"$RESULTS"}
}

main "$@"
