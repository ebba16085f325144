"""examples/sqlalchemy_pool.py: SQLAlchemy's pool, by its events.

Debian packages: python3-psycopg2, python3-sqlalchemy.
"""

from sqlalchemy import create_engine, event, text

from assertions import equal, finish, ok
from recipes import (CROSSES, FALLS, NOT_PRELOADED, PID, ROLE, in_readme,
                     prepare, state_change, wait_until_gone, warned,
                     without_library)
from sqlalchemy_pool import close_bloated, refuse_bloated


def engine(database="postgres", options="", size=1, **events):
    made = create_engine(f"postgresql+psycopg2://{ROLE}@/{database}",
                         connect_args={"options": options}, pool_size=size,
                         max_overflow=0)
    for name, listener in events.items():
        event.listen(made, name, listener)
    return made


def work(connections, *statements):
    with connections.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
        return connection.execute(text(PID)).scalar()


def keeps_and_closes(name, connections, *more):
    first = work(connections)
    equal(f"{name}: a healthy connection is kept", work(connections), first)
    work(connections, CROSSES, FALLS)
    equal(f"{name}: one that has been bloated within a transaction is kept",
          work(connections), first)
    equal(f"{name}: a connection that bloats does its work",
          work(connections, CROSSES, *more), first)
    second = work(connections)
    ok(f"{name}: and is closed, not used again",
       second != first and wait_until_gone(first))
    equal(f"{name}: its successor is kept", work(connections), second)


def checkin():
    connections = engine(checkin=close_bloated)
    keeps_and_closes("checkin", connections)
    pid = work(connections)
    with connections.connect():
        before = state_change(pid)
    equal("checkin: is no round trip", state_change(pid), before)

    with connections.connect() as connection:
        connection.execute(text(CROSSES))
    ok("checkin: closed if it comes back within a transaction",
       wait_until_gone(pid))
    with connections.connect() as connection:
        pid = connection.execute(text(PID)).scalar()
        connection.invalidate()
    ok("checkin: one that is closed already makes room",
       work(connections) != pid)
    connections.dispose()

    keeps_and_closes("checkin, no extension in the database",
                     engine("without_extension", checkin=close_bloated))
    keeps_and_closes("checkin, the extension in another schema",
                     engine("other_schema", checkin=close_bloated),
                     "SET search_path = ''", "RESET ALL")


def checkout(preloaded):
    keeps_and_closes(f"checkout, {preloaded}", engine(checkout=refuse_bloated))
    keeps_and_closes(f"checkout, {preloaded}, its schema in search_path",
                     engine("other_schema", "-c search_path=memory",
                            checkout=refuse_bloated))


def checkout_elsewhere():
    """Says what is missing, of each database and search_path."""
    for name, database in (("no extension in the database", "without_extension"),
                           ("the extension in another schema", "other_schema")):
        try:
            work(engine(database, checkout=refuse_bloated))
            message = None
        except Exception as error:
            message = str(error).partition("\n")[0]
        ok(f"checkout: {name}",
           message and message.endswith("function pg_session_memory_is_bloated()"
                                        " does not exist"), message)


def not_preloaded():
    with without_library():
        connections = engine(checkin=close_bloated)
        with warned() as messages:
            first = work(connections)
            equal("not preloaded: it works", work(connections), first)
        equal("not preloaded: and says so", messages, {NOT_PRELOADED})
        checkout("not preloaded")


def main():
    in_readme("sqlalchemy_pool.py")
    prepare()
    checkin()
    checkout("preloaded")
    checkout_elsewhere()
    not_preloaded()
    finish()


if __name__ == "__main__":
    main()
