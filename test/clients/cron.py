"""examples/cron.sql with the real pg_cron: alerts, a history, trimming.

The very file is run, and what it schedules is left to pg_cron: after the next
full minute the table has the bloated session, a listener knows of it, the
history has the recorder's samples, and an idle session has been trimmed.  What
else the jobs have to do, their commands are asked for here, without waiting
for more minutes; the server crashes in between.  All the time the role has a
search_path that leads nowhere, and the extension lies in a schema of its own.

Debian packages: python3-psycopg2, postgresql-MAJOR-cron.
Preloaded: pg_cron.
Runs beside the others.
"""

import json
import os
import select
import subprocess

import psycopg2

from assertions import equal, finish, ok
from recipes import readme_block
from server import (BLOAT, LEAVE_FREE, connect, query, readme_query, run_file,
                    wait_until)

ROLE = "pooled"
LARGE = 32000000        # bytes from which on the file's job trims
HISTORY = "history", "history_sessions"
KEY = {"history": "h.at", "history_sessions": "h.at, h.pid"}


def missing():
    """What the file says where something is missing, and that it leaves
    nothing behind then."""
    def check(name, message):
        status, output = run_file("cron.sql")
        ok(f"{name}: is an error that says so",
           status != 0 and message in output, output)
        equal(f"{name}: nothing is made", query(
            "SELECT to_regnamespace('session_memory')"), [(None,)])

    query("DROP EXTENSION pg_session_memory")
    check("cron.sql without the extension",
          'extension "pg_session_memory" is not in database "postgres"\n')
    query("CREATE SCHEMA tools")
    query("CREATE EXTENSION pg_session_memory SCHEMA tools")
    check("cron.sql without pg_cron",
          'extension "pg_cron" is not in database "postgres"\n')
    query("CREATE EXTENSION pg_cron")


def run_job(name, change=("", "")):
    """The job's own command, with one of its arguments changed."""
    command = query("SELECT command FROM cron.job "
                    f"WHERE jobname = 'session memory: {name}'")[0][0]
    assert change[0] in command
    return query(command.replace(*change))


def notifications(connection):
    connection.poll()
    found = [json.loads(notify.payload) for notify in connection.notifies]
    connection.notifies.clear()
    return found


def rows_of(table):
    """How many a table has, and how many of them are there twice."""
    return query(f"SELECT count(*), count(*) - count(DISTINCT ({KEY[table]})) "
                 f"FROM session_memory.{table} h")[0]


def left_out(table):
    """How many that the recorder had when the server started are not there."""
    return query(
        f"SELECT count(*) FROM tools.pg_session_memory_{table} v "
        "WHERE before_restart AND NOT EXISTS (SELECT FROM "
        f"session_memory.{table} h WHERE ({KEY[table]}) = "
        f"({KEY[table].replace('h.', 'v.')}))")[0][0]


def crash():
    """The history over a crash of the server, and when it is stored twice."""
    run_job("history")
    before = {table: rows_of(table) for table in HISTORY}
    directory = query("SHOW data_directory")[0][0]
    # Some samples that no job has stored yet
    samples = "SELECT count(*) FROM tools.pg_session_memory_history"
    count = query(samples)[0][0]
    ok("the recorder goes on",
       wait_until(lambda: query(samples)[0][0] >= count + 2))
    # Its output would hold a pipe open for as long as the server runs.
    subprocess.run(["pg_ctl", "-s", "-w", "-D", directory, "-m", "immediate",
                    "-l", os.path.join(directory, "restart.log"), "restart"],
                   stdin=subprocess.DEVNULL, check=True)
    run_job("history")
    for table in HISTORY:
        rows, twice = rows_of(table)
        ok(f"{table}: after a crash there is more than before",
           rows > before[table][0], f"{rows} after {before[table][0]}")
        equal(f"{table}: and nothing twice", twice, 0)
        equal(f"{table}: all of before the crash is there", left_out(table), 0)
    run_job("history")
    for table in HISTORY:
        equal(f"{table}: nothing twice when it is stored again",
              rows_of(table)[1], 0)


def uninstall():
    """What the README says takes all of it out again."""
    for file in "monitoring.sql", "clusters.sql":
        status, output = run_file(file)
        ok(f"{file} runs beside it", status == 0, output)
    query(readme_block("SELECT cron.unschedule"))
    equal("README: nothing is left of jobs, schemas, the extension", query(
        "SELECT (SELECT count(*) FROM cron.job), "
        "(SELECT count(*) FROM pg_namespace "
        "WHERE nspname LIKE 'session_memory%'), "
        "(SELECT count(*) FROM pg_extension "
        "WHERE extname = 'pg_session_memory')"), [(0, 0, 0)])


def main():
    missing()
    query(f"""
        CREATE ROLE {ROLE} LOGIN;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100;
        ALTER ROLE postgres SET search_path = nowhere""")
    query("ALTER SYSTEM SET pg_session_memory.record_interval = '1s'")
    query("SELECT pg_reload_conf()")
    for time in "first", "second":
        status, output = run_file("cron.sql")
        ok(f"cron.sql runs a {time} time", status == 0, output)
    equal("it schedules three jobs, each minute or hour", query(
        "SELECT jobname, schedule FROM cron.job ORDER BY jobname"),
        [("session memory: alerts", "* * * * *"),
         ("session memory: history", "0 * * * *"),
         ("session memory: trim", "* * * * *")])
    # By way of this server's socket; trimming at once what is idle, and not
    # in the next hour, or we would have to wait as long; and not before all is
    # there that is to be found.
    query(f"UPDATE cron.job SET active = false, schedule = '* * * * *', "
          f"nodename = '{os.environ['PGHOST']}', "
          "command = replace(command, '5 minutes', '0 seconds')")

    listener = connect()
    listener.cursor().execute("LISTEN session_memory")
    # It asks for nothing more, but its own memory is not what bloats.
    bloated = connect(f"user={ROLE} application_name=bloated")
    bloated.cursor().execute(BLOAT)
    healthy = connect(f"user={ROLE} application_name=healthy")
    healthy.cursor().execute("SELECT 1")
    # Idle and large, and over no threshold: much of it is free memory that
    # malloc keeps.
    large = connect("application_name=large")
    large.cursor().execute(LEAVE_FREE)
    pid = large.get_backend_pid()
    of_large = "SELECT anon_bytes, last_trim_at FROM " \
        f"tools.pg_session_memory WHERE pid = {pid}"
    before = query(of_large)[0][0]
    ok("a session is large", before >= LARGE, f"{before} bytes")

    def seen_active():
        large.cursor().execute("SELECT pg_sleep(1.5)")
        return query("SELECT 1 FROM tools.pg_session_memory_history_sessions "
                     f"WHERE pid = {pid} AND state = 'active'")
    ok("the recorder sees it work", wait_until(seen_active))
    for table in HISTORY:
        query(f"INSERT INTO session_memory.{table} (at) VALUES "
              "(now() - interval '91 days'), (now() - interval '89 days')")
    query("INSERT INTO session_memory.alert (last_seen, pid) VALUES "
          "(now() - interval '91 days', 1), (now() - interval '89 days', 2)")

    # pg_cron's own minute
    query("UPDATE cron.job SET active = true")

    def ran():
        return query("SELECT count(DISTINCT jobid) FROM cron.job_run_details "
                     "WHERE status IN ('succeeded', 'failed')")[0][0] == 3
    ok("pg_cron runs all three jobs", wait_until(ran, 300))
    query("UPDATE cron.job SET active = false")
    equal("none of them fails", query(
        "SELECT command, return_message FROM cron.job_run_details "
        "WHERE status = 'failed'"), [])

    alerts = ("SELECT application_name, usename, kind, "
              "bytes > threshold_bytes, at <= last_seen "
              "FROM session_memory.alert WHERE at IS NOT NULL")
    equal("the table has the bloated session, and no other", query(alerts),
          [("bloated", ROLE, "context", True, True)])
    wait_until(lambda: select.select([listener], [], [], 0)[0], 10)
    seen = notifications(listener)
    equal("who listens is told", [
        (note["pid"], note["usename"], note["kind"]) for note in seen],
        [(bloated.get_backend_pid(), ROLE, "context")])
    equal("an old alert is forgotten, one that is not is kept", query(
        "SELECT pid FROM session_memory.alert WHERE at IS NULL"), [(2,)])

    equal("the history has the samples, and large's figures", query(
        "SELECT count(*) > 1, count(DISTINCT reason) > 1, "
        "bool_and(largest_bytes BETWEEN 1 AND anon_bytes), "
        # one may have been taken while it grew
        f"(SELECT bool_or(anon_bytes >= {LARGE}) AND "
        "bool_and(context_bytes > 0 AND usename = 'postgres') "
        "FROM session_memory.history_sessions "
        f"WHERE pid = {pid}) "
        "FROM session_memory.history WHERE reason IS NOT NULL"),
        [(True, True, True, True)])
    equal("doc/monitoring.md: the query of alerts shows it", [
        (row[2:6]) for row in query(readme_query("session_memory.alert"))
        if row[0]], [(bloated.get_backend_pid(), ROLE, "bloated", "context")])
    ok("doc/monitoring.md: the query of the history shows figures", any(
        row[1] > 0 and row[2] >= row[3] >= LARGE
        for row in query(readme_query("session_memory.history ")) if row[1]))
    ok("doc/monitoring.md: that of its sessions shows figures", any(
        row[1] == "postgres" and row[2] > 0 and row[3] >= LARGE
        for row in query(readme_query("session_memory.history_sessions"))))
    for table in HISTORY:
        equal(f"{table}: rows of 91 days ago are gone, of 89 days are not",
              query("SELECT min(at) BETWEEN now() - interval '90 days' "
                    "AND now() - interval '88 days' "
                    f"FROM session_memory.{table}"), [(True,)])

    def trimmed():
        row = query(of_large)[0]
        return row[1] and row
    after = wait_until(trimmed)
    ok("the large idle session is trimmed", after and after[0] < before / 2,
       f"{before} bytes before, {after} after")
    equal("a small one is not", query(
        "SELECT last_trim_at FROM tools.pg_session_memory WHERE "
        "application_name = 'healthy'"), [(None,)])

    # The same commands once more, at once.
    first = query("SELECT last_seen FROM session_memory.alert "
                  "WHERE at IS NOT NULL")
    run_job("alerts")
    equal("the same bloat is no second alert", query(alerts),
          [("bloated", ROLE, "context", True, True)])
    equal("nor a second notification", notifications(listener), [])
    ok("but it is known to go on", query(
        "SELECT last_seen FROM session_memory.alert WHERE at IS NOT NULL")
        > first)
    bloated.cursor().execute("DEALLOCATE ALL")
    bloated.cursor().execute(BLOAT)
    run_job("alerts")
    equal("bloat that comes again is a second alert", len(query(alerts)), 2)
    wait_until(lambda: select.select([listener], [], [], 0)[0], 10)
    equal("and a second notification", len(notifications(listener)), 1)

    ok("trimming: any size, if it is told to",
       run_job("trim", (str(LARGE), "0"))[0][0] > 0)
    ok("trimming: a small one, then", wait_until(lambda: query(
        "SELECT 1 FROM tools.pg_session_memory WHERE application_name = "
        "'healthy' AND last_trim_at IS NOT NULL")))
    equal("trimming: but none again that has not worked since",
          query(of_large)[0][1], after[1])
    large.cursor().execute("SELECT 1")
    equal("trimming: nor one that has not been idle for so long",
          run_job("trim", ("0 seconds", "1 hour")), [(0,)])

    # Nobody but who ran the file has a right to what it made.
    try:
        query("SELECT session_memory.trim_idle('0', 0)", f"user={ROLE}")
        ok("a role without rights cannot trim", False)
    except psycopg2.errors.InsufficientPrivilege as error:
        ok("a role without rights cannot trim",
           "permission denied for schema session_memory" in str(error), error)

    for connection in listener, bloated, healthy, large:
        connection.close()
    crash()
    uninstall()
    finish()


if __name__ == "__main__":
    main()
