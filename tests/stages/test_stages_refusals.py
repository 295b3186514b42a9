"""What the stages refuse, what they leave blank, and the exit codes by which a script tells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from labelfill.data.synthetic import draw_table, write_table
from labelfill.schema import ImageSize
from tests.driving import PRIOR, bare_table, check_filled, content, done, labelfill
from tests.trained_runs import SMALL_KEYPOINTS, Trained, draw_small_table


def trained_on(table: Path, run: Path, *options: object) -> dict[str, object]:
    return done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR, *options)


# -- cells that stay blank, and tables without any --------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prior", "anchored"])
def test_a_keypoint_that_nobody_labels_stays_blank(tmp_path: Path, method: str) -> None:
    """It is named, the rest is filled, impute and run end with exit code 6, and train-final goes on."""
    drawn = draw_small_table()
    drawn.labels[:, 2] = np.nan
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    write_table(table, drawn)
    trained = labelfill("train-keypoint-models", "--data", table, "--run-dir", run, "--method", method)
    assert trained.code == 0
    assert "nose_tip stays blank: 0 training rows label it, but 10 are needed" in trained.err
    told = labelfill("impute", "--run-dir", run, "--out", filled)
    assert told.code == 6
    assert "left blank, too few labels: nose_tip (200 cells)" in told.out
    again = labelfill("impute", "--run-dir", run, "--out", filled, "--json")
    assert again.code == 6, "a finished stage ends with the code it ended with"
    check_filled(table, filled, again.result)
    blank = ~bare_table(filled).observed
    assert blank[:, 2].all()
    assert not np.delete(blank, 2, axis=1).any()
    final = done("train-final", "--run-dir", run)
    assert "nose_tip" not in final["evaluation keypoints"]


@pytest.mark.slow
def test_too_few_labels_leave_a_keypoint_blank(tmp_path: Path) -> None:
    """Under ten labels to learn from: left blank and named; identical images still give their labels."""
    drawn = draw_small_table()
    drawn.labels[5:, 3] = np.nan
    drawn.images[50] = drawn.images[np.flatnonzero(np.isfinite(drawn.labels[:5, 3]).all(axis=1))[0]]
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    write_table(table, drawn)
    trained = labelfill("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    assert trained.code == 0
    assert "mouth_center_bottom_lip stays blank except for 1 point, copied from id" in trained.err
    assert "except for copies from identical images: mouth_center_bottom_lip (1 point)" in trained.out
    assert trained_on(table, run)["left blank"] == ["mouth_center_bottom_lip"]
    outcome = labelfill("impute", "--run-dir", run, "--out", filled, "--json")
    assert outcome.code == 6
    check_filled(table, filled, outcome.result)
    assert outcome.result["methods"]["copy"] >= 1
    observed = bare_table(filled).observed
    assert observed[50, 3].all()
    assert not observed[51:, 3].any()


def test_copies_are_announced_before_they_are_made(tmp_path: Path) -> None:
    """With all images identical a keypoint is not learnt, and every blank point is filled: both are told."""
    drawn = draw_small_table()
    drawn.images[:] = drawn.images[0]
    drawn.labels[0, 3], drawn.labels[1:, 3] = drawn.truth[0, 3], np.nan
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    write_table(table, drawn)
    command = ("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    points = int(np.isnan(drawn.labels[:, 3]).any(axis=1).sum())
    planned = labelfill(*command, "--dry-run").out
    assert "except for copies from identical images: " in planned
    assert f"mouth_center_bottom_lip ({points} points)" in planned
    trained = labelfill(*command)
    assert "mouth_center_bottom_lip gets no model, but all its blanks can be copied" in trained.err
    assert "mouth_center_bottom_lip stays blank" not in trained.err
    outcome = labelfill("impute", "--run-dir", run, "--out", filled, "--json")
    assert outcome.code == 0
    assert bare_table(filled).observed[:, 3].all()
    check_filled(table, filled, outcome.result)


def test_labels_of_one_group_alone_leave_a_keypoint_blank(tmp_path: Path) -> None:
    """Rows that belong together are never both learnt from and judged: labels of one group do not do."""
    drawn = draw_small_table()
    drawn.labels[:40, 3], drawn.labels[40:, 3] = drawn.truth[:40, 3], np.nan
    subjects = [str(max(row, 39)) for row in range(drawn.rows)]
    table, run = tmp_path / "t.csv", tmp_path / "run"
    write_table(table, drawn, before={"subject": subjects})
    train = ["train-keypoint-models", "--data", table, "--run-dir", run, "--group-column", "subject"]
    trained = labelfill(*train, *PRIOR, "--json")
    assert trained.code == 0
    assert trained.result["left blank"] == ["mouth_center_bottom_lip"]
    assert "training rows label it, but they all belong together" in trained.err


@pytest.mark.slow
def test_run_ends_with_the_fills_exit_code(tmp_path: Path) -> None:
    """All three stages are done, and the code says that cells had to stay blank."""
    drawn = draw_small_table()
    drawn.labels[:, 2] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    outcome = labelfill("run", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run", *PRIOR, "--json")
    assert outcome.code == 6
    assert outcome.result["impute"]["left_blank_keypoints"] == {"nose_tip": 200}
    assert outcome.result["train-final"]["state"] == "fresh"


def test_a_complete_table_has_nothing_to_fill(tmp_path: Path) -> None:
    """Every stage says so or goes on, exit code 0, and the output equals the input."""
    drawn = draw_table(40, 5, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24))
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv.gz"
    write_table(table, drawn)
    trained = labelfill("train-keypoint-models", "--data", table, "--run-dir", run)
    assert trained.code == 0
    assert "no keypoint has blanks: there is nothing to train" in trained.out
    told = labelfill("impute", "--run-dir", run, "--out", filled)
    assert told.code == 0
    assert "nothing to fill" in told.out
    assert content(filled) == table.read_bytes()
    check_filled(table, filled, done("impute", "--run-dir", run, "--out", filled))
    done("train-final", "--run-dir", run)


def test_models_of_a_complete_table_leave_anothers_gaps(tmp_path: Path) -> None:
    """Nothing was trained to fill them: exit code 6, all named."""
    drawn = draw_table(40, 5, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24))
    write_table(tmp_path / "t.csv", drawn)
    trained_on(tmp_path / "t.csv", tmp_path / "run")
    write_table(tmp_path / "gaps.csv", draw_small_table())
    outcome = labelfill(
        *("impute", "--run-dir", tmp_path / "run", "--data", tmp_path / "gaps.csv"),
        *("--out", tmp_path / "filled.csv", "--json"),
    )
    assert outcome.code == 6
    assert outcome.result["filled"] == 0
    assert set(outcome.result["left_blank_keypoints"]) == set(SMALL_KEYPOINTS)
    check_filled(tmp_path / "gaps.csv", tmp_path / "filled.csv", outcome.result)


# -- outputs ----------------------------------------------------------------------------------------


def test_an_existing_output_is_not_overwritten(small_prior: Trained, tmp_path: Path) -> None:
    """Exit code 2 without --force, for the table and for its sidecar; nothing is begun by the refusal."""
    for name in ("filled.csv", "filled.provenance.csv"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text("precious")
        command = ["impute", "--run-dir", small_prior.run, "--out", folder / "filled.csv"]
        refused = labelfill(*command)
        assert refused.code == 2
        assert refused.sentence == (
            f"{folder / name} already exists: choose another file, or use --force to overwrite it"
        )
        assert (folder / name).read_text() == "precious"
        assert [file.name for file in folder.iterdir()] == [name]
        (folder / name).unlink()
        done(*command, "--coverage", 0.8)
    (folder / "filled.csv").write_text("edited")
    assert labelfill(*command, "--coverage", 0.8).code == 2
    done(*command, "--coverage", 0.8, "--force")


def test_the_original_is_never_written(small_prior: Trained, tmp_path: Path) -> None:
    """Not as --out, not by way of a link, not as the sidecar of another name; not even by --force."""
    table = tmp_path / "t.provenance.csv"
    shutil.copy(small_prior.table, table)
    (tmp_path / "link.csv").symlink_to(table)
    before = table.read_bytes()
    for out in (table, tmp_path / "link.csv", tmp_path / "t.csv", tmp_path / "." / "t.provenance.csv"):
        refused = labelfill("impute", "--run-dir", small_prior.run, "--data", table, "--out", out, "--force")
        assert refused.code == 2, out
        assert "the original is never changed" in refused.sentence
        assert table.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(small_prior: Trained, tmp_path: Path) -> None:
    """Exit code 5, and no folder is made by a slip of the pen."""
    refused = labelfill("impute", "--run-dir", small_prior.run, "--out", tmp_path / "no" / "filled.csv")
    assert refused.code == 5
    assert refused.sentence.startswith(f"cannot write {tmp_path / 'no' / 'filled.'}")
    assert "the folder does not exist" in refused.sentence
    suffix = labelfill("impute", "--run-dir", small_prior.run, "--out", tmp_path / "filled.xlsx")
    assert suffix.code == 2
    assert suffix.sentence.startswith("'filled.xlsx': a table is written as .csv, .csv.gz or .zip")
    assert list(tmp_path.iterdir()) == []


# -- models and tables that do not fit --------------------------------------------------------------


def test_models_that_are_missing(small_prior: Trained, tmp_path: Path) -> None:
    """Exit code 3 for each command that needs them, naming the command to run first; no folder is made."""
    for command in (
        ["impute", "--data", small_prior.table],
        ["train-final"],
        ["predict", "--images", small_prior.table, "--out", tmp_path / "p.csv"],
    ):
        refused = labelfill(*command, "--run-dir", tmp_path / "run")
        assert refused.code == 3
        assert "run `labelfill train-keypoint-models` first" in refused.sentence
    assert list(tmp_path.iterdir()) == []
    trained_on(small_prior.table, tmp_path / "run")
    refused = labelfill("train-final", "--run-dir", tmp_path / "run")
    assert refused.code == 3
    assert "run `labelfill impute` first" in refused.sentence
    predict = ["predict", "--images", small_prior.table, "--out", tmp_path / "p.csv"]
    refused = labelfill(*predict, "--run-dir", tmp_path / "run")
    assert refused.code == 3
    assert "labelfill train-final" in refused.sentence


@pytest.mark.slow
def test_models_that_are_damaged(small: Trained, tmp_path: Path) -> None:
    """A file that is changed, cut off or gone: exit code 3, the file, and the command that makes it anew."""
    run = tmp_path / "run"
    shutil.copytree(small.run, run)
    file = next((run / "keypoint-models").glob("*/model.safetensors"))
    weights = file.read_bytes()
    for harm in (lambda: file.write_bytes(b"x"), lambda: file.write_bytes(weights[:-1]), file.unlink):
        harm()
        refused = labelfill("impute", "--run-dir", run, "--out", tmp_path / "filled.csv")
        assert refused.code == 3
        assert str(file) in refused.sentence
        assert f"run `labelfill train-keypoint-models --run-dir {run}` again" in refused.sentence
    again = ["train-keypoint-models", "--data", small.table, "--run-dir", run, "--epochs", 2]
    assert done(*again)["state"] == "resume"
    assert file.read_bytes() == weights


def test_tables_of_another_kind_are_refused(small_prior: Trained, tmp_path: Path) -> None:
    """Other keypoints or another image size: exit code 3, and the run is as before."""
    size = ImageSize(24, 24)
    others = {"brow": "nose_tip", **{keypoint: keypoint for keypoint in SMALL_KEYPOINTS[:3]}}
    refusals = {}
    for name, table in {
        "other": draw_table(3, keypoints=others, image_size=size),
        "larger": draw_table(3, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(30, 30)),
    }.items():
        write_table(tmp_path / f"{name}.csv", table)
        refusals[name] = labelfill(
            *("impute", "--run-dir", small_prior.run, "--data", tmp_path / f"{name}.csv"),
            *("--out", tmp_path / "filled.csv"),
        )
        assert refusals[name].code == 3
    assert refusals["other"].sentence == (
        f"{tmp_path / 'other.csv'} has different keypoints than the models in {small_prior.run} (missing: "
        "'mouth_center_bottom_lip'; additional: 'brow'); train models for it in another --run-dir"
    )
    assert "found 900 pixels, expected 576 (24x24, which the models in" in refusals["larger"].sentence
    done("impute", "--run-dir", small_prior.run, "--out", tmp_path / "filled.csv")


def test_a_table_that_changed_is_refused(small_prior: Trained, tmp_path: Path) -> None:
    """The recorded path with other content: exit code 3, --data is named, and by --data it is filled."""
    table, run = tmp_path / "t.csv", tmp_path / "run"
    shutil.copy(small_prior.table, table)
    trained_on(table, run)
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))
    refused = labelfill("impute", "--run-dir", run, "--out", tmp_path / "filled.csv")
    assert refused.code == 3
    assert refused.sentence == (
        f"{table} has changed since the models in {run} were trained on it: train again in another "
        f"--run-dir, or fill it as it is now by --data {table}"
    )
    done("impute", "--run-dir", run, "--out", tmp_path / "filled.csv", "--data", table)
    table.unlink()
    gone = labelfill("impute", "--run-dir", run, "--out", tmp_path / "filled2.csv")
    assert gone.code == 3
    assert "no such file" in gone.sentence


# -- the machine ------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there(small_prior: Trained, tmp_path: Path, device: str) -> None:
    """Exit code 4 for every command that computes, and nothing is begun."""
    for command in (
        ["train-keypoint-models", "--data", small_prior.table, "--run-dir", tmp_path / "run"],
        ["impute", "--run-dir", small_prior.run, "--out", tmp_path / "filled.csv"],
    ):
        refused = labelfill(*command, "--device", device)
        assert refused.code == 4
        assert f"--device {device} was requested, but PyTorch" in refused.sentence
        assert "use --device cpu or auto" in refused.sentence
    assert not (tmp_path / "filled.csv").exists()


def test_two_at_once_are_refused(small_prior: Trained, tmp_path: Path) -> None:
    """A run directory in use: exit code 5, naming the process that holds it."""
    from labelfill.runs import RunDirectory

    run = tmp_path / "run"
    shutil.copytree(small_prior.run, run)
    with RunDirectory.open(run):
        refused = labelfill("impute", "--run-dir", run)
    assert refused.code == 5
    assert f"in use by process {os.getpid()}" in refused.sentence


@pytest.mark.slow
def test_the_program_itself_ends_so(tmp_path: Path) -> None:
    """The installed program, not only its function: one line on stderr, nothing on stdout, exit code 3."""
    ended = subprocess.run(
        [sys.executable, "-m", "labelfill", "train-keypoint-models", "--data", "none.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert ended.stderr.startswith("labelfill: error: none.csv: no such file")
    assert ended.stderr.count("\n") == 1
