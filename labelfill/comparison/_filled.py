"""Ways of filling side by side: on the same blank cells, against the same truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.baselines import SIMPLE_METHODS, SimpleMethod, fill_simply
from labelfill.errors import DataError, UsageError
from labelfill.evaluation import Score, choose_keypoints, coordinates_of, score, without_distrusted
from labelfill.formats import read_keypoints
from labelfill.joining import join_rows
from labelfill.place import place
from labelfill.progress import bar
from labelfill.schema import AXES, Array
from labelfill.table import KeypointTable

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class WayScore:
    """How one way of filling did.

    Attributes
    ----------
    overall, keypoints
        Over the compared cells, and per keypoint that has one.
    left_blank
        Blank cells with a known truth that it did not fill.
    seconds
        What filling took; None for a table that was filled before.
    """

    overall: Score
    keypoints: Mapping[str, Score]
    left_blank: int
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """Ways of filling, scored on the same cells.

    Attributes
    ----------
    rows, cells
        Rows with a compared cell, and the cells: blank in the table, known in the truth, filled by every way.
    not_compared
        Cells that are blank in the table and known in the truth, but that some way left blank.
    ways
        Name to score, in the order asked for.
    """

    rows: int
    cells: int
    not_compared: int
    ways: Mapping[str, WayScore]


def compare(
    table: Path,
    truth: Path,
    *,
    filled: Sequence[Path] = (),
    ways: Sequence[SimpleMethod] = SIMPLE_METHODS,
    keypoints: str | Sequence[str] = "all",
    distrust: Path | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Fill a table's blank cells in several ways and score each against the truth.

    Parameters
    ----------
    table
        The table with blanks; its images are not looked at.
    truth
        What the blanks hide. Rows are joined as by `evaluate`.
    filled
        Copies of the table that were filled before, by any program.
    ways
        Simple ways of filling to try.
    keypoints
        ``all``; ``rare``, those that `table` labels in under half of its rows; or names.
    distrust
        A list of labels of `table` that the simple ways do not learn from; no label is scored anyhow.

    Raises
    ------
    UsageError
        If a way or a keypoint is not there, or nothing is to be compared.
    DataError
        If a table cannot be read, or a filled table is not `table` filled.
    """
    if not filled and not ways:
        raise UsageError("there is nothing to compare: name a filled table by --filled, or ways by --ways")
    original = read_keypoints(table, require_images=False, show_progress=show_progress)
    known = read_keypoints(truth, require_images=False, show_progress=show_progress)
    shared = [k for k in original.keypoints if k in known.keypoints]
    if not shared:
        raise DataError(f"{table} and {truth} have no keypoint in common, so there is nothing to compare")
    names = choose_keypoints(keypoints, shared, original)
    expected = _truth_of_rows(original, known, names)
    to_fill = np.isnan(coordinates_of(original, names)) & ~np.isnan(expected)  # (n, K, 2)
    if not to_fill.any():
        raise DataError(f"nothing to compare: no coordinate is blank in {table} and known in {truth}")
    answers: dict[str, tuple[Array, float | None]] = {}
    for name, path in _named(filled).items():
        done = read_keypoints(path, filled=True, require_images=False, show_progress=show_progress)
        _check_filled_from(original, done)
        answers[name] = coordinates_of(done, names), None
    index = [original.keypoints.index(name) for name in names]
    learnt = original if distrust is None else without_distrusted(original, distrust)
    for way in bar(ways, desc="filling", unit="way", show=show_progress):
        begun = time.perf_counter()
        answers[way] = fill_simply(learnt.labels, way)[:, index], time.perf_counter() - begun
    return _scored(answers, expected, to_fill, names)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their names, or by their whole paths if two have the same name."""
    by_name = {path.name: path for path in paths}
    return by_name if len(by_name) == len(paths) else {str(path): path for path in paths}


def _truth_of_rows(original: KeypointTable, known: KeypointTable, names: Sequence[str]) -> Array:
    """(n, K, 2) px: what the truth says of each row of the table; NaN where it says nothing."""
    rows, _ = join_rows(known, original)
    return np.where((rows >= 0)[:, None, None], coordinates_of(known, names)[rows], np.nan)


def _check_filled_from(original: KeypointTable, filled: KeypointTable) -> None:
    """A filled table has the same rows in the same order, and every observed label as it was."""
    if filled.rows != original.rows:
        raise DataError(
            f"{filled.path} has {filled.rows} rows and {original.path} {original.rows}, "
            "so the one is not the other filled"
        )
    before, after = original.labels, coordinates_of(filled, original.keypoints)
    altered = ~np.isnan(before) & ~(np.abs(before - after) < 1e-4)  # another program may round
    if altered.any():
        row, k, axis = (int(i[0]) for i in np.nonzero(altered))
        column = f"{original.keypoints[k]}_{AXES[axis]}"
        where = place(filled.path, row=row, line=int(filled.lines[row]), column=column)
        raise DataError(
            f"{where} was {before[row, k, axis]:g} and is {after[row, k, axis]:g}, "
            f"so it is not {original.path} filled"
        )


def _scored(
    answers: Mapping[str, tuple[Array, float | None]], expected: Array, to_fill: Mask, names: Sequence[str]
) -> Comparison:
    by_all = np.all([~np.isnan(answer) for answer, _ in answers.values()], axis=0) & to_fill
    if not by_all.any():
        raise DataError("nothing to compare: no blank coordinate was filled in every way")
    ways = {}
    for name, (answer, seconds) in answers.items():
        error = np.where(by_all, answer - expected, np.nan)
        each = {keypoint: score(error[:, k]) for k, keypoint in enumerate(names)}
        ways[name] = WayScore(
            score(error),
            {keypoint: one for keypoint, one in each.items() if one.coordinates},
            int((to_fill & np.isnan(answer)).sum()),
            seconds,
        )
    cells = int(by_all.sum())
    return Comparison(int(by_all.any(axis=(1, 2)).sum()), cells, int(to_fill.sum()) - cells, ways)
