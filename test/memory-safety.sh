#!/usr/bin/env bash
#
# memory-safety.sh
#	  The tests with a server and a library that watch their own memory.
#
#	test/memory-safety.sh [regress|tap|stress]...
#
# PostgreSQL and the extension are compiled with AddressSanitizer and
# UndefinedBehaviorSanitizer, from the source of the installed package, and
# then test/check.sh runs these parts with them; all three without an argument.
#
# What is judged is what the sanitizers find, not what the tests say: their
# allocator takes the place of malloc, so that amounts of memory, and what a
# trim gives back, are others.  Tests that fail are listed.
#
# Variables, all optional:
#	PGSM_POSTGRES_SOURCE	an unpacked source tree to use instead of apt's
#	PGSM_SANITIZED_SERVER	prefix of a server that was built so before; it is
#							copied, instead of building one
#	PGSM_STRESS_SECONDS		how long stress takes
#	PG_MAJOR, KEEP, TMPDIR	as in private_server.sh
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/postgres_source.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

pass()
{
	passed=$((passed + 1))
	printf 'ok %s\n' "$*"
}

fail()
{
	failed=$((failed + 1))
	printf 'not ok %s\n' "$*"
}

# Leaks are no findings: a process that ends frees nothing, and need not.  A
# stack that is taken from the heap would end PostgreSQL's own measure of how
# deep it is.
sanitizer_options()
{
	local common="log_path=$PRIVATE_DIR/findings/$1:print_stacktrace=1"

	common+=":disable_coredump=1:abort_on_error=1"
	export ASAN_OPTIONS="$common:detect_leaks=0"
	ASAN_OPTIONS+=":detect_stack_use_after_return=0:verify_asan_link_order=0"
	export UBSAN_OPTIONS="$common"
}

# Whether they find anything at all: a function that reads behind an array.
finds_what_is_there()
{
	local file=$PRIVATE_DIR/wrong.c

	printf '%s\n' 'int main(int argc, char **argv)' \
		'{ int a[4] = {0}; return ((volatile int *) a)[argc + 3]; }' >"$file"
	private_run gcc -g -fsanitize=address "$file" -o "$PRIVATE_DIR/wrong"
	sanitizer_options wrong
	if private_run "$PRIVATE_DIR/wrong" 2>/dev/null; then
		return 1
	fi
	grep -q 'stack-buffer-overflow' "$PRIVATE_DIR"/findings/wrong.*
}

# run_part PART: judges by what is found while it runs
run_part()
{
	local part=$1 log=$PRIVATE_DIR/$1.part tests finding found=

	sanitizer_options "$part"
	"$PRIVATE_SOURCE/test/check.sh" "$part" >"$log" 2>&1 &
	private_wait $! || true
	tests=$(tail -n 1 "$log")
	if [[ ! $tests =~ ^([0-9]+)\ passed || ${BASH_REMATCH[1]} -eq 0 ]]; then
		fail "$part: no test has passed"
		tail -n 60 "$log"
		return
	fi
	printf '# %s: %s\n' "$part" "$tests"
	sed -n 's/^failed: /#   /p' "$log"
	# They also write that they could not start, below a limit of memory that
	# a test has set.
	for finding in $(grep -l -E 'ERROR: AddressSanitizer: |runtime error: ' \
		"$PRIVATE_DIR/findings/$part".* 2>/dev/null); do
		found=yes
		fail "$part: $(grep -h -m 1 -E 'ERROR: |runtime error: ' "$finding")"
		grep -m 12 -E '^ +#' "$finding" || true
	done
	[[ -n $found ]] || pass "$part: nothing found"
}

main()
{
	local parts=("$@") part

	[[ ${#parts[@]} -gt 0 ]] || parts=(regress tap stress)
	for part in "${parts[@]}"; do
		case $part in
			regress | tap | stress) ;;
			*)
				unset -f private_at_exit
				private_say "usage: $0 [regress|tap|stress]..."
				exit 2
				;;
		esac
	done

	private_prepare
	private_choose_major
	private_run mkdir "$PRIVATE_DIR/findings"
	# What is built runs while it is built, and may find something, too.
	sanitizer_options build
	if [[ -n ${PGSM_SANITIZED_SERVER:-} ]]; then
		use_server "$PGSM_SANITIZED_SERVER"
	else
		get_source
		private_packages libipc-run-perl ||
			private_die "PostgreSQL's modules for tests need it"
		private_say "Building PostgreSQL with sanitizers"
		build_server "-fsanitize=address,undefined -fno-sanitize-recover=all \
			-fno-common -fno-omit-frame-pointer" --enable-tap-tests
	fi
	if finds_what_is_there; then
		pass "the sanitizers find what is there"
	else
		fail "the sanitizers find what is there"
	fi
	sanitizer_options extension
	private_install

	# They are slow.
	export PG_TEST_TIMEOUT_DEFAULT=300
	for part in "${parts[@]}"; do
		run_part "$part"
	done
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"; exit
