"""Runs of pgbench, with the CPU that its sessions used.

PGBENCH_CPU is the path of pgbench_cpu.c, compiled.
"""
import os
import re
import subprocess
import sys

TRIES = 5


def command(host, script, clients, seconds, options=()):
    """script: the name of a built-in one, or the path of a file"""
    return ["pgbench", "-h", host, "-n", "-M", "prepared",
            "-f" if "/" in script else "-b", script, "-c", str(clients),
            "-j", str(min(clients, os.cpu_count())), "-T", str(seconds),
            *options, "postgres"]


def pgbench(host, script, clients, seconds):
    """Transactions a second, and microseconds of CPU a transaction of the
    sessions."""
    # A machine that has far too much else to do may not get to one.
    for _ in range(TRIES):
        done = subprocess.run(
            command(host, script, clients, seconds),
            env=dict(os.environ, LD_PRELOAD=os.environ["PGBENCH_CPU"]),
            capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        number = re.search(r"transactions actually processed: (\d+)", said)
        tps = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
        cpu = re.search(r"^backend cpu: (\d+) ns", said, re.MULTILINE)
        if done.returncode != 0 or not (number and cpu):
            break
        if int(number[1]) > 0:
            return float(tps[1]), int(cpu[1]) / 1e3 / int(number[1])
    sys.exit("pgbench failed, or did no transaction at all:\n" + said)
