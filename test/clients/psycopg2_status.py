"""The status parameter in psycopg2: known with the statement that changed it.

psycopg2 keeps the parameters that the server reports, so looking at one is no
round trip: what it shows has come with the response to the last statement.
Here in a connection in autocommit, in transactions, in an asynchronous
connection as aiopg has it, and by way of pgbouncer.

Debian packages: python3-psycopg2, pgbouncer.
"""

import select

import psycopg2
import psycopg2.extensions

from assertions import equal, finish
from bouncer import Bouncer

ROLE = "pooled"
DSN = f"user={ROLE} dbname=postgres"

# A prepared statement of 10 MB, which is over the role's threshold; and one
# that is not.
CROSSES = """DO $$ BEGIN EXECUTE 'PREPARE large AS SELECT 1 /*'
    || repeat('x', 10 * 1024 * 1024) || '*/'; END $$"""
STAYS = CROSSES.replace("10 *", "1 *").replace("large", "small")
FALLS = "DEALLOCATE large"


def status(connection):
    return connection.get_parameter_status("pg_session_memory.status")


def autocommit(name, connection):
    """Each statement's response brings what the statement made of it."""
    cursor = connection.cursor()
    equal(f"{name}: ok when it has connected", status(connection), "ok")
    seen = []
    expected = []
    for statement, expected_status in (
            ("SELECT 1", "ok"), (STAYS, "ok"), ("SELECT 1", "ok"),
            (CROSSES, "bloated"), ("SELECT 1", "bloated"),
            ("DEALLOCATE small", "bloated"), (FALLS, "ok"),
            ("SELECT 1", "ok"), (CROSSES, "bloated"), (FALLS, "ok")):
        cursor.execute(statement)
        seen.append(status(connection))
        expected.append(expected_status)
    equal(f"{name}: with the very statement, not before, not later",
          seen, expected)

    # An error is a response as well.
    try:
        cursor.execute(CROSSES + "; SELECT 1/0")
    except psycopg2.Error as error:
        equal(f"{name}: an error is the statement's own", error.pgcode, "22012")
    equal(f"{name}: with a statement that fails", status(connection), "bloated")
    cursor.execute(FALLS)
    equal(f"{name}: ok after it", status(connection), "ok")


def transactions(name, connection):
    """Each command is measured, and no rollback takes the status back."""
    cursor = connection.cursor()
    cursor.execute(CROSSES)
    equal(f"{name}: within a transaction", status(connection), "bloated")
    connection.commit()
    equal(f"{name}: after its commit", status(connection), "bloated")
    cursor.execute(FALLS)
    equal(f"{name}: falling, within", status(connection), "ok")
    connection.rollback()
    equal(f"{name}: falling, after its rollback", status(connection), "ok")
    try:
        cursor.execute(CROSSES)
        cursor.execute("SELECT 1/0")
    except psycopg2.Error:
        connection.rollback()
    equal(f"{name}: with the rollback of one that failed",
          status(connection), "bloated")
    with connection:
        cursor.execute(FALLS)
    equal(f"{name}: with the end of a block", status(connection), "ok")


def wait(connection):
    """What an event loop does."""
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        if state == psycopg2.extensions.POLL_READ:
            select.select([connection.fileno()], [], [])
        else:
            select.select([], [connection.fileno()], [])


def asynchronous():
    connection = psycopg2.connect(DSN, async_=1)
    wait(connection)
    cursor = connection.cursor()
    seen = [status(connection)]
    for statement in ("SELECT 1", CROSSES, "SELECT 1", FALLS):
        cursor.execute(statement)
        seen.append(status(connection))     # the response has not come yet
        wait(connection)
        seen.append(status(connection))
    equal("asynchronous: as soon as the statement is over", seen,
          ["ok", "ok", "ok", "ok", "bloated", "bloated", "bloated",
           "bloated", "ok"])
    connection.close()


def main():
    with psycopg2.connect("") as connection, connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE ROLE {ROLE} LOGIN;
            ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
            -- each command is measured, however slow the machine
            ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100""")
    connection.close()

    connection = psycopg2.connect(DSN)
    connection.autocommit = True
    autocommit("autocommit", connection)
    connection.close()
    connection = psycopg2.connect(DSN)
    transactions("transactions", connection)
    connection.close()
    asynchronous()

    # A role without thresholds of its own is not concerned.
    connection = psycopg2.connect("")
    connection.autocommit = True
    connection.cursor().execute(CROSSES)
    equal("another role: its thresholds are its own", status(connection), "ok")
    connection.close()

    # One client, so that it is always the same server connection.
    for mode in ("session", "transaction"):
        with Bouncer(ROLE, pool_mode=mode) as bouncer:
            connection = psycopg2.connect(bouncer.dsn)
            connection.autocommit = True
            autocommit(f"pgbouncer, {mode} pooling", connection)
            connection.close()
        with Bouncer(ROLE, pool_mode=mode) as bouncer:
            connection = psycopg2.connect(bouncer.dsn)
            transactions(f"pgbouncer, {mode} pooling, transactions", connection)
            connection.close()
    finish()


if __name__ == "__main__":
    main()
