#!/usr/bin/python3
"""Python's memory tools and ours: each says the same of the same memory.

Who knows memory_profiler, tracemalloc, objgraph, Pympler or Heapy looks for
the same things here.  For each of them, something is made to grow on both
sides, and what the tool shows of the client's objects pg_session_memory shows
of the session's contexts; where both can look at the same process, their
figures agree.  At last, examples/whose_memory.py has to tell a client that
leaks from a session that leaks.

Prints "ok NAME", "not ok NAME: WHY" or "skip NAME: REASON" for each test; the
status is not zero if one failed.  The server is where PGHOST and the other
variables of libpq say; it has pg_session_memory in shared_preload_libraries,
the extension is created, and the user is a superuser.  Nothing is left there.

Debian packages: python3-psycopg2, python3-memory-profiler, python3-psutil,
python3-objgraph.  Pympler and guppy3 (Heapy), which not every release of
Debian has, are used where they can be imported.
"""

import collections
import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import tracemalloc

import psycopg2

KB = 1024
MB = 1024 * 1024
WHOSE_MEMORY = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                            "..", "..", "examples", "whose_memory.py")

# Linux counts the pages of a process per CPU and adds them up now and then;
# what psutil reads, /proc/<pid>/statm, is the sum so far, while smaps_rollup,
# which ours reads, counts the pages.  Up to 32 pages a CPU, or twice the
# number of CPUs, may be missing, of files, anonymous and shared memory each.
CPUS = os.cpu_count() or 1
UNCOUNTED = 3 * CPUS * max(32, 2 * CPUS) * os.sysconf("SC_PAGESIZE")
# An idle session runs on few of them.
TOLERANCE = min(UNCOUNTED, 2 * MB)


# ---------------------------------------------------------------------------
# Workloads for examples/whose_memory.py, which imports this file
# ---------------------------------------------------------------------------

kept = []
counter = 0


def leaks_in_client(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT n, md5(n::text) FROM generate_series(1, 5000) n")
        kept.append(cursor.fetchall())


def leaks_in_libpq(connection):
    """A cursor that is kept keeps its result, which Python does not know."""
    cursor = connection.cursor()
    cursor.execute("SELECT n, md5(n::text) FROM generate_series(1, 10000) n")
    kept.append(cursor)


def leaks_in_session(connection):
    global counter
    with connection.cursor() as cursor:
        for _ in range(100):
            counter += 1
            cursor.execute(f"PREPARE leak_{counter} AS "
                           f"SELECT relname, {counter} FROM pg_class")


def leaks_in_both(connection):
    leaks_in_client(connection)
    leaks_in_session(connection)


def leaks_nowhere(connection):
    """Uses as much as the others, and gives it back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT n, md5(n::text) FROM generate_series(1, 5000) n")
        cursor.fetchall()
        for number in range(100):
            cursor.execute(f"PREPARE none_{number} AS "
                           f"SELECT relname, {number} FROM pg_class")
        cursor.execute("DEALLOCATE ALL")


# And what goes wrong in them

def fails_within(number):
    return 1 / number


def fails(connection):
    fails_within(0)


def closes(connection):
    connection.close()


def terminated(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


# ---------------------------------------------------------------------------
# Tests
# ---------------------------------------------------------------------------

failed = 0


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(is_so, why):
    if not is_so:
        raise Failed(why)


def about(ours, theirs, tolerance, what):
    check(abs(ours - theirs) <= tolerance,
          f"{what}: ours {ours}, theirs {theirs}, tolerance {tolerance}")


def tool(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Skipped(f"{name} is not installed")


class Session:
    """A connection in autocommit mode."""

    def __init__(self):
        self.connection = psycopg2.connect("")
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.pid = self.connection.info.backend_pid

    def run(self, query, *parameters):
        self.cursor.execute(query, parameters or None)

    def rows(self, query, *parameters):
        self.run(query, *parameters)
        return self.cursor.fetchall()

    def row(self, query, *parameters):
        return self.rows(query, *parameters)[0]

    def value(self, query, *parameters):
        return self.row(query, *parameters)[0]

    def snapshot(self, pid):
        return self.value("SELECT pg_session_memory_snapshot(%s)::text", pid)

    def diff(self, before, after):
        """path -> (contexts, bytes) by which it has grown"""
        return {
            row[0]: (row[1], row[2]) for row in self.rows(
                "SELECT path, contexts_after - contexts_before, growth_bytes"
                " FROM pg_session_memory_diff(%s, %s)", before, after)}

    def prepare(self, first, last):
        self.run(f"DO $$BEGIN FOR i IN {first} .. {last} LOOP EXECUTE format("
                 "'PREPARE s%s AS SELECT relname, %s FROM pg_class', i, i);"
                 " END LOOP; END$$")

    def end(self):
        self.connection.close()


@contextlib.contextmanager
def sessions(count=2):
    """Ours, which looks, and others, which are looked at."""
    opened = [Session() for _ in range(count)]
    try:
        yield opened
    finally:
        for session in opened:
            session.end()


def wait_until(what, condition, seconds=20):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise Failed(f"{what}: not within {seconds} s")


SOURCE = "CacheMemoryContext > CachedPlanSource"


def memory_profiler_figures():
    """memory_usage(pid) is rss_bytes, its psutil_pss and psutil_uss backends
    are pss_bytes and private_bytes: of a session that is idle, each time."""
    memory_usage = tool("memory_profiler").memory_usage
    with sessions() as (observer, watched):
        watched.run("SET work_mem = '64MB'")
        for amount in 0, 50000:
            watched.run("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT"
                        " repeat('x', 200) FROM generate_series(1, %s); COMMIT",
                        amount)
            # It looks at itself once more when it has been idle a second.
            time.sleep(1.5)
            for backend, column in (("psutil", "rss_bytes"),
                                    ("psutil_pss", "pss_bytes"),
                                    ("psutil_uss", "private_bytes")):
                theirs = memory_usage(watched.pid, interval=0.01, timeout=0.01,
                                      backend=backend)[0]
                if theirs is None:
                    raise Skipped(f"{backend} is refused by the system")
                ours = observer.value(
                    f"SELECT {column} FROM pg_session_memory_process(%s)",
                    watched.pid)
                # pss and uss are out of smaps, with each mapping in full kB.
                about(ours, theirs * MB, TOLERANCE, f"{column} with {amount} rows")
            watched.run("CLOSE held")


def memory_profiler_time_series():
    """While a statement sorts, memory_usage(pid) over time and
    pg_session_memory_sample() rise by the same amount.  anon_bytes rises by
    what the sort needs; rss also by the pages of shared memory touched, for
    which there is a megabyte more of tolerance."""
    memory_usage = tool("memory_profiler").memory_usage
    with sessions() as (observer, watched):
        watched.run("SET work_mem = '64MB'; SET max_parallel_workers_per_gather = 0")
        # All are sorted, and the last one waits.  (LIMIT 1 would have only one
        # kept, also behind OFFSET 0.)
        sort = ("SELECT pg_sleep({}) FROM (SELECT md5(n::text) FROM"
                " generate_series(0, {count}) n ORDER BY 1 OFFSET {count}) s")
        watched.run(sort.format(0, count=10))
        series = {}

        def sampled():
            series["ours"] = observer.rows(
                "SELECT anon_bytes, context_bytes, state"
                " FROM pg_session_memory_sample(%s, '50 ms', 80)", watched.pid)

        def profiled():
            series["theirs"] = [usage * MB for usage in memory_usage(
                watched.pid, interval=0.05, timeout=4)]

        threads = [threading.Thread(target=watch) for watch in (sampled, profiled)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        watched.run(sort.format(1.5, count=200000))
        for thread in threads:
            thread.join()
        ours, theirs = series["ours"], series["theirs"]
        check(len(ours) == 80 and len(theirs) == 80,
              f"{len(ours)} and {len(theirs)} of 80 samples")
        rise = max(row[0] for row in ours) - ours[0][0]
        check(rise > 15 * MB, f"the sort is not seen: {rise} bytes")
        about(rise, max(theirs) - theirs[0], TOLERANCE + MB, "the rise")
        check(max(row[1] for row in ours) - ours[0][1] > 0.8 * rise - MB,
              "contexts do not explain the rise")
        check({"active", "idle"} <= {row[2] for row in ours},
              "the states are not seen")


def tracemalloc_compare():
    """compare_to() adds up to what get_traced_memory() has grown by, and
    diff to what context_bytes has; the largest comes first in both."""
    with sessions() as (observer, watched):
        tracemalloc.start()
        try:
            own_before = tracemalloc.take_snapshot()
            data = [bytes(1000) for _ in range(2000)]
            compared = tracemalloc.take_snapshot().compare_to(own_before, "lineno")
        finally:
            tracemalloc.stop()
        check(compared[0].traceback[0].filename.endswith("python_tools.py")
              and compared[0].size_diff >= 2000 * 1000,
              "tracemalloc does not see its own")
        del data

        context_bytes = ("SELECT context_bytes FROM pg_session_memory"
                         f" WHERE pid = {watched.pid}")
        watched.prepare(1, 10)
        bytes_before = observer.value(context_bytes)
        before = observer.snapshot(watched.pid)
        watched.prepare(11, 1010)
        bytes_after = observer.value(context_bytes)
        rows = observer.rows(
            "SELECT path, growth_bytes, contexts_before IS NOT NULL"
            " FROM pg_session_memory_diff(%s, %s)",
            before, observer.snapshot(watched.pid))
        check(rows[0][0].startswith("CacheMemoryContext > CachedPlan"),
              f"the largest growth is {rows[0][0]}")
        check([row[1] for row in rows]
              == sorted((row[1] for row in rows), reverse=True),
              "the largest growth does not come first")
        # Headers of contexts that are no AllocSet, of some 200 bytes each, are
        # counted by one and not by the other.
        about(sum(row[1] for row in rows if row[2]), bytes_after - bytes_before,
              10 * KB, "sum of the growth")


def tracemalloc_peak():
    """get_traced_memory() and reset_peak(): the peak stays when the memory
    goes, and begins anew when it is told to.  So does peak_bytes."""
    published = ("SELECT retained_bytes, peak_bytes, growth_bytes,"
                 " baseline_bytes FROM pg_session_memory WHERE pid = {}")
    with sessions() as (observer, watched):
        query = published.format(watched.pid)
        watched.run("SET pg_session_memory.max_overhead = 100")
        watched.prepare(1, 2000)
        wait_until("the peak", lambda: observer.row(query)[1] > 10 * MB)
        watched.run("DEALLOCATE ALL")
        wait_until("the fall", lambda: observer.row(query)[0] < 5 * MB)
        retained, peak, growth, baseline = observer.row(query)
        check(peak > 10 * MB, "peak_bytes fell with the memory")
        check(growth == retained - baseline,
              "growth_bytes is not what was retained beyond the baseline")

        tracemalloc.start()
        try:
            data = bytes(10 * MB)
            del data
            current, own_peak = tracemalloc.get_traced_memory()
            check(own_peak > 10 * MB > current, "tracemalloc's peak")
            tracemalloc.reset_peak()
            check(tracemalloc.get_traced_memory()[1] < MB, "tracemalloc's reset")
        finally:
            tracemalloc.stop()
        watched.run("SELECT pg_session_memory_reset_peak()")
        wait_until("reset_peak", lambda: observer.row(query)[1] < 5 * MB)


class Grown:
    """Something that objgraph can count."""


def objgraph_growth():
    """growth() counts 500 new objects of a type, diff 500 new contexts of a
    path; most_common_types() has its like in categories, whose largest group
    is counted."""
    objgraph = tool("objgraph")
    with sessions() as (observer, watched):
        peaks = {}
        objgraph.growth(limit=None, peak_stats=peaks)
        objects = [Grown() for _ in range(500)]
        grown = {row[0]: row[2]
                 for row in objgraph.growth(limit=None, peak_stats=peaks)}
        check(grown.get("Grown") == 500, f"objgraph sees {grown.get('Grown')}")

        before = observer.snapshot(watched.pid)
        watched.prepare(1, 500)
        grown = observer.diff(before, observer.snapshot(watched.pid))
        check(grown[SOURCE][0] == 500, f"diff sees {grown[SOURCE][0]}")
        before = observer.snapshot(watched.pid)
        watched.prepare(501, 501)
        grown = observer.diff(before, observer.snapshot(watched.pid))
        check(grown[SOURCE][0] == 1, "diff does not see a single one")

        common = dict(objgraph.most_common_types(limit=None))
        check(common["Grown"] == 500, "objgraph's most common types")
        category, name, count = observer.row(
            "SELECT category, largest_context, largest_context_count"
            " FROM pg_session_memory_categories(%s)"
            " WHERE contexts IS NOT NULL LIMIT 1", watched.pid)
        check(category == "cached plans" and name.startswith("CachedPlan")
              and count == 501, f"the largest is {category}, {count} {name}")
        types = collections.Counter(
            row[0] for row in observer.rows(
                "SELECT name FROM pg_session_memory_contexts(%s)", watched.pid))
        check(types["CachedPlanSource"] == 501, "contexts by name")
        del objects


def objgraph_chain():
    """find_backref_chain() says what keeps an object; path leads from a
    context to the root, and parent names each step."""
    objgraph = tool("objgraph")
    kept.append(Grown())
    chain = objgraph.find_backref_chain(kept[-1], objgraph.is_proper_module)
    check(chain[-1] is kept.pop() and len(chain) > 1, "objgraph finds no chain")
    del chain
    with sessions() as (observer, watched):
        watched.prepare(1, 3)
        contexts = observer.rows(
            "SELECT path, name, parent, level, ident"
            " FROM pg_session_memory_contexts(%s)", watched.pid)
        by_number = {row[0][-1]: row for row in contexts}
        roots = 0
        for path, name, parent, level, _ in contexts:
            check(len(path) == level, f"{name}: path {path} at level {level}")
            check(path[0] == contexts[0][0][0], f"{name}: {path} leads elsewhere")
            if parent is None:
                roots += 1
            else:
                check(by_number[path[-2]][1] == parent,
                      f"{name}: {parent} is not {by_number[path[-2]][1]}")
        check(roots == 1, f"{roots} roots")
        source = [row for row in contexts if "PREPARE s2 AS" in (row[4] or "")]
        check(source, "the statement is not named")
        chain = [by_number[number][1] for number in source[0][0]]
        check(chain == ["TopMemoryContext", "CacheMemoryContext",
                        "CachedPlanSource"], f"the chain is {chain}")


def stored_snapshots():
    """What Pympler's tracker does from call to call: differences between
    snapshots that follow each other, here out of a table."""
    with sessions() as (observer, watched):
        observer.run("CREATE TEMP TABLE taken (n int, s jsonb)")
        for number, count in enumerate((0, 100, 0, 300)):
            if count:
                watched.run("DEALLOCATE ALL")
                watched.prepare(1, count)
            elif number:
                watched.run("SELECT 1")
            observer.run("INSERT INTO taken SELECT %s,"
                         " pg_session_memory_snapshot(%s)", number, watched.pid)
        growth = dict(observer.rows(
            "SELECT n, coalesce((SELECT contexts_after - contexts_before"
            "   FROM pg_session_memory_diff(before, s) WHERE path = %s), 0)"
            " FROM (SELECT n, s, lag(s) OVER (ORDER BY n) AS before"
            "   FROM taken) t WHERE n > 0", SOURCE))
        check(growth == {1: 100, 2: 0, 3: 200}, f"differences are {growth}")


def pympler_tracker():
    """SummaryTracker.diff() counts what was made since its last call."""
    SummaryTracker = tool("pympler.tracker").SummaryTracker
    with sessions() as (observer, watched):
        tracker = SummaryTracker()
        before = observer.snapshot(watched.pid)
        tracker.diff()
        for count in 100, 300:
            objects = [Grown() for _ in range(count)]
            counted = sum(row[1] for row in tracker.diff() if "Grown" in row[0])
            watched.prepare(1, count)
            after = observer.snapshot(watched.pid)
            grown = observer.diff(before, after)[SOURCE][0]
            check(counted == grown == count,
                  f"of {count}: Pympler {counted}, diff {grown}")
            del objects
            tracker.diff()
            watched.run("DEALLOCATE ALL")
            before = observer.snapshot(watched.pid)


def fresh_baseline():
    """Heapy's set relative to a baseline: what a session has beyond a fresh
    one, and beyond its own first command."""
    with sessions(3) as (observer, watched, fresh):
        watched.run("SET pg_session_memory.max_overhead = 100")
        fresh.run("SELECT 1")
        baseline = observer.snapshot(fresh.pid)
        same = observer.diff(baseline, observer.snapshot(fresh.pid))
        check(not {path: grown for path, grown in same.items()
                   if grown[0] is not None}, f"an idle session differs: {same}")
        watched.prepare(1, 2000)
        grown = observer.diff(baseline, observer.snapshot(watched.pid))
        check(grown[SOURCE][0] == 2000, f"{grown[SOURCE][0]} statements of 2000")
        beyond = sum(size for contexts, size in grown.values()
                     if contexts is not None)
        growth = ("SELECT growth_bytes FROM pg_session_memory"
                  f" WHERE pid = {watched.pid}")
        wait_until("growth_bytes", lambda: observer.value(growth) > 10 * MB)
        # The fresh session and the first command of this one differ by the
        # catalogs that they have read.
        about(observer.value(growth), beyond, MB, "growth")


def heapy_baseline():
    """setrelheap() and heap(): only what came after the baseline, on both
    sides."""
    heapy = tool("guppy").hpy()
    with sessions() as (observer, watched):
        baseline = observer.snapshot(watched.pid)
        heapy.setrelheap()
        objects = [Grown() for _ in range(500)]
        watched.prepare(1, 500)
        counted = (heapy.heap() & heapy.iso(*objects)).count
        grown = observer.diff(baseline, observer.snapshot(watched.pid))
        check(counted == grown[SOURCE][0] == 500,
              f"Heapy {counted}, diff {grown[SOURCE][0]}")
        del objects


def whose_memory(workload, verdict, *words):
    def test():
        tool("memory_profiler")
        result = subprocess.run(
            [sys.executable, WHOSE_MEMORY, "--rounds", "8",
             f"python_tools:{workload}"],
            cwd=os.path.dirname(os.path.abspath(__file__)),
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, timeout=120)
        output = result.stdout + result.stderr
        check(result.returncode == 0, f"status {result.returncode}\n{output}")
        check(output.rstrip().endswith(f"\nWhose memory grows: {verdict}"),
              f"not {verdict}\n{output}")
        for word in words:
            check(word in output, f"no {word}\n{output}")
    return test


# What users do wrong: arguments, then what whose_memory.py has to say.  Those
# in front are environment variables.
MISUSES = (
    ("no memory_profiler", {"MISSING": "memory_profiler"}, [],
     "module memory_profiler is missing", "python3-memory-profiler"),
    ("no psycopg2", {"MISSING": "psycopg2"}, [],
     "module psycopg2 is missing", "python3-psycopg2"),
    ("no server", {}, ["--dsn", "host=/nowhere dbname=postgres"],
     "could not connect", "/nowhere"),
    ("no such database", {}, ["--dsn", "dbname=nowhere"],
     "could not connect", 'database "nowhere" does not exist'),
    ("a DSN that is none", {}, ["--dsn", "here and there"],
     "could not connect", "here"),
    ("no extension", {}, ["--dsn", "dbname=template1"],
     "CREATE EXTENSION pg_session_memory"),
    ("one round", {}, ["--rounds", "1"], "--rounds", "2"),
    ("rounds that are no number", {}, ["--rounds", "many"], "--rounds", "many"),
    ("a tolerance below nothing", {}, ["--tolerance", "-1"], "--tolerance"),
    ("no function", {}, ["python_tools"], "MODULE:FUNCTION"),
    ("a file instead of a module", {}, ["python_tools.py:leaks_nowhere"],
     "python_tools:leaks_nowhere"),
    ("no such module", {}, ["nowhere:leaks"], "there is no module nowhere"),
    ("no such function", {}, ["python_tools:nowhere"],
     "python_tools has no function nowhere"),
    ("what is no function", {}, ["python_tools:KB"], "KB is not a function"),
    ("a module that fails", {}, ["misuses:failing_module"],
     "misuses could not be imported", "SyntaxError", "misuses.py"),
    ("a function of no argument", {}, ["python_tools:main"],
     "python_tools:main failed in round 1", "TypeError"),
    ("a function that fails", {}, ["python_tools:fails"],
     "python_tools:fails failed in round 1", "ZeroDivisionError",
     "python_tools.py:", "in fails_within"),
    ("a function that closes the connection", {}, ["python_tools:closes"],
     "has ended"),
    ("a function whose session is terminated", {}, ["python_tools:terminated"],
     "python_tools:terminated failed in round 1", "psycopg2."),
)


def misuse(variables, arguments, *words):
    def test():
        if "memory_profiler" not in variables.values():
            tool("memory_profiler")
        with tempfile.TemporaryDirectory() as directory:
            with open(f"{directory}/misuses.py", "w") as module:
                module.write("def failing_module(\n")
            if "MISSING" in variables:
                name = variables["MISSING"]
                with open(f"{directory}/{name}.py", "w") as module:
                    module.write(f"raise ModuleNotFoundError({name!r})\n")
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1",
                           "PYTHONPATH": directory}
            command = [sys.executable, WHOSE_MEMORY, "--rounds", "2"]
            result = subprocess.run(
                command + arguments, env=environment,
                cwd=os.path.dirname(os.path.abspath(__file__)),
                capture_output=True, text=True, timeout=120)
            check(result.returncode in (1, 2),
                  f"status {result.returncode}\n{result.stderr}")
            check("Traceback" not in result.stdout + result.stderr,
                  f"a traceback\n{result.stderr}")
            for word in words:
                check(word in result.stderr, f"no {word}\n{result.stderr}")
            # Help is there whatever is missing.
            if "MISSING" in variables:
                result = subprocess.run(
                    command + ["--help"], env=environment,
                    capture_output=True, text=True, timeout=120)
                check(result.returncode == 0 and
                      "MODULE:FUNCTION" in result.stdout,
                      f"no help, status {result.returncode}\n{result.stderr}")
    return test


def interrupted():
    """^C is no mistake, and no traceback either."""
    tool("memory_profiler")
    process = subprocess.Popen(
        [sys.executable, WHOSE_MEMORY, "--rounds", "1000000",
         "python_tools:leaks_nowhere"],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.lstrip().startswith("1 |"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    check(process.returncode == 130, f"status {process.returncode}\n{errors}")
    check("Traceback" not in errors, f"a traceback\n{errors}")


def output_closed():
    """As with | head."""
    tool("memory_profiler")
    process = subprocess.Popen(
        [sys.executable, WHOSE_MEMORY, "--rounds", "1000000",
         "python_tools:leaks_nowhere"],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(timeout=120)
    check(errors == "", f"it says: {errors}")


TESTS = (
    ("memory_profiler: its figures for a session's pid",
     memory_profiler_figures),
    ("memory_profiler: time series", memory_profiler_time_series),
    ("tracemalloc: compare_to", tracemalloc_compare),
    ("tracemalloc: peak and reset_peak", tracemalloc_peak),
    ("objgraph: growth and most common types", objgraph_growth),
    ("objgraph: chain to the root", objgraph_chain),
    ("Pympler's way: differences of stored snapshots", stored_snapshots),
    ("Pympler: SummaryTracker", pympler_tracker),
    ("Heapy's way: relative to a fresh session", fresh_baseline),
    ("Heapy: setrelheap", heapy_baseline),
    ("whose_memory.py: a client that leaks",
     whose_memory("leaks_in_client", "your process", "python_tools.py:")),
    ("whose_memory.py: a client that leaks in libpq",
     whose_memory("leaks_in_libpq", "your process", "in C")),
    ("whose_memory.py: a session that leaks",
     whose_memory("leaks_in_session", "the server's session",
                  "CachedPlanSource", "DEALLOCATE")),
    ("whose_memory.py: both leak", whose_memory("leaks_in_both", "both")),
    ("whose_memory.py: nothing leaks",
     whose_memory("leaks_nowhere", "neither")),
    *((f"whose_memory.py: {name}", misuse(*rest)) for name, *rest in MISUSES),
    ("whose_memory.py: interrupted", interrupted),
    ("whose_memory.py: its output is closed", output_closed),
)


def main():
    global failed

    for name, test in TESTS:
        gc.collect()
        try:
            test()
        except Skipped as reason:
            print(f"skip {name}: {reason}", flush=True)
        except Exception as why:
            failed += 1
            if not isinstance(why, Failed):
                traceback.print_exc()
            first, _, rest = str(why).partition("\n")
            print(f"not ok {name}: {first}\n{rest}".rstrip(), flush=True)
        else:
            print(f"ok {name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
