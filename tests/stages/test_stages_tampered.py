"""Run files that parse but are not ours, and weights that are no numbers, through the command line alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.driving import Outcome, labelfill
from tests.trained_runs import Trained

Change = Callable[[dict[str, Any]], object]
TRAIN = "train-keypoint-models"


def refused(outcome: Outcome, *names: object) -> None:
    """Exit code 3, and one sentence with the file's name and what to do."""
    assert outcome.code == 3, outcome.err
    for name in (*names, "--run-dir"):
        assert str(name) in outcome.sentence


def commands(trained: Trained, run: Path, folder: Path) -> list[list[object]]:
    return [
        [TRAIN, "--data", trained.table, "--run-dir", run, "--method", "prior"],
        ["impute", "--run-dir", run, "--out", folder / "filled.csv"],
        ["train-final", "--run-dir", run],
        ["predict", "--run-dir", run, "--images", trained.table, "--out", folder / "p.csv"],
        ["report", "--run-dir", run, "--out", folder / "report.html"],
        ["review", "--run-dir", run, "--out", folder / "review.html"],
    ]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text",
    [
        nested(100_000),
        nested(900),
        '{"format": 1, "stages": ' + nested(100_000) + "}",
        "9" * 5000,
        '"\\ud800"',
    ],
    ids=["very deep", "deep", "deep within", "a long number", "text"],
)
def test_json_that_is_no_manifest_is_refused(small_prior_final: Trained, tmp_path: Path, text: str) -> None:
    """However it is nested, by every command that reads it."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    (run / "manifest.json").write_text(text)
    for command in commands(small_prior_final, run, tmp_path):
        refused(labelfill(*command), run / "manifest.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["stages"].update({TRAIN: 5}),
        lambda m: m["stages"][TRAIN].update(attempt="../../elsewhere"),
        lambda m: m["stages"][TRAIN].update(units=[]),
        lambda m: m["stages"][TRAIN]["units"].update({"patch 2": {}}),
        lambda m: m["stages"][TRAIN].update(outputs={"split.csv": 7}),
        lambda m: m["stages"][TRAIN].update(settled={"threads": "two"}),
        lambda m: m["stages"][TRAIN]["results"].pop("regressors"),
        lambda m: m["stages"][TRAIN]["results"].update({"convention offsets": "x"}),
        lambda m: m["stages"][TRAIN]["inputs"].update(seed=None),
        lambda m: m["stages"][TRAIN].pop("results"),
        lambda m: m["input"].pop("sha256"),
        lambda m: m["input"].update(image_size="0x0"),
        lambda m: m["input"].update(path=["t.csv"]),
        lambda m: m.update(split={"sha256": 5, "rows": 100}),
        lambda m: m.update(settings=[]),
    ],
)
def test_a_manifest_that_holds_something_else_is_refused(
    small_prior_final: Trained, tmp_path: Path, change: Change
) -> None:
    """Each part of it is checked when it is read."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    manifest = json.loads((run / "manifest.json").read_text())
    change(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest))
    for command in commands(small_prior_final, run, tmp_path)[:2]:
        refused(labelfill(*command), run / "manifest.json")


def test_a_manifest_without_its_input_is_refused(small_prior_final: Trained, tmp_path: Path) -> None:
    """By the commands that need to know of which table the run is."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["input"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    for command in ("train-final", "predict"):
        wanted = next(each for each in commands(small_prior_final, run, tmp_path) if each[0] == command)
        refused(labelfill(*wanted), run / "manifest.json", "'input'")


def test_settings_written_for_people_stop_nothing(small_prior: Trained, tmp_path: Path) -> None:
    """`settings.toml` and `metrics.jsonl` of a run are read by nobody: whatever they hold, work goes on."""
    for text in (nested(100_000), "a = " + "9" * 5000, "a = " + nested(100_000), "[run]\nseed = 1979-05-27"):
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(small_prior.run, run)
        (run / "settings.toml").write_text(text)
        (run / "metrics.jsonl").write_text(text)
        assert labelfill("impute", "--run-dir", run).code == 0
        assert "[run]" in (run / "settings.toml").read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is missing"),
        ("row,part\n0," + "x" * 200_000, "split"),
        ("", "not a split"),
        ("row,part\n", "0 rows"),
    ],
)
def test_a_split_that_is_none_is_refused(
    small_prior_final: Trained, tmp_path: Path, text: str | None, sentence: str
) -> None:
    """The report reads it as it stands."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    if text is None:
        (run / "split.csv").unlink()
    else:
        (run / "split.csv").write_text(text)
    outcome = labelfill("report", "--run-dir", run, "--out", tmp_path / "report.html")
    refused(outcome, run / "split.csv", sentence)


def forge(run: Path, relative: str, change: Callable[[bytes], bytes]) -> None:
    """Change a stored file and its hash in the manifest, as another program might have written both."""
    before = (run / relative).read_bytes()
    after = change(before)
    (run / relative).write_bytes(after)
    old, new = (hashlib.sha256(data).hexdigest() for data in (before, after))
    manifest = (run / "manifest.json").read_text()
    assert old in manifest
    (run / "manifest.json").write_text(manifest.replace(old, new))


def with_json(change: Change) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return changed


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("final/model.json", lambda v: v.update(size=[0, -3])),
        ("final/model.json", lambda v: v.update(size=[10**9, 10**9])),
        ("final/model.json", lambda v: v.update(spread=float("nan"))),
        ("final/model.json", lambda v: v.update(partners=[77] * 4)),
        ("final/model.json", lambda v: v.update(further=[[99, 0]])),
        ("final/model.json", lambda v: v["settings"].update(batch_size="many")),
        ("final/model.json", lambda v: v["settings"].update(preset=["default"])),
        ("shared-models/sources.json", lambda v: v.update(patch=[44])),
        ("shared-models/sources.json", lambda v: v.update(pattern_group=[9])),
        ("shared-models/sources.json", lambda v: v.update(untested={"x": [0, 0, 0, 0]})),
        ("shared-models/sources.json", lambda v: v.update(image_size="0x24")),
    ],
)
def test_json_of_models_that_holds_something_else_is_refused(
    small_prior_final: Trained, tmp_path: Path, file: str, change: Change
) -> None:
    """Numbers of keypoints and sources that there are not, sizes of no network, settings of other types."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    forge(run, file, with_json(change))
    command = commands(small_prior_final, run, tmp_path)[3 if file.startswith("final") else 1]
    refused(labelfill(*command), run / file)


def with_array(name: str, change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        arrays = dict(load(data))
        name_found = next(each for each in arrays if each.startswith(name))
        arrays[name_found] = np.ascontiguousarray(change(arrays[name_found].copy()))
        return save(arrays)

    return changed


def put(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.flat[0] = value
        return array

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(small_final: Trained, tmp_path: Path, value: float) -> None:
    """Of a keypoint's model and of the final network, though the hash is right; nothing is written."""
    run = tmp_path / "run"
    shutil.copytree(small_final.run, run)
    patch = next(iter(sorted((run / "keypoint-models").glob("*/model.safetensors")))).relative_to(run)
    for file, command in ((str(patch), 1), ("final/model.safetensors", 3)):
        name = sorted(load((run / file).read_bytes()))[0]
        forge(run, file, with_array(name, put(value)))
        outcome = labelfill(*commands(small_final, run, tmp_path)[command])
        refused(outcome, run / file, "not finite")
    assert not (tmp_path / "filled.csv").exists()
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("file", "name", "change"),
    [
        ("shared-models/prior.safetensors", "prior.mean", put(float("nan"))),
        ("shared-models/prior.safetensors", "prior.covariance", lambda a: a[:-1]),
        ("shared-models/prior.safetensors", "calibration.weights", put(float("inf"))),
        ("shared-models/prior.safetensors", "calibration.weights", lambda a: a[:, :-1]),
        ("shared-models/prior.safetensors", "calibration.ratios", lambda a: a.astype(np.float32)),
        ("shared-models/prior.safetensors", "radii.scores", put(float("nan"))),
        ("shared-models/prior.safetensors", "radii.rows", lambda a: a[0]),
        ("shared-models/prior.safetensors", "partners", put(99)),
        ("final/radii.safetensors", "sigma_scale", put(float("nan"))),
        ("final/radii.safetensors", "weights", lambda a: a[1:]),
        ("report/held-out.safetensors", "hidden_row", put(10**6)),
        ("report/held-out.safetensors", "found", lambda a: a[1:]),
        ("report/final.safetensors", "rows", put(-5)),
    ],
)
def test_arrays_that_hold_something_else_are_refused(
    small_prior_final: Trained, tmp_path: Path, file: str, name: str, change: Callable[[Any], Any]
) -> None:
    """Numbers that are none, other shapes and types, rows and keypoints that there are not."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    forge(run, file, with_array(name, change))
    number = {"shared-models": 1, "final": 3, "report": 4}[file.partition("/")[0]]
    refused(labelfill(*commands(small_prior_final, run, tmp_path)[number]), run / file, name)


@pytest.mark.parametrize(
    "change", [lambda v: v["offsets"][0].update(keypoint=0), lambda v: v.update(offsets=[])]
)
def test_sources_with_other_disputed_keypoints_are_refused(
    two_sources_final: Trained, tmp_path: Path, change: Change
) -> None:
    """By every command that knows of label sources, though each file by itself is as it should be."""
    run = tmp_path / "run"
    shutil.copytree(two_sources_final.run, run)
    forge(run, "shared-models/sources.json", with_json(change))
    for command in commands(two_sources_final, run, tmp_path):
        if command[0] in ("impute", "train-final", "report"):
            refused(labelfill(*command), run / "shared-models/sources.json", "disputed keypoints")


def test_a_cache_that_holds_something_else_is_read_anew(small_prior: Trained, tmp_path: Path) -> None:
    """Whatever stands in an entry, its own hash right or not: the table is read again."""
    run = tmp_path / "run"
    for text in (nested(100_000), "[]", "{}", '{"sha256": 5}', "null"):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(small_prior.run, run)
        for entry in (run / "cache").glob("*/table.json"):
            entry.write_text(text)
        assert labelfill("impute", "--run-dir", run).code == 0
