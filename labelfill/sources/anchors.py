"""Anchors: what a row knows of itself before it is filled, and how that is imitated in training.

Every row's labels are brought into the reference convention, with the noise that this leaves.
Training rows label nearly everything while rows to be filled label little, so training hides
labels by the patterns of the rows that will be filled: **train as you will fill**.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.schema import KeypointSchema
from labelfill.sources.conventions import ConventionOffset
from labelfill.sources.groups import UNKNOWN


@dataclass(frozen=True)
class Anchors:
    """Labels in the reference convention and what is known of their errors.

    Attributes
    ----------
    xy
        (n, K, 2), px; NaN where nothing is known.
    noise
        (n, K, 2), px²: 0 for a label that is taken as exact, inf where nothing is known.
    """

    xy: Array
    noise: Array

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, rows: Integers | Mask) -> Anchors:
        return Anchors(self.xy[rows], self.noise[rows])

    @property
    def exact(self) -> Mask:
        """(n, K): keypoints labelled in the reference convention, both coordinates: to learn from."""
        exact: Mask = np.all(self.noise == 0, axis=2)
        return exact

    @property
    def known(self) -> Mask:
        """(n, K): keypoints of which both coordinates are known somehow."""
        known: Mask = np.all(np.isfinite(self.noise), axis=2)
        return known

    def with_rows(self, rows: Integers, others: Anchors) -> Anchors:
        """The same with other anchors in some rows."""
        xy, noise = self.xy.copy(), self.noise.copy()
        xy[rows], noise[rows] = others.xy, others.noise
        return Anchors(xy, noise)

    def mirrored(self, schema: KeypointSchema, partners: Sequence[int]) -> Anchors:
        order = np.asarray(partners)
        noise = np.where((order >= 0)[:, None], self.noise[:, order], np.inf)
        return Anchors(schema.mirror(self.xy, partners), noise)

    def without(self, keypoints: Sequence[int] | Integers | Mask) -> Anchors:
        """The same with nothing known of some keypoints."""
        noise = self.noise.copy()
        noise[:, keypoints] = np.inf
        return Anchors(self.xy, noise)


def labels_as_anchors(labels: Array) -> Anchors:
    """Labels (n, K, 2) in px taken at face value."""
    return Anchors(labels, np.where(np.isfinite(labels), 0.0, np.inf))


def guessed_anchors(
    labels: Array,
    groups: Integers,
    offsets: Sequence[ConventionOffset],
    untested: Mapping[int, Mask],
    untested_variance: float,
) -> Anchors:
    """Every row's labels in the reference convention, disputed ones moved by the mean offset.

    Parameters
    ----------
    labels
        (n, K, 2), px.
    groups
        (n,): number of each row's group.
    offsets
        The claimed convention offsets.
    untested
        (K,) for a group's number: keypoints whose convention could not be tested; they keep their
        place, with this variance in px².
    """
    anchors = labels_as_anchors(labels)
    xy, noise = anchors.xy.copy(), anchors.noise
    for group, keypoints in untested.items():
        at = np.ix_(groups == group, keypoints)
        noise[at] = np.where(np.isfinite(noise[at]), untested_variance, np.inf)
    for offset in offsets:
        k = offset.keypoint
        rows = groups == offset.group
        xy[rows, k] = offset.guess(labels[rows])
        noise[rows, k] = np.where(
            np.isfinite(xy[rows, k]).all(axis=1, keepdims=True), offset.guess_variance, np.inf
        )
        # A row of unknown source may follow either convention: its disputed labels tell nothing.
        noise[groups == UNKNOWN, k] = np.inf
    return Anchors(xy, noise)


def refined_anchors(
    guess: Anchors, groups: Integers, offsets: Sequence[ConventionOffset], answers: Mapping[int, Array]
) -> Anchors:
    """Guessed anchors replaced by what regressors of the reference group found, given the guesses.

    Parameters
    ----------
    answers
        (n, 2) px by disputed keypoint; NaN in rows in which nobody looked.
    """
    xy, noise = guess.xy.copy(), guess.noise.copy()
    for offset in offsets:
        k = offset.keypoint
        looked: Mask = (groups == offset.group) & np.all(np.isfinite(answers[k]), axis=1)
        xy[looked, k], noise[looked, k] = answers[k][looked], offset.noise
    return Anchors(xy, noise)


@dataclass(frozen=True)
class PatternBank:
    """What the rows to be filled know of themselves; training and validation rows borrow it.

    Attributes
    ----------
    noise
        (m, K, 2), px²: of the anchors of each such row.
    """

    noise: Array

    @classmethod
    def of(cls, anchors: Anchors, rows: Mask, hidden: Sequence[int] = ()) -> PatternBank:
        """The patterns of `rows`, without the keypoints `hidden`; with no such row, nothing is known."""
        noise = anchors.noise[rows].copy()
        if not len(noise):
            noise = np.full((1, *anchors.noise.shape[1:]), np.inf)
        noise[:, list(hidden)] = np.inf
        return cls(noise)

    @classmethod
    def blind(cls, keypoints: int) -> PatternBank:
        """Nothing is known."""
        return cls(np.full((1, keypoints, 2), np.inf))

    def hiding(self, keypoint: int) -> PatternBank:
        """The same for rows that lack a keypoint; a half-labelled point is not shown either."""
        noise = self.noise.copy()
        of_keypoint = noise[:, keypoint]
        of_keypoint[(of_keypoint == 0).any(axis=1)] = np.inf
        return PatternBank(noise)

    def picked(self, count: int, generator: np.random.Generator) -> Array:
        """(count, K, 2), px²: what rows drawn at random know."""
        return self.noise[generator.integers(0, len(self.noise), count)]

    def draw(self, anchors: Anchors, generator: np.random.Generator) -> Anchors:
        """The rows `anchors` as if each knew no more, and no more surely, than a row drawn at random."""
        borrowed = self.picked(len(anchors), generator)
        noise = np.where(np.isfinite(borrowed), np.maximum(borrowed, anchors.noise), np.inf)
        both = np.isfinite(noise)
        added = np.sqrt(np.where(both, noise, 0.0) - np.where(both, anchors.noise, 0.0))
        xy = anchors.xy + added * generator.standard_normal(anchors.xy.shape)
        return Anchors(np.where(both, xy, np.nan), noise)
