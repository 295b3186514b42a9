"""How far fills are off: held-out rows filled by every way, their labels hidden as in the rows to be filled.

Validation and evaluation rows are hidden by the patterns that calibration hides by, filled by the
run's models, and compared with what their labels say. The simple ways fill the same blanks of the
whole table; they see more of its rows, and labels that other sources mean otherwise at face value.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.filling.fill import known_of_rows
from labelfill.filling.simple_ways import SIMPLE_METHODS, SimpleMethod, fill_simply
from labelfill.regressors.answering import answer_in_blocks
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.cross_fitting import hidden_passes
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import STAGE, load_distrusted, load_ensemble
from labelfill.runs import TRAINING, RunDirectory, load_split
from labelfill.runs.progress import bar
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.sources.anchors import Anchors, guessed_anchors
from labelfill.sources.conventions import Sources
from labelfill.sources.preparation import declared_sources

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
OURS, PRIOR = "labelfill", "shape prior alone"

# The two imputers are shown at most so many rows, and none of more columns: they are for comparison.
_IMPUTED_ROWS = 1500
_IMPUTED_COLUMNS = 60
# An error is large from this share of the image's longer side on: 3 px of 96.
_LARGE_ERROR = 1 / 32


@dataclass(frozen=True)
class HeldOut:
    """Points of held-out rows whose labels were hidden, and what was filled in.

    Attributes
    ----------
    row, keypoint
        (p,): of each point.
    truth
        (p, 2) px: its label, in the reference convention.
    answers
        (p, 2) px by way of filling, ours first.
    sigma
        (p,) px: as stated.
    radius
        (p, len(COVERAGES)) px: error radii for each of the coverages.
    large
        From which error on one is called large, px.
    """

    row: Integers
    keypoint: Integers
    truth: Array
    answers: Mapping[str, Array]
    sigma: Array
    radius: Array
    large: float

    def __len__(self) -> int:
        return len(self.row)

    def errors(self, way: str = OURS) -> Array:
        """(p,) px: distance from the label."""
        away: Array = np.linalg.norm(self.answers[way] - self.truth, axis=1)
        return away

    def rmse(self, way: str, keypoint: int | None = None) -> float:
        """Per coordinate, px; NaN if there is no such point."""
        of = slice(None) if keypoint is None else self.keypoint == keypoint
        square = (self.answers[way] - self.truth)[of] ** 2
        return float(np.sqrt(square.mean())) if len(square) else float("nan")


@dataclass(frozen=True)
class RunModels:
    """What a run learnt, with its table seen through it.

    Attributes
    ----------
    dataset
        The table that the run was begun with, without labels that training did not trust.
    groups
        (n,): label source of each row.
    anchors
        Of all rows, in the reference convention.
    parts
        (n,): training, validation or evaluation.
    """

    dataset: Dataset
    ensemble: Ensemble
    sources: Sources
    groups: Integers
    anchors: Anchors
    parts: NDArray[np.int8]
    device: torch.device
    seed: int

    @property
    def schema(self) -> KeypointSchema:
        return self.ensemble.schema


def load_run_models(
    run: RunDirectory, dataset: Dataset, device: torch.device, *, progress: bool = False
) -> RunModels:
    """Read a run's models back, and look at its table through them.

    Raises
    ------
    ModelError
        If the first stage is not finished, or a file of it is not as it should be.
    """
    ensemble, sources, audit = load_ensemble(run, device)
    dataset = replace(dataset, distrusted=load_distrusted(run, dataset))
    groups = sources.groups.assign(dataset.table.labelled, declared_sources(dataset, sources.groups))
    anchors = known_of_rows(dataset, ensemble, sources, audit, groups, device, progress=progress).anchors
    parts = load_split(run.path / "split.csv", dataset.table.rows)
    anchors = _every_label_counts(anchors, dataset, sources, groups, parts != TRAINING)
    seed = int(run.stages[STAGE]["inputs"]["seed"])
    return RunModels(dataset, ensemble, sources, groups, anchors, parts, device, seed)


def _every_label_counts(
    anchors: Anchors, dataset: Dataset, sources: Sources, groups: Integers, held_out: Mask
) -> Anchors:
    """Held-out rows with implausible labels taken as they are: a score that leaves some out flatters."""
    plain = guessed_anchors(dataset.labels, groups, sources.offsets, sources.untested, 1.0)
    counted = plain.exact & held_out[:, None]
    return Anchors(anchors.xy, np.where(counted[..., None], 0.0, anchors.noise))


def fill_held_out(models: RunModels, *, progress: bool = False) -> HeldOut | None:
    """Fill held-out rows by every way; None if no held-out row labels a keypoint that is filled."""
    anchors, blank = models.anchors, ~models.dataset.table.labelled
    radii = models.ensemble.radii
    kept = np.setdiff1d(np.flatnonzero(blank.any(axis=0)), models.sources.skipped).astype(np.int64)
    rows = np.flatnonzero((models.parts != TRAINING) & anchors.exact[:, kept].any(axis=1)).astype(np.int64)
    if radii is None or not len(rows):
        return None
    ways = simple_ways(models.schema.count)
    pieces: list[_Pass] = []
    passes = hidden_passes(anchors, blank, kept, rows, models.seed, "report")
    for borrowed, wanted in bar(passes, desc="held-out rows", unit="pass", show=progress):
        if wanted.any():
            pieces.append(_fill_pass(models, radii, rows, borrowed, wanted, ways))
    if not pieces:
        return None
    answered = np.isfinite(np.concatenate([piece.sigma for piece in pieces]))

    def joined(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
        together: NDArray[Any] = np.concatenate(list(arrays))[answered]
        return together

    size = models.schema.image_size
    return HeldOut(
        row=joined(piece.row for piece in pieces),
        keypoint=joined(piece.keypoint for piece in pieces),
        truth=joined(piece.truth for piece in pieces),
        answers={way: joined(piece.answers[way] for piece in pieces) for way in (OURS, PRIOR, *ways)},
        sigma=joined(piece.sigma for piece in pieces),
        radius=joined(piece.radius for piece in pieces),
        large=_LARGE_ERROR * max(size.height, size.width),
    )


def simple_ways(keypoints: int) -> tuple[SimpleMethod, ...]:
    """The simple ways that are there and quick enough for so many keypoints."""
    imputers = importlib.util.find_spec("sklearn") is not None and 2 * keypoints <= _IMPUTED_COLUMNS
    return SIMPLE_METHODS if imputers else tuple(way for way in SIMPLE_METHODS if way in _BY_COLUMN)


_BY_COLUMN = ("mean", "forward-fill")


@dataclass(frozen=True)
class _Pass:
    row: Integers
    keypoint: Integers
    truth: Array
    sigma: Array
    radius: Array
    answers: dict[str, Array]


def _fill_pass(
    models: RunModels, radii: Radii, rows: Integers, borrowed: Anchors, wanted: Mask,
    ways: Sequence[SimpleMethod],
) -> _Pass:  # fmt: skip
    """The points `wanted` (m, K) of rows that know no more than `borrowed`."""
    # Points without a label are asked for too, as they are when a table is filled: answers help each other.
    asked: Mask = np.all(borrowed.noise > 0, axis=2) & wanted.any(axis=0)
    some = np.flatnonzero(wanted.any(axis=1))
    rows, borrowed, wanted, asked = rows[some], borrowed.take(some), wanted[some], asked[some]
    assert models.dataset.images is not None
    members = answer_in_blocks(models.ensemble, rows, borrowed, asked, models.dataset.images, models.device)
    found, sigma = models.ensemble.best(members)
    factors = np.stack([radii.factor(coverage, members.sigma[0]) for coverage in COVERAGES], axis=2)
    at = np.nonzero(wanted)
    answers = {OURS: found[at], PRIOR: members.xy[0][at]}
    hidden = _with_hidden(models.dataset.labels, rows, borrowed, wanted)
    for way in ways:
        answers[way] = _fill_rows(hidden, rows, way, models.seed)[at]
    return _Pass(
        rows[at[0]], at[1].astype(np.int64), models.anchors.xy[rows][at], sigma[at],
        sigma[at][:, None] * factors[at], answers,
    )  # fmt: skip


def _with_hidden(labels: Array, rows: Integers, borrowed: Anchors, wanted: Mask) -> Array:
    """The whole table (n, K, 2), with rows that know no more than `borrowed`."""
    hidden = labels.copy()
    hidden[rows] = np.where((borrowed.known & ~wanted)[..., None], labels[rows], np.nan)
    return hidden


def _fill_rows(labels: Array, rows: Integers, way: SimpleMethod, seed: int) -> Array:
    """(m, K, 2): these rows of the table filled in a simple way."""
    if way in _BY_COLUMN or len(labels) <= _IMPUTED_ROWS:
        return fill_simply(labels, way)[rows]
    others = np.setdiff1d(np.arange(len(labels)), rows)
    generator = np.random.default_rng(random_key(seed, "report", way))
    shown = np.sort(generator.choice(others, min(len(others), _IMPUTED_ROWS), replace=False))
    return fill_simply(np.concatenate([labels[rows], labels[shown]]), way)[: len(rows)]


# -- what the figures say ------------------------------------------------------------------------------


def covered(held: HeldOut) -> Array:
    """(len(COVERAGES),): share of the points that lie within their radius."""
    share: Array = (held.errors()[:, None] <= held.radius).mean(axis=0)
    return share


def binomial_interval(share: Array, count: int) -> tuple[Array, Array]:
    """95% intervals of shares of so many cases (Wilson 1927, score interval)."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def found_by_radius(held: HeldOut) -> tuple[Array, Array]:
    """How soon large errors are found by who looks at the points with the largest radii first.

    Returns
    -------
    tuple
        (p + 1,) share of points looked at, and share of the large errors that are among them; empty if no
        error is large.
    """
    large = held.errors() > held.large
    if not large.any():
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-held.radius[:, COVERAGES.index(0.9)], kind="stable")
    found = np.concatenate([[0.0], np.cumsum(large[order]) / large.sum()])
    return np.linspace(0, 1, len(found)), found
