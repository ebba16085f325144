#!/usr/bin/python3
"""Instructions that a transaction of pgbench takes; run.sh runs this.

instructions.py DATA OUTPUT NAME=LIBRARIES[;SETTING=VALUE]...

A server of each kind, with a copy of the stopped cluster DATA, runs below
callgrind, and so do its sessions.  Instructions repeat to the last digits
where times on a busy machine vary by a third.  Two sessions run each of
pgbench's built-in scripts, with the same random numbers, and one makes more
transactions than the other: the difference is transactions without the start
of a session.  What the kernel does is not counted.

What is driven by the clock comes far more often below callgrind, where
everything takes some fifty times longer, so it is counted apart.  Walks over the
session's contexts are weighed with the transactions a second that the same
cluster makes without callgrind.  That is so if they were driven by the clock;
if there were more, all count.  Looks at a statement's peak are for statements of
a millisecond and more: where they are shorter without callgrind, none counts.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

from sessions import progress, save, transactions_a_second

SCRIPTS = ("select-only", "simple-update", "tpcb-like")
STATEMENTS = {"select-only": 1, "simple-update": 5, "tpcb-like": 7}

# The fewer are so many that a session has then met most of what it will use: a
# process that still grows is looked at more often.
TRANSACTIONS = {"select-only": (1000, 3000), "simple-update": (300, 700),
                "tpcb-like": (300, 700)}
PATIENCE = 300                  # seconds

# Once without change a session looks at itself no more often.
WALK_SECONDS = 0.1

# Statements that take less are not looked at for their peak.
LOOK_SECONDS = 0.001

# Functions that the clock drives
WALK = "measure_and_report"
LOOK = "look_at_peak"


class Server:
    """A copy of a cluster, and the server on it"""

    def __init__(self, template, name, settings, number):
        self.directory = f"{os.environ['TMPDIR']}/cg{number}"
        self.name = name
        shutil.copytree(template, f"{self.directory}/data")
        os.mkdir(f"{self.directory}/out")
        with open(f"{self.directory}/data/postgresql.conf", "a",
                  encoding="utf-8") as file:
            file.write(f"unix_socket_directories = '{self.directory}'\n")
            file.write("log_connections = on\n")
            libraries, *others = settings.split(";")
            file.write(f"shared_preload_libraries = '{libraries}'\n")
            for setting in others:
                file.write("{} = '{}'\n".format(*setting.split("=", 1)))
        self.log = open(f"{self.directory}/log", "wb")
        self.process = None

    def start(self, *below):
        self.process = subprocess.Popen(
            [*below, os.environ["PRIVATE_BINDIR"] + "/postgres", "-D",
             f"{self.directory}/data"], stdout=self.log, stderr=self.log)
        end = time.monotonic() + PATIENCE
        while self.command("psql", "-X", "-c", "SELECT 1").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.fail("it did not start")
            time.sleep(0.2)

    def stop(self):
        self.command("pg_ctl", "-s", "-w", "-t", str(PATIENCE), "-m", "fast",
                     "-D", f"{self.directory}/data", "stop")
        self.process.wait()

    def fail(self, why):
        with open(f"{self.directory}/log", encoding="utf-8") as file:
            sys.exit(f"{self.name}: {why}\n{file.read()[-2000:]}")

    def command(self, *words):
        return subprocess.run(
            words, env=dict(os.environ, PGHOST=self.directory),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False)

    def pgbench(self, script, *amount):
        done = self.command("pgbench", "-n", "-b", script, "-c", "1",
                            "--random-seed=1", *amount)
        if done.returncode != 0:
            self.fail("pgbench failed:\n" + done.stdout)
        return done.stdout

    def logged(self):
        with open(f"{self.directory}/log", encoding="utf-8") as file:
            return file.read()

    def session(self, script, transactions):
        """(instructions, walks, instructions of these, of looks, seconds) of a
        session that has made so many transactions"""
        before = len(self.logged())
        began = time.monotonic()
        self.pgbench(script, "-t", str(transactions))
        took = time.monotonic() - began
        # There is one more, which has asked for the scale.
        pids = re.findall(r"\[(\d+)\].* authorized: .*name=pgbench",
                          self.logged()[before:])
        counts = []
        for pid in pids:
            while not (found := read_counts(f"{self.directory}/out/{pid}")):
                if time.monotonic() > began + PATIENCE:
                    self.fail("callgrind has not written what it counted")
                time.sleep(0.1)
            counts.append(found)
        return (*max(counts), took)

    def __del__(self):
        self.log.close()


def read_counts(path):
    """All instructions, walks, instructions of the walks, and those of looks at
    a peak; None before the file is complete."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        text = file.read()
    total = re.search(r"^totals: (\d+)\n", text, re.MULTILINE)
    if not total:
        return None
    return int(total[1]), *calls_of(text, WALK), calls_of(text, LOOK)[1]


def calls_of(text, function):
    """How often a function is called, and instructions of all of it.

    Functions have numbers, and a name where the file has them first; a line
    calls=COUNT follows the number of the function that is called, and a line
    with the instructions of all these calls follows that."""
    number = re.search(rf"^c?fn=\((\d+)\) {function}$", text, re.MULTILINE)
    if not number:
        return 0, 0
    calls = re.findall(rf"^cfn=\({number[1]}\).*\ncalls=(\d+).*\n\S+ (\d+)",
                       text, re.MULTILINE)
    return (sum(int(count) for count, _ in calls),
            sum(int(each) for _, each in calls))


def measure(template, name, settings, number, tps):
    """A row for each script"""
    progress(f"instructions: {name}")
    server = Server(template, name, settings, number)
    server.start("valgrind", "--tool=callgrind", "--trace-children=yes",
                 f"--callgrind-out-file={server.directory}/out/%p")
    rows = []
    for script in SCRIPTS:
        numbers = TRANSACTIONS[script]
        few, many = (server.session(script, n) for n in numbers)
        counted, walks, walking, looking, seconds = (
            b - a for a, b in zip(few, many))
        transactions = numbers[1] - numbers[0]
        each = counted / transactions
        if 0 < walks <= 2 * seconds / WALK_SECONDS + 2:
            each += (walking / walks / (WALK_SECONDS * tps[script]) -
                     walking / transactions)
        if 1 / (tps[script] * STATEMENTS[script]) < LOOK_SECONDS:
            each -= looking / transactions
        rows.append({"loaded": name, "script": script,
                     "statements": STATEMENTS[script], "each": each,
                     "counted": counted / transactions, "walks": walks})
    server.stop()
    shutil.rmtree(server.directory)
    return rows


def main():
    template, output = sys.argv[1:3]
    servers = [server.split("=", 1) for server in sys.argv[3:]]
    real = Server(template, "without callgrind", "", "")
    real.start()
    tps = {script: transactions_a_second(real.pgbench(script, "-T", "2"))
           for script in SCRIPTS}
    real.stop()
    shutil.rmtree(real.directory)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = [pool.submit(measure, template, name, settings, number, tps)
                for number, (name, settings) in enumerate(servers)]
        rows = []
        # What is there so far is worth having if the time is over.
        for future in done:
            rows += future.result()
            nothing = {row["script"]: row["each"] for row in rows
                       if row["loaded"] == servers[0][0]}
            for row in rows:
                row["more"] = 100 * (row["each"] / nothing[row["script"]] - 1)
            save(output, {"tps": tps, "rows": rows})


if __name__ == "__main__":
    main()
