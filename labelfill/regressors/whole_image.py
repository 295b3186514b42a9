"""The whole-image regressor, for rows of which too little is known to cut a patch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from labelfill.arrays import Array, Images, Integers, Mask
from labelfill.regressors.calibration.conformal import GAUSSIAN_RADIUS_95
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.setup import MOST_RESIDUAL_ROWS, Setup
from labelfill.regressors.unit_names import COARSE
from labelfill.regressors.units import Unit
from labelfill.regressors.views import image_view
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank

_ROWS_AT_ONCE = 1024
_COARSE_LOOSENINGS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def needs_coarse(prior: ShapePrior, anchors: Anchors, blank: Mask, schema: KeypointSchema) -> Mask:
    """(n,): rows with blanks of which too little is known to cut a patch.

    Fewer than two anchors, or an expected error circle (95%) wider than a third of the image.
    """
    expected = prior.condition(anchors.xy, anchors.noise)
    widest = np.where(blank, GAUSSIAN_RADIUS_95 * expected.sigma, 0.0).max(axis=1)
    few = anchors.known.sum(axis=1) < 2
    wide = 2 * widest > max(schema.image_size.height, schema.image_size.width) / 3
    needed: Mask = blank.any(axis=1) & (few | wide)
    return needed


def with_coarse(setup: Setup, ensemble: Ensemble, anchors: Anchors) -> Ensemble:
    """The ensemble with a regressor trained on whole images, and how far its answers are off."""
    prior, schema, prep = ensemble.prior, setup.dataset.schema, setup.preparation
    view = image_view(None, schema, prior)
    units = [Unit(COARSE, "whole image", view, PatternBank.blind(schema.count))]
    (coarse,) = setup.trainer.train(units, setup.evidence(prior, anchors), "whole-image regressor")
    ensemble = replace(ensemble, coarse=coarse, coarse_noise=np.full(schema.count, 1.0))
    rows = np.flatnonzero(prep.training & anchors.exact.any(axis=1))[:MOST_RESIDUAL_ROWS]
    nothing = anchors.take(rows).without(np.arange(schema.count))
    pyramid = Pyramid(setup.images[rows], setup.computing.device)
    found = ensemble.coarse_anchors(np.arange(len(rows)), nothing, pyramid, prep.folds[rows])
    error = np.where(anchors.exact[rows][..., None], anchors.xy[rows] - found.xy, np.nan)
    count = np.isfinite(error).sum(axis=(0, 2))
    square = np.nansum(error**2, axis=(0, 2))
    variance = np.where(count > 0, square / np.maximum(count, 1), square.sum() / max(count.sum(), 1))
    return replace(ensemble, coarse_noise=variance * _loosening(prior, found.xy, error, variance))


def coarse_completed(
    ensemble: Ensemble, anchors: Anchors, rows: Integers, images: Images, device: torch.device
) -> Anchors:
    """The anchors of all rows, those of some `rows` completed by what their whole images show."""
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[begin : begin + _ROWS_AT_ONCE]
        pyramid = Pyramid(images[part], device)
        anchors = anchors.with_rows(
            part, ensemble.coarse_anchors(np.arange(len(part)), anchors.take(part), pyramid)
        )
    return anchors


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
