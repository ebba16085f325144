#!/usr/bin/env bash
#
# vm.sh
#	  A machine on which Linux says no, and which has swap and cgroup v2.
#
#	test/vm.sh [yama|swap|huge_pages|group|oom|guard]...
#
# Ubuntu's default is kernel.yama.ptrace_scope = 1, and no machine that tests
# usually run on has it.  This makes a virtual machine, of the same Debian as
# this one and with its kernel, boots it with QEMU, which needs no support by
# the processor, and runs test/vm_inside.sh in it: PostgreSQL and the extension as
# they were built here, root, and a kernel of its own, whose settings may be
# changed.  All parts without an argument.
#
# The system's disk is made once, with debootstrap, and kept with its kernel in
# PGSM_CHROOT_DIR (default /var/cache/pg_session_memory); nobody writes to it.
# A second disk has the private installation, a third one is swap; both go with
# the work directory, as the machine itself does.  The machine has no network.
#
# Needs root for debootstrap, QEMU and the network for packages; skipped, with
# the reason, where that cannot be had.  PGSM_VM_SECONDS is after how many
# seconds the machine is switched off, 900 by default.  See private_server.sh for what PG_MAJOR, KEEP and TMPDIR do.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail
umask 022

source "$(dirname "${BASH_SOURCE[0]}")/debian_chroot.sh"
source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/result_line.sh"

: "${PGSM_VM_SECONDS:=900}"

eval "$(declare -f private_at_exit | sed '1s/.*/say_result ()/')"
private_at_exit()
{
	end_child
	say_result "$@"
}

# ---------------------------------------------------------------------------
# The system's disk
# ---------------------------------------------------------------------------

# PostgreSQL's own package is there for the libraries that it needs.
packages_of_system()
{
	echo "linux-image-cloud-amd64 initramfs-tools postgresql-$PG_MAJOR perl" \
		"procps kmod"
}

# Changes with everything that decides how the disk comes out
recipe_of_system()
{
	{
		declare -f make_system bootstrap_chroot mount_devices packages_of_system
		echo "$suite"
		packages_of_system
	} | sha256sum | cut -d ' ' -f 1
}

# make_system SUITE MIRROR RECIPE PACKAGES: SUITE's disk, kernel and initial RAM
# disk as files beside each other; in namespaces
make_system()
{
	set -euo pipefail
	local system=$PGSM_CHROOT_DIR/vm-$1
	local new=$system.new

	bootstrap_chroot "$1" "$new" "$2"
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"
	mkdir -p "$new/etc/postgresql-common"
	echo 'create_main_cluster = false' \
		>"$new/etc/postgresql-common/createcluster.conf"
	mount_devices "$new"
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
	chroot "$new" apt-get -q update
	# shellcheck disable=SC2086
	chroot "$new" apt-get -qy -o Dpkg::Use-Pty=0 install $4
	chroot "$new" apt-get clean
	rm -rf "$new"/var/lib/apt/lists/*
	# The first process; all that may change is on the second disk.
	printf '#!/bin/sh\nmkdir -p /files\nmount /dev/vdb /files && exec /files/init\n' \
		>"$new/vm"
	chmod 755 "$new/vm"
	umount -l "$new/dev/shm" "$new/dev" "$new/proc"

	rm -rf "$system" "$system.files"
	mkdir "$system.files"
	cp -L "$new/vmlinuz" "$system.files/vmlinuz"
	cp -L "$new/initrd.img" "$system.files/initrd"
	rm -f "$new"/boot/initrd.img-*
	mke2fs -q -F -t ext4 -O ^has_journal -d "$new" "$system.files/disk" \
		"$(($(du -sm --apparent-size "$new" | cut -f 1) * 5 / 4 + 200))M"
	echo "$3" >"$system.files/.complete"
	rm -rf --one-file-system "$new"
	mv "$system.files" "$system"
}

export -f make_system

# Whether such a machine can be made here at all; sets suite, else why
possible_here()
{
	local id

	why="made for x86_64 only"
	[[ $(uname -m) == x86_64 ]] || return
	why="this machine is no Debian"
	id=$(. /etc/os-release && echo "$ID ${VERSION_CODENAME:-}") || return
	[[ $id == "debian "?* ]] || return
	suite=${id#debian }
	why="only root can make a chroot"
	[[ $EUID -eq 0 ]] || return
	why="it makes a chroot, and this is one: run it on the machine itself"
	! ischroot || return
	why="namespaces cannot be made here"
	(namespaces true) 2>/dev/null || return
}

# need_system: sets system to where the suite's files are.  Where they cannot be
# had, sets why and fails.
need_system()
{
	local mirror lock recipe

	system=$PGSM_CHROOT_DIR/vm-$suite
	recipe=$(recipe_of_system)
	mkdir -p "$PGSM_CHROOT_DIR"
	exec {lock}>"$system.lock"
	flock -x "$lock"
	if [[ $(cat "$system/.complete" 2>/dev/null) != "$recipe" ]]; then
		scratch=$(mktemp -d -p "$PRIVATE_DIR")
		why="this machine's apt knows no Debian mirror with $suite; name one in PGSM_DEBIAN_MIRROR"
		mirror=$(find_mirror "$suite") || return
		private_say "Making the disk of a Debian $suite; this takes some minutes ..."
		why="the disk of a Debian $suite could not be made: see $system.create.log"
		run_child namespaces make_system "$suite" "$mirror" "$recipe" \
			"$(packages_of_system)" >"$system.create.log" 2>&1 || {
			tail -n 20 "$system.create.log" >&2
			return 1
		}
	fi
	flock -s "$lock"
}

# ---------------------------------------------------------------------------
# The machine
# ---------------------------------------------------------------------------

# What vm_init.sh finds on the second disk: what the work directory has been
# made with, which is mounted at the same place there, and how the scripts are to
# find it.
make_work_disk()
{
	local name files=$disks/files

	mkdir -p "$files/home" "$files/tmp"
	# Not what other tests have left.
	tar -C "$PRIVATE_DIR" --exclude=tree/tmp_check --exclude=tree/results \
		-cf - usr tree | tar -C "$files" -xf -
	for name in PG_MAJOR PRIVATE_DIR PRIVATE_TREE PRIVATE_BINDIR \
		PRIVATE_PG_CONFIG PRIVATE_PGXS PRIVATE_INSTALLED; do
		printf 'export %s=%q\n' "$name" "${!name}"
	done >"$files/environment"
	printf 'parts="%s"\n' "${parts[*]}" >>"$files/environment"
	cp -p "$PRIVATE_SOURCE/test/vm_init.sh" "$files/init"
	mke2fs -q -F -t ext4 -O ^has_journal -d "$files" "$disks/files.disk" 3G \
		>/dev/null 2>&1
	truncate -s 512M "$disks/swap"
	mkswap -q "$disks/swap" >/dev/null
}

# Its console goes to a file, its second serial line, which only the tests
# write to, is the output.
run_machine()
{
	exec timeout "$PGSM_VM_SECONDS" qemu-system-x86_64 \
		-machine q35 -cpu max -smp 2 -m 1536 -accel tcg,thread=multi \
		-display none -vga none -nodefaults -no-reboot \
		-kernel "$system/vmlinuz" -initrd "$system/initrd" \
		-append "root=/dev/vda rw init=/vm console=ttyS0 quiet panic=-1" \
		-drive "file=$system/disk,format=raw,if=virtio,snapshot=on" \
		-drive "file=$disks/files.disk,format=raw,if=virtio,cache=unsafe" \
		-drive "file=$disks/swap,format=raw,if=virtio,cache=unsafe" \
		-serial "file:$disks/console" -serial stdio -monitor none
}

skip_all()
{
	skip vm "$*"
	completed=yes
}

main()
{
	local parts=("$@") why suite='' system='' disks output tail status=0

	for why in "$@"; do
		if [[ " yama swap huge_pages group oom guard " != *" $why "* ]]; then
			unset -f private_at_exit
			private_say "usage: $0 [yama|swap|huge_pages|group|oom|guard]..."
			exit 2
		fi
	done
	[[ ${#parts[@]} -gt 0 ]] || parts=(yama swap huge_pages group oom guard)
	private_prepare
	if ! possible_here; then
		skip_all "$why"
		return
	fi
	private_installation qemu-system-x86 debootstrap e2fsprogs
	if ! private_packages qemu-system-x86 debootstrap e2fsprogs; then
		skip_all "QEMU and debootstrap could not be installed"
		return
	fi
	if ! need_system; then
		skip_all "$why"
		return
	fi
	private_install

	# Not in the work directory, a copy of which is on one of them.
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/pgsm-vm.XXXXXX")
	disks=$scratch
	make_work_disk
	output=$PRIVATE_DIR/vm.output
	: >"$output"
	tail -q -n +1 -s 0.2 -f --pid=$$ "$output" &
	tail=$!
	run_child run_machine >"$output" 2>"$disks/qemu.errors" || status=$?
	sleep 0.5
	kill "$tail" 2>/dev/null || true
	wait "$tail" 2>/dev/null || true

	passed=$(grep -c '^ok ' "$output" || true)
	failed=$(grep -c '^not ok ' "$output" || true)
	skipped=$(grep -c '^skip ' "$output" || true)
	if ! grep -qx 'complete' "$output"; then
		printf 'not ok the machine: it ended early, QEMU with status %s\n' "$status"
		failed=$((failed + 1))
		tail -n 40 "$disks/console" "$disks/qemu.errors"
	fi
	completed=yes
	[[ $failed -eq 0 ]]
}

main "$@"
