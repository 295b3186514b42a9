"""Looking at what was filled: a row as a picture, the report, the page for review, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelfill.api.stages import Place
from labelfill.data.dataset import ImageDataset
from labelfill.data.run_tables import read_run_table, refuse_changed_table
from labelfill.errors import UsageError
from labelfill.regressors.unit_names import STAGE
from labelfill.reports import scores
from labelfill.reports.result.filled_rows import FilledRows, read_filled_rows
from labelfill.reports.result.report_page import run_report
from labelfill.reports.review.review_page import review_page
from labelfill.reports.scores import Evaluation, ScoreRequest
from labelfill.runs import RunDirectory, write_bytes
from labelfill.settings import ReviewSettings, TableSettings


def read_filled(
    filled: Place | None = None,
    run_dir: Place = "outputs",
    *,
    table: TableSettings | None = None,
    progress: bool = False,
) -> FilledRows:
    """Read a filled table with its images and its sidecar.

    Parameters
    ----------
    filled
        A table written by `impute`, with its sidecar next to it; None: the table that the run filled last.

    Returns
    -------
    FilledRows
        ``places``, ``labels`` (n, K, 2) and ``radius`` (n, K), px; ``method`` and ``flags`` (n, K);
        ``plot(row)`` and ``to_pandas()``.

    Raises
    ------
    DataError
        If the table has no images, or does not match its sidecar.

    Examples
    --------
    >>> filled = labelfill.read_filled("filled.csv", "outputs")
    >>> filled.to_pandas().columns[:4].tolist()
    ['row', 'keypoint', 'x', 'y']
    """
    allow_outside = (table or TableSettings()).allow_outside
    with RunDirectory.read_only(Path(run_dir)) as run:
        path = None if filled is None else Path(filled)
        return read_filled_rows(run, path, allow_outside=allow_outside, progress=progress)


def plot(filled: FilledRows | Place, row: int, ax: Any = None, *, run_dir: Place = "outputs") -> Any:
    """Draw a row of a filled table: labels as dots, fills as diamonds in the circles of their error radii.

    Parameters
    ----------
    filled
        The result of `read_filled`, which is faster for several rows, or the path of a table written by
        `impute`.
    row
        Counted from 0.
    ax
        matplotlib axes to draw into; None: a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    UsageError
        If there is no such row, or matplotlib is not installed (``pip install 'labelfill[plots]'``).

    Examples
    --------
    >>> labelfill.plot("filled.csv", 3).get_title()
    'row 3'
    """
    rows = filled if isinstance(filled, FilledRows) else read_filled(filled, run_dir)
    return rows.plot(row, ax)


def report(
    run_dir: Place = "outputs",
    out: Place | None = None,
    *,
    filled: Place | None = None,
    data: Place | None = None,
    table: TableSettings | None = None,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Write a page with the results of a run and pictures.

    Parameters
    ----------
    out
        The page; None: ``report.html`` in the run directory, which is overwritten.
    filled
        The filled table to show; None: the one written last by `impute`.
    data
        The table that the run was started with; None: its original path.

    Returns
    -------
    dict
        The path of the page, ``out``, and its size in ``bytes``.

    Raises
    ------
    UsageError
        If `out` exists and `force` is False, or matplotlib is not installed.
    ModelError
        If the run directory contains no finished models.

    Examples
    --------
    >>> labelfill.report("outputs")["out"]
    'outputs/report.html'
    """
    page = _page(run_dir, out, "report.html", force=force)
    with RunDirectory.read_only(Path(run_dir)) as run:
        write_report(
            run, None if data is None else Path(data), page, None if filled is None else Path(filled),
            table or TableSettings(), progress=progress,
        )  # fmt: skip
    return {"out": str(page), "bytes": page.stat().st_size}


def write_report(
    run: RunDirectory,
    data: Path | None,
    out: Path,
    filled: Path | None,
    table: TableSettings,
    *,
    progress: bool = False,
) -> None:
    """Write the report of a run with a filled table, or with the one filled last, if there is one."""
    run.require_stage(STAGE)
    path = data or Path(run.input.path)
    dataset = read_run_table(run, path, table, to_fill=True, show_progress=progress)
    refuse_changed_table(run, dataset)
    rows = None
    if filled is not None or run.last_finished("impute") is not None:
        rows = read_filled_rows(run, filled, allow_outside=table.allow_outside, progress=progress)
    write_bytes(out, run_report(run, ImageDataset.of(dataset), rows).encode())


def review(
    run_dir: Place = "outputs",
    out: Place | None = None,
    *,
    filled: Place | None = None,
    settings: ReviewSettings | None = None,
    table: TableSettings | None = None,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Write a page on which a person goes through fills, worst first, and decides about them.

    Parameters
    ----------
    out
        The page; None: ``review.html`` in the run directory, which is replaced.
    filled
        The filled table; None: the one that `impute` wrote last.
    settings
        How many rows and megabytes the page may have, and who decides; None: the defaults.

    Returns
    -------
    dict
        The page's path, ``out``, its ``rows``, how many ``rows_left_out``, and its ``bytes``.

    Raises
    ------
    UsageError
        If `out` exists and `force` is not given.
    ModelError
        If the run has filled no table.

    Examples
    --------
    >>> labelfill.review("outputs")["out"]
    'outputs/review.html'
    """
    bounds, page = settings or ReviewSettings(), _page(run_dir, out, "review.html", force=force)
    rows = read_filled(filled, run_dir, table=table, progress=progress)
    made = review_page(
        rows, most_rows=bounds.rows, most_bytes=round(bounds.megabytes * 1e6), reviewer=bounds.reviewer or ""
    )
    write_bytes(page, made.html.encode())
    return {
        "out": str(page),
        "rows": made.rows,
        "rows_left_out": made.left_out,
        "bytes": page.stat().st_size,
    }


def evaluate(
    table: Place,
    truth: Place,
    *,
    blank_in: Place | None = None,
    by: str | None = None,
    mix: Mapping[str, float] | None = None,
    keypoints: str | Sequence[str] = "all",
    distrust: Place | None = None,
    missing_value: Sequence[float] = (),
    progress: bool = False,
) -> Evaluation:
    """Score a filled or predicted table against a table with the true coordinates.

    Parameters
    ----------
    blank_in
        The table before filling: only coordinates that are blank there are scored.
    by, mix
        A column whose values are scored separately; weights of these values for one mixed score.
    keypoints
        ``all``, ``rare`` (labelled in fewer than half of the rows), or names.
    distrust
        A file with labels of the truth to ignore, lines ``row,keypoint``.
    missing_value
        Numbers that mark a missing point in both coordinates.

    Returns
    -------
    Evaluation
        ``overall.rmse`` and ``overall.mae`` in px, also per keypoint and coordinate; ``to_pandas()``.

    Raises
    ------
    DataError
        If a table cannot be read, rows cannot be joined, or there is nothing to score.

    Examples
    --------
    >>> scores = labelfill.evaluate("filled.csv", "data/truth.csv", blank_in="data/training.csv")
    >>> scores.to_pandas().columns.tolist()
    ['rmse', 'mae', 'coordinates']
    """
    asked = ScoreRequest(
        None if blank_in is None else Path(blank_in), by, mix, keypoints,
        None if distrust is None else Path(distrust), missing_value, progress,
    )  # fmt: skip
    return scores.evaluate(Path(table), Path(truth), asked)


def _page(run_dir: Place, out: Place | None, name: str, *, force: bool) -> Path:
    """Where a page goes: a file of one's own is not replaced unasked."""
    if out is None:
        return Path(run_dir) / name
    if Path(out).exists() and not force:
        raise UsageError(f"{out} already exists: choose another file, or pass force=True to overwrite it")
    return Path(out)
