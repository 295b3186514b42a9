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
import torch

from labelfill.data.dataset import ImageDataset
from labelfill.data.run_tables import read_run_table
from labelfill.data.synthetic import draw_table, write_table
from labelfill.filling.simple_ways import SIMPLE_METHODS
from labelfill.final.held_out import load_final_answers
from labelfill.final.model import load_final
from labelfill.regressors.files import load_sources
from labelfill.regressors.held_out import COVERAGES, load_held_out
from labelfill.reports.result.accuracy_sections import accuracy_section, calibration_section, ranking_section
from labelfill.reports.result.held_out import (
    LABELFILL,
    PRIOR,
    HeldOut,
    RunTable,
    binomial_interval,
    covered,
    fill_hidden,
    found_by_radius,
    held_out_by_every_way,
    see_run_table,
)
from labelfill.runs import EVALUATION, TRAINING, VALIDATION, RunDirectory, load_split
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import TableSettings
from tests.browser import chromium, complaints
from tests.driving import PRIOR as BY_PRIOR
from tests.driving import done, labelfill
from tests.reports.test_report_pages import EVIL, read
from tests.trained_runs import Trained, draw_small_table, draw_two_sources

CPU = torch.device("cpu")
SECTIONS = (
    "Before and after",
    "Counts by keypoint",
    "Errors of the fills, compared with simple methods",
    "Do the error radii hold?",
    "Do large radii find large errors?",
    "Label sources",
    "Fills: a random sample",
    "Fills: the most doubtful rows",
    "Every keypoint's fills",
)


def headings(page: str) -> list[str]:
    return [html.unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]


def table_of(run: RunDirectory, trained: Trained) -> RunTable:
    dataset = read_run_table(run, trained.table, TableSettings(), to_fill=True, show_progress=False)
    return see_run_table(run, ImageDataset.of(dataset))


@pytest.fixture(scope="module")
def held(two_sources: Trained) -> HeldOut:
    with RunDirectory.read_only(two_sources.run) as run:
        held = held_out_by_every_way(run, table_of(run, two_sources))
    assert held is not None
    return held


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
    for title in SECTIONS[:5]:
        assert title in titles
    for title in (*SECTIONS[6:], "The final network's worst cases", "Learning curves"):
        assert title in titles
    assert "Label sources and conventions" in titles
    begins = [page.index(f'class="{name}"') for name in ("pairs", "tiles", "scroll")]
    assert begins == sorted(begins), "pictures come first, then figures, then tables"
    assert page.count('class="pair"') == 6
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
    assert f"off by {held.rmse(LABELFILL):.2f} px" in page
    assert f"{manifest['stages']['train-final']['results']['evaluation rmse']:.2f} px" in page


def test_points_are_held_out_and_every_way_fills_the_same(two_sources: Trained, held: HeldOut) -> None:
    """No training row is scored; ours and the simple ways answer for each point; radii grow with coverage."""
    rows = draw_two_sources().rows
    parts = load_split(two_sources.run / "split.csv", rows)
    assert (parts[held.row] != TRAINING).all()
    assert {LABELFILL, PRIOR, "mean", "forward-fill", "knn", "iterative"} == set(held.answers)
    assert all(np.isfinite(answer).all() for answer in held.answers.values())
    assert (np.diff(held.radius, axis=1) >= 0).all()
    truth = draw_two_sources().labels[held.row, held.keypoint]
    np.testing.assert_allclose(held.truth, truth, atol=1e-3)
    assert held.rmse(LABELFILL) < held.rmse("mean") < held.rmse("forward-fill")


def test_simple_ways_do_not_see_what_is_hidden(two_sources: Trained, held: HeldOut) -> None:
    """Other labels in the places of hidden ones never change what a simple way fills in."""
    with RunDirectory.read_only(two_sources.run) as run:
        points, labels = load_held_out(run), table_of(run, two_sources).dataset.labels
    assert points is not None
    assert not points.shown[points.hiding, points.keypoint].any()
    altered = labels.copy()
    altered[points.row, points.keypoint] += 5.0
    for way in SIMPLE_METHODS:
        np.testing.assert_array_equal(fill_hidden(altered, points, way, 0), held.answers[way])
    # What is shown of the same rows does change it: the imputers look at it.
    seen = labels.copy()
    seen[points.hidden_row] += np.where(points.shown, 1.0, 0.0)[..., None]
    assert not np.allclose(fill_hidden(seen, points, "iterative", 0), held.answers["iterative"])


def test_kept_points_are_those_that_training_scored(two_sources: Trained) -> None:
    """Each keypoint's error on held-out rows, as training told it, is that of the points that are kept."""
    with RunDirectory.read_only(two_sources.run) as run:
        points, parts = load_held_out(run), load_split(run.path / "split.csv", draw_two_sources().rows)
        results, names = run.stages["train-keypoint-models"]["results"], load_sources(run)[0].keypoints
    assert points is not None
    scored = 0
    for part, name in ((VALIDATION, "validation"), (EVALUATION, "evaluation")):
        for k in np.unique(points.keypoint[parts[points.row] == part]).tolist():
            own = (parts[points.row] == part) & (points.keypoint == k)
            figures = results["keypoints"][names[k]]
            error = points.found[own] - points.truth[own]
            assert figures[f"{name} rows"] == own.sum()
            np.testing.assert_allclose(figures[f"{name} rmse"], np.sqrt(np.mean(error**2)))
            prior_error = points.prior[own] - points.truth[own]
            np.testing.assert_allclose(figures[f"{name} rmse of the prior"], np.sqrt(np.mean(prior_error**2)))
            scored += 1
    assert scored > len(results["regressors"])


def test_kept_final_answers_are_the_networks_own(two_sources_final: Trained) -> None:
    """What training kept is what the network read back answers, each row in its own convention."""
    with RunDirectory.read_only(two_sources_final.run) as run:
        kept, model, seen = load_final_answers(run), load_final(run, CPU), table_of(run, two_sources_final)
    assert kept is not None and seen.dataset.images is not None
    assert (seen.parts[kept.rows] == EVALUATION).all()
    answered, _ = model.answer(np.asarray(seen.dataset.images[kept.rows]), CPU)
    own = model.heads.in_convention(answered, seen.groups[kept.rows])
    np.testing.assert_allclose(kept.xy, own, atol=1e-4)


def made_up(errors: np.ndarray, radius: np.ndarray) -> HeldOut:
    """Points that are off by so many px in x, with 90% radii; other coverages in proportion."""
    count = len(errors)
    answer = np.stack([errors, np.zeros(count)], axis=1)
    share = np.array(COVERAGES) / 0.9
    return HeldOut(
        np.arange(count), np.zeros(count, int), np.zeros((count, 2)),
        {LABELFILL: answer, "mean": 2 * answer}, radius[:, None] * share, 3.0,
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
    assert f"{held.rmse(LABELFILL):.2f}" in text
    assert "90.0% lie within" in calibration_section(held)
    assert "contain 50% of them" in ranking_section(held)
    none = made_up(np.ones(4), np.ones(4))
    assert "No held-out fill is off by more than 3.0 px" in ranking_section(none)


def test_an_interval_holds_its_share() -> None:
    """However many cases there are, and if all of them or none hold."""
    share = np.array([0.0, 0.5, 1.0])
    for count in range(1, 300):
        low, high = binomial_interval(share, count)
        assert (low <= share).all() and (share <= high).all()


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
    assert {"The final network", "Learning curves"} <= set(told["train-final"])


def test_a_run_of_an_earlier_version_has_a_shorter_report(small_prior: Trained, tmp_path: Path) -> None:
    """It kept nothing of held-out rows: a sentence says so, the other sections are there."""
    run = tmp_path / "run"  # of its own: other tests fill tables in the shared one
    done("train-keypoint-models", "--data", small_prior.table, "--run-dir", run, *BY_PRIOR)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["stages"]["train-keypoint-models"]["outputs"]["report/held-out.safetensors"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    told = labelfill("report", "--run-dir", run, "--out", tmp_path / "report.html")
    assert told.code == 0
    assert "trained by an earlier version" in told.err
    titles = headings((tmp_path / "report.html").read_text("utf-8"))
    assert "Label sources" in titles
    assert not set(SECTIONS[1:4]) & set(titles)


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
