#!/usr/bin/python3
"""Looking: the time to read a session's contexts, beside what PostgreSQL has.

Connects with libpq's environment (PGHOST, PGPORT, PGUSER, PGDATABASE) to a
server where CREATE EXTENSION pg_session_memory is done, makes sessions of
several sizes, and prints medians of interleaved rounds:

  own     pg_session_memory_contexts() in the session itself
  core    pg_backend_memory_contexts in the session itself
  other   pg_session_memory_contexts(pid) from another session
  walk    the figures of the view for that session, from another session
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
        oid = %s', i, i); EXECUTE format('EXECUTE s%s', i); END LOOP; END $$""")


def timed(conn, sql):
    start = time.perf_counter()
    rows = run(conn, sql)
    return (time.perf_counter() - start) * 1e3, rows


def main():
    observer = connect("observer")
    run(observer, "SET work_mem = '64MB'")
    partitions(observer)
    observer.close()
    observer = connect("observer")
    run(observer, "SET work_mem = '64MB'")
    total = "SELECT count(*), sum(total_bytes) FROM "
    print(f"{'session':<18}{'contexts':>9}{'MB':>8}"
          f"{'own ms':>9}{'core ms':>9}{'other ms':>10}{'walk ms':>9}"
          f"{'own/core':>10}{'other/core':>11}{'walk us/ctx':>12}")
    for name, work in (("fresh", fresh), ("partitions", many_partitions),
                       ("prepared", many_statements)):
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
        for key, (where, sql) in queries.items():
            timed(where, sql)
        for _ in range(ROUNDS):
            for key, (where, sql) in queries.items():
                ms, rows = timed(where, sql)
                times[key].append(ms)
        count, size = rows[0]
        mid = {key: statistics.median(ms) for key, ms in times.items()}
        print(f"{name:<18}{count:>9}{size / 1e6:>8.1f}"
              f"{mid['own']:>9.2f}{mid['core']:>9.2f}{mid['other']:>10.2f}"
              f"{mid['walk']:>9.2f}{mid['own'] / mid['core']:>10.2f}"
              f"{mid['other'] / mid['core']:>11.2f}"
              f"{mid['walk'] * 1e3 / count:>12.2f}", flush=True)
        conn.close()


main()
