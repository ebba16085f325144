"""Makes the sessions of a case and a page about them.

cases.py CASE, on the server that PGHOST and the other variables of libpq name.
Writes CASE.html, and CASE.json with what SQL says immediately before and after
the page was made, to the directory that PAGES names.
"""

import json
import os
import subprocess
import sys
import threading
import time

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import demo_pool  # noqa: E402  (it lies a directory above)

REPORT = os.path.join(HERE, "..", "..", "examples", "report.sh")
PAGES = os.environ["PAGES"]

# What the page says, too; of sessions, those that do nothing meanwhile.
NUMBERS = {
    "sessions": """SELECT pid, anon_bytes + swap_bytes, context_bytes
        FROM pg_session_memory WHERE state = 'idle'""",
    "pools": """SELECT application_name, sessions, idle
        FROM pg_session_memory_pools WHERE application_name <> 'numbers'""",
    "environment": "SELECT item, verdict FROM pg_session_memory_environment()",
    "events": "SELECT count(*) FROM pg_session_memory_events",
    "statements": """SELECT queryid, calls, max_peak_bytes
        FROM pg_session_memory_statements WHERE query NOT LIKE '%report%'""",
    "limits": "SELECT total_bytes, sessions FROM pg_session_memory_server",
}


def connect(application, **options):
    connection = psycopg2.connect("", application_name=application, **options)
    connection.autocommit = True
    return connection


def numbers():
    with connect("numbers").cursor() as cursor:
        found = {}
        for name, query in NUMBERS.items():
            cursor.execute(query)
            found[name] = cursor.fetchall()
        return found


def page(case, *options):
    before = numbers()
    subprocess.run([REPORT, "-o", os.path.join(PAGES, case + ".html"),
                    *options], check=True)
    with open(os.path.join(PAGES, case + ".json"), "w",
              encoding="utf-8") as file:
        json.dump({"before": before, "after": numbers()}, file)


def session(connections, application, *work):
    connection = connect(application)
    connections.append(connection)
    with connection.cursor() as cursor:
        for do in work:
            do(cursor)


def prepared(count):
    def prepare(cursor):
        demo_pool.prepared_statements(cursor, count)
    return prepare


def query(text):
    def execute(cursor):
        cursor.execute(text)
    return execute


def pool():
    """A pool that has been there for long: each session has touched all
    partitions, and prepared what it was asked, more of it each time."""
    connections = []
    aggregate = query("SELECT count(*) FROM (SELECT DISTINCT md5(n::text) "
                      "FROM generate_series(1, 150000) AS n) AS d")
    for round_ in range(4):
        session(connections, "web", demo_pool.all_partitions,
                prepared(40 + 60 * round_))
        session(connections, "web", prepared(10))
        session(connections, "worker", demo_pool.join_of_all)
        session(connections, "worker", aggregate, demo_pool.held_cursor)
        session(connections, "reporting", demo_pool.all_partitions,
                demo_pool.temporary_tables)
        session(connections, "cron", demo_pool.fresh)
        time.sleep(1)
    session(connections, "reporting", demo_pool.idle_in_transaction)
    busy = connect("reporting")
    running = threading.Thread(target=run_until_cancelled, args=(busy,))
    running.start()
    time.sleep(4)
    page("pool")
    spoil()
    busy.cancel()
    running.join()


def run_until_cancelled(connection):
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT a.n, pg_sleep(1000) FROM (SELECT array_agg("
                "md5(n::text)) AS n FROM generate_series(1, 400000) AS n) a")
    except psycopg2.Error:
        pass


def spoil():
    """The same page as psql writes it without the options that it needs, and
    one that was cut off."""
    for name, options in {
            "aligned": [], "rows": ["-A"], "expanded": ["-x", "-t"],
            "csv": ["--csv"], "framed": ["-t", "-P", "border=2"]}.items():
        subprocess.run(
            ["psql", "-X", *options, "-o",
             os.path.join(PAGES, f"spoilt-{name}.html"), "-c",
             "SELECT pg_session_memory_report(details => 1)"], check=True)
    with open(os.path.join(PAGES, "pool.html"), encoding="ascii") as whole:
        lines = whole.readlines()
    with open(os.path.join(PAGES, "cut.html"), "w", encoding="ascii") as cut:
        cut.writelines(lines[:len(lines) // 2])


def before_the_night():
    with connect("setup").cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_session_memory")
        cursor.execute("CREATE ROLE app LOGIN")
    connections = []
    for number in range(12):
        session(connections, "orders", query("SELECT count(*) FROM pg_class"),
                query("SELECT count(*) FROM pg_attribute"))
        time.sleep(1)


def night():
    for _ in range(600):
        try:
            connect("orders").close()
            break
        except psycopg2.OperationalError:
            time.sleep(0.1)
    connections = []
    for number in range(8):
        session(connections, "orders", query("SELECT count(*) FROM pg_class"))
        time.sleep(1)
    page("night")


def healthy():
    connections = []
    for number in range(10):
        session(connections, "accounts",
                query("SELECT count(*) FROM pgbench_branches"))
    subprocess.run(["pgbench", "-n", "-c", "4", "-R", "100", "-T", "15"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=True)
    page("healthy", "--details", "3")


if __name__ == "__main__":
    {"pool": pool, "before_the_night": before_the_night, "night": night,
     "healthy": healthy}[sys.argv[1]]()
