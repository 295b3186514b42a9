"""On which keypoints two label sources agree, judged from labels alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.shape.prior import ShapePrior
from labelfill.sources.groups import LEAST_ROWS, least_offset

_MOST_SUBSETS_OF = 12


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
    labelled_by_group = labelled[in_group].any(axis=0)
    nothing = np.zeros(labels.shape[1], bool)
    untested = labelled_by_group & (counts < LEAST_ROWS)
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
        at_others = _coordinates(shared[others])
        at_k = _coordinates(shared[[member]])
        system = prior.covariance[np.ix_(at_others, at_others)] + 0.01 * np.eye(len(at_others))
        gain = np.linalg.solve(system, prior.covariance[np.ix_(at_others, at_k)]).T
        unexpected = difference[member] - gain @ difference[others].reshape(-1)
        slack = tolerated
        if len(others) == 1:  # one anchor does not tell size or pose: populations may differ in both
            remaining = (
                prior.covariance[np.ix_(at_k, at_k)] - gain @ prior.covariance[np.ix_(at_others, at_k)]
            )
            slack = max(slack, float(np.sqrt(np.trace(remaining) / 2)) / 2)
        worst = max(worst, float(np.hypot(*unexpected)) / slack)
    return worst


def _coordinates(keypoints: Integers) -> Integers:
    return (2 * np.asarray(keypoints)[:, None] + np.arange(2)).reshape(-1)
