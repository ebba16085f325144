"""A Chromium without a window, of which all is known that it asks for."""

import json
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service


class Browser(webdriver.Chrome):
    """Ends with its with statement."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu",
                         "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs",
                               {"browser": "ALL", "performance": "ALL"})
        super().__init__(service=Service("/usr/bin/chromedriver"),
                         options=options)

    def size(self, width, height=1000):
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": False})

    def colours(self, scheme):
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def complaints(self):
        """What its console has said since it was last asked."""
        return [entry["message"] for entry in self.get_log("browser")]

    def requests(self):
        """What it has asked for since it was last asked, data apart."""
        events = [json.loads(entry["message"])["message"]
                  for entry in self.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"
                and not event["params"]["request"]["url"].startswith("data:")]

    def wait(self, script, timeout=120):
        """Waits until a script returns something true, and returns that."""
        end = time.monotonic() + timeout
        value = self.execute_script(script)
        while not value and time.monotonic() < end:
            time.sleep(0.1)
            value = self.execute_script(script)
        return value
