"""Comparisons that train: one split for all, nothing learns from held-out rows, nothing is done twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.journey import builds_on
from labelfill.cli.main import main
from labelfill.data.dataset_reading import read_dataset
from labelfill.data.images.identity import content_ids
from labelfill.data.synthetic import write_table
from labelfill.errors import DataError
from labelfill.reports.comparison.drawing import draw_journey
from labelfill.reports.comparison.held_out import hide
from labelfill.reports.comparison.journey import STEPS, Step, journey
from labelfill.reports.comparison.stages import Setting, check_one_split
from labelfill.reports.comparison.trained_ways import TrainedWays
from labelfill.runs import EVALUATION, load_split, write_bytes
from labelfill.runs.resources import measured_once
from labelfill.settings import FinalModelSettings, KeypointModelSettings, TableSettings
from labelfill.sources import preparation
from tests.driving import done, labelfill
from tests.stages.test_stages_held_out import poisoned
from tests.trained_runs import Trained, draw_small_table


def trained_ways(folder: Path, table: Path) -> TrainedWays:
    setting = Setting(folder, table, TableSettings(image_size=draw_small_table().schema.image_size))
    return TrainedWays(setting, KeypointModelSettings(epochs=1, patch_size=8))


LEARNT = {
    "ffill": FinalModelSettings(preset="baseline", epochs=1),
    "imputed": FinalModelSettings(preset="phase2", labels="iterative", epochs=1, second_session_epochs=0),
    "own": FinalModelSettings(labels="knn", epochs=1),
    "observed": FinalModelSettings(labels="observed", epochs=1, most_rows=20),
}


@pytest.mark.slow
def test_no_held_out_image_reaches_any_training_set(
    small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever evaluation rows show and say, all ways and final networks are the same to the byte."""
    innocent = trained_ways(tmp_path / "a", small_prior.table)
    for name, settings in LEARNT.items():
        innocent.final(name, settings)
    drawn = draw_small_table()
    parts = load_split(tmp_path / "a" / "prior" / "split.csv", drawn.rows)
    write_table(tmp_path / "t.csv", poisoned(drawn, parts == EVALUATION))
    monkeypatch.setattr(preparation, "make_split", lambda *arguments: parts)
    other = trained_ways(tmp_path / "b", tmp_path / "t.csv")
    for name, settings in LEARNT.items():
        other.final(name, settings)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.safetensors"))
    files = [file for file in files if "report" not in file.parts]  # what was answered on held-out rows
    assert len(files) > len(LEARNT)
    assert [f for f in files if (tmp_path / "a" / f).read_bytes() != (tmp_path / "b" / f).read_bytes()] == []


def test_ways_that_divide_the_rows_differently_are_refused(tmp_path: Path) -> None:
    """Two split.csv that differ: a sentence that names both."""
    for name, part in (("a", "training"), ("b", "evaluation")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "split.csv").write_text(f"row,part\n0,{part}\n")
    setting = Setting(tmp_path, tmp_path / "t.csv", TableSettings())
    check_one_split(setting, ["a", "a"])
    with pytest.raises(DataError, match=r"b/split\.csv splits the rows differently from .*a/split\.csv"):
        check_one_split(setting, ["a", "b"])


def test_hidden_labels_are_held_out_and_hidden_as_rows_lack_them(two_sources: Trained) -> None:
    """Only evaluation rows, one of each image, by patterns that the table has; some label always stays."""
    dataset = read_dataset(two_sources.table)
    parts = load_split(two_sources.run / "split.csv", dataset.table.rows)
    hidden = hide(dataset, parts, 3)
    assert (parts[hidden.rows] == EVALUATION).all()
    assert dataset.images is not None
    ids = content_ids(np.asarray(dataset.images[hidden.rows]))
    assert len(set(ids.tolist())) == len(ids)
    observed = dataset.table.observed
    patterns = {row.tobytes() for row in ~observed}
    left = np.isfinite(hidden.labels(dataset.labels))
    for row, cells in zip(hidden.rows, hidden.cells, strict=True):
        assert cells.any()
        assert left[row].any()
        assert (left[row] == (observed[row] & ~cells)).all()
        assert any(
            (observed[row] & np.frombuffer(p, bool).reshape(cells.shape) == cells).all() for p in patterns
        )
    others = np.setdiff1d(np.arange(len(parts)), hidden.rows)
    assert (left[others] == observed[others]).all()
    again = hide(dataset, parts, 3)
    assert (again.cells == hidden.cells).all()


@pytest.mark.slow
def test_a_table_without_truth_is_compared_and_done_once(
    small_prior: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fill and final network of each way with what they took; a second call trains nothing."""
    run = tmp_path / "run"
    command = ["compare", small_prior.table, "--run-dir", run, "--ways", "mean,prior", "--final", "--quick"]
    told = done(*command)
    assert told["held_out"] is True
    assert told["cells"] > 0
    assert told["ways"]["prior"]["rmse"] < told["ways"]["mean"]["rmse"]
    for way in told["ways"].values():
        assert way["final"]["budget_limited"] is True
        assert way["final"]["parameters"] > 1000
        assert way["final"]["rows"] == 10
    again = done(*command)
    assert again["ways"]["prior"]["seconds"] == told["ways"]["prior"]["seconds"] > 0
    assert again["ways"]["mean"]["final"] == told["ways"]["mean"]["final"]
    plot, scores = tmp_path / "c.svg", tmp_path / "c.csv"
    text = labelfill(*command, "--plot", plot, "--csv", scores)
    assert text.code == 0, text.err
    assert "cells in 10 held-out rows of" in text.out
    assert "budget-limited" in text.out
    assert plot.read_text().startswith("<?xml")
    assert scores.read_text().splitlines()[1].startswith("mean,all,")
    assert labelfill(*command, "--plot", plot).code == 2
    forced = done(*command, "--plot", plot, "--force")
    assert forced["ways"]["prior"]["final"] == told["ways"]["prior"]["final"], (
        "files are overwritten, no more"
    )
    assert labelfill(*command, "--preset", "baseline").code == 2


@pytest.mark.slow
def test_the_journey_is_drawn_step_by_step(small_prior: Trained, tmp_path: Path) -> None:
    """Each step has a figure on the same held-out rows; a step for two sources is left out of one's."""
    steps = (
        Step("baseline", "baseline", {"preset": "baseline"}),
        Step("phase 1", "phase 1", {"preset": "phase1"}),
        Step("ideas", "apart", {"preset": "phase1", "rows": "separate", "labels": "observed"}),
        Step("labelfill", "default", {}, "prior"),
    )
    limits = {"epochs": 1, "second_session_epochs": 1, "most_rows": 20}
    scores = journey(trained_ways(tmp_path / "run", small_prior.table), limits=limits, steps=steps)
    assert [one.step.name for one in scores] == ["baseline", "phase 1", "default"]
    assert [one.score.epochs for one in scores] == [1, 2, 1]
    assert {one.score.rows for one in scores} == {10}
    assert all(one.score.budget_limited for one in scores)
    assert draw_journey(scores, "png").startswith(b"\x89PNG")
    assert draw_journey(scores, "svg") == draw_journey(scores, "svg")


def test_every_step_of_the_journey_builds_on_one_before_it() -> None:
    """The first alone builds on none; steps have run directories of their own."""
    bases = [builds_on(step) for step in STEPS]
    assert bases[0] is None
    for number, base in enumerate(bases[1:], start=1):
        assert base in STEPS[:number]
    assert len({step.run for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--filled", "f.csv"], "can only be scored against a truth"),
        (["--journey", "--final"], "--final has no effect with --journey"),
        (["--preset", "phase1"], "--preset has no effect without --final"),
        (["--plot", "p.pdf"], "the suffix must be .png or .svg"),
        (["--ways", "median"], "unknown way of filling 'median'; choose from mean"),
    ],
)
def test_what_would_do_nothing_is_refused(
    small_prior: Trained, tmp_path: Path, options: list[str], said: str
) -> None:
    """Exit code 2, a sentence, and nothing is trained."""
    refused = labelfill("compare", small_prior.table, "--run-dir", tmp_path / "run", *options)
    assert refused.code == 2
    assert said in refused.sentence
    assert not (tmp_path / "run").exists()


def test_costs_of_interrupted_work_add_up(tmp_path: Path) -> None:
    """Seconds of an attempt that failed count; work that is finished costs what it cost when it was done."""
    file = tmp_path / "cost.json"
    calls = []

    def work() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt
        return "done"

    with pytest.raises(KeyboardInterrupt):
        measured_once(work, file, write_bytes)
    first = json.loads(file.read_text())
    assert first["finished"] is False
    result, cost = measured_once(work, file, write_bytes)
    assert result == "done"
    assert cost.seconds > first["seconds"]
    assert measured_once(work, file, write_bytes) == ("done", cost)


def test_scikit_learn_is_asked_for_before_anything_is_trained(
    small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it the ways that need it are refused at once, with what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.experimental", None)
    assert main(["compare", str(small_prior.table), "--run-dir", str(tmp_path / "run")]) == 2
    assert "pip install 'labelfill[compare]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
