#!/usr/bin/env bash
#
# other_targets.sh
#	  Compiles for processors and C libraries that nobody here has.
#
#	test/other_targets.sh
#
# aarch64 with glibc, by Debian's cross compiler, and x86_64 with musl, by
# musl-gcc: each file, with the warnings of the server's own flags as errors.
# PostgreSQL's headers are those of this machine, which differ for these targets
# in what no file of ours looks at.  So it says that nothing of the C library
# or the processor is taken for granted, not that it runs: Debian has no
# PostgreSQL that is built with musl.
#
# See private_server.sh for what PG_MAJOR, KEEP and TMPDIR do.  The last line
# is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

compile_all()
{
	local compiler=$1 server flags file status=0

	server=$("$PRIVATE_PG_CONFIG" --includedir-server)
	# Its warnings, without what tells another compiler where its files were.
	flags=$("$PRIVATE_PG_CONFIG" --cflags | tr ' ' '\n' |
		grep -E '^-(W|f(no-strict-aliasing|wrapv|excess-precision=))' |
		grep -v '^-Wp,')
	cd "$PRIVATE_TREE" || return
	for file in src/*.c src/*/*.c; do
		# shellcheck disable=SC2086
		"$compiler" $flags -O2 -Werror -fPIC -D_GNU_SOURCE -Isrc \
			-I "$server" -I "${server%/*/server}/internal" \
			-c -o "$PRIVATE_DIR/object" "$file" || status=1
	done
	return "$status"
}

main()
{
	local compiler packages name

	private_prepare
	private_installation
	while read -r compiler name packages; do
		# shellcheck disable=SC2086
		if ! private_packages $packages; then
			skip "$name" "the packages could not be installed"
		elif (compile_all "$compiler"); then
			pass "$name: compiles without a warning"
		else
			fail "$name: it does not compile"
		fi
	done <<-'END_OF_TARGETS'
		aarch64-linux-gnu-gcc aarch64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross
		musl-gcc musl musl-tools
	END_OF_TARGETS
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"
