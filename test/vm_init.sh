#!/bin/bash
#
# vm_init.sh
#	  The first process of the virtual machine that vm.sh boots.
#
# Mounts what a system has, goes through the tests of vm_inside.sh with their
# output on the second serial line, and switches the machine off.  A panic, or
# the end of this script, ends the machine as well.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
ip link set lo up 2>/dev/null
hostname vm
swapon /dev/vdc

# Users have other numbers than where the disk was made.
. /files/environment
mkdir -p "$PRIVATE_DIR"
mount --move /files "$PRIVATE_DIR"
chown -R postgres: "$PRIVATE_DIR"
chmod 755 "$PRIVATE_DIR"

# Nothing but the lines themselves
stty raw </dev/ttyS1
cd "$PRIVATE_TREE" &&
	setsid bash test/vm_inside.sh $parts >/dev/ttyS1 2>/dev/console </dev/null
sync
sleep 1
echo o >/proc/sysrq-trigger
sleep 60
