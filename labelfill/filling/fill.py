"""Blank coordinates found: what the models answer, in whose convention, and what labels give; no files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.filling.fills import Filling, FillMethod, Fills
from labelfill.filling.flags import flag_words
from labelfill.filling.known_rows import known_of_rows
from labelfill.filling.label_fills import confirmed_fills, copied_fills, harmonised_fills
from labelfill.filling.request import FillRequest
from labelfill.networks.devices import Computing
from labelfill.regressors.answering import Question, answers_by_shard
from labelfill.regressors.ensemble import Member
from labelfill.sources.anchors import Anchors
from labelfill.sources.groups import UNKNOWN

# Rows of a source that the models have not met get radii this much wider: nothing measured them.
_UNKNOWN_SOURCE = 1.5


def fill(request: FillRequest, computing: Computing) -> Filling[Fills]:
    """Find every blank coordinate of a table."""
    known = known_of_rows(request.dataset, request.models, request.groups, computing)
    in_reference = _answered(request, known.anchors, computing)
    in_own_convention = _as_own_source_labels(request, in_reference)
    completed = _completed(request, in_own_convention)
    fills = replace(completed, flags=flag_words(request, completed, known))
    if not request.settings.harmonise:
        return Filling(fills, request.groups, None)
    return Filling(fills, request.groups, harmonised_fills(request, fills, in_reference, known.anchors))


def expected_fills(request: FillRequest) -> Filling[Fills]:
    """What `fill` will find, all but where: points that models answer for, copies, a person's verdicts."""
    asked, blank = request.fillable, np.isnan(request.dataset.table.labels)
    answered = replace(
        Fills.empty(request.conventions),
        xy=np.where(asked[..., None] & blank, 0.0, np.nan),
        sigma=np.where(asked, 1.0, np.nan),
        radius=np.where(asked, 0.0, np.nan),  # nothing is too uncertain yet
        method=np.where(asked, FillMethod.REGRESSOR, FillMethod.NONE).astype(np.int8),
    )
    return Filling(_completed(request, answered), request.groups, None)


def _completed(request: FillRequest, answered: Fills) -> Fills:
    """What models have no say in put in: copies, points that stay hidden, a person's verdicts."""
    with_copies = answered.overlaid(copied_fills(request))
    with_verdicts = with_copies.without(request.hidden).overlaid(confirmed_fills(request))
    # Observed cells are sacred.
    return replace(with_verdicts, xy=np.where(request.dataset.table.observed, np.nan, with_verdicts.xy))


def _answered(request: FillRequest, anchors: Anchors, computing: Computing) -> Fills:
    """What the models answer, in the reference convention; of half-labelled points both coordinates."""
    dataset, ensemble, settings = request.dataset, request.models.ensemble, request.settings
    asked = request.fillable
    reference = np.tile(request.models.sources.reference, (len(asked), 1))
    rows = np.flatnonzero(asked.any(axis=1))
    if not len(rows):
        return Fills.empty(reference)
    assert ensemble.calibration is not None and ensemble.radii is not None, "points are asked for"
    wanted, labels, groups = asked[rows], dataset.labels[rows], request.groups[rows]
    # A half-labelled point is found as if it were not labelled, then conditioned on its known half.
    half: Mask = np.any(np.isfinite(dataset.table.labels[rows]), axis=2) & ~np.isfinite(labels).all(axis=2)
    shown = Anchors(anchors.xy[rows], np.where(half[..., None], np.inf, anchors.noise[rows]))
    found, stated = np.full(labels.shape, np.nan), np.full(wanted.shape, np.nan)
    prior_sigma = stated.copy()
    question = Question(rows, shown, wanted, dataset.images)
    for part, members in answers_by_shard(ensemble, question, computing, "fill"):
        best, best_sigma = ensemble.best(members)
        found[part] = np.where(wanted[part][..., None], best, np.nan)
        stated[part] = np.where(wanted[part], best_sigma, np.nan)
        prior_sigma[part] = members.sigma[Member.PRIOR]
    several = len(request.models.sources.groups.names) > 1
    unmet = np.where((groups == UNKNOWN) & several, _UNKNOWN_SOURCE, 1.0)[:, None]
    widened = stated * (unmet * ensemble.radii.shift(groups))
    xy, sigma, radius = (
        np.full((*asked.shape, 2), np.nan),
        np.full(asked.shape, np.nan),
        np.full(asked.shape, np.nan),
    )
    xy[rows] = _conditioned_on_half(found, labels, ensemble.calibration.correlation)
    sigma[rows], radius[rows] = widened, widened * ensemble.radii.factor(settings.coverage, prior_sigma)
    answering = FillMethod.REGRESSOR if ensemble.patch else FillMethod.PRIOR
    method = np.where(asked, answering, FillMethod.NONE).astype(np.int8)
    return replace(Fills.empty(reference), xy=xy, sigma=sigma, radius=radius, method=method)


def _conditioned_on_half(found: Array, labels: Array, correlation: Array) -> Array:
    """Where one of x and y is known, the other is moved by what the known one's error tells of it."""
    moved = found.copy()
    for known, other in ((0, 1), (1, 0)):
        half = np.isfinite(labels[..., known]) & np.isnan(labels[..., other]) & np.isfinite(found[..., other])
        error = np.where(half, labels[..., known] - found[..., known], 0.0)
        moved[..., other] += error * correlation[None]
    return moved


def _as_own_source_labels(request: FillRequest, fills: Fills) -> Fills:
    """A blank disputed cell is filled as its own row's source would label it."""
    labels, disputed = request.dataset.labels, request.disputed & fills.filled
    xy, variance = fills.xy.copy(), np.zeros(disputed.shape)
    for offset in request.models.sources.offsets:
        k = offset.keypoint
        rows = np.flatnonzero((request.groups == offset.group) & fills.filled[:, k])
        xy[rows, k] = offset.in_group(labels[rows], fills.xy[rows, k])
        # The way into the other convention is as uncertain as the offset varies.
        variance[rows, k] = offset.guess_variance.mean()
    sigma = np.sqrt(fills.sigma**2 + variance)
    moved = Fills(
        xy, sigma, fills.radius * (sigma / fills.sigma),
        np.full(disputed.shape, FillMethod.CONVENTION, np.int8), request.conventions, fills.flags,
    )  # fmt: skip
    return fills.replaced(disputed, moved)
