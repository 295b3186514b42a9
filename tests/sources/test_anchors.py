"""Anchors: labels in the reference convention, and patterns borrowed from rows to be filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.schema import ImageSize, KeypointSchema, mirror_partners
from labelfill.sources.anchors import (
    Anchors,
    PatternBank,
    guessed_anchors,
    labels_as_anchors,
    refined_anchors,
)
from labelfill.sources.conventions import ConventionOffset
from tests.drawn_shapes import FACE, NOSE, PARTNERS, faces

seeds = st.integers(0, 2**32 - 1)


def drawn(rng: np.random.Generator, rows: int = 12, noisy: bool = True) -> Anchors:
    """Rows with gaps; half of the known coordinates carry noise."""
    xy = faces(rows, rng)
    noise = np.where(rng.random((rows, 7, 1)) < 0.4, np.inf, 0.0) + np.zeros((1, 1, 2))
    if noisy:
        noise = np.where(rng.random(noise.shape) < 0.5, noise, noise + rng.uniform(0.1, 4, noise.shape))
    return Anchors(np.where(np.isfinite(noise), xy, np.nan), noise)


def offset(guess: float = 3.0, noise: float = 1.0) -> ConventionOffset:
    """The second source's noses lie 4 px below, whatever the pose."""
    mean = np.array([0.0, 4.0])
    moved = np.zeros((3, 2))
    moved[-1] = mean
    return ConventionOffset(
        1, 0, NOSE, mean, np.stack([mean] * 2), 100, True,
        np.full(2, guess), np.full(2, noise), np.zeros(0, np.int64), moved,
    )  # fmt: skip


def test_labels_at_face_value() -> None:
    """A label is exact, a blank is unknown, and half a label is neither learnt from nor known."""
    labels = np.array([[[1.0, 2.0], [np.nan, np.nan], [3.0, np.nan]]])
    anchors = labels_as_anchors(labels)
    assert anchors.exact.tolist() == [[True, False, False]]
    assert anchors.known.tolist() == [[True, False, False]]
    assert anchors.noise[0, 2].tolist() == [0.0, np.inf]


@given(seed=seeds)
@settings(deadline=None, max_examples=30)
def test_mirrored_twice_is_what_it_was(seed: int) -> None:
    """Mirroring exchanges partners and noise with them; doing it twice changes nothing."""
    anchors = drawn(np.random.default_rng(seed))
    once = anchors.mirrored(FACE, PARTNERS)
    twice = once.mirrored(FACE, PARTNERS)
    np.testing.assert_allclose(twice.xy, anchors.xy, atol=1e-12)
    np.testing.assert_array_equal(twice.noise, anchors.noise)
    np.testing.assert_array_equal(once.noise[:, 0], anchors.noise[:, 1])
    np.testing.assert_allclose(once.xy[:, 0, 0], 63 - anchors.xy[:, 1, 0])


def test_a_mirrored_row_lacks_what_has_no_partner() -> None:
    """A keypoint whose partner is not in the table is unknown in the mirrored row."""
    names = ("left_ear", "nose")
    schema = KeypointSchema(names, ImageSize(10, 20))
    mirrored = labels_as_anchors(np.array([[[3.0, 4.0], [9.0, 6.0]]])).mirrored(
        schema, mirror_partners(names)
    )
    assert mirrored.exact.tolist() == [[False, True]]
    assert mirrored.xy[0, 1].tolist() == [10.0, 6.0]


@given(seed=seeds)
@settings(deadline=None, max_examples=60)
def test_a_drawn_row_never_shows_more_than_pattern_or_row(seed: int) -> None:
    """What is drawn is known only where both the row and a pattern know it, and at most as surely."""
    rng = np.random.default_rng(seed)
    anchors, patterns = drawn(rng, rows=30), drawn(rng, rows=1)
    shown = PatternBank(patterns.noise).draw(anchors, rng)
    expected = np.maximum(anchors.noise, patterns.noise)
    np.testing.assert_array_equal(shown.noise, expected)
    np.testing.assert_array_equal(np.isfinite(shown.xy), np.isfinite(expected))


def test_every_drawn_row_follows_one_pattern_of_the_bank() -> None:
    """Labels are hidden by whole patterns of rows to be filled, never by mixtures, and each comes up."""
    rng = np.random.default_rng(0)
    patterns = drawn(rng, rows=3, noisy=False)
    complete = labels_as_anchors(faces(200, rng))
    shown = PatternBank(patterns.noise).draw(complete, rng)
    distinct = {row.tobytes() for row in patterns.noise}
    assert {row.tobytes() for row in shown.noise} == distinct


def test_exact_labels_stay_where_they_are() -> None:
    """A label that a pattern shows exactly is shown unchanged; other labels err by their noise."""
    rng = np.random.default_rng(1)
    truth = faces(4000, rng)
    bank = PatternBank(np.array([[[0.0, 0.0]] * 3 + [[4.0, 1.0]] + [[np.inf, np.inf]] * 3]))
    shown = bank.draw(labels_as_anchors(truth), rng)
    np.testing.assert_array_equal(shown.xy[:, :3], truth[:, :3])
    np.testing.assert_allclose((shown.xy - truth)[:, 3].std(axis=0), [2.0, 1.0], rtol=0.08)
    np.testing.assert_allclose((shown.xy - truth)[:, 3].mean(axis=0), 0.0, atol=0.15)


def test_noise_is_added_up_to_the_patterns_not_beyond() -> None:
    """A label that already errs gets only what it lacks to the pattern's variance."""
    rng = np.random.default_rng(2)
    truth = faces(6000, rng)
    noise = np.full(truth.shape, 1.0)
    noisy = Anchors(truth + rng.standard_normal(truth.shape), noise)
    shown = PatternBank(np.full((1, 7, 2), 4.0)).draw(noisy, rng)
    np.testing.assert_allclose((shown.xy - truth).std(axis=(0, 1)), 2.0, rtol=0.05)
    certain = PatternBank(np.zeros((1, 7, 2))).draw(noisy, rng)
    np.testing.assert_array_equal(certain.xy, noisy.xy)
    np.testing.assert_array_equal(certain.noise, noise)


def test_the_same_generator_draws_the_same() -> None:
    """Drawing depends on the generator alone."""
    anchors = drawn(np.random.default_rng(3))
    bank = PatternBank(drawn(np.random.default_rng(4)).noise)
    one, two = (bank.draw(anchors, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.xy, two.xy)


def test_a_bank_hides_what_it_is_told_to() -> None:
    """The patterns of some rows, without the keypoint sought; of no row, nothing at all is known."""
    anchors = labels_as_anchors(faces(6, np.random.default_rng(6)))
    bank = PatternBank.of(anchors, np.arange(6) < 2, [NOSE])
    assert bank.noise.shape == (2, 7, 2)
    assert np.isinf(bank.noise[:, NOSE]).all()
    assert (np.delete(bank.noise, NOSE, axis=1) == 0).all()
    assert (anchors.noise == 0).all(), "the rows themselves keep what they know"
    np.testing.assert_array_equal(
        PatternBank.of(anchors, np.zeros(6, bool)).noise, PatternBank.blind(7).noise
    )


@pytest.mark.parametrize("which", [[NOSE], np.array([NOSE]), np.arange(7) == NOSE])
def test_without_forgets_and_leaves_the_rest(which: list[int]) -> None:
    """Keypoints are forgotten by number or by mask; the original knows them still."""
    anchors = labels_as_anchors(faces(3, np.random.default_rng(7)))
    fewer = anchors.without(which)
    assert not fewer.known[:, NOSE].any()
    assert np.delete(fewer.known, NOSE, axis=1).all()
    assert anchors.known.all()


def test_disputed_labels_are_moved_then_looked_at() -> None:
    """A disputed label is moved by the mean offset, then replaced by what was found; others stay exact."""
    labels = faces(4, np.random.default_rng(8))
    before = labels.copy()
    groups = np.array([0, 1, 1, -1])
    labels[1, NOSE] += [0, 4]
    labels[2, NOSE, 0] = np.nan  # half a label
    guess = guessed_anchors(labels, groups, [offset()], {}, 9.0)
    np.testing.assert_allclose(guess.xy[1, NOSE], before[1, NOSE])
    np.testing.assert_allclose(guess.noise[1, NOSE], 3.0)
    assert np.isinf(guess.noise[2, NOSE]).all()
    assert np.isinf(guess.noise[3, NOSE]).all(), "of unknown source: which convention, nobody knows"
    assert guess.exact[0].all()
    assert np.delete(guess.exact, NOSE, axis=1).all()
    answers = {NOSE: np.array([[9.0, 9.0], [7.0, 8.0], [np.nan, np.nan], [9.0, 9.0]])}
    found = refined_anchors(guess, groups, [offset(noise=1.5)], answers)
    assert found.xy[1, NOSE].tolist() == [7.0, 8.0]
    np.testing.assert_allclose(found.noise[1, NOSE], 1.5)
    np.testing.assert_array_equal(np.delete(found.noise, 1, axis=0), np.delete(guess.noise, 1, axis=0))
    np.testing.assert_array_equal(labels[1, NOSE], before[1, NOSE] + [0, 4])


def test_untested_labels_stay_in_place_but_are_doubted() -> None:
    """Where a convention could not be tested, labels keep their place with a stated variance, blanks none."""
    labels = faces(4, np.random.default_rng(9))
    labels[1, NOSE] = np.nan
    untested = {1: np.arange(7) == NOSE}
    found = guessed_anchors(labels, np.array([0, 1, 1, 1]), [], untested, 9.0)
    assert found.noise[:, NOSE, 0].tolist() == [0.0, np.inf, 9.0, 9.0]
    np.testing.assert_array_equal(found.xy, labels)
