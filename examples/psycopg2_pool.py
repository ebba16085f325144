"""psycopg2's pools, closing a bloated connection when it comes back.

    pool = SlimThreadedPool(1, 20, "dbname=shop")

is psycopg2's ThreadedConnectionPool, and SlimPool its SimpleConnectionPool,
but for putconn().  Whether the session has bloated is in the status parameter
pg_session_memory.status, which the server sends with the response to the
statement that made the difference: looking at it is no round trip.  The
server must have pg_session_memory preloaded; the database need not have the
extension.
"""

import warnings

import psycopg2
from psycopg2.pool import SimpleConnectionPool, ThreadedConnectionPool


def is_bloated(conn):
    status = conn.info.parameter_status("pg_session_memory.status")
    if status is None:
        warnings.warn("pg_session_memory is not preloaded on the server: "
                      "bloated connections are kept")
    return status == "bloated"


class ClosesBloated:
    def putconn(self, conn, key=None, close=False):
        try:
            conn.rollback()     # it is the end of a transaction that tells
        except psycopg2.Error:
            close = True        # the connection is lost
        super().putconn(conn, key, close or is_bloated(conn))


class SlimPool(ClosesBloated, SimpleConnectionPool):
    pass


class SlimThreadedPool(ClosesBloated, ThreadedConnectionPool):
    pass
