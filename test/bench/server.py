#!/usr/bin/python3
"""Looking at the whole server, and working beside those who do; run.sh runs
this.

server.py ROUNDS SECONDS MAX_SESSIONS OUTPUT

The view over 10 to 1,000 sessions: fresh ones, which have done one query, and
bloated ones, which have 1,000 prepared statements each.

Then pgbench -S among 100 bloated sessions, alone, beside sessions that read
the view without pause, and beside as many that only use CPU, with queries that
take about as long.  What pgbench does less is explained by its share of the
processors as long as a transaction takes it no more of their time.
"""
import os
import subprocess
import sys
import tempfile
import time

from pgbench import command, pgbench
from sessions import (connect, cpu_ns, prepare_statements, progress, ratios,
                      run, save, shuffled, spread)

SESSIONS = (10, 100, 500, 1000)
STATEMENTS = 1000
SESSIONS_BESIDE = 100
CLIENTS = 8
OTHERS = (1, 4, 8)

# Everything that the view has.
OBSERVE = "SELECT count(v) FROM pg_session_memory v"
BURN = ("SELECT count(*) FROM generate_series(1, 100000) "
        "CROSS JOIN generate_series(1, 14) AS b")
VIEW = ("SELECT count(*), sum(context_bytes), sum(contexts), "
        "count(*) FILTER (WHERE source IS DISTINCT FROM 'live') "
        "FROM pg_session_memory WHERE backend_type = 'client backend'")


def fresh_session():
    connection = connect()
    run(connection, "SELECT count(*) FROM pg_class")
    return connection


def measure(observer, kind, number, rounds):
    pid = observer.get_backend_pid()
    cpu = []
    clock = []
    run(observer, VIEW)
    for _ in range(rounds):
        before = cpu_ns(pid)
        began = time.perf_counter()
        rows = run(observer, VIEW)
        clock.append((time.perf_counter() - began) * 1e3)
        cpu.append((cpu_ns(pid) - before) / 1e6)
    sessions, size_bytes, contexts, not_live = rows[0]
    if not_live:
        sys.exit(f"{not_live} of {sessions} sessions were not read live")
    return {"kind": kind, "sessions": number, "contexts": int(contexts),
            "bytes": int(size_bytes), "cpu_ms": spread(cpu),
            "clock_ms": spread(clock)}


def view(observer, rounds, most):
    numbers = [number for number in SESSIONS if number <= most]
    results = []
    pool = []
    for number in numbers:
        progress(f"{number} fresh sessions")
        pool += [fresh_session() for _ in range(number - len(pool))]
        results.append(measure(observer, "fresh", number, rounds))
    for connection in pool:
        prepare_statements(connection, 1, STATEMENTS)
    for number in reversed(numbers):
        progress(f"{number} bloated sessions")
        while len(pool) > number:
            pool.pop().close()
        # Their processes end after the connections.
        while run(observer, "SELECT count(*) FROM pg_stat_activity WHERE "
                  "backend_type = 'client backend'")[0][0] > number + 1:
            time.sleep(0.1)
        results.append(measure(observer, "bloated", number, rounds))
    for connection in pool:
        connection.close()
    return results


class Others:
    """Sessions that run one query again and again."""

    def __init__(self, script, number):
        self.started = None
        if number:
            # They are stopped before that.
            self.started = subprocess.Popen(
                command(os.environ["PGHOST"], script, number, 3600),
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        if self.started:
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        if not self.started:
            return
        if self.started.poll() is not None:
            sys.exit("pgbench failed:\n" + self.started.stderr.read())
        self.started.terminate()
        self.started.wait()
        self.started.stderr.close()


def beside(rounds, seconds, number_of_sessions):
    pool = [fresh_session() for _ in range(number_of_sessions)]
    for connection in pool:
        prepare_statements(connection, 1, STATEMENTS)
    kinds = [("nobody", 0)] + [(kind, number) for number in OTHERS
                               for kind in ("observers", "burners")]
    tps = {kind: [] for kind in kinds}
    cpu = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as directory:
        scripts = {"nobody": None}
        for name, sql in (("observers", OBSERVE), ("burners", BURN)):
            scripts[name] = f"{directory}/{name}.sql"
            with open(scripts[name], "w", encoding="ascii") as file:
                file.write(sql + ";\n")
        for number in range(rounds):
            progress(f"round {number + 1}: pgbench beside others")
            for kind in shuffled(kinds, number):
                with Others(scripts[kind[0]], kind[1]):
                    run_tps, run_cpu = pgbench(
                        os.environ["PGHOST"], "select-only", CLIENTS, seconds)
                tps[kind].append(run_tps)
                cpu[kind].append(run_cpu)
    for connection in pool:
        connection.close()
    return [{"beside": kind[0], "number": kind[1], "tps": spread(tps[kind]),
             "cpu_us": spread(cpu[kind]),
             "tps_ratio": ratios(tps[kind], tps["nobody", 0]),
             "tps_ratio_to_burners": ratios(
                 tps[kind], tps["burners" if kind[1] else "nobody", kind[1]]),
             "cpu_ratio_to_burners": ratios(
                 cpu[kind], cpu["burners" if kind[1] else "nobody", kind[1]])}
            for kind in kinds]


def main():
    rounds, seconds, most = map(int, sys.argv[1:4])
    observer = connect()
    run(observer, "SET work_mem = '64MB'")
    results = {"view": view(observer, rounds, most)}
    observer.close()
    # What is compared lies closer together when runs are shorter.
    results["beside"] = beside(2 * rounds, max(1, seconds // 2),
                               min(most, SESSIONS_BESIDE))
    save(sys.argv[4], results)


if __name__ == "__main__":
    main()
