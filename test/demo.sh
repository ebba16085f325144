#!/usr/bin/env bash
#
# demo.sh
#	  The product at work: a connection pool on a private server, and what one
#	  sees of its memory.  `make demo` runs it.
#
# demo_schema.sql makes the tables, demo_pool.py the pool with its sessions,
# demo.sql asks the questions.  Nothing is preloaded and nothing is left
# behind; private_server.sh says how, and what PG_MAJOR does.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"

private_prepare
# Debian's own Python, since its psycopg2 is for no other.
packages=(python3 python3-psycopg2)
private_installation "${packages[@]}"
private_packages "${packages[@]}" ||
	private_die "the demonstration needs psycopg2"
private_say "Building pg_session_memory for PostgreSQL $PG_MAJOR ..."
private_install
private_say "Starting a server with 3,000 partitions on it ..."
private_start demo work_mem=64MB
private_quietly private_psql -f test/demo_schema.sql
private_say "Putting a pool of ten sessions to work ..."
private_run /usr/bin/python3 test/demo_pool.py psql -X -q -f test/demo.sql
