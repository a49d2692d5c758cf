"""A real browser for the tests of pages: headless Chromium, driven by Selenium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
_MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
needs_browser = pytest.mark.skipif(
    bool(_MISSING),
    reason=f"a browser needs {', '.join(_MISSING)}: scripts/setup-system.sh devices",
)

# Every visible text with its colour and the first background below it that is not transparent.
_TEXTS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const parent = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !parent.getClientRects().length) continue;
  const colour = getComputedStyle(parent)[parent instanceof SVGElement ? "fill" : "color"];
  let behind = parent;
  while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)")
    behind = behind.parentElement;
  found.push([walker.currentNode.data.trim(), colour, getComputedStyle(behind).backgroundColor]);
}
return found;
"""


class Browser:
    """What the tests do with a page, and what the browser noted meanwhile."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(
        self, page: Path, width: int = 1000, scheme: str = "light", scripts: bool = True
    ) -> None:
        """Open a file as if by a double click, in a window of that width."""
        self._ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", features=media)
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # what came before is not of this page
        self.driver.get(page.as_uri())
        if scripts:
            WebDriverWait(self.driver, 30).until(lambda _: self.all(".chart:not(:empty)"))

    def tap(self, element: WebElement) -> None:
        """Touch the middle of an element with a finger, and lift the finger."""
        spot = self.run(
            "arguments[0].scrollIntoView({block: 'center'});"
            "const box = arguments[0].getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}",
            element,
        )
        self._ask("Emulation.setTouchEmulationEnabled", enabled=True)
        self._ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[spot])
        self._ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self._ask("Emulation.setTouchEmulationEnabled", enabled=False)

    def one(self, selector: str) -> WebElement:
        """Return the first element that matches."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element that matches."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Return what was written to the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def contrasts(self) -> dict[str, float]:
        """Return the contrast of every visible text with what is behind it (WCAG 2)."""
        return {text: _contrast(colour, behind) for text, colour, behind in self.run(_TEXTS)}

    def _ask(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser that keeps its files in a folder; end it with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    # Its sandbox does not work for root, as in most containers; it opens nothing but our page.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path given, Selenium looks for no driver to download.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)``; a colour that lets through is refused."""
    assert colour.startswith("rgb("), colour
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
