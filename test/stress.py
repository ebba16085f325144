#!/usr/bin/python3
"""Many sessions at once, at everything that can go wrong; stress.sh runs this.

stress.py SECONDS LOG

A hundred workers connect, bloat themselves, fail, cancel and terminate each
other and go, some without a word.  Four observers read all that there is to
read about all processes.  One thread has random processes trim themselves,
one changes all settings of ours and has the server read them.  When the time
is over and the workers are gone, the server has to be as if nothing had been.

Where the server is comes from libpq's environment; LOG is its log, with
log_line_prefix '%m [%p] %e '.  The workers' roles are app and postgres.
"""
import collections
import os
import random
import re
import socket
import sys
import threading
import time

import psycopg2
from psycopg2 import errors

WORKERS = 100
OBSERVERS = 4
PAUSE = 2.0                     # seconds at most, so that observers get a turn

# SQLSTATEs that the workers mean to bring about, and those of a session that
# somebody else cancels or terminates
FORESEEN = {
    "22012",    # division by zero
    "25P02",    # a statement in a transaction that has failed
    "53400",    # check and recycle
    "57014",    # cancelled
    "57P01",    # terminated
    "08006",    # a client that has gone
    "08P01",
}

# Warnings that the reference foresees: processes come and go, a session that is
# not idle trims itself later, and one that does nothing but allocate and free is
# read as well as it can be (of pg_session_memory_folded).
FORESEEN_WARNINGS = re.compile(
    r"PID \d+ is not a PostgreSQL (server|backend) process$"
    r"|PID \d+ is not a session that can trim its memory$"
    r"|session with PID \d+ did not trim its memory within \d+ milliseconds$"
    r"|memory contexts of \d+ process(es)? changed while they were read$"
    r"|could not send signal to process \d+: No such process$"
    r"|there is (no|already a) transaction in progress$")

# What a leader says when its parallel worker was terminated.
FORESEEN_ERRORS = re.compile(
    r"parallel worker failed to initialize$"
    r"|lost connection to parallel worker$")

# Processes that run statements for a client
SESSIONS = ("client backend", "walsender", "not initialized")

# What no process may say, whatever it is: internal errors, a lack of memory or
# of stack, an error of the operating system's, and anything about us.
WRONG_ANYWHERE = re.compile(
    r"^(XX|53[012]|54001|58)| leak|session.memory")

# What an observer's memory may grow by, from when it has seen everything some
# times: caches of what the workers create and drop are rebuilt in new places.
# Its contexts are compared over the whole time.  Its process keeps what the
# largest sessions needed that it has met, so that is compared at the end alone,
# between rounds over the same sessions; the last ones call a function for each
# of 100 sessions 120 times.
WARM_UP_ROUNDS = 3
LAST_ROUNDS = 10
GROWTH_OF_CONTEXTS = 256 * 1024
GROWTH_OF_PROCESS = 4 * 1024 * 1024

failed = False
passed = 0
counts = collections.Counter()
counts_lock = threading.Lock()
unforeseen = []
stop = threading.Event()


def ok(name, value, why=""):
    """Reports whether value is true."""
    global failed, passed
    if value:
        passed += 1
        print(f"ok {name}", flush=True)
    else:
        failed = True
        print(f"not ok {name}: {why}", flush=True)


def equal(name, got, expected):
    """Reports whether both are the same."""
    ok(name, got == expected, f"got {got!r}, expected {expected!r}")


def foreseen(state, message):
    """Whether an error is one that the work here brings with it."""
    return state in FORESEEN or FORESEEN_ERRORS.match(message)


def tell_unforeseen(who, error):
    """Remembers an error of a client's, unless it is foreseen or the end of
    the connection, which has no code."""
    if error.pgcode is not None and not foreseen(error.pgcode,
                                                 error.diag.message_primary):
        unforeseen.append(f"{who}: {error.pgcode} {error}")


def count(what, number=1):
    with counts_lock:
        counts[what] += number


def connect(name, user="postgres", **options):
    connection = psycopg2.connect(application_name=name, user=user, **options)
    connection.autocommit = True
    return connection


def rows(connection, query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def value(connection, query, parameters=None):
    return rows(connection, query, parameters)[0][0]


# ----------------------------------------------------------------------------
# Workers
# ----------------------------------------------------------------------------

def transaction(connection):
    rows(connection, "BEGIN")
    rows(connection, "SAVEPOINT a")
    try:
        rows(connection, "SELECT 1 / (random() * 2)::integer")
    except errors.DivisionByZero:
        rows(connection, "ROLLBACK TO a")
    time.sleep(random.random() / 20)
    rows(connection, random.choice(["COMMIT", "ROLLBACK"]))


def failed_block(connection):
    rows(connection, "BEGIN")
    try:
        rows(connection, "SELECT 1 / 0")
    except errors.DivisionByZero:
        time.sleep(random.random() / 20)
    rows(connection, "ROLLBACK")


def prepare(connection):
    number = random.randint(0, 1000000)
    rows(connection, f"""DO $$BEGIN FOR i IN 1 .. {random.randint(1, 100)} LOOP
        EXECUTE format('PREPARE s%s_%s AS SELECT * FROM parted
            WHERE id = %s', {number}, i, i);
        END LOOP; END$$""")


def hold_cursor(connection):
    rows(connection, f"""DECLARE c{random.randint(0, 1000000)} CURSOR WITH HOLD
        FOR SELECT repeat('x', 100) FROM generate_series(1, 1000)""")


def temporary_table(connection):
    name = f"t{random.randint(0, 1000000)}"
    rows(connection, f"""CREATE TEMP TABLE {name} AS
        SELECT g AS a FROM generate_series(1, 500) AS g""")
    if random.random() < 0.5:
        rows(connection, f"DROP TABLE {name}")


def random_pid(connection):
    return value(connection, """SELECT pid FROM pg_stat_activity
        WHERE application_name = 'worker' ORDER BY random() LIMIT 1""")


def cancel(connection):
    rows(connection, "SELECT pg_cancel_backend(%s)", [random_pid(connection)])
    count("cancels")


def terminate(connection):
    rows(connection, "SELECT pg_terminate_backend(%s)",
         [random_pid(connection)])
    count("terminations")


def change_settings(connection):
    rows(connection, "SET pg_session_memory.idle_delay = %s",
         [random.choice(["10ms", "20ms", "1s"])])
    rows(connection, "SET pg_session_memory.trim_when_idle = on")
    rows(connection, "SET pg_session_memory.trim_threshold = '64kB'")


def run(statement):
    return lambda connection: rows(connection, statement)


ACTIONS = [
    prepare, prepare, hold_cursor, temporary_table, transaction, failed_block,
    change_settings,
    lambda connection: time.sleep(random.random() / 10),
    run("SELECT count(*) FROM parted"),
    run("SELECT count(*) FROM parted a JOIN parted b USING (id)"),
    run("SELECT sum(length(repeat(g::text, 100)))"
        " FROM generate_series(1, 20000) AS g"),
    run("SELECT 1 / 0"),
    run("SELECT pg_sleep(0.05)"),
    run("SELECT bloat(20)"),
    run("DEALLOCATE ALL"),
    run("DISCARD ALL"),
    run("SELECT * FROM pg_session_memory_trim()"),
    run("SELECT pg_session_memory_reset_peak()"),
    run("SELECT pg_session_memory_is_bloated()"),
    run("SELECT pg_session_memory_check()"),
    run("SELECT pg_session_memory_recycle()"),
    run("SELECT count(*) FROM pg_session_memory_contexts()"),
    run("SELECT count(*) FROM pg_session_memory"),
]
SUPERUSERS_ACTIONS = [cancel, terminate, cancel]


def work(connection, user):
    actions = ACTIONS
    if user == "postgres":
        actions = ACTIONS + SUPERUSERS_ACTIONS
    for _ in range(random.randint(1, 12)):
        if stop.wait(random.random() * PAUSE):
            return
        try:
            random.choice(actions)(connection)
        except psycopg2.Error as error:
            tell_unforeseen("worker", error)
            if connection.closed:
                count("connections lost")
                return
            # A transaction that was cancelled in its midst
            rows(connection, "ROLLBACK")


def worker(_):
    while not stop.is_set():
        user = random.choice(["app", "app", "postgres"])
        try:
            connection = connect("worker", user)
        except psycopg2.OperationalError as error:
            # Those who go are not gone at once.
            if "too many clients" not in str(error):
                unforeseen.append(f"worker: {error}")
            time.sleep(0.1)
            continue
        count("sessions")
        try:
            work(connection, user)
            if random.random() < 0.2:
                # Without a word, perhaps in the middle of a statement
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
        except psycopg2.Error as error:
            tell_unforeseen("worker", error)
        finally:
            connection.close()


# ----------------------------------------------------------------------------
# Observers, and those who trim and change settings
# ----------------------------------------------------------------------------

# Each reads something of all processes.  A pid is that of a moment before.
LOOKS = [
    "SELECT count(*), sum(context_bytes) FROM pg_session_memory",
    "SELECT count(*) FROM pg_session_memory()",
    "SELECT count(*) FROM pg_session_memory_pools",
    "SELECT count(*) FROM pg_session_memory_bloat",
    "SELECT count(*) FROM pg_session_memory_events",
    "SELECT count(*) FROM pg_session_memory_folded()",
] + [
    f"SELECT count(f) FROM pg_stat_activity a, LATERAL {function} AS f"
    for function in (
        "pg_session_memory_contexts(a.pid)",
        "pg_session_memory_categories(a.pid)",
        "pg_session_memory_idents(a.pid, 1000)",
        "pg_session_memory_folded(a.pid, true)",
        "pg_session_memory_process(a.pid)",
        "pg_session_memory_sample(a.pid, '1 ms', 2)",
        "pg_session_memory_snapshot_paths(pg_session_memory_snapshot(a.pid))",
        "pg_session_memory_diff(pg_session_memory_snapshot(a.pid),"
        " pg_session_memory_snapshot(a.pid))")
]

# The figures of one row must be possible, whatever the session does.
WRONG = """SELECT pid, context_bytes, source FROM pg_session_memory
    WHERE context_bytes <> catalog_cache_bytes + cached_plan_bytes
            + function_bytes + cursor_bytes + transaction_bytes
            + execution_bytes + temp_table_bytes + replication_bytes
            + base_bytes + other_bytes
        OR unaccounted_bytes < 0 OR anon_bytes < 0 OR contexts < 1
        OR peak_bytes < retained_bytes
        OR growth_bytes <> retained_bytes - baseline_bytes
        OR measured_at < backend_start OR last_trim_at < backend_start"""


class Observer:
    """One session that reads the others, round by round."""

    def __init__(self, number):
        self.connection = connect("observer")
        self.pid = self.connection.info.backend_pid
        # From outside no statement of its own is in the way.
        self.meter = connect("meter")
        if number == OBSERVERS - 1:
            # Also without a right to see all
            rows(self.connection, "SET ROLE monitor")
        self.rounds = 0
        self.first = None       # bytes when it was warm

    def measure(self):
        # A session does what it has been asked to in between.
        contexts = value(self.meter, """SELECT sum(total_bytes)
            FROM pg_session_memory_contexts(%s)""", [self.pid])
        process = value(self.meter, """SELECT anon_bytes
            FROM pg_session_memory_process(%s)""", [self.pid])
        return int(contexts), process

    def look(self):
        """One round; false if it was stopped in between."""
        for query in random.sample(LOOKS, len(LOOKS)):
            if stop.is_set():
                return False
            rows(self.connection, query)
            count("looks")
        wrong = rows(self.connection, WRONG)
        if wrong:
            unforeseen.append(f"observer: impossible figures: {wrong}")
        self.rounds += 1
        return True

    def run(self, warm_up):
        try:
            while self.look():
                if self.first is None and self.rounds >= WARM_UP_ROUNDS \
                        and time.monotonic() > warm_up:
                    self.first = self.measure()
        except psycopg2.Error as error:
            unforeseen.append(f"observer: {error.pgcode} {error}")


def trim():
    connection = connect("trimmer")
    try:
        while not stop.is_set():
            rows(connection, """SELECT pg_session_memory_trim(pid, %s)
                FROM pg_stat_activity
                WHERE application_name <> 'observer'
                ORDER BY random() LIMIT 5""", [random.choice([0, 0, 20])])
            count("requests for trims")
            time.sleep(0.05)
    except psycopg2.Error as error:
        unforeseen.append(f"trimmer: {error.pgcode} {error}")


VALUES = {
    "bool": ["on", "off"],
    "context_threshold": ["-1", "0", "100kB", "2MB", "64MB"],
    "session_threshold": ["-1", "0", "1MB", "4MB", "256MB"],
    "process_threshold": ["-1", "0", "10MB"],
    "log_level": ["log", "debug1", "warning", "notice"],
    "max_overhead": ["0.01", "1", "100"],
    "idle_delay": ["10ms", "100ms", "1s"],
    "trim_threshold": ["64kB", "100kB", "8MB"],
    "max_events": ["0", "10", "2000"],
    # A limit would be errors of chance; limit-regress.sh has those.
    "process_limit": ["-1"],
    "statement_threshold": ["-1", "0", "10MB"],
    "track_statements": ["none", "top", "all"],
    "statement_floor": ["0", "1MB"],
    "max_statements": ["0", "10", "1000"],
    "watch_interval": ["0", "10ms", "1s"],
    "record_interval": ["0", "10ms", "10s"],
    "record_size": ["256kB", "16MB"],
    # A shortage that is none would be errors of chance, too.
    "guard": ["off", "log", "on"],
    "guard_weight": ["0", "1", "2"],
    "guard_reserve": ["-1", "1MB", "64MB"],
    "guard_patience": ["0", "2s"],
    "server_limit": ["-1"],
}


def change():
    """Changes all settings, that of a restart included, which changes none."""
    connection = connect("changer")
    try:
        while not stop.is_set():
            for name, kind in rows(connection, """SELECT name, vartype
                    FROM pg_settings WHERE name LIKE 'pg_session_memory.%'
                        AND context <> 'internal' ORDER BY random()"""):
                values = VALUES.get(name.split(".")[1], VALUES.get(kind))
                rows(connection, f"ALTER SYSTEM SET {name} = %s",
                     [random.choice(values)])
            rows(connection, "SELECT pg_reload_conf()")
            count("reloads")
            time.sleep(0.3)
        for name, in rows(connection, """SELECT name FROM pg_settings
                WHERE name LIKE 'pg_session_memory.%'
                    AND context <> 'internal'"""):
            rows(connection, f"ALTER SYSTEM RESET {name}")
        rows(connection, "SELECT pg_reload_conf()")
    except psycopg2.Error as error:
        unforeseen.append(f"changer: {error.pgcode} {error}")


# ----------------------------------------------------------------------------
# What has to be true afterwards
# ----------------------------------------------------------------------------

def wait_for_none(connection, name):
    """How many sessions of this name there are when none should be left."""
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE application_name = %s"""
    end = time.monotonic() + 180
    while value(connection, query, [name]) > 0 and time.monotonic() < end:
        time.sleep(0.1)
    return value(connection, query, [name])


def check_observers(observers):
    stop.clear()
    for number, observer in enumerate(observers, 1):
        # On a busy machine it may have got nowhere until now.
        while observer.first is None:
            observer.look()
            if observer.rounds >= WARM_UP_ROUNDS:
                observer.first = observer.measure()
        for _ in range(WARM_UP_ROUNDS):
            observer.look()
        warm = observer.measure()
        for _ in range(LAST_ROUNDS):
            observer.look()
        last = observer.measure()
        contexts = last[0] - observer.first[0]
        process = last[1] - warm[1]
        ok(f"observer {number} has not grown in {observer.rounds} rounds",
           contexts <= GROWTH_OF_CONTEXTS and process <= GROWTH_OF_PROCESS,
           f"contexts by {contexts} bytes, process by {process}")


def check_slots(connection, observers):
    """Sessions have their slots, nobody else has, and all are as new."""
    equal("processes that are no sessions have nothing published",
          value(connection, """SELECT count(*) FROM pg_session_memory
              WHERE backend_type <> 'client backend'
                  AND num_nonnulls(retained_bytes, last_trim_at) > 0"""), 0)
    free = value(connection, """SELECT current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - count(*)::int FROM pg_stat_activity
        WHERE backend_type = 'client backend'""")
    sessions = [connect("fresh") for _ in range(free)]
    for session in sessions:
        rows(session, "SELECT 1")
    equal("as many new sessions as there is room for, all with a slot",
          rows(connection, """SELECT count(*), count(measured_at),
                  count(last_trim_at), count(*) FILTER (WHERE status = 'bloated')
              FROM pg_session_memory WHERE application_name = 'fresh'"""),
          [(free, free, 0, 0)])
    trimmed = sum(value(connection, """SELECT outcome = 'trimmed'
                            FROM pg_session_memory_trim(%s, 180000)""",
                        [session.info.backend_pid]) for session in sessions)
    equal("each of them trims itself when asked to", trimmed, free)
    check_observers(observers)
    for session in sessions:
        session.close()
    equal("they go", wait_for_none(connection, "fresh"), 0)


def check_sums(connection):
    """What a session says of itself is what others see of it."""
    equal("categories add up in each process", rows(connection, WRONG), [])
    equal("contexts add up to context_bytes in each idle session",
          rows(connection, """SELECT s.pid, s.context_bytes, c.bytes
              FROM pg_session_memory s, LATERAL (
                  SELECT sum(total_bytes)::bigint AS bytes, count(*) AS contexts,
                      200 * count(*) FILTER (WHERE type <> 'AllocSet') AS headers
                  FROM pg_session_memory_contexts(s.pid)) c
              WHERE s.state = 'idle' AND (c.contexts <> s.contexts
                  OR abs(c.bytes - s.context_bytes) > c.headers)"""), [])

    session = connect("idle")
    for _ in range(3):
        rows(session, "SELECT count(*) FROM parted")
        prepare(session)
    # Of contexts that outlive a statement: those of this one are gone when
    # others look.
    columns = """name, count(*), sum(total_bytes)::bigint,
        sum(free_bytes)::bigint, sum(used_bytes)::bigint"""
    lasting = """WHERE name IN ('CacheMemoryContext', 'index info', 'CachedPlan',
            'CachedPlanSource', 'CachedPlanQuery', 'partition descriptor',
            'partition key', 'Relcache by OID', 'PrivateRefCount',
            'smgr relation table') GROUP BY name ORDER BY name"""
    inside = f"SELECT {columns} FROM pg_backend_memory_contexts {lasting}"
    rows(session, inside)
    told = rows(session, inside)
    ok("there is something to compare", len(told) > 5, f"only {told}")
    equal("what an idle session says of itself is what others see",
          rows(connection, f"""SELECT {columns} FROM
              pg_session_memory_contexts({session.info.backend_pid})
              {lasting}"""), told)
    session.close()


def is_wrong(process, severity, state, message):
    """Whether a line of the log tells that something is wrong."""
    if severity not in ("WARNING", "ERROR", "FATAL", "PANIC"):
        return False
    if state == "53300":
        return False                # a worker that came too early
    if severity == "WARNING":
        # log_level is sometimes that, too.
        if state == "53400" or FORESEEN_WARNINGS.search(message):
            return False
    elif foreseen(state, message):
        return False

    # Where a hundred sessions want two cores, parallel workers come when their
    # leaders have gone, autovacuum waits for its workers in vain, and
    # PostgreSQL has many words for it.
    return process in SESSIONS or WRONG_ANYWHERE.search(f"{state} {message}")


def check_log(path):
    form = re.compile(
        r"^\S+ \S+ \S+ \[\d+\] ([^,]+), (\w{5}) (\w+):  (.*)$")
    processes = collections.Counter()
    wrong = collections.Counter()
    crash = re.compile(r"TRAP:|PANIC:|terminated by signal"
                       r"|reinitializing|out of memory")
    crashes = []
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            if crash.search(line):
                crashes.append(line.strip())
            match = form.match(line)
            if not match:
                continue
            process, state, severity, message = match.groups()
            processes[process] += 1
            if is_wrong(process, severity, state, message):
                wrong[f"{process}: {state} {severity}: {message}"] += 1
    ok("sessions have written to the log", processes["client backend"] > 0,
       f"only {processes}")
    equal("no crash in the log", crashes[:5], [])
    equal("no error or warning in the log but those that are foreseen",
          wrong.most_common(10), [])


def main():
    seconds, log = int(sys.argv[1]), sys.argv[2]
    control = connect("control")
    started = value(control, "SELECT pg_postmaster_start_time()")
    # Before there are too many
    observers = [Observer(number) for number in range(OBSERVERS)]
    begin = time.monotonic()
    threads = [threading.Thread(target=observer.run,
                                args=[begin + seconds / 4])
               for observer in observers]
    threads += [threading.Thread(target=worker, args=[number])
                for number in range(WORKERS)]
    threads += [threading.Thread(target=trim), threading.Thread(target=change)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()

    print("# " + ", ".join(f"{number} {what}"
                           for what, number in sorted(counts.items())))
    for what in ("sessions", "connections lost", "cancels", "terminations",
                 "looks", "requests for trims", "reloads"):
        ok(f"there were {what}", counts[what] > 0, "none")
    equal("no client has had an error that is not foreseen", unforeseen[:5], [])
    equal("the server is the one that it was",
          value(control, "SELECT pg_postmaster_start_time()"), started)
    equal("all workers are gone",
          wait_for_none(control, "worker"), 0)
    ok("sessions have trimmed themselves, and crossed thresholds",
       value(control, """SELECT count(DISTINCT kind) >= 3
           FROM pg_session_memory_events"""), "not all kinds of events")
    equal("all settings are as before",
          rows(control, """SELECT name, setting FROM pg_settings
              WHERE name LIKE 'pg_session_memory.%' AND setting <> boot_val"""),
          [])
    check_slots(control, observers)
    check_sums(control)
    check_log(log)
    return 1 if failed else 0


sys.exit(main())
