#!/usr/bin/env bash
#
# look.sh [ROUNDS]
#	  What looking costs, beside what PostgreSQL has, in one run.
#
# On a private, temporary server, with nothing preloaded: sessions look at
# themselves and at others, of several sizes, and at 500 idle ones at once.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../private_server.sh"

private_prepare
private_packages python3 python3-psycopg2
private_installation
private_install
private_start look max_connections=600 max_locks_per_transaction=1024
private_psql -q -c 'CREATE EXTENSION pg_session_memory'
private_run /usr/bin/python3 "$PRIVATE_TREE/test/bench/look.py" "${1:-15}"
