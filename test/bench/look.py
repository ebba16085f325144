#!/usr/bin/python3
"""Looking at oneself, and at another session; run.sh runs this.

look.py ROUNDS MAX_CONTEXTS OUTPUT

Makes sessions of several sizes, with PREPARE, one that has planned a query
over 3,000 partitions, and two with savepoints in each other, a context a level;
and has them and an observer ask, in turns:

  self, core    in the session itself: pg_session_memory_contexts() and
                pg_backend_memory_contexts
  other         in the observer: pg_session_memory_contexts(pid)
  walk          in the observer: the figures of the view for that session
  nothing       in the observer: the same statement of no process, which is
                what it takes PostgreSQL without the look

the first two kinds as

  count         SELECT count(*), sum(total_bytes), for which the planner asks
                our function for two columns only
  same          the count of each of the columns that both have

PostgreSQL's view calls itself for each level, and is not asked about savepoints:
it may have no stack for so many.

Times are CPU of the process that does the work, as the kernel counts it in
/proc/PID/schedstat; small ones are of many queries in a row.  The observer
has looked at the session before; "first" is a walk by one that has not.

Then what the observed session itself spends, of CPU and of memory: under all
our looks at it together, and under pg_log_backend_memory_contexts(pid); and
what a look reads, which strace sees.
"""
import sys
import time

from deep import make_tree
from sessions import (connect, cpu_ns, figure, make_partitions, page_faults,
                      prepare_statements, progress, ratios, reads_of, run,
                      save, shuffled, spread)

# What a session has, and contexts, about.
SESSIONS = (("fresh", 0), ("statements", 1000), ("statements", 6000),
            ("partitions", 6000), ("statements", 66000),
            ("statements", 300000), ("levels", 10000), ("levels", 50000))
PARTITIONS = 3000
COUNT = "SELECT count(*), sum(total_bytes) FROM {} c"
WALK = ("SELECT contexts, context_bytes FROM "
        "pg_session_memory_measure({}, NULL)")

# Contexts that a measurement should be about, so that a small one is long
# enough.
CONTEXTS_A_MEASUREMENT = 6000

# Connections that look for the first time.
FIRST_LOOKS = 5

# An idle process may run once in a while for reasons of its own or the
# kernel's.  What looks cost it they cost it each time.
TRIES = 3


def open_session(connection=None):
    connection = connection or connect()
    # The rows of neither side are to go to a file.
    run(connection, "SET work_mem = '1GB'")
    return connection


def count_contexts(connection):
    return run(connection, COUNT.format("pg_session_memory_contexts()"))[0]


def columns_of(connection, source):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {source} LIMIT 0")
        return [column.name for column in cursor.description]


def make_session(kind, size):
    if kind == "levels":
        return open_session(make_tree("deep", size))
    connection = open_session()
    make_size(connection, kind, size)
    return connection


def make_size(connection, kind, size):
    if kind == "partitions":
        run(connection, "SELECT count(*) FROM part WHERE b = 1")
        return
    missing = size - count_contexts(connection)[0]
    if missing > 0:
        prepare_statements(connection, 1, missing // 2)


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
    """Milliseconds of CPU, and page faults, of an observer that has looked at
    another session only."""
    observer = open_session()
    for _ in range(2):
        run(observer, WALK.format(other.get_backend_pid()))
    before = cpu_ns(observer.get_backend_pid())
    faults = page_faults(observer)
    run(observer, WALK.format(pid))
    took = cpu_ns(observer.get_backend_pid()) - before
    faults = page_faults(observer) - faults
    observer.close()
    return took / 1e6, faults


def memory_kb(pid):
    """What a process has of its own: resident and in swap"""
    path = f"/proc/{pid}/status"
    return round((figure(path, "RssAnon:") + figure(path, "VmSwap:")) * 1024)


def look(observer, kind, size, rounds):
    session = make_session(kind, size)
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
        "core count": (session, COUNT.format("pg_backend_memory_contexts")),
        "core same": (session, same.format("pg_backend_memory_contexts")),
        "other count": (observer, COUNT.format(ours.format(pid))),
        "other same": (observer, same.format(ours.format(pid))),
        "walk": (observer, WALK.format(pid)),
        "nothing": (observer, WALK.format("NULL")),
    }
    if kind == "levels":
        queries = {name: query for name, query in queries.items()
                   if not name.startswith("core")}
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
    for _ in range(TRIES):
        observations = 0
        memory = memory_kb(pid)
        before = cpu_ns(pid)
        for connection, sql in queries.values():
            if connection is observer:
                for _ in range(rounds):
                    run(observer, sql)
                    observations += 1
        lost = cpu_ns(pid) - before
        memory = memory_kb(pid) - memory
        if lost == 0 and memory <= 0:
            break

    with connect() as other:
        first = [first_walk(other, pid)
                 for _ in range(min(rounds, FIRST_LOOKS))]
    logged = [] if kind == "levels" else [log_once(observer, pid)
                                          for _ in range(rounds)]
    result = {
        "session": kind, "contexts": contexts, "bytes": int(size_bytes),
        "columns": {"core": len(columns["core"]), "ours": len(columns["ours"]),
                    "both": len(both)},
        "ms": {name: spread(values) for name, values in times.items()},
        # each beside what PostgreSQL has for the same query
        "ratio": {name: ratios(times[name], times["core " + name.split()[1]])
                  for name in times if kind != "levels" and
                  name.split()[0] in ("self", "other")},
        "observations": observations, "lost_ns": lost, "lost_kb": memory,
        "log_ms": spread([ms for ms, _ in logged]) if logged else None,
        "log_lost_ms": spread([ms for _, ms in logged]) if logged else None,
        "first_ms": spread([ms for ms, _ in first]),
        "first_faults": spread([faults for _, faults in first]),
        "reads": reads_of(observer, queries["walk"][1]),
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
