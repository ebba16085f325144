# shellcheck shell=bash
#
# debian_chroot.sh
#	  Chroots of Debian suites, for scripts that try other Debians than ours.
#
# Source it from a bash script that has set -euo pipefail, as root:
#
#	find_mirror SUITE...			prints where these suites are
#	bootstrap_chroot SUITE DIR URL	makes one; in namespaces
#	mount_layer CHROOT TREE			a layer on top of one; in namespaces
#	export_tree						copy of the project, in $scratch/tree.tar
#	namespaces FUNCTION ARGUMENT..	turns into an exported function
#	run_child COMMAND...			waits for a command, for signals too
#	end_child						to be called by the script's trap on EXIT
#
# Environment:
#	PGSM_CHROOT_DIR					where chroots are kept from run to run,
#									default /var/cache/pg_session_memory
#	PGSM_DEBIAN_MIRROR				default: the one this machine's apt uses

: "${PGSM_CHROOT_DIR:=/var/cache/pg_session_memory}"
export PGSM_CHROOT_DIR

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=
child=

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

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

# bootstrap_chroot SUITE DIRECTORY MIRROR: a minimal system, whose apt reaches
# the mirror as this machine's does
bootstrap_chroot()
{
	local suite=$1 new=$2 mirror=$3
	local include=() script=() proxy=''

	rm -rf --one-file-system "$new"

	# apt's proxy, for debootstrap's wget
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [[ -n $proxy && $proxy != DIRECT ]]; then
		export http_proxy=${http_proxy:-$proxy}
	fi
	[[ $mirror == https:* ]] && include=(--include=ca-certificates)
	# A suite that is younger than this machine's debootstrap is made as sid is
	if [[ ! -e /usr/share/debootstrap/scripts/$suite ]]; then
		script=(/usr/share/debootstrap/scripts/sid)
	fi
	debootstrap --variant=minbase --force-check-gpg "${include[@]}" \
		"$suite" "$new" "$mirror" "${script[@]}"

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

	echo "deb $mirror $suite main" >"$new/etc/apt/sources.list"

	# The image can be built again at any time: no fsync, no documentation
	cat >"$new/etc/dpkg/dpkg.cfg.d/chroot" <<-'END'
		force-unsafe-io
		path-exclude=/usr/share/doc/*
		path-exclude=/usr/share/man/*
		path-exclude=/usr/share/locale/*
	END
}

mount_devices()
{
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	# not the machine's: dynamic shared memory of the servers goes here
	mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
}

# mount_layer CHROOT TREE: a layer in memory on the chroot, with a copy of the
# project in it, as $PGSM_CHROOT_DIR/mnt/root
mount_layer()
{
	local mnt=$PGSM_CHROOT_DIR/mnt
	local root=$mnt/root

	mount -t tmpfs -o mode=755 tmpfs "$mnt"
	mkdir "$mnt/upper" "$mnt/work" "$root"
	mount -t overlay -o "lowerdir=$1" \
		-o "upperdir=$mnt/upper,workdir=$mnt/work" overlay "$root" || {
		echo "overlayfs cannot be mounted here" >&2
		return 1
	}
	mount_devices "$root"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	mkdir "$root/project"
	mount -t tmpfs -o mode=755 tmpfs "$root/project"
	tar -xf "$2" --no-same-owner -C "$root/project"

	# Tests may install packages.  The machine may have moved since the chroot
	# was made.
	cat /etc/hosts >"$root/etc/hosts"
	cat /etc/resolv.conf >"$root/etc/resolv.conf"
}

export -f bootstrap_chroot mount_devices mount_layer

# namespaces FUNCTION ARGUMENT...: turns into one of the above.  It dies with
# the script, and then the namespaces with it.
namespaces()
{
	exec setpriv --pdeathsig KILL \
		unshare --mount --pid --ipc --fork --kill-child \
		bash -c '"$@"; exit $?' bash "$@"
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

# Ends the command that run_child waits for, and removes $scratch.
end_child()
{
	if [[ -n $child ]]; then
		# a process group on the machine, a namespace's keeper else
		kill -TERM -- "-$child" 2>/dev/null ||
			kill -KILL "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	[[ -z $scratch ]] || rm -rf "$scratch"
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

trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
