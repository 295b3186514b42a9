"""``--dry-run``: what would be done, from the decisions that the stages make; nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.synthetic import write_table
from labelfill.runs import RunDirectory
from tests.driving import PRIOR, Outcome, done, labelfill
from tests.trained_runs import Trained, draw_small_table


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of the last change and bytes of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


def dry(folder: Path, *arguments: object) -> Outcome:
    """A command with --dry-run, after which the folder is as it was."""
    before = tree(folder)
    outcome = labelfill(*arguments, "--dry-run")
    assert tree(folder) == before
    return outcome


def planned(folder: Path, *arguments: object) -> dict[str, Any]:
    outcome = dry(folder, *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The small table, of which nobody labels the nose and few the mouth."""
    drawn = draw_small_table()
    drawn.labels[:, 2] = np.nan
    drawn.labels[30:, 3] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    return tmp_path / "t.csv"


@pytest.mark.slow
def test_training_does_what_was_said(table: Path, tmp_path: Path) -> None:
    """Rows, sources, labels and what stays blank, before and after; then there is nothing to be done."""
    train = ("train-keypoint-models", "--data", table, "--run-dir", tmp_path / "run", *PRIOR)
    plan = planned(tmp_path, *train)
    assert not (tmp_path / "run").exists()
    assert (plan["state"], plan["starts over"], plan["models"]) == ("fresh", False, [0, 0])
    check_plan(plan, done(*train))
    assert plan["left blank"] == {"nose_tip": "0 training rows label it, but 10 are needed"}
    assert plan["keypoints"]["nose_tip"] == {"labels": 0, "blank cells": 200}
    assert planned(tmp_path, *train)["state"] == "done"
    over = planned(tmp_path, *train, "--force")
    assert (over["state"], over["starts over"]) == ("fresh", True)


def check_plan(plan: dict[str, Any], told: dict[str, Any]) -> None:
    """A plan agrees with what the stage then told."""
    for name in ("rows", "rows per part", "sources", "low data", "mirror partners"):
        assert plan[name] == told[name], name
    assert list(plan["left blank"]) == told["left blank"]
    learnt = {
        name: one["labels"] for name, one in plan["keypoints"].items() if name not in plan["left blank"]
    }
    assert learnt == {name: one["labels"] for name, one in told["keypoints"].items()}


def test_as_many_models_are_trained_as_was_said(small: Trained) -> None:
    """One for all keypoints and one for each that is incomplete."""
    plan = planned(
        small.run.parent,
        *("train-keypoint-models", "--data", small.table, "--run-dir", small.run / "new", "--epochs", "2"),
    )
    stage = RunDirectory.read_only(small.run).stages["train-keypoint-models"]
    check_plan(plan, stage["results"])
    assert plan["models"] == [len(stage["units"]) - 1] * 2, "all but the prior, which is no network"
    assert plan["estimated seconds"] == [0, 0], "so few steps need no trial"


def test_disputed_sources_leave_a_range(two_sources: Trained) -> None:
    """Networks decide whether to look twice, so their number has bounds; the keypoints are named."""
    folder, run = two_sources.table.parent, two_sources.run
    plan = planned(folder, "train-keypoint-models", "--data", two_sources.table, "--run-dir", run / "new")
    entry = RunDirectory.read_only(run).stages["train-keypoint-models"]
    least, most = plan["models"]
    assert least <= len(entry["units"]) - 1 <= most
    disputed = {offset["keypoint"] for offset in entry["results"]["convention offsets"]}
    assert disputed
    assert disputed <= set(plan["suspected"])


def test_a_stopped_training_says_how_far_it_came(small: Trained, tmp_path: Path) -> None:
    """The finished models of a stage that is to go on are counted."""
    shutil.copytree(small.run, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    stage = manifest["stages"]["train-keypoint-models"]
    stage["state"] = "running"
    for name in ("prior and sources", "patch 2"):
        del stage["units"][name]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    train = ("train-keypoint-models", "--data", small.table, "--run-dir", tmp_path / "run", "--epochs", "2")
    plan = planned(tmp_path, *train)
    total = len(stage["units"]) + 1
    assert (plan["state"], plan["models done"], plan["models"]) == ("resume", total - 1, [total, total])
    assert f"would resume: {total - 1} of {total} models are finished" in dry(tmp_path, *train).out


@pytest.mark.slow
def test_filling_does_what_was_said(table: Path, tmp_path: Path) -> None:
    """Cells by keypoint, copies, what stays blank, and every file."""
    run, out = tmp_path / "run", tmp_path / "filled.csv"
    done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    fill = ("impute", "--run-dir", run, "--out", out)
    plan = planned(tmp_path, *fill)
    before = set(tree(tmp_path))
    outcome = labelfill(*fill, "--json")
    assert outcome.code == 6
    for name in ("rows", "observed", "filled", "left_blank", "left_blank_keypoints", "unknown_source_rows"):
        assert plan[name] == outcome.result[name], name
    assert sum(plan["keypoints"].values()) == plan["filled"]
    assert plan["left_blank_keypoints"] == {"nose_tip": 200}
    new = {tmp_path / path for path in set(tree(tmp_path)) - before if not path.startswith("run")}
    assert {Path(path) for path in plan["writes"].values()} == new
    assert planned(tmp_path, *fill)["state"] == "done"


def test_the_final_network_is_as_was_said(small_prior: Trained, tmp_path: Path) -> None:
    """Rows, epochs and parameters."""
    shutil.copytree(small_prior.run, tmp_path / "run")
    done("impute", "--run-dir", tmp_path / "run", "--out", tmp_path / "f.csv")
    train = ("train-final", "--run-dir", tmp_path / "run", "--filled", tmp_path / "f.csv", "--epochs", 2)
    plan = planned(tmp_path, *train)
    told = done(*train)
    assert plan["epochs"] == [told["epochs"]] == [2]
    assert plan["parameters"] == told["parameters"]
    assert plan["training rows"] + plan["validation rows"] <= plan["rows"]
    assert plan["validation rows"] == told["validation rows"]
    assert planned(tmp_path, *train)["state"] == "done"


@pytest.mark.slow
def test_a_whole_run_says_where_everything_would_go(table: Path, tmp_path: Path) -> None:
    """What is still to be made is told by its files; what is there is looked at as closely as by itself."""
    run = tmp_path / "run"
    command = ("run", "--data", table, "--run-dir", run, *PRIOR)
    plans = planned(tmp_path, *command)
    assert plans["impute"]["state"] == "after training"
    assert plans["impute"]["writes"]["table"] == str(run / "filled.csv")
    assert plans["train-final"]["state"] == "after filling"
    assert labelfill(*command).code == 6
    again = planned(tmp_path, *command)
    assert [again[name]["state"] for name in ("train-keypoint-models", "impute", "train-final")] == [
        "done"
    ] * 3
    text = dry(tmp_path, *command).out
    assert text.startswith("dry run: nothing is trained and nothing is written\n\n== keypoint models\n")
    assert text.count("would do nothing: already done with the same input and settings") == 3


@pytest.mark.slow
def test_what_would_be_refused_is_refused_in_the_same_words(small_prior: Trained, tmp_path: Path) -> None:
    """Other settings, outputs that exist, a changed table, bad files, no models, no folder."""
    run, table, taken = tmp_path / "run", tmp_path / "t.csv", tmp_path / "taken.csv"
    shutil.copy(small_prior.table, table)
    done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    taken.write_text("mine")
    bad = tmp_path / "bad.csv"
    bad.write_text(table.read_text().rstrip()[:-1] + "x\n")
    train = ("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    refused = [
        (*train, "--seed", 1),
        (*train[:2], bad, *train[3:]),
        ("train-keypoint-models", "--data", table, "--run-dir", table, *PRIOR),
        ("impute", "--run-dir", run, "--out", taken),
        ("impute", "--run-dir", run, "--out", table),
        ("impute", "--run-dir", run, "--out", tmp_path / "nowhere" / "f.csv"),
        ("impute", "--run-dir", tmp_path / "none", "--out", tmp_path / "f.csv"),
        ("train-final", "--run-dir", run),
        ("run", "--data", table, "--run-dir", run, "--out", taken, *PRIOR),
        ("run", "--data", table, "--run-dir", tmp_path / "new", "--out", table, *PRIOR),
        ("run", "--data", tmp_path / "none.csv", "--run-dir", tmp_path / "new"),
    ]
    for command in refused:
        said, real = dry(tmp_path, *command), labelfill(*command)
        assert real.code in (2, 3, 5), command
        assert (said.code, said.sentence) == (real.code, real.sentence), command
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    with table.open("a") as file:
        file.write(table.read_text().splitlines()[-1] + "\n")
    said, real = dry(tmp_path, "impute", "--run-dir", run), labelfill("impute", "--run-dir", run)
    assert "has changed since" in said.sentence
    assert (said.code, said.sentence) == (real.code, real.sentence)


def test_a_run_that_is_in_use_is_named(small_prior: Trained, tmp_path: Path) -> None:
    """The lock is left alone; the dry run says who holds it, and goes on."""
    shutil.copytree(small_prior.run, tmp_path / "run")
    with RunDirectory.open(tmp_path / "run"):
        outcome = dry(tmp_path, "impute", "--run-dir", tmp_path / "run", "--out", tmp_path / "f.csv")
    assert outcome.code == 0
    assert "is in use by process" in outcome.err
