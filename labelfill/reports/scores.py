"""Scores a filled or predicted table against the truth: RMSE and MAE in px over coordinates.

Only what the truth knows is scored; what the table leaves blank is counted, and in no score.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelfill.arrays import Array, Integers
from labelfill.data.distrust import read_distrust
from labelfill.data.formats import read_keypoints
from labelfill.data.joining import join_rows
from labelfill.data.label_checks import refuse_placeholders
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import KeypointTable
from labelfill.data.units import looks_like_shares
from labelfill.errors import DataError, UsageError, nearest
from labelfill.regressors.scores import Score, score
from labelfill.schema import AXES

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("labelfill")

_WEIGHT_TOLERANCE = 1e-6
_SHOWN = 5  # names listed in a message before "..."


@dataclass(frozen=True, repr=False)
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

    def to_pandas(self) -> pd.DataFrame:
        """RMSE, MAE and number of coordinates: over all, of each keypoint, of each value of `by`."""
        import pandas as pd

        named = {"all": self.overall, **self.keypoints}
        named |= {f"{self.by}={value}": found for value, found in (self.values or {}).items()}
        return pd.DataFrame.from_dict({name: vars(found) for name, found in named.items()}, orient="index")

    def __repr__(self) -> str:
        mean = f"RMSE {self.overall.rmse:.3f} px, MAE {self.overall.mae:.3f} px"
        return f"{type(self).__name__}: {mean} over {self.overall.coordinates:,} coordinates"


@dataclass(frozen=True)
class ScoreRequest:
    """What is scored, and how scores are told apart.

    Attributes
    ----------
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
        A list of labels of the truth that count as unlabelled.
    missing_values
        Numbers that stand, in all tables, in both coordinates of a point that is not labelled.

    Raises
    ------
    UsageError
        If weights do not sum to 1, or no column has their values.
    """

    blank_in: Path | None = None
    by: str | None = None
    mix: Mapping[str, float] | None = None
    keypoints: str | Sequence[str] = "all"
    distrust: Path | None = None
    missing_values: Sequence[float] = ()
    show_progress: bool = False

    def __post_init__(self) -> None:
        if self.mix is None:
            return
        if self.by is None:
            raise UsageError("--mix needs --by COLUMN")
        weights = self.mix.values()
        if any(not weight >= 0 for weight in weights) or not abs(sum(weights) - 1) < _WEIGHT_TOLERANCE:
            stated = ", ".join(f"{value}={weight:g}" for value, weight in self.mix.items())
            raise UsageError(f"the weights of --mix must be 0 or more and sum to 1, not {stated}")


def evaluate(table: Path, truth: Path, asked: ScoreRequest = ScoreRequest()) -> Evaluation:
    """Score a filled or predicted table.

    Parameters
    ----------
    table, truth
        Tables with keypoint columns; images are not looked at. Keypoints that both have are scored.

    Raises
    ------
    UsageError
        If a column, value or keypoint is not there.
    DataError
        If a table cannot be read, rows cannot be joined, or there is nothing to score.
    """
    answers, expected = _read(table, asked), _read(truth, asked)
    if asked.distrust is not None:
        expected = without_distrusted(expected, asked.distrust)
    refuse_two_units([answers, expected])
    original = None if asked.blank_in is None else _read(asked.blank_in, asked)
    shared = [k for k in expected.keypoints if k in answers.keypoints]
    if not shared:
        raise DataError(f"{table} and {truth} have no keypoints in common")
    names = choose_keypoints(asked.keypoints, shared, original or expected)
    rows, joined_by = join_rows(answers, expected)
    found = rows >= 0
    answered, wanted = coordinates_of(answers, names)[rows], coordinates_of(expected, names)
    to_score = ~np.isnan(wanted) & found[:, None, None]
    tables = [(expected, np.arange(expected.rows)), (answers, rows)]
    if original is not None:
        origin = np.where(found, join_rows(original, answers)[0][rows], -1)
        to_score &= np.isnan(coordinates_of(original, names)[origin]) & (origin >= 0)[:, None, None]
        tables.append((original, origin))
    unanswered = int((to_score & np.isnan(answered)).sum())
    to_score &= ~np.isnan(answered)
    if not to_score.any():
        raise DataError(f"nothing to score: {_why_nothing(table, truth, asked.blank_in, unanswered)}")
    errors = np.where(to_score, answered - wanted, np.nan)  # (n, K, 2) px
    columns = [f"{name}_{axis}" for name in names for axis in AXES]
    values = None if asked.by is None else _scores_by_value(errors, _values_of(asked.by, tables))
    return Evaluation(
        joined_by=joined_by,
        rows=int(found.sum()),
        rows_not_found=int((~found).sum()),
        unanswered=unanswered,
        overall=score(errors),
        keypoints=named_scores(names, errors.transpose(1, 0, 2)),
        coordinates=named_scores(columns, errors.reshape(len(errors), -1).T),
        by=asked.by,
        values=values,
        weights=asked.mix,
        mix=None if asked.mix is None or values is None else _mixed_rmse(values, asked, truth),
    )


def _why_nothing(table: Path, truth: Path, blank_in: Path | None, unanswered: int) -> str:
    if unanswered:
        return f"{table} leaves all {unanswered} coordinates blank that {truth} knows"
    if blank_in is not None:
        return f"no coordinate is blank in {blank_in} and known in {truth}"
    return f"{truth} knows no coordinate of the rows of {table}"


def _read(path: Path, asked: ScoreRequest) -> KeypointTable:
    # Fills count wherever they stand: they are what is scored, and truths have none.
    reading = ReadingOptions(missing_values=tuple(asked.missing_values))
    return read_to_score(path, reading, show_progress=asked.show_progress)


def read_to_score(path: Path, reading: ReadingOptions, *, show_progress: bool = False) -> KeypointTable:
    """A table to be scored, or to score by, fills included; images are not looked at.

    Raises
    ------
    DataError
        If it cannot be read, or holds placeholders for what is not labelled.
    """
    table = read_keypoints(
        path, filled=True, require_images=False, reading=reading, show_progress=show_progress
    )
    refuse_placeholders(table)
    return table


def refuse_two_units(tables: Sequence[KeypointTable]) -> None:
    """Refuse tables of which some are in px and some in shares of the image; warn if all are in shares.

    Raises
    ------
    DataError
        Naming one of each.
    """
    in_shares = [looks_like_shares(table.labels) for table in tables]
    if all(in_shares):
        _log.warning("%s: coordinates are shares of the image size, and so are the errors below",
                     tables[0].path)  # fmt: skip
    elif any(in_shares):
        first, other = (tables[in_shares.index(kind)].path for kind in (True, False))
        raise DataError(
            f"{first} contains shares of the image size (0 to 1) and {other} does not: use the "
            "same unit for both"
        )


def without_distrusted(table: KeypointTable, distrust: Path) -> KeypointTable:
    """The table with the labels that a list names as if they were blank."""
    listed = read_distrust(distrust, table)
    return replace(table, labels=np.where(listed[..., None], np.nan, table.labels))


def coordinates_of(table: KeypointTable, names: Sequence[str]) -> Array:
    """Coordinates (n, K, 2) of the named keypoints.

    Raises
    ------
    DataError
        If the table lacks one.
    """
    for name in names:
        if name not in table.keypoints:
            raise DataError(f"{table.path} has no keypoint {name!r} to score")
    return table.labels[:, [table.keypoints.index(name) for name in names]]


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
                "pass the table before filling with --blank-in, or use --keypoints all"
            )
        return rare
    names = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for name in names:
        if name not in shared:
            raise UsageError(f"no keypoint {name!r} in both tables{_did_you_mean(name, shared)}")
    if not names:
        raise UsageError("no keypoints given: use all, rare, or names separated by commas")
    return names


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    near = nearest(name, names)
    if near is not None:
        return f"; did you mean {near!r}?"
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"; there are {shown}" if names else "; there are none"


def _values_of(by: str, tables: Sequence[tuple[KeypointTable, Integers]]) -> list[str]:
    """The value of a column for each row of the truth, from the first table that has the column.

    Parameters
    ----------
    tables
        With their rows that belong to those of the truth, -1 for none.
    """
    for table, rows in tables:
        if by in table.extra:
            return [table.extra[by][row].strip() if row >= 0 else "" for row in rows.tolist()]
    present = [name for table, _ in tables for name in table.extra]
    raise UsageError(f"neither table has a column {by!r} for --by{_did_you_mean(by, present)}")


def _scores_by_value(errors: Array, of_row: Sequence[str]) -> dict[str, Score]:
    values = sorted(set(of_row), key=_numbers_first)
    return named_scores(values, [errors[np.array(of_row) == value] for value in values])


def _numbers_first(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def named_scores(names: Sequence[str], errors: Iterable[Array]) -> dict[str, Score]:
    """A score for each name that has an error which is not NaN."""
    scores = {name: score(of_name) for name, of_name in zip(names, errors, strict=True)}
    return {name: of_name for name, of_name in scores.items() if of_name.coordinates}


def _mixed_rmse(values: Mapping[str, Score], asked: ScoreRequest, truth: Path) -> float:
    """Square root of the weighted sum of the values' mean squared errors, in px."""
    squares = 0.0
    for value, weight in (asked.mix or {}).items():
        if value not in values:
            raise UsageError(
                f"--mix names {value!r}, but no coordinate of a row whose {asked.by!r} is {value!r} can be "
                f"scored against {truth}; there are {', '.join(map(repr, values))}"
            )
        squares += weight * values[value].rmse ** 2
    return float(np.sqrt(squares))
