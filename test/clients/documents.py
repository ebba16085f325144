"""What users read: each block of README.md and doc/ is run as it stands.

SQL runs here in psql, block after block, with the numbers of processes in it
replaced by that of a session that is there; and what is shown of a result must
have the columns that it really has.  Blocks that need more than a server, or
that another test runs, are listed with that test, and a block that is neither
run nor listed is a failure.

Debian packages: python3-psycopg2.
Preloaded: pg_stat_statements.
"""

import os
import re
import subprocess
import tempfile

import psycopg2

from assertions import equal, finish, ok
from server import TREE, connect, query

LINES = 400             # of the README, at most
FILES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] + [
    "doc/" + name for name in sorted(os.listdir(os.path.join(TREE, "doc")))
    if name.endswith(".md")]

# How a block begins, and which test of what it shows there is.  All of
# causes.md is made by test/explain.sh, which compares nothing: its statements
# run here as far as they stand by themselves.
RUN_BY = {
    "SELECT cron.unschedule": "test/clients/cron.py",
    "SELECT at, last_seen, pid, usename": "test/clients/cron.py",
    "SELECT session_memory_all.add": "test/clients/clusters.py",
    "connectionTestQuery=": "test/clients/recipe_hikari.py",
    "import pg from": "test/clients/recipe_node.py",
    "import warnings\n\nimport psycopg2": "test/clients/recipe_psycopg2.py",
    "import warnings\n\n\ndef slim": "test/clients/recipe_aiopg.py",
    "import warnings\n\nimport psycopg\n": "test/clients/recipe_psycopg3.py",
    "import warnings\n\nfrom sqlalchemy": "test/clients/recipe_sqlalchemy.py",
    "; transaction pooling": "test/clients/pgbouncer_recipes.py",
    "# /etc/default/prometheus": "test/clients/prometheus.py",
    "# /etc/prometheus/prometheus.yml": "test/clients/prometheus.py",
    "\\i psqlrc": "test/clients/recipe_psql.py",
    "TopMemoryContext;": "test/clients/flamegraph.py",
    "round |": "test/clients/python_tools.py",
    " pid  │    outcome     │ released": "test/t/030_trim_other.pl",
    "  pid  |   role   |  application": "test/clients/recipe_psql.py",
}
# What the server says, the test that expects it, and what that looks for.
SAID = {
    "LOG:  server was not shut down": ("test/t/070_watcher.pl",
                                       "was not shut down before it started"),
    "LOG:  session memory over threshold: contexts": (
        "test/t/011_log.pl", "session memory over threshold: contexts"),
    "LOG:  session memory over threshold: the statement": (
        "test/t/020_statements.pl", "the statement took"),
    'ERROR:  out of memory\nDETAIL:  Failed on request of size 324': (
        "test/t/062_ceiling.pl", "pg_session_memory\\.guard\\ lets"),
}
# Commands, and what runs them
COMMANDS = {
    "test/demo.sh": "test/fresh-machine.sh",
    "test/check.sh": "test/versions.sh",
    "test/guard.sh": "test/check.sh",
    "make deb": "test/packages.sh",
    "make": "test/fresh-machine.sh",
    "shared_preload_libraries": "test/clients/run",
    "psql -d postgres -f examples/cron.sql": "test/clients/cron.py",
    "psql -d postgres -f examples/monitoring.sql": "test/clients/prometheus.py",
    "psql -d postgres -f examples/clusters.sql": "test/clients/clusters.py",
    "cp examples/": "test/clients/prometheus.py",
    "check_command": "test/clients/nagios.py",
    "examples/whose_memory.py": "test/clients/python_tools.py",
    "flamegraph.pl": "test/t/046_folded.pl",
}
PIDS = re.compile(r"\b(20601|4711|3682)\b")


def read(name):
    with open(os.path.join(TREE, name), encoding="utf-8") as file:
        return file.read()


def blocks(text):
    """Each block of a file: its language, its text, the paragraph before it,
    and the block that follows at once, or nothing."""
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text,
                             re.MULTILINE | re.DOTALL))
    nexts = [match[2] if not between.strip() else "" for match, between in zip(
        found[1:], [text[one.end():other.start()]
                    for one, other in zip(found, found[1:])])]
    return [(match[1], match[2],
             text[:match.start()].rstrip().rpartition("\n\n")[2], after)
            for match, after in zip(found, nexts + [""])]


def prose(text):
    """A file without its blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text,
                  flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)}


def links():
    wrong = []
    for name in FILES:
        for link in re.findall(r"\]\(([^)\s]+)\)", read(name)):
            path, _, anchor = link.partition("#")
            if path.startswith("http"):
                continue
            target = os.path.normpath(
                os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(os.path.join(TREE, target)):
                wrong.append((name, link))
            elif anchor and anchor not in anchors(read(target)):
                wrong.append((name, link))
    equal("links lead somewhere", wrong, [])
    equal("the README leads to each file of doc/", [
        name for name in FILES
        if name.startswith("doc/") and f"]({name}" not in read("README.md")],
          [])
    lines = len(read("README.md").splitlines())
    ok(f"the README has at most {LINES} lines", lines <= LINES, lines)


def listed(block, table):
    """What a table says of a block, if its beginning is there."""
    return next((value for start, value in table.items()
                 if block.startswith(start)), None)


def headings(output):
    """The column headings of psql's tables."""
    lines = output.splitlines()
    return [[column.strip() for column in re.split("[│|]", line)]
            for line, next_line in zip(lines, lines[1:])
            if re.fullmatch(r"[─┼]+", next_line)]


def psql(script, *options):
    result = subprocess.run(
        ["psql", "-X", "-P", "linestyle=unicode", "-P", "pager=off",
         *options], input=script, text=True, capture_output=True, timeout=600)
    return result.stdout, result.stderr


def run_sql(name, block, before, after, pid):
    """One block, by the role that is named before it."""
    title = f"{name}: {' '.join(block.split())[:60]}"
    role = re.search(r"[Aa]s `(\w+)`", before)
    if block.startswith("CREATE EXTENSION"):
        query("DROP EXTENSION pg_session_memory")
    output, errors = psql(PIDS.sub(str(pid), block),
                          *(["-U", role[1]] if role else []), "-d", "postgres")
    if after.startswith("ERROR:"):
        equal(f"{title}: fails", re.findall(r"ERROR:  .*", errors),
              [after.splitlines()[0]])
    else:
        # A line that fails says so.
        equal(f"{title}: runs", len(re.findall("ERROR:", errors)),
              len(re.findall("-- ERROR", block)))
        if "ERROR:" in errors and "-- ERROR" not in block:
            print(errors)
    shown = headings(after)
    if shown:
        equal(f"{title}: the columns that are shown",
              [heading for heading in headings(output) if heading in shown],
              shown)


def prepare():
    """What the blocks are about: roles, a database, tables, a session."""
    query("""
        CREATE ROLE app LOGIN;
        CREATE ROLE reporting LOGIN;
        CREATE EXTENSION pg_stat_statements;
        CREATE TABLE customer AS SELECT i AS id, 'name ' || i AS name
            FROM generate_series(1, 1000) AS i;
        CREATE TABLE orders AS SELECT i AS id, i % 1000 AS customer,
                repeat('x', 20) AS note FROM generate_series(1, 10000) AS i""")
    query("CREATE DATABASE shop")
    session = connect("application_name=web")
    with session.cursor() as cursor:
        cursor.execute("DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format("
                       "'PREPARE s%s AS SELECT relname, %s FROM pg_class', "
                       "n, n); END LOOP; END $$")
    return session


def main():
    links()
    session = prepare()
    pid = session.info.backend_pid
    unknown = []
    for name in FILES:
        found = blocks(read(name))
        for number, (language, block, before, after) in enumerate(found):
            test = listed(block, RUN_BY)
            said = listed(block, SAID)
            if test:
                ok(f"{name}: {block.split(chr(10))[0][:60]}: {test}",
                   os.path.exists(os.path.join(TREE, test)))
            elif said:
                ok(f"{name}: {block[:50]!r} is what {said[0]} expects",
                   said[1] in read(said[0]))
            elif name == "doc/causes.md":
                continue
            elif language == "sql":
                run_sql(name, block, before, after, pid)
            elif not (number and found[number - 1][0] == "sql"
                      and found[number - 1][3] == block):
                unknown.append((name, block[:60]))
        for command in re.findall(r"(?:\A|\n\n) {4}(\S.*(?:\n {4}\S.*)*)",
                                  prose(read(name))):
            for line in command.splitlines():
                line = line.strip()
                if line.startswith(("examples/report.sh", "psql -XA")):
                    shell(name, line, pid)
                elif not listed(line, COMMANDS) and not line.startswith("src/"):
                    unknown.append((name, line))
    equal("no block without a test", unknown, [])
    session.close()
    finish()


def shell(name, command, pid):
    """A command line, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        os.symlink(os.path.join(TREE, "examples"),
                   os.path.join(directory, "examples"))
        result = subprocess.run(
            ["bash", "-c", PIDS.sub(str(pid), command)], cwd=directory,
            text=True, capture_output=True, stdin=subprocess.DEVNULL)
        made = [file for file in os.listdir(directory) if file != "examples"
                and os.path.getsize(os.path.join(directory, file)) > 0]
        ok(f"{name}: {command}",
           result.returncode == 0 and len(made) == 1, (result.stderr, made))


if __name__ == "__main__":
    main()
