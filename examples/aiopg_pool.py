"""aiopg's pool, closing a bloated connection when it comes back.

    async with slim(await aiopg.create_pool("dbname=shop")) as pool:
        async with pool.acquire() as conn:
            ...

Whether the session has bloated is in the status parameter
pg_session_memory.status, which the server sends with the response to the
statement that made the difference: looking at it is no round trip.  The
server must have pg_session_memory preloaded; the database need not have the
extension.
"""

import warnings


def slim(pool):
    """Has an aiopg pool close what comes back bloated; returns the pool."""
    release = pool.release

    def release_slim(conn):
        status = conn.raw.info.parameter_status("pg_session_memory.status")
        if status is None and not conn.closed:
            warnings.warn("pg_session_memory is not preloaded on the server: "
                          "bloated connections are kept")
        released = release(conn)
        if status == "bloated":
            conn.close()        # the pool drops those that are closed
        return released

    pool.release = release_slim
    return pool
