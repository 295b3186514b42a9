"""Presets of the final network, what it learns of blank cells, and rows of several sources apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.filling.simple_ways import SIMPLE_METHODS, SimpleMethod, fill_simply
from labelfill.final.fitting import FinalSetup, copied_examples, new_model
from labelfill.final.targets import Heads, Targets
from labelfill.networks.devices import Computing, choose_device
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import FinalModelSettings
from tests.driving import bare_table, done, labelfill
from tests.trained_runs import Trained

FINAL = Path("final")
# Its own second session has 25 epochs.
PHASE1 = ("--preset", "phase1", "--second-session-epochs", 1)


@pytest.fixture
def run(small_prior: Trained, tmp_path: Path) -> Path:
    """A copy of the small run, its table filled."""
    copy = tmp_path / "run"
    shutil.copytree(small_prior.run, copy)
    done("impute", "--run-dir", copy)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["baseline", "phase3"])
def test_a_preset_is_trained_kept_and_used(run: Path, small_prior: Trained, preset: str) -> None:
    """The best weights by RMSE and by MAE are kept, and prediction builds the same network."""
    train = ["train-final", "--run-dir", run, "--preset", preset, "--second-session-epochs", 1]
    result = done(*train, "--best-by", "mae")
    assert result["epochs"] == 2
    about = json.loads((run / FINAL / "model.json").read_text())
    assert about["settings"]["preset"] == preset
    assert about["settings"]["batch_size"] is not None
    by_mae = json.loads((run / "manifest.json").read_text())["stages"]["train-final"]["outputs"]
    assert "final/model-by-rmse.safetensors" in by_mae
    assert result["best by rmse"]["validation rmse"] <= result["validation rmse"] * 1.0001
    assert result["validation mae"] <= result["best by rmse"]["validation mae"] * 1.0001
    out = run / "p.csv"
    done("predict", "--run-dir", run, "--images", small_prior.table, "--out", out)
    assert np.isfinite(bare_table(out).labels).all()


@pytest.mark.slow
def test_options_that_would_do_nothing_are_refused(run: Path) -> None:
    """Conventions of one table; a setting of a session that is not asked for idles."""
    train = ["train-final", "--run-dir", run]
    refused = labelfill(*train, "--preset", "phase3", "--single-convention")
    assert refused.code == 2
    assert "presets of the original work have one output per keypoint anyway" in refused.sentence
    assert labelfill(*train, "--preset", "baseline", "--second-session-batch", 64).code == 2
    done(*train, *PHASE1, "--second-session-batch", 64)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["observed", "complete", "forward-fill"])
def test_labels_need_no_filled_table(run: Path, small_prior: Trained, labels: str) -> None:
    """What is not learnt from fills is learnt from the table as it was; the same labels are scored."""
    (run / "filled.csv").unlink()
    assert labelfill("train-final", "--run-dir", run).code != 0
    result = done("train-final", "--run-dir", run, "--labels", labels, *PHASE1)
    assert result["evaluation rows"] == 10
    if labels == "complete":
        other = done("train-final", "--run-dir", run, "--labels", "observed", *PHASE1, "--force")
        assert other["evaluation rows"] == result["evaluation rows"]
        assert other["evaluation rmse"] != result["evaluation rmse"]


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["parallel", "separate"])
def test_rows_of_two_sources_are_learnt_apart(two_sources: Trained, tmp_path: Path, rows: str) -> None:
    """Heads or networks for each source; prediction answers in a source's own when it is named."""
    run = tmp_path / "run"
    shutil.copytree(two_sources.run, run)
    done("train-final", "--run-dir", run, *PHASE1, "--rows", rows, "--labels", "observed")
    about = json.loads((run / FINAL / "model.json").read_text())
    assert len(about["further"]) == 4, "the second source labels four keypoints"
    predict = ["predict", "--run-dir", run, "--images", two_sources.table, "--out"]
    answers = []
    for source in ("1", "2"):
        done(*predict, run / f"{source}.csv", "--source", source)
        answers.append(bare_table(run / f"{source}.csv").labels)
    differs = (answers[0] != answers[1]).any(axis=(0, 2))
    assert differs.sum() == 4


def test_rows_of_one_source_cannot_be_taken_apart(run: Path) -> None:
    """Exit code 3, and what to do."""
    refused = labelfill("train-final", "--run-dir", run, "--rows", "separate")
    assert refused.code == 3
    assert "use --rows together" in refused.sentence


@pytest.mark.parametrize("method", SIMPLE_METHODS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_held_out_rows_fill_no_other_row(method: SimpleMethod, seed: int) -> None:
    """Whatever rows hold that may not be learnt from, the fills of all other rows are the same."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(48, 10, (20, 3, 2))
    labels[rng.random(labels.shape) < 0.3] = np.nan
    learn = rng.random(20) < 0.7
    learn[:3] = True
    other = labels.copy()
    other[~learn] = rng.normal(0, 50, other[~learn].shape)
    first, second = (fill_simply(one, method, learn_from=learn)[learn] for one in (labels, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)  # sums of floats in another order


def test_copies_are_turned_with_their_labels() -> None:
    """A bright dot in a turned or mirrored copy lies where the copy's target says, within a px."""
    size = ImageSize(41, 41)
    schema = KeypointSchema(("left_a", "right_a"), size)
    xy = np.array([[[30.0, 12.0], [11.0, 12.0]], [[8.0, 30.0], [33.0, 28.0]]])
    images = np.zeros((2, 41, 41), np.uint8)
    for row in range(2):
        images[row, int(xy[row, 0, 1]), int(xy[row, 0, 0])] = 255
        images[row, int(xy[row, 1, 1]), int(xy[row, 1, 0])] = 120
    targets = Targets(xy, np.ones((2, 2)), np.ones((2, 2), bool))
    chosen = FinalModelSettings(preset="phase2", equalize="none").complete()
    device, parts = choose_device("cpu"), np.zeros(2, np.int8)
    setup = FinalSetup(schema, (1, 0), ("1",), parts, chosen, 0, Computing(device))
    model = new_model(setup, Heads(2), targets)
    examples = copied_examples(model, targets, model.pyramid(images, device), np.array([True, False]), 0)
    assert len(examples.inputs) == 2 + 2 + 2, "rows, mirrored rows, and the complete row turned both ways"
    for image, place in zip(examples.inputs[:, 0].numpy(), examples.target.numpy(), strict=True):
        bright = np.array(np.unravel_index(image.argmax(), image.shape))[::-1]
        found = place * model.spread + size.centre
        assert min(np.linalg.norm(found - bright, axis=1)) < 1.0
    turned = examples.target[4:, 0] - examples.target[0, 0]
    assert (turned.norm(dim=1) > 0.01).all()
