"""Looks at the pages that cases.py has made, in Chromium.

PAGES is the directory of the pages, NPM where npm puts axe-core and vnu-jar.
Prints a line for each assertion; leaves some pictures beside the pages.
"""

import base64
import json
import os
import re
import struct
import subprocess
import sys

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
import npm  # noqa: E402
from assertions import equal, finish, ok  # noqa: E402
from browser import Browser  # noqa: E402

PAGES = os.environ["PAGES"]
MODULES = os.path.join(os.environ["NPM"], "node_modules")
CASES = "pool", "night", "healthy"
SPOILT = "aligned", "rows", "expanded", "csv", "framed"
SECTIONS = ["1. Is the server in danger?", "2. Who holds it?",
            "3. What is it?", "4. Which statements took it?", "5. Pools",
            "6. Events", "7. What to do", "8. How it was measured"]


class PageBrowser(Browser):
    """Looks at the pages, in which nothing is cached or fetched."""

    def __init__(self):
        super().__init__()
        # A page of a thousand elements, and a machine that does much else
        self.set_script_timeout(600)
        self.size(1280)

    def look(self, medium="", colours="light"):
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "media": medium, "features": [
                {"name": "prefers-color-scheme", "value": colours}]})

    def scripts(self, permitted):
        self.execute_cdp_cmd("Emulation.setScriptExecutionDisabled",
                             {"value": not permitted})

    def open(self, page):
        self.get("file://" + os.path.join(PAGES, page + ".html"))

    def all(self, selector):
        return self.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.find_element(By.CSS_SELECTOR, selector)

    def cells(self, table):
        """The rows of a table: what each cell sorts by, by its heading."""
        return self.execute_script("""
            return Array.from(document.querySelectorAll(arguments[0] +
                " > tbody > tr")).map(row => Object.fromEntries(
                    Array.from(row.cells).map(cell => [
                        cell.dataset.l || "", cell.dataset.v === undefined
                            ? cell.textContent : cell.dataset.v])));
            """, table)

    def overflow(self):
        """How many pixels the page is wider than the window."""
        return self.execute_script("""
            return document.documentElement.scrollWidth -
                document.documentElement.clientWidth;""")

    def picture(self, name, top=None, bottom=None):
        """Of the page, or from one element to the end of another."""
        clip = self.execute_script("""
            const page = document.documentElement;
            const edge = (selector, side, otherwise) => selector ?
                document.querySelector(selector).getBoundingClientRect()[side]
                    + scrollY : otherwise;
            const top = Math.max(edge(arguments[0], "top", 12) - 12, 0);
            return {x: 0, y: top, width: page.clientWidth, scale: 1, height:
                edge(arguments[1], "bottom", page.scrollHeight) - top};
            """, top, bottom)
        data = self.execute_cdp_cmd("Page.captureScreenshot", {
            "captureBeyondViewport": True, "clip": clip})["data"]
        with open(os.path.join(PAGES, name + ".png"), "wb") as file:
            file.write(base64.b64decode(data))


def numbers(browser, case):
    """What SQL said both before and after the page was made is on it."""
    with open(os.path.join(PAGES, case + ".json"), encoding="utf-8") as file:
        said = json.load(file)

    def steady(name):
        return [row for row in said["before"][name]
                if row in said["after"][name]]

    shown = {row["Process"]: row for row in browser.cells("#sessions")}
    listed = [row for row in steady("sessions") if str(row[0]) in shown]
    ok(f"{case}: sessions that stay as they are are listed",
       len(listed) >= 5, listed)
    equal(f"{case}: with the memory that SQL says", listed,
          [[pid, int(shown[str(pid)]["Memory"]),
            int(shown[str(pid)]["Contexts"])] for pid, _, _ in listed])
    parts = browser.execute_script("""
        return Array.from(document.querySelectorAll("#sessions .bar")).map(
            bar => Array.from(bar.children).reduce(
                (sum, part) => sum + parseFloat(part.style.width), 0));""")
    ok(f"{case}: no bar is wider than its cell, and one fills it",
       max(parts) <= 100.5 and max(parts) > 97, parts)

    pools = {(row["Application"], row["Sessions"], row["Idle"])
             for row in browser.cells("#pools")}
    for application, sessions, idle in steady("pools"):
        ok(f"{case}: pool {application}",
           (application, str(sessions), str(idle)) in pools, pools)
    equal(f"{case}: the environment",
          [[row["Fact"], row["Verdict"]]
           for row in browser.cells("#environment")],
          said["after"]["environment"])
    if said["before"]["events"] == said["after"]["events"]:
        equal(f"{case}: events", len(browser.cells("#events")),
              min(said["before"]["events"][0][0], 40))
    took = {row["Calls"] + " " + row["Peak"]
            for row in browser.cells("#statements")}
    statements = steady("statements")
    if len(statements) <= 20:
        equal(f"{case}: statements", [],
              [row for row in statements if "{} {}".format(
                  row[1], "" if row[2] is None else row[2]) not in took])


def icicle(browser, case):
    """Zooming by mouse and by keyboard."""
    ice = browser.one(".ice")
    blocks = ice.find_elements(By.CSS_SELECTOR, ".c")
    widths = [block.rect["width"] for block in blocks]
    ok(f"{case}: the icicle has blocks", len(blocks) > 10, len(blocks))
    equal(f"{case}: the first is as wide as the whole",
          round(widths[0]), round(ice.rect["width"]))
    equal(f"{case}: none ends outside", [],
          [block.text for block in blocks if block.rect["x"]
           + block.rect["width"] > ice.rect["x"] + ice.rect["width"] + 1])
    out = browser.one(".zoom button")
    ok(f"{case}: nothing to zoom out of at first", not out.is_enabled())

    block = next(b for b in blocks if "CacheMemoryContext" in b.text)
    narrow = block.rect["width"]
    block.click()
    equal(f"{case}: a click makes a block as wide as the whole",
          round(block.rect["width"]), round(ice.rect["width"]))
    ok(f"{case}: and says what it is", "CacheMemoryContext" in browser.one(
        ".zoom [role=status]").text)
    ok(f"{case}: what is beside it is gone",
       any(not other.is_displayed() for other in blocks))
    out.click()
    out.click()
    equal(f"{case}: the button goes back", round(block.rect["width"]),
          round(narrow))
    ok(f"{case}: as far as it goes", not out.is_enabled())

    block.click()
    block.click()
    ok(f"{case}: a second click on a block goes up by one",
       round(block.rect["width"]) < round(ice.rect["width"]))
    while out.is_enabled():
        out.click()

    # Tab from the button goes to the one block that takes the focus.
    browser.execute_script("arguments[0].focus()", blocks[0])

    def press(*keys):
        for key in keys:
            ActionChains(browser).send_keys(key).perform()
        return browser.switch_to.active_element

    focused = press(Keys.ARROW_DOWN)
    ok(f"{case}: the arrow down goes to what is below",
       focused.text.startswith("TopMemoryContext"), focused.text)
    focused = press(Keys.ARROW_DOWN)
    ok(f"{case}: and further", focused.rect["y"] > blocks[1].rect["y"],
       focused.text)
    below = focused
    press(Keys.ENTER)
    equal(f"{case}: Enter zooms in", round(below.rect["width"]),
          round(ice.rect["width"]))
    focused = press(Keys.ESCAPE)
    ok(f"{case}: Escape zooms out",
       focused.text.startswith("TopMemoryContext"), focused.text)
    press(Keys.ESCAPE)
    equal(f"{case}: to the beginning", [round(b.rect["width"])
                                        for b in blocks],
          [round(width) for width in widths])
    focused = press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    ok(f"{case}: the arrow right goes to the next",
       "outside contexts" in focused.text, focused.text)
    equal(f"{case}: one block only is in the order of the Tab key", 1,
          len(ice.find_elements(By.CSS_SELECTOR, "[tabindex='0']")))


def sorting(browser, case):
    def column(name):
        return [row[name] for row in browser.cells("#sessions")]

    def known(values):
        return [int(value) for value in values if value != ""]

    def press(name):
        next(b for b in browser.all("#sessions th [role]")
             if b.text == name).click()

    rows = sorted(column("Process"))
    press("Contexts")
    ok(f"{case}: a click on a heading sorts, the largest first",
       known(column("Contexts")) == sorted(known(column("Contexts")),
                                           reverse=True), column("Contexts"))
    equal(f"{case}: and says so", "descending", browser.one(
        "#sessions th[aria-sort]").get_attribute("aria-sort"))
    press("Contexts")
    ok(f"{case}: a second one the smallest first",
       known(column("Contexts")) == sorted(known(column("Contexts"))))
    press("Growth")
    values = column("Growth")
    ok(f"{case}: what is not known comes last",
       "" not in values[:len(known(values))], values)
    heading = browser.all("#sessions th [role]")[2]
    browser.execute_script("arguments[0].focus()", heading)
    ActionChains(browser).send_keys(Keys.SPACE).perform()
    names = column("Application")
    ok(f"{case}: by keyboard, and by name", browser.execute_script(
        "return arguments[0].every((x, i, all) => i == 0 ||"
        " all[i - 1].localeCompare(x) <= 0)", names), names)
    equal(f"{case}: no row is lost", rows, sorted(column("Process")))


def background(browser):
    return browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor")


def colours(browser, case):
    white, dark = "rgb(255, 255, 255)", "rgb(21, 25, 29)"
    equal(f"{case}: light", white, background(browser))
    browser.look(colours="dark")
    equal(f"{case}: dark where the system is", dark, background(browser))
    browser.one("#theme").click()
    equal(f"{case}: the switch makes it light", white, background(browser))
    browser.one("#theme").click()
    equal(f"{case}: and dark", dark, background(browser))
    browser.look(medium="print", colours="dark")
    equal(f"{case}: light on paper", white, background(browser))
    browser.look()
    browser.one("#theme").click()
    # The same colour for a category, wherever it is.
    found = browser.execute_script("""
        return Array.from({length: 10}, (_, n) => new Set(Array.from(
            document.querySelectorAll(`.k${n + 1}`)).map(element =>
                getComputedStyle(element).getPropertyValue("--k"))).size);""")
    equal(f"{case}: a category has one colour", {1}, set(found))


def accessible(browser, name):
    with open(os.path.join(MODULES, "axe-core", "axe.min.js"),
              encoding="utf-8") as file:
        browser.execute_script(file.read())
    result = browser.execute_async_script("""
        const done = arguments[arguments.length - 1];
        document.querySelectorAll("details").forEach(d => { d.open = true; });
        axe.run(document).then(done, error => done({error: String(error)}));
        """)
    ok(f"{name}: axe-core has looked", len(result.get("passes", [])) > 15,
       result.get("error"))
    equal(f"{name}: axe-core finds nothing", [],
          [[violation["id"], violation["nodes"][0]["html"][:200],
            violation["nodes"][0].get("failureSummary")]
           for violation in result.get("violations", [])])


def printed(browser, case):
    data = browser.execute_cdp_cmd("Page.printToPDF",
                                   {"preferCSSPageSize": True})["data"]
    path = os.path.join(PAGES, case + ".pdf")
    with open(path, "wb") as file:
        file.write(base64.b64decode(data))
    information = subprocess.run(["pdfinfo", path], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout
    ok(f"{case}: printed on A4", "A4" in information, information)
    text = subprocess.run(["pdftotext", "-layout", path, "-"], check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    equal(f"{case}: all sections are printed", SECTIONS,
          [section for section in SECTIONS if section in text])
    pids = [element.get_attribute("id")[1:]
            for element in browser.all(".session")]
    equal(f"{case}: with what is folded up on the screen", [],
          [pid for pid in pids
           if not re.search(rf"process {pid}\b", text)])
    ok(f"{case}: and without what only works on a screen",
       "Zoom out" not in text)


def look_at(browser, case):
    browser.look()
    browser.size(1280)
    browser.complaints(), browser.requests()
    browser.open(case)
    equal(f"{case}: all sections, in their order", SECTIONS,
          [h.text for h in browser.all("h2")])
    ok(f"{case}: it is not said to be spoilt or cut off",
       not browser.one(".spoilt").is_displayed()
       and not browser.one(".cut").is_displayed())
    numbers(browser, case)
    icicle(browser, case)
    sorting(browser, case)
    colours(browser, case)
    printed(browser, case)
    for width in 320, 375, 768, 1280, 1600:
        browser.size(width)
        equal(f"{case}: {width} pixels are enough", 0, browser.overflow())
    equal(f"{case}: no message in the console", [], browser.complaints())
    equal(f"{case}: nothing was asked for but the page",
          ["file://" + os.path.join(PAGES, case + ".html")],
          browser.requests())
    for name, width, dark in (("light", 1280, "light"), ("dark", 1280, "dark"),
                              ("narrow", 375, "light")):
        browser.size(width)
        browser.look(colours=dark)
        browser.open(case)
        accessible(browser, f"{case}, {name}")

    browser.look()
    browser.size(1280)
    browser.scripts(False)
    browser.open(case)
    ok(f"{case}: without scripts there is the icicle",
       len(browser.all(".ice")[0].find_elements(By.CSS_SELECTOR, ".c")) > 10
       and browser.one(".ice").rect["height"] > 60)
    equal(f"{case}: and nothing to press that would not work", 0,
          len(browser.all("button, [role=button]")))
    browser.scripts(True)


def pictures(browser):
    """Those of doc/pictures: of each case the part that tells it."""
    browser.look()
    browser.size(1100)
    for name, case, top, bottom in (
            ("pool", "pool", "#who", "#sessions tbody tr:nth-child(14)"),
            ("icicle", "pool", "#what", "#what ~ .session"),
            ("night", "night", None, "#moments"),
            ("healthy", "healthy", None, "figure + figure")):
        browser.open(case)
        browser.picture(name, top, bottom)
        with open(os.path.join(PAGES, name + ".png"), "rb") as file:
            png = file.read()
        width, height = struct.unpack(">II", png[16:24])
        # Text and bars on a plain ground take a seventh of a byte a pixel, an
        # empty page next to nothing, what is no page up to 3 bytes.
        ok(f"picture {name}: is of something, and small",
           width * height / 50 < len(png) < width * height / 4,
           f"{len(png)} bytes, {width} x {height}")


def valid(pages):
    result = subprocess.run(
        ["java", "-jar", os.path.join(MODULES, "vnu-jar", "build", "dist",
                                      "vnu.jar"),
         "--stdout", "--exit-zero-always", "--format", "json",
         *[os.path.join(PAGES, page + ".html") for page in pages]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ok("the validator has looked", result.stdout.startswith("{"),
       result.stderr)
    said = json.loads(result.stdout)["messages"]
    equal("the validator finds nothing", [],
          [f"{os.path.basename(m.get('url', ''))}: {m['message']}"
           for m in said])


def spoilt(browser):
    browser.look()
    browser.size(1280)
    for permitted in True, False:
        with_scripts = "with" if permitted else "without"
        browser.scripts(permitted)
        for name in SPOILT:
            browser.open("spoilt-" + name)
            shown = [e for e in browser.all("p") if e.is_displayed()
                     and e.text.startswith("This page was spoilt")]
            equal(f"psql {name}, {with_scripts} scripts: the page says so", 1,
                  len(shown))
        browser.open("cut")
        ok(f"cut off, {with_scripts} scripts: the page says so",
           browser.one(".cut").is_displayed())
    browser.scripts(True)


def main():
    npm.install(os.environ["NPM"], "axe-core@4", "vnu-jar")
    browser = PageBrowser()
    try:
        for case in CASES:
            look_at(browser, case)
        spoilt(browser)
        pictures(browser)
    finally:
        browser.quit()
    valid(CASES)
    finish()


if __name__ == "__main__":
    main()
