"""examples/grafana_dashboard.json and examples/prometheus_console.html: what
they ask for is there, with real data.

Each expression of the dashboard is evaluated by a real Prometheus, which
scrapes both exporters, for each of them: a panel without data is a failure.
Grafana is in no registry that the tests use, so its file is compared with the
types that Grafana publishes for it (npm: @grafana/schema), which find wrong
names and values, and not how it looks.  The console is looked at in Chromium.

Debian packages: python3-psycopg2, prometheus, prometheus-postgres-exporter,
prometheus-sql-exporter, python3-selenium, chromium, chromium-driver, nodejs,
npm.
"""

import contextlib
import json
import math
import os
import re
import subprocess
import tempfile
import urllib.parse

import psycopg2

from assertions import equal, finish, ok
from browser import Browser
from prometheus import postgres_exporter, prometheus, sql_exporter
from recipes import without_library
from server import (BLOAT, EXAMPLES, connect, query, readme_query, run_file,
                    wait_until)

FILE = os.path.join(EXAMPLES, "grafana_dashboard.json")
CONSOLE = "/consoles/prometheus_console.html"
# A name that must not become anything but text
ROLE = "<script>alert(1)</script>\"'&"
# How the types' strings are written in JSON: enumerations as their values
PLAIN = """
type Plain<T> = T extends string ? `${T}`
    : T extends number | boolean | null | undefined ? T
    : T extends (infer U)[] ? Plain<U>[]
    : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""


def dashboard():
    with open(FILE, encoding="utf-8") as file:
        return json.load(file)


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def uids(value):
    """All uids of datasources, wherever they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "datasource" and isinstance(inner, dict):
                yield inner.get("uid")
            yield from uids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from uids(inner)


def as_it_should_be():
    """What makes a dashboard one that can be imported anywhere and read."""
    everything = dashboard()
    equal("the datasource is a variable", set(uids(everything)),
          {"${datasource}"})
    equal("it has no uid and no id of its own",
          (everything.get("uid"), everything.get("id")), (None, None))
    incomplete = [
        panel["title"] for panel in panels()
        if not (panel["title"] and panel["description"]
                and panel["fieldConfig"]["defaults"]["unit"]
                and panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
                and panel["targets"])]
    equal("each panel has title, description, unit, thresholds, targets",
          incomplete, [])
    taken, twice = set(), []
    for panel in everything["panels"]:
        position = panel["gridPos"]
        cells = {(x, y) for x in range(position["x"],
                                       position["x"] + position["w"])
                 for y in range(position["y"], position["y"] + position["h"])}
        if cells & taken or position["x"] + position["w"] > 24:
            twice.append(panel["title"])
        taken |= cells
    equal("no panel covers another", twice, [])
    ids = [panel["id"] for panel in everything["panels"]]
    equal("each panel has an id of its own", len(set(ids)), len(ids))


def schema():
    """What Grafana's own types say of the file."""
    everything = dashboard()
    kinds = sorted({panel["type"] for panel in panels()})
    with tempfile.TemporaryDirectory() as directory:
        npm = subprocess.run(
            ["npm", "install", "--prefix", directory, "--no-save",
             "--no-audit", "--no-fund", "--ignore-scripts",
             "@grafana/schema@13", "typescript@5"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if npm.returncode != 0:
            reason = "npm could not install @grafana/schema and typescript"
            print(npm.stderr)
            # The machine that decides has to have them.
            print(f"not ok the schema: {reason}" if os.environ.get("CI")
                  else f"skip the schema: {reason}")
            return
        modules = "./node_modules/@grafana/schema/dist/types"

        def compiled(value):
            lines = [f"import type {{ Dashboard }} from '{modules}/index.gen';"]
            lines += [
                f"import type * as {kind} from '{modules}/raw/composable/"
                f"{kind}/panelcfg/x/types.gen';" for kind in kinds]
            lines += [PLAIN, "const all: Plain<Dashboard> = "
                      + json.dumps(value) + ";"]
            for number, panel in enumerate(value["panels"]):
                kind = panel["type"]
                if kind == "row":
                    continue
                lines.append(f"const options{number}: Plain<Partial<"
                             f"{kind}.Options>> = "
                             f"{json.dumps(panel['options'])};")
                custom = panel["fieldConfig"]["defaults"].get("custom")
                if custom:
                    lines.append(f"const custom{number}: Plain<Partial<"
                                 f"{kind}.FieldConfig>> = "
                                 f"{json.dumps(custom)};")
            with open(os.path.join(directory, "dashboard.ts"), "w",
                      encoding="utf-8") as file:
                file.write("\n".join(lines) + "\nexport {};\n")
            tsc = subprocess.run(
                ["node", "node_modules/typescript/bin/tsc", "--noEmit",
                 "--strict", "--skipLibCheck", "--target", "es2022",
                 "--module", "esnext", "--moduleResolution", "bundler",
                 "dashboard.ts"],
                cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                text=True)
            return tsc.stdout + tsc.stderr

        equal("Grafana's types fit the dashboard", compiled(everything), "")
        # They would find these.
        everything["refrsh"] = "30s"
        ok("they know each key", "refrsh" in compiled(everything))
        del everything["refrsh"]
        everything["panels"][2]["options"]["graphMode"] = "nonsense"
        ok("they know the options of panels",
           "nonsense" in compiled(everything))


def work():
    """Sessions that give all figures something to say.  Returns one that
    stays."""
    session = psycopg2.connect(dbname="postgres", user=ROLE)
    session.autocommit = True
    cursor = session.cursor()
    cursor.execute("SELECT count(*) FROM (SELECT n FROM "
                   "generate_series(1, 100000) n ORDER BY md5(n::text) "
                   "OFFSET 1) s")
    cursor.execute(BLOAT)
    limited = connect()
    limited.cursor().execute("SET pg_session_memory.process_limit = '100MB'")
    try:
        limited.cursor().execute(
            "SELECT array_agg(repeat('x', 1000)) FROM generate_series(1, 1e6)")
        ok("a statement fails at its limit", False)
    except psycopg2.OperationalError as error:
        equal("a statement fails at its limit", error.pgcode, "53200")
    limited.close()
    return session


def asked(server, path, **parameters):
    page = server.get(f"/api/v1/{path}?" + urllib.parse.urlencode(parameters))
    return page and json.loads(page)["data"]


def numbers(server, expression):
    """The samples of an expression: labels, value."""
    data = asked(server, "query", query=expression)
    return [(sample["metric"], float(sample["value"][1]))
            for sample in (data or {"result": []})["result"]]


def expressions(server, instances):
    """Each expression of the dashboard, for each exporter."""
    variable, = [variable for variable in dashboard()["templating"]["list"]
                 if variable["name"] == "instance"]
    match = re.fullmatch(r"label_values\((.*), (\w+)\)",
                         variable["query"]["query"])
    equal("the variable has both exporters", sorted(asked(
        server, f"label/{match[2]}/values", **{"match[]": match[1]})),
        sorted(instances.values()))
    for name, instance in instances.items():
        empty = []
        for panel in panels():
            for target in panel["targets"]:
                expression = target["expr"].replace("$instance", instance) \
                    .replace("$__rate_interval", "1m")
                found = wait_until(
                    lambda: [value for _, value in numbers(server, expression)
                             if not math.isnan(value)], 60)
                if not found:
                    empty.append(f"{panel['title']}: {expression}")
                unknown = [label for label in re.findall(
                    r"{{(\w+)}}", target["legendFormat"])
                    if any(label not in labels for labels, _ in
                           numbers(server, expression))]
                if unknown:
                    empty.append(f"{panel['title']}: no label {unknown}")
        equal(f"{name}: each expression gives figures", empty, [])


def figures(server, instances):
    """They are those of SQL."""
    total, = query("SELECT total_bytes FROM tools.pg_session_memory_server")[0]
    limited = query("SELECT sum(limited) FROM "
                    "tools.pg_session_memory_statements")[0][0]
    ok("a statement was limited", limited >= 1, limited)
    for name, instance in instances.items():
        by_title = {panel["title"]: [
            target["expr"].replace("$instance", instance)
            for target in panel["targets"]] for panel in panels()}
        equal(f"{name}: limit of the server",
              [value for _, value in numbers(
                  server, by_title["Memory of the server"][0])], [total])
        equal(f"{name}: bloated sessions", [value for _, value in numbers(
            server, by_title["Bloated sessions"][0])], [1])
        ok(f"{name}: a tenth and more of memory is left", 0 < numbers(
            server, by_title["Memory left"][0])[0][1] <= 1)
        kinds = {labels["kind"] for labels, _ in numbers(
            server, by_title["Last event of each kind"][0])}
        ok(f"{name}: kinds of events", {"context", "limited"} <= kinds, kinds)
        equal(f"{name}: executions at a limit", sum(
            value for labels, value in numbers(
                server, "session_memory_statements_limited_total"
                f'{{instance="{instance}"}} or sql_session_memory_statements'
                f'{{col="limited_total",instance="{instance}"}}')), limited)


ROWS = """return Array.from(document.querySelectorAll(arguments[0] + ' tr'))
    .map(row => [Array.from(row.cells).map(cell => cell.innerText.trim()),
        row.querySelector('meter') && row.querySelector('meter').value])
    .filter(row => row[1] !== null);"""
OVERFLOW = "return document.documentElement.scrollWidth - innerWidth"


def console(server, instances):
    """The same without Grafana."""
    place = f"http://127.0.0.1:{server.port}{CONSOLE}"
    with Browser() as browser:
        browser.get(place)
        equal("the console: a server each", browser.execute_script(
            "return Array.from(document.querySelectorAll('h2'))"
            ".map(title => title.innerText)"), sorted(instances.values()))
        for name, instance in instances.items():
            browser.size(1280)
            browser.get(f"{place}?instance={instance}")
            equal(f"the console, {name}: that server alone",
                  browser.execute_script("return document.querySelectorAll("
                                         "'section').length"), 1)
            # between two scrapes the same, which some figures are not
            rows = {table: browser.execute_script(ROWS, f"table.{table}")
                    for table in ("server", "pools", "largest", "categories",
                                  "statements")}
            total, = query("SELECT total_bytes FROM "
                           "tools.pg_session_memory_server")[0]
            equal(f"the console, {name}: the server", (
                [row[0][0] for row in rows["server"]], rows["server"][1][1]),
                (["left", "limit", "all processes", "shared memory",
                  "guard's reserve"], total))
            pools = {tuple(row[0][:2]): row[0][4:] for row in rows["pools"]}
            equal(f"the console, {name}: the bloated pool",
                  pools.get((ROLE, "postgres")), ["1", "1"])
            equal(f"the console, {name}: categories",
                  len(rows["categories"]), 10)
            ok(f"the console, {name}: largest sessions with their pid",
               rows["largest"] and all(row[0][0].isdigit()
                                       for row in rows["largest"]),
               rows["largest"])
            ok(f"the console, {name}: who ran the largest statements",
               (ROLE, "postgres") in {tuple(row[0][:2])
                                      for row in rows["statements"]},
               rows["statements"])
            for table in "pools", "largest", "categories", "statements":
                values = [row[1] for row in rows[table]]
                ok(f"the console, {name}: {table}, most first",
                   values == sorted(values, reverse=True) and values[0] > 0,
                   values)
            text = browser.execute_script("return document.body.innerText")
            ok(f"the console, {name}: the guard and the events",
               "The guard is at log and sees: quiet." in text and "limited" in text, text)
            ok(f"the console, {name}: no value that is none",
               not re.search(r"NaN|<no value>|%!", text), text)
            for width in 375, 1600:
                browser.size(width)
                ok(f"the console, {name}: {width} pixels are enough",
                   browser.execute_script(OVERFLOW) <= 0)
        pictures = os.environ.get("PICTURES")
        for scheme in "light", "dark":
            browser.size(1000, 1500)
            browser.colours(scheme)
            if pictures:
                browser.save_screenshot(
                    os.path.join(pictures, f"console-{scheme}.png"))
        links = browser.execute_script(
            "return Array.from(document.querySelectorAll('h3 a'))"
            ".map(link => link.href)")
        equal("the console: a link to Prometheus for each heading",
              len(links), 6)
        wrong = [link for link in links if not numbers(
            server, urllib.parse.parse_qs(urllib.parse.urlparse(link).query)
            ["g0.expr"][0])]
        equal("the console: what the links ask for is there", wrong, [])
        equal("the console: no complaint", browser.complaints(), [])
        elsewhere = {address for address in browser.requests()
                     if not address.startswith(place)}
        equal("the console: nothing is asked of anyone else", elsewhere, set())


def without_figures():
    with tempfile.TemporaryDirectory() as directory, \
            prometheus(directory, [],
                       "--web.console.templates=" + EXAMPLES) as server:
        page = wait_until(lambda: server.get(CONSOLE))
        ok("the console without figures says so", page
           and "No exporter gives figures" in page, page)


def not_preloaded():
    """What needs preloading is missing then, without an error each time."""
    with without_library():
        equal("not preloaded: no events, no statements, but the server", query(
            "SELECT (SELECT count(*) FROM session_memory.events), "
            "(SELECT count(*) FROM session_memory.statements), "
            "total_bytes > 0, events_total FROM session_memory.server"),
            [(0, 0, True, 0)])


def main():
    query("CREATE SCHEMA tools; ALTER EXTENSION pg_session_memory "
          "SET SCHEMA tools")
    query(readme_query("CREATE ROLE prometheus"))
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute('CREATE ROLE "%s" LOGIN' % ROLE.replace('"', '""'))
        for setting in ("context_threshold = '8MB'", "max_overhead = 100"):
            cursor.execute('ALTER ROLE "%s" SET pg_session_memory.%s' % (
                ROLE.replace('"', '""'), setting))
    status, output = run_file("monitoring.sql")
    ok("monitoring.sql runs", status == 0, output)
    as_it_should_be()
    schema()
    session = work()
    with contextlib.ExitStack() as stack:
        exporters = {
            "postgres_exporter": stack.enter_context(
                postgres_exporter("prometheus")),
            "sql_exporter": stack.enter_context(sql_exporter())}
        instances = {name: f"127.0.0.1:{exporter.port}"
                     for name, exporter in exporters.items()}
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(prometheus(
            directory, exporters.values(),
            "--web.console.templates=" + EXAMPLES))
        ok("Prometheus has figures", wait_until(lambda: len(numbers(
            server, "session_memory_events_kept or "
            'sql_session_memory_events{col="kept"}')) >= 4),
           "".join(exporter.log() for exporter in exporters.values()))
        expressions(server, instances)
        figures(server, instances)
        console(server, instances)
    without_figures()
    session.close()
    not_preloaded()
    finish()


if __name__ == "__main__":
    main()
