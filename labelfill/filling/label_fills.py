"""Fills that are labels: of identical images, of a person, or moved into the reference convention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.images.identity import exact_ids, rows_to_copy_from
from labelfill.filling.fills import FillMethod, Fills
from labelfill.filling.request import FillRequest
from labelfill.regressors.calibration.conformal import gaussian_radius
from labelfill.sources.anchors import Anchors
from labelfill.sources.groups import UNKNOWN

# A label that was copied, or that a person confirmed, is as exact as annotators are.
_PERSON_SIGMA = 0.5


def copied_fills(request: FillRequest) -> Fills:
    """An identical image that labels the keypoint in the same convention is the best fill there is."""
    dataset = request.dataset
    if dataset.images is None:
        return Fills.empty(request.conventions)
    labels, ids, observed = dataset.labels, exact_ids(dataset.images), dataset.table.observed
    # Rows of a group that disputes the keypoint copy from each other, all others from each other.
    side = np.where(request.disputed, request.groups[:, None], UNKNOWN)
    complete: Mask = np.all(np.isfinite(labels), axis=2)
    xy, sigma = np.full(labels.shape, np.nan), np.full(complete.shape, np.nan)
    wanted: Mask = np.any(~observed, axis=2)
    for row, k, same in rows_to_copy_from(ids, wanted, complete, side):
        xy[row, k] = np.median(labels[same, k], axis=0)
        sigma[row, k] = max(_PERSON_SIGMA, np.sqrt(np.var(labels[same, k], axis=0).mean()))
    return _of_labels(request, xy, sigma, FillMethod.COPY)


def confirmed_fills(request: FillRequest) -> Fills:
    """Blank points where a person says that they lie, in their own row's convention."""
    dataset = request.dataset
    if dataset.confirmed is None:
        return Fills.empty(request.conventions)
    labels = dataset.labels
    said = np.isfinite(dataset.confirmed) & ~dataset.table.observed & np.isfinite(labels)
    sigma = np.where(said.any(axis=2), _PERSON_SIGMA, np.nan)
    return _of_labels(request, np.where(said, labels, np.nan), sigma, FillMethod.CONFIRMED)


def harmonised_fills(request: FillRequest, fills: Fills, in_reference: Fills, anchors: Anchors) -> Fills:
    """The fills with every disputed keypoint in its reference convention, labels of other conventions moved.

    Rows of a source that the models have not met keep their labels: nobody knows what they mean by them.

    Parameters
    ----------
    in_reference
        Fills of disputed keypoints before they were moved into their rows' own conventions.
    anchors
        The labels in the reference convention, with the noise that this leaves.
    """
    labelled: Mask = np.all(np.isfinite(request.dataset.labels), axis=2)
    known = request.disputed & labelled & anchors.known
    xy = np.where(known[..., None], anchors.xy, np.nan)
    sigma = np.where(known, np.sqrt(anchors.noise.mean(axis=2)), np.nan)
    moved = _of_labels(request, xy, sigma, FillMethod.HARMONISED)
    found = request.disputed & fills.filled & ~known & in_reference.filled
    unmoved = fills.replaced(found, replace(in_reference, flags=fills.flags))
    conventions = fills.conventions.copy()
    for offset in request.models.sources.offsets:
        rows = (request.groups == offset.group) & (known | found)[:, offset.keypoint]
        conventions[rows, offset.keypoint] = offset.reference
    return replace(unmoved.replaced(known, moved), conventions=conventions)


def _of_labels(request: FillRequest, xy: Array, sigma: Array, method: FillMethod) -> Fills:
    """Points (n, K, 2) px with their sigma (n, K) px as fills, in each row's own convention."""
    nothing = Fills.empty(request.conventions)
    filled = np.isfinite(sigma)
    return replace(
        nothing, xy=xy, sigma=sigma, radius=gaussian_radius(request.settings.coverage) * sigma,
        method=np.where(filled, method, FillMethod.NONE).astype(np.int8),
    )  # fmt: skip
