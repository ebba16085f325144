"""examples/psycopg3_pool.py: psycopg 3's psycopg_pool, by its callbacks.

Debian packages: python3-psycopg2, python3-psycopg, python3-psycopg-pool.
"""

import asyncio
import inspect
import logging

import psycopg
import psycopg_pool
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from assertions import equal, finish, ok
from recipes import (CROSSES, DSN, FALLS, NOT_PRELOADED, OTHER_SCHEMA, PID,
                     ROLE, WITHOUT_EXTENSION, in_readme, prepare, query,
                     state_change, wait_until_gone, warned, without_library)
from psycopg3_pool import async_reset, check, reset

CHECKS = "check" in inspect.signature(ConnectionPool.__init__).parameters


class Messages(logging.Handler):
    """What a pool has logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []
        logging.getLogger("psycopg.pool").addHandler(self)

    def emit(self, record):
        self.texts.append(record.getMessage())


def work(pool, *statements):
    with pool.connection() as connection:
        for statement in statements:
            connection.execute(statement)
        return connection.execute(PID).fetchone()[0]


def pool(name, dsn, *more):
    messages = Messages()
    with ConnectionPool(dsn, min_size=1, max_size=1, reset=reset) as connections:
        first = work(connections)
        equal(f"{name}: a healthy connection is kept", work(connections), first)
        equal(f"{name}: a connection that bloats does its work",
              work(connections, CROSSES, *more), first)
        ok(f"{name}: and is replaced when it comes back", wait_until_gone(first))
        second = work(connections)
        equal(f"{name}: its successor is kept", work(connections), second)
    ok(f"{name}: the pool's log says why",
       "error resetting connection: its session has bloated" in messages.texts,
       f"{messages.texts}")


def in_transaction():
    """psycopg's context manager commits, getconn() and putconn() do not."""
    with ConnectionPool(DSN, min_size=1, max_size=1, reset=reset) as connections:
        connection = connections.getconn()
        first = connection.execute(PID).fetchone()[0]
        connection.execute(CROSSES)
        connections.putconn(connection)
        ok("within a transaction: replaced when it comes back",
           wait_until_gone(first))
        second = work(connections, CROSSES, FALLS)
        equal("bloated within a transaction only: kept", work(connections),
              second)


def no_round_trip():
    connection = psycopg.connect(DSN, autocommit=True)
    pid = connection.execute(PID).fetchone()[0]
    before = state_change(pid)
    reset(connection)
    equal("reset is no round trip", state_change(pid), before)
    connection.close()


async def asynchronous():
    async with AsyncConnectionPool(DSN, min_size=1, max_size=1,
                                   reset=async_reset) as connections:
        async def work(*statements):
            async with connections.connection() as connection:
                for statement in statements:
                    await connection.execute(statement)
                return (await (await connection.execute(PID)).fetchone())[0]

        first = await work()
        equal("asynchronous: a healthy connection is kept", await work(), first)
        await work(CROSSES)
        ok("asynchronous: a bloated one is replaced",
           await asyncio.to_thread(wait_until_gone, first))
        ok("asynchronous: by another", await work() != first)


def checks(preloaded):
    """What the pool calls before it hands a connection out."""
    connection = psycopg.connect(DSN)
    check(connection)
    equal(f"check, {preloaded}: a healthy connection is left as it was",
          connection.info.transaction_status,
          psycopg.pq.TransactionStatus.IDLE)
    connection.execute(CROSSES)
    connection.commit()
    try:
        check(connection)
        state = None
    except psycopg.Error as error:
        state = error.sqlstate
    equal(f"check, {preloaded}: a bloated one is refused", state, "53400")
    ok(f"check, {preloaded}: and closed", connection.closed)


def checks_by_pool():
    if not CHECKS:
        version = psycopg_pool.__version__
        print(f"skip check by the pool: psycopg_pool {version} cannot, 3.2 can")
        return
    with ConnectionPool(DSN, min_size=1, max_size=1, check=check) as connections:
        first = work(connections)
        equal("check by the pool: a healthy one is kept", work(connections),
              first)
        work(connections, CROSSES)
        ok("check by the pool: a bloated one is not handed out",
           work(connections) != first)


def check_elsewhere():
    """Says what is missing, of each database and search_path."""
    for name, dsn in (("no extension in the database", WITHOUT_EXTENSION),
                      ("the extension in another schema", OTHER_SCHEMA)):
        try:
            check(psycopg.connect(dsn))
            message = None
        except psycopg.Error as error:
            message = str(error).partition("\n")[0]
        equal(f"check: {name}", message,
              "function pg_session_memory_check() does not exist")
    query(f"ALTER ROLE {ROLE} IN DATABASE other_schema "
          "SET search_path = public, memory")
    connection = psycopg.connect(OTHER_SCHEMA)
    check(connection)
    ok("check: its schema in search_path", not connection.closed)
    connection.close()


def not_preloaded():
    with without_library():
        with ConnectionPool(DSN, min_size=1, max_size=1,
                            reset=reset) as connections, \
                warned() as messages:
            first = work(connections)
            equal("not preloaded: it works", work(connections), first)
        equal("not preloaded: and says so", messages, {NOT_PRELOADED})
        checks("not preloaded")


def main():
    in_readme("psycopg3_pool.py")
    prepare()
    pool("reset", DSN)
    pool("no extension in the database", WITHOUT_EXTENSION)
    pool("the extension in another schema", OTHER_SCHEMA,
         "SET search_path = ''", "RESET ALL")
    in_transaction()
    no_round_trip()
    asyncio.run(asynchronous())
    checks("preloaded")
    checks_by_pool()
    check_elsewhere()
    not_preloaded()
    finish()


if __name__ == "__main__":
    main()
