"""What README.md and doc/ tell people to run, run from these files.

Every fenced block that names a language is run as it stands: statements and
commands here, on servers of their own, and what is about a driver or a pooler
by the test of that.  A block that no test runs is a failure.  Where output is
shown below a statement, the statement gives the same columns, and rows if it
shows rows.  Only what differs everywhere is replaced: pids, the name of a
host, and / for what is copied to /etc.

The box at the README's top says what gives memory back: each of its commands
is given to a session that has bloated that way.  And every link leads to a
file and a heading that are there; the README is no longer than it may be.

Debian packages: python3-psycopg2, python3-memory-profiler, git,
postgresql-MAJOR-cron.
Runs beside the others.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import tempfile

from assertions import equal, finish, ok
from server import TREE, Server, connect, documents, query, wait_until

LINES = 400             # of the README
MB = 1024 * 1024
OUTPUT = re.compile(r"[─┼]+")
PIDS = re.compile(r"(?<=\()\d{4,5}(?=[,)])|(?<=pid = )\d{4,5}\b")

# Blocks that begin so are run by another test, from the file itself: which,
# and what of it shows that.
ELSEWHERE = {
    "test/demo.sh": ("test/fresh-machine.sh", "test/demo.sh"),
    "test/guard.sh": ("test/check.sh", "test/guard.sh"),
    "sudo apt install git": ("test/packages.sh",
                             "newcomer_types \"$major\" 'sudo apt install git '"),
    "sudo apt purge": ("test/packages.sh",
                       "newcomer_types \"$major\" 'sudo apt purge '"),
    "; transaction pooling": ("test/clients/pgbouncer_recipes.py",
                              'recipes("ini")'),
    "\\i psqlrc": ("test/clients/recipe_psql.py", 'readme_block(r"\\i psqlrc")'),
    "check_command": ("test/clients/nagios.py", 'readme_block("check_command'),
}

# What a server says, the test that expects it, and what that looks for.
SAID = {
    "LOG:  server was not shut down": (
        "test/t/070_watcher.pl", "was not shut down before it started"),
    "LOG:  session memory over threshold: contexts": (
        "test/t/011_log.pl", "session memory over threshold: contexts"),
    "LOG:  session memory over threshold: the statement": (
        "test/t/020_statements.pl", "the statement took"),
    "ERROR:  out of memory\nDETAIL:  Failed on request of size 324": (
        "test/t/062_ceiling.pl", "pg_session_memory\\.guard\\ lets"),
    # below a statement, which is run
    "ERROR:  out of memory\nDETAIL:  Failed on request of size 111": (
        "test/t/060_process_limit.pl", "process_limit is"),
}

# flamegraph.pl is in no registry of the tests; t/046_folded.pl takes lines
# apart by its rules.
PROGRAMS = {
    "sudo": 'exec "$@"',
    "cp": 'exec /bin/cp "${@/#\\/etc/$ROOT/etc}"',
    "flamegraph.pl": 'grep -qE "^[^;]+(;[^;]+)+ [0-9]+$" "${@: -1}"',
}


@dataclasses.dataclass
class Block:
    file: str
    line: int
    chapter: str        # the last heading above it
    before: str         # the paragraph that leads to it, or nothing
    language: str
    text: str
    shown: str = ""     # the output right below it

    def __str__(self):
        first = self.text.split("\n")[0].strip()
        return f"{self.file} {self.line}: {first[:50]}"


def blocks_of(file):
    found, chapter, before, block, ended = [], "", [], None, None
    for number, line in enumerate(documents(file).split("\n"), 1):
        fence = re.match(r"```(\w*)$", line)
        if fence and block is None:
            block = Block(file, number, chapter, " ".join(before),
                          fence[1], "")
            # An output's statement is the block that ends right above it.
            if not block.language and ended == number - 1 and found:
                block.before = None
        elif fence:
            if block.language:
                found.append(block)
            elif block.before is None:
                found[-1].shown = block.text
            block, ended, before = None, number, []
        elif block is not None:
            block.text += line + "\n"
        elif line.startswith("#"):
            chapter, before = line.lstrip("# "), []
        elif line:
            before.append(line)
        elif ended != number - 1:
            before = before and [" ".join(before)][-1:]
    return found


# ---------------------------------------------------------------------------
# The files themselves
# ---------------------------------------------------------------------------

def files():
    return ["README.md", "CONTRIBUTING.md", "SECURITY.md"] + sorted(
        f"doc/{name}" for name in os.listdir(os.path.join(TREE, "doc"))
        if name.endswith(".md"))


def prose(file):
    """Without blocks, in which brackets and # mean something else."""
    return re.sub(r"^```.*?^```$", "", documents(file),
                  flags=re.DOTALL | re.MULTILINE)


def anchors(file):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)}


def links():
    wrong, from_readme = [], []
    for file in files():
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(file)):
            if link.startswith("http"):
                continue
            path, _, anchor = link.partition("#")
            path = os.path.normpath(os.path.join(
                os.path.dirname(file), path)) if path else file
            if not os.path.exists(os.path.join(TREE, path)) or (
                    anchor and anchor not in anchors(path)):
                wrong.append(f"{file}: {link}")
            elif file == "README.md":
                from_readme.append(path)
    equal("every link leads somewhere", wrong, [])
    equal("the README leads to each file of doc/", [
        file for file in files() if file.startswith("doc/")
        and file not in from_readme], [])
    lines = documents("README.md").count("\n")
    ok(f"the README has at most {LINES} lines", lines <= LINES, lines)
    equal("no command without a fence", [
        f"{file}: {line}" for file in files() if file != "CONTRIBUTING.md"
        for line in re.findall(r"^    +(?![-*]).*$", prose(file), re.MULTILINE)
        if file.startswith("doc/") or file == "README.md"], [])


def messages():
    """Those of a server, in outputs: each is expected by some test."""
    for message in re.findall(r"^```\n((?:LOG|ERROR):.*?)^```$", documents(),
                              re.DOTALL | re.MULTILINE):
        test, words = next((said for start, said in SAID.items()
                            if message.startswith(start)), (None, None))
        ok(f"{message[:60]!r}: {test} expects it",
           test and words in text_of(os.path.join(TREE, test)))


# ---------------------------------------------------------------------------
# Statements
# ---------------------------------------------------------------------------

class Psql:
    """A psql that stays, so that what it prints is what a reader would see."""

    MARK = "---- that was it"

    def __init__(self, dsn):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-P", "footer=off", "-P", "linestyle=unicode",
             "-P", "border=1", "-P", "null=", "-d", dsn], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self.pid = int(re.findall(
            r"^ *(\d+)$", self.run("SELECT pg_backend_pid();"),
            re.MULTILINE)[0])

    def begin(self, commands):
        self.process.stdin.write(f"{commands}\n\\echo {self.MARK}\n")
        self.process.stdin.flush()

    def end_of(self):
        return "".join(iter(self.process.stdout.readline, self.MARK + "\n"))

    def run(self, commands):
        self.begin(commands)
        return self.end_of()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def tables(output):
    """Of each table that psql has printed, its columns, and whether it has a
    row."""
    lines = output.split("\n")
    return [([name.strip() for name in lines[number - 1].split("│")],
             bool(lines[number + 1].strip()))
            for number, line in enumerate(lines)
            if OUTPUT.fullmatch(line) and number > 0]


def judge(block, output):
    """Reports whether it has done what the file says."""
    errors = re.findall(r"(?:ERROR|FATAL): +(.*)", output)
    # foretold in an output, or in a comment
    foretold = re.findall(r"ERROR: +(.*)", block.text + block.shown)
    good = len(errors) == len(foretold) and all(
        error.startswith(said) for error, said in zip(errors, foretold))
    shown, got = tables(block.shown), tables(output)
    if shown and not foretold:
        # what comes before may be shown elsewhere, or not at all
        got = got[-len(shown):]
        good = good and [names for names, _ in got] == [
            names for names, _ in shown] and all(
                row or not wanted for (_, row), (_, wanted)
                in zip(got, shown))
    ok(f"{block}", good, output)


def with_pid(text, pid):
    return PIDS.sub(str(pid), text)


def causes(blocks, dsn, directory):
    """Each chapter of doc/causes.md is a session that bloats, and the one that
    asks with its pid; each new connection is told."""
    observer = Psql(dsn)
    observer.session, chapter = None, None
    for block in blocks:
        if block.chapter != chapter or "new connection" in block.before:
            if observer.session:
                observer.session.close()
            observer.session, chapter = Psql(dsn), block.chapter
        session = observer.session
        if "dblink_send_query" in block.text:
            session.run(f"SELECT dblink_connect('other', 'host={directory} "
                        "user=postgres dbname=postgres');")
        asks = PIDS.search(block.text) and "pg_session_memory" in block.text
        judge(block, (observer if asks else session).run(
            with_pid(block.text, session.pid)))
    observer.session.close()
    observer.close()


class Statements:
    """Runs blocks one after the other, in sessions as they ask for them."""

    def __init__(self, dsn, target, host):
        self.dsn, self.target, self.host = dsn, target, host
        self.own, self.other = Psql(dsn), None

    def run(self, block):
        role = re.search(r"[Aa]s `(\w+)`", block.before)
        if self.other and (role or block.before):
            self.other.close()
            self.other = None
        if role:
            self.other = Psql(self.dsn.replace("user=postgres",
                                               f"user={role[1]}"))
        session = self.other or self.own
        text = with_pid(block.text, self.target.pid)
        text = text.replace("shop.example.com", self.host)
        output = session.run(text)
        if "pg_session_memory_snapshot" in text:
            # "now and then": something grows, and what follows is run again
            self.target.run("DO $$ BEGIN FOR n IN 1001..1500 LOOP EXECUTE "
                            "format('PREPARE s%s AS SELECT relname, %s FROM "
                            "pg_class', n, n); END LOOP; END $$;")
            output += session.run(text[text.index("INSERT"):])
        judge(block, output)

    def close(self):
        if self.other:
            self.other.close()
        self.own.close()


# ---------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------

class Shell:
    """A directory in which the files' commands are run."""

    def __init__(self, directory, server):
        self.directory, self.root = directory, os.path.join(directory, "root")
        programs = os.path.join(directory, "programs")
        os.mkdir(programs)
        for name, body in PROGRAMS.items():
            path = os.path.join(programs, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"#!/bin/bash\n{body}\n")
            os.chmod(path, 0o755)
        os.makedirs(os.path.join(self.root, "etc/prometheus/consoles"))
        os.symlink(os.path.join(os.path.abspath(TREE), "examples"),
                   os.path.join(directory, "examples"))
        with open(os.path.join(directory, "my_program.py"), "w",
                  encoding="utf-8") as file:
            file.write("def one_batch(connection):\n"
                       "    connection.cursor().execute('SELECT 1')\n")
        self.environment = {
            **os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
            "ROOT": self.root, "DESTDIR": self.root,
            "MAKEFLAGS": f"-s -j{os.cpu_count()}",
            "PGHOST": server.directory, "PGUSER": "postgres",
            "PGDATABASE": "postgres"}

    def run(self, block, text):
        result = subprocess.run(
            ["bash", "-ec", text], cwd=self.directory,
            env=self.environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        ok(f"{block}", result.returncode == 0, result.stdout)

    def made(self, name):
        """What a command has written, wherever it is in /etc."""
        path = os.path.join(self.root, name) if name.startswith("etc") \
            else os.path.join(self.directory, name)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()


def source(shell, block):
    """Of a clone, made as told, and taken away again."""
    origin = os.path.join(shell.directory, "origin")
    shutil.copytree(TREE, origin, symlinks=True, ignore=shutil.ignore_patterns(
        "*.o", "*.so", "*.bc", "tmp_check", ".git"))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost",
           "-C", origin]
    for command in ("init", "-q"), ("add", "-A"), ("commit", "-qm", "all"):
        subprocess.run([*git, *command], check=True)
    shell.environment["URL"] = origin
    shell.run(block, block.text)
    installed = [os.path.join(directory, name)
                 for directory, _, names in os.walk(shell.root)
                 for name in names if "pg_session_memory" in name]
    ok("from source: library, control file and script are installed",
       {os.path.basename(path) for path in installed} >= {
           "pg_session_memory.so", "pg_session_memory.control",
           "pg_session_memory--1.0.sql"}, installed)
    return installed


def copied(shell, block):
    """Settings that name files which the commands above have copied."""
    paths = re.findall(r"(/etc/\w[\w./-]+\.ya?ml)\b",
                       re.sub(r"^#.*$", "", block.text, flags=re.MULTILINE))
    ok(f"{block}", paths and all(shell.made(path[1:]) for path in paths),
       paths)


def in_an_example(block):
    """The code of a driver is a part of a file that a test imports."""
    for name in os.listdir(os.path.join(TREE, "examples")):
        with open(os.path.join(TREE, "examples", name),
                  encoding="utf-8") as file:
            if block.text in file.read():
                return any(f'in_readme("{name}")' in text_of(test)
                           for test in os.listdir(os.path.dirname(__file__))
                           if test.startswith("recipe_")
                           and test.endswith(".py"))
    return False


def text_of(name):
    with open(os.path.join(os.path.dirname(__file__), name),
              encoding="utf-8") as file:
        return file.read()


def elsewhere(block):
    """Run by another test, or not at all."""
    for start, (test, word) in ELSEWHERE.items():
        if block.text.startswith(start):
            ok(f"{block}: {test} runs it",
               word in text_of(os.path.join(TREE, test)),
               f'there is no {word} in it')
            return True
    return False


# ---------------------------------------------------------------------------
# The box at the README's top
# ---------------------------------------------------------------------------

# How a session comes to have most of its memory in such a category
BLOATS = {
    "catalog cache": "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) "
    "FROM payments) + (SELECT count(*) FROM visits);",
    "cached plans": "DO $$ BEGIN FOR n IN 1..4000 LOOP EXECUTE format('PREPARE "
    "s%s AS SELECT relname, %s FROM pg_class', n, n); END LOOP; END $$;",
    "functions": "SELECT all_rules(1);",
    "temporary tables": "SET temp_buffers = '32MB'; CREATE TEMP TABLE step AS "
    "SELECT repeat('x', 1000) FROM generate_series(1, 40000);",
    "execution": "SELECT length(array_agg(repeat('x', 100) || g)::text), "
    "pg_sleep(600) FROM generate_series(1, 500000) g;",
    "cursors": "DECLARE report CURSOR WITH HOLD FOR SELECT repeat('x', 100) "
    "FROM generate_series(1, 200000); MOVE 10 FROM report;",
    "transaction": "BEGIN;\nSELECT format('SAVEPOINT s%s', n), format('INSERT "
    "INTO invoice VALUES (%s, 1)', n) FROM generate_series(1, 3000) n \\gexec",
    "outside contexts": "DO $$ BEGIN FOR n IN 1..4000 LOOP EXECUTE format("
    "'PREPARE s%s AS SELECT relname, %s FROM pg_class', n, n); END LOOP; FOR n "
    "IN 1..3900 LOOP EXECUTE format('DEALLOCATE s%s', n); END LOOP; END $$;",
}


# The last row's
ALL = "any of these"


def box():
    """Categories, commands and figures of the table's rows."""
    chapter = documents("README.md").partition("\n## ")[2]
    rows = [[cell.strip() for cell in row.strip("|").split("|")]
            for row in re.findall(r"^\|.*\|$", chapter.partition("\n## ")[0],
                                  re.MULTILINE)]
    return [(category, row[1:]) for row in rows[2:]
            for category in row[0].split(", ") if category != ALL]


def process_of(pid, dsn):
    rows = query("SELECT anon_bytes + swap_bytes FROM pg_session_memory "
                 f"WHERE pid = {pid}", dsn)
    return rows[0][0] if rows else 0


def three_in_the_morning(dsn):
    """Each command of the box, given to a session that has bloated so."""
    observer, found = Psql(dsn), box()
    equal("3 a.m.: the causes", sorted(category for category, _ in found),
          sorted(BLOATS))
    for category, (command, gives) in found:
        command = (re.findall("`([^`]+)`", command) or [""])[0]
        session = Psql(dsn)
        session.begin(BLOATS[category])
        if category == "execution":
            # it sleeps when it has all
            wait_until(lambda pid=session.pid: query(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                f"AND pid = {pid}", dsn))
        else:
            session.end_of()
        before = process_of(session.pid, dsn)
        most = query("SELECT category FROM pg_session_memory_categories"
                     f"({session.pid}) LIMIT 1", dsn)[0][0]
        if category not in ("functions", "transaction"):
            equal(f"3 a.m., {category}: most of it", most, category)
        if "PID" in command:
            observer.run(f"SELECT {command.replace('PID', str(session.pid))};")
            if category == "execution":
                session.end_of()
        elif command:
            session.run(f"{command};")
            observer.run(f"SELECT pg_session_memory_trim({session.pid}, 60000);")
        after = process_of(session.pid, dsn)
        told = [int(figure) for figure in re.findall(r"(\d+) MB", gives)]
        print(f"# {category}: {before / MB:.0f} MB, then {after / MB:.0f} MB")
        if command:
            ok(f"3 a.m., {category}: {command} gives back what is told",
               len(told) == 2
               and after / before <= 1.25 * told[1] / told[0] + 0.05,
               f"{before} bytes before, {after} after, told {told}")
        observer.run(f"SELECT pg_terminate_backend({session.pid});")
        ok(f"3 a.m., {category}: pg_terminate_backend() gives all of it",
           wait_until(lambda pid=session.pid: not process_of(pid, dsn)))
        session.process.kill()
        session.close()
    fresh = Psql(dsn)
    ok("3 a.m.: the next connection is small",
       process_of(fresh.pid, dsn) < 5 * MB, process_of(fresh.pid, dsn))
    fresh.close()
    observer.close()


# ---------------------------------------------------------------------------

def newcomer(blocks):
    """A server without anything, and the README's first chapters."""
    def run(session, word):
        block, = [block for block in blocks
                  if block.file == "README.md" and word in block.text]
        judge(block, session.run(block.text))
        blocks.remove(block)

    with Server(shared_preload_libraries="") as server:
        held = connect(server.dsn)
        session = Psql(server.dsn)
        run(session, "CREATE EXTENSION pg_session_memory;")
        run(session, "most_of_it")
        session.close()
        held.close()
        block, = [block for block in blocks
                  if block.text.startswith("shared_preload_libraries")]
        with open(os.path.join(server.data, "postgresql.conf"), "a",
                  encoding="utf-8") as conf:
            conf.write(block.text)
        blocks.remove(block)
        restart(server, "fast")
        equal(f"{block}", query("SHOW shared_preload_libraries", server.dsn),
              [("pg_session_memory",)])
        samples = "SELECT count(*) FROM pg_session_memory_history_sessions"
        wait_until(lambda: query(samples, server.dsn)[0][0])
        restart(server, "immediate")
        wait_until(lambda: query(samples + " WHERE before_restart",
                                 server.dsn)[0][0])
        session = Psql(server.dsn)
        run(session, "largest_context,")
        run(session, "pg_session_memory.guard = 'on'")
        ok("the guard is on", wait_until(lambda: query(
            "SELECT guard = 'on' AND guard_state IS NOT NULL "
            "FROM pg_session_memory_server", server.dsn)[0][0]))
        session.close()


def restart(server, mode):
    subprocess.run(["pg_ctl", "-s", "-w", "-m", mode, "-D", server.data, "-l",
                    os.path.join(server.directory, "log"), "restart"],
                   stdin=subprocess.DEVNULL, check=True)


def prepare(server):
    """What the statements are about: tables, roles, a database."""
    for name in "test/demo_schema.sql", "test/explain/schema.sql":
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
                        "-d", server.dsn, "-f", os.path.join(TREE, name)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       check=True)
    for statement in ("CREATE EXTENSION pg_stat_statements",
                      "CREATE EXTENSION pg_cron", "CREATE DATABASE shop",
                      "CREATE ROLE app", "CREATE ROLE reporting LOGIN",
                      "CREATE ROLE monitor LOGIN IN ROLE pg_monitor"):
        query(statement, server.dsn)
    shop = server.dsn.replace("dbname=postgres", "dbname=shop")
    query("""CREATE EXTENSION pg_session_memory;
        CREATE EXTENSION pg_stat_statements;
        CREATE TABLE orders AS SELECT n AS id, md5(n::text) AS note
        FROM generate_series(1, 200000) n""", shop)
    restart(server, "immediate")
    for dsn in server.dsn, shop:
        query("SELECT count(*) FROM (SELECT DISTINCT md5(n::text) "
              "FROM generate_series(1, 200000) n) x", dsn)
    return shop


def all_others(blocks):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(
            shared_preload_libraries="pg_stat_statements, pg_cron, "
            "pg_session_memory", work_mem="64MB", jit="off",
            **{"pg_session_memory.record_interval": "1s"}))
        shop = prepare(server)
        three_in_the_morning(server.dsn)
        of_causes = [block for block in blocks if block.language == "sql"
                     and block.file == "doc/causes.md"]
        causes(of_causes, server.dsn, server.directory)
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        shell = Shell(directory, server)
        target = Psql(server.dsn)
        target.run("DO $$ BEGIN FOR n IN 1..500 LOOP EXECUTE format('PREPARE "
                   "s%s AS SELECT relname, %s FROM pg_class', n, n); END LOOP;"
                   " END $$;")
        by_file, installed = {}, []
        # What takes away what others have made comes last.
        for block in sorted(blocks, key=lambda block: (
                "DROP EXTENSION" in block.text, block.file == "README.md")):
            if block in of_causes:
                pass
            elif block.language == "sql":
                if block.file not in by_file:
                    by_file[block.file] = Statements(
                        shop if block.file == "doc/statements.md"
                        else server.dsn, target, server.directory)
                by_file[block.file].run(block)
            elif elsewhere(block):
                pass
            elif block.text.startswith("git clone"):
                installed = source(shell, block)
            elif " uninstall" in block.text:
                shell.run(block, block.text)
                equal("nothing stays of it",
                      [path for path in installed if os.path.exists(path)], [])
            elif block.language in ("python", "js", "properties"):
                ok(f"{block}: is a file's, which a recipe's test runs",
                   in_an_example(block))
            elif "/etc/" in block.text and "cp " not in block.text:
                copied(shell, block)
            elif block.language == "sh":
                shell.run(block, with_pid(block.text, target.pid))
                for made in re.findall(r"-o (\S+\.html)", block.text):
                    ok(f"{block}: the page is whole",
                       "</html>" in shell.made(made))
            else:
                ok(f"{block}: some test runs it", False)
        for statements in by_file.values():
            statements.close()
        target.close()


def main():
    links()
    messages()
    blocks = [block for file in files() for block in blocks_of(file)
              if file == "README.md" or file.startswith("doc/")]
    equal("what other tests run is still there", [
        start for start in ELSEWHERE
        if not any(block.text.startswith(start) for block in blocks)], [])
    newcomer(blocks)
    all_others(blocks)
    finish()


if __name__ == "__main__":
    main()
