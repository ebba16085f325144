"""examples/node_pool.mjs: node-postgres and its pool.

node-postgres comes from npm, into the work directory: the one in Debian 12 has
not got the event that the pool emits when a connection comes back.

Debian packages: python3-psycopg2, nodejs, npm.
"""

import os
import subprocess
import sys

import npm
from recipes import (CROSSES, FALLS, ROOT, in_readme, prepare, query,
                     without_library)

HERE = os.path.dirname(os.path.abspath(__file__))


def node(argument):
    program = [os.path.join(HERE, "recipe_node.mjs"), argument]
    return subprocess.run(
        ["node", *program], stdin=subprocess.DEVNULL,
        env={**os.environ, "CROSSES": CROSSES, "FALLS": FALLS}).returncode


def main():
    in_readme("node_pool.mjs")
    # Where Node.js looks for what files of examples/ import
    npm.install(os.path.dirname(ROOT), "pg@8")
    prepare()
    # Each of its sessions is over its threshold from the start.
    query("CREATE ROLE strict LOGIN; ALTER ROLE strict "
          "SET pg_session_memory.session_threshold = 0")
    failed = node("preloaded")
    with without_library():
        failed = node("not preloaded") or failed
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
