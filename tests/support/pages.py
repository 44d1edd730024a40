"""A real browser that looks at the pages of a running `edge-detect serve`."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conftest import CHECKOUT, command, environment
from tests.support.packages import missing
from tests.support.serving import Serving

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
AXE = CHECKOUT / "tests" / "support" / "axe" / "axe.min.js"
PATIENCE = 60.0
NARROW, WIDE = (360, 740), (1280, 800)
# Rules of WCAG 2.2 to AA, and the good practices that the authors of axe add.
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => done(found.violations.map((one) => ({
    id: one.id, help: one.help, nodes: one.nodes.map((node) => node.html.slice(0, 200) + " :: " + node.failureSummary)
  }))),
  (error) => done([{id: "failed", help: String(error), nodes: []}]),
);
"""

T = TypeVar("T")


def runtime_of(home: Path) -> Path:
    """The folder of the sockets of everything that runs in a home."""
    folder = home / "run"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def serving(home: Path, *options: str | Path) -> Iterator[Serving]:
    """A server that ends with the block; its ledger, thumbnails and sockets lie below the folder."""
    server = Serving(home, *options, **variables(home))
    try:
        yield server.ready()
    finally:
        server.kill()


def variables(home: Path) -> dict[str, str]:
    """The environment of everything that runs in a home."""
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime_of(home)), "TZ": "UTC"}


def until(value: Callable[[], T], what: str, about: Callable[[], object] = lambda: "") -> T:
    """The first value that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := value()):
        assert time.monotonic() < deadline, f"waited in vain: {what}; {about()}"
        time.sleep(0.05)
    return found


def run(home: Path, *arguments: str | Path) -> None:
    """Run `edge-detect ARGUMENTS` to its end in the same home as a server."""
    done = subprocess.run(
        command(*arguments),
        cwd=home,
        env=environment(**variables(home)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr


@contextmanager
def running(home: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """`edge-detect ARGUMENTS` in the same home as a server; it is killed at the end of the block."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=home,
        env=environment(**variables(home)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Browser:
    """Chromium without a window, driven by Selenium.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, *, with_script: bool = True) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",  # for the super-user, as in a container
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--lang=en",
            "--window-size=1280,800",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        preferences: dict[str, object] = {"intl.accept_languages": "en"}
        if not with_script:
            preferences["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", preferences)
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)
        self.size(WIDE)

    def close(self) -> None:
        self.driver.quit()

    def open(self, url: str) -> None:
        self.driver.get(url)

    def size(self, size: tuple[int, int], scale: float = 1.0) -> None:
        """Set the (width, height) of what the page is shown in, in CSS pixels."""
        width, height = size
        settings = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", settings)

    def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme: "light" or "dark"."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def one(self, selector: str) -> Any:
        """The only element of a CSS selector, waited for."""
        (found,) = until(lambda: self.all(selector), f"no element {selector}", lambda: self.driver.page_source[:3000])
        return found

    def all(self, selector: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def texts(self, selector: str) -> list[str]:
        """What the elements of a CSS selector show; read again if the page replaces one of them meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException

        def read() -> list[list[str]]:
            try:
                return [[str(one.text) for one in self.all(selector)]]
            except StaleElementReferenceException:
                return []

        (found,) = until(read, f"{selector} is replaced all the time")
        return found

    def text(self, selector: str) -> str:
        """What the only element of a CSS selector shows; it is waited for."""
        (found,) = until(lambda: self.texts(selector), f"no element {selector}", lambda: self.driver.page_source[:3000])
        return found

    def script(self, text: str, *arguments: object) -> Any:
        return self.driver.execute_script(text, *arguments)

    def violations(self) -> list[dict[str, Any]]:
        """What axe finds wrong with the page."""
        self.driver.execute_script(AXE.read_text("utf-8"))
        found: list[dict[str, Any]] = self.driver.execute_async_script(RUN_AXE)
        return found

    def messages(self) -> list[str]:
        """What the console has shown since the last call, such as violations of the content security policy."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(self.driver.get_screenshot_as_png())


def require_browser() -> None:
    """Skip the running test where there is no browser."""
    if not (shutil.which(CHROMIUM) and shutil.which(DRIVER)):
        missing("chromium chromium-driver")
    pytest.importorskip("selenium", reason="needs: pip install selenium")


@contextmanager
def browsing(*, with_script: bool = True) -> Iterator[Browser]:
    """A browser that ends with the block."""
    require_browser()
    browser = Browser(with_script=with_script)
    try:
        yield browser
    finally:
        browser.close()


def shown(violations: list[dict[str, Any]]) -> str:
    """Violations as text, for the message of a test."""
    return json.dumps(violations, indent=1)
