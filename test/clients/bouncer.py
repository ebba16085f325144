"""A pgbouncer of one's own, for the time of a with statement."""

import os
import subprocess
import tempfile
import time

import psycopg2

# Debian has it where users do not look.
PATH = os.environ["PATH"] + ":/usr/sbin"


class Bouncer:
    """pgbouncer in front of the server that PGHOST names.

    All clients become the role user at the server.  Further settings are
    pgbouncer.ini's.  dsn is what clients connect with; log() what it has
    written.
    """

    def __init__(self, user, **settings):
        self.directory = tempfile.TemporaryDirectory()
        self.log_file = os.path.join(self.directory.name, "log")
        self.dsn = f"host={self.directory.name} port=6432 user={user} " \
            "dbname=postgres"
        values = {
            "listen_port": 6432,
            "unix_socket_dir": self.directory.name,
            "auth_type": "any",
            "admin_users": user,
        }
        values.update(settings)
        self.ini = os.path.join(self.directory.name, "pgbouncer.ini")
        with open(self.ini, "w", encoding="ascii") as ini:
            ini.write(f"[databases]\n* = host={os.environ['PGHOST']} "
                      f"port={os.environ['PGPORT']} user={user}\n[pgbouncer]\n")
            for name, value in values.items():
                ini.write(f"{name} = {value}\n")

    def __enter__(self):
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                ["pgbouncer", self.ini], env={**os.environ, "PATH": PATH},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(300):
            try:
                psycopg2.connect(self.dsn).close()
                return self
            except psycopg2.OperationalError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError("pgbouncer did not start:\n" + self.log())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()

    def log(self):
        with open(self.log_file, encoding="utf-8", errors="replace") as log:
            return log.read()
