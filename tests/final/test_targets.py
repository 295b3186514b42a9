"""What the final network learns from, and in whose convention its answers are meant."""

from __future__ import annotations

import numpy as np

from labelfill.final.fitting import rows_learnt_from
from labelfill.final.targets import Heads, Targets
from labelfill.runs import EVALUATION, TRAINING, VALIDATION
from labelfill.settings import FinalModelSettings

FILLED_ALONE = 2


def test_a_row_is_answered_in_its_own_sources_convention() -> None:
    """A disputed keypoint by the head of the row's group, every other one by its only head."""
    heads = Heads(3, ((0, 1), (2, 2)))
    answer = np.arange(5.0)[None].repeat(4, axis=0)  # each head answers its number
    groups = np.array([0, 1, 2, -1])
    assert heads.in_convention(answer, groups).tolist() == [[0, 1, 2], [3, 1, 2], [0, 1, 4], [0, 1, 2]]


def test_rows_that_are_scored_teach_nothing() -> None:
    """Training rows with a target are learnt from; validation rows with a person's label choose the epoch."""
    parts = np.tile([TRAINING, VALIDATION, EVALUATION], 10).astype(np.int8)
    weight, observed = np.ones((30, 2)), np.ones((30, 2), bool)
    weight[0], observed[0] = 0.0, False
    observed[FILLED_ALONE + 2] = False  # a validation row of fills
    targets = Targets(np.zeros((30, 2, 2)), weight, observed)
    for settings in (FinalModelSettings(), FinalModelSettings(most_rows=6)):
        learnt, held_out = rows_learnt_from(targets, parts, settings.complete(), 0)
        assert (parts[learnt] == TRAINING).all()
        assert (parts[held_out] == VALIDATION).all()
        assert 0 not in learnt
        assert FILLED_ALONE + 2 not in held_out
        assert (len(learnt), len(held_out)) == ((9, 9) if settings.most_rows is None else (6, 3))
