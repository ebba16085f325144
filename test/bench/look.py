#!/usr/bin/python3
"""Looking: the time to read a session's contexts, beside what PostgreSQL has.

Connects with libpq's environment (PGHOST, PGPORT, PGUSER, PGDATABASE) to a
server where CREATE EXTENSION pg_session_memory is done, makes sessions of
several sizes, and prints medians of interleaved rounds:

  own     pg_session_memory_contexts() in the session itself
  core    pg_backend_memory_contexts in the session itself
  other   pg_session_memory_contexts(pid) from another session, which also
          counts all its free chunks
  walk    the figures of the view for that session, from another session

Times are of the process that does the work, as the kernel counts them in
/proc/<pid>/schedstat: on a busy machine they repeat better than the clock's.
Then the view over many idle sessions, by the clock, and the CPU that a
session spent while it was observed 1,000 times.
"""
import statistics
import sys
import time

import psycopg2

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
PARTITIONS = 3000
STATEMENTS = 30000


def connect(name):
    conn = psycopg2.connect(application_name=name, dbname="postgres")
    conn.autocommit = True
    return conn


def run(conn, sql):
    with conn.cursor() as cur:
        cur.execute(sql)
        return cur.fetchall() if cur.description else None


def partitions(conn):
    if run(conn, "SELECT 1 FROM pg_class WHERE relname = 'part'"):
        return
    run(conn, "CREATE TABLE part (a int, b int) PARTITION BY RANGE (a)")
    run(conn, "CREATE INDEX ON part (a)")
    run(conn, "CREATE INDEX ON part (b)")
    for first in range(0, PARTITIONS, 500):
        run(conn, f"""DO $$ BEGIN FOR i IN {first}..{first + 499} LOOP
            EXECUTE format('CREATE TABLE part_%s PARTITION OF part FOR VALUES
            FROM (%s) TO (%s)', i, i, i + 1); END LOOP; END $$""")


def fresh(conn):
    pass


def many_partitions(conn):
    run(conn, "SELECT count(*) FROM part WHERE b = 1")


def many_statements(conn):
    run(conn, f"""DO $$ BEGIN FOR i IN 1..{STATEMENTS} LOOP
        EXECUTE format('PREPARE s%s AS SELECT relname FROM pg_class WHERE
        oid = %s', i, i); END LOOP; END $$""")


def cpu_ns(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


def cpu_ms(conn, sql):
    before = cpu_ns(conn.get_backend_pid())
    rows = run(conn, sql)
    return (cpu_ns(conn.get_backend_pid()) - before) / 1e6, rows


def one_session(observer, name, work):
    total = "SELECT count(*), sum(total_bytes) FROM "
    conn = connect(name)
    run(conn, "SET work_mem = '64MB'")
    work(conn)
    pid = conn.get_backend_pid()
    queries = {
        "own": (conn, total + "pg_session_memory_contexts()"),
        "core": (conn, total + "pg_backend_memory_contexts"),
        "other": (observer, total + f"pg_session_memory_contexts({pid})"),
        "walk": (observer, "SELECT contexts, context_bytes FROM "
                 f"pg_session_memory_measure({pid}, NULL)"),
    }
    times = {key: [] for key in queries}
    for where, sql in queries.values():
        run(where, sql)
    for _ in range(ROUNDS):
        for key, (where, sql) in queries.items():
            ms, rows = cpu_ms(where, sql)
            times[key].append(ms)
    count, size = rows[0]
    mid = {key: statistics.median(ms) for key, ms in times.items()}
    print(f"{name:<12}{count:>9}{size / 1e6:>8.1f}"
          f"{mid['own']:>9.2f}{mid['core']:>9.2f}{mid['other']:>10.2f}"
          f"{mid['walk']:>9.2f}{mid['own'] / mid['core']:>10.2f}"
          f"{mid['other'] / mid['core']:>11.2f}"
          f"{mid['walk'] * 1e3 / count:>12.2f}", flush=True)
    conn.close()


def many_sessions(observer, number):
    pool = [connect("idle") for _ in range(number)]
    for conn in pool:
        run(conn, "SELECT count(*) FROM pg_class")
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        rows = run(observer, "SELECT count(*), sum(context_bytes), "
                   "count(*) FILTER (WHERE source = 'live') "
                   "FROM pg_session_memory")
        times.append((time.perf_counter() - start) * 1e3)
    print(f"the view over {rows[0][0]} processes ({rows[0][2]} live): "
          f"{statistics.median(times):.1f} ms, "
          f"{min(times):.1f} to {max(times):.1f}")

    pid = pool[0].get_backend_pid()
    before = cpu_ns(pid)
    for _ in range(500):
        run(observer, f"SELECT FROM pg_session_memory_measure({pid}, NULL)")
        run(observer, f"SELECT count(*) FROM pg_session_memory_contexts({pid})")
    print("CPU that a session spent while it was observed 1,000 times: "
          f"{cpu_ns(pid) - before} ns")
    for conn in pool:
        conn.close()


def main():
    observer = connect("observer")
    partitions(observer)
    observer.close()
    observer = connect("observer")
    run(observer, "SET work_mem = '64MB'")
    print("CPU milliseconds, medians of", ROUNDS, "rounds")
    print(f"{'session':<12}{'contexts':>9}{'MB':>8}"
          f"{'own':>9}{'core':>9}{'other':>10}{'walk':>9}"
          f"{'own/core':>10}{'other/core':>11}{'walk us/ctx':>12}")
    for name, work in (("fresh", fresh), ("partitions", many_partitions),
                       ("prepared", many_statements)):
        one_session(observer, name, work)
    many_sessions(observer, 500)


main()
