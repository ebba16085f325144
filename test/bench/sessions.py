"""What the benchmarks share: sessions, what the kernel says of them, figures.

Where a server is comes from libpq's environment (PGHOST, PGUSER, ...).
"""
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import psycopg2


def connect(host=None, name="benchmark", user=None):
    others = {"host": host, "user": user}
    connection = psycopg2.connect(
        dbname="postgres", application_name=name,
        **{key: value for key, value in others.items() if value})
    connection.autocommit = True
    return connection


def run(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def prepare_statements(connection, first, last):
    """Two contexts each"""
    run(connection, f"""
        DO $$ BEGIN FOR i IN {first} .. {last} LOOP
            EXECUTE format('PREPARE s%s AS SELECT 1', i);
        END LOOP; END $$""")


def make_partitions(connection, number):
    """The table part, with two indexes for each partition"""
    run(connection, "CREATE TABLE part (a int, b int) PARTITION BY RANGE (a)")
    run(connection, "CREATE INDEX ON part (a)")
    run(connection, "CREATE INDEX ON part (b)")
    # With a commit now and then: locks of all of them would take longer.
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {number} LOOP
            EXECUTE format('CREATE TABLE part_%s PARTITION OF part
                FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
            IF i % 100 = 0 THEN COMMIT; END IF;
        END LOOP; END $$""")


# ----------------------------------------------------------------------------
# What the kernel says
# ----------------------------------------------------------------------------

def figure(path, label):
    """Sums what stands behind a label in /proc, in MB."""
    with open(path, encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file
                   if line.startswith(label)) / 1024


def anon_mb(connection):
    return figure(f"/proc/{connection.get_backend_pid()}/status", "RssAnon:")


def page_faults(connection):
    with open(f"/proc/{connection.get_backend_pid()}/stat",
              encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[7])


def private_mb(connection):
    return figure(f"/proc/{connection.get_backend_pid()}/smaps_rollup",
                  "Private_")


def _sleeping_cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        if file.read().rpartition(")")[2].split()[0] != "S":
            return None
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0])


def cpu_ns(pid):
    """Nanoseconds of CPU of a process, as soon as it rests.

    The kernel adds up when a process goes to sleep, and the client has its
    answer shortly before that."""
    before = None
    while True:
        now = _sleeping_cpu(pid)
        if now is not None and now == before:
            return now
        before = now
        time.sleep(0.0002)


def cpu_ms(connection):
    return cpu_ns(connection.get_backend_pid()) / 1e6


def reads_of(observer, sql):
    """What a query reads of other processes: process_vm_readv calls, ranges
    that they name, and bytes; how often it asks which pages are there, and
    reads a status.  None where strace cannot."""
    pid = observer.get_backend_pid()
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile(mode="r") as output:
        with subprocess.Popen(
                ["strace", "-q", "-y", "-e",
                 "trace=process_vm_readv,pread64,close", "-o", output.name, "-p", str(pid)],
                stderr=subprocess.PIPE, text=True) as strace:
            try:
                while not _is_traced(pid):
                    if strace.poll() is not None:
                        progress("skip what a look reads: " +
                                 strace.stderr.read().strip())
                        return None
                    time.sleep(0.01)
                run(observer, sql)
            finally:
                if strace.poll() is None:
                    strace.send_signal(signal.SIGINT)
        seen = output.read()
    calls = re.findall(r"^process_vm_readv\(.*\], (\d+), 0\) += (-?\d+)",
                       seen, re.MULTILINE)
    return {"calls": len(calls), "ranges": sum(int(n) for n, _ in calls),
            "bytes": sum(max(0, int(copied)) for _, copied in calls),
            "pagemap": len(re.findall(r"^pread64\(\d+</proc/\d+/pagemap>",
                                      seen, re.MULTILINE)),
            "status": len(re.findall(r"^close\(\d+</proc/\d+/status>",
                                     seen, re.MULTILINE))}


def _is_traced(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0"
                   for line in file)


# ----------------------------------------------------------------------------
# Figures
# ----------------------------------------------------------------------------

def spread(values):
    """First quartile, median, third quartile"""
    if len(values) < 2:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(values, others):
    """Spread of the ratios within each round"""
    return spread([a / b for a, b in zip(values, others)])


def transactions_a_second(said):
    """As pgbench has said it"""
    return float(re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)[1])


def shuffled(things, number):
    """In another order each round, the same in each run"""
    things = list(things)
    random.Random(number).shuffle(things)
    return things


def progress(text):
    print(text, file=sys.stderr, flush=True)


def save(path, results):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
