"""The page of a review, in a real browser: what a person decides is what the file says."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.corrections import HEADER, read_corrections
from labelfill.data.distrust import named_labels, read_distrust, write_distrust
from labelfill.data.synthetic import write_table
from labelfill.reports.result.filled_rows import described_convention, read_filled_rows
from labelfill.reports.review.review_page import review_page
from labelfill.runs import RunDirectory
from tests.browser import complaints
from tests.drawn_tables import restored
from tests.driving import PRIOR, bare_table, content, done, labelfill, read_provenance
from tests.reviewing import (
    Reviewed,
    downloaded,
    drag,
    filled_points,
    go_to,
    open_page,
    order_of,
    press,
    reload,
    review,
    row_number,
    row_with,
    select,
    shown,
    wait_for,
)
from tests.trained_runs import Trained, draw_small_table

EVIL = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>,'",
    "a & b;\u2028 </script>",
    "\udcffb\udce9",
)


def test_a_person_goes_through_the_rows_and_hands_over_what_was_decided(
    opened: Any, reviewed: Reviewed, small_prior: Trained, tmp_path: Path
) -> None:
    """Step by keys, accept, drag, reject, mark a label as wrong, download: the file says just that, and the
    next filling changes just that."""
    rows, order = reviewed.rows, order_of(reviewed.rows).tolist()
    assert row_number(opened) == order[0]
    press(opened, "ARROW_RIGHT", "ARROW_RIGHT")
    assert row_number(opened) == order[2]
    press(opened, "ARROW_LEFT")
    assert row_number(opened) == order[1]
    press(opened, "p")
    assert row_number(opened) == order[0]

    first = filled_points(rows, order[0])[0]
    select(opened, rows.schema.keypoints[first])
    press(opened, "a")
    press(opened, "n")
    second = filled_points(rows, order[1])[0]
    drag(opened, rows, order[1], second, 2.0, -1.0)
    press(opened, "n")
    third = filled_points(rows, order[2])[0]
    select(opened, rows.schema.keypoints[third])
    press(opened, "r")
    label = int(np.flatnonzero(np.isfinite(rows.labels[order[2]]).all(axis=1))[0])
    select(opened, rows.schema.keypoints[label])
    press(opened, "w")
    assert "1 accepted, 1 moved, 1 rejected, 1 wrong" in shown(opened, "counts")

    path = downloaded(opened, reviewed, "corrections", "corrections.csv")
    raw = path.read_bytes()
    assert raw.startswith(b",".join(name.encode() for name in HEADER) + b"\n")
    assert raw.endswith(b"\n")
    assert b"\r" not in raw
    assert raw.count(b"\n") == 5
    found = read_corrections(path, reviewed.original)
    confirmed = np.argwhere(np.isfinite(found.confirmed).all(axis=2)).tolist()
    assert sorted(confirmed) == sorted([[order[0], first], [order[1], second]])
    np.testing.assert_allclose(found.confirmed[order[0], first], rows.places[order[0], first], atol=5e-5)
    moved = found.confirmed[order[1], second] - rows.places[order[1], second]
    np.testing.assert_allclose(moved, (2.0, -1.0), atol=0.05)
    assert np.argwhere(found.rejected).tolist() == [[order[2], third]]
    assert np.argwhere(found.wrong).tolist() == [[order[2], label]]
    distrusted = read_distrust(downloaded(opened, reviewed, "distrust", "distrust.csv"), reviewed.original)
    assert np.argwhere(distrusted).tolist() == [[order[2], label]]
    assert complaints(opened) == []

    out = tmp_path / "corrected.csv"
    ended = labelfill("impute", "--run-dir", small_prior.run, "--out", out, "--corrections", path)
    assert ended.code == 6, "a rejected point stays blank"
    before, after = bare_table(rows.dataset.table.path), bare_table(out)
    same = np.isclose(before.labels, after.labels, rtol=0, atol=1e-9, equal_nan=True).all(axis=(1, 2))
    assert set(np.flatnonzero(~same).tolist()) <= set(order[:3])
    assert restored(content(small_prior.table), reviewed.original, content(out), after) == content(
        small_prior.table
    )
    np.testing.assert_array_equal(after.labels[order[0], first], before.labels[order[0], first])
    np.testing.assert_array_equal(after.labels[order[1], second], found.confirmed[order[1], second])
    assert np.argwhere(np.isnan(after.labels).any(axis=2)).tolist() == [[order[2], third]]
    told = {(int(line["row"]), line["keypoint"]): line["method"] for line in read_provenance(out)}
    confirmed_points = {(order[0], rows.schema.keypoints[first]), (order[1], rows.schema.keypoints[second])}
    assert {at for at, method in told.items() if method == "confirmed"} == confirmed_points


def test_labels_marked_before_the_filling_are_on_the_page(
    browser: Any, small_prior: Trained, tmp_path: Path
) -> None:
    """Their rows are shown, they look like labels marked here, and distrust.csv names them, too."""
    original = bare_table(small_prior.table)
    row = int(np.flatnonzero(original.labelled.all(axis=1))[-1])
    listed = tmp_path / "listed.csv"
    write_distrust(listed, [(row, original.keypoints[1])])
    filled, page = tmp_path / "filled.csv", tmp_path / "review.html"
    done("impute", "--run-dir", small_prior.run, "--out", filled, "--distrust", listed)
    done("review", "--run-dir", small_prior.run, "--filled", filled, "--out", page)
    with RunDirectory.read_only(small_prior.run) as run:
        reviewed = Reviewed(original, read_filled_rows(run, filled), page, tmp_path / "downloads")
    opened = open_page(browser, reviewed)
    go_to(opened, row)
    assert shown(opened, "why").startswith(
        f"No fill, but a label that was not used: {original.keypoints[1]}."
    )
    select(opened, original.keypoints[1])
    assert "label marked as wrong" in shown(opened, "point")
    select(opened, original.keypoints[0])
    press(opened, "w")
    found = read_distrust(downloaded(opened, reviewed, "distrust", "distrust.csv"), original)
    assert named_labels(found, original) == [(row, name) for name in original.keypoints[:2]]


def test_work_is_not_lost_on_reload(opened: Any, reviewed: Reviewed) -> None:
    """After a reload the same row is open with the same decisions, and the same file is handed over."""
    press(opened, "n", "a", "SHIFT+ARROW_LEFT", "SHIFT+ARROW_DOWN", "n", "r")
    before = downloaded(opened, reviewed, "corrections", "corrections.csv").read_bytes()
    row, counts = row_number(opened), shown(opened, "counts")
    reload(opened, reviewed)
    assert (row_number(opened), shown(opened, "counts")) == (row, counts)
    assert downloaded(opened, reviewed, "corrections", "corrections.csv").read_bytes() == before
    opened.execute_script("localStorage.clear()")
    reload(opened, reviewed)
    assert "0 accepted" in shown(opened, "counts")
    opened.find_element("id", "open").send_keys(str(reviewed.downloads / "corrections.csv"))
    wait_for(lambda: "taken over" in shown(opened, "status"))
    assert shown(opened, "counts") == counts
    assert downloaded(opened, reviewed, "corrections", "corrections.csv").read_bytes() == before


def test_a_file_of_another_table_is_not_taken_over(opened: Any, tmp_path: Path) -> None:
    """A line that does not fit is named, and nothing is changed."""
    wrong = tmp_path / "corrections.csv"
    wrong.write_text("row,keypoint,action,x,y\n0,nose_tip,rejected,,\n0,no such point,rejected,,\n")
    opened.find_element("id", "open").send_keys(str(wrong))
    wait_for(lambda: "Line 3" in shown(opened, "status"))
    assert "Line 3" in shown(opened, "status")
    assert "0 rejected" in shown(opened, "counts")


def test_decisions_are_taken_back_and_all_of_a_row_accepted(opened: Any, reviewed: Reviewed) -> None:
    """u leaves no trace of a decision; Shift+a accepts what is left of a row and goes on."""
    order = order_of(reviewed.rows).tolist()
    press(opened, "r", "u")
    assert downloaded(opened, reviewed, "corrections", "corrections.csv").read_bytes().count(b"\n") == 1
    press(opened, "A")
    assert row_number(opened) == order[1]
    path = downloaded(opened, reviewed, "corrections", "corrections.csv")
    found = read_corrections(path, reviewed.original)
    wanted = np.where(reviewed.rows.new[order[0]], reviewed.rows.places[order[0]], np.nan)
    np.testing.assert_allclose(found.confirmed[order[0]], wanted, atol=5e-5)
    assert np.isfinite(found.confirmed).any(axis=2).sum() == reviewed.rows.filled[order[0]].sum()


def test_labels_stay_where_they_are(opened: Any, reviewed: Reviewed) -> None:
    """Dragging a label does nothing; of a half-labelled point only the filled coordinate moves."""
    rows = reviewed.rows
    row = row_with(rows, lambda row: bool((rows.new[row].sum(axis=1) == 1).any()))
    go_to(opened, row)
    half = int(np.flatnonzero(rows.new[row].sum(axis=1) == 1)[0])
    label = int(np.flatnonzero(np.isfinite(rows.labels[row]).all(axis=1))[0])
    drag(opened, rows, row, label, 3.0, 3.0)
    assert "0 moved" in shown(opened, "counts")
    assert shown(opened, "point").startswith(rows.schema.keypoints[label])
    drag(opened, rows, row, half, 2.0, 2.0)
    lines = downloaded(opened, reviewed, "corrections", "corrections.csv").read_text().splitlines()
    assert len(lines) == 2
    x_and_y = np.array(lines[1].split(",")[3:], float) - rows.places[row, half]
    np.testing.assert_allclose(x_and_y, np.where(rows.new[row, half], 2.0, 0.0), atol=0.05)


def test_every_action_is_there_without_a_mouse_and_without_letters(opened: Any, reviewed: Reviewed) -> None:
    """Tab reaches every control, each has a name, changes are announced, letter keys can be switched off."""
    controls = opened.find_elements("css selector", "button, select, input, [role=listbox], summary")
    assert all(control.accessible_name for control in controls)
    ids = {control.get_attribute("id") for control in controls if control.is_enabled()} - {""}
    reached = set()
    for _ in range(len(controls) + 2):
        press(opened, "TAB")
        reached.add(opened.switch_to.active_element.get_attribute("id"))
    assert ids <= reached
    assert opened.find_element("id", "status").get_attribute("aria-live") == "polite"
    points = opened.find_element("id", "points")
    active = opened.find_element("id", points.get_attribute("aria-activedescendant"))
    assert active.get_attribute("aria-selected") == "true"
    opened.find_element("id", "letters").click()
    opened.execute_script("document.activeElement.blur()")
    row = row_number(opened)
    press(opened, "r", "n")
    assert row_number(opened) == row
    assert "0 rejected" in shown(opened, "counts")
    opened.find_element("id", "reject").click()
    assert "rejected" in shown(opened, "status")
    assert "1 rejected" in shown(opened, "counts")
    press(opened, "ARROW_RIGHT")
    assert row_number(opened) != row


@pytest.mark.parametrize("size", [(1280, 900), (360, 640)])
def test_nothing_is_wider_than_the_window(opened: Any, size: tuple[int, int]) -> None:
    """Wide and narrow: no sideways scrolling, and the picture is on the screen as a whole."""
    window = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    try:
        opened.refresh()
        assert opened.execute_script("return document.documentElement.scrollWidth") <= size[0]
        height = opened.execute_script(
            "return document.getElementById('picture').getBoundingClientRect().height"
        )
        assert 100 < height < size[1]
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    folder = tmp_path_factory.mktemp("hostile")
    trained = Trained(folder / "<b>'t.csv", folder / "run")
    write_table(trained.table, draw_small_table())
    plain, *lines = trained.table.read_text().splitlines()
    names = [f"{name}_{axis}" for name in EVIL for axis in "xy"]
    note = ("<i>note", "</script><script>alert(2)</script>\"'")
    text = "\n".join(f"{line},{quoted(note[1])}" for line in lines)
    header = ",".join(map(quoted, [*names, *plain.split(",")[len(names) :], note[0]]))
    trained.table.write_bytes(f"{header}\n{text}\n".encode("utf-8", "surrogateescape"))
    done("train-keypoint-models", "--data", trained.table, "--run-dir", trained.run, *PRIOR)
    return review(trained, folder, "--rows", 9)


def quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def test_whatever_stands_in_the_table_shows_as_text(browser: Any, hostile: Reviewed) -> None:
    """Scripts, quotes and broken bytes in names, columns and paths run nothing and come back as they were."""
    from selenium.common.exceptions import NoAlertPresentException

    open_page(browser, hostile)
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.accept()
    names = {one.text for one in browser.find_elements("css selector", "#points li span")}
    assert {name for name in names if "\ufffd" not in name} >= {"<script>alert(1)</script>", EVIL[1]}
    assert "</script><script>alert(2)</script>" in shown(browser, "about")
    assert len(browser.find_elements("css selector", "img, script[src], iframe")) == 0
    order = order_of(hostile.rows).tolist()
    for _ in order[:9]:
        press(browser, "A")
    found = read_corrections(downloaded(browser, hostile, "corrections", "corrections.csv"), hostile.original)
    told = np.isfinite(found.confirmed).any(axis=2)
    np.testing.assert_array_equal(told[order[:9]], hostile.rows.filled[order[:9]])
    assert complaints(browser) == []


# -- without a browser ---------------------------------------------------------------------------------


def page_data(html: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(html.split('id="data">', 1)[1].split("</script>", 1)[0])
    return found


def test_the_page_is_bounded_in_rows_and_bytes(reviewed: Reviewed) -> None:
    """At most so many rows and bytes; the worst rows stay."""
    order = order_of(reviewed.rows).tolist()
    few = review_page(reviewed.rows, most_rows=3, most_bytes=10**7)
    assert [row["row"] for row in page_data(few.html)["rows"]] == order[:3]
    assert (few.rows, few.left_out) == (3, len(order) - 3)
    limit = len(few.html.encode()) + 9000
    small = review_page(reviewed.rows, most_rows=1000, most_bytes=limit)
    assert 3 < small.rows < len(order)
    assert len(small.html.encode()) <= limit
    assert [row["row"] for row in page_data(small.html)["rows"]] == order[: small.rows]
    assert review_page(reviewed.rows, most_rows=9, most_bytes=1).rows == 1


def test_worst_first(reviewed: Reviewed) -> None:
    """Flagged rows come as the review list has them, then rows with fills by their largest radius."""
    rows = reviewed.rows
    with open(
        reviewed.rows.dataset.table.path.with_name("filled.review.csv"), newline="", encoding="utf-8"
    ) as file:
        listed = list(dict.fromkeys(int(entry["row"]) for entry in csv.DictReader(file)))
    order = order_of(rows).tolist()
    assert order[: len(listed)] == listed
    others = order[len(listed) :]
    largest = np.nanmax(rows.radius[others], axis=1)
    assert (np.diff(largest) <= 0).all()
    assert {*others, *listed} >= set(np.flatnonzero(rows.filled.any(axis=1)).tolist())
    flags = np.full(rows.flags.shape, "", dtype=object)
    label = tuple(np.argwhere(np.isfinite(rows.labels).all(axis=2))[-1])
    flags[label] = "doubtful-label"
    assert order_of(replace(rows, flags=flags))[0] == label[0], "a label in doubt is looked at first"


def test_the_same_key_however_a_table_is_filled(reviewed: Reviewed) -> None:
    """What the browser keeps belongs to the table: another fill finds it again, another label does not."""
    rows = reviewed.rows
    assert replace(rows, places=rows.places + 1, radius=rows.radius + 1).table_hash() == rows.table_hash()
    labels = rows.labels.copy()
    labels[0, 0] += 1
    assert replace(rows, labels=labels).table_hash() != rows.table_hash()


def test_a_page_that_exists_is_kept(reviewed: Reviewed, small_prior: Trained) -> None:
    """--out replaces nothing without --force; before anything is filled the command says what to do."""
    before = reviewed.page.read_bytes()
    refused = labelfill("review", "--run-dir", small_prior.run, "--out", reviewed.page)
    assert (refused.code, reviewed.page.read_bytes()) == (2, before)
    assert "--force" in refused.sentence


def test_a_fill_of_a_disputed_keypoint_names_its_convention() -> None:
    """Its own and how far off the other source labels it; a keypoint that nobody disputes says nothing."""
    offsets = [{"keypoint": "nose_tip", "source": "2", "reference": "1", "offset": [-0.1, 5.2]}]
    entry = {"keypoint": "nose_tip", "convention": "1"}
    assert described_convention(entry, offsets) == (
        "as source 1 labels it; source 2 labels it 0.1 px left and 5.2 px below"
    )
    assert described_convention(entry | {"convention": "2"}, offsets) == (
        "as source 2 labels it; source 1 labels it 0.1 px right and 5.2 px above"
    )
    for other in ({"keypoint": "mouth"}, {"convention": "3"}, {"convention": ""}):
        assert described_convention(entry | other, offsets) == ""
