"""examples/psqlrc: shortcuts of psql.

Debian packages: python3-psycopg2.
"""

import os
import re
import subprocess

import psycopg2

from assertions import equal, finish, ok
from recipes import (CROSSES, EXAMPLES, ROLE, prepare, query, readme_block,
                     without_library)
from server import LEAVE_FREE

FILE = os.path.join(EXAMPLES, "psqlrc")
WIDTH = 120
WIDTHS = {"memory_top": 100}
LONG = "x" * 63         # the longest name that there is
SHORTCUTS = {
    "memory": "pid role database application state memory catalogs plans "
              "others outside",
    "memory_top": "pid role application state memory grown "
                  "c=catalogs,p=plans,o=others",
    "memory_pools": "application role sessions in_xact contexts bloated "
                    "longest_idle longest_in_xact",
    "memory_bloat": "pid role application kind context size threshold since",
    "memory_events": "at pid role kind context size query",
    "memory_categories": "category contexts total used percent largest "
                         "of_these",
    "memory_contexts": "name category contexts total free",
    "memory_idents": "context contexts total pattern",
}
PRELOADED = "memory_bloat", "memory_events"


def psql(script, *arguments):
    """What psql prints, with the file as its psqlrc."""
    result = subprocess.run(
        ["psql", *arguments], input=script, capture_output=True, text=True,
        env={**os.environ, "PSQLRC": FILE, "PAGER": ""}, timeout=600)
    return result.stdout, result.stderr


def rows(output):
    """The heading and the rows of psql's aligned output, in columns."""
    lines = [line for line in output.splitlines() if "|" in line]
    return [[value.strip() for value in line.split("|")] for line in lines]


def megabytes(pretty):
    """What pg_size_pretty() has printed."""
    number, unit = pretty.split()
    return int(number) / {"MB": 1, "kB": 1024, "bytes": 1024 * 1024}[unit]


def long_session():
    """A session that is over its thresholds and has the longest of names."""
    query(f"""
        CREATE ROLE {LONG} LOGIN;
        ALTER ROLE {LONG} SET pg_session_memory.context_threshold = '8MB';
        ALTER ROLE {LONG} SET pg_session_memory.session_threshold = '8MB';
        ALTER ROLE {LONG} SET pg_session_memory.process_threshold = '8MB';
        ALTER ROLE {LONG} SET pg_session_memory.max_overhead = 100""")
    connection = psycopg2.connect(f"user={LONG} application_name={LONG}")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(CROSSES)
        cursor.execute(f"PREPARE {LONG} AS SELECT\n\t1 AS {LONG}")
    return connection


def aborted(connection):
    """Puts it into the state with the longest name."""
    connection.autocommit = False
    try:
        connection.cursor().execute("SELECT 1/0")
    except psycopg2.Error:
        pass


def shortcuts(pid):
    for name, columns in SHORTCUTS.items():
        output, errors = psql(f"\\set memory_pid {pid}\n:{name}\n")
        table = rows(output)
        equal(f":{name}", (table[:1], errors), ([columns.split()], ""))
        ok(f":{name}: has rows", len(table) > 1, output)
        # nothing wraps, so that each row has all columns
        ok(f":{name}: a line a row",
           all(len(row) == len(table[0]) for row in table)
           and "+" not in output.replace("-+-", ""), output)
        widest = max(output.splitlines(), key=len)
        width = WIDTHS.get(name, WIDTH)
        ok(f":{name}: at most {width} characters wide",
           len(widest) <= width, f"{len(widest)} of {widest}")


def figures(pid):
    """Each shows the session that it is about."""
    table = rows(psql(":memory_bloat\n")[0])
    equal(":memory_bloat: the biggest session first",
          table[1][:3], [str(pid), "x" * 12, "x" * 20])
    # The biggest one of all has next to nothing in contexts: malloc keeps what
    # it has freed.  Twice as much as others need, for a statement takes less in
    # later versions of PostgreSQL.
    keeps = psycopg2.connect("application_name=keeps")
    keeps.cursor().execute(LEAVE_FREE.replace("4000", "8000"))
    table = rows(psql(":memory\n")[0])
    equal(":memory: first what malloc keeps, then what contexts hold",
          [row[:4] for row in table[1:3]],
          [[str(keeps.info.backend_pid), "postgres", "postgres", "keeps"],
           [str(pid), "x" * 9, "postgres", "x" * 14]])
    ok(":memory: nearly all of it is outside of contexts",
       megabytes(table[1][9]) > 0.8 * megabytes(table[1][5]) > 24, table[1])
    keeps.close()
    table = rows(psql(":memory_pools\n")[0])
    equal(":memory_pools: it idles in a transaction",
          [row[2:4] + row[5:6] for row in table[1:] if row[0] == "x" * 20],
          [["1", "1", "1"]])
    ok(":memory_events: what it has crossed",
       {"context", "session", "process"} <= {
           row[3] for row in rows(psql(":memory_events\n")[0])
           if row[1] == str(pid)})
    for name, column, value in (("memory_categories", 0, "cached plans"),
                                ("memory_contexts", 0, "CachedPlanSource"),
                                ("memory_idents", 0, "CachedPlanSource")):
        of_pid = rows(psql(f"\\set memory_pid {pid}\n:{name}\n")[0])
        # How much lies outside of contexts is a matter of the server's build.
        first = [row[column] for row in of_pid[1:]
                 if row[column] != "outside contexts"][:1]
        equal(f":{name}: of that session", first, [value])
        own = rows(psql(f":{name}\n")[0])
        ok(f":{name}: of one's own", len(own) > 1 and own[1] != of_pid[1])


def screens():
    """What has grown since the last screen comes first in the next one."""
    large = psycopg2.connect("application_name=large")
    large.cursor().execute(CROSSES)
    grows = psycopg2.connect("application_name=grows")
    grows.cursor().execute("SELECT 1")
    screen = subprocess.Popen(
        ["psql"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PSQLRC": FILE, "PAGER": ""})

    def shown():
        screen.stdin.write(":memory_top\n\\echo the end\n")
        screen.stdin.flush()
        lines = list(iter(screen.stdout.readline, "the end\n"))
        return rows("".join(lines))

    first = shown()
    equal(":memory_top: first the server, then most memory, nothing grown",
          ([first[1][1]], {row[5] for row in first[1:]}), (["SERVER"], {""}))
    sizes = [megabytes(row[4]) for row in first[2:]]
    equal(":memory_top: largest first", sizes, sorted(sizes, reverse=True))
    grows.cursor().execute(CROSSES.replace("10 *", "5 *"))
    second = shown()
    equal(":memory_top: what has grown comes first", second[2][:1],
          [str(grows.info.backend_pid)])
    ok(":memory_top: by how much", megabytes(second[2][5]) > 4, second[2])
    # How much malloc keeps of the rest is a matter of PostgreSQL's version.
    width = query(f"""
        SELECT 27.0 * cached_plan_bytes / max(anon_bytes) OVER ()
        FROM pg_session_memory WHERE backend_type = 'client backend'
        ORDER BY pid <> {grows.info.backend_pid} LIMIT 1""")[0][0]
    ok(":memory_top: a bar of what it has in cached plans",
       re.fullmatch(r"c*p+o*\.*", second[2][6])
       and abs(second[2][6].count("p") - width) <= 1, (second[2], width))
    ok(":memory_top: no bar is longer than the largest session's",
       all(len(row[6]) <= 27 for row in second[1:]), second)
    screen.stdin.close()
    screen.wait()
    screen.stdout.close()
    large.close()
    grows.close()


def readme(pid):
    """The lines of doc/monitoring.md, as they are but for the file and the pid."""
    lines = readme_block(r"\i psqlrc").replace(r"\i psqlrc", rf"\i {FILE}")
    lines = re.sub(r"memory_pid \d+", f"memory_pid {pid}", lines).splitlines()
    watched = [number for number, line in enumerate(lines) if "watch" in line][0]

    # It would not end.
    process = subprocess.Popen(["psql", "-X"], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    process.stdin.write("\n".join(lines[:watched + 1]) + "\n")
    process.stdin.close()
    shown = 0
    for line in process.stdout:
        shown += f" {pid} | " in line
        if shown == 4:
            break
    process.terminate()
    process.stdout.close()
    process.wait()
    equal(r"doc/monitoring.md: :memory \watch shows it again and again", shown, 4)

    del lines[watched]
    result = subprocess.run(["psql", "-X"], input="\n".join(lines) + "\n",
                            capture_output=True, text=True)
    ok("doc/monitoring.md: the contexts of a session",
       not result.stderr and "CachedPlanSource" in result.stdout,
       result.stdout + result.stderr)


def elsewhere(pid):
    """What is missing is said, and by which name."""
    for database in "without_extension", "other_schema":
        errors = psql(":memory\n", "-d", database)[1]
        ok(f":memory in {database}",
           'relation "pg_session_memory" does not exist' in errors, errors)
    output, errors = psql("SET search_path = public, memory;\n"
                          + "".join(f":{name}\n" for name in SHORTCUTS),
                          "-d", "other_schema")
    ok("each with its schema in search_path",
       not errors and output.count(" row") == len(SHORTCUTS), output + errors)

    own = psycopg2.connect(f"user={ROLE}")
    output, errors = psql("".join(f":{name}\n" for name in SHORTCUTS),
                          "-U", ROLE)
    # another one of its own may still be about to end
    table = rows(psql(":memory\n", "-U", ROLE)[0])[1:]
    ok("a role without rights: its own sessions",
       str(own.info.backend_pid) in [row[0] for row in table]
       and {row[1] for row in table} == {ROLE}, f"{table}")
    own.close()
    ok("a role without rights: no figures of others",
       not [row for row in rows(output)
            if str(pid) in row and any(" kB" in value or " MB" in value
                                       for value in row)], output)
    equal("a role without rights: no error", errors, "")


def not_preloaded():
    with without_library():
        for name in SHORTCUTS:
            output, errors = psql(f":{name}\n")
            if name in PRELOADED:
                ok(f":{name}, not preloaded: says so",
                   'must be loaded via "shared_preload_libraries"' in errors,
                   errors)
            else:
                ok(f":{name}, not preloaded", " row" in output and not errors,
                   output + errors)


def main():
    prepare()
    connection = long_session()
    pid = connection.info.backend_pid
    aborted(connection)
    shortcuts(pid)
    figures(pid)
    screens()
    readme(pid)
    elsewhere(pid)
    connection.close()
    not_preloaded()
    finish()


if __name__ == "__main__":
    main()
