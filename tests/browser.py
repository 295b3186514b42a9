"""A real headless Chromium for tests of pages; skips with a reason where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",  # as root, as in a container, it does not start otherwise
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
)


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser whose profile lies in `folder` and whose downloads go to `folder/downloads`."""
    selenium = pytest.importorskip(
        "selenium.webdriver", reason="selenium (of the extra dev) is not installed"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(
            "there is no Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)"
        )
    options = selenium.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def complaints(browser: Any) -> list[str]:
    """What the browser found wrong with the page since it was last asked: script errors, refused loads."""
    return [entry["message"] for entry in browser.get_log("browser")]
