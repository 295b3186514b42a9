"""Scores a filled or predicted table against the truth: RMSE and MAE in px over coordinates.

Only what the truth knows is scored; what the table leaves blank is counted, and in no score.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.data.distrust import read_distrust
from labelfill.data.formats import read_keypoints
from labelfill.data.joining import join_rows
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError, UsageError
from labelfill.schema import AXES

_WEIGHT_TOLERANCE = 1e-6
_SHOWN = 5  # names listed in a message before "..."


@dataclass(frozen=True)
class Score:
    """How far answers are from the truth, over a number of coordinates."""

    rmse: float  # px
    mae: float  # px
    coordinates: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of a table.

    Attributes
    ----------
    joined_by
        What rows were joined by: a column's name, or ``order``.
    rows
        Rows of the truth that were found in the table.
    rows_not_found
        Rows of the truth that the table has not.
    unanswered
        Coordinates to be scored that the table leaves blank; they are in no score.
    overall, keypoints, coordinates
        Over everything, per keypoint, and per coordinate column; those without a coordinate to score are left
        out.
    by, values
        The column that rows are told apart by, if any, and a score for each of its values.
    mix
        Square root of the weighted sum of the values' mean squared errors, if weights were given.
    """

    joined_by: str
    rows: int
    rows_not_found: int
    unanswered: int
    overall: Score
    keypoints: Mapping[str, Score]
    coordinates: Mapping[str, Score]
    by: str | None = None
    values: Mapping[str, Score] | None = None
    weights: Mapping[str, float] | None = None
    mix: float | None = None


def evaluate(
    table: Path,
    truth: Path,
    *,
    blank_in: Path | None = None,
    by: str | None = None,
    mix: Mapping[str, float] | None = None,
    keypoints: str | Sequence[str] = "all",
    distrust: Path | None = None,
    show_progress: bool = False,
) -> Evaluation:
    """Score a filled or predicted table.

    Parameters
    ----------
    table, truth
        Tables with keypoint columns; images are not looked at. Keypoints that both have are scored.
    blank_in
        The table before it was filled: only what is blank there is scored.
    by
        A column (of the truth, else of the table, else of `blank_in`) whose values get scores of their own.
    mix
        Weights of the values of `by`; they sum to 1.
    keypoints
        ``all``; ``rare``, those labelled in under half of the rows of `blank_in`, or of the truth without it;
        or names.
    distrust
        A list of labels of `truth` that count as unlabelled.

    Raises
    ------
    UsageError
        If options do not go together, or a column, value or keypoint is not there.
    DataError
        If a table cannot be read, rows cannot be joined, or there is nothing to score.
    """
    if mix is not None:
        _check_mix(mix, by)
    answers = _read(table, show_progress)
    expected = _read(truth, show_progress)
    if distrust is not None:
        expected = without_distrusted(expected, distrust)
    original = _read(blank_in, show_progress) if blank_in is not None else None
    shared = [k for k in expected.keypoints if k in answers.keypoints]
    if not shared:
        raise DataError(f"{table} and {truth} have no keypoint in common, so there is nothing to score")
    rare_in = original if original is not None else expected
    names = choose_keypoints(keypoints, shared, rare_in)
    rows, joined_by = join_rows(answers, expected)
    found = rows >= 0
    answered, wanted = coordinates_of(answers, names)[rows], coordinates_of(expected, names)
    to_score = ~np.isnan(wanted) & found[:, None, None]
    origin = _rows_of_original(original, answers, rows) if original is not None else None
    if original is not None and origin is not None:
        to_score &= np.isnan(coordinates_of(original, names)[origin]) & (origin >= 0)[:, None, None]
    unanswered = int((to_score & np.isnan(answered)).sum())
    to_score &= ~np.isnan(answered)
    if not to_score.any():
        raise DataError(_nothing_to_score(table, truth, blank_in, unanswered))
    errors = np.where(to_score, answered - wanted, np.nan)  # (n, K, 2) px
    values = None
    if by is not None:
        texts = _values_of(by, (expected, np.arange(expected.rows)), (answers, rows), (original, origin))
        values = _scores_by_value(errors, texts, truth, by, mix)
    return Evaluation(
        joined_by=joined_by,
        rows=int(found.sum()),
        rows_not_found=int((~found).sum()),
        unanswered=unanswered,
        overall=score(errors),
        keypoints=_named_scores(names, errors.transpose(1, 0, 2)),
        coordinates=_named_scores(
            [f"{name}_{axis}" for name in names for axis in AXES], errors.reshape(len(errors), -1).T
        ),
        by=by,
        values=values,
        weights=mix,
        mix=None if mix is None or values is None else mixed_rmse(values, mix),
    )


def score(errors: Array) -> Score:
    """RMSE and MAE over the errors that are not NaN, in px; NaN if there are none."""
    errors = errors[~np.isnan(errors)]
    if not errors.size:
        return Score(float("nan"), float("nan"), 0)
    return Score(float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean()), errors.size)


def mixed_rmse(values: Mapping[str, Score], weights: Mapping[str, float]) -> float:
    """Square root of the weighted sum of mean squared errors, in px."""
    return float(np.sqrt(sum(weight * values[value].rmse ** 2 for value, weight in weights.items())))


def _rows_of_original(
    original: KeypointTable, answers: KeypointTable, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each row of the truth its row in the table before filling, -1 if none."""
    belonging, _ = join_rows(original, answers)
    return np.where(rows >= 0, belonging[rows], -1)


def without_distrusted(table: KeypointTable, distrust: Path) -> KeypointTable:
    """The table with the labels that a list names as if they were blank."""
    listed = read_distrust(distrust, table)
    return replace(table, labels=np.where(listed[..., None], np.nan, table.labels))


def _read(path: Path, show_progress: bool) -> KeypointTable:
    # Fills count wherever they stand: they are what is scored, and truths have none.
    return read_keypoints(path, filled=True, require_images=False, show_progress=show_progress)


def coordinates_of(table: KeypointTable, names: Sequence[str]) -> Array:
    """Coordinates (n, K, 2) of the named keypoints.

    Raises
    ------
    DataError
        If the table lacks one.
    """
    index = {name: k for k, name in enumerate(table.keypoints)}
    for name in names:
        if name not in index:
            raise DataError(f"{table.path} has no keypoint {name!r}, which is to be scored")
    return table.labels[:, [index[name] for name in names]]


def choose_keypoints(asked: str | Sequence[str], shared: list[str], rare_in: KeypointTable) -> list[str]:
    """Those of `shared` asked for: ``all``, ``rare`` (labelled in under half of `rare_in`), or names.

    Raises
    ------
    UsageError
        If there is none.
    """
    if asked == "all":
        return shared
    if asked == "rare":
        present = [name for name in shared if name in rare_in.keypoints]
        labelled = (~np.isnan(coordinates_of(rare_in, present))).mean(axis=(0, 2))
        rare = [name for name, share in zip(present, labelled, strict=True) if share < 0.5]
        if not rare:
            raise UsageError(
                f"no keypoint is rare: {rare_in.path} labels every keypoint in at least half of its rows; "
                "name the table before filling by --blank-in, or use --keypoints all"
            )
        return rare
    names = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for name in names:
        if name not in shared:
            raise UsageError(f"no keypoint {name!r} in both tables{_did_you_mean(name, shared)}")
    if not names:
        raise UsageError("no keypoint is named: give all, rare, or names separated by commas")
    return names


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"; there are {shown}" if names else "; there are none"


def _values_of(by: str, *tables: tuple[KeypointTable | None, NDArray[np.int64] | None]) -> list[str | None]:
    """The value of a column for each row of the truth, from the first table that has the column."""
    present: list[str] = []
    for table, rows in tables:
        if table is None or rows is None:
            continue
        if by in table.extra:
            return [table.extra[by][row].strip() if row >= 0 else None for row in rows]
        present += table.extra
    raise UsageError(f"no table has a column {by!r} to tell rows apart by{_did_you_mean(by, present)}")


def _scores_by_value(
    errors: Array, texts: Sequence[str | None], truth: Path, by: str, mix: Mapping[str, float] | None
) -> dict[str, Score]:
    of_row = np.array([text if text is not None else "" for text in texts])
    scores = {}
    for value in sorted(set(of_row), key=_numbers_first):
        of_value = score(errors[of_row == value])
        if of_value.coordinates:
            scores[str(value)] = of_value
    for value in mix or ():
        if value not in scores:
            raise UsageError(
                f"--mix names {value!r}, but no coordinate of a row whose {by!r} is {value!r} can be scored "
                f"against {truth}; there are {', '.join(map(repr, scores))}"
            )
    return scores


def _numbers_first(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _named_scores(names: Sequence[str], errors: Array) -> dict[str, Score]:
    """A score for each of the first axis' entries that has a coordinate to score."""
    scores = {name: score(errors[i]) for i, name in enumerate(names)}
    return {name: of_name for name, of_name in scores.items() if of_name.coordinates}


def _check_mix(mix: Mapping[str, float], by: str | None) -> None:
    if by is None:
        raise UsageError("--mix weighs the values of a column: name the column by --by")
    if any(not weight >= 0 for weight in mix.values()) or not abs(sum(mix.values()) - 1) < _WEIGHT_TOLERANCE:
        stated = ", ".join(f"{value}={weight:g}" for value, weight in mix.items())
        raise UsageError(f"the weights of --mix have to be 0 or more and to sum to 1, not {stated}")


def _nothing_to_score(table: Path, truth: Path, blank_in: Path | None, unanswered: int) -> str:
    if unanswered:
        return f"nothing to score: {table} leaves all {unanswered} coordinates blank that {truth} knows"
    if blank_in is not None:
        return f"nothing to score: no coordinate is blank in {blank_in} and known in {truth}"
    return f"nothing to score: {truth} knows no coordinate of the rows of {table}"
