"""Photographs the pages of a run of the embedded sample, in a headless Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser import chromium

_COLOURS = 255  # of a stored picture: enough for text and grey faces, and a third of the bytes


def main(run: Path, pictures: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        _show(browser, run / "review.html", 1280, 860)
        for key in ("a", "r", Keys.ARROW_UP, Keys.ARROW_UP):
            ActionChains(browser).send_keys(key).perform()
        for key in (Keys.ARROW_LEFT, Keys.ARROW_UP):
            ActionChains(browser).key_down(Keys.SHIFT).send_keys(key, key).key_up(Keys.SHIFT).perform()
        _save(browser, pictures / "review.png")


def _show(browser: Any, page: Path, width: int, height: int, *, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(page.resolve().as_uri())


def _save(browser: Any, path: Path) -> None:
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
