#!/usr/bin/python3
"""Memory of our own; run.sh runs this.

memory.py SESSIONS OUTPUT HOST_WITHOUT HOST_WITH HOST_WITH_MORE

Shared memory of servers that have the library preloaded, the last one with
more max_connections, and the memory of sessions that have done one query, beside a server without it, and with the
library loaded into the session alone.  Private memory is what the session
shares with no other process; anonymous memory has in it what it still shares
with the postmaster.
"""
import sys

from sessions import connect, figure, run, save, spread


def fresh(host, number, sql):
    """Many sessions' anonymous and private memory in kB"""
    anonymous = []
    private = []
    for _ in range(number):
        connection = connect(host)
        run(connection, sql)
        path = f"/proc/{connection.get_backend_pid()}/smaps_rollup"
        anonymous.append(figure(path, "Anonymous:") * 1024)
        private.append(figure(path, "Private_") * 1024)
        connection.close()
    return {"anonymous_kb": spread(anonymous), "private_kb": spread(private)}


def allocated(host):
    """Sizes of our shared memory, max_connections and max_events"""
    connection = connect(host)
    sizes = dict(run(connection, """
        SELECT substr(name, length('pg_session_memory ') + 1), allocated_size
        FROM pg_shmem_allocations WHERE name LIKE 'pg_session_memory %'"""))
    settings = [int(run(connection, "SHOW " + name)[0][0]) for name in (
        "max_connections", "pg_session_memory.max_events")]
    connection.close()
    return sizes, settings


def shared(host, host_with_more):
    sizes, (connections, events) = allocated(host)
    more, (more_connections, _) = allocated(host_with_more)
    return {"bytes": sizes, "max_connections": connections,
            "max_events": events,
            # There are slots of other processes, too.
            "bytes_a_slot": (more["slots"] - sizes["slots"]) /
                            (more_connections - connections),
            "bytes_an_event": sizes["events"] / events}


def main():
    number, output = int(sys.argv[1]), sys.argv[2]
    without, with_library, with_more = sys.argv[3:]
    save(output, {
        "shared": shared(with_library, with_more),
        "sessions": number,
        "without": fresh(without, number, "SELECT 1"),
        "preloaded": fresh(with_library, number, "SELECT 1"),
        "loaded on first use": fresh(
            without, number, "SELECT count(*) FROM pg_session_memory"),
        "the same query of pg_stat_activity": fresh(
            without, number, "SELECT count(*) FROM pg_stat_activity")})


if __name__ == "__main__":
    main()
