#!/usr/bin/env bash
#
# build.sh
#	  A package in RPM's format, for one server.
#
#	rpm/build.sh [DIRECTORY]		what `make rpm` runs
#
# Builds pg_session_memory_NN for the server that PG_CONFIG names, pg_config by
# default, of the last commit, and puts it and its source package into
# DIRECTORY, dist by default.  Needs rpmbuild, and no root.

set -euo pipefail
umask 022

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
directory=${1:-dist}
pg_config=$(command -v "${PG_CONFIG:-pg_config}") || {
	echo "error: there is no ${PG_CONFIG:-pg_config}; set PG_CONFIG" >&2
	exit 1
}
for tool in rpmbuild make gcc unzip git; do
	command -v "$tool" >/dev/null || {
		echo "error: there is no $tool" >&2
		exit 1
	}
done

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$work/SOURCES"
make -s -C "$project" dist
cp "$project"/dist/pg_session_memory-*.zip "$work/SOURCES"
# Where packages are another system's, rpm knows of none that is installed.
options=()
[[ -f /etc/debian_version ]] && options+=(--nodeps)
rpmbuild -ba "${options[@]}" --define "_topdir $work" \
	--define "pg_config $pg_config" "$project/rpm/pg_session_memory.spec"
find "$work" -name '*.rpm' -exec mv {} "$directory" \;
printf 'In %s:\n' "$directory"
(cd "$directory" && ls -1 ./*.rpm)
