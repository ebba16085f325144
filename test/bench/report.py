#!/usr/bin/python3
"""The benchmark's results as a document, as JSON and as pictures.

report.py RESULTS [OUTPUT [DOCUMENT]]

RESULTS is the directory where the parts of run.sh have left theirs.  Prints
the document in Markdown; writes it to DOCUMENT, and results.json and the
pictures to the directory OUTPUT.  A part that was not run is left out, and one
that has failed is named.

Figures are medians.  A row whose quartiles are further apart than a quarter of
its median says so.
"""
import json
import os
import sys

import picture

# The goals
KERNEL = 1.3                    # times the kernel's price for the same bytes
INSTRUCTIONS = 0.8              # per cent more, with defaults
OF_STATEMENTS = 0.2             # of what pg_stat_statements takes
BESIDE_STATEMENTS = 0.4         # per cent more, of a SELECT, beside it
WATCHER = {100: 0.1, 1000: 0.5}     # per cent of a core, by sessions
WATCHER_BYTES = 10000           # a second
TRUTH = 0.95                    # of the kinds within 80 to 140 per cent
LESS_MEMORY = 2.5               # times, the partition workload
LESS_POOL = 2.0                 # times, the pool at the end of its day

# Per cent of the machine's CPU that others used just before, or the machine did
# not get while it ran, that make figures worth little.
BUSY = 5
WIDE = 0.25                     # of the median, between quartiles

SCRIPTS = {"select-only": "pgbench -S", "simple-update": "pgbench -N",
           "tpcb-like": "pgbench, TPC-B-like"}


class Report:
    """Lines of the document, and the goals met or missed on the way"""

    def __init__(self, results, pictures):
        self.results = results
        self.pictures = pictures
        self.lines = []
        self.goals = []
        self.short = []

    def say(self, *lines):
        self.lines.extend(lines)

    def goal(self, what, measured, met, why=""):
        self.goals.append({"goal": what, "measured": measured,
                           "met": bool(met), "why": "" if met else why})

    def heading(self, text):
        self.say("", "## " + text, "")

    def table(self, head, rows):
        self.lines.extend(markdown(head, rows))

    def picture(self, name, title, draw, *arguments, **more):
        """draw is a function of picture.py"""
        if self.pictures:
            draw(f"{self.pictures}/{name}.svg", title, *arguments, **more)
        self.say("", f"![{title}](benchmark/{name}.svg)")


def markdown(head, rows, others="---:"):
    """The first column to the left, the others as they are told"""
    return ["| " + " | ".join(head) + " |",
            "|---" + f"|{others}" * (len(head) - 1) + "|"] + [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def median(spread):
    return spread[1]


def fine(value):
    """Three digits that count"""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def told(spread, scale=1):
    """The median, with the quartiles where they are far apart"""
    low, middle, high = (value * scale for value in spread)
    if middle and (high - low) / middle > WIDE:
        return f"{fine(middle)} ({fine(low)} to {fine(high)})"
    return fine(middle)


# ----------------------------------------------------------------------------
# Looking
# ----------------------------------------------------------------------------

def price_ms(reads, limits, faults=0):
    """Milliseconds that the kernel takes to read so much, by what it takes for
    a call and for each page, to say which pages are there, to write a status,
    and for page faults.  A range is in one page at least."""
    call = limits["process_vm_readv of 64 bytes"]
    part = limits["64 bytes of one of 64 pages that a call reads"]
    page = limits["one of 64 pages that a call reads"]
    pages = reads["bytes"] / 4096
    # What one page of its own takes is in the call.
    more = max(0, max(reads["ranges"], pages) - reads["calls"])
    whole = max(0, pages - reads["calls"])
    single = min(pages, reads["calls"]) * max(
        0, limits["process_vm_readv of 4 kB"] - call)
    return (reads["calls"] * call + more * part + whole * (page - part) +
            single + reads["pagemap"] * limits["64 pages in /proc/PID/pagemap"] +
            reads["status"] * limits["/proc/PID/status"] +
            faults * limits["page fault"]) / 1e6


def session_of(row):
    return f"{row['contexts']:,} ({row['session']})"


def look(report):
    rows = report.results.get("look")
    limits = report.results.get("limits")
    if not rows or not limits:
        return
    report.heading("Looking at another session, live")
    report.say(
        "CPU of the observer, ms. *Kernel* is what this machine takes to read "
        "the same, with as many calls (limits.c):", "to copy the bytes from "
        "memory that is in no cache, to say which pages are there, so that "
        "none is made by looking,", "and to give the figures of the process; "
        "*statement* is what the same statement takes where it looks at no "
        "process. *First*", "is the look of an observer that has not looked at that "
        "session before, and the kernel's page faults for it.", "Levels are "
        "savepoints in each other. PostgreSQL's view is asked inside the "
        "session.", "")
    table = []
    ratios = {}
    lost = looks = kilobytes = 0
    for row in rows:
        nothing = median(row["ms"]["nothing"])
        walk = median(row["ms"]["walk"])
        lost += row["lost_ns"]
        kilobytes = max(kilobytes, row["lost_kb"])
        looks += row["observations"]
        cells = ["?"] * 4
        if row["reads"]:
            price = price_ms(row["reads"], limits)
            first = price_ms(row["reads"], limits,
                             median(row["first_faults"]))
            ratio = (walk - nothing) / price
            ratios[session_of(row)] = (ratio, walk, nothing, price)
            pages = row["reads"]["bytes"] / 4096
            cells = [fine(price), f"{ratio:.2f}",
                     f"{(median(row['first_ms']) - nothing) / first:.2f}",
                     f"{(walk - nothing) * 1e3 / pages:.2f}"]
        table.append([session_of(row), told(row["ms"]["walk"]), fine(nothing),
                      *cells, f"{walk * 1e3 / row['contexts']:.2f}"])
    report.table(["contexts", "look", "statement", "kernel",
                  "of kernel's", "first, of kernel's", "us a page",
                  "us a context"], table)
    for name, (ratio, walk, nothing, price) in ratios.items():
        report.goal(
            f"a look at {name} contexts: at most {KERNEL} times the kernel's "
            "price for the same bytes", f"{ratio:.2f} times", ratio <= KERNEL,
            f"{fine(walk)} ms, of which {fine(nothing)} are the statement and "
            f"{fine(price)} the kernel; "
            f"{fine(walk - nothing - price)} are ours")
    report.goal(f"{looks} looks leave nothing in the observed processes",
                f"{lost:,} ns, {kilobytes} kB", lost <= 0 and kilobytes <= 0,
                "CPU that the process spent meanwhile, for whatever reason")
    report.short.append(
        f"Looking at another session leaves {lost:,} ns of CPU and "
        f"{kilobytes} kB in it ({looks} looks).")
    of_statements = [row for row in rows
                     if row["session"] in ("fresh", "statements")]
    if len(of_statements) > 1:
        def line(name):
            return [(row["contexts"], median(row["ms"][name]))
                    for row in of_statements]
        report.picture(
            "look", "One session looks at another", picture.lines,
            "memory contexts of the other one", "ms of CPU",
            [("ours: figures of the view", line("walk")),
             ("ours: a row a context", line("other same")),
             ("PostgreSQL's view, inside", line("core same")),
             ("the kernel's price",
              [(row["contexts"], price_ms(row["reads"], limits))
               for row in of_statements if row["reads"]])])

    report.heading("Looking at oneself, and what it costs who is looked at")
    report.say("Ms of CPU of the session that asks; *count* is `count(*), "
               "sum(total_bytes)`, *columns* are the 9 columns",
               "that both have. *Log* is the CPU that "
               "`pg_log_backend_memory_contexts` takes the session that it is "
               "about;", "it writes at most 100 children of a context.", "")
    report.table(
        ["contexts", "count: ours", "PostgreSQL's", "columns: ours",
         "PostgreSQL's", "log: ms lost", "ours: ns lost", "kB left"],
        [[session_of(row), *(
            told(row["ms"][name]) if name in row["ms"] else "not asked"
            for name in ("self count", "core count", "self same",
                         "core same")),
          told(row["log_lost_ms"]) if row["log_lost_ms"] else "not asked",
          f"{row['lost_ns']:,}", row["lost_kb"]] for row in rows])


def server(report):
    rows = report.results.get("server")
    limits = report.results.get("limits")
    if not rows or not limits:
        return
    report.heading("The view over the whole server")
    report.say("CPU of the observer, ms. Bloated sessions have 1,000 prepared "
               "statements each.", "")
    table = []
    for row in rows:
        cells = ["?", "?"]
        cpu = median(row["cpu_ms"])
        if row["reads"]:
            price = price_ms(row["reads"], limits)
            cells = [fine(price), f"{cpu / price:.2f}"]
        table.append([f"{row['sessions']:,} {row['kind']}",
                      told(row["cpu_ms"]), f"{cpu / row['sessions']:.3f}",
                      *cells, f"{row['contexts']:,}",
                      f"{row['bytes'] / 2 ** 20:,.0f}"])
        if row["sessions"] == 1000 and row["kind"] == "fresh":
            report.short.append(f"The view over 1,000 sessions takes "
                                f"{cpu:.0f} ms.")
    report.table(["sessions", "ms", "ms each", "kernel", "of kernel's",
                  "contexts", "MB"], table)


# ----------------------------------------------------------------------------
# Watching
# ----------------------------------------------------------------------------

def instructions(report):
    results = report.results.get("instructions")
    if not results:
        return
    rows = results["rows"]
    more = {(row["script"], row["loaded"]): row["more"] for row in rows}
    names = list(dict.fromkeys(row["loaded"] for row in rows))
    report.heading("Watching: instructions more than with nothing loaded")
    report.say("Per cent, of a transaction of pgbench's built-in scripts, "
               "counted by callgrind; the kernel's are not counted.",
               "*Both* is pg_session_memory with pg_stat_statements.", "")
    report.table(["loaded", *SCRIPTS.values()],
                 [[name, *(f"{more[script, name]:+.2f}" if name != names[0]
                           else next(f"{row['each']:,.0f}" for row in rows
                                     if (row["script"], row["loaded"]) ==
                                     (script, name))
                           for script in SCRIPTS)] for name in names])
    for script, title in SCRIPTS.items():
        ours = more[script, "pg_session_memory"]
        theirs = more.get((script, "pg_stat_statements"))
        report.goal(f"{title}: at most {INSTRUCTIONS} % more instructions",
                    f"{ours:+.2f} %", ours <= INSTRUCTIONS,
                    f"{ours - INSTRUCTIONS:.2f} % too many")
        if theirs:
            report.goal(f"{title}: less than a fifth of pg_stat_statements",
                        f"{ours / theirs:.2f} of {theirs:.2f} %",
                        ours < OF_STATEMENTS * theirs,
                        f"a fifth is {OF_STATEMENTS * theirs:.2f} %")
    script = "select-only"
    both = more.get((script, "both"))
    if both:
        beside = ((1 + both / 100) /
                  (1 + more[script, "pg_stat_statements"] / 100) - 1) * 100
        report.goal(f"{SCRIPTS[script]} beside pg_stat_statements: at most "
                    f"{BESIDE_STATEMENTS} % more instructions",
                    f"{beside:+.2f} %", beside <= BESIDE_STATEMENTS,
                    f"{beside - BESIDE_STATEMENTS:.2f} % too many; they are in "
                    "five hooks of a statement, two events of a transaction "
                    "and one of a command's end, some in each")
    report.short.append(
        f"Preloaded with defaults, a SELECT of pgbench takes "
        f"{more[script, 'pg_session_memory']:.2f} % more instructions, with "
        "pg_stat_statements "
        f"{more.get((script, 'pg_stat_statements'), 0):.2f} %.")
    report.picture(
        "instructions", "Instructions more than with nothing loaded",
        picture.bars, "%",
        [(title, [(name, more[script, name],
                   0 if name.startswith("pg_session_memory") else 3)
                  for name in names[1:]]) for script, title in SCRIPTS.items()])


def pairs(report):
    results = report.results.get("pairs")
    if not results:
        return
    report.heading("Transactions a second")
    report.say(f"pgbench -S, {results['clients']} clients, "
               f"{results['rounds']} rounds of {results['seconds']} s for each "
               "server, in turns. Two servers have nothing loaded:",
               "what they differ by is the machine's. Ratios to the first one, "
               "within each round.", "")
    report.table(["loaded", "median", "quartiles"],
                 [[name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]
                  for name, (low, middle, high) in results["ratios"].items()])
    (_, (low, _, high)), (_, (_, ours, _)) = results["ratios"].items()
    report.goal("pgbench -S, 2 clients: no slower than two servers without it "
                "differ", f"{ours:.3f} times, quartiles without it {low:.3f} "
                f"to {high:.3f}", ours >= low,
                f"{low - ours:.3f} less; beside its instructions it is their "
                "code and data, which the processor's first caches do not "
                "have")


def truth(report):
    results = report.results.get("truth")
    if not results:
        return
    rows = results["rows"]
    report.heading("What is said of a statement, beside a witness")
    report.say("Another process reads the session's anonymous memory every "
               "2 ms (*witness*, MB, of three rounds that in which it saw "
               "most). *Took* is what the extension says,",
               "the larger of planner and executor, and peak, in per cent of "
               "that.", "")
    percent = [100 * row["took"] / row["witness"] for row in rows]
    report.table(["statement", "witness", "took", "peak"],
                 [[row["kind"], f"{row['witness'] / 2 ** 20:.1f}",
                   f"{value:.0f}", "" if row["peak"] is None else
                   f"{100 * row['peak'] / row['witness']:.0f}"]
                  for row, value in zip(rows, percent)])
    good = results["good"]
    off = [row["kind"] for row, value in zip(rows, percent)
           if not 80 <= value <= 140]
    report.goal("what a statement took is 80 to 140 % of what a witness saw, "
                "for 95 % of the kinds", f"{good} of {len(rows)}",
                good >= TRUTH * len(rows), ", ".join(off))
    report.goal("its peak is within 5 %, or half a MB",
                f"{results['good_peaks']} of {results['peaks']}",
                results["good_peaks"] == results["peaks"],
                f"{results['peaks'] - results['good_peaks']} are not")
    report.short.append(f"What it says of a statement's memory is 80 to 140 % "
                        f"of what a witness saw for {good} of {len(rows)} "
                        "kinds of statement.")


def alerts(report):
    rows = report.results.get("alerts")
    if not rows:
        return
    report.heading("Thresholds that fire")
    report.say("Ms until the log says so, after the client has the response; "
               "of a statement that goes on, after it was sent.", "")
    report.table(["cause", "threshold", "told", "median", "most"],
                 [[row["cause"], row["threshold"],
                   f"{row['told']} of {row['rounds']}",
                   *("" if row[name] is None else fine(row[name])
                     for name in ("median_ms", "most_ms"))] for row in rows])
    wrong = [row["cause"] for row in rows if row["told"] !=
             (0 if row["cause"] == "none" else row["rounds"])]
    report.goal("each threshold that is crossed is told, and no other",
                f"{len(rows) - len(wrong)} of {len(rows)} causes", not wrong,
                ", ".join(wrong))


def churn(report):
    row = report.results.get("churn")
    if not row:
        return
    report.heading("Looks at sessions that change")
    report.say("Eight sessions prepare, plan, fail and open cursors without "
               "pause, one rests; a look is approximate where the tree changed",
               "while it was read, after three tries.", "")
    names = [name for name in row if name not in ("looks", "resting")]
    report.table(["looks", *names], [[f"{row['looks']:,}", *(
        f"{row[name]:,}" for name in names)]])
    report.goal("a session that rests is read right each time, and no look "
                "fails", f"{row['resting']:,} and {row['looks']:,} looks",
                row["failed"] == 0 and row["resting wrong"] == 0,
                f"{row['failed']} failed, {row['resting wrong']} wrong")


def watcher(report):
    results = report.results.get("watcher")
    if not results:
        return
    report.heading("The watcher")
    report.say(f"With defaults, {results['seconds']} s each, half of the "
               "sessions active.", "")
    report.table(["sessions", "% of a core", "bytes a second"],
                 [[f"{row['sessions']:,}", f"{row['cpu']:.3f}",
                   f"{row['bytes_a_second']:.0f}"] for row in results["cost"]])
    for row in results["cost"]:
        most = WATCHER.get(row["sessions"])
        if most:
            report.goal(f"watcher beside {row['sessions']:,} sessions: at most "
                        f"{most} % of a core", f"{row['cpu']:.3f} %",
                        row["cpu"] <= most, f"{row['cpu'] - most:.3f} % more")
    most = max(row["bytes_a_second"] for row in results["cost"])
    report.goal("it writes at most 10 kB a second",
                f"{most / 1000:.1f} kB", most <= WATCHER_BYTES,
                f"{most:.0f} bytes")
    report.say("", "Seconds from when a statement of 100 MB is sent until it "
               f"is known, of {results['rounds']} statements:", "")
    report.table(["", "median", "most"],
                 [[name, f"{values[0]:.2f}", f"{values[1]:.2f}"]
                  for name, values in results["delays"].items()])


# ----------------------------------------------------------------------------
# Guarding
# ----------------------------------------------------------------------------

def guard(report):
    modes = {"without the guard": report.results.get("guard_off"),
             "earlyoom": report.results.get("guard_earlyoom"),
             "with the guard": report.results.get("guard_on")}
    modes = {name: mode for name, mode in modes.items() if mode}
    rates = report.results.get("guard_rates")
    if not modes and not rates:
        return
    report.heading("The guard")
    if modes:
        report.say("Runaways, one, seven or thirty at once, beside 20 sessions "
                   "of ordinary work, in a control group of 1 GB.", "")
        report.table(
            ["", "runs", "restarts", "runaways that could go on",
             "ordinary transactions", "of them failed"],
            [[name, len(mode["runs"]),
              sum(run["restarts"] for run in mode["runs"]),
              f"{sum(run['alive'] for run in mode['runs'])} of "
              f"{sum(run['runaways'] for run in mode['runs'])}",
              f"{mode['transactions']:,}", mode["failed"]]
             for name, mode in modes.items()])
    if "with the guard" in modes:
        mode = modes["with the guard"]
        restarts = sum(run["restarts"] for run in mode["runs"])
        report.goal("no restart with the guard", f"{restarts} in "
                    f"{len(mode['runs'])} runs", restarts == 0,
                    ", ".join(run["run"] for run in mode["runs"]
                              if run["restarts"]))
        without = modes.get("without the guard")
        if without:
            report.short.append(
                f"Runaway statements: {restarts} restarts of the server in "
                f"{len(mode['runs'])} runs with the guard, "
                f"{sum(run['restarts'] for run in without['runs'])} in "
                f"{len(without['runs'])} without.")
    if rates:
        group = rates["group_mb"]
        rows = [row for row in rates["rates"]
                if row["step_mb"] == 16 and row.get("takers", 1) == 1]
        left = {(row["reserve_mb"], row["rate_gb"]):
                max(0, group - max(row["most_mb"])) for row in rows}
        restarts = {(row["reserve_mb"], row["rate_gb"]): row["restarts"]
                    for row in rows}
        reserves = sorted({row["reserve_mb"] for row in rows})
        speeds = sorted({row["rate_gb"] for row in rows})
        report.say("", f"One process takes memory, 16 MB at a time, until it "
                   f"is refused; {rates['tries']} tries each, in a group of "
                   f"{group:,} MB. MB that were left", "at least, of all "
                   "tries, by the group's own figures every 2 ms, and where "
                   "there were any, restarts.", "")
        report.table(
            ["GB a second", *(f"reserve {mb} MB" for mb in reserves)],
            [[f"{speed:g}", *(
                f"{left[mb, speed]:,.0f}" + (
                    f", {restarts[mb, speed]} restarts"
                    if restarts[mb, speed] else "") for mb in reserves)]
             for speed in speeds])
        report.picture("guard", "The least that was left when a statement "
                       "was refused", picture.lines, "GB a second that it "
                       "takes", "MB", [
                           (f"reserve {mb} MB",
                            [(speed, left[mb, speed]) for speed in speeds])
                           for mb in reserves], log_y=False)


# ----------------------------------------------------------------------------
# Giving back
# ----------------------------------------------------------------------------

def trim(report):
    rows = report.results.get("trim")
    if not rows:
        return
    report.heading("Giving back")
    report.say("Anonymous memory of a session after its work, MB; *kept*: "
               "`trim(false)` keeps the catalog caches. Then CPU of the next",
               "query, ms.", "")
    table = []
    for row in rows:
        mb = {name: median(spread) for name, spread in row["mb"].items()}
        kept = mb["before"] / mb["pg_session_memory_trim(false)"]
        table.append([row["workload"],
                      *(f"{mb[name]:.1f}" for name in
                        ("before", "pg_session_memory_trim(false)",
                         "pg_session_memory_trim(true)", "DISCARD ALL")),
                      row["next_query"],
                      *(told(row["next_ms"][name]) for name in
                        ("nothing", "pg_session_memory_trim(false)",
                         "pg_session_memory_trim(true)"))])
        if "partitions" in row["workload"]:
            report.goal(f"memory of a session at rest, {row['workload']}: at "
                        f"least {LESS_MEMORY} times less",
                        f"{kept:.1f} times", kept >= LESS_MEMORY,
                        f"{mb['pg_session_memory_trim(false)']:.1f} MB are "
                        "left")
    report.table(["workload", "before", "kept", "trim", "DISCARD ALL",
                  "next query", "without", "kept", "trim"], table)


def pool(report):
    results = report.results.get("pool")
    if not results:
        return
    held = results["mb"]
    report.heading(f"A pool of {results['sessions']} after a day's work")
    report.say("Each session does the eight kinds of work, smaller, in an "
               "order of its own; anonymous memory of all sessions at rest,",
               "MB, after each piece.", "")
    pieces = len(next(iter(held.values())))
    report.table(["pool", "fresh", *(str(i) for i in range(1, pieces)),
                  "sessions replaced"],
                 [[name, *(f"{mb:,.0f}" for mb in values),
                   results["recycled"][name]]
                  for name, values in held.items()])
    report.picture("pool", "What a pool of 50 sessions holds at rest",
                   picture.lines, "pieces of work done", "MB",
                   [(name, list(enumerate(values)))
                    for name, values in held.items()],
                   log_x=False, log_y=False)
    less = held["no trims"][-1] / held["trim_when_idle"][-1]
    report.goal(f"a pool that trims when idle holds at least {LESS_POOL:g} "
                "times less", f"{less:.1f} times", less >= LESS_POOL,
                f"{held['trim_when_idle'][-1]:,.0f} of "
                f"{held['no trims'][-1]:,.0f} MB are left: what sessions still "
                "use")
    report.short.append(
        f"A pool of {results['sessions']} sessions holds "
        f"{held['no trims'][-1]:,.0f} MB after eight kinds of work, with "
        f"trim_when_idle {held['trim_when_idle'][-1]:,.0f} MB.")


def memory(report):
    results = report.results.get("memory")
    if not results:
        return
    shared = results["shared"]
    more = (median(results["preloaded"]["anonymous_kb"]) -
            median(results["without"]["anonymous_kb"]))
    report.heading("Memory of our own")
    report.say(f"Shared: {shared['bytes_a_slot']:,.0f} bytes a process slot, "
               f"{shared['bytes_an_event']:,.0f} bytes an event. A session "
               f"that has it preloaded has {more:,.0f} kB", "more of anonymous "
               f"memory than one without (medians of "
               f"{results['sessions']}).")


def limits(report):
    before = report.results.get("limits")
    if not before:
        return
    after = report.results.get("limits_after", {})
    report.heading("What the machine takes")
    report.say("Ns of CPU, before all and after all: a machine that is shared "
               "is not always as fast.", "")
    report.table(["", "before", "after"],
                 [[name, f"{ns:,.0f}",
                   f"{after[name]:,.0f}" if name in after else "?"]
                  for name, ns in before.items()])


# ----------------------------------------------------------------------------

def front(report):
    """What comes first, when all is known"""
    run = report.results["run"]
    machine = run["machine"]
    lines = [
        "# What it costs, and what it gives", "",
        "Made by `make bench` (test/bench/run.sh): everything beside what "
        "PostgreSQL and other programs have, in turns, in one run.",
        "Figures are medians, times are CPU of the process that does the work; "
        "all of them are in [results.json](benchmark/results.json).", "",
        f"{run['date']}, PostgreSQL {run['postgresql'].split()[0]}, "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} "
        f"GB, Linux {machine['kernel']}; others used {run['busy']} % of the "
        "CPU when it began,",
        f"the host took {run['stolen']} % meanwhile; the whole took "
        f"{int(run['seconds']) // 60} minutes.", ""]
    if max(float(run["busy"]), float(run["stolen"])) > BUSY:
        lines += ["**The machine had something else to do: do not trust these "
                  "times.**", ""]
    if run.get("again"):
        lines += ["Measured again, by themselves: " + ", ".join(
            f"{part} ({date})" for part, date in run["again"].items()) + ".",
            ""]
    if run["failed"]:
        lines += ["Not measured: " + ", ".join(run["failed"]) + ".", ""]
    lines += [f"- {line}" for line in report.short]
    lines += ["- What was tried for hours, and what was found: "
              "[reliability.md](benchmark/reliability.md)."]
    if report.goals:
        lines += ["", "## Goals", ""] + markdown(
            ["goal", "measured", "", "why"],
            [[goal["goal"], goal["measured"],
              "met" if goal["met"] else "**missed**", goal["why"]]
             for goal in report.goals], "---")
    return lines


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
    run = {"machine": machine(), "took": {}, "failed": []}
    with open(f"{directory}/run.tsv", encoding="utf-8") as file:
        for line in file:
            name, value = line.rstrip("\n").split("\t")
            if name.startswith("took "):
                run["took"][name[5:]] = int(value)
            elif name.startswith("failed "):
                run["failed"].append(name[7:])
            else:
                run[name] = value
    results["run"] = run
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            try:
                with open(f"{directory}/{name}", encoding="utf-8") as file:
                    results[name[:-5]] = json.load(file)
            except ValueError:
                run["failed"].append(name)
    return results


def add_to(base, results):
    """The results of a run of all parts, with some that were measured again"""
    with open(base, encoding="utf-8") as file:
        whole = json.load(file)
    again = results.pop("run")
    # What looks are measured by is of the run that they are of.
    for name in ("limits", "limits_after"):
        if "look" not in results and "server" not in results:
            results.pop(name, None)
    whole.update(results)
    whole["run"].setdefault("again", {}).update(
        (part, again["date"]) for part in again["took"])
    return whole


def main():
    directory, output, document = (sys.argv[1:] + ["", ""])[:3]
    results = read_results(directory)
    if os.environ.get("BASE"):
        results = add_to(os.environ["BASE"], results)
    report = Report(results, output)
    for part in (look, server, instructions, pairs, truth, alerts, churn,
                 watcher, guard, trim, pool, memory, limits):
        # What is wrong with one part is not to lose the others.
        try:
            part(report)
        except (KeyError, IndexError, TypeError, ValueError,
                ZeroDivisionError) as error:
            report.results["run"]["failed"].append(
                f"{part.__name__} (report: {error!r})")
    report.results["goals"] = report.goals
    report.results["short"] = report.short
    text = "\n".join(front(report) + report.lines) + "\n"
    print(text, end="")
    if output:
        with open(f"{output}/results.json", "w", encoding="utf-8") as file:
            json.dump(report.results, file, indent=1)
            file.write("\n")
    if document:
        with open(document, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
