"""The one split into training, validation and evaluation rows that all stages share."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from labelfill.arrays import Integers, Parts
from labelfill.errors import DataError, differing_column
from labelfill.runs._files import storage_error, write_bytes

TRAINING, VALIDATION, EVALUATION = 0, 1, 2
PART_NAMES = ("training", "validation", "evaluation")


_MOST_EVALUATION_ROWS = 100
_VALIDATION_SHARE = 0.15


def make_split(image_ids: Integers, patterns: Integers, seed: int, groups: Integers | None = None) -> Parts:
    """Part of every row: `TRAINING`, `VALIDATION` or `EVALUATION`.

    Evaluation gets a tenth of the rows, at most 100; the rest is divided 85 to 15. Rows with the same
    image, or of the same group, stay on one side, so the parts can differ a little from these shares;
    at least half of the rows, and at least one, train.

    Parameters
    ----------
    image_ids : int64 (n,)
        Equal for rows whose images are identical.
    patterns : int64 (n,)
        Equal for rows that miss the same keypoints; each part gets its share of every pattern.
    groups : int64 (n,), optional
        Equal for rows that must stay together for another reason (frames of one subject).
    """
    rows = len(image_ids)
    parts = np.full(rows, TRAINING, np.int8)
    if rows < 2:
        return parts
    generator = np.random.default_rng([seed, 0x5B117])
    clusters = rows_together(image_ids, groups)
    evaluation = min(_MOST_EVALUATION_ROWS, rows // 10)
    validation = round((rows - evaluation) * _VALIDATION_SHARE)
    by_cluster = np.argsort(clusters, kind="stable")
    members = np.split(by_cluster, np.flatnonzero(np.diff(clusters[by_cluster])) + 1)
    order = [members[c] for c in generator.permutation(len(members))]
    _, strata = np.unique(patterns, return_inverse=True)
    # Validation first: without evaluation rows a score is missing, without validation rows the best epoch.
    for part, wanted in ((VALIDATION, validation), (EVALUATION, evaluation)):
        _fill_part(parts, part, wanted, order, strata.astype(np.int64), generator)
    return parts


def rows_together(image_ids: Integers, groups: Integers | None) -> Integers:
    """(n,) the number of the cluster of rows that must stay together: same image or same group."""
    _, images = np.unique(image_ids, return_inverse=True)
    if groups is None:
        return images.astype(np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, grouped = np.unique(groups, return_inverse=True)
    size = int(images.max()) + 1 + int(grouped.max()) + 1
    links = coo_array((np.ones(len(images)), (images, grouped + images.max() + 1)), shape=(size, size))
    labels: Integers = connected_components(links.tocsr(), directed=False)[1].astype(np.int64)
    return labels[images]


def _fill_part(
    parts: Parts,
    part: int,
    wanted: int,
    order: list[Integers],
    strata: Integers,
    generator: np.random.Generator,
) -> None:
    """Move about `wanted` training rows to `part`, whole clusters in the order given."""
    if wanted < 1:
        return
    quota = _quota(np.bincount(strata[parts == TRAINING], minlength=int(strata.max()) + 1), wanted, generator)
    room = wanted
    for by_pattern in (True, False):  # what the patterns' shares leave over goes to any pattern
        for rows in order:
            if len(rows) > room or parts[rows[0]] != TRAINING:
                continue
            if by_pattern and not (quota[strata[rows]] > 0).all():
                continue
            parts[rows] = part
            np.subtract.at(quota, strata[rows], 1)
            room -= len(rows)
    if room == wanted:
        _take_smallest(parts, part, order)


def _take_smallest(parts: Parts, part: int, order: list[Integers]) -> None:
    """Where every cluster is larger than the part should be: the smallest, if half the rows still train."""
    left = [rows for rows in order if parts[rows[0]] == TRAINING]
    smallest = min(left, key=len)
    if len(left) > 1 and int((parts == TRAINING).sum()) - len(smallest) >= len(parts) / 2:
        parts[smallest] = part


def _quota(available: Integers, wanted: int, generator: np.random.Generator) -> Integers:
    """Rows to take of each pattern, in proportion and adding up to `wanted` (largest remainders)."""
    exact = available * (wanted / available.sum())
    quota: Integers = np.floor(exact).astype(np.int64)
    tie_break = generator.random(len(exact)) * 1e-6  # equal remainders must not favour the first patterns
    largest = np.argsort(quota - exact + tie_break, kind="stable")
    quota[largest[: wanted - int(quota.sum())]] += 1
    return quota


def save_split(path: Path, parts: Parts) -> None:
    """Write ``split.csv``: one line ``row,part`` per row of the table, rows from 0."""
    lines = [f"{row},{PART_NAMES[part]}\n" for row, part in enumerate(parts)]
    write_bytes(path, "".join(["row,part\n", *lines]).encode())


def load_split(path: Path, rows: int) -> Parts:
    """Read ``split.csv`` back for a table of `rows` rows.

    Raises
    ------
    DataError
        If the file is not such a split, or belongs to a table of another length.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; choose another --run-dir to make a new split") from None
    except OSError as error:
        raise storage_error(error, path, "read") from error
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise DataError(f"{path} is not a split ({error}); choose another --run-dir") from error
    header = lines[0] if lines else []
    if header != ["row", "part"]:
        raise DataError(
            f"{path}, line 1: {differing_column(header, ['row', 'part'])}; it is not a split; choose another "
            "--run-dir"
        )
    parts = np.empty(len(lines) - 1, np.int8)
    for row, line in enumerate(lines[1:]):
        if len(line) != 2 or line[0] != str(row) or line[1] not in PART_NAMES:
            raise DataError(
                f"{path}, line {row + 2}: found {','.join(line)!r}, expected '{row},' and one of "
                f"{', '.join(PART_NAMES)}; choose another --run-dir to make a new split"
            )
        parts[row] = PART_NAMES.index(line[1])
    if len(parts) != rows:
        raise DataError(
            f"{path} splits {len(parts)} rows but the table has {rows}: it belongs to another table; "
            "choose another --run-dir"
        )
    return parts
