"""Answers of the ensemble for many rows: block by block here, or shards of rows by a cluster's workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from labelfill.arrays import Images, Integers, Mask
from labelfill.data.images.storage import let_go
from labelfill.networks.devices import Computing, processors
from labelfill.networks.memory import alone, in_chunks
from labelfill.regressors.ensemble import Ensemble, Members
from labelfill.regressors.patches import Pyramid
from labelfill.runs.engines import WorkersLost
from labelfill.runs.progress import bar
from labelfill.sources.anchors import Anchors

_log = logging.getLogger("labelfill")

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Question:
    """Rows of a table, and which of their keypoints are asked for.

    Attributes
    ----------
    rows
        (n,) index in the table.
    anchors
        Of these rows.
    wanted
        (n, K): which keypoints.
    images
        Of the whole table; None of one without.
    folds
        (n,): answer by the networks that did not see this fold only; None averages over all.
    """

    rows: Integers
    anchors: Anchors
    wanted: Mask
    images: Images | None
    folds: Integers | None = None

    def take(self, part: slice) -> Question:
        """Some of the rows."""
        index = np.arange(len(self.rows))[part]
        folds = None if self.folds is None else self.folds[part]
        return Question(self.rows[part], self.anchors.take(index), self.wanted[part], self.images, folds)

    def answered(self, ensemble: Ensemble, device: torch.device) -> Members:
        """What the ensemble's members answer; only these rows' images are moved to the device."""
        pyramid = None
        if self.images is not None:
            pyramid = Pyramid(self.images[self.rows], device)
            let_go(self.images)
        return ensemble.members(np.arange(len(self.rows)), self.anchors, self.wanted, pyramid, self.folds)

    def detached(self) -> Question:
        """The same with a copy of these rows' images alone."""
        images = None
        if self.images is not None:
            images = np.array(self.images[self.rows])
            let_go(self.images)
        return replace(self, rows=np.arange(len(self.rows)), images=images)


def answer_in_blocks(ensemble: Ensemble, question: Question, computing: Computing, desc: str = "") -> Members:
    """`Ensemble.members` over any number of rows."""
    blocks = [members for _, members in _answers_by_block(ensemble, question, computing, desc)]
    if not blocks:
        return question.answered(ensemble, computing.device)
    return Members(
        np.concatenate([members.xy for members in blocks], axis=1),
        np.concatenate([members.sigma for members in blocks], axis=1),
        np.concatenate([members.expected for members in blocks]),
        np.concatenate([members.scale for members in blocks]),
        np.concatenate([members.angle for members in blocks]),
    )


def _answers_by_block(
    ensemble: Ensemble, question: Question, computing: Computing, desc: str
) -> Iterator[tuple[slice, Members]]:
    def answer(part: slice, _: int) -> tuple[slice, Members]:
        return part, question.take(part).answered(ensemble, computing.device)

    count = len(question.rows)
    with bar(total=count, desc=desc, unit="row", show=computing.progress) as shown:
        for part, members in in_chunks(count, ROWS_AT_ONCE, answer, "the regressors"):
            yield part, members
            shown.update(part.stop - part.start)


@dataclass(frozen=True)
class _Shard:
    """Some rows and all that is known of them, and how many threads answer."""

    question: Question
    device: str
    threads: int


def answers_by_shard(
    ensemble: Ensemble, question: Question, computing: Computing, desc: str
) -> Iterator[tuple[slice, Members]]:
    """What is answered block by block, each with the part of `rows` that it is of.

    Memory does not grow with the rows. Of the workers of a cluster answers come in any order.
    """
    if not computing.engine.cluster:
        yield from _answers_by_block(ensemble, question, computing, desc)
        return
    count = len(question.rows)
    parts = [slice(begin, begin + ROWS_AT_ONCE) for begin in range(0, count, ROWS_AT_ONCE)]
    shards = {
        number: _Shard(question.take(part).detached(), str(computing.device), torch.get_num_threads())
        for number, part in enumerate(parts)
    }
    todo = set(shards)
    try:
        for number, members in computing.engine.results(_answer, ensemble, shards, processors()):
            todo.remove(number)
            yield parts[number], members
    except WorkersLost as lost:
        _log.warning("%s: continuing in this process", lost)
    for number in sorted(todo):  # none, unless workers were lost
        yield parts[number], _answer(ensemble, shards[number])


def _answer(ensemble: Ensemble, shard: _Shard) -> Members:
    with alone(shard.threads):
        return shard.question.answered(ensemble, torch.device(shard.device))
