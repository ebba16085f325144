#!/usr/bin/python3
"""earlyoom, for a control group instead of the whole machine.

earlyoom.py GROUP [ARGUMENT...]

earlyoom reads /proc/meminfo and what /proc has of each process, and ends the
largest one.  Here /proc, in a mount namespace of our own, which unshare(1) has
made, has only the group's processes, and a meminfo with the group's limit as
all memory there is.  It writes that anew every 10 ms, ten times as often as
earlyoom looks.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

VERSION_1 = ("memory.limit_in_bytes", ("total_rss", "total_shmem"))
VERSION_2 = ("memory.max", ("anon", "shmem"))
PAUSE = 0.01


class Group:
    """What there is in the group"""

    def __init__(self, path):
        self.path = path
        name, self.names = VERSION_1 if os.path.exists(
            f"{path}/{VERSION_1[0]}") else VERSION_2
        self.limit_kb = int(self.read(name)) // 1024

    def read(self, name):
        with open(f"{self.path}/{name}", encoding="ascii") as file:
            return file.read()

    def available_kb(self):
        """The page cache is available."""
        now = dict(line.split() for line in
                   self.read("memory.stat").splitlines())
        return max(0, self.limit_kb - sum(int(now.get(name, 0))
                                          for name in self.names) // 1024)

    def pids(self):
        return set(self.read("cgroup.procs").split())


def write_meminfo(file, group):
    """Always as long, so that nobody reads half of it"""
    available = group.available_kb()
    figures = {"MemTotal": group.limit_kb, "MemFree": available,
               "MemAvailable": available, "Buffers": 0, "Cached": 0,
               "SwapTotal": 0, "SwapFree": 0,
               "AnonPages": group.limit_kb - available}
    os.pwrite(file, "".join(f"{name + ':':16}{kb:8} kB\n" for name, kb in
                            figures.items()).encode("ascii"), 0)


def main():
    group = Group(sys.argv[1])
    real = tempfile.mkdtemp()
    for command in (["mount", "--bind", "/proc", real],
                    ["mount", "-t", "tmpfs", "tmpfs", "/proc"]):
        subprocess.run(command, check=True)
    file = os.open("/proc/meminfo", os.O_RDWR | os.O_CREAT, 0o644)
    write_meminfo(file, group)
    os.symlink(f"{real}/self", "/proc/self")
    with subprocess.Popen(["earlyoom", "-r", "3600", *sys.argv[2:]]) as program:
        signal.signal(signal.SIGTERM, lambda *_: program.terminate())
        there = set()
        while program.poll() is None:
            pids = group.pids()
            for pid in pids - there:
                os.symlink(f"{real}/{pid}", f"/proc/{pid}")
            for pid in there - pids:
                os.unlink(f"/proc/{pid}")
            there = pids
            write_meminfo(file, group)
            time.sleep(PAUSE)
    # The mounts go with the namespace.
    subprocess.run(["umount", "/proc", real], check=False)
    os.rmdir(real)


if __name__ == "__main__":
    main()
