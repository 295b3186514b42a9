"""What the final network learns from: a filled table's coordinates, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from labelfill.arrays import Array, Integers, Mask, Parts
from labelfill.errors import DataError
from labelfill.filling.fills import HALF_WEIGHT
from labelfill.final.filled_table import Filled, with_labels
from labelfill.runs import TRAINING
from labelfill.schema import KeypointSchema
from labelfill.settings import FinalModelSettings
from labelfill.sources.anchors import Anchors
from labelfill.sources.conventions import ConventionOffset, Sources


@dataclass(frozen=True)
class Heads:
    """What the final network answers: all keypoints, then disputed ones in further conventions.

    Attributes
    ----------
    further
        (keypoint, group) of each further head.
    main
        The source that the keypoints' first heads learn from, where sources are taken apart.
    """

    keypoints: int
    further: tuple[tuple[int, int], ...] = ()
    main: int = 0

    @property
    def count(self) -> int:
        """How many points are answered."""
        return self.keypoints + len(self.further)

    @property
    def of_keypoint(self) -> tuple[int, ...]:
        """The keypoint of each head."""
        return (*range(self.keypoints), *(k for k, _ in self.further))

    def outputs(self, separate: bool) -> tuple[int, ...]:
        """How many heads each network has: one network, or with `separate` one for each group's heads."""
        if not separate:
            return (self.count,)
        groups = sorted({group for _, group in self.further})
        return (self.keypoints, *(sum(of == group for _, of in self.further) for group in groups))

    def partners(self, partners: tuple[int, ...]) -> tuple[int, ...]:
        """Mirror partners of all heads."""
        index = {head: self.keypoints + number for number, head in enumerate(self.further)}
        others = [
            index.get((partners[k], group), -1) if partners[k] >= 0 else -1 for k, group in self.further
        ]
        return (*partners, *others)

    def in_convention(self, answer: Array, groups: Integers) -> Array:
        """(n, K, ...) from (n, heads, ...): each row in its own group's convention."""
        chosen = answer[:, : self.keypoints].copy()
        for number, (k, group) in enumerate(self.further):
            rows = groups == group
            chosen[rows, k] = answer[rows, self.keypoints + number]
        return chosen


@dataclass(frozen=True)
class Targets:
    """Targets of all heads.

    Attributes
    ----------
    xy, weight
        (n, heads, 2) px and (n, heads).
    observed
        (n, heads): whether a person labelled it, in that head's convention: what is scored.
    """

    xy: Array
    weight: Array
    observed: Mask

    def take(self, rows: Integers) -> Targets:
        return Targets(self.xy[rows], self.weight[rows], self.observed[rows])

    def seen(
        self, rows: Integers, mirrored: Mask, schema: KeypointSchema, partners: tuple[int, ...] | None
    ) -> tuple[Array, Array]:
        """Targets (m, heads, 2) px and weights (m, heads) of rows, some as they are in the mirrored image.

        Parameters
        ----------
        partners
            Mirror partners of heads; not asked for where no row is mirrored.
        """
        xy, weight = self.xy[rows], self.weight[rows]
        if mirrored.any():
            assert partners is not None
            order = np.asarray(partners)
            flipped = np.nan_to_num(schema.mirror(xy, partners))
            xy = np.where(mirrored[:, None, None], flipped, xy)
            weight = np.where(mirrored[:, None], np.where(order >= 0, weight[:, order], 0.0), weight)
        return xy, weight


def make_targets(
    filled: Filled, heads: Heads, offsets: list[ConventionOffset], groups: Integers, moved: Anchors | None
) -> Targets:
    """Targets and weights of every head.

    Parameters
    ----------
    groups
        (n,) label source of each row.
    moved
        Labels in the reference convention, of those that are in another; None takes every value as it stands.
    """
    schema: KeypointSchema = filled.dataset.schema
    s0 = _half_variance(schema)
    values = filled.dataset.labels
    count, k_count = len(values), heads.keypoints
    xy = np.full((count, heads.count, 2), np.nan)
    variance = np.full((count, heads.count), np.inf)
    person = np.zeros((count, heads.count), bool)
    whole = filled.observed.all(axis=2)
    xy[:, :k_count] = values
    variance[:, :k_count] = np.where(np.isfinite(values).all(axis=2), filled.sigma**2, np.inf)
    person[:, :k_count] = whole
    by_head = {head: k_count + number for number, head in enumerate(heads.further)}
    for offset in offsets:
        k, head = offset.keypoint, by_head.get((offset.keypoint, offset.group))
        if head is None or moved is None:
            continue
        disputing = groups == offset.group
        xy[disputing, head], variance[disputing, head] = xy[disputing, k], variance[disputing, k]
        person[disputing, head] = person[disputing, k]
        xy[disputing, k], person[disputing, k] = moved.xy[disputing, k], False
        variance[disputing, k] = moved.noise[disputing, k].mean(axis=1)
        home = (groups == offset.reference) & np.isfinite(values[:, k]).all(axis=1)
        xy[home, head] = offset.in_group(values[home], values[home, k])
        variance[home, head] = offset.guess_variance.mean() + filled.sigma[home, k] ** 2
    return _weighed(xy, variance, person, s0)


def targets_by_source(filled: Filled, heads: Heads, groups: Integers) -> Targets:
    """Targets of heads that each learn from the rows of one source alone.

    Where a row's source has a head of its own for a keypoint, that head learns it, else none does.
    """
    values = filled.dataset.labels
    s0 = _half_variance(filled.dataset.schema)
    xy = np.full((len(values), heads.count, 2), np.nan)
    variance = np.full((len(values), heads.count), np.inf)
    person = np.zeros((len(values), heads.count), bool)
    by_head = [(k, heads.main) for k in range(heads.keypoints)] + list(heads.further)
    for head, (k, group) in enumerate(by_head):
        rows = groups == group
        xy[rows, head], variance[rows, head] = values[rows, k], filled.sigma[rows, k] ** 2
        person[rows, head] = filled.observed[rows, k].all(axis=1)
    return _weighed(xy, variance, person, s0)


def _half_variance(schema: KeypointSchema) -> float:
    return (HALF_WEIGHT * max(schema.image_size.height, schema.image_size.width)) ** 2


def _weighed(xy: Array, variance: Array, person: Mask, s0: float) -> Targets:
    known = np.isfinite(xy).all(axis=2) & np.isfinite(variance)
    weight = np.where(known, s0 / (s0 + np.where(known, variance, 0.0)), 0.0)
    return Targets(np.nan_to_num(xy), weight, person & known)


def heads_of(filled: Filled, groups: Integers, sources: Sources, settings: FinalModelSettings) -> Heads:
    """The heads that settings and label sources ask for.

    Parameters
    ----------
    groups
        (n,) label source of each row.

    Raises
    ------
    DataError
        If sources are to be taken apart and there is only one.
    """
    keypoints = filled.observed.shape[1]
    if settings.rows != "together":
        return _heads_by_source(filled, groups, sources.groups.names)
    if settings.single_convention or settings.original or filled.harmonised:
        return Heads(keypoints)
    return Heads(keypoints, tuple((offset.keypoint, offset.group) for offset in sources.offsets))


def targets_of(
    filled: Filled, heads: Heads, groups: Integers, sources: Sources, settings: FinalModelSettings,
    parts: Parts, moved: Anchors | None,
) -> Targets:  # fmt: skip
    """Targets of every head by what settings ask for; `moved` as for `make_targets`."""
    training: Mask = parts == TRAINING
    learnt = with_labels(filled, settings, training)
    if settings.rows == "together":
        targets = make_targets(learnt, heads, sources.offsets, groups, moved)
    else:
        targets = targets_by_source(learnt, heads, groups)
    if settings.labels != "complete":
        return targets
    left_out = training & ~filled.complete
    return replace(targets, weight=np.where(left_out[:, None], 0.0, targets.weight))


def _heads_by_source(filled: Filled, groups: Integers, names: tuple[str, ...]) -> Heads:
    """Heads for rows of each label source apart.

    The keypoints' first heads learn from the source whose rows label most; another source has heads for what
    most of its rows label.
    """
    labelled: Mask = np.all(filled.observed, axis=2)
    present = [group for group in range(len(names)) if (groups == group).any()]
    if len(present) < 2:
        raise DataError(
            f"{filled.dataset.table.path} has only one label source; "
            "use --rows together, or name the sources with train-keypoint-models --source-column"
        )
    main = max(present, key=lambda group: labelled[groups == group].mean())
    further = [
        (k, group)
        for group in present if group != main
        for k in np.flatnonzero(labelled[groups == group].mean(axis=0) >= 0.5).tolist()
    ]  # fmt: skip
    return Heads(labelled.shape[1], tuple(further), main)
