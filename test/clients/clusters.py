"""Several servers: one view over all of them, and a hot standby.

examples/clusters.sql, run as it is, brings three clusters and the standby of
one into one view.  On the standby, every function and every view that the
extension has is used, whatever they are called, and a session of the standby
is trimmed from there.

Debian packages: python3-psycopg2.
"""

import contextlib
import os

import psycopg2

from assertions import equal, finish, ok
from server import (BLOAT, LEAVE_FREE, Server, connect, query, readme_query,
                    run_file, wait_until)

CENTRAL = "dbname=central"
MB = 1024 * 1024


def error_of(sql, dsn=""):
    """The message of a statement that fails, or None."""
    try:
        query(sql, dsn)
    except psycopg2.Error as error:
        return str(error)
    return None


def add(name, host, options=""):
    return f"SELECT session_memory_all.add('{name}', '{host}', " \
        f"username => 'monitor'{options})"


def prepare(dsn):
    query("CREATE ROLE monitor LOGIN IN ROLE pg_monitor", dsn)
    query("CREATE ROLE pooled LOGIN; ALTER ROLE pooled "
          "SET pg_session_memory.context_threshold = '8MB'; "
          # each command is measured, however slow the machine
          "ALTER ROLE pooled SET pg_session_memory.max_overhead = 100", dsn)


def one_view(servers):
    """servers: (name, directory of its socket, dsn, schema)"""
    query("CREATE DATABASE central")
    for time in "first", "second":
        status, output = run_file("clusters.sql", CENTRAL)
        ok(f"clusters.sql runs a {time} time", status == 0, output)
    for name, directory, _, schema in servers:
        query(add(name, directory, f", schema => '{schema}'"), CENTRAL)
    names = [name for name, _, _, _ in servers]

    with contextlib.ExitStack() as stack:
        pids = {}
        for number, (name, _, dsn, _) in enumerate(servers):
            session = stack.enter_context(contextlib.closing(
                connect(f"{dsn} user=pooled application_name=of_{name}")))
            session.cursor().execute("SELECT 1")
            pids[name] = session.get_backend_pid()
            if name == "other":
                session.cursor().execute(BLOAT)
        equal("each server's session is there once, under its name", query(
            "SELECT server, pid, application_name, context_bytes > 0, "
            "anon_bytes > 0 FROM session_memory_all.pg_session_memory "
            "WHERE usename = 'pooled' ORDER BY 1", CENTRAL),
            [(name, pids[name], f"of_{name}", True, True)
             for name in sorted(names)])
        equal("doc/monitoring.md: the query shows the largest of all", query(
            readme_query("session_memory_all.pg_session_memory"),
            CENTRAL)[0][3], "of_other")
        for name, _, dsn, schema in servers:
            count = "SELECT array_agg(backend_type ORDER BY backend_type) " \
                "FROM {} WHERE backend_type NOT IN ('client backend', " \
                "'walsender', 'walreceiver', 'autovacuum worker')"
            equal(f"{name}: all processes as they are there", query(
                count.format("session_memory_all.pg_session_memory")
                + f" AND server = '{name}'", CENTRAL),
                query(count.format(f"{schema}.pg_session_memory"), dsn))
        equal("the bloated one, with its server", query(
            "SELECT server, pid FROM session_memory_all.pg_session_memory_bloat",
            CENTRAL), [("other", pids["other"])])
        equal("its event, with its server", query(
            "SELECT DISTINCT server, pid FROM "
            "session_memory_all.pg_session_memory_events", CENTRAL),
            [("other", pids["other"])])
        equal("pools, with their servers", query(
            "SELECT server, sessions FROM "
            "session_memory_all.pg_session_memory_pools "
            "WHERE usename = 'pooled' ORDER BY 1", CENTRAL),
            [(name, 1) for name in sorted(names)])
        plan = "".join(line for line, in query(
            "EXPLAIN VERBOSE SELECT * FROM session_memory_all.pg_session_memory"
            f" WHERE server = 'other' AND pid = {pids['other']}", CENTRAL))
        ok("a condition on the session is judged at its server, and only there",
           f"WHERE ((pid = {pids['other']}))" in plan
           and plan.count("Remote SQL") == 1, plan)

    query("SET search_path = nowhere; " + add("other", servers[1][1]), CENTRAL)
    equal("added anew, with an odd search_path: no server twice", query(
        "SELECT count(DISTINCT server), count(*) FROM session_memory_all."
        "pg_session_memory WHERE backend_type = 'checkpointer'", CENTRAL),
        [(len(names), len(names))])
    query("ALTER FOREIGN TABLE session_memory_other.pg_session_memory_pools "
          "DROP COLUMN anon_bytes CASCADE; "
          "SELECT session_memory_all.refresh()", CENTRAL)
    equal("of another version, with a column less: what all have", query(
        "SELECT bool_or(attname = 'anon_bytes'), bool_or(attname = 'sessions') "
        "FROM pg_attribute WHERE attrelid = "
        "'session_memory_all.pg_session_memory_pools'::regclass", CENTRAL),
        [(False, True)])
    query("SELECT session_memory_all.remove('other')", CENTRAL)
    equal("taken out", query(
        "SELECT DISTINCT server FROM session_memory_all.pg_session_memory "
        "ORDER BY 1", CENTRAL),
        [(name,) for name in sorted(names) if name != "other"])


def refusals(server):
    """Who is told what."""
    ok("a server that is not there", "could not connect to server "
       '"session_memory_gone"' in (error_of(add("gone", "/nowhere"), CENTRAL)
                                   or ""))
    ok("a database without the extension", 'server "bare" has no '
       'pg_session_memory in schema "public" of database "template1"' in
       (error_of(add("bare", server.directory, ", dbname => 'template1'"),
                 CENTRAL) or ""))
    equal("neither leaves a server behind", query(
        "SELECT count(*) FROM pg_foreign_server "
        "WHERE srvname ~ 'gone|bare'", CENTRAL), [(0,)])
    query("CREATE ROLE nobody LOGIN")
    ok("a role without pg_monitor", "permission denied for schema" in (error_of(
        "TABLE session_memory_all.pg_session_memory",
        CENTRAL + " user=nobody") or ""))
    equal("a role with pg_monitor may look", error_of(
        "TABLE session_memory_all.pg_session_memory",
        CENTRAL + " user=monitor"), None)


# Each function of the extension, by its signature, and a query with it; {pid}
# is another session.
FUNCTIONS = {
    "pg_session_memory()": "SELECT count(*) > 1 FROM {f}()",
    "pg_session_memory_contexts(integer,integer)":
        "SELECT count(total_bytes) > 50 AND count(name) = 0 FROM {f}({pid}, 32)",
    # The planner calls it.
    "pg_session_memory_contexts_support(internal)":
        "SELECT count(*) > 50 FROM pg_session_memory_contexts({pid})",
    "pg_session_memory_measure(integer,timestamp with time zone)":
        "SELECT (m).context_bytes > 0 FROM (SELECT {f}(pid, backend_start) m "
        "FROM pg_stat_activity WHERE pid = {pid}) t",
    "pg_session_memory_process(integer)": "SELECT rss_bytes > 0 FROM {f}({pid})",
    "pg_session_memory_get_bloat()":
        "SELECT array_agg(pid) = '{{{pid}}}' FROM {f}()",
    "pg_session_memory_get_events()":
        "SELECT bool_and(pid = {pid}) FROM {f}()",
    "pg_session_memory_get_server()":
        "SELECT sessions > 1 AND anon_bytes > 10 * 1024 * 1024 FROM {f}()",
    "pg_session_memory_environment()":
        "SELECT count(*) > 3 FROM {f}() WHERE verdict IS NOT NULL",
    "pg_session_memory_get_history()": "SELECT count(*) > 0 FROM {f}()",
    "pg_session_memory_get_history_sessions()":
        "SELECT count(*) > 0 FROM {f}() WHERE anon_bytes > 0",
    "pg_session_memory_get_statements()":
        "SELECT bool_or(query LIKE '%PREPARE large%' AND limited = 0) FROM {f}()",
    "pg_session_memory_last_statement()": "SELECT count(*) = 1 FROM {f}()",
    "pg_session_memory_categories(integer)":
        "SELECT count(*) > 3 FROM {f}({pid})",
    "pg_session_memory_idents(integer,integer,boolean)":
        "SELECT count(*) = 5 FROM {f}({pid}, 5)",
    "pg_session_memory_folded(integer,boolean)":
        "SELECT count(*) > 10 FROM {f}({pid}, true)",
    "pg_session_memory_report(interval,integer,text)":
        "SELECT count(*) > 100 AND bool_or(html LIKE '%{pid}%') "
        "FROM {f}() AS html",
    "pg_session_memory_snapshot(integer)":
        "SELECT jsonb_typeof({f}({pid})) = 'object'",
    "pg_session_memory_snapshot_paths(jsonb)":
        "SELECT count(*) > 10 FROM {f}(pg_session_memory_snapshot({pid}))",
    "pg_session_memory_diff(jsonb,jsonb)":
        "SELECT count(*) > 10 FROM {f}(pg_session_memory_snapshot({pid}), "
        "pg_session_memory_snapshot())",
    "pg_session_memory_sample(integer,interval,integer)":
        "SELECT count(*) = 2 FROM {f}({pid}, '10 ms', 2)",
    "pg_session_memory_is_bloated()": "SELECT NOT {f}()",
    "pg_session_memory_check()": "SELECT {f}()",
    "pg_session_memory_recycle()": "SELECT {f}()",
    "pg_session_memory_reset_peak()": "SELECT {f}() IS NOT NULL",
    "pg_session_memory_reset_events()": "SELECT {f}() IS NOT NULL",
    "pg_session_memory_reset_history()": "SELECT {f}() IS NOT NULL",
    "pg_session_memory_reset_statements()": "SELECT {f}() IS NOT NULL",
    "pg_session_memory_trim(boolean)": "SELECT heap_trimmed FROM {f}()",
    "pg_session_memory_trim(integer,bigint)":
        "SELECT outcome = 'trimmed' FROM {f}({pid}, 60000)",
}
VIEWS = {
    "pg_session_memory": "SELECT context_bytes > 10 * 1024 * 1024 "
    "AND source = 'live' AND status = 'bloated' FROM {f} WHERE pid = {pid}",
    "pg_session_memory_bloat": "SELECT pid = {pid} FROM {f}",
    "pg_session_memory_events": "SELECT bool_and(pid = {pid}) FROM {f}",
    "pg_session_memory_pools":
        "SELECT bloated = 1 FROM {f} WHERE usename = 'pooled'",
    "pg_session_memory_server":
        "SELECT available_bytes BETWEEN 1 AND total_bytes FROM {f}",
    "pg_session_memory_history":
        "SELECT bool_or(reason = 'start' AND largest_bytes > 0) FROM {f}",
    "pg_session_memory_history_sessions":
        "SELECT bool_or(backend_type = 'startup') FROM {f}",
    "pg_session_memory_statements":
        "SELECT bool_or(userid = 'pooled'::regrole AND calls = 1) FROM {f}",
}
FORGET = ("pg_session_memory_reset_events()",
          "pg_session_memory_reset_history()",
          "pg_session_memory_reset_statements()")


def standby(dsn):
    """Everything that the extension has works there."""
    def members(catalog, kind):
        return sorted(row[0] for row in query(
            f"SELECT replace(objid::{kind}::text, 'public.', '') "
            "FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid "
            f"WHERE e.extname = 'pg_session_memory' AND d.deptype = 'e' "
            f"AND d.classid = '{catalog}'::regclass", dsn))

    equal("standby: it is one", query("SELECT pg_is_in_recovery()", dsn),
          [(True,)])
    # so that none is forgotten here
    # Those that make parts of the report are used by it.
    equal("standby: all functions are used",
          [name for name in members("pg_proc", "regprocedure")
           if not name.startswith("pg_session_memory_report_")],
          sorted(FUNCTIONS))
    equal("standby: all views are used", members("pg_class", "regclass"),
          sorted(VIEWS))

    bloated = connect(dsn + " user=pooled")
    bloated.cursor().execute(BLOAT)
    pid = bloated.get_backend_pid()
    wait_until(lambda: query("SELECT 1 FROM pg_session_memory_bloat", dsn))
    for name, sql in [*VIEWS.items(), *FUNCTIONS.items()]:
        # Not while there is nothing to be found any more.
        if name not in FORGET:
            used(name, sql, pid, dsn)
    for name in FORGET:
        used(name, FUNCTIONS[name], pid, dsn)
    equal("standby: no event is left then",
          query("SELECT count(*) FROM pg_session_memory_events", dsn), [(0,)])
    bloated.close()

    for process in "startup", "walreceiver", "checkpointer":
        equal(f"standby: contexts of its process {process}", query(
            "SELECT count(c) > 3 FROM pg_stat_activity, LATERAL "
            "pg_session_memory_contexts(pid) c "
            f"WHERE backend_type = '{process}'", dsn), [(True,)])

    # Another session of it, which gives back what malloc keeps.
    large = connect(dsn)
    large.cursor().execute(LEAVE_FREE)
    anon = "SELECT anon_bytes FROM pg_session_memory " \
        f"WHERE pid = {large.get_backend_pid()}"
    before = query(anon, dsn)[0][0]
    equal("standby: another session is trimmed", query(
        "SELECT outcome, released_bytes > 30000000 FROM "
        f"pg_session_memory_trim({large.get_backend_pid()}, 60000)",
        dsn), [("trimmed", True)])
    after = query(anon, dsn)[0][0]
    ok("standby: and has less", before > 30 * MB and after < before / 2,
       f"{before} bytes before, {after} after")
    with large.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM pg_class")
        equal("standby: and goes on", cursor.fetchall(), [(True,)])
    large.close()


def used(name, sql, pid, dsn):
    call = sql.replace("{f}", name.partition("(")[0])
    for value in ("{pid}", str(pid)), ("{{", "{"), ("}}", "}"):
        call = call.replace(*value)
    try:
        equal(f"standby: {name}", query(call, dsn), [(True,)])
    except psycopg2.Error as error:
        ok(f"standby: {name}", False, str(error))


def main():
    prepare("")
    primary = f"host={os.environ['PGHOST']} port=5432 dbname=postgres"
    with Server(standby_of=primary) as replica, Server() as other, \
            Server() as third:
        for server in other, third:
            prepare(server.dsn)
        query("CREATE EXTENSION pg_session_memory", other.dsn)
        query("CREATE SCHEMA tools; CREATE EXTENSION pg_session_memory "
              "SCHEMA tools; GRANT USAGE ON SCHEMA tools TO monitor",
              third.dsn)
        query("SELECT pg_session_memory_reset_events()")
        one_view((("primary", os.environ["PGHOST"], primary, "public"),
                  ("other", other.directory, other.dsn, "public"),
                  ("third", third.directory, third.dsn, "tools"),
                  ("standby", replica.directory, replica.dsn, "public")))
        refusals(other)
        standby(replica.dsn)
    finish()


if __name__ == "__main__":
    main()
