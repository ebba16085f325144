# shellcheck shell=bash
#
# source_list.sh
#	  The files of a checkout that belong to the project.
#
# Source it from a bash script.
#
#	list_source DIRECTORY	separated by zero bytes, relative to it: what git
#							knows, and what it would offer to add; everything in
#							a tarball

list_source()
(
	git=(env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE
		git -c safe.directory='*' -C "$1")

	cd "$1" || exit
	if [[ $("${git[@]}" rev-parse --show-toplevel 2>/dev/null) == "$PWD" ]]; then
		"${git[@]}" ls-files -coz --exclude-standard
	else
		find . -name .git -prune -o -type f -print0
	fi |
		# A file that git knows may have been removed; and objects of another
		# build must not be taken for ours.
		while IFS= read -r -d '' file; do
			if [[ -f $file && $file != *.@(o|so|bc) ]]; then
				printf '%s\0' "$file"
			fi
		done
)
