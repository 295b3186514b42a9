"""Ways of filling side by side: on the same cells, against the same truth or hidden labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.joining import join_rows
from labelfill.data.reading_options import USUAL, ReadingOptions
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError, UsageError, place
from labelfill.filling.simple_ways import SIMPLE_METHODS, SimpleMethod, fill_simply, require_imputers
from labelfill.regressors.scores import Score, score
from labelfill.reports.comparison.trained_ways import (
    MODEL_WAYS,
    Answer,
    FinalScore,
    ModelWay,
    TrainedWays,
    labels_of,
)
from labelfill.reports.scores import (
    choose_keypoints,
    coordinates_of,
    named_scores,
    read_to_score,
    refuse_two_units,
    without_distrusted,
)
from labelfill.runs import EVALUATION
from labelfill.runs.progress import bar
from labelfill.runs.resources import measured
from labelfill.schema import AXES
from labelfill.settings import FinalModelSettings


@dataclass(frozen=True)
class WayScore:
    """How one way of filling did.

    Attributes
    ----------
    overall, keypoints
        Over the compared cells, and per keypoint that has one.
    left_blank
        Cells with a known truth that it did not fill.
    seconds, peak_memory
        What filling took, its training included: seconds, and bytes of all processes. None for a table that
        was filled before, or where the system does not tell.
    parameters
        Trained numbers of its networks; None if it has none.
    final
        Of the final network trained on what it filled, if that was asked for.
    """

    overall: Score
    keypoints: Mapping[str, Score]
    left_blank: int
    seconds: float | None
    peak_memory: int | None = None
    parameters: int | None = None
    final: FinalScore | None = None


@dataclass(frozen=True)
class Comparison:
    """Ways of filling, scored on the same cells.

    Attributes
    ----------
    rows, cells
        Rows with a compared cell, and the cells: blank in the table and known in the truth, or hidden in
        held-out rows; and filled by every way.
    not_compared
        Cells of that kind that some way left blank.
    ways
        Name to score, in the order asked for.
    held_out
        Whether the cells are hidden labels of held-out rows.
    """

    rows: int
    cells: int
    not_compared: int
    ways: Mapping[str, WayScore]
    held_out: bool = False


Way = SimpleMethod | ModelWay
WAYS: tuple[Way, ...] = (*SIMPLE_METHODS, *MODEL_WAYS)


@dataclass(frozen=True)
class ComparisonRequest:
    """What is compared, and on which cells.

    Attributes
    ----------
    table
        The table with blanks; its images are looked at by ways that are trained only.
    truth
        What the blanks hide. Rows are joined as by `evaluate`. None: labels of held-out rows are hidden by
        missing patterns of the table's own rows, and scored; nothing learns from held-out rows.
    filled
        Copies of the table that were filled before, by any program; they need a truth.
    ways
        Ways of filling to try.
    keypoints
        ``all``; ``rare``, those that `table` labels in under half of its rows; or names.
    distrust
        A list of labels of `table` that the simple ways do not learn from; no label is scored anyhow.
    reading
        How the values of `table` are understood; of the others what stands for a blank.
    """

    table: Path
    truth: Path | None = None
    filled: Sequence[Path] = ()
    ways: Sequence[Way] = SIMPLE_METHODS
    keypoints: str | Sequence[str] = "all"
    distrust: Path | None = None
    reading: ReadingOptions = USUAL
    show_progress: bool = False

    def read(self, path: Path) -> KeypointTable:
        """A table of labels or fills, in the unit that its file states them in; see `read_to_score`."""
        reading = replace(self.reading, coordinates="px")
        if path != self.table:
            reading = ReadingOptions(missing_values=reading.missing_values)
        return read_to_score(path, reading, show_progress=self.show_progress)


def compare(
    asked: ComparisonRequest, trained: TrainedWays | None = None, final: FinalModelSettings | None = None
) -> Comparison:
    """Fill a table's blank cells in several ways and score each, on the same cells.

    Parameters
    ----------
    trained
        Where ways are trained; needed for those of `MODEL_WAYS`, for `final`, and without a truth.
    final
        Also train the final network on what each way filled, with these settings.

    Raises
    ------
    UsageError
        If a way or a keypoint is not there, or nothing is to be compared.
    DataError
        If a table cannot be read, or a filled table is not `table` filled.
    """
    if not asked.filled and not asked.ways:
        raise UsageError("nothing to compare: pass a filled table with --filled, or ways with --ways")
    for way in asked.ways:
        if way not in WAYS:
            raise UsageError(f"unknown way of filling {way!r}; choose from {', '.join(WAYS)}")
    if {"knn", "iterative"} & set(asked.ways):
        require_imputers()  # now, not after an hour of training
    if asked.truth is not None:
        result = _against_truth(asked, asked.truth, trained)
    elif asked.filled:
        raise UsageError(
            "a filled table can only be scored against a truth: pass one with --truth, or leave "
            "out --filled; "
            "the held-out labels hidden now were visible when it was filled"
        )
    else:
        assert trained is not None, "held-out rows are those of a split"
        result = _on_held_out(asked, trained)
    if final is None:
        return result
    assert trained is not None, "final networks are kept in run directories"
    scores = _final_scores(asked, trained, final)
    return replace(result, ways={name: replace(way, final=scores[name]) for name, way in result.ways.items()})


def _against_truth(asked: ComparisonRequest, truth: Path, trained: TrainedWays | None) -> Comparison:
    """Blank cells whose truth is known."""
    original, known = asked.read(asked.table), asked.read(truth)
    refuse_two_units([original, known])
    shared = [k for k in original.keypoints if k in known.keypoints]
    if not shared:
        raise DataError(f"{asked.table} and {truth} have no keypoints in common")
    names = choose_keypoints(asked.keypoints, shared, original)
    rows, _ = join_rows(known, original)
    expected = np.where((rows >= 0)[:, None, None], coordinates_of(known, names)[rows], np.nan)
    to_fill = np.isnan(coordinates_of(original, names)) & ~np.isnan(expected)  # (n, K, 2)
    if not to_fill.any():
        raise DataError(f"nothing to compare: no coordinate is blank in {asked.table} and known in {truth}")
    answers: dict[str, Answer] = {}
    for name, path in _named(asked.filled).items():
        filled = asked.read(path)
        _check_filled_from(original, filled)
        answers[name] = Answer(coordinates_of(filled, names))
    index = [original.keypoints.index(name) for name in names]
    learnt = original if asked.distrust is None else without_distrusted(original, asked.distrust)
    for way in bar(asked.ways, desc="filling", unit="way", show=asked.show_progress):
        if way in MODEL_WAYS:
            assert trained is not None, "trained ways need run directories"
            filled = asked.read(trained.filled(way))
            answers[way] = trained.answer(way, coordinates_of(filled, names))
        else:
            xy, cost = measured(partial(fill_simply, learnt.labels, way))
            answers[way] = Answer(xy[:, index], cost)
    return _scored(answers, expected, to_fill, names)


def _on_held_out(asked: ComparisonRequest, trained: TrainedWays) -> Comparison:
    """Labels of held-out rows, hidden as the table's own rows lack them."""
    for way in asked.ways:
        if way in MODEL_WAYS:
            trained.train(way)
    dataset, hidden, parts = trained.hidden()
    names = choose_keypoints(asked.keypoints, list(dataset.table.keypoints), dataset.table)
    index = [dataset.table.keypoints.index(name) for name in names]
    labels = hidden.labels(dataset.in_own_px(dataset.labels))
    answers: dict[str, Answer] = {}
    for way in bar(asked.ways, desc="filling", unit="way", show=asked.show_progress):
        if way in MODEL_WAYS:
            answer = trained.answer_hidden(way, dataset, hidden)
            answers[way] = replace(answer, xy=answer.xy[:, index])
        else:
            xy, cost = measured(partial(fill_simply, labels, way, learn_from=parts != EVALUATION))
            answers[way] = Answer(xy[hidden.rows][:, index], cost)
    expected = dataset.table.labels[hidden.rows][:, index]
    cells = hidden.cells[:, index]
    if not cells.any():
        raise DataError(f"nothing to compare: no label of {', '.join(names)} is hidden in a held-out row")
    return replace(_scored(answers, expected, cells, names), held_out=True)


def _final_scores(
    asked: ComparisonRequest, trained: TrainedWays, final: FinalModelSettings
) -> dict[str, FinalScore]:
    """Each way's final network: the same network and split, other labels in blank cells."""
    scores: dict[str, FinalScore] = {}
    for number, (name, path) in enumerate(_named(asked.filled).items()):
        settings = replace(final, labels="filled")
        scores[name] = trained.final(f"final-filled-{number}", settings, path, trained.setting.data)
    for way in asked.ways:
        settings = replace(final, labels=labels_of(way))
        fills = trained.filled(way) if way in MODEL_WAYS else None
        scores[way] = trained.final(f"final-{way}", settings, fills)
    return scores


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their names, or by their whole paths if two have the same name."""
    by_name = {path.name: path for path in paths}
    return by_name if len(by_name) == len(paths) else {str(path): path for path in paths}


def _check_filled_from(original: KeypointTable, filled: KeypointTable) -> None:
    """A filled table has the same rows in the same order, and every observed label as it was."""
    if filled.rows != original.rows:
        raise DataError(
            f"{filled.path} has {filled.rows} rows and {original.path} {original.rows}, "
            "so it is not a filled version of it"
        )
    before, after = original.labels, coordinates_of(filled, original.keypoints)
    altered = ~np.isnan(before) & ~(np.abs(before - after) < 1e-4)  # another program may round
    if altered.any():
        row, k, axis = (int(i[0]) for i in np.nonzero(altered))
        column = f"{original.keypoints[k]}_{AXES[axis]}"
        where = place(filled.path, row=row, line=int(filled.lines[row]), column=column)
        raise DataError(
            f"{where} was {before[row, k, axis]:g} and is {after[row, k, axis]:g}, "
            f"so it is not a filled version of {original.path}"
        )


def _scored(
    answers: Mapping[str, Answer], expected: Array, to_fill: Mask, names: Sequence[str]
) -> Comparison:
    by_all = np.all([~np.isnan(answer.xy) for answer in answers.values()], axis=0) & to_fill
    if not by_all.any():
        raise DataError("nothing to compare: no blank coordinate was filled in every way")
    ways = {}
    for name, answer in answers.items():
        errors = np.where(by_all, answer.xy - expected, np.nan)
        ways[name] = WayScore(
            score(errors),
            named_scores(names, errors.transpose(1, 0, 2)),
            int((to_fill & np.isnan(answer.xy)).sum()),
            None if answer.cost is None else answer.cost.seconds,
            None if answer.cost is None else answer.cost.peak_memory,
            answer.parameters,
        )
    cells = int(by_all.sum())
    return Comparison(int(by_all.any(axis=(1, 2)).sum()), cells, int(to_fill.sum()) - cells, ways)
