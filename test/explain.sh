#!/usr/bin/env bash
#
# explain.sh
#	  doc/causes.md, "What is eating this session's memory": makes each
#	  cause on a private server and prints, as Markdown, what is seen of it,
#	  the remedy, and what is seen after that.
#
# explain/explain.py does it, on the tables of demo_schema.sql and
# explain/schema.sql.  Fails if a cause is not seen, or a remedy does not do
# what the chapter says.  What is printed goes into it as it is,
# between the two lines of comment that begin and end it:
#
#	test/explain.sh >chapter.md
#
# private_server.sh says how the server is made, and what PG_MAJOR does.  The
# part about the JIT compiler needs a PostgreSQL that has it.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"

private_prepare
private_installation python3
private_packages python3 || private_die "the script needs Python"
private_say "Building pg_session_memory for PostgreSQL $PG_MAJOR ..."
private_install
private_say "Starting a server with 3,000 partitions on it ..."
private_start explain shared_preload_libraries=pg_session_memory \
	work_mem=64MB jit=off
private_quietly private_psql -f test/demo_schema.sql
private_quietly private_psql -f test/explain/schema.sql
private_say "Making each cause ..."
private_run /usr/bin/python3 test/explain/explain.py
