"""A headless Chromium, driven by its own chromedriver: a page is opened and asked what it shows."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
MISSING = "skipped: no chromium" if not (CHROMIUM and DRIVER) else ""

# This machine itself: never through a proxy.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One session.

    Args:
        address: of chromedriver.
        width: of the window, pixels.
    """

    def __init__(self, address: str, width: int) -> None:
        self.address = address
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.session = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        url = f"{self.address}/session" + (f"/{self.session}{path}" if path or method == "DELETE" else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            url, data, method=method, headers={"Content-Type": "application/json"}
        )
        with _DIRECT.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def ask(self, script: str) -> Any:
        """What a function body in JavaScript returns on the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def complaints(self) -> list[str]:
        """What the page has written to the console so far."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that were asked for so far."""
        events = self._call("POST", "/se/log", {"type": "performance"})
        messages = (json.loads(event["message"])["message"] for event in events)
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        self._call("DELETE", "")


@contextmanager
def browser(width: int = 1200) -> Iterator[Browser]:
    """A session that ends with the block."""
    assert DRIVER is not None
    driver = subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert driver.stdout is not None
        port = next(
            found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line))
        )
        session = Browser(f"http://127.0.0.1:{port}", width)
        try:
            yield session
        finally:
            session.close()
    finally:
        driver.terminate()
        driver.wait(10)
        if driver.stdout is not None:
            driver.stdout.close()
