#!/usr/bin/env bash
#
# memory-safety.sh
#	  The tests with a server and a library that watch their own memory.
#
#	test/memory-safety.sh [regress|tap|stress]... [FILE.pl...]
#
# PostgreSQL and the extension are compiled with AddressSanitizer and
# UndefinedBehaviorSanitizer, from the source of the installed package, and
# then test/check.sh runs these parts with them, of the TAP files those that
# are named; all three parts without an argument.
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

# Whether they find anything at all: a program that reads what it has freed, and
# shifts too far.
finds_what_is_there()
{
	local program=$PRIVATE_DIR/wrong log=$PRIVATE_DIR/wrong.log found

	printf '%s\n' '#include <stdlib.h>' 'int main(int argc, char **argv)' '{' \
		'	volatile int *a = calloc(4, sizeof(int));' \
		'	if (argc > 1) return 1 << (argc + 40);' \
		'	free((void *) a);' '	return a[argc];' '}' >"$program.c"
	private_run gcc -g -fsanitize=address,undefined \
		-fno-sanitize-recover=undefined "$program.c" -o "$program"
	sanitizer_options wrong
	touch "$PRIVATE_DIR/begin"
	if private_run "$program" shift 2>"$log" ||
		private_run "$program" 2>>"$log"; then
		return 1
	fi
	found=$(what_is_found wrong)
	[[ $found == *"shift exponent"* && $found == *"heap-use-after-free"* ]]
}

# search_findings PART [OPTION...]: greps for findings in what was written since
# the file begin, with these options.
#
# What AddressSanitizer finds is in a file of its own.  GCC's
# UndefinedBehaviorSanitizer has another library, and when both are there it
# writes to where errors go: to a server's log.  They also write that they could
# not start, below a limit of memory that a test has set.
search_findings()
{
	local part=$1

	shift
	find "$PRIVATE_DIR" -type f -newer "$PRIVATE_DIR/begin" \
		\( -path "$PRIVATE_DIR/findings/$part.*" -o -name '*.log' \
			-o -path "$PRIVATE_DIR/$part.part" \) \
		-not -path "$PRIVATE_DIR/source/*" \
		-exec grep -h "$@" -E 'ERROR: AddressSanitizer: |: runtime error: ' {} +
}

# what_is_found PART: a line for each finding
what_is_found()
{
	search_findings "$1" |
		sed -E 's/^==[0-9]+==//; s/ (on|at) (unknown )?address 0x.*//' | sort -u
}

# run_part PART: judges by what is found while it runs
run_part()
{
	local part=$1 log=$PRIVATE_DIR/$1.part tests finding found='' arguments=()

	sanitizer_options "$part"
	touch "$PRIVATE_DIR/begin"
	if [[ $part == tap && ${#files[@]} -gt 0 ]]; then
		arguments=("${files[@]}")
	elif [[ $part == tap ]]; then
		mapfile -t arguments < <(cd "$PRIVATE_SOURCE/test/t" &&
			grep -LE "process_limit.*=|guard = on" ./*.pl | sed 's,^\./,,')
	fi
	"$PRIVATE_SOURCE/test/check.sh" "$part" "${arguments[@]}" >"$log" 2>&1 &
	private_wait $! || true
	while IFS= read -r finding; do
		found=yes
		fail "$part: $finding"
	done < <(what_is_found "$part")
	if [[ -n $found ]]; then
		search_findings "$part" -m 1 -A 30 |
			grep -E ' error: |ERROR: |^ +#' | head -n 40 || true
	fi
	tests=$(tail -n 1 "$log")
	if [[ ! $tests =~ ^([0-9]+)\ passed || ${BASH_REMATCH[1]} -eq 0 ]]; then
		fail "$part: no test has passed"
		tail -n 60 "$log"
		return
	fi
	printf '# %s: %s\n' "$part" "$tests"
	sed -n 's/^failed: /#   /p' "$log"
	[[ -n $found ]] || pass "$part: nothing found"
}

main()
{
	local parts=() files=() part

	for part in "$@"; do
		case $part in
			regress | tap | stress) parts+=("$part") ;;
			*.pl) files+=("$part") ;;
			*)
				unset -f private_at_exit
				private_say "usage: $0 [regress|tap|stress]... [FILE.pl...]"
				exit 2
				;;
		esac
	done
	if [[ ${#files[@]} -gt 0 && " ${parts[*]} " != *" tap "* ]]; then
		parts+=(tap)
	fi
	[[ ${#parts[@]} -gt 0 ]] || parts=(regress tap stress)

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
		pass "what the sanitizers find is found"
	else
		fail "what the sanitizers find is found"
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
