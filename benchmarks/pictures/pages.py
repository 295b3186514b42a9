"""Photographs the pages of a run of the embedded sample, in a headless Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser import chromium

_COLOURS = 120  # of a stored picture, beside as many greys
_SHADE = 12  # levels by which a pixel's red, green and blue differ before it counts as coloured
# Section of the report, name of its picture, whether in dark.
_SECTIONS = (
    ("Do the error radii hold?", "report-radii.png", False),
    ("Label sources and conventions", "report-sources.png", True),
    ("Fills: a random sample", "report-fills.png", False),
)


def main(run: Path, pictures: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        _show(browser, run / "review.html", 1280, 860)
        for key in ("n", "a", "r", Keys.ARROW_DOWN):
            ActionChains(browser).send_keys(key).perform()
        for key in (Keys.ARROW_LEFT, Keys.ARROW_UP):
            ActionChains(browser).key_down(Keys.SHIFT).send_keys(key, key).key_up(Keys.SHIFT).perform()
        _save(browser.get_screenshot_as_png(), pictures / "review.png")
        _show(browser, run / "report.html", 1080, 720)
        _save(browser.get_screenshot_as_png(), pictures / "report.png")
        for title, name, dark in _SECTIONS:
            _show(browser, run / "report.html", 1080, 720, dark=dark)
            for section in browser.find_elements("css selector", "section"):
                if section.find_element("css selector", "h2").text == title:
                    _save(section.screenshot_as_png, pictures / name)


def _show(browser: Any, page: Path, width: int, height: int, *, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(page.resolve().as_uri())


def _save(png: bytes, path: Path) -> None:
    """Keep a picture small: greys evenly, and the colours that it uses most."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    pixels = np.asarray(picture).reshape(-1, 3)
    coloured = pixels[np.ptp(pixels.astype(int), axis=1) > _SHADE]
    greys = [level for grey in range(0, 256, 2) for level in (grey, grey, grey)]
    colours: list[int] = []
    if len(coloured):
        found = Image.fromarray(coloured[None]).quantize(_COLOURS).getpalette() or []
        colours = found[: 3 * _COLOURS]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + colours)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
