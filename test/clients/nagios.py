"""The commands of examples/nagios.cfg, as Nagios would run them.

Debian packages: python3-psycopg2, check-postgres.
"""

import os
import re
import subprocess

from assertions import equal, finish, ok
from recipes import readme_block
from server import BLOAT, EXAMPLES, Server, connect, query, run_file

ROLE = "pooled"
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def commands():
    """The command lines of the file, by their names."""
    with open(os.path.join(EXAMPLES, "nagios.cfg"), encoding="utf-8") as file:
        return dict(re.findall(
            r"command_name +(\S+)\n *command_line +(.*)", file.read()))


def check(command, *arguments, host=os.environ["PGHOST"], user="nagios",
          dbname="postgres"):
    """The state and the output of a command of the file, with Nagios' macros
    filled in; as another role or in another database, if told so."""
    line = commands()[command].replace("$HOSTADDRESS$", host)
    for number, argument in enumerate(arguments, 1):
        line = line.replace(f"$ARG{number}$", argument)
    line = line.replace("--dbuser=nagios", f"--dbuser={user}") \
        .replace("--dbname=postgres", f"--dbname={dbname}")
    result = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)
    return STATES[result.returncode], result.stdout


def state(name, expected, *arguments, output="", **options):
    """Reports whether a command has a state, and says a thing."""
    got, text = check(*arguments, **options)
    ok(f"{name}: {expected}", got == expected and re.search(output, text),
       f"{got}: {text}")


def main():
    query(f"""
        CREATE ROLE {ROLE} LOGIN;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100;
        CREATE ROLE nobody LOGIN;
        CREATE ROLE nagios LOGIN IN ROLE pg_monitor;
        ALTER ROLE nagios SET search_path = nowhere""")
    query("CREATE DATABASE bare")
    status, output = run_file("monitoring.sql")
    ok("monitoring.sql runs", status == 0, output)
    equal("nagios.cfg has two commands", list(commands()), [
        "check_session_memory_bloat", "check_session_memory_size"])

    for line in readme_block("check_command").splitlines():
        state(f"doc/monitoring.md: {line}", "OK",
              *line.split(maxsplit=1)[1].split("!"))

    bloat = "check_session_memory_bloat"
    sessions = [connect(f"user={ROLE}") for _ in range(2)]
    state("no bloated session", "OK", bloat, "1", "2")
    sessions[0].cursor().execute(BLOAT)
    state("one bloated session", "WARNING", bloat, "1", "2",
          output=r"\) 1 .*bytes=1\d{7}\b")
    sessions[1].cursor().execute(BLOAT)
    state("two bloated sessions", "CRITICAL", bloat, "1", "2")
    for session in sessions:
        session.cursor().execute("DEALLOCATE ALL")
    state("none again", "OK", bloat, "1", "2")

    size = "check_session_memory_size"
    sessions[0].cursor().execute(BLOAT)
    state("a session of 10 MB and more, 500 MB are many", "OK",
          size, "500MB", "2GB")
    state("10 MB are many", "WARNING", size, "10MB", "2GB",
          output=rf"pid={sessions[0].get_backend_pid()}\b")
    state("10 MB are too many", "CRITICAL", size, "5MB", "10MB")
    for session in sessions:
        session.close()

    for command, arguments in (bloat, ("1", "2")), (size, ("500MB", "2GB")):
        state(f"{command}: a role without pg_monitor", "UNKNOWN",
              command, *arguments, user="nobody",
              output="permission denied for schema session_memory")
        state(f"{command}: a database without the extension", "UNKNOWN",
              command, *arguments, dbname="bare",
              output='relation "session_memory.* does not exist')
        state(f"{command}: no server", "UNKNOWN",
              command, *arguments, host="/nowhere")

    with Server(shared_preload_libraries="") as server:
        query("CREATE EXTENSION pg_session_memory", server.dsn)
        query("CREATE ROLE nagios LOGIN IN ROLE pg_monitor", server.dsn)
        status, output = run_file("monitoring.sql", server.dsn)
        ok("without preloading: monitoring.sql runs", status == 0, output)
        state("without preloading: bloat", "UNKNOWN", bloat, "1", "2",
              host=server.directory, output="shared_preload_libraries")
        state("without preloading: size", "OK", size, "500MB", "2GB",
              host=server.directory)
    finish()


if __name__ == "__main__":
    main()
