"""What the watcher costs, and how soon it knows.

watcher.py SECONDS MAX_SESSIONS ROUNDS LOG [OUTPUT]

CPU is what the kernel says of the worker in /proc/PID/schedstat; bytes written
are those that it has given to pwrite(2) and the like, wchar of /proc/PID/io.
Active sessions run statements that take a second on average and have nothing
to do, so that the machine has time for the watcher: each of its looks finds
other statements.

A statement that grows asks for 100 MB at once and then keeps them.  Times are
counted from when it was sent: what it takes to grow is in them.
"""
import os
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2

from sessions import connect, cpu_ns, progress, run, save

SESSIONS = (10, 100, 1000)
WARM_UP = 15                    # seconds
GOALS = {100: 0.1, 1000: 0.5}   # per cent of a core, by sessions
GOAL_BYTES = 10000              # a second
GROWN = 50 * 1000 * 1000        # bytes, from which on it is known
PATIENCE = 60                   # seconds
POLL = 0.01

GROWING = """SELECT pg_sleep(60) FROM (SELECT array_agg(repeat('x', 10000))
    AS grown FROM generate_series(1, 10000)) AS s WHERE grown IS NOT NULL"""


class Sessions:
    """So many, half of which are active, until they are closed"""

    def __init__(self, number):
        self.connections = [connect() for _ in range(number)]
        for connection in self.connections:
            run(connection, "SELECT count(*) FROM pg_class")
        self.running = True
        threading.stack_size(256 * 1024)
        self.threads = [
            threading.Thread(target=self._work, args=(connection,),
                             daemon=True)
            for connection in self.connections[:number // 2]]
        for thread in self.threads:
            thread.start()

    def _work(self, connection):
        while self.running:
            run(connection, f"SELECT pg_sleep({random.uniform(0, 2)})")

    def close(self):
        self.running = False
        for thread in self.threads:
            thread.join()
        for connection in self.connections:
            connection.close()


def written(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        return int(next(line.split()[1] for line in file
                        if line.startswith("wchar:")))


def cost(watcher, number, seconds):
    """Per cent of a core, and bytes a second"""
    sessions = Sessions(number)
    time.sleep(WARM_UP)
    began = time.monotonic()
    cpu = cpu_ns(watcher)
    wrote = written(watcher)
    time.sleep(seconds)
    cpu = cpu_ns(watcher) - cpu
    wrote = written(watcher) - wrote
    took = time.monotonic() - began
    sessions.close()
    return cpu / 1e9 / took * 100, wrote / took


# ----------------------------------------------------------------------------
# How soon it knows
# ----------------------------------------------------------------------------

def wait_until(condition):
    """When it came true, None if it did not"""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return None
        time.sleep(POLL)
    return time.monotonic()


def delays(log):
    """Seconds until the view, the log and the recorder know"""
    observer = connect()
    session = connect()
    pid = session.get_backend_pid()
    run(session, "SET pg_session_memory.process_threshold = '48MB'")
    # What it has measured itself must not be what is found.
    time.sleep(random.uniform(1, 2))
    size = os.path.getsize(log)

    def grow():
        try:
            run(session, GROWING)
        except psycopg2.errors.QueryCanceled:
            pass

    def in_view():
        return run(observer, "SELECT 1 FROM pg_session_memory WHERE "
                   f"pid = {pid} AND statement_bytes > {GROWN}")

    def in_log():
        with open(log, encoding="utf-8") as file:
            file.seek(size)
            return any(f"PID {pid} " in line for line in file)

    def in_recorder():
        return run(observer, "SELECT 1 FROM pg_session_memory_history_sessions "
                   f"WHERE pid = {pid} AND anon_bytes > {GROWN} LIMIT 1")

    statement = threading.Thread(target=grow, daemon=True)
    began = time.monotonic()
    statement.start()
    # At the same time: none waits for another one.
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(wait_until, (in_view, in_log, in_recorder)))
    run(observer, f"SELECT pg_cancel_backend({pid})")
    statement.join()
    session.close()
    observer.close()
    if None in found:
        sys.exit("the watcher does not know of a statement of 100 MB")
    return [at - began for at in found]


def main():
    seconds, most, rounds = map(int, sys.argv[1:4])
    log = sys.argv[4]
    missed = False
    results = {"seconds": seconds, "rounds": rounds, "cost": [], "delays": {}}
    observer = connect()
    watcher = run(observer, "SELECT pid FROM pg_stat_activity "
                  "WHERE backend_type = 'pg_session_memory watcher'")[0][0]
    version = run(observer, "SHOW server_version")[0][0]
    print(f"The watcher, {seconds} s each, PostgreSQL {version}")
    print(f"{'sessions':>8} {'% of a core':>11} {'bytes/s':>8}")
    for number in SESSIONS:
        if number > most:
            continue
        progress(f"{number} sessions")
        cpu, wrote = cost(watcher, number, seconds)
        is_missed = cpu > GOALS.get(number, cpu) or wrote > GOAL_BYTES
        missed |= is_missed
        results["cost"].append({"sessions": number, "cpu": cpu,
                                "bytes_a_second": wrote})
        print(f"{number:8} {cpu:11.3f} {wrote:8.0f}"
              f"{'  goal missed' if is_missed else ''}", flush=True)

    number = min(100, most)
    sessions = Sessions(number)
    found = list(zip(*(delays(log) for _ in range(rounds))))
    sessions.close()
    print("Seconds after a statement of 100 MB was sent, of "
          f"{rounds} statements, beside {number} sessions")
    print(f"{'':8} {'median':>11} {'most':>8}")
    for name, values in zip(("view", "log", "recorder"), found):
        print(f"{name:8} {statistics.median(values):11.2f} "
              f"{max(values):8.2f}")
        results["delays"][name] = [statistics.median(values), max(values)]
    if len(sys.argv) > 5:
        save(sys.argv[5], results)
    sys.exit(missed)


if __name__ == "__main__":
    main()
