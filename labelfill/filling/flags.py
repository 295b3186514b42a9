"""The words that send a person to look at a fill, and those that hold for a whole source and keypoint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask
from labelfill.filling.fills import FillMethod, Fills
from labelfill.filling.known_rows import RowKnowledge
from labelfill.filling.provenance import DISTRUSTED
from labelfill.filling.request import FillRequest
from labelfill.regressors.calibration.radii import Radii
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors
from labelfill.sources.groups import UNKNOWN
from labelfill.sources.preparation import LOW_DATA

_IMPLAUSIBLE = 4.0
# A large radius is one of the largest eighth of the table, over 3 px on images of 96, and larger than usual
# for its keypoint and source: what is usual there is said once, not of every point.
_LARGEST = 1 / 8
_LEAST_LARGE = 1 / 32  # of the image's longer side
_UNUSUAL = 1.05
# Where a coordinate is no place in an image; beyond this, px, it makes no difference how far.
_FAR_OFF = 1e6
_ROWS_AT_ONCE = 4096


def flag_words(request: FillRequest, fills: Fills, known: RowKnowledge) -> NDArray[np.object_]:
    """(n, K) words joined by spaces, for fills and for observed labels that the row's others contradict."""
    words = [("doubtful-label", known.doubtful), *_of_fills(request, fills, known)]
    if request.dataset.distrusted is not None:
        words.append((DISTRUSTED, request.dataset.distrusted))
    declared_blank = request.dataset.table.declared_blank
    if declared_blank is not None:
        words.append(("replaced", fills.filled & declared_blank))
    flags = fills.flags.copy()
    for word, points in words:
        for row, k in np.argwhere(points).tolist():
            flags[row, k] = f"{flags[row, k]} {word}".strip()
    return flags


def _of_fills(request: FillRequest, fills: Fills, known: RowKnowledge) -> list[tuple[str, Mask]]:
    """Each word and the fills (n, K) that get it."""
    dataset, ensemble = request.dataset, request.models.ensemble
    if ensemble.radii is None or not fills.filled.any():
        return []
    # The other half of a half-labelled point may be any number.
    labels = np.clip(np.nan_to_num(dataset.all_labels), -_FAR_OFF, _FAR_OFF)
    position = np.where(np.isnan(fills.xy), labels, fills.xy)
    unexpected = _departure(position, ensemble.prior, known.anchors) > _IMPLAUSIBLE
    unseen = fills.filled & (fills.method != FillMethod.CONFIRMED)  # a person has seen the others
    return [
        ("large-radius", unseen & _large(request, ensemble.radii, np.where(unseen, fills.radius, np.nan))),
        ("implausible-shape", unseen & unexpected & (fills.method == FillMethod.REGRESSOR)),
        ("off-image", unseen & ~dataset.on_image(position)),
        ("doubtful-anchor", unseen & np.any(known.doubtful, axis=1, keepdims=True)),
    ]


def _large(request: FillRequest, radii: Radii, radius: Array) -> Mask:
    """(n, K): which radii (n, K) in px of the frame, NaN where there is none, are large in this table."""
    if np.isnan(radius).all():
        return np.zeros(radius.shape, bool)
    size = request.dataset.schema.image_size
    usual = radii.usual_radius(request.settings.coverage)[None] * radii.shift(request.groups)
    least = max(float(np.nanquantile(radius, 1 - _LARGEST)), _LEAST_LARGE * max(size.height, size.width))
    large: Mask = (radius > least) & (radius > _UNUSUAL * usual)
    return large


def source_flags(radii: Radii, groups: Integers) -> dict[str, Mask]:
    """Words that hold for all fills (n, K) of a source and keypoint, and the points that they hold for."""
    several = len(radii.labelled) > 1
    unknown = np.broadcast_to(((groups == UNKNOWN) & several)[:, None], (len(groups), len(radii.learnt)))
    return {
        "source-shift": radii.unverified(groups),
        "low-data": np.broadcast_to(radii.learnt[None] < LOW_DATA, unknown.shape),
        "unknown-source": unknown,
    }


def _departure(position: Array, prior: ShapePrior, anchors: Anchors) -> Array:
    """(n, K): how far positions lie from where a row's anchors lead to expect them, in sigma."""
    departure = np.empty(position.shape[:2])
    for begin in range(0, len(departure), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        expected = prior.condition(anchors.xy[part], anchors.noise[part])
        off = np.linalg.norm(position[part] - expected.xy, axis=2)
        departure[part] = off / np.maximum(expected.sigma, 1e-6)
    return departure
