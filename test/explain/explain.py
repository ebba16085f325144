"""What is eating this session's memory: each cause, its remedy, as Markdown.

For each cause a session is made to bloat, another one asks what it is, the
remedy is applied, and the question is asked again.  Questions, commands and
outputs are printed as psql shows them; nothing of them is made up here.  Each
step is checked: the script ends with an error if the cause is not seen, or if
the remedy does not do what the text says.

Where the server is comes from PGHOST and the other variables of libpq.
test/explain.sh makes one and calls this.
"""

import subprocess
import sys
import textwrap

BEGIN = "<!-- made by test/explain.sh: begin -->"
END = "<!-- made by test/explain.sh: end -->"
WIDTH = 100
MB = 1024 * 1024

# The questions that are asked again and again.
CATEGORIES = """
SELECT category, contexts, pg_size_pretty(total_bytes) AS total, largest_context
FROM pg_session_memory_categories({pid}) LIMIT {limit};
"""
USED = """
SELECT category, contexts, pg_size_pretty(total_bytes) AS total,
       pg_size_pretty(used_bytes) AS used, largest_context
FROM pg_session_memory_categories({pid}) LIMIT {limit};
"""
IDENTS = r"""
SELECT context, left(pattern, 50) AS pattern, contexts,
       pg_size_pretty(total_bytes) AS total
FROM pg_session_memory_idents({pid}, 2);
"""
SESSION = """
SELECT pg_size_pretty(context_bytes) AS contexts, pg_size_pretty(anon_bytes) AS process,
       pg_size_pretty(unaccounted_bytes) AS unaccounted
FROM pg_session_memory WHERE pid = {pid};
"""


class Session:
    """A psql that stays, so that what it prints is what a reader would see."""

    PSQL = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
            "-P", "footer=off", "-P", "linestyle=unicode", "-P", "border=1",
            "-P", "null="]
    MARK = "---- that was it"

    def __init__(self):
        self.process = subprocess.Popen(
            self.PSQL, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.pid = int(self.value("SELECT pg_backend_pid();"))

    def run(self, commands):
        """Runs commands and returns what psql prints."""
        self.process.stdin.write(f"{commands.strip()}\n\\echo {self.MARK}\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == self.MARK:
                return "\n".join(lines).strip("\n")
            lines.append(line.rstrip())
        sys.exit("psql ended:\n" + "\n".join(lines))

    def value(self, query):
        return self.run(f"\\pset tuples_only on\n\\pset format unaligned\n"
                        f"{query.strip()}\n"
                        f"\\pset tuples_only off\n\\pset format aligned")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


observer = Session()


def say(text):
    print(textwrap.fill(" ".join(text.split()), 79, break_long_words=False,
                        break_on_hyphens=False))
    print()


def show(text, language=""):
    for line in text.splitlines():
        if len(line) > WIDTH:
            sys.exit(f"wider than {WIDTH} columns: {line}")
    print(f"```{language}\n{text}\n```")


def ask(question, pid, limit=3, from_session=None, with_query=True):
    """Asks from another session, unless told to, and shows query and output."""
    question = question.format(pid=pid, limit=limit).strip()
    answer = (from_session or observer).run(question)
    if with_query:
        show(question, "sql")
    show(answer)
    print()


def do(session, commands):
    """Shows commands, and the output if there is any, and runs them."""
    commands = textwrap.dedent(commands).strip()
    output = session.run(commands)
    show(commands, "sql")
    if output:
        show(output)
    print()


def category_bytes(pid, category, kind="total"):
    return int(observer.value(
        f"SELECT coalesce(max({kind}_bytes), 0)"
        f" FROM pg_session_memory_categories({pid})"
        f" WHERE category = '{category}';"))


def session_bytes(pid, column):
    return int(observer.value(
        f"SELECT {column} FROM pg_session_memory WHERE pid = {pid};"))


def check(is_so, claim):
    if not is_so:
        sys.exit(f"not so: {claim}")


# ---------------------------------------------------------------------------
# The causes, in the order of the chapter
# ---------------------------------------------------------------------------

def introduction():
    version = observer.value("SHOW server_version;").split()[0]
    print(BEGIN)
    print("# What is eating this session's memory\n")
    say(f"""Each cause below is a session that was made to bloat, and a second
        one that looks at it. All outputs are real, of PostgreSQL {version} with
        `work_mem = '64MB'`; `test/explain.sh` makes them anew. The first
        question is always the same: what is it for? Another column of that
        function says why it stays, and one what to do:""")
    session = Session()
    session.run("SELECT count(*) FROM orders;")
    for column in "explanation", "remedy":
        query = (f"SELECT {column} FROM pg_session_memory_categories"
                 f"({session.pid}) LIMIT 1;")
        show(query, "sql")
        # The one thing that psql would show differently: in one long line.
        show(textwrap.fill(observer.value(query), 79))
    print()
    session.end()


def catalog_caches():
    print("## Catalog caches\n")
    say("""A query that touches every partition leaves a description of each,
        and of each index, in the session:""")
    session = Session()
    do(session, """
        SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM payments) +
               (SELECT count(*) FROM visits) AS rows;""")
    ask(USED, session.pid, limit=2)
    before = category_bytes(session.pid, "catalog cache", "used")
    anon = session_bytes(session.pid, "anon_bytes")
    check(before > 10 * MB, "catalog caches are large")
    ask(IDENTS, session.pid)
    say("""`DISCARD ALL` leaves them alone. A trim empties them, from the session
        itself or, `SELECT pg_session_memory_trim(pid, 1000)`, from another:""")
    session.run("DISCARD ALL;")
    check(category_bytes(session.pid, "catalog cache", "used") > 0.9 * before,
          "DISCARD ALL leaves catalog caches alone")
    do(session, """
        SELECT pg_size_pretty(context_bytes_before) AS contexts,
               pg_size_pretty(context_bytes_after) AS contexts_after,
               pg_size_pretty(anon_bytes_before) AS process,
               pg_size_pretty(anon_bytes_after) AS process_after, round(duration_ms) AS ms
        FROM pg_session_memory_trim();""")
    ask(USED, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "catalog cache", "used") < 0.5 * before,
          "a trim empties the catalog caches")
    check(session_bytes(session.pid, "anon_bytes") < anon,
          "the process is smaller after a trim")
    say("""The contexts of indexes are gone. CacheMemoryContext itself keeps its
        blocks of small pieces, as PostgreSQL's contexts do until they are reset: what falls
        is `used`, and the next tables fill the rest before it grows again. What
        the process gives back beyond the indexes is what malloc had kept. Only
        a new connection gives back all.
        Fewer partitions a query, by a condition on the partition key, is
        what prevents it.""")
    session.end()


def prepared_statements():
    print("## Prepared statements\n")
    say("""A driver that prepares each statement text, and texts that are never
        the same twice:""")
    session = Session()
    do(session, """
        DO $$BEGIN FOR i IN 1 .. 2000 LOOP EXECUTE format(
            'PREPARE s%s(bigint) AS SELECT name, discount FROM customer
                WHERE id = $1 AND shop = %s', i, i);
        END LOOP; END$$;""")
    ask(CATEGORIES, session.pid, limit=2)
    ask(IDENTS, session.pid)
    before = category_bytes(session.pid, "cached plans")
    check(before > 10 * MB, "prepared statements are large")
    for command in "DISCARD PLANS;", "SELECT pg_session_memory_trim() \\g /dev/null":
        session.run(command)
        check(category_bytes(session.pid, "cached plans") > 0.95 * before,
              f"{command} frees no prepared statement")
    say("""`DISCARD PLANS` and a trim free none of it, for they are still to be
        executed. What does, beside a limit on the driver's statement cache and
        parameters instead of values in the texts:""")
    do(session, "DEALLOCATE ALL;  -- or DISCARD ALL")
    ask(CATEGORIES, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "cached plans") < MB,
          "DEALLOCATE ALL frees prepared statements")
    say("""The contexts are gone, and malloc may still keep their memory for the
        process, `outside contexts`; see below for what returns it.""")
    session.end()


def functions():
    print("## PL functions\n")
    say("""Each session compiles each function that it calls, and keeps that,
        with the plans of the statements inside:""")
    session = Session()
    do(session, "SELECT all_rules(1);  -- calls 300 functions")
    ask(CATEGORIES, session.pid)
    ask(IDENTS, session.pid)
    before = category_bytes(session.pid, "functions")
    plans = category_bytes(session.pid, "cached plans")
    check(before > 2 * MB and plans > 5 * MB, "functions are large")
    say("""There is no command that frees them. `DISCARD ALL` and a trim:""")
    session.run("DISCARD ALL; SELECT pg_session_memory_trim() \\g /dev/null")
    ask(CATEGORIES, session.pid, with_query=False)
    check(category_bytes(session.pid, "functions") > 0.95 * before
          and category_bytes(session.pid, "cached plans") > 0.95 * plans,
          "neither DISCARD ALL nor a trim frees functions")
    say("""A new connection does, which `pg_session_memory_recycle()` sees to
        in a pool once a threshold is exceeded:""")
    session.end()
    session = Session()
    ask(CATEGORIES, session.pid)
    check(category_bytes(session.pid, "functions") < MB / 2,
          "a new connection has no functions")
    session.end()


def cursors():
    print("## Cursors held open\n")
    say("""The rows of a cursor `WITH HOLD` are kept when its transaction ends,
        in memory as far as work_mem goes:""")
    session = Session()
    do(session, """
        DECLARE report CURSOR WITH HOLD FOR SELECT repeat('x', 100) FROM generate_series(1, 100000);
        MOVE 10 FROM report;""")
    ask(CATEGORIES, session.pid, limit=2)
    check(category_bytes(session.pid, "cursors") > 10 * MB,
          "the rows of the cursor are there")
    say("""The session itself can tell which they are:""")
    ask("""
SELECT name, is_holdable, left(statement, 62) AS statement FROM pg_cursors;
""", session.pid, from_session=session)
    say("""What frees them:""")
    do(session, "CLOSE report;  -- or CLOSE ALL, DISCARD ALL")
    ask(CATEGORIES, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "cursors") < MB, "CLOSE frees the rows")
    session.end()


def open_transaction():
    print("## An open transaction\n")
    say("""A transaction remembers its savepoints, and the triggers and foreign
        keys that are to be looked at when it ends. A framework made a savepoint
        for each row, and the commit does not come:""")
    session = Session()
    do(session, """
        BEGIN;
        SELECT format('SAVEPOINT s%s', n), format('INSERT INTO invoice VALUES (%s, 1)', n)
        FROM generate_series(1, 1500) n \\gexec""")
    ask("""
SELECT state, date_trunc('seconds', now() - xact_start) AS open_for,
       pg_size_pretty(transaction_bytes) AS transaction, pg_size_pretty(context_bytes) AS contexts
FROM pg_session_memory WHERE pid = {pid};
""", session.pid)
    ask(CATEGORIES, session.pid, limit=2)
    before = category_bytes(session.pid, "transaction")
    check(before > 10 * MB, "savepoints are large")
    say("""What frees it; `idle_in_transaction_session_timeout` sees to those
        that were forgotten:""")
    do(session, "COMMIT;  -- or ROLLBACK")
    ask(CATEGORIES, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "transaction") < MB,
          "COMMIT frees what the transaction had")
    session.end()


def temporary_tables():
    print("## Temporary tables\n")
    say("""Their pages are buffered in the session, up to temp_buffers:""")
    session = Session()
    do(session, """
        CREATE TEMP TABLE step AS
            SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n;""")
    ask(CATEGORIES, session.pid, limit=2)
    before = category_bytes(session.pid, "temporary tables")
    check(before > 7 * MB, "buffers of temporary tables are large")
    say("""The buffers stay when the tables go, for the next ones:""")
    do(session, "DROP TABLE step;\nDISCARD ALL;")
    ask(CATEGORIES, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "temporary tables") > 0.95 * before,
          "buffers stay when the tables go")
    say("""A new connection has none. Before its first temporary table, it can
        have a limit of its own:""")
    session.end()
    session = Session()
    do(session, """
        SET temp_buffers = '1MB';
        CREATE TEMP TABLE step AS
            SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n;""")
    ask(CATEGORIES, session.pid)
    check(category_bytes(session.pid, "temporary tables") < 2 * MB,
          "temp_buffers limits them")
    session.end()


def kept_by_malloc():
    print("## Memory kept by malloc\n")
    say("""What was freed goes back to the operating system only from the end
        of malloc's heap; one small thing that lies behind it keeps it in the
        process. Here a driver has prepared 4,000 statements and then, to keep
        to its limit, deallocated the oldest:""")
    session = Session()
    do(session, """
        DO $$BEGIN
            FOR i IN 1 .. 4000 LOOP EXECUTE format(
                'PREPARE s%s(bigint) AS SELECT name, discount FROM customer
                    WHERE id = $1 AND shop = %s', i, i);
            END LOOP;
            FOR i IN 1 .. 3900 LOOP EXECUTE format('DEALLOCATE s%s', i); END LOOP;
        END$$;""")
    ask(SESSION, session.pid)
    before = session_bytes(session.pid, "unaccounted_bytes")
    check(before > 20 * MB, "malloc keeps memory")
    say("""Another session sees only that it is in no context. The session
        itself can ask malloc how much of that is free:""")
    ask("""
SELECT category, pg_size_pretty(total_bytes) AS total, round(share * 100) AS percent
FROM pg_session_memory_categories() WHERE contexts IS NULL;
""", session.pid, from_session=session)
    say("""A trim returns it, here without touching the caches, from another
        session with `pg_session_memory_trim(pid, 1000)`, by itself with
        `trim_when_idle`:""")
    do(session, """
        SELECT pg_size_pretty(released_bytes) AS released, round(duration_ms) AS ms
        FROM pg_session_memory_trim(caches => false);""")
    ask(SESSION, session.pid, with_query=False)
    check(session_bytes(session.pid, "unaccounted_bytes") < before / 2,
          "a trim returns what malloc keeps")
    session.end()


def outside_contexts():
    print("## Memory outside contexts\n")
    say("""Libraries allocate without asking PostgreSQL: the JIT compiler, libpq
        in dblink and postgres_fdw, PL/Python, extensions. A large share of
        `outside contexts` that a trim does not change is theirs. Here a result
        that dblink has not been asked for yet:""")
    session = Session()
    host = session.value("SHOW unix_socket_directories;")
    session.run(f"SELECT dblink_connect('other', 'host={host}') \\g /dev/null")
    do(session, """
        SELECT dblink_send_query('other', $$SELECT repeat('x', 50000000)$$) AS sent;
        DO $$BEGIN WHILE dblink_is_busy('other') = 1 LOOP
            PERFORM pg_sleep(0.1); END LOOP; END$$;""")
    session.run("SELECT pg_session_memory_trim() \\g /dev/null")
    ask(CATEGORIES, session.pid, limit=2)
    before = category_bytes(session.pid, "outside contexts")
    check(before > 40 * MB, "dblink's result is outside of contexts")
    say("""Who allocated must free it; here it is the connection of dblink:""")
    do(session, "SELECT dblink_disconnect('other');")
    ask(CATEGORIES, session.pid, limit=2, with_query=False)
    check(category_bytes(session.pid, "outside contexts") < before / 2,
          "ending dblink's connection frees it")
    session.end()

    session = Session()
    if session.value("SET jit = on; SELECT pg_jit_available();") != "t":
        print("no JIT compiler: that part is left out", file=sys.stderr)
        session.end()
        return
    say("""And the JIT compiler, whose libraries and code stay until the session
        ends:""")
    do(session, """
        SET jit = on;
        SET jit_above_cost = 0;
        SET jit_inline_above_cost = 0;
        SET jit_optimize_above_cost = 0;
        SELECT count(*) FROM customer WHERE discount < 1 AND name > 'c';""")
    session.run("DISCARD ALL; SELECT pg_session_memory_trim() \\g /dev/null")
    ask(CATEGORIES, session.pid, limit=2)
    before = category_bytes(session.pid, "outside contexts")
    check(before > 8 * MB, "the JIT compiler is outside of contexts")
    say("""Neither `DISCARD ALL` nor a trim, both done before that look, gives it
        back. A new connection with `jit = off`, or with higher
        `jit_above_cost`, after the same statement:""")
    session.end()
    session = Session()
    do(session, """
        SET jit = off;
        SELECT count(*) FROM customer WHERE discount < 1 AND name > 'c';""")
    ask(CATEGORIES, session.pid, limit=2)
    check(category_bytes(session.pid, "outside contexts") < before / 2,
          "without JIT there is less")
    session.end()


def main():
    introduction()
    catalog_caches()
    prepared_statements()
    functions()
    cursors()
    open_transaction()
    temporary_tables()
    kept_by_malloc()
    outside_contexts()
    print(END)
    observer.end()


if __name__ == "__main__":
    main()
