#!/usr/bin/python3
"""Is it my process or the server's?

Runs a workload on one connection, round by round.  After each round it prints
the memory of this process beside that of the server's session, and in the end
which of the two grows, and what in it.

    whose_memory.py [--rounds N] [--tolerance KB] [--dsn DSN] [MODULE:FUNCTION]

FUNCTION is yours: it is called once a round as FUNCTION(connection), with an
open psycopg2 connection, and does what your program does between two points at
which it should have as much memory as before, such as one request or one
batch.  What it keeps (a global list, a cache) is what you are looking for.
MODULE is imported from the current directory or PYTHONPATH.  Without it, the
example below runs, which leaks prepared statements.  Where the server is comes
from --dsn or from PGHOST and the other variables of libpq.

    python    traced      what Python's tracemalloc knows of: now
    python    peak        and at most during the round
    python    process     memory_profiler's memory_usage() of this process: also
                          what C libraries such as libpq have
    session   contexts    context_bytes of the server's session
    session   process     its anon_bytes, what the operating system counts
    session   growth      its growth_bytes since before its first command, as it
                          measured itself; only where pg_session_memory is
                          preloaded

The first half of the rounds is for warming up: caches fill, and that is no
leak.  What has grown by more than the tolerance (1024 kB) in the second half
grows.  A slow leak needs more rounds, or more work in a round.

Needs the extension in the database (CREATE EXTENSION pg_session_memory), and
python3-psycopg2 and python3-memory-profiler of Debian, or the same from PyPI.
"""

import argparse
import gc
import importlib
import os
import sys
import textwrap
import traceback
import tracemalloc

# --help is there without them.
try:
    missing = "psycopg2", "python3-psycopg2", "psycopg2-binary"
    import psycopg2
    missing = ("memory_profiler", "python3-memory-profiler",
               "memory-profiler")
    from memory_profiler import memory_usage
    missing = None
except ImportError:
    pass

KB = 1024
MB = 1024 * 1024


def example(connection, state={"number": 0}):
    """What a driver does that prepares each text and deallocates none."""
    with connection.cursor() as cursor:
        for _ in range(100):
            state["number"] += 1
            cursor.execute(
                f"PREPARE leak_{state['number']} AS "
                f"SELECT relname, {state['number']} FROM pg_class")


def stop(message):
    sys.exit(f"whose_memory.py: {message}")


def connect(dsn, name=None):
    try:
        connection = psycopg2.connect(dsn, application_name=name)
    except psycopg2.Error as error:
        stop(f"could not connect: {str(error).strip()}")
    connection.autocommit = True
    return connection


class Server:
    """The session that does the work, as another one sees it."""

    def __init__(self, dsn, pid):
        self.connection = connect(dsn, "whose_memory.py")
        self.cursor = self.connection.cursor()
        self.pid = pid

    def ask(self, query, *arguments):
        try:
            self.cursor.execute(query, arguments)
            return self.cursor.fetchall()
        except (psycopg2.errors.UndefinedTable,
                psycopg2.errors.UndefinedFunction):
            stop("the extension is not in this database, or in a schema that "
                 "search_path lacks: CREATE EXTENSION pg_session_memory")
        except psycopg2.Error as error:
            hint = error.diag.message_hint
            stop(str(error).strip() +
                 (f"\nHINT:  {hint}" if hint and hint not in str(error) else ""))

    def measure(self):
        rows = self.ask(
            "SELECT context_bytes, anon_bytes, growth_bytes, source "
            "FROM pg_session_memory WHERE pid = %s", self.pid)
        if not rows:
            stop(f"the session with PID {self.pid} has ended, or there was "
                 "none: connect to the server itself, not to a pooler")
        *row, source = rows[0]
        if source == "unavailable":
            stop("the server may not read its session's memory: preload "
                 "pg_session_memory, or set kernel.yama.ptrace_scope to 0")
        if row[0] is None:
            stop("cannot see the session's memory: "
                 "it takes the same role, or pg_read_all_stats")
        return row

    def snapshot(self):
        return self.ask("SELECT pg_session_memory_snapshot(%s)::text",
                        self.pid)[0][0]

    def growth(self, before, after):
        return self.ask(
            "SELECT growth_bytes, contexts_after - contexts_before,"
            " path FROM pg_session_memory_diff(%s, %s)"
            " WHERE growth_bytes > 0 LIMIT 3", before, after)

    def remedy(self):
        rows = self.ask(
            "SELECT remedy FROM pg_session_memory_categories(%s)"
            " WHERE contexts IS NOT NULL LIMIT 1", self.pid)
        return rows[0][0] if rows else ""


def pretty(size):
    return "-" if size is None else f"{size / KB:,.0f}"


def process_bytes():
    return int(memory_usage(-1, interval=0.01, timeout=0.01)[0] * MB)


def python_snapshot():
    """Without tracemalloc's own memory, and that of modules being imported."""
    return tracemalloc.take_snapshot().filter_traces((
        tracemalloc.Filter(False, tracemalloc.__file__),
        tracemalloc.Filter(False, "<frozen *>"),
    ))


def where(error):
    """What was raised, and where: outermost first, without this file."""
    lines = traceback.format_exception_only(type(error), error)
    frames = [f"  {os.path.relpath(frame.filename)}:{frame.lineno}, "
              f"in {frame.name}"
              for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename not in (__file__, importlib.__file__)
              and not frame.filename.startswith("<frozen ")]
    return "\n".join([*frames, "".join(lines).rstrip()])


def run(workload, dsn="", rounds=10, tolerance=MB):
    """Returns whether the client grows and whether the session does."""
    connection = connect(dsn)
    server = Server(dsn, connection.info.backend_pid)
    half = rounds // 2
    series = []
    server.measure()            # says what is wrong before the table begins

    print("round |   python, kB                    |   server's session, kB")
    print("      |   traced       peak    process  | contexts    process"
          "     growth")
    tracemalloc.start()
    for number in range(rounds + 1):
        tracemalloc.reset_peak()
        if number > 0:
            try:
                workload(connection)
            except Exception as error:
                name = getattr(workload, "__qualname__", repr(workload))
                stop(f"{workload.__module__}:{name} failed in "
                     f"round {number}:\n{where(error)}")
        gc.collect()
        traced, peak = tracemalloc.get_traced_memory()
        process = process_bytes()
        contexts, anon, growth = server.measure()
        print(f"{number:5} | {pretty(traced):>8} {pretty(peak):>10} "
              f"{pretty(process):>10}  | {pretty(contexts):>8} "
              f"{pretty(anon):>10} {pretty(growth):>10}", flush=True)
        series.append((traced, process, contexts, anon or 0))
        if number == half:
            # A snapshot needs memory itself, which must not pass for a leak:
            # the end is compared with what there is after it was taken.
            before = python_snapshot(), server.snapshot()
            series[half] = (
                tracemalloc.get_traced_memory()[0],
                process_bytes(), *series[half][2:])
    after = python_snapshot(), server.snapshot()
    tracemalloc.stop()

    traced, process, contexts, anon = (
        last - middle for last, middle in zip(series[-1], series[half]))
    client_grows = max(traced, process) > tolerance
    server_grows = max(contexts, anon) > tolerance

    print(f"\nFrom round {half} to {rounds}: python {pretty(traced)} kB traced, "
          f"{pretty(process)} kB process; "
          f"session {pretty(contexts)} kB contexts, {pretty(anon)} kB process.")
    if client_grows:
        print("\nYour process grows.")
        if traced > tolerance / 2:
            changed = after[0].compare_to(before[0], "lineno")
            for line in [line for line in changed if line.size_diff > 0][:3]:
                frame = line.traceback[0]
                print(f"  {pretty(line.size_diff):>8} kB, {line.count_diff:+} "
                      f"blocks: {os.path.relpath(frame.filename)}"
                      f":{frame.lineno}")
        else:
            print("  Not in Python's objects, but in C: results of libpq that "
                  "a client-side\n  cursor keeps, a library, or what malloc "
                  "keeps free.")
    if server_grows:
        print("\nThe server's session grows.")
        for size, count, path in server.growth(before[1], after[1]):
            number = "" if count is None else f", {count:+} contexts"
            print(f"  {pretty(size):>8} kB{number}: {path}")
        if contexts > tolerance / 2:
            print(textwrap.indent(textwrap.fill(server.remedy(), 76), "  "))
    verdict = {
        (True, True): "both",
        (True, False): "your process",
        (False, True): "the server's session",
        (False, False): "neither",
    }[client_grows, server_grows]
    print(f"\nWhose memory grows: {verdict}")
    return client_grows, server_grows


def find_workload(parser, name):
    """MODULE:FUNCTION"""
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        parser.error(f"{name}: it takes MODULE:FUNCTION")
    if module_name.endswith(".py"):
        parser.error("a module is named as for import: "
                     f"{module_name[:-3].replace('/', '.')}:{function_name}")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            parser.error(f"there is no module {module_name} in "
                         f"{os.getcwd()} or PYTHONPATH")
        stop(f"{module_name} could not be imported:\n{where(error)}")
    function = getattr(module, function_name, None)
    if function is None:
        parser.error(f"{module_name} has no function {function_name}")
    if not callable(function):
        parser.error(f"{name.partition(':')[2]} is not a function")
    return function


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="?", metavar="MODULE:FUNCTION")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tolerance", type=int, default=1024, metavar="KB")
    parser.add_argument("--dsn", default="")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: it takes 2 to compare")
    if arguments.tolerance < 0:
        parser.error("--tolerance: it cannot be negative")
    if missing:
        stop("Python's module {} is missing: apt-get install {}, or "
             "pip install {}".format(*missing))

    workload = example
    if arguments.workload:
        workload = find_workload(parser, arguments.workload)
    run(workload, arguments.dsn, arguments.rounds, arguments.tolerance * KB)


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:     # as with | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
