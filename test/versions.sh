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

: "${PGSM_CHROOT_DIR:=/var/cache/pg_session_memory}"
: "${PGSM_VERSIONS_ONLY_BUILD:=0}"
export PGSM_CHROOT_DIR PGSM_VERSIONS_ONLY_BUILD

default_majors=(15 17 18 19)
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=
child=
running=						# tests, whose results are not said yet

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'versions.sh: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------------------
# What a chroot is made of
# ---------------------------------------------------------------------------

suite_of()
{
	case $1 in
		17) echo trixie ;;
		18) echo sid ;;
		19) echo experimental ;;
		*) return 1 ;;
	esac
}

# experimental is not a whole distribution, it comes on top of sid
base_suite_of()
{
	local suite
	suite=$(suite_of "$1")
	[[ $suite == experimental ]] && suite=sid
	echo "$suite"
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

client_packages=$(
	for file in "$project"/test/clients/*.py; do
		tr '\n' ' ' <"$file" |
			sed -nE 's/.*Debian packages: ([^.]*)\..*/\1/p'
		echo
	done | tr -s ', ' '\n' | sort -u | tr '\n' ' ')
export client_packages

# Changes with everything that decides how a chroot comes out
recipe_of()
{
	{
		declare -f create_chroot mount_devices
		echo "$1 $(suite_of "$1") $(base_suite_of "$1")"
		packages_of "$1"
		optional_packages_of "$1"
	} | sha256sum | cut -d ' ' -f 1
}

# The first repository this machine's apt knows that is Debian's and has the
# suites asked for.  Asking apt instead of parsing its files covers every form
# that they can have, and its proxy settings.
find_mirror()
{
	local uri suite

	if [[ -n ${PGSM_DEBIAN_MIRROR:-} ]]; then
		echo "${PGSM_DEBIAN_MIRROR%/}"
		return
	fi

	while read -r uri; do
		for suite in "$@"; do
			: >"$scratch/InRelease"
			/usr/lib/apt/apt-helper -qq download-file \
				"$uri/dists/$suite/InRelease" "$scratch/InRelease" \
				>/dev/null 2>&1 || true
			grep -qx 'Origin: Debian' "$scratch/InRelease" || continue 2
		done
		echo "$uri"
		return
	done < <(apt-get --print-uris update 2>/dev/null |
		sed -nE "s#^'(https?://[^']+)/dists/.*#\1#p" | awk '!seen[$0]++')
	return 1
}

# ---------------------------------------------------------------------------
# Inside the namespaces.  These run as process 1 of their own pid namespace:
# all processes started from here, and all mounts, go when it goes.
# ---------------------------------------------------------------------------

mount_devices()
{
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	# not the machine's: dynamic shared memory of the servers goes here
	mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
}

# create_chroot MAJOR SUITE BASE_SUITE MIRROR RECIPE
create_chroot()
{
	set -euo pipefail
	local major=$1 suite=$2 base=$3 mirror=$4 recipe=$5
	local root=$PGSM_CHROOT_DIR/$major
	local new=$root.new
	local include=() wanted=() proxy='' package

	rm -rf --one-file-system "$new"

	# apt's proxy, for debootstrap's wget
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [[ -n $proxy && $proxy != DIRECT ]]; then
		export http_proxy=${http_proxy:-$proxy}
	fi
	[[ $mirror == https:* ]] && include=(--include=ca-certificates)
	debootstrap --variant=minbase --force-check-gpg "${include[@]}" \
		"$base" "$new" "$mirror"

	# How this machine reaches the mirror, for apt in the chroot
	apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries|ForceIPv)' \
		>"$new/etc/apt/apt.conf.d/90machine" || true
	cat >"$new/etc/apt/apt.conf.d/91chroot" <<-'END'
		Acquire::Check-Valid-Until "false";
		Acquire::Languages "none";
		APT::Install-Recommends "false";
	END
	cp /etc/hosts "$new/etc/hosts"
	if [[ $mirror == https:* && -f /etc/ssl/certs/ca-certificates.crt ]]; then
		cp /etc/ssl/certs/ca-certificates.crt "$new/etc/ssl/certs/"
	fi

	echo "deb $mirror $base main" >"$new/etc/apt/sources.list"
	if [[ $suite != "$base" ]]; then
		echo "deb $mirror $suite main" >>"$new/etc/apt/sources.list"
		# only PostgreSQL is to come from there
		cat >"$new/etc/apt/preferences.d/postgresql" <<-END
			Package: src:postgresql-$major
			Pin: release a=$suite
			Pin-Priority: 990
		END
	fi

	# The image can be built again at any time: no fsync, no documentation
	cat >"$new/etc/dpkg/dpkg.cfg.d/chroot" <<-'END'
		force-unsafe-io
		path-exclude=/usr/share/doc/*
		path-exclude=/usr/share/man/*
		path-exclude=/usr/share/locale/*
	END

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
	local mnt=$PGSM_CHROOT_DIR/mnt
	local root=$mnt/root
	local environment=() name status=0
	shift 3

	mount -t tmpfs -o mode=755 tmpfs "$mnt"
	mkdir "$mnt/upper" "$mnt/work" "$root"
	mount -t overlay -o "lowerdir=$PGSM_CHROOT_DIR/$major" \
		-o "upperdir=$mnt/upper,workdir=$mnt/work" overlay "$root" || {
		echo "versions.sh: overlayfs cannot be mounted here" >&2
		return 1
	}
	mount_devices "$root"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	mkdir "$root/project"
	mount -t tmpfs -o mode=755 tmpfs "$root/project"
	tar -xf "$tree" --no-same-owner -C "$root/project"

	# Tests may install packages.  The machine may have moved since the chroot
	# was made.
	cat /etc/hosts >"$root/etc/hosts"
	cat /etc/resolv.conf >"$root/etc/resolv.conf"

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

export -f suite_of base_suite_of packages_of optional_packages_of \
	mount_devices create_chroot use_chroot

# namespaces FUNCTION ARGUMENT...: turns into one of the above.  It dies with
# the script, and then the namespaces with it.
namespaces()
{
	exec setpriv --pdeathsig KILL \
		unshare --mount --pid --ipc --fork --kill-child \
		bash -c '"$@"; exit $?' bash "$@"
}

# ---------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------

cleanup()
{
	local status=$?

	trap - EXIT
	if [[ -n $child ]]; then
		# a process group on the machine, a namespace's keeper else
		kill -TERM -- "-$child" 2>/dev/null ||
			kill -KILL "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	[[ -z $scratch ]] || rm -rf "$scratch"
	if [[ -n $running ]]; then
		summary+=("PostgreSQL $running: ended early with status $status")
		total_failed=$((total_failed + 1))
		say_results
	fi
}

# In the background, because only `wait` is interrupted by a signal at once
run_child()
{
	local status=0

	"$@" </dev/null &
	child=$!
	wait "$child" || status=$?
	child=
	return "$status"
}

# Whether this machine has the version, or gets it when check.sh asks for it
available_here()
{
	[[ -x /usr/lib/postgresql/$1/bin/postgres &&
		-x /usr/lib/postgresql/$1/bin/pg_config ]] ||
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
# Once for each version: a second call would wait for the lock of the first.
# Where this machine cannot have such a chroot, sets reason and fails.
need_chroot()
{
	local major=$1
	local suite base mirror lock tool started=$SECONDS

	reason="no Debian suite that this script knows has PostgreSQL $major"
	suite=$(suite_of "$major") || return
	base=$(base_suite_of "$major")
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
	if ! healthy "$major"; then
		reason="this machine's apt knows no Debian mirror with $suite; name one in PGSM_DEBIAN_MIRROR"
		# shellcheck disable=SC2046
		mirror=$(find_mirror $(printf '%s\n' "$base" "$suite" | uniq)) || return
		say "PostgreSQL $major: making a chroot of Debian $suite"
		reason="cannot make a chroot of Debian $suite with PostgreSQL $major on $(uname -m); all of the output is in $PGSM_CHROOT_DIR/$major.create.log"
		run_child namespaces create_chroot "$major" "$suite" "$base" \
			"$mirror" "$(recipe_of "$major")" \
			>"$PGSM_CHROOT_DIR/$major.create.log" 2>&1 || {
			tail -n 20 "$PGSM_CHROOT_DIR/$major.create.log" >&2
			return 1
		}
		reason="the new chroot for PostgreSQL $major does not work"
		healthy "$major" || return
		say "PostgreSQL $major: chroot made in $((SECONDS - started)) s"
	fi
	flock -s "$lock"
}

# One copy for all versions, whatever is edited while they run
export_tree()
{
	# root may well test a tree that belongs to someone else
	local git=(git -C "$project" -c "safe.directory=$project")

	if [[ -z $("${git[@]}" status --porcelain) ]]; then
		"${git[@]}" archive HEAD
	else
		"${git[@]}" ls-files -z -co --exclude-standard |
			(cd "$project" && while IFS= read -r -d '' file; do
				# tracked, but removed
				[[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"
			done) |
			tar -C "$project" --null --no-recursion -cf - -T -
	fi >"$scratch/tree.tar"
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
		say "PostgreSQL $major in a chroot of Debian $(suite_of "$major")"
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

main()
{
	local major
	local passed failed skipped
	local -A missing=()

	for major in "$@"; do
		[[ $major =~ ^[1-9][0-9]$ ]] || die "\"$major\" is not a major version"
		# all of them before the first test, which may take long
		running=$major
		available_here "$major" || need_chroot "$major" ||
			missing[$major]=$reason
		running=
	done

	export_tree
	for major in "$@"; do
		if [[ -n ${missing[$major]:-} ]]; then
			# What was named is wanted; by itself this does what it can here.
			[[ $named == no ]] || die "${missing[$major]}"
			summary+=("skip PostgreSQL $major: ${missing[$major]}")
			total_skipped=$((total_skipped + 1))
			continue
		fi
		running=$major
		run_version "$major"
		running=
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
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
scratch=$(mktemp -d)

case ${1:-} in
	-h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
	--shell) shift && shell "$@" ;;
	-*) die "unknown option $1; see test/versions.sh --help" ;;
	'') named=no main "${default_majors[@]}" ;;
	*) named=yes main "$@" ;;
esac
