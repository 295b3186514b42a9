"""No held-out image, copy or mirrored copy has a say in anything that is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfill.data.images.identity import content_ids
from labelfill.data.synthetic import DrawnTable, write_table
from labelfill.runs import EVALUATION, load_split
from labelfill.sources import preparation
from tests.driving import done, files_below
from tests.trained_runs import TWO_SOURCES_FINAL, Trained, draw_two_sources

FITTED = ("keypoint-models", "shared-models")


def parts_of(run: Path, drawn: DrawnTable) -> np.ndarray:
    return load_split(run / "split.csv", drawn.rows)


def poisoned(drawn: DrawnTable, rows: np.ndarray) -> DrawnTable:
    """The same table with everything that these rows hold replaced by nonsense; what is blank stays blank."""
    rng = np.random.default_rng(0)
    drawn.images[rows] = 255 - np.rot90(drawn.images[rows], 2, axes=(1, 2))
    drawn.labels[rows] = np.where(
        np.isnan(drawn.labels[rows]), np.nan, rng.uniform(0, 40, drawn.labels[rows].shape)
    )
    return drawn


def test_copies_stay_on_one_side(two_sources: Trained) -> None:
    """Rows of one image, as it is or mirrored, are in one part; a tenth of the rows are such copies."""
    drawn = draw_two_sources()
    parts = parts_of(two_sources.run, drawn)
    copies = np.flatnonzero(drawn.copy_of >= 0)
    assert len(copies) == 11
    assert drawn.mirrored[copies].any()
    np.testing.assert_array_equal(parts[copies], parts[drawn.copy_of[copies]])
    assert (np.bincount(parts, minlength=3) > 0).all()
    across = [drawn.sources[row] != drawn.sources[drawn.copy_of[row]] for row in copies]
    assert all(across)


@pytest.mark.slow
def test_evaluation_rows_have_no_say(
    two_sources_final: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other images and labels in the evaluation rows everything trained has the same bytes."""
    drawn, innocent = draw_two_sources(), two_sources_final.run
    parts = parts_of(innocent, drawn)
    write_table(tmp_path / "t.csv", poisoned(drawn, parts == EVALUATION))
    monkeypatch.setattr(preparation, "make_split", lambda *arguments: parts)
    trained = done("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run")
    done("impute", "--run-dir", tmp_path / "run", "--out", tmp_path / "filled.csv")
    done("train-final", "--run-dir", tmp_path / "run", *TWO_SOURCES_FINAL)
    assert len(trained["convention offsets"]) == 2, "the source audit takes part"
    before, after = files_below(innocent, *FITTED), files_below(tmp_path / "run", *FITTED)
    assert list(before) == list(after)
    assert [name for name in before if before[name] != after[name]] == []
    for final in ("final/model.safetensors", "final/refiner/networks.safetensors"):
        assert (innocent / final).read_bytes() == (tmp_path / "run" / final).read_bytes()


@pytest.mark.slow
def test_the_poison_would_be_noticed(
    two_sources: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same poison in as many training rows changes every file of weights: the test above can fail."""
    drawn = draw_two_sources()
    parts = parts_of(two_sources.run, drawn)
    alone = np.unique(content_ids(drawn.images), return_counts=True)
    single = np.isin(content_ids(drawn.images), alone[0][alone[1] == 1])
    rows = np.flatnonzero((parts == 0) & single)[: int((parts == EVALUATION).sum())]
    write_table(tmp_path / "t.csv", poisoned(drawn, rows))
    monkeypatch.setattr(preparation, "make_split", lambda *arguments: parts)
    done("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run")
    before, after = files_below(two_sources.run, *FITTED), files_below(tmp_path / "run", *FITTED)
    # Folds are of rows, whatever these hold.
    weights = [name for name in before if name.endswith(".safetensors") and "folds" not in name]
    assert [name for name in weights if before[name] == after.get(name)] == []


def test_folds_hold_copies_together(two_sources: Trained) -> None:
    """No fold's model learns from an image, as it is or mirrored, that its residuals are taken on."""
    from labelfill.data.dataset_reading import read_dataset
    from labelfill.runs import RunDirectory
    from labelfill.settings import TableSettings

    dataset = read_dataset(two_sources.table)
    with RunDirectory.open(two_sources.run) as run:
        prepared = preparation.prepare(run, dataset, TableSettings(), 0)
    ids = content_ids(dataset.images)
    for image in np.unique(ids):
        assert len(set(prepared.folds[ids == image])) == 1
    assert set(prepared.folds[prepared.training]) == set(range(prepared.fold_count))
    assert (prepared.folds[~prepared.training] == -1).all()
