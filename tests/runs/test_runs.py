"""The run directory: opening, stages, units, checkpoints."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labelfill.errors import ModelError, StorageError, UsageError
from labelfill.runs import RunDirectory, json_value, make_split
from labelfill.settings import (
    SECTIONS,
    FinalModelSettings,
    KeypointModelSettings,
    RunSettings,
    read_toml,
    resolve,
)

ROOT = Path(__file__).parents[2]
INPUTS = {"epochs": 3, "table": {"sha256": "a" * 64}}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.open(tmp_path / "run") as opened:
        yield opened


def train(run: RunDirectory) -> None:
    """A small finished stage of two units."""
    run.begin_stage("train", INPUTS)
    for unit in ("nose", "mouth"):
        run.save_unit("train", unit, {f"models/{unit}.bin": unit.encode()}, {"rmse": 1.5})
    run.finish_stage("train", results={"seconds": 2})


# -- opening ----------------------------------------------------------------------------------------


def test_a_new_run_directory_is_kept_out_of_version_control(tmp_path: Path) -> None:
    """A new folder ignores its content; an existing .gitignore is left as it is."""
    with RunDirectory.open(tmp_path / "new"):
        assert "*\n!.gitignore\n" in (tmp_path / "new" / ".gitignore").read_text()
    (tmp_path / "new" / ".gitignore").write_text("mine")
    with RunDirectory.open(tmp_path / "new"):
        assert (tmp_path / "new" / ".gitignore").read_text() == "mine"


def test_the_run_directory_of_a_clone_holds_the_same_gitignore(tmp_path: Path) -> None:
    """outputs/.gitignore of the repository is what a run would write."""
    with RunDirectory.open(tmp_path / "new"):
        assert (tmp_path / "new" / ".gitignore").read_bytes() == (ROOT / "outputs/.gitignore").read_bytes()


def test_a_file_in_its_place_is_a_sentence(tmp_path: Path) -> None:
    """A file where the run directory should be, or above it."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"the run directory .*file is a file; choose another --run-dir"):
        RunDirectory.open(tmp_path / "file")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        RunDirectory.open(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"format": 1, "sta', "is damaged"),
        ("[]", "is not a manifest"),
        ('{"format": 2, "stages": {}}', "has format 2, but this version of labelfill reads format 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """A truncated manifest, another file, a newer format: named, and the lock is free again."""
    (tmp_path / "manifest.json").write_text(text)
    for _ in range(2):
        with pytest.raises(ModelError, match=sentence):
            RunDirectory.open(tmp_path)


def test_reading_needs_no_lock_and_writes_nothing(run: RunDirectory) -> None:
    """A run in progress can be read; a folder that holds no run says what to do."""
    train(run)
    other = RunDirectory.read_only(run.path)
    assert other.read_artefact("train", "models/nose.bin") == b"nose"
    assert other.require_stage("train")["results"] == {"seconds": 2}
    with pytest.raises(ModelError, match="contains no run: run `labelfill train-keypoint-models` first"):
        RunDirectory.read_only(run.path / "models")


def test_a_run_directory_deleted_midway_is_noticed(run: RunDirectory) -> None:
    """Deleted, or deleted and begun by another run: nothing is written into it any more."""
    run.begin_stage("train", INPUTS)
    shutil.rmtree(run.path)
    with pytest.raises(StorageError, match="was deleted or replaced during the run"):
        run.save_unit("train", "nose", {"nose.bin": b""})
    assert not run.path.exists()
    with RunDirectory.open(run.path) as second:
        second.begin_stage("train", {})
        with pytest.raises(StorageError, match="was deleted or replaced"):
            run.save_unit("train", "nose", {"nose.bin": b""})
        run.close()
        with pytest.raises(StorageError, match="in use"):  # the first one's end does not free the second
            RunDirectory.open(run.path)
        assert second.finished_unit("train", "nose") is None


# -- stages -----------------------------------------------------------------------------------------


def test_a_finished_stage_is_not_done_again(run: RunDirectory) -> None:
    """fresh, then resume, then done, for the same inputs; the figures are kept."""
    assert run.begin_stage("train", INPUTS) == "fresh"
    assert run.begin_stage("train", INPUTS) == "resume"
    train(run)
    assert run.begin_stage("train", json.loads(json.dumps(INPUTS))) == "done"
    run.close()
    with RunDirectory.open(run.path) as again:
        assert again.begin_stage("train", INPUTS) == "done"
        assert again.require_stage("train")["units"]["nose"]["results"] == {"rmse": 1.5}


def test_a_changed_input_is_named(run: RunDirectory) -> None:
    """What changed, from what to what, and the two ways out; with --force the stage starts over."""
    train(run)
    changed = {"epochs": 4, "table": {"sha256": "b" * 64}, "method": "prior"}
    with pytest.raises(UsageError) as caught:
        run.begin_stage("train", changed)
    assert str(caught.value) == (
        f"train was finished in {run.path} with different inputs (epochs: was 3, is 4; table.sha256: was "
        'aaaaaaaaaaaa..., is bbbbbbbbbbbb...; method: was absent, is "prior"); '
        "use --force to start over, or choose another --run-dir"
    )
    assert run.begin_stage("train", changed, force=True) == "fresh"
    assert run.finished_unit("train", "nose") is None


@pytest.mark.parametrize("fault", ["delete", "flip", "truncate"])
def test_damaged_results_are_refused_and_made_anew(
    run: RunDirectory, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing, flipped or truncated file is named, never read, and only its unit is done again."""
    train(run)
    path = run.path / "models/nose.bin"
    if fault == "delete":
        path.unlink()
    else:
        path.write_bytes(b"nosf" if fault == "flip" else b"no")
    for read in (lambda: run.require_stage("train"), lambda: run.read_artefact("train", "models/nose.bin")):
        with pytest.raises(ModelError, match=r"nose\.bin is (missing|damaged).*: run `labelfill train"):
            read()
    with caplog.at_level(logging.WARNING, "labelfill"):
        assert run.begin_stage("train", INPUTS) == "resume"
        assert run.finished_unit("train", "nose") is None
    assert run.finished_unit("train", "mouth") is not None
    assert "train is repeated where necessary" in caplog.text


def test_what_is_not_there_names_the_command(run: RunDirectory) -> None:
    """A stage that was not run, or is half done, names the command to run."""
    with pytest.raises(
        ModelError, match=r"contains no results of train: run `labelfill train --run-dir .*` first"
    ):
        run.require_stage("train")
    run.begin_stage("train", INPUTS)
    with pytest.raises(
        ModelError, match=r"train in .* is unfinished: run `labelfill train --run-dir .*` again"
    ):
        run.require_stage("train")
    with pytest.raises(ModelError, match="is not a finished result of train"):
        run.read_artefact("train", "models/nose.bin")


def test_other_versions_are_told(run: RunDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """Going on under another torch warns that figures may differ."""
    run.begin_stage("train", INPUTS)
    run.stages["train"]["versions"]["torch"] = "1.0"
    with caplog.at_level(logging.WARNING, "labelfill"):
        run.begin_stage("train", INPUTS)
    assert 'torch: was "1.0"' in caplog.text


def test_a_fingerprint_follows_inputs_and_files(run: RunDirectory) -> None:
    """Two stages with other files have other fingerprints."""
    train(run)
    first = run.stage_fingerprint("train")
    run.begin_stage("train", INPUTS, force=True)
    run.save_unit("train", "nose", {"models/nose.bin": b"other"})
    run.finish_stage("train")
    assert run.stage_fingerprint("train") != first


def test_the_stage_finished_last_stands_last(run: RunDirectory) -> None:
    """The order of the manifest tells which output came last."""
    for name in ("impute a.csv", "impute b.csv"):
        run.begin_stage(name, {})
    for name in ("impute b.csv", "impute a.csv"):
        run.finish_stage(name)
    run.begin_stage("impute c.csv", {})
    assert list(run.stages) == ["impute b.csv", "impute a.csv", "impute c.csv"]
    assert run.last_finished("impute") == "impute a.csv"
    assert run.last_finished("train") is None


# -- checkpoints, metrics, split --------------------------------------------------------------------


def test_checkpoints_live_as_long_as_their_attempt(run: RunDirectory) -> None:
    """What unfinished units keep is gone when the stage is begun anew, and when it is finished."""
    for end in (lambda: run.begin_stage("train", INPUTS, force=True), lambda: run.finish_stage("train")):
        run.begin_stage("train", INPUTS)
        folder = run.checkpoint_folder("train")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nose").write_bytes(b"epoch 1")
        assert run.begin_stage("train", INPUTS) == "resume"
        assert (folder / "nose").is_file()
        end()
        assert not (folder / "nose").exists()


def test_metrics_are_whole_lines_even_after_a_kill(run: RunDirectory) -> None:
    """Half a line left by a killed run is cut off, so that the next one begins a line."""
    run.record({"epoch": np.int64(1), "rmse": np.float32(1.5), "mae": float("nan")})
    run.close()
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 2, "rm')
    with RunDirectory.open(run.path) as again:
        again.record({"epoch": 2})
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[0]["rmse"] == 1.5
    assert lines[0]["mae"] is None


def test_settings_are_written_when_a_stage_begins(tmp_path: Path) -> None:
    """settings.toml and the manifest hold the settings of every stage, each as it was begun."""
    with RunDirectory.open(tmp_path, [RunSettings(seed=3), KeypointModelSettings(epochs=9)]) as run:
        run.begin_stage("train", {"epochs": 9})
        run.save_unit("train", "nose", {"nose.bin": b""})
    changed = RunDirectory.open(tmp_path, [KeypointModelSettings(epochs=10)])
    with changed as run, pytest.raises(UsageError, match="epochs: was 9, is 10"):
        run.begin_stage("train", {"epochs": 10})
    with RunDirectory.open(tmp_path, [RunSettings(seed=3), FinalModelSettings(epochs=5)]) as run:
        run.begin_stage("final", {})
        assert run.manifest["settings"]["keypoint-models"]["epochs"] == 9
    toml = read_toml(tmp_path / "settings.toml", SECTIONS)
    assert resolve(KeypointModelSettings, toml, {}, {}).epochs == 9
    assert resolve(FinalModelSettings, toml, {}, {}).epochs == 5
    assert resolve(RunSettings, toml, {}, {}).seed == 3


def test_the_split_is_made_once(run: RunDirectory) -> None:
    """Later stages get the same rows; a split that was changed by hand is refused."""
    first = run.split(40, lambda: make_split(np.arange(40), np.zeros(40, np.int64), 0))
    np.testing.assert_array_equal(first, run.split(40, lambda: pytest.fail("made twice")))
    path = run.path / "split.csv"
    path.write_text(path.read_text().replace("evaluation", "training"))
    with pytest.raises(ModelError, match="was changed after it was written"):
        run.split(40, lambda: first)


def test_something_else_is_split_anew(run: RunDirectory) -> None:
    """A split is of certain rows by certain columns; for others it is made again."""
    first = run.split(40, lambda: make_split(np.arange(40), np.zeros(40, np.int64), 0), of={"images": "a"})
    np.testing.assert_array_equal(first, run.split(40, lambda: pytest.fail("twice"), of={"images": "a"}))
    other = run.split(30, lambda: make_split(np.arange(30), np.zeros(30, np.int64), 1), of={"images": "b"})
    np.testing.assert_array_equal(other, run.split(30, lambda: pytest.fail("twice"), of={"images": "b"}))


def test_a_stage_without_work_is_begun_anew(run: RunDirectory) -> None:
    """A mistyped setting that stopped a stage at once need not be forced out; a checkpoint has to be."""
    run.begin_stage("train", {"column": "typo"})
    assert run.begin_stage("train", {"column": "right"}) == "fresh"
    run.checkpoint_folder("train").mkdir(parents=True)
    (run.checkpoint_folder("train") / "nose").write_bytes(b"work")
    with pytest.raises(UsageError, match='column: was "right", is "other"'):
        run.begin_stage("train", {"column": "other"})


def test_values_become_json() -> None:
    """Arrays, paths, tuples and numbers that are not finite have their place in the manifest."""
    value = {"a": np.arange(2), "b": (Path("x"), None, True), 3: [np.float64("inf"), np.bool_(False)]}
    assert json_value(value) == {"a": [0, 1], "b": ["x", None, True], "3": [None, False]}
    with pytest.raises(TypeError, match="no place in JSON"):
        json_value(object())


def test_what_is_settled_when_a_stage_begins_stays_so(run: RunDirectory) -> None:
    """A stage goes on with what it was begun with; a new attempt chooses anew."""
    run.begin_stage("train", {"seed": 0})
    assert run.settled("train", "threads", 2) == 2
    assert run.settled("train", "threads", 5) == 2
    assert RunDirectory.read_only(run.path).stages["train"]["settled"] == {"threads": 2}
    run.begin_stage("train", {"seed": 0}, force=True)
    assert run.settled("train", "threads", 5) == 5
