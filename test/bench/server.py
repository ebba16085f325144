#!/usr/bin/python3
"""Looking at the whole server; run.sh runs this.

server.py ROUNDS MAX_SESSIONS OUTPUT

The view over 10 to 1,000 sessions: fresh ones, which have done one query, and
bloated ones, which have 1,000 prepared statements each.
"""
import sys
import time

from sessions import (connect, cpu_ns, prepare_statements, progress, reads_of,
                      run, save, spread)

SESSIONS = (10, 100, 1000)
STATEMENTS = 1000

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
            "clock_ms": spread(clock), "reads": reads_of(observer, VIEW)}


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


def main():
    rounds, most = map(int, sys.argv[1:3])
    observer = connect()
    run(observer, "SET work_mem = '64MB'")
    save(sys.argv[3], view(observer, rounds, most))


if __name__ == "__main__":
    main()
