#!/usr/bin/python3
"""What it costs sessions to be watched: pgbench; run.sh runs this.

watch.py ROUNDS SECONDS OUTPUT NAME=HOST...

One server of each kind is up all the time.  A round has a run on each of
them, in another order each round, for each script and number of clients.
Ratios are to the run on the first server in the same round.
"""
import sys

from pgbench import pgbench
from sessions import progress, ratios, save, shuffled, spread

SCRIPTS = ("select-only", "tpcb-like")
CLIENTS = (1, 8, 64)


def main():
    rounds, seconds, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    servers = dict(server.split("=", 1) for server in sys.argv[4:])
    first = next(iter(servers))
    cells = [(script, clients) for script in SCRIPTS for clients in CLIENTS]
    tps = {}
    cpu = {}

    # What the first run on a server finds cold is not to be measured.
    for host in servers.values():
        for script in SCRIPTS:
            pgbench(host, script, 8, 1)
    for number in range(rounds):
        for script, clients in cells:
            progress(f"round {number + 1}: {script}, {clients} clients")
            for name in shuffled(servers, number):
                run_tps, run_cpu = pgbench(servers[name], script, clients,
                                           seconds)
                tps.setdefault((script, clients, name), []).append(run_tps)
                cpu.setdefault((script, clients, name), []).append(run_cpu)

    save(output, [
        {"script": script, "clients": clients, "loaded": name,
         "cpu_us": spread(cpu[script, clients, name]),
         "tps": spread(tps[script, clients, name]),
         "cpu_ratio": ratios(cpu[script, clients, name],
                             cpu[script, clients, first]),
         "tps_ratio": ratios(tps[script, clients, name],
                             tps[script, clients, first])}
        for script, clients in cells for name in servers])


if __name__ == "__main__":
    main()
