#!/usr/bin/python3
"""What a pool holds after a day's work; run.sh runs this.

pool_day.py OUTPUT NAME=HOST...

Each of 50 sessions does the eight kinds of work of trim.py, smaller, in an
order of its own, with a pause after each in which nobody works.  One pool is
that of a server without the extension; the sessions of the others trim when
idle, or are asked to recycle themselves after each piece of work, and are
replaced.  The memory is anonymous memory of all sessions, at the end of each
pause.
"""
import concurrent.futures
import os
import random
import sys
import time

import psycopg2

import trim
from sessions import (anon_mb, connect, make_partitions, progress, run, save)

SESSIONS = 50
PARTITIONS = 1000
PAUSE = 2.5                     # seconds; idle_delay is 1

trim.STATEMENTS = 1000
trim.FUNCTIONS = 200
trim.TEMP_TABLES = 100


def compiled_queries(connection):
    for setting in ("jit = on", "jit_above_cost = 0",
                    "jit_inline_above_cost = 0",
                    "jit_optimize_above_cost = 0"):
        run(connection, "SET " + setting)
    for number in range(2):
        run(connection, trim.compiled(number))


WORK = [work for _, work, _, _ in trim.WORKLOADS
        if work is not trim.compiled_queries] + [compiled_queries]


class Pool:
    """Sessions of one server"""

    def __init__(self, name, host):
        self.name = name
        self.host = host
        self.recycled = 0
        connection = connect(host)
        make_partitions(connection, PARTITIONS)
        trim.make_functions(connection)
        connection.close()
        self.connections = [connect(host) for _ in range(SESSIONS)]
        self.orders = [random.Random(i).sample(WORK, len(WORK))
                       for i in range(SESSIONS)]

    def work(self, number, piece):
        connection = self.connections[number]
        run(connection, "DEALLOCATE ALL")
        self.orders[number][piece](connection)
        run(connection, "RESET ALL")
        if self.name != "recycling":
            return
        try:
            run(connection, "SELECT pg_session_memory_recycle()")
        except psycopg2.Error:
            self.connections[number] = connect(self.host)
            self.recycled += 1

    def hour(self, piece):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
            # list: so that an error is raised here
            list(workers.map(lambda number: self.work(number, piece),
                             range(SESSIONS)))

    def memory(self):
        return sum(anon_mb(connection) for connection in self.connections)


def main():
    pools = [Pool(*server.split("=", 1)) for server in sys.argv[2:]]
    held = {pool.name: [pool.memory()] for pool in pools}
    for piece in range(len(WORK)):
        for pool in pools:
            progress(f"piece of work {piece + 1} of {len(WORK)}: {pool.name}")
            pool.hour(piece)
        time.sleep(PAUSE)
        for pool in pools:
            held[pool.name].append(pool.memory())
    save(sys.argv[1], {"sessions": SESSIONS, "mb": held, "recycled": {
        pool.name: pool.recycled for pool in pools}})


if __name__ == "__main__":
    main()
