"""What the final network learns from: a filled table's coordinates, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask, Parts
from labelfill.errors import DataError
from labelfill.filling.fills import HALF_WEIGHT
from labelfill.final.filled_table import Filled, with_labels
from labelfill.runs import TRAINING
from labelfill.schema import KeypointSchema
from labelfill.settings import FinalModelSettings
from labelfill.sources.conventions import ConventionOffset, Sources
from labelfill.sources.preparation import declared_sources


@dataclass(frozen=True)
class Heads:
    """What the final network answers: all keypoints, then disputed ones in further conventions.

    Attributes
    ----------
    further
        (keypoint, group) of each further head.
    """

    keypoints: int
    further: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        return self.keypoints + len(self.further)

    def outputs(self, separate: bool) -> tuple[int, ...]:
        """How many heads each network has: one network, or with `separate` one for each group's heads."""
        if not separate:
            return (self.count,)
        groups = sorted({group for _, group in self.further})
        return (self.keypoints, *(sum(own == group for _, own in self.further) for group in groups))

    def partners(self, partners: tuple[int, ...]) -> tuple[int, ...]:
        """Mirror partners of all heads."""
        index = {head: self.keypoints + number for number, head in enumerate(self.further)}
        others = [
            index.get((partners[k], group), -1) if partners[k] >= 0 else -1 for k, group in self.further
        ]
        return (*partners, *others)

    def in_convention(self, answer: Array, groups: NDArray[np.int64]) -> Array:
        """(n, K, ...) from (n, heads, ...): each row in its own group's convention."""
        own = answer[:, : self.keypoints].copy()
        for number, (k, group) in enumerate(self.further):
            rows = groups == group
            own[rows, k] = answer[rows, self.keypoints + number]
        return own


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


def make_targets(
    filled: Filled,
    heads: Heads,
    offsets: list[ConventionOffset],
    groups: NDArray[np.int64],
    moved: tuple[Array, Array] | None,
) -> Targets:
    """Targets and weights of every head.

    Parameters
    ----------
    groups
        (n,) label source of each row.
    moved
        Positions (n, K, 2) and variances (n, K, 2) in the reference convention, of labels that are in
        another; None takes every value as it stands.
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
        away = groups == offset.group
        xy[away, head], variance[away, head], person[away, head] = (
            xy[away, k],
            variance[away, k],
            person[away, k],
        )
        xy[away, k], person[away, k] = moved[0][away, k], False
        variance[away, k] = moved[1][away, k].mean(axis=1)
        home = (groups == offset.reference) & np.isfinite(values[:, k]).all(axis=1)
        xy[home, head] = offset.in_group(values[home], values[home, k])
        variance[home, head] = offset.guess_variance.mean() + filled.sigma[home, k] ** 2
    return _weighed(xy, variance, person, s0)


def targets_by_source(filled: Filled, heads: Heads, groups: NDArray[np.int64], main: int) -> Targets:
    """Targets of heads that each learn from the rows of one source alone: the keypoints' from group `main`.

    Where a row's source has a head of its own for a keypoint, that head learns it, else none does.
    """
    values = filled.dataset.labels
    s0 = _half_variance(filled.dataset.schema)
    xy = np.full((len(values), heads.count, 2), np.nan)
    variance = np.full((len(values), heads.count), np.inf)
    person = np.zeros((len(values), heads.count), bool)
    by_head = [(k, main) for k in range(heads.keypoints)] + list(heads.further)
    for head, (k, group) in enumerate(by_head):
        own = groups == group
        xy[own, head], variance[own, head] = values[own, k], filled.sigma[own, k] ** 2
        person[own, head] = filled.observed[own, k].all(axis=1)
    return _weighed(xy, variance, person, s0)


def _half_variance(schema: KeypointSchema) -> float:
    return (HALF_WEIGHT * max(schema.image_size.height, schema.image_size.width)) ** 2


def _weighed(xy: Array, variance: Array, person: Mask, s0: float) -> Targets:
    known = np.isfinite(xy).all(axis=2) & np.isfinite(variance)
    weight = np.where(known, s0 / (s0 + np.where(known, variance, 0.0)), 0.0)
    return Targets(np.nan_to_num(xy), weight, person & known)


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt.

    Attributes
    ----------
    heads
        What the network answers.
    main
        The source that the keypoints' own heads learn from, where sources are taken apart.
    complete
        (n,): rows of which a person labelled everything.
    """

    heads: Heads
    main: int
    complete: Mask


def groups_of(filled: Filled, sources: Sources) -> Integers:
    """(n,) the number of each row's label source."""
    return sources.groups.assign(
        filled.observed[..., 0] & filled.observed[..., 1], declared_sources(filled.dataset, sources.groups)
    )


def make_lesson(filled: Filled, groups: Integers, sources: Sources, settings: FinalModelSettings) -> Lesson:
    """The heads that settings and label sources ask for.

    Raises
    ------
    DataError
        If sources are to be taken apart and there is only one.
    """
    complete: Mask = np.all(filled.observed, axis=(1, 2))
    heads, main = Heads(filled.observed.shape[1]), 0
    if settings.rows != "together":
        heads, main = _heads_by_source(filled, groups, sources.groups.names)
    elif sources.offsets and _several_conventions(settings, filled):
        heads = Heads(heads.keypoints, tuple((one.keypoint, one.group) for one in sources.offsets))
    return Lesson(heads, main, complete)


def targets_of(
    lesson: Lesson,
    filled: Filled,
    groups: Integers,
    sources: Sources,
    settings: FinalModelSettings,
    parts: Parts,
    moved: tuple[Array, Array] | None,
) -> Targets:
    """Targets of every head; `moved` as for `make_targets`."""
    learnt = with_labels(filled, settings, parts == TRAINING)
    if settings.rows == "together":
        targets = make_targets(learnt, lesson.heads, sources.offsets, groups, moved)
    else:
        targets = targets_by_source(learnt, lesson.heads, groups, lesson.main)
    if settings.labels == "complete":
        targets.weight[(parts == TRAINING) & ~lesson.complete] = 0.0
    return targets


def _several_conventions(settings: FinalModelSettings, filled: Filled) -> bool:
    """Whether disputed keypoints get a further head per source."""
    return not (settings.single_convention or settings.original or filled.harmonised)


def _heads_by_source(filled: Filled, groups: Integers, names: tuple[str, ...]) -> tuple[Heads, int]:
    """Heads for rows of each label source apart; also the source that the keypoints' own heads learn from.

    That is the one whose rows label most; another source has heads for what most of its rows label.
    """
    labelled: Mask = np.all(filled.observed, axis=2)
    there = [group for group in range(len(names)) if (groups == group).any()]
    if len(there) < 2:
        raise DataError(
            f"{filled.dataset.table.path} has one label source, so there are no rows to be taken apart; "
            "use --rows together, or name the sources by train-keypoint-models --source-column"
        )
    main = max(there, key=lambda group: labelled[groups == group].mean())
    further = [
        (k, group)
        for group in there if group != main
        for k in np.flatnonzero(labelled[groups == group].mean(axis=0) >= 0.5).tolist()
    ]  # fmt: skip
    return Heads(labelled.shape[1], tuple(further)), main
