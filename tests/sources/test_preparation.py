"""Folds of training rows: what is together stays together, and everything is spread evenly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.runs import TRAINING, VALIDATION
from labelfill.sources.preparation import _folds


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(40, 300), copies=st.floats(0.0, 0.3))
def test_rows_that_belong_together_share_their_folds(seed: int, rows: int, copies: float) -> None:
    """Of both kinds; rows that are not learnt from have none."""
    generator = np.random.default_rng(seed)
    ids = np.where(generator.random(rows) < copies, generator.integers(0, rows, rows), np.arange(rows))
    parts = np.where(generator.random(rows) < 0.8, TRAINING, VALIDATION).astype(np.int8)
    labelled = generator.random((rows, 6)) < 0.7
    folds, count, joint = _folds(parts, ids, labelled, seed)
    for one in (folds, joint):
        assert ((one >= 0) == (parts == TRAINING)).all()
        for identical in np.unique(ids[parts == TRAINING]):
            assert len(set(one[(ids == identical) & (parts == TRAINING)])) == 1
    assert set(folds[parts == TRAINING]) == set(range(count))


def test_every_joint_fold_holds_rows_of_every_fold() -> None:
    """So what is fitted without it has seen the answers of all networks; rows with many labels are spread."""
    rows = 300
    labelled = np.ones((rows, 4), bool)
    labelled[100:, 2:] = False
    folds, count, joint = _folds(np.full(rows, TRAINING, np.int8), np.arange(rows), labelled, 0)
    for rich in (labelled.all(axis=1), ~labelled.all(axis=1)):
        table = np.zeros((joint.max() + 1, count), int)
        np.add.at(table, (joint[rich], folds[rich]), 1)
        assert table.min() >= 0.7 * table.mean()
