"""What the answers for a row's other keypoints tell of a keypoint's error: joint correction.

Each member answers for each keypoint on its own, and all of them err together: a head that is turned
further than the anchors show moves brows, nose and mouth at once. How far every answer departs from
where the shape prior expected the keypoint is therefore evidence for all others. A kernel ridge regression
(a linear and a radial kernel; Saunders et al. 1998), fitted on cross-fitted residuals, turns these departures
into corrections (stacked generalisation, Wolpert 1992; here across outputs as in Breiman & Friedman 1997,
curds and whey).

Everything happens in the upright frame of the expected shape and in px of a mean shape, so that the
regression need not learn how images are turned and scaled, and mirrored rows can teach it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.regressors.patches import turned

# Penalties of the linear kernel to choose from, per row and unit of mean squared departure.
_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# Shares of the radial kernel to choose from beside none, in units of the residuals' variance; its squared
# length, in units of the mean squared distance between rows.
_RADIAL_SHARES = (0.5, 1.0)
_RADIAL_LENGTH = 2.5
_ROWS_AT_ONCE = 1024
# A correction that lowers the squared error of rows it was not fitted on by less than this share is not used.
_LEAST_GAIN = 0.01
# Where the shape is expected counts this much beside a departure of the same size.
POSE_SHARE = 0.5
# Residuals beyond this many robust standard deviations are drawn in: a few labels may be wrong.
_OUTLIER = 4.0
_LEAST_ROWS = 30


@dataclass(frozen=True)
class Found:
    """Answers for some rows, and the frames they are to be compared in.

    Attributes
    ----------
    expected
        (n, K, 2), px: where the shape prior expects each keypoint.
    members
        (M, n, K, 2), px: answers of the other members; NaN where one does not answer.
    scale, angle
        (n,): of the expected shape against the mean shape.
    """

    expected: Array
    members: Array
    scale: Array
    angle: Array

    def take(self, rows: Mask) -> Found:
        return Found(self.expected[rows], self.members[:, rows], self.scale[rows], self.angle[rows])


@dataclass(frozen=True)
class JointCorrection(KeptArrays):
    """A map from departures to corrections, linear but for a radial part.

    Attributes
    ----------
    keypoints
        (m,): those that are corrected, and whose answers are looked at.
    pose
        (m, 2): their mean place in the upright frame.
    centre, reach
        (f,): mean of each input, and how far inputs were from it at most.
    weights, bias
        (f, 2m), (2m,): to the correction in the upright frame, px of a mean shape.
    support, dual
        (s, f), (s, 2m): inputs of the rows that the radial part was fitted on, and their weights; none
        (s = 0) if it does not pay.
    length
        (): squared length of the radial kernel.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "keypoints": "M <K",
        "pose": "M 2",
        "centre": "F",
        "reach": "F",
        "weights": "F 2M",
        "bias": "2M",
        "support": "S F",
        "dual": "S 2M",
        "length": "1",
    }

    keypoints: Integers
    pose: Array
    centre: Array
    reach: Array
    weights: Array
    bias: Array
    support: Array
    dual: Array
    length: Array

    def answer(self, inputs: Array) -> Array:
        """(n, m, 2): corrections for inputs (n, f), upright, px of a mean shape."""
        # A row unlike all that the map was fitted on is not extrapolated to.
        departure = np.clip(inputs - self.centre, -self.reach, self.reach)
        correction = departure @ self.weights + self.bias
        if len(self.support):
            for begin in range(0, len(inputs), _ROWS_AT_ONCE):  # a table is long, and so is the support
                part = slice(begin, begin + _ROWS_AT_ONCE)
                likeness = np.exp(-_squared_distances(departure[part], self.support) / self.length)
                correction[part] += likeness @ self.dual
        return correction.reshape(len(inputs), -1, 2)

    def apply(self, found: Found, blended: Array) -> Array:
        """(n, K, 2), px: blended answers corrected; NaN stays NaN."""
        inputs = _inputs(found, self.keypoints, self.pose)
        correction = self.answer(inputs.reshape(len(inputs), -1))
        corrected = blended.copy()
        corrected[:, self.keypoints] += turned(correction, found.angle) * found.scale[:, None, None]
        return corrected


def fit_joint_correction(
    found: Found,
    blended: Array,
    truth: Array,
    folds: Integers,
    keypoints: Integers,
    partners: Sequence[int] | None,
) -> tuple[JointCorrection | None, Array]:
    """Fit on rows whose answers come from models that did not see them.

    Parameters
    ----------
    blended, truth
        (n, K, 2), px; NaN where nothing was answered or labelled.
    folds
        (n,): the penalty is chosen, and errors are told, by rows of folds that were left out.
    keypoints
        (m,): those that are answered together.
    partners
        (K,) mirror partners; None if mirrored rows are not used.

    Returns
    -------
    correction
        None if it would not pay.
    corrected
        (n, K, 2), px: each row by a correction fitted without its fold.
    """
    missing = blended[:, keypoints] - truth[:, keypoints]
    labelled: Mask = np.all(np.isfinite(missing), axis=2)
    used: Mask = np.any(labelled, axis=1)
    if len(keypoints) < 2 or used.sum() < _LEAST_ROWS or len(np.unique(folds[used])) < 2:
        return None, blended
    sample = _sample(found, -missing, used, folds, keypoints, partners)
    before = float(np.nansum(sample.wanted**2))
    linear = [_without_folds(sample, value, 0.0) for value in _PENALTIES]
    best = min(linear, key=lambda fits: fits.error_left)
    penalty = best.penalty
    best = min(
        best,
        *(_without_folds(sample, penalty, share) for share in _RADIAL_SHARES),
        key=lambda fits: fits.error_left,
    )
    radial = best.radial
    if best.error_left > (1 - _LEAST_GAIN) * before:
        return None, blended
    corrected = blended.copy()
    for fold, fitted in best.by_fold.items():
        rows = folds == fold
        corrected[rows] = fitted.apply(found.take(rows), blended[rows])
    return _fitted(sample, np.ones(len(sample.fold), bool), penalty, radial), corrected


@dataclass(frozen=True)
class _Sample:
    """Inputs (n, f), wanted corrections (n, m, 2) with NaN, and folds (n,), mirrored copies included."""

    keypoints: Integers
    pose: Array
    inputs: Array
    wanted: Array
    fold: Integers


def _sample(
    found: Found, wanted: Array, used: Mask, folds: Integers, keypoints: Integers,
    partners: Sequence[int] | None,
) -> _Sample:  # fmt: skip
    part = found.take(used)
    upright = turned(wanted[used], -part.angle) / part.scale[:, None, None]
    upright = _drawn_in(upright)
    pose = _placed(part, keypoints).mean(axis=0)
    order = _order(keypoints, partners)
    fold = folds[used]
    if order is None:
        inputs = _inputs(part, keypoints, pose)
        return _Sample(keypoints, pose, inputs.reshape(len(inputs), -1), upright, fold)
    pose = (pose + _mirrored(pose, order)) / 2
    inputs = _inputs(part, keypoints, pose)
    both = np.concatenate([inputs, _mirrored(inputs, order)])
    return _Sample(
        keypoints, pose, both.reshape(len(both), -1),
        np.concatenate([upright, _mirrored(upright, order)]), np.concatenate([fold, fold]),
    )  # fmt: skip


def _inputs(found: Found, keypoints: Integers, pose: Array) -> Array:
    """(n, M + 1, m, 2): each member's departures from what is expected, and the expected shape's own."""
    departures = np.nan_to_num(found.members[:, :, keypoints] - found.expected[None, :, keypoints])
    upright = [turned(departure, -found.angle) / found.scale[:, None, None] for departure in departures]
    return np.stack([*upright, POSE_SHARE * (_placed(found, keypoints) - pose)], axis=1)


def _placed(found: Found, keypoints: Integers) -> Array:
    """(n, m, 2): the expected shape, upright and of mean size, about its own middle."""
    shape = found.expected[:, keypoints]
    return turned(shape - shape.mean(axis=1, keepdims=True), -found.angle) / found.scale[:, None, None]


def _order(keypoints: Integers, partners: Sequence[int] | None) -> Integers | None:
    """(m,): where each keypoint's mirror partner stands; None if one is not among them."""
    if partners is None:
        return None
    position = {int(k): number for number, k in enumerate(keypoints)}
    order = [position.get(partners[int(k)], -1) for k in keypoints]
    return None if -1 in order else np.array(order)


def _mirrored(offset: Array, order: Integers) -> Array:
    """(..., m, 2) offsets in an upright frame, as the mirrored row's would be."""
    flipped: Array = offset[..., order, :] * np.array([-1.0, 1.0])
    return flipped


def _drawn_in(wanted: Array) -> Array:
    """Corrections (n, m, 2) with those of wrong labels shortened."""
    length = np.linalg.norm(wanted, axis=2)
    # The median length of a round Gaussian in the plane is 1.177 standard deviations.
    limit = _OUTLIER * np.nanmedian(length, axis=0) / 1.177 if np.isfinite(length).any() else 1.0
    share = np.minimum(1.0, limit / np.maximum(length, 1e-9))
    return np.asarray(wanted * share[..., None], np.float64)


@dataclass(frozen=True)
class _Fits:
    """By each fold's number what was fitted without it, and the sum of squared errors that remain there."""

    penalty: float
    radial: float
    by_fold: dict[int, JointCorrection]
    error_left: float


def _without_folds(sample: _Sample, penalty: float, radial: float) -> _Fits:
    by_fold, left = {}, 0.0
    for fold in np.unique(sample.fold).tolist():
        out = sample.fold == fold
        by_fold[fold] = _fitted(sample, ~out, penalty, radial)
        answer = by_fold[fold].answer(sample.inputs[out])
        left += float(np.nansum((sample.wanted[out] - answer) ** 2))
    return _Fits(penalty, radial, by_fold, left)


def _fitted(sample: _Sample, rows: Mask, penalty: float, radial: float) -> JointCorrection:
    """Kernel ridge regression; each keypoint on the rows that label it."""
    from scipy.linalg import cho_factor, cho_solve  # takes most of a second, and only training needs it

    inputs, wanted = sample.inputs[rows], sample.wanted[rows]
    centre = inputs.mean(axis=0)
    departure = inputs - centre
    size, count = departure.shape[1], wanted.shape[1]
    unit = max(float(np.mean(departure**2)), 1e-9)
    weights, bias = np.zeros((size, count, 2)), np.zeros((count, 2))
    dual = np.zeros((len(departure) if radial else 0, count, 2))
    length = np.array(_RADIAL_LENGTH * 2 * unit * size)
    labelled: Mask = np.all(np.isfinite(wanted), axis=2)
    if radial:
        products = departure @ departure.T
        likeness = radial * np.exp(-_squared_distances(departure, departure) / length)
    # Keypoints that the same rows label share a system.
    for pattern in np.unique(labelled.T, axis=0):
        labelling, same = pattern, np.flatnonzero((labelled == pattern[:, None]).all(axis=0))
        if not labelling.any():
            continue
        part = departure[labelling]
        target = wanted[labelling][:, same].reshape(len(part), -1)
        mean, ridge = target.mean(axis=0), penalty * unit * len(part)
        if radial:
            both = np.ix_(labelling, labelling)
            kernel = products[both]
            kernel /= ridge
            kernel += likeness[both]
            kernel.flat[:: len(part) + 1] += 1.0
            # Half the work of a plain solution. LAPACK reads the symmetric kernel column by column.
            factor = cho_factor(kernel.T, overwrite_a=True, check_finite=False)
            alpha = cho_solve(factor, target - mean, check_finite=False)
            slope, shift = part.T @ alpha / ridge, np.zeros(size)
            dual[np.ix_(labelling, same)] = radial * alpha.reshape(len(part), -1, 2)
        else:
            shift = part.mean(axis=0)
            system = (part - shift).T @ (part - shift) + ridge * np.eye(size)
            slope = np.linalg.solve(system, (part - shift).T @ (target - mean))
        weights[:, same] = slope.reshape(size, -1, 2)
        bias[same] = (mean - shift @ slope).reshape(-1, 2)
    return JointCorrection(
        sample.keypoints, sample.pose, centre, np.abs(departure).max(axis=0),
        weights.reshape(size, -1), bias.reshape(-1),
        departure if radial else departure[:0], dual.reshape(len(dual), 2 * count), length,
    )  # fmt: skip


def _squared_distances(rows: Array, others: Array) -> Array:
    """(n, s) between rows (n, f) and (s, f)."""
    both: Array = np.einsum("nf,nf->n", rows, rows)[:, None] + np.einsum("sf,sf->s", others, others)
    return np.maximum(both - 2 * rows @ others.T, 0.0)
