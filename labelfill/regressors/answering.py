"""Answers of the ensemble for many rows: block by block here, or shards of rows by a cluster's workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from labelfill.arrays import Images, Integers, Mask
from labelfill.data.images.storage import let_go
from labelfill.networks.memory import RowsAtOnce, alone, in_chunks
from labelfill.regressors.ensemble import Ensemble, Members, folds_at
from labelfill.regressors.patches import Pyramid
from labelfill.runs.engines import Engine, WorkersLost
from labelfill.runs.progress import bar
from labelfill.sources.anchors import Anchors

_log = logging.getLogger("labelfill")


ROWS_AT_ONCE = RowsAtOnce("the regressors", 1024)


def answer_in_blocks(
    ensemble: Ensemble,
    rows: Integers,
    anchors: Anchors,
    wanted: Mask,
    images: Images | None,
    device: torch.device,
    *,
    folds: Integers | None = None,
    desc: str = "",
    progress: bool = False,
) -> Members:
    """`Ensemble.members` over any number of rows; only these rows' images are moved, if there are any."""
    pieces = [
        piece
        for _, piece in answers_by_block(
            ensemble, rows, anchors, wanted, images, device, folds=folds, desc=desc, progress=progress
        )
    ]
    if not pieces:
        pieces.append(ensemble.members(rows, anchors, wanted, _pyramid(images, rows, device), folds))
    return Members(
        np.concatenate([piece.xy for piece in pieces], axis=1),
        np.concatenate([piece.sigma for piece in pieces], axis=1),
        *(
            np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("expected", "scale", "angle")
        ),
    )


def answers_by_block(
    ensemble: Ensemble,
    rows: Integers,
    anchors: Anchors,
    wanted: Mask,
    images: Images | None,
    device: torch.device,
    *,
    folds: Integers | None = None,
    desc: str = "",
    progress: bool = False,
) -> Iterator[tuple[slice, Members]]:
    """The same block by block, each with the part of `rows` that it is of: memory does not grow with them."""

    def members(part: slice, _: int) -> tuple[slice, Members]:
        here = np.arange(len(rows))[part]
        pyramid = _pyramid(images, rows[part], device)
        local = np.arange(len(here))
        found = ensemble.members(local, anchors.take(here), wanted[part], pyramid, folds_at(folds, here))
        return part, found

    with bar(total=len(rows), desc=desc, unit="row", show=progress) as shown:
        for part, piece in in_chunks(len(rows), ROWS_AT_ONCE, members):
            yield part, piece
            shown.update(part.stop - part.start)


@dataclass(frozen=True)
class _Shard:
    """Some rows and all that is known of them; the last digits of answers depend on the number of threads."""

    images: Images | None
    anchors: Anchors
    wanted: Mask
    device: str
    threads: int


def answers_by_shard(
    ensemble: Ensemble,
    rows: Integers,
    anchors: Anchors,
    wanted: Mask,
    images: Images | None,
    device: torch.device,
    *,
    engine: Engine,
    desc: str = "",
    progress: bool = False,
) -> Iterator[tuple[slice, Members]]:
    """As `answers_by_block`, by the workers of `engine` if it is a cluster: in any order, then."""
    if not engine.cluster:
        yield from answers_by_block(
            ensemble, rows, anchors, wanted, images, device, desc=desc, progress=progress
        )
        return
    parts = [slice(begin, begin + ROWS_AT_ONCE.rows) for begin in range(0, len(rows), ROWS_AT_ONCE.rows)]
    shards: dict[int, _Shard] = {}
    for number, part in enumerate(parts):
        here = np.arange(len(rows))[part]
        shown = None
        if images is not None:
            shown = np.array(images[rows[part]])
            let_go(images)
        shards[number] = _Shard(shown, anchors.take(here), wanted[part], str(device), torch.get_num_threads())
    todo = set(shards)
    try:
        for number, found in engine.results(_answer, ensemble, shards, os.cpu_count() or 1):
            todo.remove(number)
            yield parts[number], found
    except WorkersLost as lost:
        _log.warning("%s: going on in this process", lost)
    for number in sorted(todo):  # none, unless workers were lost
        yield parts[number], _answer(ensemble, shards[number])


def _answer(ensemble: Ensemble, shard: _Shard) -> Members:
    with alone(shard.threads):
        rows = np.arange(len(shard.wanted))
        pyramid = _pyramid(shard.images, rows, torch.device(shard.device))
        return ensemble.members(rows, shard.anchors, shard.wanted, pyramid)


def _pyramid(images: Images | None, rows: Integers, device: torch.device) -> Pyramid | None:
    """Some rows' images on the device; None of a table without images."""
    if images is None:
        return None
    pyramid = Pyramid(images[rows], device)
    let_go(images)
    return pyramid
