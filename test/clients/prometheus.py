"""Prometheus, postgres_exporter, sql_exporter: from a bloated session to an
alert.

The real Prometheus scrapes the real exporters, which run the queries of
examples/, and judges by the alert rules there, until the alert fires for a
session that bloats, and is over when it no longer is.  The exporters' role has
the odd search_path that Debian's README of postgres_exporter gives it.  Labels
must stay few; and who lacks rights or the extension must get to know it.

Debian packages: python3-psycopg2, prometheus, prometheus-postgres-exporter,
prometheus-sql-exporter.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import urllib.request

from assertions import equal, finish, ok
from server import (BLOAT, EXAMPLES, connect, free_port, query,
                    readme_query, run_file, wait_until)

ROLE = "pooled"
KINDS = {"context", "session", "process", "fell", "trimmed", "recycled",
         "limited", "statement", "restarted", "pressure", "relieved",
         "cancelled", "terminated"}
RULES = os.path.join(EXAMPLES, "prometheus_alerts.yml")


class Program:
    """A program that serves http on a port of 127.0.0.1, for the time of a
    with statement."""

    def __init__(self, *command, **environment):
        self.port = free_port()
        self.command = [word.replace("PORT", str(self.port))
                        for word in command]
        self.environment = {**os.environ, **environment}

    def __enter__(self):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=self.output, stderr=self.output)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def get(self, path):
        """A page, or None while there is none."""
        with contextlib.suppress(OSError), urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode()
        return None

    def log(self):
        self.output.seek(0)
        return self.output.read()


def postgres_exporter(user, dbname="postgres"):
    return Program(
        "prometheus-postgres-exporter", "--disable-default-metrics",
        "--disable-settings-metrics",
        "--web.listen-address=127.0.0.1:PORT",
        "--extend.query-path=" + os.path.join(EXAMPLES,
                                              "postgres_exporter.yaml"),
        DATA_SOURCE_NAME=f"user={user} host={os.environ['PGHOST']} "
        f"dbname={dbname}")


def sql_exporter():
    """As Debian's /etc/default/prometheus-sql-exporter has it, but PGHOST."""
    program = Program(
        "prometheus-sql-exporter", "-web.listen-address=127.0.0.1:PORT",
        CONFIG=os.path.join(EXAMPLES, "sql_exporter.yml"), LOGLEVEL="WARN",
        PGAPPNAME="prometheus-sql-exporter")
    del program.environment["PGUSER"], program.environment["PGDATABASE"]
    return program


def prometheus(directory, exporters, *options):
    """Everything each second, and the rules of examples/ as they are."""
    configuration = os.path.join(directory, "prometheus.yml")
    targets = [f"127.0.0.1:{exporter.port}" for exporter in exporters]
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{os.path.abspath(RULES)}"]
scrape_configs:
  - job_name: pg_session_memory
    static_configs: [{{targets: {json.dumps(targets)}}}]
""")
    return Program(
        "prometheus", f"--config.file={configuration}",
        f"--storage.tsdb.path={os.path.join(directory, 'data')}",
        "--web.listen-address=127.0.0.1:PORT", "--log.level=warn", *options)


def samples(text):
    """Our samples of a page: name, labels, value."""
    found = []
    for line in (text or "").splitlines():
        match = re.match(r"((?:sql_)?session_memory_\w+)\{(.*)\} (\S+)$", line)
        if match:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match.group(2)))
            found.append((match.group(1), labels, float(match.group(3))))
    return found


def values(exporter, name, **wanted):
    return [value for sample, labels, value in samples(exporter.get("/metrics"))
            if sample == name and wanted.items() <= labels.items()]


def rules():
    """What promtool says of the rules, and whether those that wait fire when
    they have waited."""
    def promtool(*arguments):
        result = subprocess.run(["promtool", *arguments], text=True,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        return result.returncode, result.stdout

    status, output = promtool("check", "rules", RULES)
    ok("promtool finds the rules right", status == 0, output)
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "rules_test.yml")
        with open(file, "w", encoding="utf-8") as test:
            test.write(f"""
rule_files: ["{os.path.abspath(RULES)}"]
tests:
  - interval: 1m
    input_series:
      - {{series: 'session_memory_largest_anon_bytes{{rank="1",instance="a"}}',
         values: '2e9x30'}}
      - {{series: 'sql_session_memory_largest{{col="anon_bytes",rank="1",instance="b"}}',
         values: '2e9x30'}}
      - {{series: 'session_memory_pools_sessions', values: '1x9 _x30'}}
      - {{series: 'session_memory_server_total_bytes{{instance="a"}}', values: '16e9x30'}}
      - {{series: 'session_memory_server_available_bytes{{instance="a"}}',
         values: '8e9x4 1.5e9x4 8e9x30'}}
      - {{series: 'sql_session_memory_server{{col="total_bytes",instance="b"}}', values: '16e9x30'}}
      - {{series: 'sql_session_memory_server{{col="available_bytes",instance="b"}}',
         values: '8e9x4 1.5e9x4 8e9x30'}}
      - {{series: 'session_memory_events_last_timestamp_seconds{{kind="cancelled",instance="a"}}',
         values: '_x4 300x30'}}
      - {{series: 'sql_session_memory_events{{col="last_timestamp_seconds",kind="limited",instance="b"}}',
         values: '_x4 300x30'}}
      - {{series: 'session_memory_events_last_timestamp_seconds{{kind="context",instance="a"}}',
         values: '300x30'}}
      - {{series: 'session_memory_events_last_timestamp_seconds{{kind="restarted",instance="a"}}',
         values: '_x4 300x90'}}
      - {{series: 'sql_session_memory_events{{col="last_timestamp_seconds",kind="restarted",instance="b"}}',
         values: '_x4 300x90'}}
    alert_rule_test:
      - {{eval_time: 14m, alertname: SessionMemoryLarge, exp_alerts: []}}
      - {{eval_time: 14m, alertname: SessionMemoryUnknown, exp_alerts: []}}
      - {{eval_time: 4m, alertname: SessionMemoryServerLow, exp_alerts: []}}
      - {{eval_time: 12m, alertname: SessionMemoryServerLow, exp_alerts: []}}
      - {{eval_time: 3m, alertname: SessionMemoryRefused, exp_alerts: []}}
      - {{eval_time: 20m, alertname: SessionMemoryRefused, exp_alerts: []}}
      - {{eval_time: 3m, alertname: SessionMemoryRestarted, exp_alerts: []}}
      - {{eval_time: 70m, alertname: SessionMemoryRestarted, exp_alerts: []}}
      - eval_time: 7m
        alertname: SessionMemoryServerLow
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a}}
            exp_annotations:
              summary: >-
                9.375% of the memory that the server on a can have is left
              description: >-
                SELECT pid, anon_bytes, largest_context FROM
                pg_session_memory_history_sessions LIMIT 10 says who has it.
          - exp_labels: {{severity: critical, instance: b}}
            exp_annotations:
              summary: >-
                9.375% of the memory that the server on b can have is left
              description: >-
                SELECT pid, anon_bytes, largest_context FROM
                pg_session_memory_history_sessions LIMIT 10 says who has it.
    promql_expr_test:
      - expr: count(ALERTS{{alertname="SessionMemoryLarge",alertstate="firing"}})
        eval_time: 16m
        exp_samples: [{{value: 2}}]
      - expr: count(ALERTS{{alertname="SessionMemoryUnknown",alertstate="firing"}})
        eval_time: 30m
        exp_samples: [{{value: 1}}]
      - expr: sum by (instance, kind) (ALERTS{{alertname="SessionMemoryRefused",alertstate="firing"}})
        eval_time: 7m
        exp_samples:
          - {{labels: '{{instance="a",kind="cancelled"}}', value: 1}}
          - {{labels: '{{instance="b",kind="limited"}}', value: 1}}
      - expr: count by (instance) (ALERTS{{alertname="SessionMemoryRestarted",alertstate="firing"}})
        eval_time: 60m
        exp_samples:
          - {{labels: '{{instance="a"}}', value: 1}}
          - {{labels: '{{instance="b"}}', value: 1}}
""")
        status, output = promtool("test", "rules", file)
    ok("those that wait fire after their time, and not before", status == 0,
       output)


def labels_are_few(name, exporter):
    """However many sessions, roles and applications there are."""
    found = samples(exporter.get("/metrics"))
    counts = {}
    for sample, labels, _ in found:
        key = sample, labels.get("col")
        counts[key] = counts.get(key, 0) + 1
    for view, bound in (("pools", {50}), ("statements", {50}),
                        ("largest", {10}), ("categories", {10}),
                        ("server", {1})):
        equal(f"{name}: {view}, at most {max(bound)}", {
            count for (sample, _), count in counts.items()
            if f"memory_{view}" in sample}, bound)
    kinds = {labels["kind"] for sample, labels, _ in found
             if "memory_events" in sample}
    ok(f"{name}: kinds of events", kinds and kinds <= KINDS, kinds)
    keys = {key for _, labels, _ in found for key in labels} - {
        # the exporters' own: which server it is
        "server", "col", "database", "driver", "host", "sql_job", "user"}
    equal(f"{name}: no other labels", keys,
          {"datname", "usename", "rank", "category", "kind"})


def refusals():
    """What the log says where the figures cannot be had; they are missing
    then, and not wrong."""
    for name, user, dbname, message in (
            ("a role without pg_monitor", "nobody", "postgres",
             "permission denied for schema session_memory"),
            ("a database without the extension", "prometheus", "bare",
             'relation \\"session_memory.pools\\" does not exist')):
        with postgres_exporter(user, dbname) as exporter:
            ok(f"{name}: is in the log",
               wait_until(lambda: exporter.get("/metrics")
                          and message in exporter.log()), exporter.log())
            equal(f"{name}: no figures rather than too few",
                  samples(exporter.get("/metrics")), [])
    status, output = run_file("monitoring.sql", "dbname=bare")
    ok("monitoring.sql without the extension: is an error that says so",
       status != 0 and 'extension "pg_session_memory" is not in database '
       '"bare"' in output, output)


def main():
    query(f"""
        CREATE ROLE {ROLE} LOGIN;
        ALTER ROLE {ROLE} SET pg_session_memory.context_threshold = '8MB';
        ALTER ROLE {ROLE} SET pg_session_memory.max_overhead = 100;
        CREATE ROLE nobody LOGIN;
        {readme_query("CREATE ROLE prometheus")};
        ALTER ROLE prometheus SET search_path = prometheus, pg_catalog""")
    query("CREATE DATABASE bare")
    query("CREATE SCHEMA tools; ALTER EXTENSION pg_session_memory "
          "SET SCHEMA tools")
    for time in "first", "second":
        status, output = run_file("monitoring.sql")
        ok(f"monitoring.sql runs a {time} time", status == 0, output)
    rules()
    refusals()

    session = connect(f"user={ROLE}")
    session.cursor().execute("SELECT 1")
    pool = {"usename": ROLE, "datname": "postgres"}
    with contextlib.ExitStack() as stack:
        exporter = stack.enter_context(postgres_exporter("prometheus"))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        second = sql_exporter()
        server = stack.enter_context(prometheus(directory, [exporter, second]))

        def alerts():
            page = server.get("/api/v1/alerts")
            return page and [
                alert for alert in json.loads(page)["data"]["alerts"]
                if alert["labels"]["alertname"] == "SessionMemoryBloated"]

        def evaluated():
            page = server.get("/api/v1/query?query=session_memory_pools_bloated")
            return page and json.loads(page)["data"]["result"]
        ok("Prometheus has figures", wait_until(evaluated),
           exporter.log() + server.log())
        equal("a healthy session is no alert", alerts(), [])
        equal("its figures: bloated",
              values(exporter, "session_memory_pools_bloated", **pool), [0])
        expected = query("SELECT context_bytes FROM tools.pg_session_memory "
                         f"WHERE pid = {session.get_backend_pid()}")[0]
        equal("its figures: context_bytes", tuple(values(
            exporter, "session_memory_pools_context_bytes", **pool)), expected)

        session.cursor().execute(BLOAT)
        firing = wait_until(alerts)
        ok("the alert fires when it bloats", firing,
           exporter.log() + server.log())
        equal("for its role and its database, at once", [
            (alert["state"], alert["labels"]["usename"],
             alert["labels"]["datname"], float(alert["value"]))
            for alert in firing or []], [("firing", ROLE, "postgres", 1)])
        ok("with a text that says so", firing and "1 bloated session(s) of "
           f"role {ROLE} in database postgres"
           in firing[0]["annotations"]["summary"], firing)

        # It asks when it starts, and then each 30 seconds.
        stack.enter_context(second)
        ok("sql_exporter: its alert fires, too",
           wait_until(lambda: len(alerts()) == 2), second.log())
        equal("sql_exporter: figures as those of postgres_exporter", [
            values(second, "sql_session_memory_pools", col=column, **pool)
            for column in ("bloated", "sessions")], [[1], [1]])

        session.cursor().execute("DEALLOCATE ALL")
        ok("the alert is over when the session is no longer bloated",
           wait_until(lambda: len(alerts()) < 2))
        session.close()

        # Many of everything, and names that are made up each time.
        query("DO $$ BEGIN FOR n IN 1..60 LOOP EXECUTE format("
              "'CREATE ROLE many%s LOGIN', n); END LOOP; END $$")
        crowd = [connect(f"user=many{n} application_name=app{n}")
                 for n in range(1, 61)]
        for connection in crowd:
            connection.cursor().execute(
                "SELECT count(*) FROM (SELECT n FROM generate_series(1, 30000)"
                " n ORDER BY md5(n::text) OFFSET 1) s")
        labels_are_few("postgres_exporter", exporter)
        with sql_exporter() as third:
            # One query after the other.
            wait_until(lambda: len({name for name, _, _ in samples(
                third.get("/metrics"))}) == 6)
            labels_are_few("sql_exporter", third)
        for connection in crowd:
            connection.close()
    finish()


if __name__ == "__main__":
    main()
