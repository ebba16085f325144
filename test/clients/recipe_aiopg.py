"""examples/aiopg_pool.py: aiopg's pool, which closes what has bloated.

Debian packages: python3-psycopg2, python3-aiopg, python3-async-timeout.
"""

import asyncio

import aiopg

from assertions import equal, finish, ok
from recipes import (CROSSES, DSN, NOT_PRELOADED, OTHER_SCHEMA, PID,
                     WITHOUT_EXTENSION, in_readme, prepare, state_change,
                     wait_until_gone, warned, without_library)
from aiopg_pool import slim


async def work(pool, *statements):
    async with pool.acquire() as connection:
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
            await cursor.execute(PID)
            return (await cursor.fetchone())[0]


async def pool():
    async with slim(await aiopg.create_pool(DSN, maxsize=1)) as connections:
        first = await work(connections)
        equal("a healthy connection is kept", await work(connections), first)
        connection = await connections.acquire()
        before = state_change(first)
        await connections.release(connection)
        equal("release is no round trip", state_change(first), before)
        equal("a connection that bloats does its work",
              await work(connections, CROSSES), first)
        ok("and is closed when it comes back", wait_until_gone(first))
        second = await work(connections)
        equal("its successor is kept", await work(connections), second)

        with (await connections.cursor()) as cursor:
            await cursor.execute(CROSSES)
        ok("closed also after pool.cursor()", wait_until_gone(second))

        # One connection for two tasks: the second waits for the first, which
        # gives back what cannot be used.
        pids = await asyncio.gather(work(connections, CROSSES),
                                    work(connections))
        ok("who waits for it gets another", pids[0] != pids[1], f"{pids}")
        async with connections.acquire() as connection:
            connection.close()
        equal("a closed connection makes room", connections.size, 0)



async def elsewhere(name, dsn):
    async with slim(await aiopg.create_pool(dsn, maxsize=1)) as connections:
        first = await work(connections)
        equal(f"{name}: a healthy connection is kept",
              await work(connections), first)
        await work(connections, CROSSES, "RESET ALL")
        ok(f"{name}: a bloated one is closed", wait_until_gone(first))


async def not_preloaded():
    async with slim(await aiopg.create_pool(DSN, maxsize=1)) as connections:
        with warned() as messages:
            first = await work(connections)
            equal("not preloaded: it works", await work(connections), first)
        equal("not preloaded: and says so", messages, {NOT_PRELOADED})


def main():
    in_readme("aiopg_pool.py")
    prepare()
    asyncio.run(pool())
    asyncio.run(elsewhere("no extension in the database", WITHOUT_EXTENSION))
    asyncio.run(elsewhere("the extension in another schema", OTHER_SCHEMA))
    asyncio.run(elsewhere("odd search_path",
                          DSN + " options='-c search_path='"))
    with without_library():
        asyncio.run(not_preloaded())
    finish()


if __name__ == "__main__":
    main()
