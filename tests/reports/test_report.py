"""The report of a run: what it says is what was computed, whatever the table is like."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.run_tables import read_run_table
from labelfill.data.synthetic import draw_table, write_table
from labelfill.networks.devices import choose_device
from labelfill.reports.result.accuracy_sections import accuracy_section, calibration_section, ranking_section
from labelfill.reports.result.held_out import (
    COVERAGES,
    OURS,
    PRIOR,
    HeldOut,
    binomial_interval,
    covered,
    fill_held_out,
    found_by_radius,
    load_run_models,
)
from labelfill.runs import TRAINING, RunDirectory, load_split
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import TableSettings
from tests.browser import chromium, complaints
from tests.driving import PRIOR as BY_PRIOR
from tests.driving import done, labelfill
from tests.reports.test_report_pages import EVIL, read
from tests.trained_runs import Trained, draw_small_table, draw_two_sources

SECTIONS = (
    "Before and after",
    "How far fills are off, beside simple ways of filling",
    "Do the error radii hold?",
    "Do large radii find large errors?",
    "Label sources",
    "Fills: a random sample",
    "Fills: the most doubtful rows",
    "Every keypoint's fills",
)


def headings(page: str) -> list[str]:
    return [html.unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]


def hold_out(trained: Trained) -> HeldOut:
    with RunDirectory.read_only(trained.run) as run:
        dataset = read_run_table(run, trained.table, TableSettings(), to_fill=True, show_progress=False)
        held = fill_held_out(load_run_models(run, dataset, choose_device("cpu")))
    assert held is not None
    return held


@pytest.fixture(scope="module")
def held(two_sources: Trained) -> HeldOut:
    return hold_out(two_sources)


@pytest.fixture(scope="module")
def reported(two_sources_final: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of all three stages."""
    page = tmp_path_factory.mktemp("reported") / "report.html"
    done("report", "--run-dir", two_sources_final.run, "--out", page)
    return page


def test_a_whole_run_has_a_section_for_everything(reported: Path) -> None:
    """Counts, held-out errors, radii, both conventions, fills, networks; nothing is loaded or run."""
    page = reported.read_text("utf-8")
    reader = read(page)
    titles = headings(page)
    for title in SECTIONS[:4]:
        assert title in titles
    for title in (*SECTIONS[5:], "The final network's worst cases", "How the networks learnt"):
        assert title in titles
    assert "Label sources and conventions" in titles
    assert "nose_tip, in both conventions" in page
    assert "script" not in reader.tags
    assert not re.search(r'(href|src)="(?!data:image/png;base64,|#)', page)
    assert "--series-1" in page
    assert len(page) < 2_000_000


def test_the_sentence_says_what_was_done(two_sources_final: Trained, held: HeldOut, reported: Path) -> None:
    """Counts are those of impute, errors those of the held-out rows."""
    page = reported.read_text("utf-8")
    manifest = json.loads((two_sources_final.run / "manifest.json").read_text())
    filled = next(stage for name, stage in manifest["stages"].items() if name.startswith("impute"))["results"]
    for count in (filled["observed"], filled["filled"]):
        assert f"{count:,} were" in page
    assert f"err by {held.rmse(OURS):.2f} px" in page
    assert f"{manifest['stages']['train-final']['results']['evaluation rmse']:.2f} px" in page


def test_points_are_held_out_and_every_way_fills_the_same(two_sources: Trained, held: HeldOut) -> None:
    """No training row is scored; ours and the simple ways answer for each point; radii grow with coverage."""
    rows = draw_two_sources().rows
    parts = load_split(two_sources.run / "split.csv", rows)
    assert (parts[held.row] != TRAINING).all()
    assert {OURS, PRIOR, "mean", "forward-fill", "knn", "iterative"} == set(held.answers)
    assert all(np.isfinite(answer).all() for answer in held.answers.values())
    assert (np.diff(held.radius, axis=1) >= 0).all()
    truth = draw_two_sources().labels[held.row, held.keypoint]
    np.testing.assert_allclose(held.truth, truth, atol=1e-3)
    assert held.rmse(OURS) < held.rmse("mean") < held.rmse("forward-fill")


def test_simple_ways_do_not_see_what_is_hidden(two_sources: Trained, held: HeldOut) -> None:
    """Another label in the place of a hidden one changes the error of a simple way, never its answer."""
    point = int(np.flatnonzero(held.keypoint == held.keypoint.max())[0])
    row, k = int(held.row[point]), int(held.keypoint[point])
    with RunDirectory.read_only(two_sources.run) as opened:
        dataset = read_run_table(
            opened, two_sources.table, TableSettings(), to_fill=True, show_progress=False
        )
        dataset.table.labels[row, k] += 5.0
        after = fill_held_out(load_run_models(opened, dataset, choose_device("cpu")))
    assert after is not None
    same = (after.row == row) & (after.keypoint == k)
    for way in ("mean", "knn", "iterative"):
        np.testing.assert_allclose(after.answers[way][same], held.answers[way][same], atol=1e-6)
    np.testing.assert_allclose(after.truth[same], held.truth[same] + 5.0, atol=1e-6)


def made_up(errors: np.ndarray, radius: np.ndarray) -> HeldOut:
    """Points that are off by so many px in x, with 90% radii; other coverages in proportion."""
    count = len(errors)
    answer = np.stack([errors, np.zeros(count)], axis=1)
    share = np.array(COVERAGES) / 0.9
    return HeldOut(
        np.arange(count), np.zeros(count, int), np.zeros((count, 2)),
        {OURS: answer, "mean": 2 * answer}, radius / 2, radius[:, None] * share, 3.0,
    )  # fmt: skip


def test_coverage_and_ranking_are_counted_right() -> None:
    """Nine of ten points within their radius are 90%; the widest tenth holds both large errors of ten."""
    held = made_up(np.array([1.0] * 8 + [4.0, 9.0]), np.array([2.0] * 8 + [5.0, 8.0]))
    assert covered(held)[COVERAGES.index(0.9)] == 0.9
    looked, found = found_by_radius(held)
    np.testing.assert_allclose(np.interp([0.1, 0.2, 1.0], looked, found), [0.5, 1.0, 1.0])
    low, high = binomial_interval(np.array([0.9]), 100)
    np.testing.assert_allclose((low[0], high[0]), (0.8256, 0.9448), atol=1e-3)
    schema = KeypointSchema(("only",), ImageSize(96, 96))
    text = str(accuracy_section(held, schema))
    assert f"{held.rmse(OURS):.2f}" in text
    assert "90.0% lie within" in calibration_section(held)
    assert "holds 50% of them" in ranking_section(held)
    none = made_up(np.ones(4), np.ones(4))
    assert "No held-out fill is off by more than 3.0 px" in ranking_section(none)


def stages(trained: Trained, folder: Path) -> Iterator[tuple[str, str]]:
    """The report after each stage: its page."""
    run = folder / "run"
    # Of its own: other tests fill tables in the shared run.
    done("train-keypoint-models", "--data", trained.table, "--run-dir", run, *BY_PRIOR)
    for command in ((), ("impute",), ("train-final", "--epochs", "1")):
        if command:
            done(*command, "--run-dir", run)
        yield "".join(command[:1]), Path(done("report", "--run-dir", run)["out"]).read_text("utf-8")


@pytest.mark.slow
def test_a_run_of_some_stages_has_a_report(small_prior: Trained, tmp_path: Path) -> None:
    """After each stage there is a page of what was done so far."""
    told = {stage: headings(page) for stage, page in stages(small_prior, tmp_path)}
    assert "Before and after" not in told[""]
    assert "Do the error radii hold?" in told[""]
    assert "Every keypoint's fills" in told["impute"]
    assert "The final network" not in told["impute"]
    assert {"The final network", "How the networks learnt"} <= set(told["train-final"])


def test_before_any_stage_the_report_says_what_to_do(tmp_path: Path) -> None:
    """Exit code 3 and the command to run first."""
    refused = labelfill("report", "--run-dir", tmp_path / "run")
    assert refused.code == 3
    assert "labelfill train-keypoint-models" in refused.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keypoints", "size"), [(("wing_tip",), ImageSize(30, 50)), (("a", "b", "c"), ImageSize(41, 23))]
)
def test_any_keypoints_and_any_size(keypoints: tuple[str, ...], size: ImageSize, tmp_path: Path) -> None:
    """One keypoint, three without partners, images that are not square, in colour, in files."""
    names = dict(zip(keypoints, ("nose_tip", "left_eye_center", "mouth_left_corner"), strict=False))
    drawn = draw_table(80, 6, keypoints=names, image_size=size, gaps=0.25)
    write_table(tmp_path / "t.csv", drawn, images="files")
    run = tmp_path / "run"
    done("run", "--data", tmp_path / "t.csv", "--run-dir", run, *BY_PRIOR)
    page = (run / "report.html").read_text("utf-8")
    assert "Every keypoint's fills" in headings(page)
    read(page)
    done("review", "--run-dir", run)
    assert f'"shape":{size.width / size.height}' in (run / "review.html").read_text("utf-8")


def test_a_report_that_exists_is_kept(reported: Path, two_sources_final: Trained) -> None:
    """--out replaces nothing without --force."""
    before = reported.read_bytes()
    refused = labelfill("report", "--run-dir", two_sources_final.run, "--out", reported)
    assert (refused.code, reported.read_bytes()) == (2, before)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a table whose names, path, further column and sources are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    drawn = draw_small_table()
    table, run = folder / "<script>alert('t')<b>.csv".replace("/", ""), folder / "run"
    write_table(table, drawn)
    header, *lines = table.read_text().splitlines()
    names = [f"{name}_{axis}" for name in EVIL[:4] for axis in "xy"]
    sources = (EVIL[0], EVIL[1])
    text = "\n".join(f"{line},{_quoted(sources[i % 2])}" for i, line in enumerate(lines))
    head = ",".join(map(_quoted, [*names, *header.split(",")[len(names) :], "source"]))
    table.write_text(f"{head}\n{text}\n")
    options = ("--source-column", "source", *BY_PRIOR)
    done("train-keypoint-models", "--data", table, "--run-dir", run, *options)
    done("impute", "--run-dir", run, "--out", folder / "<img src=x onerror=alert(9)>.csv")
    done("report", "--run-dir", run, "--out", folder / "report.html")
    return folder / "report.html"


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


@pytest.mark.slow
def test_whatever_stands_in_the_table_shows_as_text(hostile: Path, tmp_path: Path) -> None:
    """Names, sources and paths with scripts and quotes are text to a parser and to a browser."""
    page = hostile.read_text("utf-8")
    reader = read(page)
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    everything = " ".join(reader.texts)
    for name in EVIL[:3]:
        assert name in everything
    with chromium(tmp_path) as browser:
        browser.get(hostile.as_uri())
        assert browser.execute_script("return document.querySelectorAll('script, img, iframe').length") == 0
        assert complaints(browser) == []
        _check_widths(browser)


def _check_widths(browser: Any) -> None:
    for width in (1280, 360):
        window = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
