#!/usr/bin/python3
"""Looking at trees of several depths, from outside and from within.

deep.py [ROUNDS]

Each nested savepoint hangs from the one before: a deep tree.  A savepoint that
was released and has notified leaves its context as well, below the transaction:
a flat tree of as many contexts of the same size.  Prints the CPU time of a look
for each context, beyond what a session without savepoints takes, the least of
all rounds, in which both trees take turns.

The instructions a context are the same at any depth: is_bloated takes 240 in a
deep tree, where it meets each context twice, on the way down and on the way
up, and 192 in a flat one.  What grows with the number of contexts, in both
trees alike, is the wait for memory: each context has 8 kB and so a page of its
own, and 10,000 of them are more than the processor's caches hold.

It is not part of run.sh: start it where libpq's environment says which server
to use, one with the extension.
"""
import sys

from sessions import connect, cpu_ns, run

NUMBERS = (100, 1000, 10000, 50000)
TREES = ("deep", "flat")
CONTEXTS_A_MEASUREMENT = 20000
OTHER = (("view", "SELECT contexts FROM pg_session_memory_measure({}, NULL)"),
         ("contexts", "SELECT count(c) FROM pg_session_memory_contexts({}) c"))
SELF = (("bloated", "SELECT pg_session_memory_is_bloated()"),
        ("contexts", "SELECT count(c) FROM pg_session_memory_contexts() c"))


def cpu_of(connection, sql, contexts):
    """Nanoseconds of a query"""
    pid = connection.get_backend_pid()
    times = max(1, CONTEXTS_A_MEASUREMENT // contexts)
    run(connection, sql)
    before = cpu_ns(pid)
    for _ in range(times):
        run(connection, sql)
    return (cpu_ns(pid) - before) / times


def make_tree(tree, number):
    """A session in a transaction with so many contexts of savepoints"""
    session = connect()
    run(session, "SELECT pg_session_memory_is_bloated()")
    run(session, "BEGIN")
    for first in range(0, number, 100):
        run(session, "".join(
            "SAVEPOINT s;" if tree == "deep" else
            f"SAVEPOINT s; NOTIFY c, '{first + i}'; RELEASE s;"
            for i in range(100)))
    return session


def measure(observer, session):
    """By what is asked: nanoseconds of a look"""
    pid = session.get_backend_pid()
    contexts = run(observer, OTHER[0][1].format(pid))[0][0]
    result = {}
    for name, sql in OTHER:
        result["other, " + name] = cpu_of(observer, sql.format(pid), contexts)
    for name, sql in SELF:
        result["self, " + name] = cpu_of(session, sql, contexts)
    return result


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    observer = connect()
    # The rows are not to go to a file.
    run(observer, "SET work_mem = '1GB'")
    kinds = [("none", 0)] + [(tree, number) for number in NUMBERS
                             for tree in TREES]
    least = {}
    for number in (0,) + NUMBERS:
        sessions = {kind: make_tree(*kind) for kind in kinds
                    if kind[1] == number}
        for _ in range(rounds):
            for kind, session in sessions.items():
                for name, taken in measure(observer, session).items():
                    least[kind, name] = min(least.get((kind, name), taken),
                                            taken)
        for session in sessions.values():
            session.close()

    print(f"{'ns of CPU a context':26}" +
          " ".join(f"{number:>8,}" for number in NUMBERS))
    for name in ["other, " + name for name, _ in OTHER] + [
            "self, " + name for name, _ in SELF]:
        fresh = least[("none", 0), name]
        for tree in TREES:
            print(f"{name + ', ' + tree:26}" + " ".join(
                f"{(least[(tree, number), name] - fresh) / number:8.0f}"
                for number in NUMBERS))


if __name__ == "__main__":
    main()
