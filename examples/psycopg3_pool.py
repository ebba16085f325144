"""Callbacks for psycopg 3's psycopg_pool: bloated connections are replaced.

    pool = ConnectionPool("dbname=shop", reset=reset)
    pool = ConnectionPool("dbname=shop", check=check)
    pool = AsyncConnectionPool("dbname=shop", reset=async_reset)

reset is called when a connection comes back.  It looks at the status
parameter pg_session_memory.status, which the server has sent with the response
to the statement that made the difference: no round trip.  The server must have
pg_session_memory preloaded; the database need not have the extension.

check, for psycopg_pool 3.2 and later, is called before a connection is handed
out.  It asks the server: a round trip, but no preloading.  The database must
have the extension, in search_path.

The pool logs a warning when it replaces a connection.
"""

import warnings

import psycopg


def reset(conn):
    status = conn.info.parameter_status("pg_session_memory.status")
    if status is None:
        warnings.warn("pg_session_memory is not preloaded on the server: "
                      "bloated connections are kept")
    if status == "bloated":
        raise psycopg.OperationalError("its session has bloated")


def check(conn):
    try:
        conn.execute("SELECT pg_session_memory_check()")
        conn.rollback()
    except psycopg.Error:
        conn.close()
        raise


async def async_reset(conn):
    reset(conn)
