# shellcheck shell=bash
#
# result_line.sh
#	  Counts the tests of a script, and ends it with a line that says how many.
#
# Source it after private_server.sh.
#
#	pass NAME				the lines "ok NAME", "not ok NAME: WHY" and
#	fail NAME: WHY			"skip NAME: REASON"
#	skip NAME REASON
#	is NAME GOT EXPECTED	one of the first two
#	answer QUERY			what the server in use says, in one line
#	heading TEXT
#
# Set completed when all tests were made: without it the end is a failure.
# What has to go before the last line can be done by a function
# before_result_line, which gets the status of the script.

passed=0
failed=0
skipped=0
failures=()
completed=

pass()
{
	passed=$((passed + 1))
	printf 'ok %s\n' "$*"
}

fail()
{
	failed=$((failed + 1))
	failures+=("$*")
	printf 'not ok %s\n' "$*"
}

skip()
{
	skipped=$((skipped + 1))
	printf 'skip %s: %s\n' "$1" "$2"
}

is()
{
	if [[ $2 == "$3" ]]; then
		pass "$1"
	else
		fail "$1: got \"$2\", expected \"$3\""
	fi
}

answer()
{
	private_psql -A -t -c "$1" | tr '\n' ' ' | sed 's/ $//'
}

heading()
{
	printf '\n=== %s\n' "$*"
}

# private_server.sh calls this at the end, however the script ends.
private_at_exit()
{
	local failure

	if declare -F before_result_line >/dev/null; then
		before_result_line "$1"
	fi
	# What has been printed so far must not pass for a result.
	[[ -n $completed ]] ||
		fail "$(basename "$0" .sh): it ended early with status $1"
	printf '\n'
	for failure in "${failures[@]}"; do
		printf 'failed: %s\n' "$failure"
	done
	printf '%d passed, %d failed' "$passed" "$failed"
	[[ $skipped -eq 0 ]] || printf ', %d skipped' "$skipped"
	printf '\n'
}
