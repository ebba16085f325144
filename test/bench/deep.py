#!/usr/bin/python3
"""Looking at trees of several depths, from outside and from within.

deep.py [ROUNDS]

Each nested savepoint hangs from the one before.  Prints the CPU time of a look
for each context, beyond what a session without savepoints takes: that should
be the same at any depth.  It is not part of run.sh: start it where libpq's
environment says which server to use, one with the extension.
"""
import statistics
import sys

from sessions import connect, cpu_ns, run

DEPTHS = (100, 1000, 10000, 50000)
CONTEXTS_A_MEASUREMENT = 20000
OTHER = (("view", "SELECT contexts FROM pg_session_memory_measure({}, NULL)"),
         ("contexts", "SELECT count(c) FROM pg_session_memory_contexts({}) c"))
SELF = (("bloated", "SELECT pg_session_memory_is_bloated()"),
        ("contexts", "SELECT count(c) FROM pg_session_memory_contexts() c"))


def cpu_of(connection, sql, contexts, rounds):
    """Nanoseconds of a query, the median of the rounds"""
    pid = connection.get_backend_pid()
    times = max(1, CONTEXTS_A_MEASUREMENT // contexts)
    taken = []
    run(connection, sql)
    for _ in range(rounds):
        before = cpu_ns(pid)
        for _ in range(times):
            run(connection, sql)
        taken.append((cpu_ns(pid) - before) / times)
    return statistics.median(taken)


def measure(observer, depth, rounds):
    session = connect()
    pid = session.get_backend_pid()
    run(session, "SELECT pg_session_memory_is_bloated()")
    run(session, "BEGIN")
    for _ in range(depth // 100):
        run(session, "SAVEPOINT s;" * 100)
    contexts = run(observer, OTHER[0][1].format(pid))[0][0]
    result = {}
    for name, sql in OTHER:
        result["other, " + name] = cpu_of(observer, sql.format(pid), contexts,
                                          rounds)
    for name, sql in SELF:
        result["self, " + name] = cpu_of(session, sql, contexts, rounds)
    session.close()
    return result


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    observer = connect()
    # The rows are not to go to a file.
    run(observer, "SET work_mem = '1GB'")
    none = measure(observer, 0, rounds)
    print("ns of CPU a context " +
          " ".join(f"{depth:>8,}" for depth in DEPTHS))
    results = [measure(observer, depth, rounds) for depth in DEPTHS]
    for name, fresh in none.items():
        print(f"{name:19} " + " ".join(
            f"{(result[name] - fresh) / depth:8.0f}"
            for result, depth in zip(results, DEPTHS)))


if __name__ == "__main__":
    main()
