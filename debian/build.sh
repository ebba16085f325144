#!/usr/bin/env bash
#
# build.sh
#	  Packages for Debian, of every version of PostgreSQL that is installed.
#
#	debian/build.sh [DIRECTORY]		what `make deb` runs
#
# Builds postgresql-NN-pg-session-memory for each NN whose
# postgresql-server-dev-NN is installed, in a copy of the sources, and puts the
# packages into DIRECTORY, dist by default.  Needs no root.  Built twice of the
# same sources, on the same Debian, they are the same.

set -euo pipefail
umask 022

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$project/test/source_list.sh"
directory=${1:-dist}

missing=()
for package in build-essential debhelper postgresql-server-dev-all; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
		missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
	printf 'error: packages are missing. As root, run: apt-get install %s\n' \
		"${missing[*]}" >&2
	exit 1
fi
versions=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
	'postgresql-server-dev-[1-9]*' |
	sed -n 's/^installed postgresql-server-dev-//p' | sort -V)

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

version=$(sed -n '1s/.*(\(.*\)-[^-]*).*/\1/p' "$project/debian/changelog")
source=$work/pg-session-memory-$version
mkdir "$source"
list_source "$project" |
	tar -C "$project" --null --no-recursion -T - -cf - |
	tar -C "$source" -xf -
cd "$source"
export PG_SUPPORTED_VERSIONS=$versions
pg_buildext updatecontrol
# The tests want servers of all versions; test/packages.sh has them.
DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" DEB_BUILD_PROFILES=nocheck \
	dpkg-buildpackage -b -us -uc
mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$directory"
printf 'In %s:\n' "$directory"
(cd "$directory" && ls -1 ./*.deb)
