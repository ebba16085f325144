"""Servers, sessions and files that several tests of this directory need."""

import os
import re
import socket
import subprocess
import tempfile
import time

import psycopg2

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLES = os.path.join(TREE, "examples")

# A prepared statement of 10 MB, which a trim does not give back.
BLOAT = """DO $$ BEGIN EXECUTE 'PREPARE large AS SELECT 1 /*'
    || repeat('x', 10 * 1024 * 1024) || '*/'; END $$"""

# More than 30 MB that malloc keeps when it is over, and a trim gives back.
LEAVE_FREE = """DO $$ BEGIN
    FOR n IN 1..4000 LOOP
        EXECUTE format('PREPARE s%s AS SELECT relname FROM pg_catalog.pg_class '
            'WHERE oid = %s', n, n);
    END LOOP;
    EXECUTE 'DEALLOCATE ALL';
END $$"""


def connect(dsn=""):
    """A connection in autocommit mode, by default as the runner's superuser
    to the runner's server."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def query(sql, dsn=""):
    """What a statement returns in a connection of its own: rows, or None."""
    connection = connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def run_file(name, dsn=""):
    """Runs a file of examples/ in psql, as its head says.  Returns psql's
    status and all that it wrote."""
    result = subprocess.run(
        ["psql", "-X", "-d", dsn, "-f", os.path.join(EXAMPLES, name)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    return result.returncode, result.stdout


def documents(*files):
    """The text of files for the users; without an argument of all of them."""
    files = files or ["README.md"] + sorted(
        os.path.join("doc", name) for name in os.listdir(
            os.path.join(TREE, "doc")) if name.endswith(".md"))
    texts = []
    for name in files:
        with open(os.path.join(TREE, name), encoding="utf-8") as file:
            texts.append(file.read())
    return "".join(texts)


def recipes(language):
    """The blocks of a language about what runs beside the server."""
    return [block for file in ("doc/pgbouncer.md", "doc/monitoring.md")
            for block in re.findall(rf"^```{language}\n(.*?)^```$",
                                    documents(file),
                                    re.MULTILINE | re.DOTALL)]


def readme_query(word):
    """Their statement that has a word."""
    found, = [statement for block in recipes("sql")
              for statement in block.split(";") if word in statement]
    return found


def wait_until(condition, timeout=120):
    """Waits for a condition, and returns its last value.  The time is for a
    machine that does a lot else; who waits in vain has failed anyway."""
    end = time.monotonic() + timeout
    value = condition()
    while not value and time.monotonic() < end:
        time.sleep(0.1)
        value = condition()
    return value


def free_port():
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A further server, for the time of a with statement.

    A new one, or a hot standby of the one that the dsn standby_of reaches.
    directory has its socket, dsn is a superuser's.
    """

    def __init__(self, standby_of=None, **settings):
        self.standby_of = standby_of
        self.settings = settings

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name
        self.data = os.path.join(self.directory, "data")
        self.dsn = f"host={self.directory} port=5432 user=postgres " \
            "dbname=postgres"
        if self.standby_of:
            self._run("pg_basebackup", "-D", self.data, "-R", "-c", "fast",
                      "--no-sync", "-d", self.standby_of)
        else:
            self._run("initdb", "-D", self.data, "-U", "postgres", "-A",
                      "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        settings = {"listen_addresses": "", "fsync": "off",
                    "unix_socket_directories": self.directory,
                    "shared_preload_libraries": "pg_session_memory"}
        settings.update(self.settings)
        with open(os.path.join(self.data, "postgresql.conf"), "a",
                  encoding="utf-8") as conf:
            for name, value in settings.items():
                conf.write(f"{name} = '{value}'\n")
        self._run("pg_ctl", "-s", "-w", "-D", self.data,
                  "-l", os.path.join(self.directory, "log"), "start")
        return self

    def __exit__(self, *_):
        self._run("pg_ctl", "-s", "-w", "-m", "immediate", "-D", self.data,
                  "stop")
        self.temporary.cleanup()

    def _run(self, *command):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                                stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)
        if result.returncode != 0:
            log = os.path.join(self.directory, "log")
            if os.path.exists(log):
                with open(log, encoding="utf-8") as file:
                    result.stderr += file.read()[-4000:]
            raise RuntimeError(f"{command[0]}: {result.stderr}")
