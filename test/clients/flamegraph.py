"""pg_session_memory_folded() in a program that draws flame graphs: speedscope.

Its importer is in the page that npm has of it, so the page is opened in
Chromium, reads what psql has written, and gives it back in its own format: no
byte and no frame may be missing.  flamegraph.pl, the other program that people
use, is in no registry of the tests; t/046_folded.pl takes lines apart by its
rules.

Debian packages: python3-psycopg2, python3-selenium, chromium, chromium-driver,
nodejs, npm.
"""

import functools
import http.server
import json
import os
import subprocess
import tempfile
import threading

import npm
from assertions import equal, finish, ok
from browser import Browser
from recipes import readme_block
from server import connect, query, wait_until

# Frames that are to be read as they are
STATEMENTS = ["SELECT 'a;b', 'tab\t', '\u2028', 'line\nline'",
              "SELECT '<script>alert(1)</script>&amp;\"'",
              "SELECT 'h\u00e4\u20ac\U0001f600 ' || 42",
              "SELECT 1 -- 99"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def speedscope(browser, port, name, downloads):
    """What it has read of a file: the profile that it writes itself."""
    before = set(os.listdir(downloads))
    browser.get("about:blank")
    browser.get(f"http://127.0.0.1:{port}/index.html"
                f"#profileURL=http://127.0.0.1:{port}/{name}")
    browser.wait("return document.querySelector('canvas') !== null")

    def written():
        browser.execute_script(
            "window.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: 's', code: 'KeyS', keyCode: 83, ctrlKey: true}))")
        return [file for file in set(os.listdir(downloads)) - before
                if file.endswith(".json")]

    files = wait_until(written, 60)
    if not files:
        return None
    with open(os.path.join(downloads, files[0]), encoding="utf-8") as file:
        return json.load(file)


def stacks_of(profile):
    """Frames and bytes of each stack.  The profile says where on a line of
    bytes each frame begins and ends."""
    names = [frame["name"] for frame in profile["shared"]["frames"]]
    found, open_frames, last = {}, [], 0
    for event in profile["profiles"][0]["events"]:
        if event["at"] > last:
            stack = tuple(open_frames)
            found[stack] = found.get(stack, 0) + event["at"] - last
            last = event["at"]
        if event["type"] == "O":
            open_frames.append(names[event["frame"]])
        else:
            open_frames.pop()
    return found


def psql(expression, file):
    with open(file, "w", encoding="utf-8") as output:
        subprocess.run(["psql", "-XAtc", f"SELECT {expression}"],
                       stdin=subprocess.DEVNULL, stdout=output, check=True)


def stacks(file):
    """Frames and bytes of each line."""
    with open(file, encoding="utf-8", newline="\n") as lines:
        return {tuple(line.rstrip("\n").rpartition(" ")[0].split(";")):
                int(line.rpartition(" ")[2]) for line in lines}


def main():
    session = connect("application_name=app;1")
    cursor = session.cursor()
    for number, statement in enumerate(STATEMENTS):
        cursor.execute(f"PREPARE s{number} AS {statement}")
    cursor.execute("DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format("
                   "'PREPARE t%s AS SELECT %s', n, n); END LOOP; END $$")
    pid = session.get_backend_pid()
    expected = query("SELECT context_bytes FROM pg_session_memory "
                     f"WHERE pid = {pid}")[0][0]
    command = readme_block("TopMemoryContext;CacheMemoryContext;Cached")
    ok("doc/report.md: lines as they are", all(
        line.rpartition(" ")[2].isdigit()
        for line in command.splitlines()), command)

    with tempfile.TemporaryDirectory() as directory:
        npm.install(directory, "speedscope@1")
        release = os.path.join(directory, "node_modules", "speedscope",
                               "dist", "release")
        downloads = os.path.join(directory, "downloads")
        os.mkdir(downloads)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=release))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        with Browser() as browser:
            browser.execute_cdp_cmd("Browser.setDownloadBehavior", {
                "behavior": "allow", "downloadPath": downloads})
            for name, call in (
                    ("session", f"pg_session_memory_folded({pid})"),
                    ("idents", f"pg_session_memory_folded({pid}, true)"),
                    ("all", "pg_session_memory_folded(NULL, true)")):
                file = os.path.join(release, f"{name}.folded")
                psql(call, file)
                written = stacks(file)
                read = speedscope(browser, port, f"{name}.folded", downloads)
                ok(f"speedscope, {name}: reads it", read)
                if not read:
                    continue
                found = stacks_of(read)
                equal(f"speedscope, {name}: the sum is that of all lines",
                      sum(found.values()), sum(written.values()))
                ok(f"speedscope, {name}: each stack with its bytes",
                   found == written, set(found.items())
                   ^ set(written.items()))
                if name != "all":
                    equal(f"speedscope, {name}: the sum is context_bytes",
                          sum(found.values()), expected)
                else:
                    equal(f"speedscope, {name}: of the session, too", sum(
                        weight for stack, weight in found.items()
                        if stack[0].endswith(f", pid {pid}")), expected)
            equal("speedscope: nothing is asked of anyone else", {
                address for address in browser.requests()
                if not address.startswith((f"http://127.0.0.1:{port}/",
                                           "blob:", "about:"))}, set())
        server.shutdown()
    session.close()
    finish()


if __name__ == "__main__":
    main()
