"""What the guard keeps from happening; guard.sh runs this.

guard.py runs MODE RUNS OUTPUT		runaways beside ordinary work
guard.py calm MINUTES OUTPUT		large but legal work: false alarms
guard.py rates LIBRARY OUTPUT [short]	how fast memory may be taken

The server is in a control group of its own with a limit, and this program is
not.  LOG and GROUP in the environment name the server's log and that group's
directory.

calm: pgbench, index builds, sorts, dumps and restores, and scans of more than
fits into the page cache, one after the other, with the guard on.  Nothing of
it may fail.

rates: a C function that never looks whether it was cancelled takes memory at a
given rate in given steps, in one process or in several at once, three times
each, with several reserves; short: in one process, in steps of 16 MB.  In a
table, whether the server had to restart; and how much memory the processes had
at most.

runs: twenty sessions do ordinary work all the time.  A run is one runaway, or
seven or thirty at once, until each was refused, cancelled or lost its
connection.  Counted are restarts of the server, as its log tells them; what
became of the runaways, and whether their connections could go on; and
statements of ordinary sessions that have failed.
"""
import contextlib
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

import psycopg2

from sessions import connect, progress, run, save

ORDINARY = 20
CROWD = 30
SEVEN = 7
STATEMENT_SECONDS = 90          # a runaway that was not stopped by then is

# "out of memory", and what PL/Python, libxml and the code of regular
# expressions make of it.
REFUSED = ("53200", "38000", "2200N", "2201B", "XX000")

# Each takes all there is.  A statement's set-returning function stands in the
# select list, where its rows are not kept in a file.
KINDS = {
    "array_agg": [
        """SELECT array_length(array_agg(repeat(md5(i::text), 10)), 1) FROM
        (SELECT generate_series(1, 100000000) AS i) AS s"""],
    "jsonb_agg": [
        """SELECT length(jsonb_agg(jsonb_build_object('k', i, 'v', md5(i::text)))::text)
        FROM (SELECT generate_series(1, 100000000) AS i) AS s"""],
    "skewed hash join": [
        "SET enable_mergejoin = off", "SET enable_nestloop = off",
        "SET max_parallel_workers_per_gather = 0",
        """SELECT count(b.pad) FROM probe AS a JOIN
        (SELECT 1 AS k, repeat('x', 100) AS pad,
            generate_series(1, (SELECT 12000000)) AS v OFFSET 0) AS b
        USING (k)"""],
    "parallel hash join": [
        "SET work_mem = '2GB'", "SET hash_mem_multiplier = 2",
        "SET enable_mergejoin = off", "SET enable_nestloop = off",
        "SET max_parallel_workers_per_gather = 2",
        "SET min_parallel_table_scan_size = 0",
        "SET parallel_setup_cost = 0", "SET parallel_tuple_cost = 0",
        """SELECT count(b.pad || a.pad) FROM wide AS a
        JOIN wide AS b USING (k)"""],
    "prepared statements": [
        """DO $$ BEGIN FOR i IN 1 .. 100000000 LOOP
            EXECUTE format('PREPARE %I AS SELECT * FROM pg_class
                WHERE oid = %s AND relname <> %L',
                's' || i, i, repeat('x', 2000));
        END LOOP; END $$"""],
    "PL/pgSQL array": [
        """DO $$ DECLARE a text[]; BEGIN FOR i IN 1 .. 100000000 LOOP
            a[i] := repeat(md5(i::text), 100);
        END LOOP; END $$"""],
    "t || t": [
        """DO $$ DECLARE t text := repeat('x', 1000); u text[];
        BEGIN FOR i IN 1 .. 18 LOOP
            t := t || t; u := u || t;
        END LOOP; LOOP u := u || t; END LOOP; END $$"""],
    "sort, work_mem 2 GB": [
        "SET work_mem = '2GB'",
        "SET max_parallel_workers_per_gather = 0",
        """SELECT count(*) FROM (SELECT repeat(md5(i::text), 4) AS t FROM
        (SELECT generate_series(1, 100000000) AS i) AS s ORDER BY t) AS s"""],
    "temporary table": [
        "SET temp_buffers = '2GB'",
        "CREATE TEMPORARY TABLE flood (t text)",
        """INSERT INTO flood SELECT repeat(md5(i::text), 20) FROM
        (SELECT generate_series(1, 100000000) AS i) AS s"""],
    "COPY of one line": ["COPY"],
    "regular expression": [
        """SELECT count(*) FROM regexp_split_to_table(
        repeat('a b ', 100000000), ' ') AS s"""],
    "XML": [
        """SELECT count(*) FROM unnest(xpath('/a/b',
            ('<a>' || repeat('<b/>', 30000000) || '</a>')::xml)) AS s"""],
    "PL/Python": [
        """DO LANGUAGE plpython3u $$
a = []
while True:
    a.append('x' * 1000 + str(len(a)))
$$"""],
    "recursive CTE": [
        """WITH RECURSIVE t(n, s) AS (SELECT 1, 'x' UNION
        SELECT n + 1, repeat(md5(n::text), 30) FROM t) SELECT count(*) FROM t"""],
    "index build": [
        "SET maintenance_work_mem = '2GB'",
        "SET max_parallel_maintenance_workers = 0",
        "CREATE INDEX ON wide ((md5(pad) || md5(k::text) || pad))",
        "DROP INDEX wide_expr_idx",
        # It was not large enough: a runaway at last.
        """SELECT array_length(array_agg(repeat(md5(i::text), 10)), 1) FROM
        (SELECT generate_series(1, 100000000) AS i) AS s"""],
}

# One of a crowd: 20 MB more each tenth of a second.
GROWING = """DO $$ DECLARE a text[]; BEGIN FOR i IN 1 .. 10000 LOOP
    a := a || repeat('x', 20 * 1024 * 1024);
    PERFORM pg_sleep(0.1);
END LOOP; END $$"""

ORDINARY_WORK = [
    "SELECT * FROM account WHERE id = %(id)s",
    "UPDATE account SET balance = balance + 1 WHERE id = %(id)s",
    "INSERT INTO history SELECT %(id)s, now()",
    """SELECT count(*) FROM (SELECT * FROM account WHERE id < 20000
        ORDER BY md5(id::text)) AS s""",
    """SELECT id %% 100, sum(balance) FROM account WHERE id < 20000
        GROUP BY 1""",
    """SELECT count(*) FROM account AS a JOIN account AS b
        ON a.id = b.balance WHERE a.id < 20000""",
]


# ----------------------------------------------------------------------------
# Sessions
# ----------------------------------------------------------------------------

class Ordinary(threading.Thread):
    """Works until it is stopped; errors are (time, SQLSTATE or "lost")."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.stop = threading.Event()
        self.statements = 0
        self.errors = []

    def run(self):
        connection = None
        while not self.stop.is_set():
            try:
                if connection is None or connection.closed:
                    connection = connect(name="ordinary")
                self._transaction(connection)
                self.statements += 1
            except psycopg2.Error as error:
                self.errors.append((time.time(), error.pgcode or "lost",
                                    str(error)))
                if not error.pgcode and connection is not None:
                    with contextlib.suppress(psycopg2.Error):
                        connection.close()
                    connection = None
                self.stop.wait(0.1)
            self.stop.wait(self.random.uniform(0.1, 0.5))
        if connection is not None:
            connection.close()

    def _transaction(self, connection):
        values = {"id": self.random.randint(1, 100000)}
        run(connection, "BEGIN")
        try:
            for sql in self.random.sample(ORDINARY_WORK, 2):
                with connection.cursor() as cursor:
                    cursor.execute(sql, values)
        except psycopg2.Error as error:
            if error.pgcode:
                run(connection, "ROLLBACK")
            raise
        run(connection, "COMMIT")


class OneLine:
    """A line for COPY that is longer than the server has memory"""

    def __init__(self):
        self.left = 2 * int(os.environ["GROUP_MB"]) * 1024 * 1024

    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return b"x" * size


class Runaway(threading.Thread):
    """Runs until it was stopped.  outcome: SQLSTATE, "lost", or "ended";
    alive: whether its connection could go on."""

    def __init__(self, kind, statements):
        super().__init__(daemon=True)
        self.kind = kind
        self.statements = statements
        self.outcome = None
        self.message = ""
        self.alive = False

    def run(self):
        connection = None
        try:
            connection = connect(name="runaway")
            run(connection, f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            for sql in self.statements:
                if sql == "COPY":
                    with connection.cursor() as cursor:
                        cursor.copy_expert("COPY line FROM STDIN", OneLine(),
                                           1024 * 1024)
                else:
                    run(connection, sql)
            self.outcome = "ended"
        except (psycopg2.Error, SystemError) as error:
            # psycopg2 raises the latter one from within COPY.
            error = error if isinstance(error, psycopg2.Error) else \
                error.__context__ or error
            self.outcome = getattr(error, "pgcode", None) or "lost"
            self.message = str(error)
            if "statement timeout" in self.message:
                self.outcome = "ended"
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self.alive = run(connection, "SELECT 1") == [(1,)]
            with contextlib.suppress(psycopg2.Error):
                connection.close()


# ----------------------------------------------------------------------------
# Runs
# ----------------------------------------------------------------------------

def restarts():
    with open(os.environ["LOG"], encoding="utf-8", errors="replace") as file:
        return file.read().count("all server processes terminated")


def wait_for_calm():
    """Until the server has come back, if it had to, and given back what the
    last run had."""
    until = time.time() + 120
    while True:
        with contextlib.suppress(psycopg2.Error):
            connection = connect()
            names = run(connection,
                        "SELECT application_name FROM pg_stat_activity")
            connection.close()
            if not {("runaway",), ("legal",)} & set(names):
                return
        if time.time() > until:
            sys.exit("the server does not come back")
        time.sleep(0.1)


def one_run(name, runaways, ordinary):
    before = restarts()
    began = time.time()
    for runaway in runaways:
        runaway.start()
    for runaway in runaways:
        runaway.join(STATEMENT_SECONDS + 60)
    wait_for_calm()
    ended = time.time()
    errors = [error[1] for session in ordinary for error in session.errors
              if error[0] >= began]
    result = {
        "run": name, "seconds": round(ended - began, 1),
        "restarts": restarts() - before,
        "outcomes": {}, "alive": sum(r.alive for r in runaways),
        "runaways": len(runaways),
        "ordinary_errors": errors,
        "messages": sorted({r.message.strip() for r in runaways})[:3],
    }
    for runaway in runaways:
        outcome = runaway.outcome or "hangs"
        result["outcomes"][outcome] = result["outcomes"].get(outcome, 0) + 1
    return result


def plan(runs):
    """Names and runaways, one after the other: three in four are one kind,
    the others seven kinds or a crowd at once."""
    names = list(KINDS)
    next_name = itertools.cycle(names)
    chosen = random.Random(1)
    for number in range(runs):
        if number % 8 == 5:
            seven = chosen.sample(names, SEVEN)
            yield "seven at once", [(kind, KINDS[kind]) for kind in seven]
        elif number % 8 == 7:
            yield "crowd", [("crowd", [GROWING])] * CROWD
        else:
            kind = next(next_name)
            yield kind, [(kind, KINDS[kind])]


def prepare():
    connection = connect()
    run(connection, "CREATE TABLE IF NOT EXISTS account AS SELECT i AS id, "
        "0 AS balance FROM generate_series(1, 100000) AS i")
    run(connection, "CREATE INDEX IF NOT EXISTS account_id ON account (id)")
    run(connection, "CREATE TABLE IF NOT EXISTS history (id int, at timestamptz)")
    run(connection, "CREATE TABLE IF NOT EXISTS line (t text)")
    run(connection, "CREATE TABLE IF NOT EXISTS probe AS "
        "SELECT 1 AS k FROM generate_series(1, 100000)")
    # Wide enough for a hash table or an index build that does not fit.
    run(connection, "CREATE TABLE IF NOT EXISTS wide AS SELECT i AS k, "
        "repeat(md5(i::text), 4) AS pad FROM generate_series(1, 5000000) AS i")
    run(connection, "ANALYZE")
    run(connection, "CHECKPOINT")
    try:
        run(connection, "CREATE EXTENSION IF NOT EXISTS plpython3u")
    except psycopg2.Error as error:
        progress(f"PL/Python is left out: {error}".strip())
        del KINDS["PL/Python"]
    connection.close()


def table(results):
    lines = [("run", "runs", "restarts", "refused", "cancelled", "ended by",
              "lost", "alive", "s")]
    for name in dict.fromkeys(result["run"] for result in results):
        mine = [result for result in results if result["run"] == name]

        def count(*states):
            return sum(result["outcomes"].get(state, 0)
                       for result in mine for state in states)
        lines.append((
            name, len(mine), sum(result["restarts"] for result in mine),
            count(*REFUSED), count("57014"), count("57P01"),
            count("lost", "57P02", "57P03"),
            f"{sum(r['alive'] for r in mine)} of "
            f"{sum(r['runaways'] for r in mine)}",
            round(sum(r["seconds"] for r in mine) / len(mine), 1)))
    widths = [max(len(str(line[i])) for line in lines)
              for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(str(cell).ljust(width) if not i else
                        str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))))


def runs(mode, number, output):
    prepare()
    ordinary = [Ordinary(i) for i in range(ORDINARY)]
    for session in ordinary:
        session.start()
    time.sleep(2)
    results = []
    for name, kinds in plan(number):
        result = one_run(name, [Runaway(*kind) for kind in kinds], ordinary)
        results.append(result)
        progress(f"{len(results)} {mode}: {result['run']}: "
                 f"{result['restarts']} restarts, {result['outcomes']}, "
                 f"{result['alive']} of {result['runaways']} alive, ordinary "
                 f"errors {len(result['ordinary_errors'])}, "
                 f"{result['seconds']} s")
        time.sleep(0.5)
    for session in ordinary:
        session.stop.set()
    for session in ordinary:
        session.join(30)
    quiet = sum(not result["ordinary_errors"] for result in results)
    statements = sum(session.statements for session in ordinary)
    errors = sum(len(session.errors) for session in ordinary)
    print(f"guard = {mode}: {len(results)} runs, "
          f"{sum(result['restarts'] for result in results)} restarts; "
          f"ordinary sessions: {statements} transactions, {errors} failed; "
          f"in {quiet} runs none")
    table(results)
    kinds = sorted({re.sub(r"\d+", "N", error[2].strip())
                    for session in ordinary for error in session.errors})
    for text in kinds[:10]:
        print("ordinary error:", text.replace("\n", " | ")[:300])
    save(output, {"mode": mode, "runs": results, "transactions": statements,
                  "failed": errors, "quiet_runs": quiet})


# ----------------------------------------------------------------------------
# False alarms
# ----------------------------------------------------------------------------

def command(*words):
    """Runs a program; returns what it wrote to its standard error if it has
    failed."""
    done = subprocess.run(words, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def statement(*statements):
    try:
        connection = connect(name="legal")
        for sql in statements:
            run(connection, sql)
        connection.close()
    except psycopg2.Error as error:
        return str(error).strip()
    return None


def dump_and_restore():
    with tempfile.TemporaryDirectory() as directory:
        file = f"{directory}/dump"
        return (command("pg_dump", "-Fc", "-Z1", "-t", "wide", "-f", file) or
                command("pg_restore", "-d", "postgres", "-c", "-j", "2", file))


LEGAL = {
    "pgbench, 50 clients": lambda: command(
        "pgbench", "-n", "-c", "50", "-j", "2", "-T", "20", "-M", "prepared"),
    "pgbench -C": lambda: command(
        "pgbench", "-n", "-S", "-C", "-c", "10", "-T", "10"),
    "CREATE INDEX, maintenance_work_mem 1 GB": lambda: statement(
        "SET maintenance_work_mem = '1GB'",
        "CREATE INDEX legal ON wide ((md5(pad) || k::text))",
        "DROP INDEX legal"),
    "sort, work_mem 1 GB": lambda: statement(
        "SET work_mem = '1GB'",
        "SELECT count(*) FROM (SELECT * FROM wide ORDER BY pad) AS s"),
    "parallel hash join": lambda: statement(
        "SET work_mem = '128MB'", "SET max_parallel_workers_per_gather = 2",
        "SELECT count(*) FROM wide AS a JOIN wide AS b USING (k)"),
    "array_agg of 400 MB": lambda: statement(
        "SELECT length(array_agg(pad)::text) FROM wide WHERE k < 1000000"),
    "pg_dump and pg_restore": dump_and_restore,
    "scan of more than the page cache": lambda: statement(
        "SELECT count(*) FROM ballast"),
    "VACUUM": lambda: statement("VACUUM (ANALYZE) wide"),
    "100 connections": lambda: next(
        (error for error in [statement("SELECT count(*) FROM pg_class")
                             for _ in range(100)] if error), None),
}


def counted_events():
    connection = connect()
    rows = run(connection, """SELECT kind, count(*) FROM
        pg_session_memory_events WHERE kind IN ('limited', 'pressure',
        'cancelled', 'terminated') GROUP BY 1 ORDER BY 1""")
    connection.close()
    return {kind: int(count) for kind, count in rows}


def calm(minutes, output):
    prepare()
    # Larger than the group's memory, so that the page cache is always full.
    statement("CREATE TABLE ballast AS SELECT repeat(md5(i::text), 30) FROM "
              f"generate_series(1, {int(os.environ['GROUP_MB']) * 1200}) AS i")
    command("pgbench", "-i", "-q", "-s", "50")
    done = {name: 0 for name in LEGAL}
    failed = []
    until = time.time() + minutes * 60
    while time.time() < until:
        for name, work in LEGAL.items():
            error = work()
            done[name] += 1
            if error:
                failed.append((name, error))
            progress(f"{name}: {error or 'done'}")
    events = counted_events()
    print(f"calm for {minutes} minutes: {sum(done.values())} pieces of work, "
          f"{len(failed)} failed, events {events}")
    for name, number in done.items():
        print(f"{name:45} {number:4}")
    for name, error in failed[:10]:
        print(f"failed: {name}: {error}")
    save(output, {"minutes": minutes, "done": done, "failed": failed,
                  "events": events})


# ----------------------------------------------------------------------------
# How fast
# ----------------------------------------------------------------------------

RATES = (0.25, 0.5, 1, 2, 4, 10)        # GB a second, of each process
RESERVES = (16, 32, 64, 128)            # MB
# Processes at once, and MB that each asks for at a time
TAKERS = ((1, 16), (4, 16), (16, 16), (1, 128), (4, 128), (16, 128))
TRIES = 3


class Most(threading.Thread):
    """The most memory that the group's processes have had, in bytes, while
    it lasts.  The page cache is not counted: the kernel takes it back."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.bytes = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()

    def run(self):
        path = os.environ["GROUP"] + "/memory.stat"
        names = ("total_rss", "total_shmem") if "rss " in open(
            path, encoding="ascii").read() else ("anon", "shmem")
        with open(path, encoding="ascii") as file:
            while not self.stop.wait(0.002):
                file.seek(0)
                now = dict(line.split() for line in file)
                self.bytes = max(self.bytes, sum(int(now.get(name, 0))
                                                 for name in names))


def take_at_once(takers, step, rate):
    """So many processes take memory until they are refused."""
    connections = [connect(name="runaway", user="taker")
                   for _ in range(takers)]
    together = threading.Barrier(takers)

    def take(connection):
        together.wait()
        with contextlib.suppress(psycopg2.Error):
            run(connection, f"SELECT take(1::bigint << 40, {step}, {rate})")
        with contextlib.suppress(psycopg2.Error):
            connection.close()

    threads = [threading.Thread(target=take, args=(connection,))
               for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rates(library, output, short=False):
    connection = connect()
    run(connection, f"""CREATE OR REPLACE FUNCTION take(bigint, bigint, bigint)
        RETURNS bigint AS '{library}' LANGUAGE C STRICT""")
    run(connection, "CREATE ROLE taker LOGIN")
    reached = max(run(connection, "SELECT take(256 << 20, 16 << 20, "
                      "100::bigint << 30)")[0][0] for _ in range(TRIES))
    connection.close()
    print(f"this machine: {reached / 1e9:.1f} GB a second at most, of one "
          "process")
    print("restarts of the server in", TRIES, "tries, by GB a second")
    print("reserve", "processes", "MB at a time",
          *(f"{rate:g}" for rate in RATES), sep=" | ")
    results = []
    for reserve in RESERVES:
        connection = connect()
        run(connection, "ALTER SYSTEM SET pg_session_memory.guard_reserve = "
            f"'{reserve}MB'")
        run(connection, "SELECT pg_reload_conf()")
        connection.close()
        time.sleep(2)
        for takers, step in TAKERS[:1] if short else TAKERS:
            cells = []
            for rate in RATES:
                before = restarts()
                most = []
                for _ in range(TRIES):
                    with Most() as watched:
                        take_at_once(takers, step << 20, int(rate * 1e9))
                    most.append(watched.bytes)
                    time.sleep(0.3)
                    wait_for_calm()
                cells.append(restarts() - before)
                results.append({"reserve_mb": reserve, "takers": takers,
                                "step_mb": step, "rate_gb": rate,
                                "restarts": cells[-1],
                                "most_mb": [n / 2 ** 20 for n in most]})
            print(f"{reserve} MB", takers, step, *cells, sep=" | ",
                  flush=True)
    save(output, {"rates": results, "tries": TRIES, "reached": reached,
                  "group_mb": int(os.environ["GROUP_MB"])})


def main():
    part = sys.argv[1]
    if part == "runs":
        runs(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    elif part == "calm":
        calm(float(sys.argv[2]), sys.argv[3])
    elif part == "rates":
        rates(sys.argv[2], sys.argv[3], "short" in sys.argv[4:])


if __name__ == "__main__":
    main()
