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
from numpy.typing import NDArray

from labelfill.errors import DataError
from labelfill.shape import ShapePrior

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

UNKNOWN = -1

LEAST_ROWS = 30
_LEAST_SHARE = 0.05
# A convention offset smaller than this is not claimed: px, and share of the face's extent.
_LEAST_OFFSET = 1.0
_LEAST_OFFSET_SHARE = 0.02
_Z99 = 2.576
_MOST_SUBSETS_OF = 12
_RIDGE = 3e-3
# However good the regressor looks, labels scatter by at least this share of what is seen to scatter.
_LEAST_GUESS_SHARE = 0.4
_LEAST_SLOPE = 0.4


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
            raise DataError(f"column {column!r} names no source: it is blank in every row")
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


@dataclass(frozen=True)
class Agreement:
    """On which keypoints a group agrees with its reference group, judged from labels alone.

    Attributes
    ----------
    group, reference
        Numbers of the groups.
    agreed
        (K,): trusted as anchors when others are judged.
    suspected
        (K,): labelled by both, not agreed: to be measured against the images.
    untested
        (K,): labelled by the group, but by too few rows of the two to judge.
    """

    group: int
    reference: int
    agreed: Mask
    suspected: Mask
    untested: Mask


def find_agreement(
    prior: ShapePrior, labels: Array, group: int, reference: int, in_group: Mask, in_reference: Mask
) -> Agreement:
    """The largest set of shared keypoints whose positions relative to each other are alike in both groups.

    Parameters
    ----------
    prior
        Of the reference group.
    labels
        (n, K, 2), px.
    in_group, in_reference
        (n,): the groups' rows.
    """
    labelled: Mask = np.all(np.isfinite(labels), axis=2)
    counts = np.minimum(labelled[in_group].sum(0), labelled[in_reference].sum(0))
    shared = np.flatnonzero(counts >= LEAST_ROWS)
    here = labelled[in_group].any(axis=0)
    nothing = np.zeros(labels.shape[1], bool)
    untested = here & (counts < LEAST_ROWS)
    if len(shared) < 2:
        untested[shared] = True  # with nothing to compare it to, a single keypoint tells nothing
        return Agreement(group, reference, nothing, nothing, untested)
    difference = _mean_difference(labels, labelled, shared, in_group, in_reference)
    agreed = nothing.copy()
    agreed[shared[list(_largest_agreeing(prior, shared, difference))]] = True
    suspected = nothing.copy()
    suspected[shared] = ~agreed[shared]
    return Agreement(group, reference, agreed, suspected, untested)


def _mean_difference(
    labels: Array, labelled: Mask, shared: Integers, in_group: Mask, in_reference: Mask
) -> Array:
    """(S, 2): how far the group's mean label lies from the reference's, over rows with all of `shared`."""
    complete = labelled[:, shared].all(axis=1)
    means = []
    for rows in (in_group, in_reference):
        usable = rows & complete if (rows & complete).sum() >= LEAST_ROWS else rows
        means.append(np.nanmean(labels[usable][:, shared], axis=0))
    difference: Array = means[0] - means[1]
    return difference


def _largest_agreeing(prior: ShapePrior, shared: Integers, difference: Array) -> tuple[int, ...]:
    """Positions in `shared` of the largest set in which every member lies where the others expect it."""
    candidates: list[tuple[int, ...]]
    if len(shared) <= _MOST_SUBSETS_OF:
        for size in range(len(shared), 1, -1):
            candidates = list(itertools.combinations(range(len(shared)), size))
            judged = [(_strain(prior, shared, difference, set_), set_) for set_ in candidates]
            strain, best = min(judged)
            if strain <= 1.0 or size == 2:
                return best
    members = list(range(len(shared)))  # too many subsets: drop the worst member until all agree
    while len(members) > 2:
        if _strain(prior, shared, difference, tuple(members)) <= 1.0:
            break
        without = [(*members[:i], *members[i + 1 :]) for i in range(len(members))]
        members.pop(int(np.argmin([_strain(prior, shared, difference, rest) for rest in without])))
    return tuple(members)


def _strain(prior: ShapePrior, shared: Integers, difference: Array, members: tuple[int, ...]) -> float:
    """The largest unexpected difference of a member given the others, over what is tolerated."""
    tolerated = least_offset(prior.extent)
    worst = 0.0
    for member in members:
        others = [m for m in members if m != member]
        at = _coordinates(shared[others])
        own = _coordinates(shared[[member]])
        system = prior.covariance[np.ix_(at, at)] + 0.01 * np.eye(len(at))
        gain = np.linalg.solve(system, prior.covariance[np.ix_(at, own)]).T
        unexpected = difference[member] - gain @ difference[others].reshape(-1)
        slack = tolerated
        if len(others) == 1:  # one anchor does not tell size or pose: populations may differ in both
            remaining = prior.covariance[np.ix_(own, own)] - gain @ prior.covariance[np.ix_(at, own)]
            slack = max(slack, float(np.sqrt(np.trace(remaining) / 2)) / 2)
        worst = max(worst, float(np.hypot(*unexpected)) / slack)
    return worst


def _coordinates(keypoints: Integers) -> Integers:
    return (2 * np.asarray(keypoints)[:, None] + np.arange(2)).reshape(-1)


@dataclass(frozen=True)
class ConventionOffset:
    """By how much a group's labels of a keypoint differ from the reference convention, and the ways between.

    The group's labels are described as a linear function of the reference position and of the anchors
    (`to_group`), fitted on what a regressor of the reference group answers: its errors are independent
    of its answers, so that the fit is not biased. The inverse of that function gives a first guess of
    the position from the label; `guess_variance` says how far guesses err. A second regressor then
    looks at the image with the guess as a noisy anchor: its answer is the anchor that everything else
    uses, with `noise`.

    Attributes
    ----------
    mean, interval
        (2,), (2, 2) px: the mean offset, and its 99% interval (low, high) per axis.
    rows
        Rows it was measured on.
    claimed
        Whether the interval excludes the smallest offset worth claiming.
    guess_variance, noise
        (2,), px²: of the guess, and of the second regressor's answer.
    anchors
        (A,): agreed keypoints, the inputs of `to_group` together with the position.
    to_group
        (2A + 3, 2): label minus reference position, from anchors, reference position and 1.
    """

    group: int
    reference: int
    keypoint: int
    mean: Array
    interval: Array
    rows: int
    claimed: bool
    guess_variance: Array
    noise: Array
    anchors: Integers
    to_group: Array

    def guess(self, labels: Array) -> Array:
        """(n, 2) px: the keypoint's labels among (n, K, 2), moved into the reference convention."""
        label = labels[:, self.keypoint]
        slope, rest = _position_slope(self.to_group), self.to_group.copy()
        rest[-3:-1] = 0.0
        origin = _origin(labels, self.anchors)
        aside = label - origin - _design(labels, self.anchors, label) @ rest
        inverted = aside @ np.linalg.inv(slope) + origin
        return np.where(_complete(labels, self.anchors)[:, None], inverted, label - self.mean)

    def in_group(self, labels: Array, position: Array) -> Array:
        """(n, 2) px: reference positions (n, 2) as the group would label them."""
        shift = _design(labels, self.anchors, position) @ self.to_group
        return position + np.where(_complete(labels, self.anchors)[:, None], shift, self.mean)


def _complete(labels: Array, anchors: Integers) -> Mask:
    """(n,): rows that label all anchors."""
    complete: Mask = np.all(np.isfinite(labels[:, anchors]), axis=(1, 2))
    return complete


def _design(labels: Array, anchors: Integers, point: Array) -> Array:
    """(n, 2A + 3): anchors and a point relative to the anchors' mean, and 1; of use in complete rows only."""
    origin = _origin(labels, anchors)
    relative = (labels[:, anchors] - origin[:, None]).reshape(len(labels), 2 * len(anchors))
    design: Array = np.column_stack([relative, point - origin, np.ones(len(labels))])
    return design


def _origin(labels: Array, anchors: Integers) -> Array:
    """(n, 2): the anchors' mean."""
    if not len(anchors):
        return np.zeros((len(labels), 2))
    origin: Array = labels[:, anchors].mean(axis=1)
    return origin


def _position_slope(to_group: Array) -> Array:
    """(2, 2): how the group's label moves with the reference position (row vectors from the left)."""
    slope: Array = np.eye(2) + to_group[-3:-1]
    # Held well away from where it could not be inverted: both mark the same part of the same face.
    left, size, right = np.linalg.svd(slope)
    return np.asarray(left @ np.diag(np.clip(size, _LEAST_SLOPE, 1 / _LEAST_SLOPE)) @ right)


def measure_offset(
    agreement: Agreement,
    keypoint: int,
    labels: Array,
    rows: Integers,
    answer: Array,
    reference_residual: Array,
    extent: float,
) -> ConventionOffset:
    """Measure a suspected convention offset against the images.

    Parameters
    ----------
    labels
        (n, K, 2), px: all rows.
    rows
        (m,): rows of the group that label the keypoint; none was trained on.
    answer
        (m, 2), px: what the reference group's regressor answers there, without seeing the label.
    reference_residual
        (r, 2), px: label minus answer on rows of the reference group that were held out.
    extent
        Of the face, px.
    """
    difference = labels[rows, keypoint] - answer
    held_out = len(reference_residual) > 0
    bias = reference_residual.mean(axis=0) if held_out else np.zeros(2)
    mean = difference.mean(axis=0) - bias
    spread = difference.var(axis=0)
    own_error = reference_residual.var(axis=0) if held_out else np.zeros(2)
    error = np.sqrt(
        spread / max(len(difference) - 1, 1) + (own_error / len(reference_residual) if held_out else 0.0)
    )
    interval = np.stack([mean - _Z99 * error, mean + _Z99 * error])
    surely = np.maximum(np.abs(mean) - _Z99 * error, 0.0)
    claimed = len(rows) >= LEAST_ROWS and float(np.hypot(*surely)) > least_offset(extent)
    anchors = np.flatnonzero(agreement.agreed)
    way = to_group_map(labels[rows], anchors, answer + bias, keypoint, mean)
    guess_variance = _guess_variance(labels[rows], anchors, keypoint, answer + bias, way, mean, own_error)
    return ConventionOffset(
        agreement.group, agreement.reference, keypoint, mean, interval, len(rows), claimed,
        guess_variance, guess_variance, anchors, way,
    )  # fmt: skip


def _guess_variance(
    labels: Array,
    anchors: Integers,
    keypoint: int,
    position: Array,
    way: Array,
    mean: Array,
    own_error: Array,
) -> Array:
    """(2,): what scatters between label and its description is the answer's error and the label's own."""
    complete = _complete(labels, anchors)
    shift = np.where(complete[:, None], _design(labels, anchors, position) @ way, mean)
    scatter = np.var(labels[:, keypoint] - position - shift, axis=0)
    slope = _position_slope(way)
    own = np.maximum(scatter - np.diag(slope.T @ np.diag(own_error) @ slope), _LEAST_GUESS_SHARE * scatter)
    back = np.linalg.inv(slope)
    variance: Array = np.diag(back.T @ np.diag(own) @ back)
    return variance.copy()


def to_group_map(labels: Array, anchors: Integers, position: Array, keypoint: int, mean: Array) -> Array:
    """(2A + 3, 2): how labels (m, K, 2) of a group depart from reference positions (m, 2), by pose."""
    complete = _complete(labels, anchors)
    design = _design(labels, anchors, position)[complete]
    difference = (labels[:, keypoint] - position)[complete]
    way = _ridge(design, difference, mean)
    held = _position_slope(way) - np.eye(2)
    if np.allclose(held, way[-3:-1]):
        return way
    # With a slope that had to be held, what remains is for the anchors and the constant to explain anew.
    others = np.delete(design, [-3, -2], axis=1)
    rest = _ridge(others, difference - design[:, -3:-1] @ held, mean)
    return np.concatenate([rest[:-1], held, rest[-1:]])


def constant_map(anchors: Integers, mean: Array) -> Array:
    """(2A + 3, 2): the `to_group` of an offset that is the same whatever the pose."""
    return np.concatenate([np.zeros((2 * len(anchors) + 2, 2)), mean[None]])


def _ridge(design: Array, target: Array, mean: Array) -> Array:
    """Least squares (d, 2) with a small penalty on all but the last column, the constant."""
    # Too few rows tell of no dependence on pose.
    if len(design) < LEAST_ROWS:
        return np.concatenate([np.zeros((design.shape[1] - 1, 2)), mean[None]])
    penalty: Array = np.diag(np.maximum(design.var(axis=0), 1e-6)).astype(np.float64) * (_RIDGE * len(design))
    penalty[-1, -1] = 0.0
    return np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ target), np.float64)
