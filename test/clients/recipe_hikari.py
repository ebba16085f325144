"""examples/hikari.properties: HikariCP, with pgjdbc, tests what it hands out.

Debian packages: python3-psycopg2, default-jdk-headless, libhikaricp-java,
libpostgresql-jdbc-java, libslf4j-java.
"""

import os
import subprocess
import sys
import tempfile

from recipes import (CROSSES, EXAMPLES, FALLS, in_readme, prepare,
                     without_library)

HERE = os.path.dirname(os.path.abspath(__file__))
JARS = ":".join(f"/usr/share/java/{name}.jar" for name in (
    "HikariCP", "postgresql", "slf4j-api", "slf4j-simple"))


def main():
    in_readme("hikari.properties")
    prepare()
    with tempfile.TemporaryDirectory() as classes:
        log = os.path.join(classes, "log")
        environment = {**os.environ, "CROSSES": CROSSES, "FALLS": FALLS,
                       "LOG": log}

        def run(*command):
            return subprocess.run(command, env=environment,
                                  stdin=subprocess.DEVNULL).returncode

        def java(name):
            # Without the counters that it leaves in /tmp
            return run("java", "-XX:-UsePerfData", "-cp", f"{classes}:{JARS}",
                       "-Dcom.zaxxer.hikari.aliveBypassWindowMs=-1",
                       f"-Dorg.slf4j.simpleLogger.logFile={log}",
                       "RecipeHikari",
                       os.path.join(EXAMPLES, "hikari.properties"), name)

        failed = run("javac", "-J-XX:-UsePerfData", "-cp", JARS, "-d", classes,
                     *(os.path.join(HERE, f"{name}.java")
                       for name in ("RecipeHikari", "UnixSocketFactory")))
        if not failed:
            failed = java("preloaded")
            with without_library():
                failed = java("not preloaded") or failed
        if failed and os.path.exists(log):
            with open(log, encoding="utf-8") as text:
                print(text.read()[-10000:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
