"""What the final network is to answer, and from which rows it learns that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DataError
from labelfill.final.filled_table import with_labels
from labelfill.final.targets import Filled, Heads, Targets, make_targets, targets_by_source
from labelfill.regressors.files import Sources
from labelfill.runs import TRAINING
from labelfill.settings import FinalModelSettings
from labelfill.sources.preparation import declared_sources

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Parts = NDArray[np.int8]


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
