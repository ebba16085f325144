#!/usr/bin/python3
"""What trimming a session gives, and what it costs; trim.sh runs this.

trim.py workloads ROUNDS [OUTPUT]

  For each workload four new sessions do the same work.  One is left as it is,
  one is trimmed without its caches, one with them, and one gets DISCARD ALL;
  then all but the last do the same query.  Memory is anonymous memory
  (RssAnon), as the kernel says.  Times are of the CPU that the session's
  process used, page faults included, as the kernel counts them in schedstat:
  on a busy machine they repeat better than the clock's.  All figures are
  medians of the rounds; quartiles, too, go to OUTPUT as JSON.

trim.py pool TRIALS HOST_WITHOUT HOST_WITH

  Three rounds of work and pause of two pools.  In a round each session plans
  the two queries over all partitions a number of times in a row, as many
  sessions at a time as there are processors; in the pause nobody works.  The
  pools take turns, after every tenth session, so that a machine that has
  something else to do has it for both.

  Throughput is given by the clock, without pauses, and by the CPU that all
  sessions of a pool used from the beginning of a round to the end of its
  pause.  The latter has all in it that trimming takes, repeats better, and is
  what the goal is about.  Figures are medians of all rounds but the first, in
  which catalog caches are filled; those of the first are apart.  Ratios by the
  clock are medians of the turns' ratios.

Where the server is comes from libpq's environment (PGUSER, PGDATABASE, ...).
"""
import concurrent.futures
import os
import statistics
import sys
import time

from sessions import (anon_mb, connect, cpu_ms, make_partitions, private_mb,
                      progress, run, save, spread)

PARTITIONS = 3000
STATEMENTS = 10000
FUNCTIONS = 500
TEMP_TABLES = 500

SESSIONS = 50
SESSIONS_OF_A_TURN = 10
ROUNDS_OF_A_TRIAL = 3
# In seconds.  idle_delay is 1: then those trim that have had their turn, and
# are not to disturb those of the other pool.
PAUSE_OF_A_TURN = 1.5
PAUSE = 4.0
# How often a session plans both queries in a round, before it rests: what the
# goals are for, and the least that there can be, where trims cost the most.
WORK = (10, 1)

LESS_MEMORY = 2.5               # times, at rest, at least
LESS_THROUGHPUT = 3.0           # per cent, at most


# ----------------------------------------------------------------------------
# Sessions
# ----------------------------------------------------------------------------

def timed(connection, sql):
    before = cpu_ms(connection)
    run(connection, sql)
    return cpu_ms(connection) - before


# ----------------------------------------------------------------------------
# What they work with
# ----------------------------------------------------------------------------

BOTH_QUERIES = ("SELECT count(*) FROM part WHERE b = 1",
                "SELECT max(a), sum(b) FROM part WHERE a + b > 0")


def make_functions(connection):
    run(connection, """
        CREATE TABLE item AS SELECT g AS id, 'item ' || g AS name
        FROM generate_series(1, 1000) g""")
    run(connection, "ALTER TABLE item ADD PRIMARY KEY (id)")
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {FUNCTIONS} LOOP
            EXECUTE format('CREATE FUNCTION work_%s(key int) RETURNS text
            LANGUAGE plpgsql AS $f$
            DECLARE
                found item;
                result text := %L;
            BEGIN
                SELECT * INTO found FROM item WHERE id = key;
                IF found.name IS NULL THEN
                    RAISE EXCEPTION ''no item %%'', key;
                END IF;
                FOR found IN SELECT * FROM item WHERE id BETWEEN key AND key + 2
                LOOP
                    result := result || found.name || length(found.name);
                END LOOP;
                PERFORM FROM item WHERE name = result;
                RETURN result;
            END $f$', i, i);
        END LOOP; END $$""")


def partitions(connection):
    for query in BOTH_QUERIES:
        run(connection, query)


def prepared_statements(connection):
    run(connection, "SET plan_cache_mode = force_generic_plan")
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {STATEMENTS} LOOP
            EXECUTE format('PREPARE s%s(int) AS SELECT name, %s FROM item
                WHERE id = $1', i, i);
            EXECUTE format('EXECUTE s%s(1)', i);
        END LOOP; END $$""")


def deallocated_statements(connection):
    prepared_statements(connection)
    # What came after them stays, as it does where work goes on.
    run(connection, "PREPARE last AS SELECT name FROM item WHERE id = 1")
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {STATEMENTS} LOOP
            EXECUTE format('DEALLOCATE s%s', i);
        END LOOP; END $$""")


def functions(connection):
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {FUNCTIONS} LOOP
            EXECUTE format('SELECT work_%s(1)', i);
        END LOOP; END $$""")


def temporary_tables(connection):
    run(connection, f"""
        DO $$ BEGIN FOR i IN 1 .. {TEMP_TABLES} LOOP
            EXECUTE format('CREATE TEMP TABLE temp_%s AS
                SELECT g AS id, md5(g::text) AS t
                FROM generate_series(1, 200) g', i);
            EXECUTE format('CREATE INDEX ON temp_%s (id)', i);
            IF i % 100 = 0 THEN COMMIT; END IF;
        END LOOP; END $$""")


BIG_SORT = """SELECT count(*) FROM (SELECT md5(g::text) AS t
    FROM generate_series(1, 400000) g ORDER BY t OFFSET 0) s"""
BIG_AGGREGATE = """SELECT count(*) FROM (SELECT md5(g::text) AS t, count(*)
    FROM generate_series(1, 400000) g GROUP BY t) s"""


def big_sort(connection):
    run(connection, "SET work_mem = '1GB'")
    run(connection, BIG_SORT)


def big_aggregate(connection):
    run(connection, "SET work_mem = '1GB'")
    run(connection, "SET enable_sort = off")
    run(connection, BIG_AGGREGATE)


def compiled(number):
    columns = ", ".join(f"sum(id + {number + i}), max(length(name) * {i})"
                        for i in range(1, 11))
    return f"SELECT {columns} FROM item WHERE id > {number}"


def compiled_queries(connection):
    for setting in ("jit = on", "jit_above_cost = 0",
                    "jit_inline_above_cost = 0",
                    "jit_optimize_above_cost = 0"):
        run(connection, "SET " + setting)
    for number in range(20):
        run(connection, compiled(number))


def some(template, count):
    """So many of them in one command"""
    return (f"DO $$ BEGIN FOR i IN 1 .. {count} LOOP "
            f"EXECUTE format('{template}', i); END LOOP; END $$")


# Name, work, what the next query is called, the next query
WORKLOADS = (
    (f"{PARTITIONS:,} partitions, 2 queries", partitions,
     "one of the two", BOTH_QUERIES[0]),
    (f"{STATEMENTS:,} prepared statements", prepared_statements,
     "1,000 of them", some("EXECUTE s%s(1)", 1000)),
    ("the same, deallocated", deallocated_statements,
     "the last one", "EXECUTE last"),
    ("big sort", big_sort, "the same", BIG_SORT),
    ("big hash aggregate", big_aggregate, "the same", BIG_AGGREGATE),
    (f"{FUNCTIONS} PL/pgSQL functions", functions,
     "50 of them", some("SELECT work_%s(1)", 50)),
    (f"{TEMP_TABLES} temporary tables", temporary_tables,
     "50 of them", some("SELECT count(*) FROM temp_%s WHERE id = 1", 50)),
    ("20 JIT-compiled queries", compiled_queries,
     "one more", compiled(20)),
)


# ----------------------------------------------------------------------------
# workloads
# ----------------------------------------------------------------------------

TREATMENTS = (None, "pg_session_memory_trim(false)",
              "pg_session_memory_trim(true)", "DISCARD ALL")


def one_session(work, treatment, query):
    """Anonymous memory before and after, CPU of the treatment, and of the
    next query."""
    connection = connect()
    work(connection)
    time.sleep(0.05)
    before = anon_mb(connection)
    took = timed(connection, treatment if treatment == "DISCARD ALL" else
                 f"SELECT {treatment or 1}")
    after = anon_mb(connection)
    next_query = None
    if treatment != "DISCARD ALL":
        next_query = timed(connection, query)
    connection.close()
    return before, after, took, next_query


def median_of(results, column):
    return statistics.median(result[column] for result in results)


def workloads(rounds, output=None):
    connection = connect()
    make_partitions(connection, PARTITIONS)
    make_functions(connection)
    run(connection, "VACUUM ANALYZE item")
    with_compiler = run(connection, "SELECT set_config('jit', 'on', false), "
                        "pg_jit_available()")[0][1]
    version = run(connection, "SHOW server_version")[0][0].split()[0]
    connection.close()

    results = {}
    for number in range(rounds):
        for name, work, _, query in WORKLOADS:
            if work is compiled_queries and not with_compiler:
                continue
            progress(f"round {number + 1}: {name}")
            for treatment in TREATMENTS:
                results.setdefault((name, treatment), []).append(
                    one_session(work, treatment, query))

    print_workloads(version, rounds, results)
    if output:
        save(output, summary(results))
    return 0


def summary(results):
    """What print_workloads prints, as data"""
    rows = []
    for name, _, next_name, _ in WORKLOADS:
        if (name, None) not in results:
            continue
        row = {"workload": name, "next_query": next_name, "mb": {}, "ms": {},
               "next_ms": {}}
        row["mb"]["before"] = spread([
            result[0] for treatment in TREATMENTS
            for result in results[name, treatment]])
        for treatment in TREATMENTS:
            done = results[name, treatment]
            key = treatment or "nothing"
            row["mb"][key] = spread([result[1] for result in done])
            row["ms"][key] = spread([result[2] for result in done])
            if treatment != "DISCARD ALL":
                row["next_ms"][key] = spread([result[3] for result in done])
        rows.append(row)
    return rows


def print_workloads(version, rounds, results):
    measured = [workload for workload in WORKLOADS
                if (workload[0], None) in results]

    print(f"""
PostgreSQL {version}, medians of {rounds} sessions each.  Anonymous memory of a session in MB:

{'':33} {'after':>9} {'trim':>9} {'trim':>9} {'DISCARD':>9}
{'':33} {'the work':>9} {'(false)':>9} {'(true)':>9} {'ALL':>9}""")
    gains = []
    for name, _, _, _ in measured:
        nothing, kept, dropped, discarded = (
            results[name, treatment] for treatment in TREATMENTS)
        before = median_of(nothing + kept + dropped + discarded, 0)
        print(f"{name:33} {before:9.1f} {median_of(kept, 1):9.1f} "
              f"{median_of(dropped, 1):9.1f} {median_of(discarded, 1):9.1f}")
        gains.append((before / median_of(kept, 1), name))

    print(f"""
CPU time in ms of a trim, and of the next query:

{'':33} {'trim':>7} {'trim':>7}  {'next':14} {'without':>7} {'after':>7} {'after':>7}
{'':33} {'(false)':>7} {'(true)':>7}  {'query':14} {'a trim':>7} {'(false)':>7} {'(true)':>7}""")
    for name, _, next_name, _ in measured:
        nothing, kept, dropped, _ = (
            results[name, treatment] for treatment in TREATMENTS)
        print(f"{name:33} {median_of(kept, 2):7.1f} "
              f"{median_of(dropped, 2):7.1f}  {next_name:14} "
              f"{median_of(nothing, 3):7.1f} {median_of(kept, 3):7.1f} "
              f"{median_of(dropped, 3):7.1f}")

    gains.sort()
    print(f"""
With trim(false) the best got {gains[-1][0]:.1f} times smaller: {gains[-1][1]};
the worst {gains[0][0]:.1f} times: {gains[0][1]}.""")


# ----------------------------------------------------------------------------
# pool
# ----------------------------------------------------------------------------

class Pool:
    """Sessions of one server, and what was measured in their rounds."""

    def __init__(self, host):
        self.host = host
        self.connections = []
        self.rounds = []

    def open(self):
        self.connections = [connect(self.host) for _ in range(SESSIONS)]

    def close(self):
        for connection in self.connections:
            connection.close()

    def cpu(self):
        return sum(cpu_ms(connection) for connection in self.connections) / 1e3

    def anon(self):
        return sum(anon_mb(connection) for connection in self.connections)

    def private(self):
        return sum(private_mb(connection) for connection in self.connections)

    def begin_round(self):
        self.rounds.append({"cpu_before": self.cpu(), "turns": [], "peak": 0})

    def turn(self, first, times):
        """Some sessions work."""
        def work(connection):
            for _ in range(times):
                partitions(connection)

        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
            # list: so that an error is raised here
            list(workers.map(
                work, self.connections[first:first + SESSIONS_OF_A_TURN]))
        self.rounds[-1]["turns"].append(time.monotonic() - started)
        self.rounds[-1]["peak"] = max(self.rounds[-1]["peak"], self.anon())
        time.sleep(PAUSE_OF_A_TURN)

    def end_round(self, times):
        """After the pause"""
        this = self.rounds[-1]
        queries = 2 * times * SESSIONS
        this["by_cpu"] = queries / (self.cpu() - this["cpu_before"])
        this["by_clock"] = queries / sum(this["turns"])
        this["anon"] = self.anon()
        this["private"] = self.private()


def one_trial(pools, times, number):
    """Rounds of both pools in turns, one of them first and then the other"""
    for pool in pools:
        pool.open()
    for round_number in range(ROUNDS_OF_A_TRIAL):
        for pool in pools:
            pool.begin_round()
        for first in range(0, SESSIONS, SESSIONS_OF_A_TURN):
            odd = (first // SESSIONS_OF_A_TURN + round_number + number) % 2
            for pool in pools[::-1] if odd else pools:
                pool.turn(first, times)
        time.sleep(PAUSE)
        for pool in pools:
            pool.end_round(times)
            print(f"{times} times, trial {number + 1}, "
                  f"round {round_number + 1}, "
                  f"{pool.host.rsplit('/', 1)[-1]}: " +
                  ", ".join(f"{name} {pool.rounds[-1][name]:.1f}" for name in
                            ("anon", "peak", "by_clock", "by_cpu")),
                  file=sys.stderr)
    for pool in pools:
        pool.close()


def pool_table(pools, times, trials):
    """Prints it, and returns how many times less memory there is at rest, and
    how many per cent less throughput."""
    without, with_trim = pools
    numbers = range(trials * ROUNDS_OF_A_TRIAL)
    first = [i for i in numbers if i % ROUNDS_OF_A_TRIAL == 0]
    later = [i for i in numbers if i % ROUNDS_OF_A_TRIAL != 0]

    def medians(name, rounds):
        return [statistics.median(pool.rounds[i][name] for i in rounds)
                for pool in pools]

    print(f"""
A round: each session plans both queries {times} times in a row, then rests.

{'':44} {'without':>9} {'with':>9}""")
    for name, title in (
            ("anon", "anonymous memory of the pool at rest, MB"),
            ("private", "private memory of the pool at rest, MB"),
            ("peak", "anonymous memory of the pool, most, MB")):
        one, other = medians(name, later)
        print(f"{title:44} {one:9.1f} {other:9.1f}  "
              f"{one / other:5.2f} times less")
    for name, rounds, title in (
            ("by_cpu", later, "queries a second of CPU, later rounds"),
            ("by_cpu", first, "queries a second of CPU, first round"),
            ("by_clock", later, "queries a second, later rounds"),
            ("by_clock", first, "queries a second, first round")):
        one, other = medians(name, rounds)
        if name == "by_cpu":
            ratio = other / one
        else:
            ratio = statistics.median(
                a / b for i in rounds
                for a, b in zip(without.rounds[i]["turns"],
                                with_trim.rounds[i]["turns"]))
        print(f"{title:44} {one:9.1f} {other:9.1f}  "
              f"{100 * (ratio - 1):+5.1f} %")
    one, other = medians("anon", later)
    one_speed, other_speed = medians("by_cpu", later)
    return one / other, 100 * (1 - other_speed / one_speed)


def pool(trials, hosts):
    for host in hosts:
        connection = connect(host)
        make_partitions(connection, PARTITIONS)
        version = run(connection, "SHOW server_version")[0][0].split()[0]
        connection.close()

    tables = []
    for times in WORK:
        pools = [Pool(host) for host in hosts]
        for number in range(trials):
            one_trial(pools, times, number)
        tables.append((pools, times))

    print(f"""
PostgreSQL {version}: a pool of {SESSIONS} sessions, two queries over {PARTITIONS:,} partitions,
on a server without the extension, and on one with trim_when_idle on;
{os.cpu_count()} sessions at a time, medians of {trials} trials of {ROUNDS_OF_A_TRIAL} rounds.""")
    reached = [pool_table(pools, times, trials) for pools, times in tables]
    less_memory, less_throughput = reached[0]

    print(f"""
Goals, for rounds of {WORK[0]} times: {LESS_MEMORY} times less memory at rest ({less_memory:.2f}),
queries a second of CPU within {LESS_THROUGHPUT:.0f} % ({-less_throughput:+.1f} %).""")
    return 0 if (less_memory >= LESS_MEMORY and
                 less_throughput <= LESS_THROUGHPUT) else 1


def main():
    if sys.argv[1:2] == ["workloads"] and len(sys.argv) in (3, 4):
        return workloads(int(sys.argv[2]), *sys.argv[3:])
    if sys.argv[1:2] == ["pool"] and len(sys.argv) == 5:
        return pool(int(sys.argv[2]), sys.argv[3:5])
    return __doc__


if __name__ == "__main__":
    sys.exit(main())
