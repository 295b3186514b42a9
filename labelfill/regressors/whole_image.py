"""The whole-image regressor, for rows of which too little is known to cut a patch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.regressors.calibration.conformal import GAUSSIAN_RADIUS_95
from labelfill.regressors.cross_fitting import MOST_RESIDUAL_ROWS
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.stage_state import Work
from labelfill.regressors.unit_names import COARSE
from labelfill.regressors.units import Unit
from labelfill.regressors.views import image_view
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank

_COARSE_LOOSENINGS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def needs_coarse(prior: ShapePrior, anchors: Anchors, blank: Mask, schema: KeypointSchema) -> Mask:
    """(n,): rows with blanks of which too little is known to cut a patch.

    Fewer than two anchors, or an expected error circle (95%) wider than a third of the image.
    """
    expected = prior.condition(anchors.xy, anchors.noise)
    widest = np.where(blank, GAUSSIAN_RADIUS_95 * expected.sigma, 0.0).max(axis=1)
    few = anchors.known.sum(axis=1) < 2
    wide = 2 * widest > max(schema.image_size.height, schema.image_size.width) / 3
    needy: Mask = blank.any(axis=1) & (few | wide)
    return needy


def with_coarse(work: Work, ensemble: Ensemble, anchors: Anchors, needy: Mask) -> tuple[Ensemble, Anchors]:
    """Train the regressor on whole images, and give rows of which nothing is known its answers as anchors."""
    prior, schema, prep = ensemble.prior, work.dataset.schema, work.preparation
    view = image_view(None, schema, prior)
    units = [Unit(COARSE, "whole image", view, PatternBank.blind(schema.count))]
    (coarse,) = work.trainer.train(units, work.evidence(prior, anchors), "whole-image regressor")
    ensemble = replace(ensemble, coarse=coarse, coarse_noise=np.full(schema.count, 1.0))
    rows = np.flatnonzero(prep.training & anchors.exact.any(axis=1))[:MOST_RESIDUAL_ROWS]
    nothing = anchors.take(rows).without(np.arange(schema.count))
    pyramid = Pyramid(work.images[rows], work.device)
    found = ensemble.coarse_anchors(np.arange(len(rows)), nothing, pyramid, prep.folds[rows])
    error = np.where(anchors.exact[rows][..., None], anchors.xy[rows] - found.xy, np.nan)
    count = np.isfinite(error).sum(axis=(0, 2))
    square = np.nansum(error**2, axis=(0, 2))
    variance = np.where(count > 0, square / np.maximum(count, 1), square.sum() / max(count.sum(), 1))
    loosening = _loosening(prior, found.xy, error, variance)
    ensemble = replace(ensemble, coarse_noise=variance * loosening)
    index = np.flatnonzero(needy)
    pyramid = Pyramid(work.images[index], work.device)
    completed = ensemble.coarse_anchors(np.arange(len(index)), anchors.take(index), pyramid)
    xy, noise = anchors.xy.copy(), anchors.noise.copy()
    xy[index], noise[index] = completed.xy, completed.noise
    return ensemble, Anchors(xy, noise)


def _loosening(prior: ShapePrior, found: Array, error: Array, variance: Array) -> float:
    """By how much the noise of coarse anchors must grow so that the prior is not overconfident.

    Their errors go together (the whole face is found too far left), which the prior takes as many
    independent witnesses.
    """
    for loosening in _COARSE_LOOSENINGS:
        noise = np.broadcast_to(variance[None, :, None] * loosening, found.shape)
        expected = prior.condition(found, noise)
        left = np.where(np.isfinite(error), found + error - expected.xy, np.nan)
        share = np.nanmean((left**2).sum(axis=2) / 2 / np.maximum(expected.sigma**2, 1e-6))
        if share <= 1.2:
            break
    return loosening
