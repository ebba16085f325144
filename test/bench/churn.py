#!/usr/bin/python3
"""Live reads of sessions that change while they are read.

churn.py LOOKS [OUTPUT]

Eight sessions prepare, plan, fail and open cursors without pause, and one
rests.  Two observers look at one of them after the other, so many times in all:
a look is exact, or approximate (the tree changed while it was read), or empty
where the session has nothing that can be read.  The one that rests must be the
same each time, and exact.  Status 1 if it was not, or if a look failed.
"""
import sys
import threading

import psycopg2

from sessions import connect, progress, run, save

CHURNING = 8
OBSERVERS = 2

CHURN = """DO $$ DECLARE c refcursor; r record; BEGIN
    FOR i IN 1 .. 50 LOOP
        BEGIN
            EXECUTE format('PREPARE p%s AS SELECT %L', i, repeat('y', i * 100));
            OPEN c FOR EXECUTE 'SELECT g FROM generate_series(1, 200) AS g
                ORDER BY g DESC';
            FETCH c INTO r;
            CLOSE c;
            PERFORM 1 / (i % 5);
        EXCEPTION WHEN division_by_zero THEN
            EXECUTE format('SELECT count(*) FROM pg_class WHERE oid = %s', i);
        END;
    END LOOP;
    DEALLOCATE ALL;
END $$"""

LOOK = """SELECT count(*), sum(total_bytes), coalesce(bool_or(approximate), false)
    FROM pg_session_memory_contexts({})"""

stop = threading.Event()


def churn(connection):
    while not stop.is_set():
        run(connection, CHURN)


class Observer(threading.Thread):
    """Looks so many times"""

    def __init__(self, pids, resting, looks):
        super().__init__()
        self.pids = pids
        self.resting = resting
        self.looks = looks
        self.counts = {"exact": 0, "approximate": 0, "empty": 0, "failed": 0,
                       "resting": 0, "resting wrong": 0}

    def run(self):
        connection = connect()
        right = run(connection, LOOK.format(self.resting))
        for number in range(self.looks):
            pid = self.pids[number % len(self.pids)]
            try:
                rows = run(connection, LOOK.format(pid))
            except psycopg2.Error as error:
                progress(str(error))
                self.counts["failed"] += 1
                if connection.closed:
                    return
                continue
            if pid == self.resting:
                self.counts["resting"] += 1
                self.counts["resting wrong"] += rows != right
            contexts, _, approximate = rows[0]
            self.counts["approximate" if approximate else
                        "exact" if contexts else "empty"] += 1
        connection.close()


def main():
    looks = int(sys.argv[1])
    churning = [connect() for _ in range(CHURNING)]
    resting = connect()
    run(resting, "SELECT count(*) FROM pg_class")
    pids = [connection.get_backend_pid()
            for connection in [*churning, resting]]
    threads = [threading.Thread(target=churn, args=(connection,))
               for connection in churning]
    observers = [Observer(pids, resting.get_backend_pid(), looks // OBSERVERS)
                 for _ in range(OBSERVERS)]
    for thread in threads + observers:
        thread.start()
    for observer in observers:
        observer.join()
    stop.set()
    for thread in threads:
        thread.join()
    counts = {name: sum(observer.counts[name] for observer in observers)
              for name in observers[0].counts}
    print(f"{looks} looks: " + ", ".join(f"{number} {name}" for name, number
                                         in counts.items()))
    if len(sys.argv) > 2:
        save(sys.argv[2], {"looks": looks, **counts})
    wrong = counts["failed"] + counts["resting wrong"]
    if wrong:
        print(f"not ok {wrong} looks failed or were wrong")
    return 1 if wrong or counts["resting"] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
