# shellcheck shell=bash
#
# result_line.sh
#	  The last line of a script that counts its own tests.
#
# Source it after private_server.sh, count in passed, failed and skipped, and
# set completed when all tests were made: without it the end is a failure.

passed=0
failed=0
skipped=0
completed=

# private_server.sh calls this at the end, however the script ends.
private_at_exit()
{
	if [[ -z $completed ]]; then
		printf 'not ok %s: it ended early with status %s\n' \
			"$(basename "$0" .sh)" "$1"
		failed=$((failed + 1))
	fi
	printf '\n%d passed, %d failed' "$passed" "$failed"
	[[ $skipped -eq 0 ]] || printf ', %d skipped' "$skipped"
	printf '\n'
}
