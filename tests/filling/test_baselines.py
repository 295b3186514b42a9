from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.data.table import read_table
from labelfill.errors import UsageError
from labelfill.filling.simple_ways import SIMPLE_METHODS, SimpleMethod, fill_simply

YTF = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[3] / "shared/data")) / "ytf"


def gappy(rows: int, keypoints: int, share: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.normal(48, 10, (rows, keypoints, 2))
    labels[rng.random(labels.shape) < share] = np.nan
    return labels


@pytest.mark.parametrize("method", SIMPLE_METHODS)
@given(
    rows=st.integers(1, 8),
    keypoints=st.integers(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_observed_is_kept_and_blank_is_filled(
    method: SimpleMethod, rows: int, keypoints: int, share: float, seed: int
) -> None:
    """Observed coordinates are kept to the bit; a coordinate that some row has is filled in every row."""
    labels = gappy(rows, keypoints, share, seed)
    before = labels.copy()
    filled = fill_simply(labels, method)
    observed = ~np.isnan(before)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(filled[observed], before[observed])
    np.testing.assert_array_equal(np.isnan(filled), np.broadcast_to(~observed.any(0), filled.shape))


@given(rows=st.integers(1, 12), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_forward_fill_is_what_pandas_does(rows: int, share: float, seed: int) -> None:
    """Forward fill takes the last value above, and the next one below for the first rows, as pandas does."""
    labels = gappy(rows, 2, share, seed)
    expected = pd.DataFrame(labels.reshape(rows, -1)).ffill().bfill().to_numpy()
    np.testing.assert_array_equal(fill_simply(labels, "forward-fill").reshape(rows, -1), expected)


def test_mean_is_the_columns_mean() -> None:
    """Every blank gets its own column's mean."""
    labels = np.array([[[1.0, 10.0]], [[3.0, np.nan]], [[np.nan, 30.0]]])
    assert fill_simply(labels, "mean").tolist() == [[[1, 10]], [[3, 20]], [[2, 30]]]


def test_an_unknown_method_is_refused() -> None:
    """A method that does not exist is answered by those that do."""
    with pytest.raises(UsageError, match=r"'median'; choose from mean, forward-fill, knn, iterative"):
        fill_simply(np.zeros((2, 1, 2)), "median")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["knn", "iterative"])
def test_scikit_learn_is_asked_for_only_when_needed(
    method: SimpleMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without scikit-learn the imputers say how to get it, and the other ways work."""
    monkeypatch.setitem(sys.modules, "sklearn.experimental", None)
    labels = gappy(4, 2, 0.4, 0)
    with pytest.raises(UsageError, match=r"pip install 'labelfill\[compare\]'"):
        fill_simply(labels, method)
    fill_simply(labels, "mean")


@pytest.mark.slow
@pytest.mark.skipif(not YTF.is_dir(), reason=f"no real faces at {YTF} (LABELFILL_DATA)")
@pytest.mark.parametrize(
    ("method", "expected"), [("forward-fill", 6.41), ("mean", 4.19), ("knn", 2.44), ("iterative", 2.35)]
)
def test_figures_on_real_faces(method: SimpleMethod, expected: float) -> None:
    """On the real faces each way errs as much as was measured when the method was designed."""
    labels = read_table(YTF / "training.zip").labels
    truth = read_table(YTF / "training_truth.csv", require_images=False).labels
    blank = np.isnan(labels)
    blank &= (blank.mean(axis=(0, 2)) > 0.5)[:, None]
    errors = (fill_simply(labels, method) - truth)[blank]
    assert np.sqrt((errors**2).mean()) == pytest.approx(expected, abs=0.01)
