"""Disks that are full or read-only, folders that vanish, clocks that go back: each stage, each real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from labelfill.networks.fit import Examples, Plan, fit
from tests.driving import done, files_below, labelfill
from tests.faults import full, read_only, small_disk
from tests.stages.test_stages_resume import all_files
from tests.trained_runs import SMALL_FINAL, Trained

FULL = "the disk is full; free some space and run the command again, finished work is kept"
FINAL = ("--epochs", 1, "--second-session-epochs", 1)


def hashes(run: Path) -> dict[str, str]:
    """SHA-256 of everything that a run keeps, without what tells the time or holds the lock."""
    return {
        name: hashlib.sha256(data).hexdigest()
        for name, data in files_below(run, ".").items()
        if not name.startswith((".", "checkpoints", "cache"))
        and name
        not in ("manifest.json", "metrics.jsonl", "settings.toml")  # a stage that begins adds to these
    }


# -- full disks -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_stage_survives_a_full_disk(small_final: Trained, tmp_path: Path) -> None:
    """Exit code 5 and a sentence, earlier artefacts intact; with space it goes on to the same bytes."""
    with small_disk(tmp_path / "disk", 160) as disk:
        run = disk / "run"
        train = ("train-keypoint-models", "--data", small_final.table, "--run-dir", run, "--epochs", 2)
        stages = (
            (train, (0, 100_000, 6_000_000)),
            (("impute", "--run-dir", run), (0, 8_000, 100_000)),
            (("train-final", "--run-dir", run, *SMALL_FINAL), (0, 3_000_000)),
        )
        for command, rooms in stages:
            before = hashes(run)
            for left in rooms:
                with full(disk, left):
                    refused = labelfill(*command)
                assert refused.code == 5, (command[0], left, refused.err)
                assert FULL in refused.sentence
                assert before.items() <= hashes(run).items(), "earlier results are as they were"
                json.loads(
                    (run / "manifest.json").read_bytes() if (run / "manifest.json").exists() else b"{}"
                )
            done(*command)
        assert not list(run.rglob("*.tmp-*"))
        there, here = all_files(small_final.run), all_files(run)
    assert list(there) == list(here)
    assert [name for name in there if there[name] != here[name]] == []


# -- folders ----------------------------------------------------------------------------------------


def test_a_read_only_run_directory_is_named(small_prior: Trained, tmp_path: Path) -> None:
    """Exit code 5 before any work, and nothing is changed."""
    run = tmp_path / "run"
    shutil.copytree(small_prior.run, run)
    before = hashes(run)
    with read_only(run):
        for command in (
            ["train-keypoint-models", "--data", small_prior.table, "--run-dir", run],
            ["impute", "--run-dir", run, "--out", tmp_path / "filled.csv"],
            ["train-final", "--run-dir", run, "--filled", small_prior.table],
        ):
            refused = labelfill(*command)
            assert refused.code == 5
            assert "the file system is read-only; choose a folder that can be written" in refused.sentence
            assert str(run) in refused.sentence
    assert hashes(run) == before
    assert not (tmp_path / "filled.csv").exists()


def test_a_read_only_folder_for_the_output_is_named(small_prior: Trained, tmp_path: Path) -> None:
    """The table cannot appear there: exit code 5, and the run is as it was."""
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(small_prior.run, run)
    out.mkdir()
    with read_only(out):
        refused = labelfill("impute", "--run-dir", run, "--out", out / "filled.csv")
    assert refused.code == 5
    assert "the file system is read-only" in refused.sentence
    assert done("impute", "--run-dir", run, "--out", out / "filled.csv")["filled"] > 0


@pytest.mark.slow
def test_a_run_directory_that_is_deleted_midway(small: Trained, tmp_path: Path) -> None:
    """While regressors are trained, somebody removes the folder: exit code 5 and a sentence."""
    run = tmp_path / "run"

    def remove() -> None:
        while not any(run.glob("checkpoints/*/*")):
            time.sleep(0.001)
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)  # what was written while the first went through

    somebody = threading.Thread(target=remove)
    somebody.start()
    refused = labelfill("train-keypoint-models", "--data", small.table, "--run-dir", run, "--epochs", 50)
    somebody.join()
    assert refused.code == 5
    assert "has been removed" in refused.sentence or "deleted or replaced" in refused.sentence
    assert str(run) in refused.sentence


# -- time and tables --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_clock_that_was_set_back_changes_nothing(small_prior: Trained, tmp_path: Path) -> None:
    """All that earlier stages wrote is dated years ahead: later ones do the same as ever."""
    runs = [tmp_path / name for name in ("usual", "ahead")]
    for run in runs:
        shutil.copytree(small_prior.run, run)
    ahead = time.time() + 15 * 365 * 86400
    for file in runs[1].rglob("*"):
        os.utime(file, (ahead, ahead))
    manifest = (runs[1] / "manifest.json").read_text()
    (runs[1] / "manifest.json").write_text(
        manifest.replace('"20', '"20').replace(time.strftime('"%Y-'), '"2041-')
    )
    for run in runs:
        done("impute", "--run-dir", run)
        done("train-final", "--run-dir", run, *FINAL)
        assert done("impute", "--run-dir", run)["state"] == "done before"
    assert all_files(runs[0]) == all_files(runs[1])


def test_a_filled_table_that_was_replaced_before_the_final_stage(
    small_prior: Trained, tmp_path: Path
) -> None:
    """Another table in its place is noticed by its hash: exit code 3, naming both files."""
    run = tmp_path / "run"
    shutil.copytree(small_prior.run, run)
    done("impute", "--run-dir", run)
    filled = (run / "filled.csv").read_bytes().splitlines(keepends=True)
    (run / "filled.csv").write_bytes(b"".join([filled[0], *reversed(filled[1:])]))
    refused = labelfill("train-final", "--run-dir", run)
    assert refused.code == 3
    assert "filled" in refused.sentence


# -- models -----------------------------------------------------------------------------------------


def forge(run: Path, relative: str, change: Callable[[bytes], bytes]) -> None:
    """Change a stored file and its hash in the manifest, as another program might have written both."""
    data = change((run / relative).read_bytes())
    before = hashlib.sha256((run / relative).read_bytes()).hexdigest()
    (run / relative).write_bytes(data)
    manifest = (run / "manifest.json").read_text()
    assert before in manifest
    (run / "manifest.json").write_text(manifest.replace(before, hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize(
    ("found", "replaced", "sentence"),
    [
        (b'"format": 1', b'"format": 99', "newer than this version reads; update labelfill"),
        (b'"left_eye_center"', b'"left_ear"', "trained for different keypoints or another image size"),
        (b'"24x24"', b'"32x24"', "trained for different keypoints or another image size"),
        (b'"folds"', b'"fools"', "is not a valid file of labelfill (unknown field 'fools')"),
        (b'"view": {', b'"view": {"colour": 1, ', "is not a valid file of labelfill"),
        (b"{", b"", "is not valid JSON"),
    ],
)
def test_a_foreign_regressor_is_refused(
    small: Trained, tmp_path: Path, found: bytes, replaced: bytes, sentence: str
) -> None:
    """Another format, other keypoints, another size or no sense at all: exit code 3, nothing is written."""
    run = tmp_path / "run"
    shutil.copytree(small.run, run)
    forge(run, "shared-models/face/model.json", lambda data: data.replace(found, replaced, 1))
    refused = labelfill("impute", "--run-dir", run, "--out", tmp_path / "filled.csv")
    assert refused.code == 3, refused.err
    assert sentence in refused.sentence
    assert not (tmp_path / "filled.csv").exists()


def test_weights_of_another_network_are_refused(small: Trained, tmp_path: Path) -> None:
    """Weights that are whole but another network's: the file is named."""
    run = tmp_path / "run"
    shutil.copytree(small.run, run)
    other = next((run / "keypoint-models").glob("*/model.safetensors")).read_bytes()
    forge(run, "shared-models/face/model.safetensors", lambda data: other)
    refused = labelfill("impute", "--run-dir", run, "--out", tmp_path / "filled.csv")
    assert refused.code == 3
    assert "face/model.safetensors does not contain the expected network" in refused.sentence


def test_a_flipped_byte_in_a_checkpoint_starts_its_unit_over(tmp_path: Path) -> None:
    """A checkpoint carries its hash: damaged weights are never continued."""

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def forward(self, inputs: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(inputs.flatten(1))[:, None]
            return out

    examples = Examples(
        torch.ones(8, 1, 4, 4), torch.zeros(8, 0), torch.ones(8, 1, 2), torch.ones(8, 1), torch.ones(8)
    )

    def train(checkpoint: Path) -> tuple[dict[str, torch.Tensor], list[int]]:
        torch.manual_seed(0)
        drawn: list[int] = []

        def draw(epoch: int) -> Examples:
            drawn.append(epoch)
            return examples

        return fit(Line(), draw, None, Plan(4, 4, 1e-2), key=(0, "test"), checkpoint=checkpoint).state, drawn

    straight, _ = train(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    assert train(tmp_path / "a")[1] == [], "it was finished"
    data[len(data) // 2] ^= 1
    (tmp_path / "a").write_bytes(data)
    again, drawn = train(tmp_path / "a")
    assert drawn == [0, 1, 2, 3]
    assert all(torch.equal(straight[name], again[name]) for name in straight)
