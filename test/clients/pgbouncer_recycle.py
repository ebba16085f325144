"""pg_session_memory_recycle() in pgbouncer: bloated connections are replaced.

Ten clients share five server connections through pgbouncer and run 1,000
transactions between them, of which some bloat their session: for each place
that pgbouncer has for such a query, and for each of its pool modes.  Every
transaction writes down which session it ran in.  No client may see an error,
no transaction may be missing, and no session that was left bloated may be used
again.  Where pgbouncer does not run the query, they are used again: so this
would be seen.

Debian packages: python3-psycopg2, pgbouncer.
"""

import threading
import traceback

import psycopg2

from assertions import equal, finish, ok
from bouncer import Bouncer
from server import query

ROLE = "pooled"
CLIENTS = 10
TRANSACTIONS = 100      # of each client
EACH = 10               # transactions of a connection to pgbouncer
POOL_SIZE = 5
RECYCLE = "SELECT pg_session_memory_recycle()"

# A prepared statement of 10 MB, which is over the role's threshold.
BLOAT = """DO $$ BEGIN EXECUTE 'PREPARE large AS SELECT 1 /*'
    || repeat('x', 10 * 1024 * 1024) || '*/'; END $$"""

# name, settings of pgbouncer, whether bloated connections are replaced.
# server_check_delay is the time for which a connection that was used is not
# checked.
CASES = (
    ("session pooling, reset query",
     {"pool_mode": "session", "server_reset_query": RECYCLE}, True),
    ("session pooling, reset query always",
     {"pool_mode": "session", "server_reset_query": RECYCLE,
      "server_reset_query_always": 1}, True),
    ("session pooling, check query",
     {"pool_mode": "session", "server_reset_query": "",
      "server_check_query": RECYCLE, "server_check_delay": 0}, True),
    ("transaction pooling, reset query",
     {"pool_mode": "transaction", "server_reset_query": RECYCLE}, False),
    ("transaction pooling, reset query always",
     {"pool_mode": "transaction", "server_reset_query": RECYCLE,
      "server_reset_query_always": 1}, True),
    ("transaction pooling, check query",
     {"pool_mode": "transaction", "server_check_query": RECYCLE,
      "server_check_delay": 0}, True),
)


def client(number, dsn, errors):
    """The transactions of one client.  One in twenty bloats its session: the
    last of every other connection, after which pgbouncer gets it back in any
    mode."""
    try:
        connection = None
        for transaction in range(TRANSACTIONS):
            if transaction % EACH == 0:
                connection = psycopg2.connect(dsn)
            bloats = transaction % (2 * EACH) == 2 * EACH - 1
            with connection, connection.cursor() as cursor:
                if bloats:
                    # Another client may have bloated this session before,
                    # where nobody replaces it.
                    cursor.execute("DEALLOCATE ALL")
                    cursor.execute(BLOAT)
                cursor.execute(
                    "INSERT INTO done VALUES (%s, %s, pg_backend_pid(), %s)",
                    (number, transaction, bloats))
            if transaction % EACH == EACH - 1:
                connection.close()
    except psycopg2.Error:
        errors.append(f"client {number}: {traceback.format_exc(limit=1)}")


def case(name, settings, replaces):
    query("TRUNCATE done; SELECT pg_session_memory_reset_events()")
    errors = []
    with Bouncer(ROLE, default_pool_size=POOL_SIZE, **settings) as bouncer:
        threads = [threading.Thread(target=client,
                                    args=(number, bouncer.dsn, errors))
                   for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The last one to bloat is looked at when pgbouncer next needs it.
        connection = psycopg2.connect(bouncer.dsn)
        connection.cursor().execute("SELECT 1")
        connection.close()

    ok(f"{name}: no client sees an error", not errors, "; ".join(errors[:3]))
    equal(f"{name}: no transaction is lost",
          query("SELECT count(*), count(DISTINCT (client, transaction)) "
                "FROM done")[0],
          (CLIENTS * TRANSACTIONS, CLIENTS * TRANSACTIONS))

    # A session that was used again after it had bloated: the times are of
    # transactions, and those of a session come one after the other.
    used_again = query(
        "SELECT count(DISTINCT pid) FROM done AS bloated WHERE bloats "
        "AND EXISTS (SELECT FROM done AS later WHERE later.pid = bloated.pid "
        "AND later.id > bloated.id)")[0][0]
    bloated, sessions = query(
        "SELECT count(DISTINCT pid) FILTER (WHERE bloats), "
        "count(DISTINCT pid) FROM done")[0]
    recycled, strangers = query(
        "SELECT count(*), count(*) FILTER (WHERE pid NOT IN "
        "(SELECT pid FROM done WHERE bloats)) "
        "FROM pg_session_memory_events WHERE kind = 'recycled'")[0]

    if not replaces:
        equal(f"{name}: is not run", recycled, 0)
        ok(f"{name}: so sessions are used again", used_again > 0)
        return
    # Each client leaves five sessions bloated.
    equal(f"{name}: each bloated session is another one",
          bloated, CLIENTS * TRANSACTIONS // (2 * EACH))
    equal(f"{name}: none is used again", used_again, 0)
    # The check query finds those that are needed again, the last ones are
    # not.  Every one that was replaced by another had been recycled.
    ok(f"{name}: they have recycled themselves",
       bloated - POOL_SIZE <= recycled <= bloated,
       f"{recycled} of {bloated}")
    equal(f"{name}: only sessions that were bloated", strangers, 0)
    ok(f"{name}: others are kept", sessions <= bloated + POOL_SIZE,
       f"{sessions} sessions, {bloated} of them bloated")


def main():
    query(f"""
        CREATE ROLE {ROLE} LOGIN;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        CREATE TABLE done (client int, transaction int, pid int, bloats bool,
            id bigint GENERATED ALWAYS AS IDENTITY);
        GRANT INSERT ON done TO {ROLE}""")
    for name, settings, replaces in CASES:
        case(name, settings, replaces)
    finish()


if __name__ == "__main__":
    main()
