"""The second look of the final stage: where it pays it is taken, where it does not it is left away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import draw_table, write_table
from labelfill.final.filled_table import FilledRequest
from labelfill.final.job import FinalJob, final_job
from labelfill.final.stage import start_of
from labelfill.regressors.files import load_about
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize
from labelfill.settings import FinalModelSettings
from tests.driving import done, labelfill
from tests.trained_runs import SMALL_KEYPOINTS, Trained


def rmse(predicted: Path, truth: Path) -> float:
    return float(done("evaluate", predicted, truth)["rmse"])


@pytest.mark.slow
def test_it_pays_on_faces_and_every_answer_is_its(tmp_path: Path) -> None:
    """A final network of few epochs errs by much, and patches around its answers show the points."""
    size = ImageSize(32, 32)
    write_table(tmp_path / "t.csv", draw_table(260, 3, keypoints=SMALL_KEYPOINTS, image_size=size, gaps=0.3))
    new = draw_table(60, 4, keypoints=SMALL_KEYPOINTS, image_size=size)
    write_table(tmp_path / "new.csv", new)
    run = ("--run-dir", tmp_path / "run")
    done("train-keypoint-models", "--data", tmp_path / "t.csv", "--epochs", 6, *run)
    done("impute", *run)
    told = done("train-final", *run, "--epochs", 16)
    assert told["second look"] == "taken"
    assert told["validation rmse"] < told["validation rmse without second look"]
    images = ("--images", tmp_path / "new.csv")
    done("predict", *images, "--out", tmp_path / "p.csv", *run)
    done("predict", *images, "--out", tmp_path / "q.csv", "--no-refine", *run)
    refined, own = (rmse(tmp_path / name, tmp_path / "new.csv") for name in ("p.csv", "q.csv"))
    assert refined < 0.9 * own
    outcome = labelfill("report", *run, "--out", tmp_path / "report.html")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_noise_is_not_looked_at_twice(tmp_path: Path) -> None:
    """Images that show nothing teach patches nothing: the network's own answers stand, and this is said."""
    drawn = draw_table(160, 3, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.3)
    noise = np.random.default_rng(0).integers(0, 256, drawn.images.shape, np.uint8)
    write_table(tmp_path / "t.csv", replace(drawn, images=noise))
    run = ("--run-dir", tmp_path / "run")
    done("train-keypoint-models", "--data", tmp_path / "t.csv", "--method", "prior", *run)
    done("impute", *run)
    outcome = labelfill("train-final", *run, "--epochs", 6)
    assert outcome.code == 0, outcome.err
    assert "second look not used: it would multiply errors on held-out rows by" in outcome.out
    assert not (tmp_path / "run" / "final" / "refiner").exists()
    done("predict", "--images", tmp_path / "t.csv", "--out", tmp_path / "p.csv", *run)


def job_of(run: RunDirectory, filled: Path, labels: str, original: Path | None = None) -> FinalJob:
    asked = FilledRequest(filled, original)
    settings = FinalModelSettings(labels=labels)  # type: ignore[arg-type]  # one of the words
    return final_job(run, asked, settings, device="cpu", seed=0)


def test_other_labels_are_given_nothing_of_the_keypoint_models(small_final: Trained, tmp_path: Path) -> None:
    """What keypoint models learnt is for the table that they filled; every other way starts anew."""
    filled = small_final.table.with_name("filled.csv")
    filled = filled if filled.exists() else next(small_final.table.parent.rglob("*filled*.csv"))
    other = tmp_path / "filled.csv"
    other.write_bytes(filled.read_bytes().replace(b"\n", b"\r\n"))
    with RunDirectory.open(small_final.run) as run:
        own = start_of(job_of(run, filled, "filled"))
        assert own is not None
        assert own.folds.max() + 1 == len(own.trunk)
        keypoints = {folder.name for folder in (run.path / "keypoint-models").iterdir()}
        schema = load_about(run).schema
        assert {schema.keypoints[k] for k in own.trained} == keypoints
        for k, networks in own.trained.items():
            assert len(networks) == len(own.trunk)
            for fold, weights in enumerate(networks):
                assert own.of(k, fold) == (weights, 0)
        for labels in ("observed", "complete", "mean"):
            assert start_of(job_of(run, filled, labels)) is None
        assert start_of(job_of(run, other, "filled", small_final.table)) is None


@pytest.mark.parametrize("keypoints", [SMALL_KEYPOINTS[2:3], SMALL_KEYPOINTS])
def test_a_point_that_few_rows_label_stays_where_the_network_put_it(
    keypoints: tuple[str, ...], tmp_path: Path
) -> None:
    """One keypoint alone, and one of several that hardly a row labels: every row is answered."""
    drawn = draw_table(150, 6, keypoints=keypoints, image_size=ImageSize(20, 26), gaps=0.2)
    if len(keypoints) > 1:
        drawn.labels[2:, 3] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    run = ("--run-dir", tmp_path / "run")
    size = ("--image-size", "20x26")
    done("train-keypoint-models", "--data", tmp_path / "t.csv", "--method", "prior", *size, *run)
    labelfill("impute", *run)  # which says that some cells stay blank
    told = done("train-final", *run, "--epochs", 2)
    assert told["second look"] == "taken" or "it would multiply errors" in told["second look"]
    done("predict", "--images", tmp_path / "t.csv", "--out", tmp_path / "p.csv", *size, *run)
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert len(lines) == 151
    assert "nan" not in "".join(lines[1:]).lower()
