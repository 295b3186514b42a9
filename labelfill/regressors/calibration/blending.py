"""How far to trust each way of answering, and how large errors are: from cross-fitted residuals.

Several members answer for a keypoint (the shape prior, the face regressor, the patch regressor).
Their weights are those that would have been best on training rows that the answering models had
not seen; the error radius is a split-conformal quantile of the same residuals (Papadopoulos et al.
2002; Lei et al. 2018), scaled by the stated sigma.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, KeptArrays, Mask
from labelfill.regressors.calibration.conformal import conformal_quantile, gaussian_radius, thinned

# A keypoint's own weights are trusted like the pooled ones when it has this many residuals.
_POOLED_ROWS = 60.0
# With fewer residuals than this a keypoint's quantile is that of all keypoints together.
_OWN_QUANTILE_ROWS = 100
LEAST_SIGMA = 0.05
# A keypoint's own share of variance that averaging lessens counts like the pooled one with this many rows.
_POOLED_SHARES = 20
_QUANTILES_KEPT = 200


@dataclass(frozen=True)
class Calibration(KeptArrays):
    """Weights and error scales of a run's keypoints.

    Attributes
    ----------
    weights
        (K, M): of each member in the answer; a keypoint's weights add up to 1.
    sigma_scale
        (K,): stated to true sigma.
    correlation
        (K,): between the errors in x and y.
    ratios
        (K, m): radial error over sigma, sorted, per coordinate; evenly thinned to m quantiles.
    rows
        (K,): residuals that this rests on.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "weights": "K M",
        "sigma_scale": "K",
        "correlation": "K",
        "ratios": "K R",
        "rows": "K",
    }

    weights: Array
    sigma_scale: Array
    correlation: Array
    ratios: Array
    rows: NDArray[np.int64]

    def blend(self, members: Array, sigmas: Array) -> tuple[Array, Array]:
        """Positions (n, K, 2) and calibrated sigma (n, K), px, from those of the members (M, n, K, ...).

        A member that does not answer is NaN; the others then share its weight. NaN where none does.
        """
        answered = np.isfinite(sigmas)
        weight = np.where(answered, np.maximum(self.weights.T[:, None], 1e-6), 0.0)
        total = weight.sum(axis=0)
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
        xy = (weight[..., None] * np.where(answered[..., None], members, 0.0)).sum(axis=0)
        variance = (weight * np.where(answered, sigmas, 0.0) ** 2).sum(axis=0)
        sigma = np.maximum(np.sqrt(variance) * self.sigma_scale, LEAST_SIGMA)
        xy[total == 0], sigma[total == 0] = np.nan, np.nan
        return xy, sigma

    def rescaled(self, error: Array, sigma: Array) -> Calibration:
        """The same weights, with scales and quantiles for these errors.

        Parameters
        ----------
        error
            (n, K, 2), px: of answers made otherwise than by `blend`; NaN where there is no label.
        sigma
            (n, K), px: what `blend` stated.
        """
        usable: Mask = np.all(np.isfinite(error), axis=2) & np.isfinite(sigma)
        error = np.where(usable[..., None], error, np.nan)
        scale = _scales(error, sigma, usable)
        ratio = np.linalg.norm(error, axis=2) / np.maximum(sigma * scale, LEAST_SIGMA)
        pooled = np.sort(ratio[usable]) if usable.any() else np.array([gaussian_radius(0.9)])
        quantiles, rows, correlation = [], [], []
        for k in range(error.shape[1]):
            ratios = np.sort(ratio[usable[:, k], k])
            enough = len(ratios) >= _OWN_QUANTILE_ROWS
            quantiles.append(thinned(ratios if enough else pooled, _QUANTILES_KEPT))
            rows.append(max(len(ratios) if enough else len(pooled), 1))
            correlation.append(_correlation(error[usable[:, k], k]))
        return Calibration(
            self.weights, self.sigma_scale * scale, np.array(correlation), np.stack(quantiles),
            np.array(rows, np.int64),
        )  # fmt: skip

    def narrowed(self, gain: Array) -> Calibration:
        """For answers whose errors are `gain` (K,) times those that this was made from."""
        return replace(self, sigma_scale=self.sigma_scale * gain)

    def radius_factor(self, coverage: float) -> Array:
        """(K,): the radius that holds in `coverage` of cases, in units of sigma."""
        return conformal_quantile(self.ratios, self.rows, coverage)


def calibrate(residuals: Array, sigmas: Array) -> Calibration:
    """Weights, scales and quantiles from cross-fitted residuals.

    Parameters
    ----------
    residuals
        (M, n, K, 2), px: member's answer minus label; NaN where there is no label or no answer.
    sigmas
        (M, n, K), px: what the member stated.
    """
    keypoints = residuals.shape[2]
    answered: Mask = np.all(np.isfinite(residuals), axis=3)
    weights = _weights(residuals, answered)
    ones = np.ones(keypoints)
    neutral = Calibration(weights, ones, np.zeros(keypoints), ones[:, None], ones.astype(np.int64))
    blended, sigma = neutral.blend(residuals, np.where(answered, sigmas, np.nan))
    return neutral.rescaled(blended, sigma)


def gain_of_averaging(answers: Array, sigma: Array) -> Array:
    """(K,): error of the average of several networks' answers in units of the error of one of them.

    Of an error's variance one part is each network's own, and averaging F of them leaves 1/F of it. How they
    disagree tells that part (the ambiguity of Krogh & Vedelsby 1995). A keypoint of few rows is drawn towards
    what all keypoints show.

    Parameters
    ----------
    answers
        (F, n, K, 2), px: for rows that none of them learnt from; NaN where there is none.
    sigma
        (F, n, K), px: what is stated of the errors of one network's answers.
    """
    count = len(answers)
    disagreement = answers.var(axis=0, ddof=1).mean(axis=2) if count > 1 else np.zeros(answers.shape[1:3])
    share = disagreement / np.maximum(
        (sigma**2).mean(axis=0), LEAST_SIGMA**2
    )  # (n, K), of one network's variance
    answered: Mask = np.isfinite(share)
    share = np.where(answered, np.minimum(np.nan_to_num(share), 1.0), 0.0)
    pooled = share.sum() / max(answered.sum(), 1)
    typical = (share.sum(axis=0) + _POOLED_SHARES * pooled) / (answered.sum(axis=0) + _POOLED_SHARES)
    gain: Array = np.sqrt(1 - (1 - 1 / count) * typical)
    return gain


def _weights(residuals: Array, known: Mask) -> Array:
    """(K, M) non-negative, adding up to 1: least squares per keypoint, drawn towards the pooled ones."""
    members, _, keypoints, _ = residuals.shape
    products = np.zeros((keypoints, members, members))
    counts = np.zeros(keypoints)
    for k in range(keypoints):
        answering = known[:, :, k].any(axis=1)
        rows = known[answering, :, k].all(axis=0) if answering.any() else np.zeros(residuals.shape[1], bool)
        errors = np.nan_to_num(residuals[:, rows, k]).reshape(members, -1)
        products[k] = errors @ errors.T / max(errors.shape[1], 1)
        # A member that never answers must not look perfect.
        products[k][~answering, ~answering] = np.inf
        counts[k] = rows.sum()
    pooled = np.zeros((members, members))
    finite = np.isfinite(products).all(axis=(1, 2)) & (counts > 0)
    for k in np.flatnonzero(finite).tolist():
        pooled += products[k] / max(np.trace(products[k]), 1e-9) * counts[k]
    result = np.zeros((keypoints, members))
    for k in range(keypoints):
        product = products[k].copy()
        absent = ~np.isfinite(np.diag(product))
        typical = np.trace(product[~absent][:, ~absent])
        if finite.any() and not absent.any() and typical > 0:
            product = product / typical * counts[k] + pooled / max(counts[finite].sum(), 1) * _POOLED_ROWS
        product[absent] = product[:, absent] = 0.0
        result[k] = _simplex_least_squares(product, absent)
    return result


def _simplex_least_squares(product: Array, absent: Mask) -> Array:
    """Weights w >= 0 with sum 1 that minimise w' P w."""
    from scipy.optimize import nnls  # takes a second, and only training needs it

    present = np.flatnonzero(~absent)
    weights = np.zeros(len(absent))
    if not len(present):
        weights[:] = 1.0 / len(weights)
        return weights
    inner = product[np.ix_(present, present)]
    size = max(float(np.trace(inner)), 1e-9)
    values, vectors = np.linalg.eigh(inner / size + 1e-9 * np.eye(len(present)))
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    system = np.vstack([root, 1e3 * np.ones(len(present))])
    solution = nnls(system, np.append(np.zeros(len(present)), 1e3))[0]
    weights[present] = solution / max(solution.sum(), 1e-9)
    return weights


def _scales(error: Array, sigma: Array, usable: Mask) -> Array:
    """(K,) root mean square of error over sigma per coordinate, few rows drawn towards the pooled value."""
    square = np.where(usable, np.nan_to_num((error**2).sum(axis=2) / 2 / sigma**2), 0.0)
    square = np.minimum(square, 25.0)  # one wrong label must not widen every radius
    count = usable.sum(axis=0)
    pooled = square.sum() / max(usable.sum(), 1) if usable.any() else 1.0
    blended: Array = np.sqrt((square.sum(axis=0) + 20 * pooled) / (count + 20))
    return blended


def _correlation(errors: Array) -> float:
    if len(errors) < 10:
        return 0.0
    deviation = errors.std(axis=0)
    if (deviation < 1e-6).any():
        return 0.0
    return float(np.clip(np.mean((errors - errors.mean(0)).prod(axis=1)) / deviation.prod(), -0.95, 0.95))
