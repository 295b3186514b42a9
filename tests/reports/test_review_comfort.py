"""The page of a review in use: zoom and pan, undo and redo, what stays in sight, and who decided."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.corrections import HEADER, REVIEWER, read_decisions
from tests.browser import complaints
from tests.driving import done
from tests.reviewing import (
    Reviewed,
    downloaded,
    drag,
    filled_points,
    open_page,
    order_of,
    press,
    reload,
    row_number,
    select,
    shown,
    wait_for,
)
from tests.trained_runs import Trained

SIZES = [(1280, 900), (400, 800)]
by_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))


@contextmanager
def window(browser: Any, size: tuple[int, int], *, touch: bool = False) -> Iterator[None]:
    """The page reloaded in a window of another size."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
    try:
        browser.refresh()
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def box(browser: Any) -> list[float]:
    """Left, top, width and height of what the picture shows, in px of the table."""
    text: str = browser.execute_script("return picture.getAttribute('viewBox')")
    return [float(number) for number in text.split()]


def on_screen(browser: Any, x: float, y: float) -> list[float]:
    """Where a place of the table is in the window."""
    script = """const at = new DOMPoint(arguments[0], arguments[1]).matrixTransform(
                  document.getElementById('picture').getScreenCTM());
                return [at.x, at.y]"""
    found: list[float] = browser.execute_script(script, x, y)
    return found


def wheel(browser: Any, at: list[float], delta: int) -> None:
    event = {"type": "mouseWheel", "x": at[0], "y": at[1], "deltaX": 0, "deltaY": delta}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def touch(browser: Any, kind: str, *places: list[float]) -> None:
    """Fingers that are down at places of the window."""
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@by_size
def test_the_wheel_zooms_where_the_pointer_is(opened: Any, reviewed: Reviewed, size: tuple[int, int]) -> None:
    """What is under the pointer stays there; wheeled back, the whole picture is shown again."""
    with window(opened, size):
        whole = box(opened)
        at = (whole[0] + 0.3 * whole[2], whole[1] + 0.6 * whole[3])
        pointer = on_screen(opened, *at)
        wheel(opened, pointer, -500)
        wait_for(lambda: box(opened)[2] < whole[2])
        assert box(opened)[2] < 0.5 * whole[2]
        # A mouse stands on whole px, which the zoom magnifies.
        np.testing.assert_allclose(on_screen(opened, *at), pointer, atol=2)
        wheel(opened, pointer, 500)
        wait_for(lambda: box(opened)[2] == whole[2])
        np.testing.assert_allclose(box(opened), whole)


@by_size
def test_a_drag_beside_the_points_pans(opened: Any, reviewed: Reviewed, size: tuple[int, int]) -> None:
    """The picture follows the mouse, no further than its edge; nothing is decided by it."""
    from selenium.webdriver.common.action_chains import ActionChains

    with window(opened, size):
        press(opened, "h")  # so that no point is under the pointer
        whole, at = box(opened), (12.0, 12.0)
        wheel(opened, on_screen(opened, *at), -500)
        wait_for(lambda: box(opened)[2] < whole[2])
        before = on_screen(opened, *at)
        picture = opened.find_element("id", "picture")
        chain = ActionChains(opened, duration=10).move_to_element(picture).click_and_hold()
        chain.move_by_offset(30, -20).release().perform()
        np.testing.assert_allclose(on_screen(opened, *at), np.add(before, [30, -20]), atol=1)
        chain = ActionChains(opened, duration=10).move_to_element(picture).click_and_hold()
        chain.move_by_offset(150, 150).move_by_offset(-10, -10).release().perform()
        left, top, width, height = box(opened)
        assert left >= whole[0] - 1e-6
        assert top >= whole[1] - 1e-6
        assert left + width <= whole[0] + whole[2] + 1e-6
        assert top + height <= whole[1] + whole[3] + 1e-6
        assert "0 moved" in shown(opened, "counts")
        press(opened, "h")


def test_two_fingers_zoom(opened: Any, reviewed: Reviewed) -> None:
    """Fingers that go apart to twice the distance show half as much; what is between them stays there."""
    with window(opened, (400, 800), touch=True):
        whole = box(opened)
        middle = [whole[0] + 0.5 * whole[2], whole[1] + 0.4 * whole[3]]
        x, y = on_screen(opened, *middle)
        touch(opened, "touchStart", [x - 40, y])
        touch(opened, "touchStart", [x - 40, y], [x + 40, y])
        for far in (50, 60, 70, 80):
            touch(opened, "touchMove", [x - far, y], [x + far, y])
        touch(opened, "touchEnd")
        assert box(opened)[2] == pytest.approx(0.5 * whole[2], rel=0.03)
        np.testing.assert_allclose(on_screen(opened, *middle), [x, y], atol=3)
        assert "0 moved" in shown(opened, "counts")


def test_the_keys_zoom_at_the_chosen_point(opened: Any, reviewed: Reviewed) -> None:
    """z, + and - zoom, 0 shows all; a point that is chosen elsewhere comes into sight."""
    whole = box(opened)
    press(opened, "z")
    assert box(opened)[2] == pytest.approx(whole[2] / 3)
    assert opened.find_element("id", "zoom").get_attribute("aria-pressed") == "true"
    for _ in range(4):
        press(opened, "ARROW_DOWN")
        left, top, width, height = box(opened)
        ring = opened.find_element("css selector", "#picture .ring")
        x, y = (float(ring.get_attribute(name)) for name in ("cx", "cy"))
        assert left <= x <= left + width
        assert top <= y <= top + height
    press(opened, "+")
    assert box(opened)[2] == pytest.approx(whole[2] / 4.5)
    press(opened, "-", "0")
    assert box(opened) == whole


def test_every_step_is_undone_and_redone(opened: Any, reviewed: Reviewed) -> None:
    """Points accepted, moved, rejected and taken back, a whole row accepted, decisions of a file: Ctrl+Z goes
    back step by step to nothing, Ctrl+Shift+Z forth to the same file; a new step ends what can be redone."""
    rows, order = reviewed.rows, order_of(reviewed.rows).tolist()
    states = []

    def state() -> bytes:
        return downloaded(opened, reviewed, "corrections", "corrections.csv").read_bytes()

    first = filled_points(rows, order[0])[0]
    select(opened, rows.schema.keypoints[first])
    for keys in (["r"], ["SHIFT+ARROW_LEFT"], ["u"], ["A"]):
        states.append(state())
        press(opened, *keys)
    assert row_number(opened) == order[1]
    states.append(state())
    drag(opened, rows, order[1], filled_points(rows, order[1])[0], 2.0, 1.0)
    states.append(state())
    assert len(set(states)) == len(states) - 1, "taken back is as if never decided"
    opened.find_element("id", "open").send_keys(str(_with_another_decision(reviewed, states[-1])))
    wait_for(lambda: "taken over" in shown(opened, "status"))
    last = state()
    assert last != states[-1]
    for before in reversed(states):
        press(opened, "CONTROL+z")
        assert state() == before
    assert row_number(opened) == order[0], "the row is shown whose step was undone"
    assert not opened.find_element("id", "undo").is_enabled()
    for after in [*states[1:], last]:
        press(opened, "CONTROL+SHIFT+z")
        assert state() == after
    assert not opened.find_element("id", "redo").is_enabled()
    opened.find_element("id", "undo").click()
    press(opened, "p", "n", "r")
    assert not opened.find_element("id", "redo").is_enabled()
    assert complaints(opened) == []


def _with_another_decision(reviewed: Reviewed, corrections: bytes) -> Path:
    """The file with one more decision."""
    rows, row = reviewed.rows, order_of(reviewed.rows)[2]
    path = reviewed.downloads / "more.csv"
    line = f"{row},{rows.schema.keypoints[filled_points(rows, row)[0]]},rejected,,\n"
    path.write_bytes(corrections + line.encode())
    return path


@by_size
def test_progress_and_the_main_buttons_stay_in_sight(
    opened: Any, reviewed: Reviewed, size: tuple[int, int]
) -> None:
    """Wherever the page is scrolled to; and the first view holds most of the picture."""
    seen = """const at = document.getElementById(arguments[0]).getBoundingClientRect();
              return at.left >= 0 && at.top >= 0 && at.right <= innerWidth && at.bottom <= innerHeight"""
    with window(opened, size):
        assert opened.execute_script("return document.documentElement.scrollWidth") <= size[0]
        for share in (0, 0.5, 1):
            opened.execute_script("scrollTo(0, arguments[0] * document.body.scrollHeight)", share)
            for name in ("finished", "progress", "accept", "acceptAll", "reject", "next"):
                assert opened.execute_script(seen, name), (name, share)
        opened.execute_script("scrollTo(0, 0)")
        hidden = """const dock = document.getElementById('dock').getBoundingClientRect().top;
                    const picture = document.getElementById('picture').getBoundingClientRect();
                    return (picture.bottom - dock) / picture.height"""
        assert opened.execute_script(hidden) < 0.1
    text = shown(opened, "progress")
    press(opened, "a")
    assert text.startswith("0 of ")
    assert shown(opened, "progress") == text.replace("0", "1", 1)


def test_the_next_picture_is_decoded_before_it_is_shown(opened: Any, reviewed: Reviewed) -> None:
    """The element that the next row will show is there already, its picture loaded and decoded."""
    script = """const [row, done] = arguments;
                const next = pictures.get(rows.find((one) => one.row === row));
                if (!next) return done('missing');
                next.decode().then(() => { window.ahead = next; done('decoded'); }, (e) => done(e.message))"""
    opened.set_script_timeout(20)
    following = order_of(reviewed.rows).tolist()[1]
    assert opened.execute_async_script(script, following) == "decoded"
    press(opened, "n")
    assert opened.execute_script("return document.querySelector('#picture image') === window.ahead")


def test_who_decided_stands_in_the_file(
    browser: Any, reviewed: Reviewed, small_prior: Trained, tmp_path: Path
) -> None:
    """A page for a reviewer names her in every line; decisions of others keep theirs, also after a reload."""
    page, filled = tmp_path / "anna.html", reviewed.rows.dataset.table.path
    done("review", "--run-dir", small_prior.run, "--filled", filled, "--out", page, "--reviewer", 'Anna, "A"')
    of_anna = Reviewed(reviewed.original, reviewed.rows, page, reviewed.downloads)
    open_page(browser, of_anna)
    press(browser, "a", "r")
    other = tmp_path / "other.csv"
    row = int(order_of(reviewed.rows)[3])
    name = reviewed.rows.schema.keypoints[filled_points(reviewed.rows, row)[0]]
    other.write_text(f"{','.join([*HEADER, REVIEWER])}\n{row},{name},rejected,,,Bärbel\n", encoding="utf-8")
    browser.find_element("id", "open").send_keys(str(other))
    wait_for(lambda: "taken over" in shown(browser, "status"))
    reload(browser, of_anna)
    found = read_decisions(downloaded(browser, of_anna, "corrections", "corrections.csv"))
    assert found[row, name].reviewer == "Bärbel"
    assert [one.reviewer for one in found.values()].count('Anna, "A"') == 2
    assert len(found) == 3
    open_page(browser, reviewed)
    assert "0 accepted" in shown(browser, "counts"), "another reviewer's decisions are not shown as one's own"


# -- colours -------------------------------------------------------------------------------------------

# What protanopes, deuteranopes and tritanopes see of linear RGB (Machado et al. 2009).
SEEN = {
    "all": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("missing", SEEN)
def test_colour_blind_people_tell_the_marks_apart(missing: str) -> None:
    """The colours of any two states differ by far more than can just be seen (CIEDE2000 of about 2)."""
    color = pytest.importorskip("skimage.color")
    css = resources.files("labelfill.reports.review").joinpath("review.css").read_text("utf-8")
    colours = dict(re.findall(r"\.marker\.(\w+) \{ color: (#[0-9a-f]{6}); \}", css))
    assert set(colours) == {"label", "fill", "accepted", "moved", "rejected", "wrong"}
    rgb = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in colours.values()]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN[missing]), 0, 1)
    lab = color.rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055))
    for a, b in itertools.combinations(range(len(lab)), 2):
        assert color.deltaE_ciede2000(lab[a], lab[b]) > 10, (list(colours)[a], list(colours)[b])


def test_marks_differ_in_shape_too(opened: Any) -> None:
    """Without colours, every state still has a mark of its own."""
    drawn = opened.execute_script(
        "return [...document.querySelectorAll('#legend .marker')].map((mark) => mark.innerHTML)"
    )
    assert len(drawn) == len(set(drawn)) == 6
