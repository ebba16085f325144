#!/usr/bin/python3
"""What is said of a statement's memory, beside what a witness has seen;
statements.sh runs this.

statements.py ROUNDS [OUTPUT]

Each kind of statement runs in a session of its own, which has done one small
query before.  The witness, another process, reads the session's resident less
its shared pages every 2 ms, and says how many it had more at most than when
the statement began.  Of each kind: what the witness saw in MB; what the
extension says, planner, executor and peak, in per cent of it; and the larger
of planner + executor and peak, which is what a statement took.

Queries are not parallel.  A parallel hash is in shared memory, which the
witness does not count, and the peak does; workers are processes of their own.
"""
import subprocess
import sys

from sessions import connect, progress, run, save

LARGE = "SET work_mem = '512MB'"

# What is less off than this many bytes is as good as right: that much is done
# before planning, where the peak begins.
SMALL = 2**19


def series(number):
    return f"generate_series(1, {number}) AS g"


# By name: the statement, after what belongs before it in the session
KINDS = {
    "sort": f"""SELECT count(*) FROM (SELECT g, repeat('x', 100) AS t
        FROM {series(300000)} ORDER BY 2, 1) AS x""",
    "hash join": "SELECT count(*) FROM orders a JOIN orders b USING (note, id)",
    "hash aggregate": """SELECT count(*) FROM (SELECT id, count(*), max(note)
        FROM orders GROUP BY id) AS x""",
    "window": """SELECT count(r) FROM (SELECT rank() OVER (ORDER BY note, id)
        AS r, note FROM orders) AS x""",
    "array_agg": f"SELECT cardinality(array_agg(g)) FROM {series(2000000)}",
    "string_agg": f"""SELECT length(string_agg(g::text, ','))
        FROM {series(3000000)}""",
    "jsonb_agg": f"SELECT pg_column_size(jsonb_agg(g)) FROM {series(500000)}",
    "CTE": """WITH c AS MATERIALIZED (SELECT * FROM orders)
        SELECT count(*) FROM c a, (SELECT count(*) FROM c) AS b""",
    "recursion": """WITH RECURSIVE r(n, t) AS (SELECT 1, repeat('x', 100)
        UNION SELECT n + 1, repeat('x', 100) FROM r WHERE n < 200000)
        SELECT count(*) FROM r""",
    "set-returning function": "SELECT count(*) FROM many_rows(300000)",
    "count(DISTINCT)": "SELECT count(DISTINCT note) FROM orders",
    "PL/pgSQL variables": f"""DO $$DECLARE a text[]; BEGIN
        a := array(SELECT repeat('x', 50) FROM {series(500000)}); END$$""",
    "CREATE INDEX": """SET maintenance_work_mem = '256MB';
        SET max_parallel_maintenance_workers = 0;
        CREATE INDEX orders_note ON orders (note, id)""",
    "IN of 20,000 values": "SELECT count(*) FROM small WHERE id IN ("
                           + ",".join(map(str, range(20000))) + ")",
    "ORDER BY in an aggregate": """SELECT length(string_agg(note, ''
        ORDER BY note)) FROM orders""",
    "repeated t || t": """DO $$DECLARE t text := 'x'; BEGIN
        FOR i IN 1 .. 25 LOOP t := t || t; END LOOP; END$$""",

    # A dozen more
    "joins as in TPC-H": """SELECT count(*) FROM (SELECT c.name, sum(l.price)
        FROM customer c JOIN orders o ON o.customer = c.id
        JOIN line l ON l.order_id = o.id
        GROUP BY c.name, o.id, o.note ORDER BY 2 DESC, 1) AS x""",
    "UNION": """SELECT count(*) FROM (SELECT note FROM orders
        UNION SELECT note || 1 FROM orders) AS x""",
    "grouping sets": """SELECT count(*) FROM (SELECT note, id, customer
        FROM orders GROUP BY GROUPING SETS ((note), (id), (customer))) AS x""",
    "jsonb_each": """SELECT count(*) FROM jsonb_each((SELECT
        jsonb_object_agg(id, note) FROM orders WHERE id <= 200000))""",
    "json documents": """SELECT count(*) FROM (SELECT DISTINCT
        to_jsonb(o) FROM orders o WHERE id <= 200000) AS x""",
    "XML": """SELECT length(query_to_xml('SELECT * FROM orders
        WHERE id < 100000', true, false, '')::text)""",
    "PL/Python": "DO $$a = [str(i) for i in range(400000)]$$ LANGUAGE plpython3u",
    "partitions pruned at plan time": "SELECT * FROM part WHERE a IN (3, 77)",
    "plan over 1,500 partitions": "SELECT sum(b) FROM part",
    "CREATE INDEX with workers": """SET maintenance_work_mem = '256MB';
        SET max_parallel_maintenance_workers = 2;
        CREATE INDEX orders_id_note ON orders (id, note)""",
    "CREATE TABLE AS": """CREATE TABLE copy AS SELECT * FROM orders
        ORDER BY note""",
    "prepared": """PREPARE p AS SELECT count(*) FROM (SELECT DISTINCT note, id
        FROM orders) AS x; EXECUTE p""",
    "COPY a query": """COPY (SELECT note FROM orders ORDER BY note || id)
        TO '/dev/null'""",
    "REFRESH MATERIALIZED VIEW": "REFRESH MATERIALIZED VIEW notes",
    "UPDATE with a foreign key": """UPDATE line
        SET order_id = order_id % 400000 + 1""",
    "regexp_split_to_array": """SELECT cardinality(regexp_split_to_array(
        repeat('word ', 300000), ' '))""",
}

SCHEMA = """
    CREATE TABLE small AS SELECT 1 AS id;
    CREATE TABLE customer AS SELECT g AS id, md5(g::text) AS name
        FROM generate_series(1, 50000) AS g;
    CREATE TABLE orders AS SELECT g AS id, g % 50000 AS customer,
        md5(g::text) AS note FROM generate_series(1, 400000) AS g;
    ALTER TABLE orders ADD PRIMARY KEY (id);
    CREATE TABLE line AS SELECT g % 400000 + 1 AS order_id, g AS price
        FROM generate_series(1, 800000) AS g;
    ALTER TABLE line ADD FOREIGN KEY (order_id) REFERENCES orders;
    CREATE MATERIALIZED VIEW notes AS SELECT note, count(*) FROM orders
        GROUP BY note ORDER BY note;
    CREATE FUNCTION many_rows(n int) RETURNS SETOF text LANGUAGE plpgsql AS
        $$BEGIN FOR i IN 1 .. n LOOP RETURN NEXT repeat('x', 80); END LOOP;
        END$$;
    CREATE TABLE part (a int, b int) PARTITION BY RANGE (a);
"""

WITNESS = """
import os, sys, time
page = os.sysconf("SC_PAGESIZE")
statm = os.open(f"/proc/{sys.argv[1]}/statm", os.O_RDONLY)
def anonymous():
    fields = os.pread(statm, 200, 0).split()
    return (int(fields[1]) - int(fields[2])) * page
before = most = anonymous()
os.set_blocking(0, False)
print("ready", flush=True)
while True:
    most = max(most, anonymous())
    try:
        if os.read(0, 1) == b"":
            break
    except BlockingIOError:
        pass
    time.sleep(0.002)
print(max(most, anonymous()) - before, flush=True)
"""


def measure(kind):
    """(witness, plan, exec, peak, left) in bytes; None where not known"""
    *before, statement = KINDS[kind].split(";\n        ") \
        if kind.startswith("CREATE INDEX") else KINDS[kind].split("; EXECUTE")
    if kind == "prepared":
        statement = "EXECUTE" + statement
    connection = connect()
    run(connection, LARGE)
    for setting in before:
        run(connection, setting)
    run(connection, "SELECT count(*) FROM small")
    with subprocess.Popen(
            [sys.executable, "-c", WITNESS,
             str(connection.get_backend_pid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        run(connection, statement)
        other.stdin.close()
        witness = int(other.stdout.read())
    row = run(connection, """SELECT plan_bytes, exec_bytes, peak_bytes,
        left_bytes FROM pg_session_memory_last_statement()""")[0]
    connection.close()
    return (witness, *row)


def took(row):
    plan, executor, peak = (value or 0 for value in row[1:4])
    return max(plan + executor, peak)


def percent(part, whole):
    return "" if part is None else f"{100 * part / whole:.0f} %"


def main():
    rounds = int(sys.argv[1])
    observer = connect()
    run(observer, SCHEMA)
    run(observer, """DO $$BEGIN FOR i IN 0 .. 1499 LOOP EXECUTE format(
        'CREATE TABLE part_%s PARTITION OF part FOR VALUES FROM (%s) TO (%s)',
        i, i, i + 1); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END$$""")
    run(observer, "VACUUM ANALYZE")
    kinds = list(KINDS)
    if not run(observer, """SELECT FROM pg_available_extensions
            WHERE name = 'plpython3u'"""):
        print("skip PL/Python: postgresql-plpython3 is not installed")
        kinds.remove("PL/Python")
    else:
        run(observer, "CREATE EXTENSION plpython3u")

    results = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds:
            progress(f"round {number + 1}: {kind}")
            results[kind].append(measure(kind))
            run(observer, """DROP INDEX IF EXISTS orders_note, orders_id_note;
                DROP TABLE IF EXISTS copy""")

    print(f"{'kind':32} {'witness':>9} {'planner':>8} {'executor':>8} "
          f"{'peak':>8} {'took':>8}")
    good = peaks = good_peaks = 0
    table = []
    for kind, rows in results.items():
        # Between two of its looks the witness misses what comes and goes, and
        # it never sees too much: the round in which it has seen most counts.
        row = max(rows, key=lambda r: r[0])
        ratio = took(row) / row[0]
        table.append({"kind": kind, "witness": row[0], "planner": row[1],
                      "executor": row[2], "peak": row[3], "took": took(row)})
        good += 0.8 <= ratio <= 1.4
        note = "" if 0.8 <= ratio <= 1.4 else "  out of 80 to 140 %"
        if row[3] is not None:
            peaks += 1
            is_good = abs(row[3] - row[0]) <= max(0.05 * row[0], SMALL)
            good_peaks += is_good
            if not is_good:
                note += "  peak off by more than 5 %"
        print(f"{kind:32} {row[0] / 2**20:6.1f} MB {percent(row[1], row[0]):>8} "
              f"{percent(row[2], row[0]):>8} {percent(row[3], row[0]):>8} "
              f"{percent(took(row), row[0]):>8}{note}")
    print(f"took within 80 to 140 %: {good} of {len(results)}, goal 95 %; "
          f"peak within 5 %: {good_peaks} of {peaks}")
    if len(sys.argv) > 2:
        save(sys.argv[2], {"rows": table, "good": good, "peaks": peaks,
                           "good_peaks": good_peaks})
    met = good >= 0.95 * len(results) and good_peaks == peaks
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
