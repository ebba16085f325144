"""SQLAlchemy's pool, closing a bloated connection when it comes back.

    from sqlalchemy import create_engine, event

    engine = create_engine("postgresql+psycopg2://...")
    event.listen(engine, "checkin", close_bloated)      # or
    event.listen(engine, "checkout", refuse_bloated)

close_bloated looks at the status parameter pg_session_memory.status, which the
server has sent with the response to the statement that made the difference: no
round trip.  The server must have pg_session_memory preloaded; the database
need not have the extension.

refuse_bloated asks the server, before a connection is handed out: a round
trip, but no preloading.  The database must have the extension, in search_path.

For the drivers psycopg2 and psycopg 3.
"""

import warnings

from sqlalchemy.exc import DisconnectionError


def close_bloated(connection, record):
    if connection is None:      # it is closed already
        return
    status = connection.info.parameter_status("pg_session_memory.status")
    if status is None:
        warnings.warn("pg_session_memory is not preloaded on the server: "
                      "bloated connections are kept")
    if status == "bloated":
        record.invalidate()


def refuse_bloated(connection, record, proxy):
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT pg_session_memory_is_bloated()")
        healthy = cursor.fetchone()[0]
    connection.rollback()
    if not healthy:
        raise DisconnectionError("its session has bloated")
