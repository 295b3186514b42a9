"""Cells of held-out rows, hidden as the table's own rows lack them: what to score where there is no truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset, row_ids
from labelfill.errors import DataError
from labelfill.runs import EVALUATION
from labelfill.runs.randomness import random_key
from labelfill.sources.anchors import PatternBank, labels_as_anchors

_TRIES = 50


@dataclass(frozen=True)
class Hidden:
    """Held-out rows with some of their labels hidden.

    Attributes
    ----------
    rows
        (m,) of the table; no two have the same image, so that none is filled by copying the other.
    cells
        (m, K, 2): observed coordinates that are hidden, at least one in each row.
    """

    rows: Integers
    cells: Mask

    def labels(self, labels: Array) -> Array:
        """All labels (n, K, 2) without the hidden ones."""
        left = labels.copy()
        left[self.rows] = np.where(self.cells, np.nan, labels[self.rows])
        return left

    def dataset(self, dataset: Dataset) -> Dataset:
        """The held-out rows alone, without their hidden labels."""
        table, rows = dataset.table, self.rows
        part = replace(table, labels=self.labels(table.labels)).take(rows)
        return replace(
            dataset,
            table=part,
            images=None if dataset.images is None else np.asarray(dataset.images[rows]),
            distrusted=None if dataset.distrusted is None else dataset.distrusted[rows],
            confirmed=None if dataset.confirmed is None else dataset.confirmed[rows],
            placements=None if dataset.placements is None else dataset.placements.take(rows),
        )


def hide(dataset: Dataset, parts: NDArray[np.int8], seed: int) -> Hidden:
    """Hide labels of evaluation rows by missing patterns drawn from the table's incomplete rows.

    A row keeps at least one label; one from which no pattern takes any is left out.

    Raises
    ------
    DataError
        If nothing can be hidden: no row lacks a label, or no evaluation row has one to spare.
    """
    observed = np.isfinite(dataset.labels)
    incomplete: Mask = np.any(~observed, axis=(1, 2))
    bank = PatternBank.of(labels_as_anchors(dataset.labels), incomplete)
    generator = np.random.default_rng(random_key(seed, "hidden cells"))
    rows, cells = [], []
    evaluation = np.flatnonzero(parts == EVALUATION)
    _, first = np.unique(row_ids(dataset, evaluation), return_index=True)
    for row in evaluation[np.sort(first)].tolist():
        for _ in range(_TRIES if incomplete.any() else 0):
            taken = observed[row] & ~np.isfinite(bank.picked(1, generator)[0])
            if taken.any() and (observed[row] & ~taken).any():
                rows.append(row)
                cells.append(taken)
                break
    if not rows:
        raise DataError(
            f"{dataset.table.path}: no label of a held-out row can be hidden in the patterns in which "
            "the table lacks labels, so there is nothing to score; pass the complete table with --truth"
        )
    return Hidden(np.array(rows, np.int64), np.array(cells))
