"""The page of a review as a person drives it, in a real browser; shared by tests of the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.data.table import KeypointTable
from labelfill.reports.result.filled_rows import FilledRows, doubt_of_points, read_filled_rows, worst_rows
from labelfill.runs import RunDirectory
from tests.browser import complaints
from tests.driving import bare_table, done
from tests.trained_runs import Trained


@dataclass(frozen=True)
class Reviewed:
    """A filled table, the one before it was filled, and its page."""

    original: KeypointTable
    rows: FilledRows
    page: Path
    downloads: Path


def review(trained: Trained, folder: Path, *options: object) -> Reviewed:
    filled, page = folder / "filled.csv", folder / "review.html"
    done("impute", "--run-dir", trained.run, "--out", filled)
    done("review", "--run-dir", trained.run, "--filled", filled, "--out", page, *options)
    with RunDirectory.read_only(trained.run) as run:
        rows = read_filled_rows(run, filled)
    return Reviewed(bare_table(trained.table), rows, page, folder / "downloads")


def open_page(browser: Any, reviewed: Reviewed) -> Any:
    """The page as for the first time, its downloads going beside it."""
    to = {"behavior": "allow", "downloadPath": str(reviewed.downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", to)
    browser.get(reviewed.page.as_uri())
    browser.execute_script("localStorage.clear()")
    reload(browser, reviewed)
    assert complaints(browser) == []
    return browser


def reload(browser: Any, reviewed: Reviewed) -> None:
    """The page as it is after a reload, with nothing folded up."""
    browser.get(reviewed.page.as_uri())
    browser.execute_script("document.getElementById('files').open = true")


def press(browser: Any, *keys: str) -> None:
    """Press keys one after the other; names as in selenium's Keys, with CONTROL+ and SHIFT+ before them."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        *held, name = [key] if len(key) == 1 else key.split("+")
        chain = ActionChains(browser, duration=0)
        for modifier in held:
            chain = chain.key_down(getattr(Keys, modifier))
        chain = chain.send_keys(getattr(Keys, name, name))
        for modifier in held:
            chain = chain.key_up(getattr(Keys, modifier))
        chain.perform()


def shown(browser: Any, name: str) -> str:
    found: str = browser.find_element("id", name).text
    return found


def row_number(browser: Any) -> int:
    return int(shown(browser, "where").split("row ")[1].split(" ")[0])


def select(browser: Any, name: str) -> None:
    """Choose a point in the list, as with the mouse."""
    options = browser.find_elements("css selector", "#points [role=option]")
    next(one for one in options if one.find_element("css selector", "span").text == name).click()


def drag(browser: Any, rows: FilledRows, row: int, k: int, dx: float, dy: float) -> None:
    """Drag a point by so many px of the table with the mouse."""
    from selenium.webdriver.common.action_chains import ActionChains

    picture = browser.find_element("id", "picture")
    script = """const [m, b] = [arguments[0].getScreenCTM(), arguments[0].getBoundingClientRect()];
                return [m.a, m.e - b.left - b.width / 2, m.f - b.top - b.height / 2]"""
    scale, *origin = browser.execute_script(script, picture)
    at = np.rint(rows.places[row, k] * scale + origin).astype(int).tolist()  # from the picture's middle
    chain = ActionChains(browser, duration=10).move_to_element_with_offset(picture, *at)
    chain.click_and_hold().move_by_offset(round(dx * scale), round(dy * scale)).release().perform()


def downloaded(browser: Any, reviewed: Reviewed, button: str, name: str) -> Path:
    """The file that a button downloads."""
    target = reviewed.downloads / name
    target.unlink(missing_ok=True)
    time.sleep(0.12)  # what follows ten downloads within a second is dropped by Chromium
    browser.find_element("id", button).click()
    wait_for(lambda: target.is_file() and target.stat().st_size > 0)  # it is there before it is written
    return target


def wait_for(happened: Callable[[], bool]) -> None:
    """What the browser does in its own time: files that are read or written."""
    until = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until, "it has not happened within 20 s"
        time.sleep(0.05)


def order_of(rows: FilledRows) -> np.ndarray:
    return worst_rows(doubt_of_points(rows))


def filled_points(rows: FilledRows, row: int) -> list[int]:
    """Points of the row that are filled in both coordinates."""
    return np.flatnonzero(rows.new[row].all(axis=1)).tolist()


def row_with(rows: FilledRows, wanted: Callable[[int], bool]) -> int:
    return next(row for row in order_of(rows).tolist() if wanted(row))


def go_to(browser: Any, row: int) -> None:
    while row_number(browser) != row:
        press(browser, "n")
