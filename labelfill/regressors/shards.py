"""Blocks of rows answered by a cluster's workers: the same blocks, so the same answers, as on one machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.data.images import let_go
from labelfill.networks.memory import alone
from labelfill.regressors.ensemble import ROWS_AT_ONCE, Ensemble, Members, answers_by_block
from labelfill.regressors.patches import Pyramid
from labelfill.runs.engines import Engine, WorkersLost
from labelfill.sources.anchors import Anchors

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class _Shard:
    """Some rows and all that is known of them; the last digits of answers depend on the number of threads."""

    images: NDArray[np.uint8]
    anchors: Anchors
    wanted: Mask
    device: str
    threads: int


def answers_by_shard(
    ensemble: Ensemble,
    rows: Integers,
    anchors: Anchors,
    wanted: Mask,
    images: NDArray[np.uint8],
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
        shown = np.array(images[rows[part]])
        let_go(images)
        shards[number] = _Shard(shown, anchors.take(here), wanted[part], str(device), torch.get_num_threads())
    todo = set(shards)
    try:
        gpus = 1 if device.type == "cuda" else 0
        for number, found in engine.results(_answer, ensemble, shards, os.cpu_count() or 1, gpus=gpus):
            todo.remove(number)
            yield parts[number], found
    except WorkersLost as lost:
        _log.warning("%s: going on in this process", lost)
    for number in sorted(todo):  # none, unless workers were lost
        yield parts[number], _answer(ensemble, shards[number])


def _answer(ensemble: Ensemble, shard: _Shard) -> Members:
    with alone(shard.threads):
        pyramid = Pyramid(shard.images, torch.device(shard.device))
        return ensemble.members(np.arange(len(shard.images)), shard.anchors, shard.wanted, pyramid)
