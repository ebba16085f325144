#!/usr/bin/env bash
#
# demo.sh
#	  The product at work: a connection pool on a private server, and what one
#	  sees of its memory.  `make demo` runs it.
#
# demo_schema.sql makes the tables, demo_pool.py the pool with its sessions,
# demo.sql asks the questions; nothing is preloaded.  Then a server of its own
# runs out of memory, as root and where there is a memory controller, and
# demo_night.sql asks what there was.  Nothing is left behind; private_server.sh
# says how, and what PG_MAJOR does.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/memory_group.sh"

private_at_exit()
{
	memory_group_remove
}

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
private_stop demo

# The kernel's OOM killer, where a control group keeps it from everything else.
if memory_group_make $((512 * 1024 * 1024)); then
	private_say "A server that has 512 MB, and a statement that takes all of it ..."
	memory_group_start night
	private_quietly private_psql -c 'CREATE EXTENSION pg_session_memory' \
		-c 'CREATE ROLE app LOGIN'
	memory_group_runaway >/dev/null
	private_run psql -X -q -f test/demo_night.sql
else
	private_say "Not shown, what is known after an OOM kill: $memory_group_why."
fi
