#!/usr/bin/python3
"""Transactions a second of pgbench -S, with two clients; run.sh runs this.

pairs.py ROUNDS SECONDS OUTPUT NAME=HOST...

Servers with the same tables take turns, in another order each round.  The first
two are the same in all: what one makes against the other is what turns on this
machine differ by, whatever is loaded.  All are compared with the first one,
within each round.
"""
import os
import subprocess
import sys

from sessions import (progress, ratios, save, shuffled,
                      transactions_a_second)

CLIENTS = 2
SCALE = 5


def pgbench(host, *options):
    done = subprocess.run(
        ["pgbench", *options], env=dict(os.environ, PGHOST=host),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False)
    if done.returncode != 0:
        sys.exit("pgbench failed:\n" + done.stdout)
    return done.stdout


def tps(host, seconds):
    return transactions_a_second(
        pgbench(host, "-n", "-S", "-c", str(CLIENTS), "-T", str(seconds)))


def main():
    rounds, seconds, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    hosts = dict(argument.split("=", 1) for argument in sys.argv[4:])
    for host in hosts.values():
        pgbench(host, "-i", "-q", "-s", str(SCALE))
        tps(host, seconds)
    made = {name: [] for name in hosts}
    for number in range(rounds):
        progress(f"pairs: {number + 1} of {rounds}")
        for name in shuffled(hosts, number):
            made[name].append(tps(hosts[name], seconds))
    first = next(iter(hosts))
    save(output, {"rounds": rounds, "seconds": seconds, "clients": CLIENTS,
                  "tps": made,
                  "ratios": {name: ratios(made[name], made[first])
                             for name in hosts if name != first}})


if __name__ == "__main__":
    main()
