"""The original way: a network of the `baseline` architecture for each incomplete keypoint.

Each network learns from 85% of the rows that label its keypoint, in batches of 128; the others choose the
epoch. Training all of them whole would take many hours: for each distinct number of rows some epochs are
timed after one to warm up, and all 50 are taken to be as long. A few networks are trained whole and fill
their keypoint, so that it can be said how well. Each is trained with all threads, in the fastest of float32
and bfloat16, of the usual order in memory and channels last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import Figures, say, tell
from benchmarks.parts.networks import epoch_seconds
from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import read_dataset
from labelfill.data.table import write_filled
from labelfill.final.fitting import FinalSetup, new_model, plain_examples
from labelfill.final.model import FinalModel
from labelfill.final.targets import Heads, Targets
from labelfill.networks.devices import Computing, native_bfloat16
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.original.design import Design
from labelfill.runs import TRAINING, VALIDATION, atomic_write
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema

HELD_OUT = 0.15
SETTINGS = Design(preset="baseline").complete()
TRIED_ROWS = 256
TIMED_EPOCHS = 2


@dataclass(frozen=True)
class Task:
    """One keypoint's network, untrained, and what it learns from."""

    keypoint: int
    model: FinalModel
    learnt: Examples
    held_out: Examples


def measure(
    data: str, cache: str, out: str, device: str, threads: int, whole: int, epochs: int = SETTINGS.epochs
) -> Figures:
    """All networks timed, and `whole` of them trained whole for so many epochs: `out` is filled by these."""
    torch.set_num_threads(threads)
    on = torch.device(device)
    dataset = read_dataset(Path(data), cache_dir=Path(cache))
    incomplete = np.flatnonzero((~dataset.table.labelled).any(axis=0)).tolist()
    way = fastest(task(dataset, incomplete[-1], on), on)
    say(f"the original way: {way}")
    told = extrapolated(dataset, incomplete, way, on)
    rare = sorted(incomplete, key=lambda k: (int(dataset.table.labelled[:, k].sum()), k))[:whole]
    trained = fill_whole(dataset, rare, way, on, epochs, Path(out))
    return {**told, "way": way, "threads": threads, "trained whole": trained}


def task(dataset: Dataset, keypoint: int, device: torch.device) -> Task:
    """The rows that label a keypoint, in their order, those that choose the epoch drawn at random."""
    assert dataset.images is not None
    rows = np.flatnonzero(np.isfinite(dataset.labels[:, keypoint]).all(axis=1))
    order = np.random.default_rng(random_key(0, "original", keypoint)).permutation(len(rows))
    parts = np.full(len(rows), TRAINING, np.int8)
    parts[order[: max(1, round(HELD_OUT * len(rows)))]] = VALIDATION
    ones = np.ones((len(rows), 1), bool)
    targets = Targets(dataset.labels[rows, keypoint : keypoint + 1], ones.astype(float), ones)
    schema = KeypointSchema((dataset.schema.keypoints[keypoint],), dataset.schema.image_size)
    model = new_model(FinalSetup(schema, None, (), parts, SETTINGS, 0, Computing(device)), Heads(1), targets)
    examples = []
    for part in (TRAINING, VALIDATION):
        some = np.flatnonzero(parts == part)
        shown = Targets(targets.xy[some], targets.weight[some], targets.observed[some])
        examples.append(plain_examples(model, shown, model.pyramid(dataset.images[rows[some]], device)))
    return Task(keypoint, model, *examples)


def plan(epochs: int, way: dict[str, bool]) -> Plan:
    assert SETTINGS.batch_size is not None and SETTINGS.learning_rate is not None
    return Plan(
        epochs, SETTINGS.batch_size, SETTINGS.learning_rate,
        weight_decay=0.0, shuffle=SETTINGS.shuffle == "on", constant=True, **way,
    )  # fmt: skip


def fastest(one: Task, device: torch.device) -> dict[str, bool]:
    """The precision and the order in memory in which an epoch of a few rows is shortest."""
    few = Examples(**{name: tensor[:TRIED_ROWS] for name, tensor in vars(one.learnt).items()})
    halves = [False, True] if device.type == "cpu" and native_bfloat16() else [False]
    ways = [{"bfloat16": half, "channels_last": last} for half, last in product(halves, (False, True))]
    return min(ways, key=lambda way: epoch_seconds(one.model.network, few, plan(4, way)))


def extrapolated(
    dataset: Dataset, incomplete: Sequence[int], way: dict[str, bool], device: torch.device
) -> Figures:
    """Seconds that all networks would take to learn and to fill."""
    assert SETTINGS.epochs is not None
    by_rows: dict[int, float] = {}
    learning, per_row = 0.0, 0.0
    blank = ~dataset.table.labelled
    for k in incomplete:
        one = task(dataset, k, device)
        rows = len(one.learnt.inputs)
        if rows not in by_rows:
            by_rows[rows] = epoch_seconds(one.model.network, one.learnt, plan(TIMED_EPOCHS + 1, way))
            say(f"{rows} rows: {by_rows[rows]:.2f} s an epoch")
        if not per_row:
            some = dataset.images[:TRIED_ROWS]  # type: ignore[index]  # it has images
            one.model.answer(some, device)  # to warm up
            begun = time.perf_counter()
            one.model.answer(some, device)
            per_row = (time.perf_counter() - begun) / len(some)
        learning += SETTINGS.epochs * by_rows[rows]
    return {
        "networks": len(incomplete), "epochs": SETTINGS.epochs, "timed epochs": TIMED_EPOCHS,
        "seconds per epoch by rows": {str(rows): took for rows, took in sorted(by_rows.items())},
        "extrapolated seconds": learning + per_row * int(blank[:, list(incomplete)].sum()),
    }  # fmt: skip


def fill_whole(
    dataset: Dataset, keypoints: Sequence[int], way: dict[str, bool], device: torch.device, epochs: int,
    out: Path,
) -> list[str]:  # fmt: skip
    """Train some keypoints' networks whole and write the table with their blanks filled; their names."""
    assert dataset.images is not None
    values = np.full(dataset.labels.shape, np.nan)
    for k in keypoints:
        one = task(dataset, k, device)
        begun = time.perf_counter()
        network, chosen = one.model.network, plan(epochs, way)
        fit(network, lambda _, one=one: one.learnt, one.held_out, chosen, key=(0, "bench"))
        say(f"{dataset.schema.keypoints[k]}, {epochs} epochs: {time.perf_counter() - begun:.1f} s")
        rows = np.flatnonzero(~dataset.table.labelled[:, k])
        values[rows, k] = one.model.answer(dataset.images[rows], device)[0][:, 0]
    with atomic_write(out) as file:
        write_filled(dataset.table, values, file)
    return [dataset.schema.keypoints[k] for k in keypoints]


if __name__ == "__main__":
    tell(measure)
