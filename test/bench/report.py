#!/usr/bin/python3
"""The benchmark's results as a table, as JSON and as pictures.

report.py RESULTS [OUTPUT [CHAPTER]]

RESULTS is the directory where the parts of run.sh have left theirs.  Prints
the table; writes it, the JSON and the pictures to the directory OUTPUT, and
the goals into CHAPTER, between the two lines of comment that begin and end
them.  A part that was not run is left out.

Ratios come first: below 1.00 is less than what stands beside us.  Figures are
medians; two in brackets are the first and the third quartile.
"""
import json
import math
import os
import re
import subprocess
import sys

BEGIN = "<!-- made by test/bench/run.sh: begin -->\n"
END = "<!-- made by test/bench/run.sh: end -->\n"

# The goals
INSTRUCTIONS = 0.5              # per cent more, with defaults
SELF = 0.8                      # of pg_backend_memory_contexts
SELF_FROM = 6000                # contexts
LOST = 0                        # ns, of the observed session
WALK = 0.25                     # us a context
WALK_AT = 6000                  # contexts
VIEW = 120                      # ms
VIEW_AT = 1000                  # fresh sessions
BESIDE = 4                      # observers
BESIDE_NOISE = 0.03             # of the CPU that a transaction takes
LESS_MEMORY = 2.5               # times, the partition workload

# Per cent of the machine's CPU that others used just before, or the machine did
# not get while it ran, that make figures worth little.
BUSY = 5

# Once without change a session looks at itself no more often.
WALK_SECONDS = 0.1


class Report:
    """Lines of the table, and the goals met or missed on the way"""

    def __init__(self, results):
        self.results = results
        self.lines = []
        self.goals = []

    def say(self, *lines):
        self.lines.extend(lines)

    def goal(self, what, figure, wanted, met):
        """met: one truth value, or one for each of several figures"""
        met = all(met) if isinstance(met, list) else met
        self.goals.append({"goal": what, "figure": figure, "wanted": wanted,
                           "met": bool(met)})
        return "met" if met else "missed"

    def heading(self, text):
        self.say("", text, "-" * len(text), "")

    def table(self, head, rows):
        """Columns as wide as they have to be; the first one to the left"""
        rows = [[str(cell) for cell in row] for row in [head] + rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width)
                      for cell, width in zip(row[1:], widths[1:])]
            self.say("  ".join(cells).rstrip())


def median(spread):
    return spread[1]


def ranged(spread, digits=2):
    low, middle, high = (f"{value:.{digits}f}" for value in spread)
    return f"{middle} [{low} {high}]"


def verdict(met):
    return "met" if met else "missed"


def fine(value):
    """Three digits that count"""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def exponent(xs, ys):
    """That of the power of x that y grows with, by least squares"""
    xs = [math.log(x) for x in xs]
    ys = [math.log(y) for y in ys]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return (sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) /
            sum((x - mean_x) ** 2 for x in xs))


# ----------------------------------------------------------------------------
# The table
# ----------------------------------------------------------------------------

def instructions(report):
    rows = report.results.get("instructions")
    if not rows:
        return
    # Walks are driven by the clock, and below valgrind a statement takes some
    # fifty times longer; so they count here as often as the same statement has
    # them on a server that runs at its real speed.  That is so if they were
    # driven by the clock; if there were more, all count.
    tps = {row["loaded"]: median(row["tps"])
           for row in report.results["watch"]
           if (row["script"], row["clients"]) == ("select-only", 1)}
    nothing = rows[0]["instructions"]
    table = []
    for row in rows:
        each = row["instructions"]
        if 0 < row["walks"] <= 2 * row["seconds"] / WALK_SECONDS + 2:
            a_second = tps.get(row["loaded"], tps["pg_session_memory"])
            each += (row["walking"] / row["walks"] * 1000 /
                     (WALK_SECONDS * a_second)) - row["walking"]
        more = 100 * (each / nothing - 1)
        goal = ""
        if row["loaded"] == "pg_session_memory":
            goal = report.goal(
                "1 instructions a statement, preloaded with defaults",
                f"{more:+.2f} %", f"at most +{INSTRUCTIONS} %",
                more <= INSTRUCTIONS)
        table.append([row["loaded"], f"{more:+.2f} %", f"{each:,.0f}",
                      f"{row['instructions']:,}", row["walks"], goal])
    report.say("Instructions of SELECT by primary key, counted by callgrind; "
               "goal: at most", f"+{INSTRUCTIONS} % with defaults. \"Walks\" are "
               "measurements of the session within", "1,000 statements below "
               "valgrind, which is slow; \"a statement\" has as many as at",
               "real speed, one in 100 ms.", "")
    report.table(["loaded", "more", "a statement", "counted", "walks", "goal"],
                 table)


def watch(report):
    if "watch" not in report.results:
        return
    report.heading("1 Watching: what it costs to be loaded")
    instructions(report)
    for script, title in (("select-only", "pgbench -S"),
                          ("tpcb-like", "pgbench, TPC-B-like")):
        report.say("", f"{title} -M prepared; ratios to the server that has "
                   "nothing loaded, in the same", "round; CPU is that of the "
                   "sessions, us a transaction", "")
        report.table(
            ["loaded", "clients", "CPU, ratio", "tps, ratio", "CPU, us",
             "tps"],
            [[row["loaded"], row["clients"], ranged(row["cpu_ratio"], 3),
              ranged(row["tps_ratio"], 3), fine(median(row["cpu_us"])),
              f"{median(row['tps']):,.0f}"]
             for row in report.results["watch"] if row["script"] == script])


QUERIES = ("count", "same", "all")


def called(columns):
    """What a query is called in a goal"""
    return {"count": "count and sum",
            "same": f"the {columns['both']} columns that both have",
            "all": f"all {columns['ours']} columns"}


def of_session(row):
    return [row["session"], f"{row['contexts']:,}"]


def look(report):
    rows = report.results.get("look")
    if not rows:
        return
    report.heading("2 Looking at oneself, beside pg_backend_memory_contexts")
    goals = {query: [] for query in QUERIES}
    table = []
    for row in rows:
        cells = []
        for query in QUERIES:
            ratio = row["ratio"]["self " + query]
            cells += [ranged(ratio)]
            if row["contexts"] >= SELF_FROM:
                goals[query].append(median(ratio))
                cells.append(verdict(median(ratio) <= SELF))
            else:
                cells.append("")
        cells += [fine(median(row["ms"][f"{who} {query}"]))
                  for query in QUERIES for who in ("self", "core")]
        table.append(of_session(row) +
                     [f"{row['bytes'] / 2 ** 20:,.1f}"] + cells)
    columns = rows[0]["columns"]
    report.say("CPU of the session that asks, ratios and ms. count: SELECT "
               "count(*), sum(total_bytes);",
               f"same: the count of each of the {columns['both']} columns that "
               "both have; all: SELECT count(c) of",
               f"whole rows, {columns['core']} columns of PostgreSQL's view "
               f"and {columns['ours']} of ours. Goal: at most {SELF} from "
               f"{SELF_FROM:,} contexts.",
               f"Sessions: fresh; with prepared statements; with a query over "
               "3,000 partitions planned.", "")
    report.table(["session", "contexts", "MB", "count", "goal", "same", "goal",
                  "all", "goal", "count: ours", "core", "same: ours", "core",
                  "all: ours", "core"], table)
    for query, name in called(columns).items():
        if goals[query]:
            report.goal(
                f"2 looking at oneself, {name}, {SELF_FROM:,} contexts and "
                "more", f"{max(goals[query]):.2f} at most", f"{SELF} of "
                "pg_backend_memory_contexts",
                [ratio <= SELF for ratio in goals[query]])
    growth(report, rows, (("ours, count", "self count"),
                          ("ours, all", "self all"),
                          ("core, count", "core count")))
    others(report, rows)


def of_statements(rows):
    """A fresh session, and those that differ from it in one thing only"""
    return [row for row in rows if row["session"] != "partitions"]


def growth(report, rows, kinds):
    rows = of_statements(rows)
    if len(rows) < 3:
        return
    parts = [f"{title} ^{exponent([row['contexts'] for row in rows[1:]], [median(row['ms'][name]) for row in rows[1:]]):.2f}"
             for title, name in kinds]
    report.say("", "Grows with the number of contexts, from "
               f"{rows[1]['contexts']:,} on: " + ", ".join(parts))


def kernels_share(reads, limits):
    """Microseconds that the kernel takes to read so much, by what it takes for
    a call and for each page.  A range is in one page at least."""
    if reads is None or not limits:
        return None
    call = limits["process_vm_readv of 64 bytes"]
    part = limits["64 bytes of one of 64 pages that a call reads"]
    page = limits["one of 64 pages that a call reads"]
    pages = reads["bytes"] / 4096
    return (reads["calls"] * (call - part) + max(reads["ranges"], pages) * part +
            pages * (page - part)) / 1e3


def others(report, rows):
    report.heading("3 Looking at another session, live")
    slower = {query: [] for query in QUERIES}
    table = []
    for row in rows:
        cells = of_session(row)
        for query in QUERIES:
            ratio = median(row["ratio"]["other " + query])
            slower[query].append(ratio)
            cells += [ranged(row["ratio"]["other " + query]),
                      verdict(ratio <= 1)]
        cells += [fine(median(row["ms"][f"{who} {query}"]))
                  for query in QUERIES for who in ("other", "core")]
        table.append(cells + [fine(median(row["ms"]["walk"]))])
    report.say("CPU of the observer, ratios to pg_backend_memory_contexts "
               "inside that session, and ms;", "view: its figures of that "
               "session alone. Goal: no slower.", "")
    report.table(["session", "contexts", "count", "goal", "same", "goal",
                  "all", "goal", "count: ours", "core", "same: ours", "core",
                  "all: ours", "core", "view"], table)

    limits = report.results.get("limits")
    report.say("", f"The walk for the view; goal: at most {WALK} us a context "
               f"at {WALK_AT:,}. First: by an observer that",
               "has not looked at that session before. Kernel's: what the "
               "machine takes for the reads of the walk,",
               "by chapter 7, which reads memory that is in no cache; no code "
               "of ours could have that faster.", "")
    table = []
    for row in rows:
        us, reads = row["walk_us_a_context"], row["reads"]["walk"]
        contexts = row["contexts"]
        share = kernels_share(reads, limits)
        goal = ""
        if is_about(contexts, WALK_AT):
            goal = report.goal(
                f"3 walking over {WALK_AT:,} contexts of another session, "
                f"{row['session']}",
                f"{median(us):.2f} us a context", f"at most {WALK}",
                median(us) <= WALK)
        cells = (["?"] * 4 if reads is None else
                 [f"{reads['calls']:,}", f"{reads['ranges']:,}",
                  f"{reads['bytes'] / 2 ** 20:,.2f}",
                  f"{reads['calls'] / contexts:.3f}"])
        table.append(of_session(row) + [
            ranged(us, 3), goal, f"{median(row['first_walk_us_a_context']):.3f}",
            "?" if share is None else f"{share / contexts:.3f}", *cells])
    report.table(["session", "contexts", "us a context", "goal", "first",
                  "kernel's", "calls", "ranges", "MB read", "calls a context"],
                 table)

    report.say("", "What the observed session itself spends; goal: nothing "
               "when we look. Log is", "pg_log_backend_memory_contexts(pid), "
               "which writes at most 100 children of a context.", "")
    report.table(
        ["session", "contexts", "looks", "CPU lost, ns", "goal", "log: CPU lost, ms",
         "until written, ms"],
        [of_session(row) +
         [row["observations"], f"{row['lost_ns']:,}",
          verdict(row["lost_ns"] <= LOST), fine(median(row["log_lost_ms"])),
          fine(median(row["log_ms"]))] for row in rows])
    report.goal("3 CPU of the observed session, "
                f"{sum(row['observations'] for row in rows)} looks",
                f"{sum(row['lost_ns'] for row in rows):,} ns", "none",
                [row["lost_ns"] <= LOST for row in rows])
    for query, name in called(rows[0]["columns"]).items():
        report.goal(f"3 looking at another session, {name}, every size",
                    f"{min(slower[query]):.2f} to {max(slower[query]):.2f}",
                    "no slower than pg_backend_memory_contexts inside it",
                    [ratio <= 1 for ratio in slower[query]])
    growth(report, rows, (("count", "other count"), ("all", "other all"),
                          ("view", "walk")))


def is_about(number, size):
    return abs(number - size) < size / 20


def server(report):
    if "server" not in report.results:
        return
    report.heading("4 The whole server: the view pg_session_memory")
    table = []
    for row in report.results["server"]["view"]:
        goal = ""
        if row["kind"] == "fresh" and row["sessions"] == VIEW_AT:
            goal = report.goal(
                f"4 the view over {VIEW_AT:,} fresh sessions",
                f"{median(row['cpu_ms']):.0f} ms", f"under {VIEW} ms",
                median(row["cpu_ms"]) < VIEW)
        table.append([row["kind"], f"{row['sessions']:,}",
                      f"{median(row['cpu_ms']) / row['sessions']:.3f}",
                      f"{median(row['cpu_ms']) * 1e3 / row['contexts']:.3f}",
                      ranged(row["cpu_ms"], 1), goal,
                      ranged(row["clock_ms"], 1), f"{row['contexts']:,}",
                      f"{row['bytes'] / 2 ** 20:,.0f}"])
    report.say("SELECT count(*), sum(context_bytes): CPU of the observer. "
               f"Goal: {VIEW_AT:,} fresh sessions under", f"{VIEW} ms. Bloated: "
               "1,000 prepared statements each.", "")
    report.table(["sessions", "number", "ms each", "us a context", "CPU, ms",
                  "goal", "clock, ms", "contexts", "MB"], table)

    rows = report.results["server"]["beside"]
    table = []
    for row in rows:
        cpu = tps = goal = ""
        if row["beside"] == "observers":
            cpu = ranged(row["cpu_ratio_to_burners"])
            tps = ranged(row["tps_ratio_to_burners"])
            if row["number"] == BESIDE:
                more = median(row["cpu_ratio_to_burners"])
                goal = report.goal(
                    f"4 CPU of a transaction of pgbench beside {BESIDE} "
                    "observers, beside as many that only use CPU",
                    f"{more:.2f} of it", f"no more, but for noise of "
                    f"{BESIDE_NOISE}", more <= 1 + BESIDE_NOISE)
        table.append([f"{row['number'] or ''} {row['beside']}".strip(),
                      fine(median(row["cpu_us"])), cpu, goal,
                      f"{median(row['tps']):,.0f}", ranged(row["tps_ratio"]),
                      tps])
    report.say("", "pgbench -S, 8 clients, among bloated sessions, while "
               "others read the whole view without pause", "(observers), or "
               "only use CPU, with queries about as long (burners). What "
               "pgbench then does less is", "explained by its share of the "
               "processors if a transaction takes it no more CPU.", "")
    report.table(["beside", "CPU, us", "of beside burners", "goal", "tps",
                  "of alone", "of beside burners"], table)


def trim(report):
    rows = report.results.get("trim")
    if not rows:
        return
    report.heading("5 Giving back")
    table = []
    for row in rows:
        mb = {name: median(spread) for name, spread in row["mb"].items()}
        kept = mb["before"] / mb["pg_session_memory_trim(false)"]
        dropped = mb["before"] / mb["pg_session_memory_trim(true)"]
        goal = ""
        if "partitions" in row["workload"]:
            goal = report.goal(
                "5 memory of a session at rest, " + row["workload"],
                f"{kept:.1f} times less, {dropped:.1f} without caches",
                f"at least {LESS_MEMORY} times", kept >= LESS_MEMORY)
        table.append([row["workload"], f"{kept:.1f}", goal, f"{dropped:.1f}",
                      f"{mb['before'] / mb['DISCARD ALL']:.1f}",
                      *(f"{mb[name]:.1f}" for name in
                        ("before", "pg_session_memory_trim(false)",
                         "pg_session_memory_trim(true)", "DISCARD ALL"))])
    report.say("Anonymous memory of a session at rest: how many times less, "
               "and MB. Kept: trim(false)", "keeps the catalog caches, as "
               f"trim_when_idle mostly does. Goal: {LESS_MEMORY} times.", "")
    report.table(["workload", "kept", "goal", "trim", "DISCARD ALL",
                  "MB before", "kept", "trim", "DISCARD ALL"], table)
    report.say("", "The next query, and the trim: ratios to the query "
               "without a trim before it, and ms of CPU", "")
    table = []
    for row in rows:
        ms = {name: median(spread) for name, spread in row["next_ms"].items()}
        table.append([row["workload"], row["next_query"],
                      *(f"{ms[name] / ms['nothing']:.2f}" for name in
                        ("pg_session_memory_trim(false)",
                         "pg_session_memory_trim(true)")),
                      fine(ms["nothing"]),
                      *(fine(median(row["ms"][name])) for name in
                        ("pg_session_memory_trim(false)",
                         "pg_session_memory_trim(true)"))])
    report.table(["workload", "next query", "kept", "trim", "query, ms",
                  "trim, kept, ms", "trim, ms"], table)


def memory(report):
    results = report.results.get("memory")
    if not results:
        return
    shared = results["shared"]
    report.heading("6 Memory of our own")
    report.say(f"Shared: {shared['bytes_a_slot']:,.0f} bytes a process slot "
               f"({shared['bytes']['slots'] / 1024:,.0f} kB with "
               f"max_connections {shared['max_connections']}), "
               f"{shared['bytes_an_event']:,.0f} bytes",
               f"an event ({shared['bytes']['events'] / 1024:,.0f} kB with "
               f"max_events {shared['max_events']:,}).", "",
               f"A session, medians of {results['sessions']}, kB; anonymous "
               "has in it what is shared with the", "postmaster, private has "
               "pages of libraries that no other process uses now.", "")
    table = []
    for name, title, base in (
            ("without", "SELECT 1, not loaded", "without"),
            ("preloaded", "SELECT 1, preloaded", "without"),
            ("the same query of pg_stat_activity",
             "count(*) of pg_stat_activity, not loaded",
             "the same query of pg_stat_activity"),
            ("loaded on first use", "count(*) of pg_session_memory",
             "the same query of pg_stat_activity")):
        row = results[name]
        more = (median(row["anonymous_kb"]) -
                median(results[base]["anonymous_kb"]))
        table.append([title, f"{more:+,.0f}" if name != base else "",
                      ranged(row["anonymous_kb"], 0),
                      ranged(row["private_kb"], 0)])
    report.table(["session", "anonymous, more", "anonymous", "private"], table)


def limits(report):
    if "limits" not in report.results:
        return
    after = report.results["limits_after"]
    report.heading("7 What the machine takes, ns of CPU")
    report.say("Measured before all and after all: a machine that is shared "
               "is not always as fast.", "")
    report.table(["", "before", "after"],
                 [[name, f"{ns:,.0f}", f"{after[name]:,.0f}"]
                  for name, ns in report.results["limits"].items()])


def front(report):
    """What comes first, when all is known"""
    run = report.results["run"]
    machine = run["machine"]
    lines = [
        f"pg_session_memory, {run['date']}: PostgreSQL {run['postgresql']}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} "
        f"GB of memory, Linux {machine['kernel']}",
        f"{run['rounds']} rounds, runs of pgbench of {run['seconds_a_run']} "
        f"s; others used {run['busy']} % of the CPU when it began, the host "
        f"took {run['stolen']} % meanwhile",
        "Parts took: " + ", ".join(f"{part} {seconds} s" for part, seconds in
                                   run["took"].items())]
    if max(float(run["busy"]), float(run["stolen"])) > BUSY:
        lines.append("The machine had something else to do: do not trust "
                     "these figures.")
    if report.goals:
        report_of_goals = Report({})
        report_of_goals.heading("Goals")
        report_of_goals.table(
            ["goal", "figure", "wanted", ""],
            [[goal["goal"], goal["figure"], goal["wanted"],
              verdict(goal["met"])] for goal in report.goals])
        lines += report_of_goals.lines
    return lines


# ----------------------------------------------------------------------------
# The pictures
# ----------------------------------------------------------------------------

STYLE = """set terminal svg size 760,520 noenhanced font 'sans-serif,13' \\
    background 'white'
set key outside below reverse Left samplen 2 maxcols 2
set errorbars linecolor rgb '#333333'
set grid lc rgb '#dddddd'
set border 3
set tics nomirror
"""
COLORS = ("#0060ad", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#999999")


def draw(path, text):
    done = subprocess.run(["gnuplot"], input=f"{STYLE}set output '{path}'\n" +
                          text, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not os.path.getsize(path):
        sys.exit("gnuplot failed:\n" + done.stderr)


def log_log(path, title, x_title, lines, proportional, more=""):
    """lines: (title, [(x, y)]); proportional: a point that the straight line
    goes through, for cost that grows with x and no faster."""
    blocks = "".join(
        f"$line{i} << EOD\n" + "".join(f"{x} {y}\n" for x, y in points) +
        "EOD\n" for i, (_, points) in enumerate(lines))
    x, y = proportional
    smallest = min(x for _, points in lines for x, _ in points)
    plots = [f"[{smallest}:{x}] {y / x!r} * x title 'proportional' "
             "dt 2 lc rgb '#999999'"]
    plots += [f"$line{i} title '{name}' with linespoints pt 7 ps 0.6 lw 2 "
              f"lc rgb '{COLORS[i]}'" for i, (name, _) in enumerate(lines)]
    draw(path, f"{blocks}set logscale xy\nset title '{title}'\n"
         f"set xlabel '{x_title}'\nset ylabel 'milliseconds of CPU'\n{more}"
         "plot " + ", \\\n".join(plots) + "\n")


def pictures(results, output):
    rows = of_statements(results.get("look", []))
    if rows:
        def line(title, name):
            return title, [(row["contexts"], median(row["ms"][name]))
                           for row in rows]

        ours = line("ours: count, sum", "self count")
        log_log(f"{output}/self.svg", "A session looks at itself",
                "memory contexts",
                [ours, line("ours: all columns", "self all"),
                 line("pg_backend_memory_contexts: count, sum",
                      "core count"),
                 line("pg_backend_memory_contexts: all columns",
                      "core all")], ours[1][-1])
        view = line("figures of the view", "walk")
        log_log(f"{output}/others.svg", "One session looks at another",
                "memory contexts of the other one",
                [line("ours: count, sum", "other count"),
                 line("ours: all columns", "other all"),
                 line("pg_backend_memory_contexts inside: count, sum",
                      "core count"),
                 line("pg_backend_memory_contexts inside: all columns",
                      "core all"), view,
                 ("lost by the other one: pg_log_backend_memory_contexts",
                  [(row["contexts"], median(row["log_lost_ms"]))
                   for row in rows])], view[1][-1])
    if "server" in results:
        lines = [(f"{kind} sessions",
                  [(row["sessions"], median(row["cpu_ms"]))
                   for row in sorted(results["server"]["view"],
                                     key=lambda row: row["sessions"])
                   if row["kind"] == kind]) for kind in ("fresh", "bloated")]
        log_log(f"{output}/server.svg", "The view over the whole server",
                "sessions", lines, lines[0][1][-1])
    if "watch" in results:
        picture_of_watch(results["watch"], f"{output}/watch.svg")


def picture_of_watch(rows, path):
    names = list(dict.fromkeys(row["loaded"] for row in rows))[1:]
    cells = list(dict.fromkeys((row["script"], row["clients"])
                               for row in rows))
    ratio = {(row["script"], row["clients"], row["loaded"]):
             row["cpu_ratio"] for row in rows}
    data = ""
    for script, clients in cells:
        short = "-S" if script == "select-only" else "TPC-B"
        data += f'"{short}, {clients}"'
        for name in names:
            low, middle, high = (100 * (value - 1) for value in
                                 ratio[script, clients, name])
            data += f" {middle} {low} {high}"
        data += "\n"
    plots = []
    for i, name in enumerate(names):
        plots.append(f"$rows using {3 * i + 2}:{3 * i + 3}:{3 * i + 4}"
                     f":xtic(1) title '{name}' lc rgb '{COLORS[i]}'")
    draw(path, f"$rows << EOD\n{data}EOD\n"
         "set style data histograms\nset style histogram errorbars gap 2 lw 1\n"
         "set style fill solid 0.8 noborder\n"
         "set title 'CPU a transaction, more than with nothing loaded "
         "(quartiles)'\nset ylabel 'per cent'\nset xlabel 'pgbench, clients'\n"
         "plot " + ", \\\n".join(plots) + "\n")


# ----------------------------------------------------------------------------

def machine():
    def value(path, label):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith(label):
                    return line.split(":", 1)[1].strip()
        return "unknown"

    return {"cpu": value("/proc/cpuinfo", "model name"),
            "cores": os.cpu_count(),
            "memory_gb": round(
                int(value("/proc/meminfo", "MemTotal").split()[0]) / 2 ** 20),
            "kernel": os.uname().release}


def read_results(directory):
    results = {}
    run = {"machine": machine(), "took": {}}
    with open(f"{directory}/run.tsv", encoding="utf-8") as file:
        for line in file:
            name, value = line.rstrip("\n").split("\t")
            if name.startswith("took "):
                run["took"][name[5:]] = int(value)
            else:
                run[name] = value
    results["run"] = run
    for part in ("limits", "limits_after", "watch", "look", "server", "trim",
                 "memory"):
        path = f"{directory}/{part}.json"
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                results[part] = json.load(file)
    path = f"{directory}/instructions.tsv"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            results["instructions"] = [
                {"loaded": name, "instructions": int(each),
                 "walks": int(walks), "walking": int(walking),
                 "seconds": int(ms) / 1e3}
                for name, each, walks, walking, ms in
                (line.rstrip("\n").split("\t") for line in file)]
    return results


def write_chapter(path, report):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    run = report.results["run"]
    made = (f"PostgreSQL {run['postgresql'].split()[0]}, "
            f"{run['machine']['cpu']}, {run['machine']['cores']} cores, "
            f"{run['date']}:\n\n| | | goal | |\n|---|---|---|---|\n")
    for goal in report.goals:
        made += (f"| {goal['goal'][2:]} | {goal['figure']} | "
                 f"{goal['wanted']} | {verdict(goal['met'])} |\n")
    made += "\n"
    text, number = re.subn(re.escape(BEGIN) + ".*?" + re.escape(END),
                           lambda _: BEGIN + made + END, text, flags=re.DOTALL)
    if number != 1:
        sys.exit(f"{path} does not have the two lines that begin and end the "
                 "benchmark's figures once")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main():
    directory, output, chapter = (sys.argv[1:] + ["", ""])[:3]
    report = Report(read_results(directory))
    for part in (watch, look, server, trim, memory, limits):
        part(report)
    report.results["goals"] = report.goals
    text = "\n".join(front(report) + report.lines) + "\n"
    print(text, end="")
    if output:
        with open(f"{output}/results.txt", "w", encoding="utf-8") as file:
            file.write(text)
        with open(f"{output}/results.json", "w", encoding="utf-8") as file:
            json.dump(report.results, file, indent=1)
            file.write("\n")
        pictures(report.results, output)
    if chapter:
        write_chapter(chapter, report)


if __name__ == "__main__":
    main()
