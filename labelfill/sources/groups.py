"""Label sources: groups of rows that were labelled by the same people, and their conventions.

Tables are often merged from sources that mean different things by the same name. A **group** is a
set of rows of one source; a keypoint is **disputed** between a group and its **reference group**
if their conventions differ; the **convention offset** is by how much. A disputed label is moved
into the reference convention before it serves as an anchor.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Integers, Mask
from labelfill.errors import DataError

UNKNOWN = -1
LEAST_ROWS = 30
_LEAST_SHARE = 0.05
# A convention offset smaller than this is not claimed: px, and share of the face's extent.
_LEAST_OFFSET = 1.0
_LEAST_OFFSET_SHARE = 0.02


@dataclass(frozen=True)
class SourceGroups:
    """Groups of rows by label source.

    Attributes
    ----------
    names
        One per group, in the order of their first rows; ``1``, ``2``, ... where nobody named them.
    patterns
        (p, K) bool: the frequent patterns of labelled keypoints by which rows are told apart; where a column
        names the sources, those that tell which of them a list of wanted keypoints speaks of.
    pattern_group
        (p,): the group of each.
    column
        The column that names the sources, if one does.
    """

    names: tuple[str, ...]
    patterns: Mask
    pattern_group: Integers
    column: str | None = None

    def assign(self, labelled: Mask, declared: Sequence[str] | None = None) -> Integers:
        """(n,): the group of rows with these labels (n, K), or `UNKNOWN`.

        Parameters
        ----------
        declared
            The value of the source column in each row, where there is one.
        """
        if self.column is not None:
            index = {name: number for number, name in enumerate(self.names)}
            values = [""] * len(labelled) if declared is None else declared
            return np.array([index.get(value.strip(), UNKNOWN) for value in values], np.int64)
        return self.revealed_by(labelled)

    def revealed_by(self, labelled: Mask) -> Integers:
        """(n,): the group whose rows label most nearly these keypoints (n, K), or `UNKNOWN`."""
        if len(self.names) == 1:
            return np.zeros(len(labelled), np.int64)
        if not len(self.patterns):
            return np.full(len(labelled), UNKNOWN)
        # Jaccard overlap with each frequent pattern; of equal ones the earlier, more frequent pattern.
        both = labelled.astype(np.float64) @ self.patterns.T.astype(np.float64)
        either = labelled.sum(1)[:, None] + self.patterns.sum(1)[None] - both
        overlap = np.where(either > 0, both / np.maximum(either, 1), 0.0)
        groups: Integers = self.pattern_group[overlap.argmax(axis=1)]
        return np.where(overlap.max(axis=1) > 0, groups, UNKNOWN)


def find_groups(
    labelled: Mask, declared: Sequence[str] | None = None, column: str | None = None
) -> SourceGroups:
    """Group the rows of a table by label source.

    Rows are told apart by which keypoints they label. Patterns of labels that at least 5% of the
    rows and 30 rows share are frequent; frequent patterns that differ in few keypoints, or that
    independent random gaps would produce as often, belong to one source.

    Parameters
    ----------
    labelled
        (n, K): whether a row labels a keypoint.
    declared, column
        Values and name of a column that names the sources instead.
    """
    keypoints = labelled.shape[1]
    if declared is not None:
        names = tuple(dict.fromkeys(value.strip() for value in declared if value.strip()))
        if not names:
            raise DataError(f"column {column!r} names no sources: it is blank in every row")
        return SourceGroups(names, *_declared_patterns(labelled, names, declared), column)
    patterns, first, counts = np.unique(labelled, axis=0, return_index=True, return_counts=True)
    frequent = np.flatnonzero(
        (counts >= max(LEAST_ROWS, _LEAST_SHARE * len(labelled))) & patterns.any(axis=1)
    )
    frequent = frequent[np.argsort(-counts[frequent], kind="stable")]
    if len(frequent) < 2 or _random_gaps(labelled, patterns[frequent], counts[frequent]):
        return single_group(keypoints)
    group = _linked(patterns[frequent], max(1, keypoints // 4))
    begins = {g: min(first[frequent[group == g]]) for g in set(group.tolist())}
    order = sorted(begins, key=lambda g: begins[g])
    if len(order) == 1:
        return single_group(keypoints)
    numbered = np.array([order.index(g) for g in group])
    return SourceGroups(tuple(str(n + 1) for n in range(len(order))), patterns[frequent], numbered)


def _declared_patterns(
    labelled: Mask, names: tuple[str, ...], declared: Sequence[str]
) -> tuple[Mask, Integers]:
    """The patterns that at least 5% of a source's rows have, each with the source that has most such rows."""
    of_row = np.array([value.strip() for value in declared])
    patterns, which = np.unique(labelled, axis=0, return_inverse=True)
    counts = np.array([np.bincount(which.reshape(-1)[of_row == n], minlength=len(patterns)) for n in names])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    frequent = np.flatnonzero((share >= _LEAST_SHARE).any(axis=0) & patterns.any(axis=1))
    frequent = frequent[np.argsort(-counts[:, frequent].sum(axis=0), kind="stable")]
    group: Integers = counts[:, frequent].argmax(axis=0).astype(np.int64)
    return patterns[frequent], group


def single_group(keypoints: int) -> SourceGroups:
    """One group of all rows."""
    return SourceGroups(("1",), np.ones((1, keypoints), bool), np.zeros(1, np.int64))


def _random_gaps(labelled: Mask, patterns: Mask, counts: Integers) -> bool:
    """Whether no frequent pattern is much more frequent than independent gaps would make it."""
    rate = labelled.mean(axis=0)
    chance = np.where(patterns, rate, 1 - rate).prod(axis=1) * len(labelled)
    return bool((counts <= 2 * chance + 5 * np.sqrt(chance)).all())


def _linked(patterns: Mask, distance: int) -> Integers:
    """(p,) single linkage: patterns that differ in at most `distance` keypoints are of one group."""
    apart = (patterns[:, None] != patterns[None]).sum(axis=2)
    group = np.arange(len(patterns))
    for i, j in itertools.combinations(range(len(patterns)), 2):
        if apart[i, j] <= distance:
            group[group == group[j]] = group[i]
    return group


def reference_groups(labelled: Mask, groups: Integers, count: int) -> Integers:
    """(K,): for each keypoint the group whose rows label it together with most others."""
    others = np.zeros((count, labelled.shape[1]))
    for g in range(count):
        rows = labelled[groups == g]
        for k in range(labelled.shape[1]):
            with_k = rows[rows[:, k]]
            # A group that hardly ever labels the keypoint is no reference for it.
            if len(with_k) >= min(LEAST_ROWS, max(1, labelled[:, k].sum() // (2 * count))):
                others[g, k] = with_k.sum(axis=1).mean()
    best: Integers = others.argmax(axis=0)
    return best


def least_offset(extent: float) -> float:
    """The smallest convention offset that is claimed, px, for faces of that extent."""
    return max(_LEAST_OFFSET, _LEAST_OFFSET_SHARE * extent)
