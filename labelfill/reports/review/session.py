"""A review that goes on: decisions are kept as they are made, and the table is filled anew by them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Mask
from labelfill.data.corrections import (
    ACTIONS,
    PLACING,
    Decision,
    corrections_bytes,
    corrections_of,
    read_decisions,
)
from labelfill.data.dataset import Dataset
from labelfill.data.formats import suffix_of
from labelfill.data.run_tables import read_run_table
from labelfill.errors import DamagedFile, DataError, ModelError, counted, shown
from labelfill.filling.job import check_destination, filling_job, stage_name
from labelfill.filling.stage import impute
from labelfill.final.filled_table import last_filled
from labelfill.reports.pages import plain
from labelfill.reports.result.filled_rows import FilledRows, read_filled_rows
from labelfill.reports.review.review_page import ListedRows, Served, listed_rows, page_of_rows
from labelfill.runs import RunDirectory, damaged_manifest, write_bytes
from labelfill.runs.records import record_of
from labelfill.settings import ImputeSettings, ReviewSettings, RunSettings, TableSettings


@dataclass(frozen=True)
class SessionRequest:
    """What is reviewed, and where results go.

    Attributes
    ----------
    filled
        The table to begin with; None: the one that the run filled last.
    corrections
        Where decisions are kept; what stands there already is gone on from.
    out
        Where the table goes that is filled anew; None: ``reviewed.csv`` in the run directory, or with the
        ending of the table's format.
    force
        Whether `out` may be overwritten if something else wrote it.
    """

    run: RunSettings
    filled: Path | None
    corrections: Path
    out: Path | None = None
    review: ReviewSettings = field(default_factory=ReviewSettings)
    table: TableSettings = field(default_factory=TableSettings)
    force: bool = False
    progress: bool = False


@dataclass(frozen=True)
class SentDecision:
    """A decision as the page's script has it."""

    action: str
    x: float | None = None
    y: float | None = None
    reviewer: str = ""


@dataclass(frozen=True)
class Changes:
    """What the page sends: row, keypoint number, and the decision, or none if it was taken back."""

    changes: list[tuple[int, int, SentDecision | None]]


@dataclass(frozen=True)
class Refilled:
    """What came of filling anew: a sentence on radii, and the rows to go on with."""

    said: str
    listed: ListedRows


class ReviewSession:
    """A filled table under review.

    Attributes
    ----------
    decisions
        Those made so far, as they stand in the file.

    Raises
    ------
    ModelError
        If the run has filled no such table.
    DataError
        If the table before it was filled has changed since, or the decisions are another table's.
    UsageError
        If the table that is filled anew would replace a file that it may not.
    """

    def __init__(self, request: SessionRequest) -> None:
        self._request = request
        with RunDirectory.read_only(request.run.run_dir) as run:
            filled = request.filled or last_filled(run)
            self._settings = _settings_of(run, filled)
            self._dataset = self._original(run, filled)
            self._out = request.out or run.path / f"reviewed{suffix_of(self._dataset.table.path)}"
            check_destination(run, self._dataset, self._out, self._settings, force=request.force)
            self._rows = self._read_filled(run, filled)
        self._keypoints = {name: k for k, name in enumerate(self._rows.schema.keypoints)}
        self.decisions = read_decisions(request.corrections) if request.corrections.exists() else {}
        corrections_of(self.decisions.values(), self._dataset.table)  # refuses another table's
        self._listed = self._ranked()
        self._refills, self._unfilled = 0, bool(self.decisions)

    def page(self) -> str:
        """The page as it now is."""
        told = [
            (decision.row, self._keypoints[decision.keypoint], _as_told(decision))
            for decision in self.decisions.values()
        ]
        saved = f"Decisions are saved to {plain(str(self._request.corrections))} as they are made."
        return page_of_rows(
            self._rows, self._listed, self._request.review.reviewer or "", Served(told, saved)
        )

    def decide(self, changes: Changes) -> None:
        """Keep decisions; the file is written before this returns.

        Raises
        ------
        DataError
            If one does not fit the table; then none is kept.
        StorageError
            If the file cannot be written.
        """
        decisions = dict(self.decisions)
        for row, k, told in changes.changes:
            if not (0 <= row < len(self._rows.labels) and 0 <= k < len(self._keypoints)):
                raise DataError(f"there is no row {row} with keypoint number {k}")
            decisions.pop((row, self._rows.schema.keypoints[k]), None)
            if told is not None:
                decision = _decision(row, self._rows.schema.keypoints[k], told)
                decisions[row, decision.keypoint] = decision
        corrections_of(decisions.values(), self._dataset.table)
        write_bytes(self._request.corrections, corrections_bytes(decisions.values()))
        self.decisions, self._unfilled = decisions, True

    def refill(self) -> Refilled:
        """Fill the table anew by the decisions, as `impute --corrections` does, and rank its rows anew."""
        begun, before, request = time.perf_counter(), self._rows, self._request
        with RunDirectory.open(request.run.run_dir, [request.run, request.table, self._settings]) as run:
            check_destination(run, self._dataset, self._out, self._settings, force=request.force)
            # What stands there is an earlier refill's, as was just checked.
            job = filling_job(
                run, self._dataset, self._out, self._settings,
                corrections=corrections_of(self.decisions.values(), self._dataset.table),
                device=request.run.device, force=True,
            )  # fmt: skip
            impute(run, job, progress=request.progress)
            after = self._read_filled(run, self._out)
        self._rows = _with_rejected(after, before, self._decided("rejected"))
        self._listed, self._refills, self._unfilled = self._ranked(), self._refills + 1, False
        seconds = time.perf_counter() - begun
        said = _compared(before, after, self._decided(), len(self.decisions), seconds)
        return Refilled(said, self._listed)

    def told(self) -> dict[str, Any]:
        """What came of the review so far.

        Returns
        -------
        dict
            How many ``decisions`` stand in ``corrections``; how often the table was filled anew
            (``refills``), into ``out``; ``unfilled``, whether decisions have changed since.
        """
        return {
            "corrections": str(self._request.corrections),
            "decisions": len(self.decisions),
            "refills": self._refills,
            "out": str(self._out) if self._refills else "",
            "unfilled": self._unfilled,
        }

    def _original(self, run: RunDirectory, filled: Path) -> Dataset:
        """The table before it was filled, which decisions are made about."""
        stage, table = run.stages[stage_name(run, filled)], self._request.table
        original, beside = (Path(stage["results"][name]) for name in ("original", "images_beside"))
        if table.image_folder is None and beside != original:
            table = replace(table, image_folder=beside.parent)
        dataset = read_run_table(
            run, original, table, to_fill=True, require_images=False, show_progress=self._request.progress
        )
        if dataset.table.content_sha256 != stage["inputs"]["table"]:
            raise DataError(
                f"{original} has changed since {filled} was filled from it: run `labelfill impute` again"
            )
        return dataset

    def _read_filled(self, run: RunDirectory, path: Path) -> FilledRows:
        request = self._request
        allow_outside = request.table.allow_outside
        return read_filled_rows(run, path, allow_outside=allow_outside, progress=request.progress)

    def _ranked(self) -> ListedRows:
        bounds = self._request.review
        return listed_rows(
            self._rows, most_rows=bounds.rows, most_bytes=round(bounds.megabytes * 1e6),
            decided=self._decided(),
        )  # fmt: skip

    def _decided(self, *actions: str) -> Mask:
        """(n, K): points about which so was decided; without `actions` anything."""
        decided = np.zeros(self._rows.labels.shape[:2], bool)
        for decision in self.decisions.values():
            if not actions or decision.action in actions:
                decided[decision.row, self._keypoints[decision.keypoint]] = True
        return decided


def _settings_of(run: RunDirectory, filled: Path) -> ImputeSettings:
    """By which settings a table was filled: radii are compared with those of the next filling."""
    stage = run.stages.get(stage_name(run, filled))
    if stage is None or stage["state"] != "done":
        raise ModelError(
            f"the run in {run.path} did not fill {filled}: name the --run-dir that did, or review it "
            "without --serve"
        )
    try:
        return record_of(ImputeSettings, stage["inputs"]["settings"])
    except DamagedFile as error:
        raise damaged_manifest(run.path, error) from error


def _decision(row: int, keypoint: str, told: SentDecision) -> Decision:
    """A decision of the page, if it says something clear."""
    where, place = f"the decision on {shown(keypoint)} of row {row}", None
    if told.action not in ACTIONS:
        raise DataError(f"{where}: there is no action {shown(told.action)}")
    if told.action in PLACING:
        if told.x is None or told.y is None or not (math.isfinite(told.x) and math.isfinite(told.y)):
            raise DataError(f"{where}: {told.action} needs x and y in px")
        place = (told.x, told.y)
    return Decision(row, keypoint, told.action, place, told.reviewer, where)


def _as_told(decision: Decision) -> dict[str, Any]:
    """A decision as the page's script has it; without what there is none of."""
    x, y = decision.place or (None, None)
    told = {"action": decision.action, "x": x, "y": y, "reviewer": decision.reviewer or None}
    return {name: value for name, value in told.items() if value is not None}


def _with_rejected(after: FilledRows, before: FilledRows, rejected: Mask) -> FilledRows:
    """Rejected points (n, K), which are now blank, where they were before: they can still be reviewed."""
    return replace(
        after,
        places=np.where(rejected[..., None], before.places, after.places),
        new=np.where(rejected[..., None], before.new, after.new),
        **{
            name: np.where(rejected, getattr(before, name), getattr(after, name))
            for name in ("radius", "method", "flags")
        },
    )


def _compared(before: FilledRows, after: FilledRows, decided: Mask, decisions: int, seconds: float) -> str:
    """What became of the radii: of all fills, and of those in rows about which something was decided."""
    told = f"Filled anew by {counted(decisions, 'decision')} in {seconds:.1f} s."
    filled = before.filled & after.filled
    told += _fall(before, after, filled, " Median radius of all fills")
    touched = filled & np.any(decided, axis=1, keepdims=True) & ~decided
    return told + _fall(before, after, touched, "; of those still open in rows with decisions")


def _fall(before: FilledRows, after: FilledRows, points: Mask, what: str) -> str:
    """How the median radius of some points (n, K) changed; nothing if there are none."""
    if not points.any():
        return ""
    old, new = (float(np.median(rows.radius[points])) for rows in (before, after))
    return f"{what}: {old:.2f} px before, {new:.2f} px now"
