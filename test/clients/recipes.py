"""What the tests of recipes have in common.

A recipe is a file in examples/, and what the README and doc/ show of it.
Importing this module makes those files importable.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
import warnings

from assertions import ok
from server import BLOAT, documents, query

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, "examples")
sys.path.insert(0, EXAMPLES)
sys.dont_write_bytecode = True

# What recipes warn of is expected only where a test says so.
warnings.simplefilter("error", UserWarning)
NOT_PRELOADED = ("pg_session_memory is not preloaded on the server: "
                 "bloated connections are kept")

# A role without rights, but with a threshold that is easy to cross.
ROLE = "pooled"
DSN = f"user={ROLE} dbname=postgres"
# The library is preloaded everywhere, the extension is not in each database.
WITHOUT_EXTENSION = f"user={ROLE} dbname=without_extension"
# There it is in the schema memory, and not in search_path.
OTHER_SCHEMA = f"user={ROLE} dbname=other_schema"

# 10 MB, which is over the role's threshold.
CROSSES = BLOAT
FALLS = "DEALLOCATE large"
PID = "SELECT pg_backend_pid()"


def prepare():
    """Makes the role and the databases."""
    query(f"""
        CREATE ROLE {ROLE} LOGIN;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        -- each command is measured, however slow the machine
        ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100""")
    for name in "without_extension", "other_schema":
        query(f"CREATE DATABASE {name}")
    query(f"CREATE SCHEMA memory; GRANT USAGE ON SCHEMA memory TO {ROLE};"
          "CREATE EXTENSION pg_session_memory SCHEMA memory",
          "dbname=other_schema")


def in_readme(*files):
    """What is written for users shows the very code: each block below a link
    to a file, up to the next heading, is a part of that file."""
    for file in files:
        blocks = re.findall(
            r"\((?:\.\./)?examples/" + re.escape(file) + r"\)"
            r"(?:(?!^#|^```).)*^```\w*\n(.*?)^```$",
            documents(), re.DOTALL | re.MULTILINE)
        with open(os.path.join(EXAMPLES, file), encoding="utf-8") as example:
            code = example.read()
        ok(f"what is shown is a part of {file}",
           blocks and all(block in code for block in blocks), blocks)


def readme_block(start):
    """The block that begins so."""
    return re.search(r"^```\w*\n(" + re.escape(start) + r".*?)^```$",
                     documents(), re.DOTALL | re.MULTILINE)[1]


def state_change(pid):
    """Changes with each round trip of that session."""
    return query("SELECT state_change FROM pg_stat_activity "
                 f"WHERE pid = {pid}")[0][0]


def wait_until_gone(pid):
    """A session ends a moment after its client has closed the connection."""
    for _ in range(1200):
        if not query(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def warned():
    """The set of what is warned of, filled at the end of the block."""
    messages = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages.update(str(warning.message) for warning in caught)


@contextlib.contextmanager
def without_library():
    """The server as it is without preloading.  All sessions end."""
    data = query("SHOW data_directory")[0][0]

    def restart(*options):
        # not with our output, for which the caller waits
        subprocess.run(["pg_ctl", "-s", "-w", "-m", "fast", "-D", data,
                        "-l", data + ".log", *options, "restart"], check=True)

    restart("-o", "-c shared_preload_libraries=''")
    try:
        yield
    finally:
        restart("-o", "")
