"""A filled table with all that its sidecar says of the fills, as arrays: what people are shown."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images, Mask
from labelfill.data.dataset_reading import TableRequest
from labelfill.data.images.identity import fingerprint
from labelfill.errors import DataError, ModelError
from labelfill.filling.provenance import beside, provenance_path, review_order
from labelfill.final.filled_table import read_filled
from labelfill.runs import RunDirectory, sha256_file
from labelfill.schema import ImageSize, KeypointSchema, Placements

# Flagged points come before all others, however large the radii of these are.
_FLAGGED = 1e6


@dataclass(frozen=True)
class FilledRows:
    """The rows of a filled table; px are those of each row's own image.

    Attributes
    ----------
    path
        Of the filled table.
    lines
        (n,): on which each row starts in it.
    extra
        Further columns as text.
    labels
        (n, K, 2) px: observed coordinates, NaN where the table was blank.
    places
        (n, K, 2) px: all coordinates as they now stand, NaN where still blank.
    new
        (n, K, 2): which coordinates were filled.
    radius, sigma
        (n, K) px; NaN where nothing was filled.
    method, convention, flags
        (n, K) text; empty where nothing was filled. Flags are words joined by spaces; labels have some too,
        if the review list beside the table names them.
    images
        (n, H, W).
    coverage
        Share of cases in which a radius holds.
    placements
        Where each row's image lies in the frame `images` show, if they differ in size.
    """

    path: Path
    schema: KeypointSchema
    lines: NDArray[np.int64]
    extra: dict[str, list[str]]
    labels: Array
    places: Array
    new: Mask
    radius: Array
    sigma: Array
    method: NDArray[np.object_]
    convention: NDArray[np.object_]
    flags: NDArray[np.object_]
    images: Images
    coverage: float
    placements: Placements | None = None

    @property
    def filled(self) -> Mask:
        """(n, K): points of which a coordinate was filled."""
        filled: Mask = np.any(self.new, axis=2)
        return filled

    def place(self, row: int) -> str:
        return f"row {row} (line {self.lines[row]})"

    def in_frame(self) -> FilledRows:
        """The same in px of the frame that `images` show."""
        where = self.placements
        if where is None:
            return self
        return replace(
            self,
            labels=where.to_frame(self.labels),
            places=where.to_frame(self.places),
            radius=where.lengths_to_frame(self.radius),
            sigma=where.lengths_to_frame(self.sigma),
            placements=None,
        )

    def frame_box(self, row: int) -> list[float]:
        """Left, top, width and height of a row's picture, in own px."""
        size = self.schema.image_size
        corners = np.array([[[-0.5, -0.5], [size.width - 0.5, size.height - 0.5]]])
        if self.placements is not None:
            corners = self.placements.take(slice(row, row + 1)).to_own(corners)
        (left, top), (right, bottom) = corners[0].tolist()
        return [left, top, right - left, bottom - top]

    def table_hash(self) -> str:
        """A SHA-256 over keypoints, observed labels and images: the same however the table is filled."""
        sha256 = hashlib.sha256("\0".join(self.schema.keypoints).encode("utf-8", "surrogatepass"))
        sha256.update(self.labels.astype("<f8").tobytes())
        sha256.update(fingerprint(self.images).encode())
        return sha256.hexdigest()


def filled_table(run: RunDirectory, filled: Path | None) -> Path:
    """The filled table to show: the one given, else the one that `impute` wrote last.

    Raises
    ------
    ModelError
        If the run has filled none.
    """
    if filled is not None:
        return filled
    stage = run.last_finished("impute")
    if stage is None:
        raise ModelError(
            f"{run.path} has filled no table yet: run `labelfill impute` first, or give --filled TABLE"
        )
    return run.path / str(run.stages[stage]["inputs"]["out"])


def read_filled_rows(
    run: RunDirectory, path: Path, *, allow_outside: bool = False, progress: bool = False
) -> FilledRows:
    """Read a table that the run filled, its images, and its sidecar.

    Raises
    ------
    DataError
        If the table or its sidecar is missing, or the two do not belong together.
    """
    stage = run.stages.get(f"impute {run.recorded_path(path)}", {})
    results = stage.get("results", {})
    beside_images = results.get("images_beside", results.get("original"))
    size = run.manifest.get("input", {}).get("image_size")
    request = TableRequest(
        None if size is None else ImageSize.parse(size), run.framed,
        images_beside=None if beside_images is None else Path(beside_images),
        allow_outside=allow_outside, filled=True,
    )  # fmt: skip
    filled = read_filled(path, None, request, run.path / "cache", progress=progress)
    dataset = filled.dataset
    shape = dataset.table.labels.shape[:2]
    radius, sigma = np.full(shape, np.nan), np.full(shape, np.nan)
    words = {name: np.full(shape, "", dtype=object) for name in ("method", "convention", "flags")}
    _read_sidecar(provenance_path(path), dataset.schema, radius, sigma, words)
    _read_review_list(beside(path, "review.csv"), run, stage, dataset.schema, words["flags"])
    coverage = stage.get("inputs", {}).get("settings", {}).get("coverage", 0.9)
    return FilledRows(
        path, dataset.schema, dataset.table.lines, dict(dataset.table.extra),
        np.where(filled.observed, dataset.table.labels, np.nan), dataset.table.labels,
        dataset.table.observed & ~filled.observed, radius, sigma, **words,
        images=dataset.images, coverage=float(coverage), placements=dataset.placements,
    )  # fmt: skip


def _read_sidecar(
    sidecar: Path, schema: KeypointSchema, radius: Array, sigma: Array, words: dict[str, NDArray[np.object_]]
) -> None:
    """Put what a sidecar says into the arrays; `read_filled` has checked that it fits the table."""
    index = {name: k for k, name in enumerate(schema.keypoints)}
    with open(sidecar, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for number, entry in enumerate(csv.DictReader(file), 2):
            at = (int(entry["row"]), index[entry["keypoint"]])
            radius[at], sigma[at] = (_number(entry, name, sidecar, number) for name in ("radius", "sigma"))
            for name, values in words.items():
                values[at] = entry[name]


def _read_review_list(
    path: Path,
    run: RunDirectory,
    stage: Mapping[str, Any],
    schema: KeypointSchema,
    flags: NDArray[np.object_],
) -> None:
    """Flags of labels, which have no line in the sidecar; from the list that was written with the table."""
    recorded = stage.get("outputs", {}).get(run.recorded_path(path))
    if recorded is None or not path.is_file() or sha256_file(path) != recorded:
        return  # none, or one that another filling left: the sidecar tells enough
    index = {name: k for k, name in enumerate(schema.keypoints)}
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for entry in csv.DictReader(file):
            at = (int(entry["row"]), index[entry["keypoint"]])
            flags[at] = flags[at] or entry["reasons"]


def _number(entry: dict[str, str], column: str, sidecar: Path, line: int) -> float:
    try:
        value = float(entry[column])
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(
            f"{sidecar}, line {line}: {column} is {entry[column]!r}, expected a number; "
            "run `labelfill impute` again"
        )
    return value


def doubt_of_points(filled: FilledRows) -> Array:
    """(n, K): the larger the sooner to be looked at; -inf for points that are neither filled nor flagged."""
    there = filled.filled & np.isfinite(filled.radius)
    typical = max(float(np.median(filled.radius[there])), 1e-9) if there.any() else 1.0
    doubt = np.where(there, filled.radius / typical, -np.inf)
    order = review_order(filled.radius, filled.flags)
    doubt[order.points[:, 0], order.points[:, 1]] = _FLAGGED + order.severity
    return doubt


def worst_rows(doubt: Array) -> NDArray[np.int64]:
    """Rows with something to look at, worst first, from the doubt of their points (n, K)."""
    worst = doubt.max(axis=1, initial=-np.inf)
    rows = np.flatnonzero(worst > -np.inf)
    ordered: NDArray[np.int64] = rows[np.argsort(-worst[rows], kind="stable")].astype(np.int64)
    return ordered
