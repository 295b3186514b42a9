"""How far fills are off: held-out rows filled by every way, their labels hidden as in the rows to be filled.

What the run's models answered there was kept when they were trained. The simple ways fill the same
points, from the labels of other rows, taken at face value.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers
from labelfill.data.dataset import ImageDataset
from labelfill.filling.simple_ways import SIMPLE_METHODS, SimpleMethod, fill_simply
from labelfill.regressors.files import load_distrusted, load_sources
from labelfill.regressors.held_out import COVERAGES, HeldOutPoints, load_held_out
from labelfill.regressors.unit_names import STAGE
from labelfill.runs import RunDirectory, load_split
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.sources.conventions import Sources
from labelfill.sources.preparation import groups_of_rows

LABELFILL, PRIOR = "labelfill", "shape prior alone"

# The simple ways are for comparison: they see at most so many other rows, the two imputers no more columns.
_MOST_SEEN = 1500
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
    radius
        (p, len(COVERAGES)) px: error radii for each of the coverages.
    large
        From which error on one is called large, px.
    """

    row: Integers
    keypoint: Integers
    truth: Array
    answers: Mapping[str, Array]
    radius: Array
    large: float

    def __len__(self) -> int:
        return len(self.row)

    def errors(self, way: str = LABELFILL) -> Array:
        """(p,) px: distance from the label."""
        distance: Array = np.linalg.norm(self.answers[way] - self.truth, axis=1)
        return distance

    def rmse(self, way: str = LABELFILL, keypoint: int | None = None) -> float:
        """Per coordinate, px; NaN if there is no such point."""
        of = slice(None) if keypoint is None else self.keypoint == keypoint
        square = (self.answers[way] - self.truth)[of] ** 2
        return float(np.sqrt(square.mean())) if len(square) else float("nan")


@dataclass(frozen=True)
class RunTable:
    """The table that a run was begun with, as the run sees it.

    Attributes
    ----------
    dataset
        Without labels that training did not trust.
    schema
        With the mirror axis of its labels.
    groups
        (n,): label source of each row.
    parts
        (n,): training, validation or evaluation.
    """

    dataset: ImageDataset
    schema: KeypointSchema
    sources: Sources
    groups: Integers
    parts: NDArray[np.int8]
    seed: int


def see_run_table(run: RunDirectory, dataset: ImageDataset) -> RunTable:
    """The table with what the run knows of its rows.

    Raises
    ------
    ModelError
        If the first stage is not finished, or a file of it is not as it should be.
    """
    schema, sources = load_sources(run)
    dataset = replace(dataset, distrusted=load_distrusted(run, dataset))
    groups = groups_of_rows(dataset, sources.groups)
    parts = load_split(run.path / "split.csv", dataset.table.rows)
    seed = int(run.stages[STAGE]["inputs"]["seed"])
    return RunTable(dataset, schema, sources, groups, parts, seed)


def held_out_by_every_way(run: RunDirectory, table: RunTable) -> HeldOut | None:
    """Held-out points, ours as kept, simply filled beside them; None if no such row labels what is filled.

    Raises
    ------
    ModelError
        If the kept file is not as it should be.
    """
    kept = load_held_out(run)
    if kept is None:
        return None
    answers = {LABELFILL: kept.found, PRIOR: kept.prior}
    for way in simple_ways(table.schema.count):
        answers[way] = fill_hidden(table.dataset.labels, kept, way, table.seed)
    size = table.schema.image_size
    large = _LARGE_ERROR * max(size.height, size.width)
    return HeldOut(kept.row, kept.keypoint, kept.truth, answers, kept.radius, large)


def simple_ways(keypoints: int) -> tuple[SimpleMethod, ...]:
    """The simple ways that are there and quick enough for so many keypoints."""
    imputers = importlib.util.find_spec("sklearn") is not None and 2 * keypoints <= _IMPUTED_COLUMNS
    return SIMPLE_METHODS if imputers else ("mean", "forward-fill")


def fill_hidden(labels: Array, points: HeldOutPoints, way: SimpleMethod, seed: int) -> Array:
    """(p, 2) px: points of the table (n, K, 2) filled in a simple way that learns from no hidden row."""
    others = np.setdiff1d(np.arange(len(labels)), points.hidden_row)
    if len(others) > _MOST_SEEN:
        generator = np.random.default_rng(random_key(seed, "report", "rows seen"))
        others = np.sort(generator.choice(others, _MOST_SEEN, replace=False))
    hidden = np.where(points.shown[..., None], labels[points.hidden_row], np.nan)
    rows = np.concatenate([others, points.hidden_row])
    order = np.argsort(rows, kind="stable")  # forward fill goes by the table's order
    filled = np.empty((len(rows), *labels.shape[1:]))
    filled[order] = fill_simply(
        np.concatenate([labels[others], hidden])[order],
        way,
        learn_from=(np.arange(len(rows)) < len(others))[order],
    )
    answer: Array = filled[len(others) :][points.hiding, points.keypoint]
    return answer


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
    # Rounding may put an end of the interval on the wrong side of a share of 0 or 1.
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


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
