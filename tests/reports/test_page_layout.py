"""Names from files in every page, in a real browser: no page gets wider than its window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import draw_table, write_table
from labelfill.reports.pages import page, table
from labelfill.schema import ImageSize
from tests.browser import chromium, complaints
from tests.driving import PRIOR, done

LONG = "n" * 10_000
MARKUP = "<script>alert(1)</script><b>&amp;\u202edlob"
PARTS = {LONG: "nose_tip", MARKUP: "left_eye_center", "mouth": "mouth_left_corner"}


def test_a_sentence_at_the_end_of_a_row_stays_one_on_a_narrow_screen(tmp_path: Path) -> None:
    """The table scrolls sideways before its rows grow."""
    cells = [
        "left_eye_inner_corner",
        *("1,234.56 px",) * 6,
        "this source never labels it, so it is unverified",
    ]
    narrow = tmp_path / "page.html"
    narrow.write_text(page("Title", "Summary.", table(cells, [cells], numbers=range(1, 7))), "utf-8")
    with chromium(tmp_path / "browser") as browser:
        size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(narrow.as_uri())
        row, line, wide = browser.execute_script(
            "const row = document.querySelector('tbody tr'), style = getComputedStyle(row);"
            "return [row.offsetHeight, parseFloat(style.fontSize), document.documentElement.scrollWidth]"
        )
        assert row < 4.5 * line
        assert wide <= 400


@pytest.mark.slow
def test_a_name_of_10000_characters_makes_no_page_wide(tmp_path: Path) -> None:
    """Report, inspection and review; a name that is markup is text, and runs nothing."""
    table, run = tmp_path / "t.csv", tmp_path / "run"
    drawn = draw_table(60, 3, keypoints=PARTS, image_size=ImageSize(24, 24), gaps=0.2)
    drawn.labels[0, 0] = np.nan
    write_table(table, drawn)
    pages = {name: tmp_path / f"{name}.html" for name in ("report", "inspect", "review")}
    done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    done("impute", "--run-dir", run)
    done("inspect", table, "--html", pages["inspect"])
    done("report", "--run-dir", run, "--out", pages["report"])
    done("review", "--run-dir", run, "--out", pages["review"])
    with chromium(tmp_path / "browser") as browser:
        for name, page in pages.items():
            browser.get(page.as_uri())
            assert complaints(browser) == []
            wide, high, window = browser.execute_script(
                "const e = document.documentElement;"
                "for (const one of document.querySelectorAll('details')) one.open = true;"
                "return [e.scrollWidth, e.scrollHeight, window.innerWidth]"
            )
            assert wide <= window, name
            assert high < 40_000, name
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
            cut = browser.execute_script(
                "return [...document.querySelectorAll('.scroll')]"
                ".filter(e => getComputedStyle(e).overflowX != 'visible').length"
            )
            assert cut == 0, f"{name}: paper does not scroll"
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
            assert browser.execute_script("return document.querySelectorAll('b').length") == 0
