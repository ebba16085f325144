#!/usr/bin/env bash
#
# report.sh
#	  One HTML page about the memory of a PostgreSQL server, to read and to send.
#
#	report.sh [-o FILE] [--history INTERVAL] [--details N] [--title TITLE]
#	          [-h HOST] [-p PORT] [-U USER] [-d DATABASE]
#
# Needs psql, and in the database the extension pg_session_memory; the server
# may be a standby.  What the role may not see is not on the page: superusers and
# roles in pg_monitor see all.  --help tells more.

set -euo pipefail

usage()
{
	cat <<'END'
Writes a page about the memory of a PostgreSQL server into an HTML file.

Usage: report.sh [OPTION]...

  -o, --output FILE        file to write, - for standard output
                           (default: session_memory.html)
      --history INTERVAL   how much of the recorder's history (default: 1 day)
      --details N          sessions shown with all their contexts (default: 10)
      --title TITLE        heading of the page
      --help               this text

Where the server is, as for psql; also by PGHOST, PGSERVICE and the like:

  -h, --host HOST          -p, --port PORT
  -U, --username USER      -d, --dbname DATABASE, or a connection string

The database must have the extension pg_session_memory.
END
}

fail()
{
	printf 'report.sh: %s\n' "$*" >&2
	exit 1
}

output=session_memory.html
history='1 day'
details=10
title=
connection=()

while [[ $# -gt 0 ]]; do
	option=$1
	case $option in
		--help)
			usage
			exit 0
			;;
		--?*=*)
			set -- "${option%%=*}" "${option#*=}" "${@:2}"
			continue
			;;
		-o | --output | --history | --details | --title | -h | --host | -p | \
			--port | -U | --username | -d | --dbname)
			[[ $# -ge 2 ]] || fail "option $option needs a value"
			;;
		*)
			fail "unknown option \"$option\"; try report.sh --help"
			;;
	esac
	case $option in
		-o | --output) output=$2 ;;
		--history) history=$2 ;;
		--details) details=$2 ;;
		--title) title=$2 ;;
		*) connection+=("$option" "$2") ;;
	esac
	shift 2
done
[[ $details =~ ^[0-9]{1,6}$ ]] || fail "--details wants a number, not \"$details\""
command -v psql >/dev/null || fail "psql is not in PATH"

# Without the user's own psqlrc, and whatever PGOPTIONS says of search_path.
ask()
{
	psql -X -A -t -q -v ON_ERROR_STOP=1 "${connection[@]}" "$@"
}

place=$(ask -c "SELECT pg_catalog.quote_ident(n.nspname)
	FROM pg_catalog.pg_extension e
	JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'pg_session_memory'") ||
	fail "could not ask the server"
[[ -n $place ]] || fail "the database has no extension pg_session_memory;" \
	"name another one with -d, or run CREATE EXTENSION pg_session_memory there"

# Not into the file before it is whole.
page=$(mktemp) || fail "could not make a temporary file"
trap 'rm -f "$page"' EXIT
ask -v place="$place" -v history="$history" -v details="$details" \
	-v title="$title" >"$page" <<'END' || fail "could not make the report"
SELECT :place.pg_session_memory_report(
	:'history', :details, nullif(:'title', ''));
END
[[ $(tail -n 1 "$page") == *'</html>' ]] || fail "the report is not complete"

if [[ $output == - ]]; then
	cat "$page"
else
	{ cat "$page" >"$output"; } 2>/dev/null || fail "could not write \"$output\""
	printf 'The report is in %s (%s bytes).\n' "$output" \
		"$(wc -c <"$output" | tr -d ' ')" >&2
fi
