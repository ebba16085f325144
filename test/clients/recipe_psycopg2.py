"""examples/psycopg2_pool.py: psycopg2's pools, which close what has bloated.

And the query that shows connections which were never given back.

Debian packages: python3-psycopg2, pgbouncer.
"""

from psycopg2.pool import PoolError

from assertions import equal, finish, ok
from bouncer import Bouncer
from recipes import (CROSSES, DSN, FALLS, NOT_PRELOADED, OTHER_SCHEMA, PID,
                     ROLE, WITHOUT_EXTENSION, in_readme, prepare, query,
                     readme_block, state_change, wait_until_gone, warned,
                     without_library)
from psycopg2_pool import SlimPool, SlimThreadedPool


def work(pool, *statements, commit=True):
    """Runs statements in a connection of the pool; which session that was."""
    connection = pool.getconn()
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(PID)
        pid = cursor.fetchone()[0]
    if commit:
        connection.commit()
    pool.putconn(connection)
    return pid


def pool(kind):
    name = kind.__name__
    connections = kind(1, 2, DSN)
    first = work(connections)
    equal(f"{name}: a healthy connection is kept", work(connections), first)
    work(connections, CROSSES, FALLS)
    equal(f"{name}: one that has been bloated within a transaction is kept",
          work(connections), first)

    # Both look, one at what is idle and one at what has just been used.
    connection = connections.getconn()
    before = state_change(first)
    connections.putconn(connection)
    equal(f"{name}: putconn is no round trip", state_change(first), before)

    equal(f"{name}: a connection that bloats does its work",
          work(connections, CROSSES), first)
    ok(f"{name}: and is closed when it comes back", wait_until_gone(first))
    second = work(connections)
    equal(f"{name}: its successor is kept", work(connections), second)
    work(connections, CROSSES, commit=False)
    ok(f"{name}: closed if it comes back within a transaction",
       wait_until_gone(second))

    third = work(connections)
    connection = connections.getconn()
    connection.close()
    connections.putconn(connection)
    connection = connections.getconn()
    with connection.cursor() as cursor:
        cursor.execute(PID)
        query(f"SELECT pg_terminate_backend({cursor.fetchone()[0]}, 60000)")
    connections.putconn(connection)
    ok(f"{name}: one that is closed or lost makes room for another",
       work(connections) != third)
    connections.closeall()


def reset_settings():
    """The status is what the session is, whatever is done to settings."""
    connections = SlimPool(1, 1, DSN)
    first = work(connections, CROSSES, "SET search_path = ''", "RESET ALL")
    ok("RESET ALL: the connection is closed all the same",
       wait_until_gone(first))
    connection = connections.getconn()
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(CROSSES)
    cursor.execute("DISCARD ALL")
    cursor.execute(PID)
    second = cursor.fetchone()[0]
    connections.putconn(connection)
    equal("DISCARD ALL: what it has freed is no reason to close",
          work(connections), second)
    connections.closeall()


def elsewhere(name, dsn, *options):
    connections = SlimPool(1, 1, dsn, *options)
    first = work(connections)
    equal(f"{name}: a healthy connection is kept", work(connections), first)
    work(connections, CROSSES)
    ok(f"{name}: a bloated one is closed", wait_until_gone(first))
    connections.closeall()


def behind_pgbouncer():
    """Closing a client's connection does not close the server's."""
    with Bouncer(ROLE, pool_mode="session",
                 server_reset_query="DISCARD ALL") as bouncer:
        connections = SlimPool(1, 1, bouncer.dsn)
        first = work(connections)
        connection = connections.getconn()
        connections.putconn(connection)
        work(connections, CROSSES)
        ok("behind pgbouncer: the client's connection is closed",
           connection.closed)
        equal("behind pgbouncer: the server's goes on", work(connections), first)
        connections.closeall()


def leaked():
    """Two of three connections are never given back."""
    connections = SlimThreadedPool(1, 3, DSN + " application_name=shop")
    kept = [connections.getconn(), connections.getconn()]
    for connection in kept:
        connection.cursor().execute("SELECT 1")
    work(connections)
    other = SlimPool(1, 1, DSN + " application_name=other")
    work(other)
    recipe = readme_block("SELECT application_name, usename, sessions")
    # other sessions may still be about to end
    rows = [row for row in query(recipe) if row[0] in ("shop", "other")]
    equal("leaked connections: the pool comes first, counted by state",
          rows[0][:6], ("shop", ROLE, 3, 0, 1, 2))
    seconds = rows[0][7].total_seconds()
    held = query("SELECT max(extract(epoch FROM clock_timestamp() "
                 "- state_change))::float FROM pg_stat_activity "
                 "WHERE state = 'idle in transaction'")[0][0]
    ok("leaked connections: since when the longest is not given back",
       0 < seconds <= held, f"{seconds} of {held} seconds")
    ok("leaked connections: of one's own role, without rights",
       ("shop", ROLE, 3) in [row[:3] for row in query(recipe, DSN)])
    try:
        connections.getconn(), connections.getconn()
        ok("leaked connections: the pool is exhausted", False)
    except PoolError:
        ok("leaked connections: the pool is exhausted", True)
    connections.closeall()
    other.closeall()


def not_preloaded():
    with without_library():
        connections = SlimPool(1, 1, DSN)
        with warned() as messages:
            first = work(connections)
            equal("not preloaded: the pool works", work(connections), first)
        equal("not preloaded: and says so", messages, {NOT_PRELOADED})
        with warned() as messages:
            connection = connections.getconn()
            connection.close()
            connections.putconn(connection)
        equal("not preloaded: not said of a closed connection", messages, set())
        connections.closeall()


def main():
    in_readme("psycopg2_pool.py")
    prepare()
    for kind in SlimPool, SlimThreadedPool:
        pool(kind)
    reset_settings()
    elsewhere("no extension in the database", WITHOUT_EXTENSION)
    elsewhere("the extension in another schema", OTHER_SCHEMA)
    elsewhere("odd search_path", DSN + " options='-c search_path='")
    behind_pgbouncer()
    leaked()
    not_preloaded()
    finish()


if __name__ == "__main__":
    main()
