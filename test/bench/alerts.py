#!/usr/bin/python3
"""Thresholds that fire, by cause, and within which time; run.sh runs this.

alerts.py ROUNDS LOG OUTPUT

Each cause has a session of its own, which crosses one threshold.  Told is
whether the log says so, with the session's pid, and how many milliseconds
after the client has the response; of a statement that goes on, after it was
sent.  In the end a session crosses none, and must not be told of.
"""
import statistics
import sys
import threading
import time

import psycopg2

from sessions import (connect, make_partitions, prepare_statements, progress,
                      run, save)

PARTITIONS = 500
PATIENCE = 15                   # seconds
POLL = 0.002

GROWING = """SELECT pg_sleep(30) FROM (SELECT array_agg(repeat('x', 10000))
    AS grown FROM generate_series(1, 10000)) AS s WHERE grown IS NOT NULL"""

# By name: the threshold, the statements before, the one that crosses it
CAUSES = {
    "prepared statements": (
        "context_threshold = '1MB'", [], None),
    "catalog caches": (
        "context_threshold = '2MB'", [], "SELECT count(*) FROM part"),
    "a held cursor": (
        "session_threshold = '8MB'", ["SET work_mem = '64MB'"],
        """DECLARE held CURSOR WITH HOLD FOR SELECT repeat('x', 1000)
        FROM generate_series(1, 20000)"""),
    "an idle transaction": (
        "session_threshold = '8MB'", ["BEGIN", "SET work_mem = '64MB'"],
        """DO $$ DECLARE c refcursor := 'open'; r record; BEGIN
        OPEN c FOR SELECT repeat('x', 1000) AS t
            FROM generate_series(1, 20000) ORDER BY random();
        FETCH c INTO r; END $$"""),
    "memory of the process": (
        "process_threshold = '16MB'", ["SET work_mem = '64MB'"],
        """DECLARE held CURSOR WITH HOLD FOR SELECT repeat('x', 1000)
        FROM generate_series(1, 20000)"""),
    "one statement": (
        "statement_threshold = '16MB'", [],
        "SELECT cardinality(array_agg(g)) FROM generate_series(1, 4000000) g"),
    "a statement that goes on": (
        "process_threshold = '48MB'", [], GROWING),
    "none": ("session_threshold = '100MB'", [],
             "SELECT count(*) FROM pg_class"),
}


def is_told(log, size, pid):
    with open(log, encoding="utf-8", errors="replace") as file:
        file.seek(size)
        # The watcher says in the detail whom it means.
        return any("_threshold is" in line and f"[{pid}]" in line or
                   f"DETAIL:  PID {pid} of" in line for line in file)


def work(connection, statement):
    try:
        if statement is None:
            prepare_statements(connection, 1, 2000)
        else:
            run(connection, statement)
    except psycopg2.errors.QueryCanceled:
        pass


def cross(cause, log, log_size):
    """Milliseconds until it was told, None if it was not"""
    threshold, before, statement = CAUSES[cause]
    connection = connect()
    pid = connection.get_backend_pid()
    run(connection, "SET pg_session_memory." + threshold)
    for sql in before:
        run(connection, sql)
    # What it has measured itself must not be what is found, and the watcher
    # must know the threshold.
    time.sleep(1.5)
    began = time.monotonic()
    thread = threading.Thread(target=work, args=(connection, statement))
    thread.start()
    if statement != GROWING:
        thread.join()
        began = time.monotonic()
    end = began + (PATIENCE if cause != "none" else 2)
    took = None
    while took is None and time.monotonic() < end:
        if is_told(log, log_size, pid):
            took = (time.monotonic() - began) * 1e3
        time.sleep(POLL)
    if thread.is_alive():
        connection.cancel()
        thread.join()
    connection.close()
    return took


def main():
    rounds, log, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    connection = connect()
    make_partitions(connection, PARTITIONS)
    connection.close()
    rows = []
    for cause, (threshold, _, _) in CAUSES.items():
        progress(f"alerts: {cause}")
        took = []
        for _ in range(rounds):
            with open(log, "rb") as file:
                size = file.seek(0, 2)
            took.append(cross(cause, log, size))
        told = [ms for ms in took if ms is not None]
        rows.append({"cause": cause, "threshold": threshold, "rounds": rounds,
                     "told": len(told),
                     "median_ms": statistics.median(told) if told else None,
                     "most_ms": max(told) if told else None})
        print(rows[-1])
    save(output, rows)


if __name__ == "__main__":
    main()
