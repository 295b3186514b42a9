"""What the final network learns from, and in whose convention its answers are meant."""

from __future__ import annotations

import numpy as np

from labelfill.data.dataset import dataset_of_arrays
from labelfill.filling.fills import HALF_WEIGHT
from labelfill.final.filled_table import Filled
from labelfill.final.fitting import rows_learnt_from
from labelfill.final.targets import Heads, Targets, make_targets
from labelfill.runs import EVALUATION, TRAINING, VALIDATION
from labelfill.settings import FinalModelSettings
from labelfill.sources.anchors import Anchors
from labelfill.sources.conventions import ConventionOffset, constant_map

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


def test_fills_and_moved_labels_count_less_and_are_not_scored() -> None:
    """A label counts whole, a fill by its sigma; of a label in another convention two things are learnt.

    Where its own source would put it, as a label; and where it would lie in the reference convention, as
    something that no person said.
    """
    labels = np.arange(24.0).reshape(4, 3, 2) + 1
    dataset = dataset_of_arrays(labels, ("a", "b", "c"), np.zeros((4, 50, 50), np.uint8), "X")
    observed, sigma = np.ones((4, 3, 2), bool), np.zeros((4, 3))
    observed[0, 1], sigma[0, 1] = False, HALF_WEIGHT * 50
    observed[3, 2, 0], sigma[3, 2] = False, 3 * HALF_WEIGHT * 50  # half a point
    mean, variance = np.array([2.0, -1.0]), np.array([0.6, 0.2])
    offset = ConventionOffset(
        1, 0, 0, mean, np.zeros((2, 2)), 50, True, variance, variance, np.array([1]),
        constant_map(np.array([1]), mean),
    )  # fmt: skip
    groups, moved = (
        np.array([0, 0, 1, 1]),
        Anchors(labels - 5.0, np.full(labels.shape, (HALF_WEIGHT * 50) ** 2)),
    )
    targets = make_targets(Filled(dataset, observed, sigma), Heads(3, ((0, 1),)), [offset], groups, moved)
    np.testing.assert_allclose(targets.xy[:2, 0], labels[:2, 0])
    np.testing.assert_allclose(targets.xy[2:, 0], labels[2:, 0] - 5)
    np.testing.assert_allclose(targets.xy[:2, 3], labels[:2, 0] + mean)
    np.testing.assert_allclose(targets.xy[2:, 3], labels[2:, 0])
    np.testing.assert_allclose(targets.xy[:, 1:3], labels[:, 1:])
    np.testing.assert_allclose(targets.weight[:, 1:3], [[0.5, 1], [1, 1], [1, 1], [1, 0.1]])
    np.testing.assert_allclose(targets.weight[:, 0], [1, 1, 0.5, 0.5])
    np.testing.assert_allclose(targets.weight[:, 3], [1 / 1.4, 1 / 1.4, 1, 1])
    assert targets.observed[:, 0].tolist() == [True, True, False, False]
    assert targets.observed[:, 3].tolist() == [False, False, True, True]
    assert targets.observed[:, 1:3].tolist() == [[False, True], [True, True], [True, True], [True, False]]
