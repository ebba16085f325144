"""A connection pool whose sessions have come to be of different sizes.

demo_pool.py COMMAND... makes the pool, puts its sessions into their states,
runs the command while they are in them, and returns its status.  Where the
server is comes from PGHOST and the other variables of libpq.
"""

import signal
import subprocess
import sys
import threading
import time
import traceback

import psycopg2
from psycopg2.pool import ThreadedConnectionPool

POOL_SIZE = 10


def fresh(cursor):
    """Connected, and that was it."""
    cursor.execute("SELECT 1")


def all_partitions(cursor):
    """Queries without a condition on the partition key: every partition and
    every index of it goes into this session's catalog caches, for good."""
    for table in ("orders", "payments", "visits"):
        cursor.execute(f"SELECT count(*) FROM {table}")


def join_of_all(cursor):
    """One plan over 2,000 partitions.  It is gone; the memory that malloc got
    for it may stay with the process."""
    cursor.execute("SET enable_partitionwise_join = on")
    cursor.execute("SELECT count(*) FROM orders JOIN payments USING (day, id)")


def prepared_statements(cursor, count):
    """What a driver does that prepares each statement and deallocates none."""
    for number in range(count):
        cursor.execute(
            f"PREPARE statement_{number}(date) AS "
            f"SELECT o.id, o.amount, p.amount, {number} AS shop "
            "FROM orders o JOIN payments p USING (day, id) "
            "WHERE o.day = $1 AND p.day = $1 ORDER BY o.amount")
        # A generic plan is a plan that is kept.
        if number == 0:
            cursor.execute("SET plan_cache_mode = force_generic_plan")
        if number % 100 == 0:
            cursor.execute(f"EXECUTE statement_{number}('2024-05-01')")


def few_prepared(cursor):
    prepared_statements(cursor, 50)


def many_prepared(cursor):
    prepared_statements(cursor, 400)


def idle_in_transaction(cursor):
    """Someone forgot to commit."""
    cursor.execute("BEGIN")
    cursor.execute("SELECT count(*) FROM orders WHERE day < '2024-06-01'")


def held_cursor(cursor):
    """The rows of a cursor WITH HOLD stay in the session after its
    transaction."""
    cursor.execute(
        "DECLARE held CURSOR WITH HOLD FOR "
        "SELECT n, md5(n::text) FROM generate_series(1, 200000) n")
    cursor.execute("FETCH 10 FROM held")


def temporary_tables(cursor):
    for number in range(100):
        cursor.execute(
            f"CREATE TEMP TABLE step_{number} AS "
            "SELECT n, md5(n::text) FROM generate_series(1, 500) n")


def functions(cursor):
    """Every function that was called once stays compiled."""
    for number in range(1, 61):
        cursor.execute(f"SELECT report_{number}('2024-03-01')")


def sorting(cursor):
    """In the middle of a statement: a sort that is done, its rows in memory,
    and someone who takes long to fetch them."""
    cursor.execute(
        "SELECT pg_sleep(600) FROM (SELECT md5(n::text) AS md5 "
        "FROM generate_series(1, 300000) n ORDER BY 1) s LIMIT 1")


SESSIONS = (
    fresh,
    all_partitions,
    join_of_all,
    few_prepared,
    many_prepared,
    idle_in_transaction,
    held_cursor,
    temporary_tables,
    functions,
    sorting,
)


failed = []
ready = threading.Event()       # all sessions are as they should be


def work(connection, job):
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        cursor.execute("SET application_name = %s",
                       (job.__name__.replace("_", " "),))
        job(cursor)
    except psycopg2.Error:
        # At the end of the demonstration the server loses all of them.
        if not ready.is_set():
            traceback.print_exc()
            failed.append(job)


def wait_for_sort(cursor):
    """The one session that does not come back by itself: until it sleeps."""
    for _ in range(300):
        cursor.execute(
            "SELECT 1 FROM pg_stat_activity "
            "WHERE application_name = 'sorting' AND wait_event = 'PgSleep'")
        if cursor.fetchone():
            return
        time.sleep(0.1)
    sys.exit("the session that sorts did not get there")


def main():
    # Ctrl-C is for the shell script; it ends the server and so this too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    pool = ThreadedConnectionPool(POOL_SIZE, POOL_SIZE, "")
    connections = [pool.getconn() for _ in SESSIONS]
    threads = [threading.Thread(target=work, args=pair, daemon=True)
               for pair in zip(connections, SESSIONS)]
    for thread in threads:
        thread.start()
    for thread, job in zip(threads, SESSIONS):
        if job is not sorting:
            thread.join()
    # Asked through a session that is so big that one more query adds nothing.
    wait_for_sort(connections[SESSIONS.index(all_partitions)].cursor())
    if failed:
        return 1
    ready.set()
    return subprocess.call(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
