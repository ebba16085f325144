#!/usr/bin/python3
"""Looking at oneself, and at another session; run.sh runs this.

look.py ROUNDS MAX_CONTEXTS OUTPUT

Makes sessions of several sizes, with PREPARE and one that has planned a query
over 3,000 partitions, and has them and an observer ask, in turns:

  self, core    in the session itself: pg_session_memory_contexts() and
                pg_backend_memory_contexts
  other         in the observer: pg_session_memory_contexts(pid)
  walk          in the observer: the figures of the view for that session

the first two kinds as

  count         SELECT count(*), sum(total_bytes), for which the planner asks
                our function for two columns only
  same          the count of each of the columns that both have
  all           SELECT count(c) of whole rows, for which every column has to be
                there

Times are CPU of the process that does the work, as the kernel counts it in
/proc/PID/schedstat; small ones are of many queries in a row.  The observer
has looked at the session before; "first" is a walk by one that has not.

Then what the observed session itself spends: under all our looks at it
together, and under pg_log_backend_memory_contexts(pid); and what a look reads,
which strace sees.
"""
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from sessions import (connect, cpu_ns, make_partitions, prepare_statements,
                      progress, ratios, run, save, shuffled, spread)

# What a session has, and contexts, about.
SESSIONS = (("fresh", 0), ("statements", 1000), ("statements", 6000),
            ("partitions", 6000), ("statements", 66000),
            ("statements", 300000))
PARTITIONS = 3000
COUNT = "SELECT count(*), sum(total_bytes) FROM {} c"
ALL = "SELECT count(c) FROM {} c"
WALK = ("SELECT contexts, context_bytes FROM "
        "pg_session_memory_measure({}, NULL)")

# Contexts that a measurement should be about, so that a small one is long
# enough.
CONTEXTS_A_MEASUREMENT = 6000

# Connections that look for the first time.
FIRST_LOOKS = 5


def open_session():
    connection = connect()
    # The rows of neither side are to go to a file.
    run(connection, "SET work_mem = '1GB'")
    return connection


def count_contexts(connection):
    return run(connection, COUNT.format("pg_session_memory_contexts()"))[0]


def columns_of(connection, source):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {source} LIMIT 0")
        return [column.name for column in cursor.description]


def make_size(connection, kind, size):
    if kind == "partitions":
        run(connection, "SELECT count(*) FROM part WHERE b = 1")
        return
    missing = size - count_contexts(connection)[0]
    if missing > 0:
        prepare_statements(connection, 1, missing // 2)


def reads_of(observer, sql):
    """What a query reads of other processes: process_vm_readv calls, ranges
    that they name, and bytes.  None where strace cannot."""
    pid = observer.get_backend_pid()
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile(mode="r") as output:
        with subprocess.Popen(
                ["strace", "-q", "-e", "trace=process_vm_readv",
                 "-o", output.name, "-p", str(pid)],
                stderr=subprocess.PIPE, text=True) as strace:
            try:
                while not _is_traced(pid):
                    if strace.poll() is not None:
                        progress("skip what a look reads: " +
                                 strace.stderr.read().strip())
                        return None
                    time.sleep(0.01)
                run(observer, sql)
            finally:
                if strace.poll() is None:
                    strace.send_signal(signal.SIGINT)
        calls = re.findall(r"^process_vm_readv\(.*\], (\d+), 0\) += (-?\d+)",
                           output.read(), re.MULTILINE)
    return {"calls": len(calls), "ranges": sum(int(n) for n, _ in calls),
            "bytes": sum(max(0, int(copied)) for _, copied in calls)}


def _is_traced(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0"
                   for line in file)


def let_rest(session):
    """Has an idle session do first what it would do by itself a while later:
    report statistics, at the end of a command if the last time is a second
    ago, and what the library, which it has loaded to look at itself, does a
    second after that."""
    time.sleep(1.1)
    run(session, "SELECT 1")
    time.sleep(1.5)


def log_once(observer, pid):
    """Milliseconds until the session has logged its contexts, and of its CPU
    meanwhile."""
    before = cpu_ns(pid)
    began = time.perf_counter()
    run(observer, f"SELECT pg_log_backend_memory_contexts({pid})")
    while cpu_ns(pid) == before:
        if time.perf_counter() - began > 60:
            sys.exit("a session did not log its memory contexts")
    took = time.perf_counter() - began
    return took * 1e3, (cpu_ns(pid) - before) / 1e6


def first_walk(other, pid):
    """Milliseconds of CPU of an observer that has looked at another session
    only."""
    observer = open_session()
    for _ in range(2):
        run(observer, WALK.format(other.get_backend_pid()))
    before = cpu_ns(observer.get_backend_pid())
    run(observer, WALK.format(pid))
    took = cpu_ns(observer.get_backend_pid()) - before
    observer.close()
    return took / 1e6


def look(observer, kind, size, rounds):
    session = open_session()
    make_size(session, kind, size)
    pid = session.get_backend_pid()
    contexts, size_bytes = count_contexts(session)
    # Asking itself has loaded the library into it, which would have it measure
    # itself when it has been idle for a while.  That is not what is looked at.
    run(session, "SET pg_session_memory.track = off")
    repeat = max(1, CONTEXTS_A_MEASUREMENT // contexts)
    ours = "pg_session_memory_contexts({})"
    columns = {"core": columns_of(observer, "pg_backend_memory_contexts"),
               "ours": columns_of(observer, ours.format(""))}
    both = [name for name in columns["core"] if name in columns["ours"]]
    same = f"SELECT {', '.join(f'count({name})' for name in both)} FROM {{}}"
    queries = {
        "self count": (session, COUNT.format(ours.format(""))),
        "self same": (session, same.format(ours.format(""))),
        "self all": (session, ALL.format(ours.format(""))),
        "core count": (session, COUNT.format("pg_backend_memory_contexts")),
        "core same": (session, same.format("pg_backend_memory_contexts")),
        "core all": (session, ALL.format("pg_backend_memory_contexts")),
        "other count": (observer, COUNT.format(ours.format(pid))),
        "other same": (observer, same.format(ours.format(pid))),
        "other all": (observer, ALL.format(ours.format(pid))),
        "walk": (observer, WALK.format(pid)),
    }
    times = {name: [] for name in queries}
    for connection, sql in queries.values():
        run(connection, sql)
    for number in range(rounds):
        for name in shuffled(queries, number):
            connection, sql = queries[name]
            worker = connection.get_backend_pid()
            before = cpu_ns(worker)
            for _ in range(repeat):
                run(connection, sql)
            times[name].append((cpu_ns(worker) - before) / 1e6 / repeat)

    let_rest(session)
    observations = 0
    before = cpu_ns(pid)
    for connection, sql in queries.values():
        if connection is observer:
            for _ in range(rounds):
                run(observer, sql)
                observations += 1
    lost = cpu_ns(pid) - before

    with connect() as other:
        first = [first_walk(other, pid)
                 for _ in range(min(rounds, FIRST_LOOKS))]
    logged = [log_once(observer, pid) for _ in range(rounds)]
    result = {
        "session": kind, "contexts": contexts, "bytes": int(size_bytes),
        "columns": {"core": len(columns["core"]), "ours": len(columns["ours"]),
                    "both": len(both)},
        "ms": {name: spread(values) for name, values in times.items()},
        # each beside what PostgreSQL has for the same query
        "ratio": {name: ratios(times[name], times["core " + name.split()[1]])
                  for name in times if name.split()[0] in ("self", "other")},
        "observations": observations, "lost_ns": lost,
        "log_ms": spread([ms for ms, _ in logged]),
        "log_lost_ms": spread([ms for _, ms in logged]),
        "walk_us_a_context":
            [ms * 1e3 / contexts for ms in spread(times["walk"])],
        "first_walk_us_a_context": [ms * 1e3 / contexts
                                    for ms in spread(first)],
        "reads": {name: reads_of(observer, queries[name][1])
                  for name in ("walk", "other all")},
    }
    session.close()
    return result


def main():
    rounds, most = int(sys.argv[1]), int(sys.argv[2])
    observer = open_session()
    results = []
    for kind, size in SESSIONS:
        if size <= most:
            if kind == "partitions":
                progress(f"{PARTITIONS:,} partitions")
                make_partitions(observer, PARTITIONS)
            progress(f"a session with {size or 100:,} contexts: {kind}")
            results.append(look(observer, kind, size, rounds))
    save(sys.argv[3], results)


if __name__ == "__main__":
    main()
