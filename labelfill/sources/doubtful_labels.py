"""Doubtful labels: those that the row's others make implausible are trusted less."""

from __future__ import annotations

import numpy as np

from labelfill.arrays import Mask
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors

# In units of what the prior expects (a chi-squared of two degrees of freedom): one label in 20,000 of a
# Gaussian; under one in a hundred of Kaggle's, whose shapes have heavier tails and some wrong labels.
_IMPLAUSIBLE = 20.0
# Smaller disagreements do no harm and are nobody's slip: share of the shape's extent.
_LEAST_SHARE = 0.05
# With fewer labels nothing tells which of them is wrong.
_LEAST_KNOWN = 3
_ROUNDS = 4


def weigh_down(prior: ShapePrior, anchors: Anchors, sure: Mask | None = None) -> tuple[Anchors, Mask]:
    """The anchors with more noise where they are implausible, and (n, K) which these are.

    The worst label of a row is taken first, because it makes others look bad.

    Parameters
    ----------
    sure
        (n, K): anchors that are beyond doubt.
    """
    noise = anchors.noise.copy()
    doubtful = np.zeros(noise.shape[:2], bool)
    asked = np.flatnonzero(anchors.known.sum(axis=1) >= _LEAST_KNOWN)
    least = max(_LEAST_SHARE * prior.extent, 1.0)
    for _ in range(_ROUNDS):
        if not len(asked):
            break
        residual, covariance = prior.residuals_from_others(anchors.xy[asked], noise[asked])
        size = np.linalg.norm(residual, axis=2)
        unknown = ~np.isfinite(noise[asked])
        system = covariance + np.where(unknown, 1.0, 1e-6)[..., None] * np.eye(2)
        strain = np.einsum("nka,nkab,nkb->nk", residual, np.linalg.inv(system), residual)
        strain[(size < least) | doubtful[asked]] = 0.0
        if sure is not None:
            strain[sure[asked]] = 0.0
        worst = strain.argmax(axis=1)
        found = np.take_along_axis(strain, worst[:, None], axis=1)[:, 0] > _IMPLAUSIBLE
        # Too many wrong labels are not told from right ones: half of a row's at most.
        found &= 2 * (doubtful[asked].sum(axis=1) + 1) <= anchors.known[asked].sum(axis=1)
        rows, k = asked[found], worst[found]
        doubtful[rows, k] = True
        noise[rows, k] += (size[found, k] ** 2)[:, None]
        asked = rows
    return Anchors(anchors.xy, noise), doubtful
