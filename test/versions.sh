#!/usr/bin/env bash
#
# versions.sh - run the test suite on several PostgreSQL versions
#
#   test/versions.sh [MAJOR...]                 default: 15 17 18 19
#   test/versions.sh --shell MAJOR [-- COMMAND [ARGUMENT...]]
#
# A version that this machine has, or can install, is tested on the machine
# itself.  Any other is tested in a chroot of the Debian suite that has it,
# with a copy of the working tree: HEAD when the tree is clean, else all files
# that git does not ignore.  --shell gives a shell, or runs a command, in such
# a chroot with such a copy as the current directory.
#
# Each use of a chroot has a layer of its own on top, in memory, and its own
# processes and mounts.  So files and packages that one run installs are not
# seen by another, and nothing outlives a run, however it ends.  It also means
# that what --shell changes is gone afterwards.  The network is the machine's.
#
# Environment:
#   PGSM_CHROOT_DIR           where chroots are kept from run to run,
#                             default /var/cache/pg_session_memory.  They are
#                             rebuilt when broken or when the recipe below has
#                             changed; remove one to get newer packages.
#   PGSM_DEBIAN_MIRROR        default: the one this machine's apt uses
#   PGSM_VERSIONS_ONLY_BUILD  1: compile with -Werror instead of testing
#
# Variables named PGSM_* are handed on to test/check.sh in a chroot too.  CI is
# not: it makes a missing package a failure, and not every suite has them all.
# Needs root, debootstrap, namespaces and overlayfs for the chroots.  Where one
# can't be had, a version that was named is an error; without an argument it is
# skipped, and the reason printed.

set -euo pipefail
umask 022

: "${PGSM_VERSIONS_ONLY_BUILD:=0}"
export PGSM_VERSIONS_ONLY_BUILD

default_majors=(15 17 18 19)
running=						# tests, whose results are not said yet
preparing=						# the process that makes chroots

source "$(dirname "${BASH_SOURCE[0]}")/debian_chroot.sh"

# ---------------------------------------------------------------------------
# What a chroot is made of
# ---------------------------------------------------------------------------

# The suites that have a version, the best first: a suite, or SUITE/BASE for one
# that is no whole distribution and comes on top of another.  sid is not
# installable at all times.
suites_of()
{
	case $1 in
		17) echo trixie ;;
		18) echo forky sid ;;
		19) echo experimental/sid experimental/forky ;;
		*) return 1 ;;
	esac
}

packages_of()
{
	echo "postgresql-$1 postgresql-server-dev-$1 gcc libc6-dev make" \
		"libipc-run-perl pgbouncer python3-psycopg2 procps"
}

# Where a suite has one of these, tests need not install it at each run: those
# of clients say in their docstrings what they need.
optional_packages_of()
{
	echo "cppcheck sqlsmith $client_packages" | sed "s/MAJOR/$1/g"
}

client_packages=$("$project/test/clients/run" --packages | tr '\n' ' ')
export client_packages

# Changes with everything that decides how a chroot comes out
recipe_of()
{
	{
		declare -f create_chroot bootstrap_chroot mount_devices
		echo "$1 $(suites_of "$1")"
		packages_of "$1"
		optional_packages_of "$1"
	} | sha256sum | cut -d ' ' -f 1
}

# ---------------------------------------------------------------------------
# Inside the namespaces.  These run as process 1 of their own pid namespace:
# all processes started from here, and all mounts, go when it goes.
# ---------------------------------------------------------------------------

# create_chroot MAJOR SUITE BASE MIRROR RECIPE: BASE is empty for a suite that
# needs none
create_chroot()
{
	set -euo pipefail
	local major=$1 suite=$2 base=$3 mirror=$4 recipe=$5
	local root=$PGSM_CHROOT_DIR/$major
	local new=$root.new
	local wanted=() package

	bootstrap_chroot "${base:-$suite}" "$new" "$mirror"
	if [[ -n $base ]]; then
		echo "deb $mirror $suite main" >>"$new/etc/apt/sources.list"
		# only PostgreSQL is to come from there
		cat >"$new/etc/apt/preferences.d/postgresql" <<-END
			Package: src:postgresql-$major
			Pin: release a=$suite
			Pin-Priority: 990
		END
	fi

	# Packages must not start a server, nor make a cluster
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"
	mkdir -p "$new/etc/postgresql-common"
	echo 'create_main_cluster = false' \
		>"$new/etc/postgresql-common/createcluster.conf"

	mount_devices "$new"
	export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 LC_ALL=C.UTF-8
	chroot "$new" apt-get -q update
	for package in $(optional_packages_of "$major"); do
		if chroot "$new" apt-get -qs install "$package" >/dev/null 2>&1; then
			wanted+=("$package")
		fi
	done
	# shellcheck disable=SC2046
	chroot "$new" apt-get -qy -o Dpkg::Options::=--force-confold \
		-o Dpkg::Use-Pty=0 install $(packages_of "$major") "${wanted[@]}"
	chroot "$new" apt-get clean
	rm -rf "$new"/var/lib/apt/lists/*

	echo "$suite${base:+, on top of $base}" >"$new/.suite"
	# Written last: without it the chroot is not complete
	echo "$recipe" >"$new/.complete"
	rm -rf --one-file-system "$root"
	mv "$new" "$root"
}

# use_chroot MAJOR TREE LOGS COMMAND...: run a command in a copy of the project,
# and when it fails, keep its logs in directory LOGS ('': do not)
use_chroot()
{
	set -euo pipefail
	local major=$1 tree=$2 logs=$3
	local root=$PGSM_CHROOT_DIR/mnt/root
	local environment=() name status=0
	shift 3

	mount_layer "$PGSM_CHROOT_DIR/$major" "$tree"

	for name in $(compgen -e PGSM_); do
		environment+=("$name=${!name}")
	done
	# where this machine has npm get its packages from
	if command -v npm >/dev/null; then
		environment+=("npm_config_registry=$(npm config get registry 2>/dev/null)")
		name=$(npm config get cafile 2>/dev/null)
		if [[ -f $name ]]; then
			cp "$name" "$root/etc/npm.crt"
			environment+=("npm_config_cafile=/etc/npm.crt")
		fi
	fi
	chroot "$root" /usr/bin/env -i -C /project \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
		PG_MAJOR="$major" KEEP=1 "${environment[@]}" "$@" || status=$?

	# What explains a failure would go with the layer.  KEEP is for this: the
	# tests' own work directory is still there.
	if ((status != 0)) && [[ -n $logs ]]; then
		mkdir -p "$logs"
		(cd "$root" && find project tmp -type f \( -name '*.log' \
			-o -name '*.diffs' -o -name 'regress_log_*' \
			-o -path '*/results/*' \) -print0 |
			tar --null -cf - -T -) | tar -xf - -C "$logs" || true
		rmdir --ignore-fail-on-non-empty "$logs"
	fi
	return "$status"
}

export -f packages_of optional_packages_of \
	create_chroot use_chroot

# ---------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------

cleanup()
{
	local status=$?

	trap - EXIT
	# Its namespaces die with it.
	[[ -z $preparing ]] || kill "$preparing" 2>/dev/null || true
	end_child
	if [[ -n $running ]]; then
		summary+=("PostgreSQL $running: ended early with status $status")
		total_failed=$((total_failed + 1))
		say_results
	fi
}

# Whether this machine has the version, or gets it when check.sh asks for it
available_here()
{
	[[ -x /usr/lib/postgresql/$1/bin/postgres &&
		-f /usr/include/postgresql/$1/server/postgres.h ]] ||
		LC_ALL=C apt-cache policy "postgresql-server-dev-$1" 2>/dev/null |
		grep -qE '^ *Candidate: [0-9]'
}

healthy()
{
	local root=$PGSM_CHROOT_DIR/$1

	[[ $(cat "$root/.complete" 2>/dev/null) == "$(recipe_of "$1")" ]] &&
		chroot "$root" "/usr/lib/postgresql/$1/bin/postgres" --version \
			2>/dev/null | grep -qE "^postgres \(PostgreSQL\) $1([^0-9]|$)"
}

# Why need_chroot could not make one
reason=

# Leaves a shared lock on the chroot, so that nobody rebuilds it under us.
# Once for each version and process: a second call would wait for the lock of
# the first.
# Where this machine cannot have such a chroot, sets reason and fails.
need_chroot()
{
	local major=$1
	local suites tool lock status=0

	reason="no Debian suite that this script knows has PostgreSQL $major"
	suites=$(suites_of "$major") || return
	reason="PostgreSQL $major needs a chroot, and that needs root"
	((EUID == 0)) || return
	for tool in debootstrap unshare setpriv flock; do
		reason="PostgreSQL $major needs a chroot, and that needs $tool"
		command -v "$tool" >/dev/null || return
	done
	reason="PostgreSQL $major needs a chroot, and namespaces cannot be made here"
	(namespaces true) 2>/dev/null || return

	mkdir -p "$PGSM_CHROOT_DIR/mnt"
	exec {lock}>"$PGSM_CHROOT_DIR/$major.lock"
	flock -s "$lock"
	healthy "$major" && return

	flock -x "$lock"
	healthy "$major" || make_chroot "$major" "$suites" || status=$?
	# Nobody has to wait for a chroot that cannot be made.
	if ((status == 0)); then flock -s "$lock"; else flock -u "$lock"; fi
	return "$status"
}

# make_chroot MAJOR SUITES: of the first of these that it can be made of
make_chroot()
{
	local major=$1 candidate suite base mirror started=$SECONDS
	local log=$PGSM_CHROOT_DIR/$major.create.log

	reason=
	for candidate in $2; do
		suite=${candidate%/*}
		base=${candidate#"$suite"}
		base=${base#/}
		if ! mirror=$(find_mirror "$suite" ${base:+"$base"}); then
			reason+="${reason:+; }this machine's apt knows no Debian mirror with $candidate, name one in PGSM_DEBIAN_MIRROR"
			continue
		fi
		say "PostgreSQL $major: making a chroot of Debian $candidate"
		if run_child namespaces create_chroot "$major" "$suite" "$base" \
			"$mirror" "$(recipe_of "$major")" >"$log" 2>&1 &&
			healthy "$major"; then
			say "PostgreSQL $major: chroot made in $((SECONDS - started)) s"
			return 0
		fi
		tail -n 20 "$log" >&2
		cp "$log" "${log%.log}.${candidate//\//-}.log"
		reason+="${reason:+; }PostgreSQL $major of Debian $candidate cannot be installed on $(uname -m), all of the output is in ${log%.log}.${candidate//\//-}.log"
	done
	return 1
}

only_build()
{
	[[ $PGSM_VERSIONS_ONLY_BUILD == 1 ]]
}

# The command to run for a version, in array `command`
command_for()
{
	if only_build; then
		command=(make clean all COPT=-Werror
			"PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config")
	else
		command=(test/check.sh)
	fi
}

# On the machine itself.  A build goes to a copy: objects of somebody's own
# build, perhaps of another version, are in the tree.
run_here()
{
	local major=$1 dir=$project

	if only_build; then
		dir=$scratch/build-$major
		mkdir "$dir"
		tar -xf "$scratch/tree.tar" -C "$dir"
	fi
	cd "$dir" || exit
	# its own process group, for an interrupt to reach all of it
	PG_MAJOR=$major exec setsid "${command[@]}"
}

# run_version MAJOR: sets passed, failed, skipped
run_version()
{
	local major=$1
	local output=$scratch/output-$major logs=$PGSM_CHROOT_DIR/$major.logs
	local command=() out tee_pid line status=0

	command_for "$major"
	exec {out}> >(exec tee "$output")
	tee_pid=$!
	if available_here "$major"; then
		say "PostgreSQL $major on this machine"
		run_child run_here "$major" >&"$out" 2>&1 || status=$?
	else
		rm -rf "$logs"
		say "PostgreSQL $major in a chroot of Debian $(<"$PGSM_CHROOT_DIR/$major/.suite")"
		run_child namespaces use_chroot "$major" "$scratch/tree.tar" \
			"$logs" "${command[@]}" >&"$out" 2>&1 || status=$?
	fi
	exec {out}>&-
	wait "$tee_pid" || true

	passed=0 failed=0 skipped=0
	if only_build; then
		((status == 0)) && passed=1 || failed=1
		return
	fi
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' \
		"$output" | tail -n 1) || true
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
		passed=${BASH_REMATCH[1]}
		failed=${BASH_REMATCH[2]}
		skipped=${BASH_REMATCH[4]:-0}
	fi
	# A suite that ended early must not pass for one that found nothing
	if [[ -z $line ]] || ((status != 0 && failed == 0)); then
		say "PostgreSQL $major: test/check.sh ended with status $status and ${line:-no result line}"
		failed=$((failed + 1))
	fi
	if ! available_here "$major" && [[ -d $logs ]]; then
		say "PostgreSQL $major: what it left in logs is in $logs"
	fi
}

result_line()
{
	printf '%d passed, %d failed' "$1" "$2"
	(($3 == 0)) || printf ', %d skipped' "$3"
	printf '\n'
}

# Of all versions
summary=()
total_passed=0
total_failed=0
total_skipped=0

say_results()
{
	printf '\n'
	printf '%s\n' "${summary[@]}"
	result_line "$total_passed" "$total_failed" "$total_skipped"
}

# Makes the chroots of these versions; where one cannot be had, says why in a
# file $scratch/missing-MAJOR.
prepare_chroots()
{
	local major

	for major in "$@"; do
		need_chroot "$major" || echo "$reason" >"$scratch/missing-$major"
	done
}

# Waits for them.
prepared()
{
	[[ -n $preparing ]] || return 0
	wait "$preparing" || true
	preparing=
}

# One of them, as need_chroot; what could not be made is not tried again.
prepared_chroot()
{
	prepared
	if [[ -f $scratch/missing-$1 ]]; then
		reason=$(<"$scratch/missing-$1")
		return 1
	fi
	need_chroot "$1"
}

main()
{
	local major
	local chroots=()
	local passed failed skipped

	for major in "$@"; do
		[[ $major =~ ^[1-9][0-9]$ ]] || die "\"$major\" is not a major version"
		available_here "$major" || chroots+=("$major")
	done

	export_tree
	# Minutes each, which the tests on this machine need not wait for
	prepare_chroots "${chroots[@]}" &
	preparing=$!
	# What was named is wanted: that is said before any test, which may take long.
	[[ $named == no ]] || prepared
	for major in "$@"; do
		running=$major
		if [[ " ${chroots[*]} " == *" $major "* ]] &&
			! prepared_chroot "$major"; then
			running=
			[[ $named == no ]] || die "$reason"
			summary+=("skip PostgreSQL $major: $reason")
			total_skipped=$((total_skipped + 1))
			continue
		fi
		run_version "$major"
		running=
		# Chromium and a virtual machine take minutes, and show the same with
		# each version.
		export PGSM_SEEN_WITH=${PGSM_SEEN_WITH:-$major}
		summary+=("PostgreSQL $major: $(result_line "$passed" "$failed" "$skipped")")
		total_passed=$((total_passed + passed))
		total_failed=$((total_failed + failed))
		total_skipped=$((total_skipped + skipped))
	done

	say_results
	((total_failed == 0))
}

shell()
{
	local major=${1:-} status=0

	[[ $major =~ ^[1-9][0-9]$ ]] || die "--shell wants a major version"
	shift
	[[ ${1:-} != -- ]] || shift
	(($# > 0)) || set -- bash

	need_chroot "$major" || die "$reason"
	export_tree
	# in the foreground: it may be a person's terminal
	(namespaces use_chroot "$major" "$scratch/tree.tar" '' "$@") || status=$?
	return "$status"
}

trap cleanup EXIT
scratch=$(mktemp -d)

case ${1:-} in
	-h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
	--shell) shift && shell "$@" ;;
	-*) die "unknown option $1; see test/versions.sh --help" ;;
	'') named=no main "${default_majors[@]}" ;;
	*) named=yes main "$@" ;;
esac
