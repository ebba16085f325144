"""The settings of doc/pgbouncer.md, each in the pool modes that it names.

What is between the lines of a block there goes to pgbouncer as it is.  A
client that comes after one that has bloated the session gets another session;
after one that has only left free memory behind it gets the same one, trimmed,
where the recipe trims; in session pooling it finds nothing of its
predecessor; and a search_path that leads nowhere, or a database without the
extension, is no reason for an error.

Debian packages: python3-psycopg2, pgbouncer.
"""

from assertions import equal, finish, ok
from bouncer import Bouncer
from server import BLOAT, LEAVE_FREE, connect, query, recipes

ROLE = "pooled"

# What a client leaves behind, and how the next one would see it.
LEFT = (
    ("settings", "SET work_mem = '77MB'",
     "SELECT current_setting('work_mem') = '77MB'"),
    ("prepared statements", "PREPARE left_one AS SELECT 1",
     "SELECT count(*) > 0 FROM pg_prepared_statements"),
    ("cursors", "BEGIN; DECLARE left_one CURSOR WITH HOLD FOR SELECT 1; COMMIT",
     "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'left_one'"),
    ("temporary tables", "CREATE TEMP TABLE left_one ()",
     "SELECT count(*) > 0 FROM pg_class WHERE relname = 'left_one' "
     "AND pg_table_is_visible(oid)"),
    ("listening", "LISTEN left_one",
     "SELECT count(*) > 0 FROM pg_listening_channels()"),
    ("locks", "SELECT pg_advisory_lock(1)",
     "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'"),
    ("another role", "SET ROLE other",
     "SELECT current_user = 'other'"),
)


def work(bouncer, *statements):
    """A client that comes, runs statements and leaves.  Returns the pid of
    its session, and the last statement's value."""
    connection = connect(bouncer.dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        value = pid = cursor.fetchone()[0]
        for statement in statements:
            cursor.execute(statement)
            value = cursor.fetchone()[0] if cursor.description else None
    connection.close()
    return pid, value


def events(kind, pid):
    return query("SELECT count(*) FROM pg_session_memory_events "
                 f"WHERE kind = '{kind}' AND pid = {pid}")[0][0]


def case(name, mode, settings):
    name = f"{name}, {mode} pooling"
    trims = "trim" in str(settings)
    # One server connection, so that each client comes after the one before.
    with Bouncer(ROLE, pool_mode=mode, default_pool_size=1,
                 **settings) as bouncer:
        first, _ = work(bouncer)
        equal(f"{name}: a healthy session is kept", work(bouncer)[0], first)

        work(bouncer, BLOAT)
        second, _ = work(bouncer)
        if mode == "session":
            # This recipe deallocates what was prepared, too.
            equal(f"{name}: what is cleaned up is no reason to end",
                  second, first)
            equal(f"{name}: nothing of it is left", query(
                "SELECT cached_plan_bytes < 1024 * 1024 "
                f"FROM pg_session_memory WHERE pid = {second}"), [(True,)])
            # A function that was compiled stays.
            work(bouncer, "SELECT huge()")
            third, _ = work(bouncer)
            ok(f"{name}: a bloated session is another one", third != second)
            equal(f"{name}: it has recycled itself", events("recycled", second),
                  1)
        else:
            ok(f"{name}: a bloated session is another one", second != first)
            equal(f"{name}: it has recycled itself", events("recycled", first),
                  1)
            third = second

        work(bouncer, LEAVE_FREE)
        fourth, _ = work(bouncer)
        if trims:
            equal(f"{name}: one that can be trimmed is kept", fourth, third)
            ok(f"{name}: and has been trimmed", events("trimmed", third) > 0)
            ok(f"{name}: it is small again", query(
                "SELECT anon_bytes < 24 * 1024 * 1024 FROM pg_session_memory "
                f"WHERE pid = {fourth}")[0][0])
        else:
            ok(f"{name}: free memory that is too much is a reason, too",
               fourth != third)

        # It stays in transaction pooling.
        fifth, _ = work(bouncer, "SET search_path = nowhere", BLOAT)
        if mode == "transaction":
            ok(f"{name}: whatever the search_path", work(bouncer)[0] != fifth)

        if mode == "session":
            for what, leave, see in LEFT:
                work(bouncer, leave)
                equal(f"{name}: nothing is left of {what}",
                      work(bouncer, see)[1], False)

        # A database without the extension, by way of the same settings.
        bouncer.dsn = bouncer.dsn.replace("dbname=postgres", "dbname=bare")
        one, _ = work(bouncer, BLOAT)
        equal(f"{name}: without the extension, clients just go on",
              work(bouncer, "SELECT 1"), (one, 1))


def stale_status():
    """In transaction pooling a client keeps the status of a session that is
    gone."""
    def status(connection):
        return connection.get_parameter_status("pg_session_memory.status")

    block = recipes("ini")[0].split("\n\n")[0]
    with Bouncer(ROLE, pool_mode="transaction", default_pool_size=1,
                 **parsed(block)) as bouncer:
        connection = connect(bouncer.dsn)
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        cursor.execute(BLOAT)
        equal("status, transaction pooling: of the session that it had",
              status(connection), "bloated")
        cursor.execute("SELECT pg_backend_pid()")
        ok("status, transaction pooling: a fresh session comes",
           cursor.fetchone()[0] != pid)
        equal("status, transaction pooling: and does not reset it",
              status(connection), "bloated")
        connection.close()


def discard_all():
    """pgbouncer's own reset query, which takes the settings back to those of
    the role: among them are its thresholds."""
    status = "SHOW pg_session_memory.status"
    with Bouncer(ROLE, pool_mode="session", default_pool_size=1) as bouncer:
        loose = "SET pg_session_memory.idle_delay = '1min'"
        first = work(bouncer, loose, BLOAT, status)
        equal("DISCARD ALL: bloated before it", first[1], "bloated")
        equal("DISCARD ALL: not after it", work(bouncer, status),
              (first[0], "ok"))
        equal("DISCARD ALL: a session's own setting is gone",
              work(bouncer, "SHOW pg_session_memory.idle_delay"),
              (first[0], "1s"))
        equal("DISCARD ALL: the role's thresholds are not",
              work(bouncer, BLOAT, status), first)


def parsed(block):
    return dict(line.split(" = ", 1) for line in block.strip().splitlines()
                if not line.startswith(";"))


def main():
    query(f"""
        CREATE ROLE other;
        CREATE ROLE {ROLE} LOGIN IN ROLE other;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        ALTER ROLE {ROLE} SET pg_session_memory.process_threshold = '24MB';
        ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100""")
    query("CREATE DATABASE bare")
    query("""DO $do$ BEGIN EXECUTE format('CREATE FUNCTION huge() RETURNS void '
        'LANGUAGE plpgsql AS $$ DECLARE x int; BEGIN RETURN; %s END $$',
        repeat('x := 1; ', 50000)); END $do$""")
    blocks = recipes("ini")
    equal("it has one block", len(blocks), 1)
    for block in blocks[0].split("\n\n"):
        title = block.splitlines()[0].lstrip("; ")
        modes, name = title.split(" pooling: ")
        for mode in modes.split(" or "):
            case(name, mode, parsed(block))
    stale_status()
    discard_all()
    finish()


if __name__ == "__main__":
    main()
