"""Blank coordinates found: what every row knows, what the members answer, in whose convention; no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import Dataset, ImageDataset
from labelfill.filling.fills import (
    FillMethod,
    Fills,
    confirm,
    copied,
    copy_from_identical,
    harmonise,
    withhold,
)
from labelfill.regressors.answering import answers_by_shard
from labelfill.regressors.ensemble import Ensemble, Member, Regressor
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.whole_image import needs_coarse
from labelfill.runs.engines import LOCAL, Engine
from labelfill.settings import ImputeSettings
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, guessed_anchors, refined_anchors, weigh_down
from labelfill.sources.conventions import ConventionOffset, Sources
from labelfill.sources.groups import UNKNOWN, least_offset
from labelfill.sources.preparation import LOW_DATA, declared_sources

# Rows of a source that the models have not met get radii this much wider: nothing measured them.
_UNKNOWN_SOURCE = 1.5
_IMPLAUSIBLE = 4.0
# The other half of a half-labelled point may be any number; beyond this, px, it makes no difference how far.
_FAR_OFF = 1e6
_ROWS_AT_ONCE, _NEEDY_AT_ONCE = 4096, 1024


@dataclass(frozen=True)
class Found:
    """A table's fills, (n,) the source group of each row, and, if asked for, all in one convention."""

    fills: Fills
    groups: NDArray[np.int64]
    harmonised: Fills | None


def fill(
    dataset: Dataset,
    ensemble: Ensemble,
    sources: Sources,
    audit: dict[int, Regressor],
    settings: ImputeSettings,
    device: torch.device,
    *,
    groups: NDArray[np.int64] | None = None,
    progress: bool = False,
    engine: Engine = LOCAL,
) -> Found:
    """Find every blank coordinate of a table.

    Parameters
    ----------
    groups
        (n,) the number of each row's label source, where it is known; None: as its missing pattern tells.
    engine
        What answers for blocks of rows.
    """
    table = dataset.table
    if groups is None:
        groups = sources.groups.assign(table.labelled, declared_sources(dataset, sources.groups))
    known = known_of_rows(dataset, ensemble, sources, audit, groups, device, progress=progress, engine=engine)
    anchors = known.anchors
    blank = ~table.labelled
    fillable = fillable_points(dataset, ensemble, sources, settings)
    rows = np.flatnonzero(fillable.any(axis=1))
    # A half-labelled point is found as if it were not labelled, then conditioned on its known half.
    partly: Mask = np.any(np.isfinite(table.labels[rows]), axis=2)
    half: Mask = partly & ~np.isfinite(dataset.labels[rows]).all(axis=2)
    own = Anchors(anchors.xy[rows], np.where(half[..., None], np.inf, anchors.noise[rows]))
    shape = blank.shape
    xy, sigma, radius = np.full((*shape, 2), np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    method = np.zeros(shape, np.int8)
    flags = np.full(shape, "", dtype=object)
    conventions = np.broadcast_to(sources.reference[None], shape).copy()
    if len(rows):
        assert ensemble.calibration is not None
        found, stated = np.full((len(rows), *shape[1:], 2), np.nan), np.full((len(rows), *shape[1:]), np.nan)
        prior_sigma = stated.copy()
        for part, members in answers_by_shard(
            ensemble, rows, own, fillable[rows], dataset.images, device,
            engine=engine, desc="fill", progress=progress,
        ):  # fmt: skip
            asked = fillable[rows[part]]
            blended = ensemble.best(members)
            found[part] = np.where(asked[..., None], blended[0], np.nan)
            stated[part] = np.where(asked, blended[1], np.nan)
            prior_sigma[part] = members.sigma[Member.PRIOR]
        _condition_on_half(found, dataset.labels[rows], ensemble.calibration.correlation)
        wide = (
            np.where(groups[rows] == UNKNOWN, _UNKNOWN_SOURCE, 1.0)[:, None]
            if len(sources.groups.names) > 1
            else 1.0
        )
        assert ensemble.radii is not None
        wide = wide * ensemble.radii.shift(groups[rows])
        xy[rows], sigma[rows] = found, stated * wide
        radius[rows] = stated * wide * ensemble.radii.factor(settings.coverage, prior_sigma)
        method[rows] = np.where(
            fillable[rows], FillMethod.REGRESSOR if ensemble.patch else FillMethod.PRIOR, FillMethod.NONE
        )
    fills = Fills(xy, sigma, radius, method, conventions, flags)
    in_reference = copied(fills) if settings.harmonise else fills
    _into_own_convention(fills, sources.offsets, dataset.labels, groups)
    complete_fills(fills, dataset, groups, sources, settings)
    _flag(fills, dataset, ensemble, groups, known, settings)
    one = None
    if settings.harmonise:
        one = harmonise(
            fills, in_reference, dataset.labels, anchors, sources.offsets, groups, settings.coverage
        )
    return Found(fills, groups, one)


def expected_fills(dataset: Dataset, ensemble: Ensemble, sources: Sources, settings: ImputeSettings) -> Found:
    """What `fill` will find, all but where: points that models answer for, copies, a person's verdicts."""
    groups = sources.groups.assign(dataset.table.labelled, declared_sources(dataset, sources.groups))
    answered = fillable_points(dataset, ensemble, sources, settings)
    fills = Fills(
        np.where(answered[..., None] & np.isnan(dataset.table.labels), 0.0, np.nan),
        np.where(answered, 1.0, np.nan),
        np.where(answered, 0.0, np.nan),  # nothing is too uncertain yet
        answered.astype(np.int8),
        np.zeros(answered.shape, np.int64),
        np.full(answered.shape, "", dtype=object),
    )
    complete_fills(fills, dataset, groups, sources, settings)
    return Found(fills, groups, None)


def fillable_points(dataset: Dataset, ensemble: Ensemble, sources: Sources, settings: ImputeSettings) -> Mask:
    """(n, K): blank points that the models answer for; identical images and a person may give others."""
    fillable: Mask = ~dataset.table.labelled
    fillable[:, sources.skipped] = False
    if ensemble.calibration is None:
        fillable[:] = False
    hidden = hidden_points(dataset, settings)
    if hidden is not None:
        fillable &= ~hidden
    return fillable


def hidden_points(dataset: Dataset, settings: ImputeSettings) -> Mask | None:
    """(n, K): points that stay blank because the table declares them hidden; None if there are none."""
    return None if settings.fill_occluded else dataset.occluded


def complete_fills(
    fills: Fills, dataset: Dataset, groups: NDArray[np.int64], sources: Sources, settings: ImputeSettings
) -> None:
    """Put in what models have no say in: copies, points that stay hidden, a person's verdicts."""
    copy_from_identical(fills, dataset, groups, sources, settings.coverage)
    hidden = hidden_points(dataset, settings)
    if hidden is not None:
        withhold(fills, hidden)
    confirm(fills, dataset, groups, sources, settings.coverage)
    fills.xy[dataset.table.observed] = np.nan  # observed cells are sacred


@dataclass(frozen=True)
class RowKnowledge:
    """Anchors of all rows, and (n, K) which labels their rows' others make implausible."""

    anchors: Anchors
    doubtful: Mask


def known_of_rows(
    dataset: Dataset,
    ensemble: Ensemble,
    sources: Sources,
    audit: dict[int, Regressor],
    groups: NDArray[np.int64],
    device: torch.device,
    *,
    progress: bool = False,
    engine: Engine = LOCAL,
) -> RowKnowledge:
    """What every row knows of itself, in the reference convention; needy rows looked at as a whole."""
    labels = dataset.labels
    anchors = guessed_anchors(
        labels, groups, sources.offsets, sources.untested, least_offset(ensemble.prior.extent) ** 2
    )
    if audit:
        lookers = Ensemble(ensemble.schema, ensemble.prior, ensemble.partners, audit)
        wanted = np.zeros(labels.shape[:2], bool)
        for offset in sources.offsets:
            wanted[:, offset.keypoint] |= (groups == offset.group) & anchors.known[:, offset.keypoint]
        rows = np.flatnonzero(wanted.any(axis=1))
        answers = {k: np.full((len(labels), 2), np.nan) for k in audit}
        for block, members in answers_by_shard(
            lookers, rows, anchors.take(rows), wanted[rows], dataset.images, device,
            engine=engine, desc="disputed anchors", progress=progress,
        ):  # fmt: skip
            for k in audit:
                answers[k][rows[block]] = members.xy[Member.PATCH, :, k]
        anchors = refined_anchors(anchors, groups, sources.offsets, answers)
    sure: Mask = np.any(np.isfinite(labels) & ~dataset.table.observed, axis=2)  # a person confirmed them
    anchors, doubtful = weigh_down(ensemble.prior, anchors, sure)
    if ensemble.coarse is None:
        return RowKnowledge(anchors, doubtful)
    images = ImageDataset.of(dataset).images
    needy = np.flatnonzero(needs_coarse(ensemble.prior, anchors, ~dataset.table.labelled, dataset.schema))
    for begin in range(0, len(needy), _NEEDY_AT_ONCE):
        part = needy[begin : begin + _NEEDY_AT_ONCE]
        completed = ensemble.coarse_anchors(
            np.arange(len(part)), anchors.take(part), Pyramid(images[part], device)
        )
        anchors.xy[part], anchors.noise[part] = completed.xy, completed.noise
    return RowKnowledge(anchors, doubtful)


def _away(position: Array, prior: ShapePrior, anchors: Anchors) -> Array:
    """(n, K): how far positions lie from where a row's anchors lead to expect them, in sigma."""
    away = np.empty(position.shape[:2])
    for begin in range(0, len(away), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        expected = prior.condition(anchors.xy[part], anchors.noise[part])
        off = np.linalg.norm(position[part] - expected.xy, axis=2)
        away[part] = off / np.maximum(expected.sigma, 1e-6)
    return away


def _condition_on_half(found: Array, labels: Array, correlation: Array) -> None:
    """Where one of x and y is known, move the other by what the known one's error tells of it."""
    for known, other in ((0, 1), (1, 0)):
        half = np.isfinite(labels[..., known]) & np.isnan(labels[..., other]) & np.isfinite(found[..., other])
        error = np.where(half, labels[..., known] - found[..., known], 0.0)
        found[..., other] += error * correlation[None]


def _into_own_convention(
    fills: Fills, offsets: list[ConventionOffset], labels: Array, groups: NDArray[np.int64]
) -> None:
    """A blank disputed cell is filled as its own row's source would label it."""
    for offset in offsets:
        k = offset.keypoint
        rows = np.flatnonzero((groups == offset.group) & fills.filled[:, k])
        if len(rows):
            fills.xy[rows, k] = offset.in_group(labels[rows], fills.xy[rows, k])
            # The way into the other convention is as uncertain as the offset varies.
            extra = float(offset.guess_variance.mean())
            grown = np.sqrt(fills.sigma[rows, k] ** 2 + extra)
            fills.radius[rows, k] *= grown / fills.sigma[rows, k]
            fills.sigma[rows, k] = grown
            fills.method[rows, k] = FillMethod.CONVENTION
            fills.conventions[rows, k] = offset.group


def _flag(
    fills: Fills,
    dataset: Dataset,
    ensemble: Ensemble,
    groups: NDArray[np.int64],
    known: RowKnowledge,
    settings: ImputeSettings,
) -> None:
    """Write down, for each fill, the words that send a person to look at it."""
    _add_word(fills, "doubtful-label", known.doubtful)
    filled = fills.filled
    if ensemble.radii is None or not filled.any():
        return
    labels = np.clip(np.nan_to_num(dataset.all_labels), -_FAR_OFF, _FAR_OFF)
    position = np.where(np.isnan(fills.xy), labels, fills.xy)
    away = _away(position, ensemble.prior, known.anchors)
    unknown = (groups == UNKNOWN) & (len(ensemble.radii.labelled) > 1)
    words = (
        ("large-radius", fills.radius > 2 * ensemble.radii.typical_radius(settings.coverage)),
        ("implausible-shape", (away > _IMPLAUSIBLE) & (fills.method == FillMethod.REGRESSOR)),
        ("off-image", ~dataset.on_image(position)),
        ("doubtful-anchor", np.any(known.doubtful, axis=1, keepdims=True)),
        ("source-shift", ensemble.radii.unverified(groups)),
        ("low-data", ensemble.radii.learnt[None] < LOW_DATA),
        ("unknown-source", unknown[:, None]),
    )
    doubted = filled & (fills.method != FillMethod.CONFIRMED)  # a person has seen the others
    for word, where in words:
        _add_word(fills, word, where & doubted)


def _add_word(fills: Fills, word: str, where: Mask) -> None:
    for row, k in np.argwhere(where).tolist():
        fills.flags[row, k] = f"{fills.flags[row, k]} {word}".strip()
