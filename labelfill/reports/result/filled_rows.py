"""A filled table with all that its sidecar says of the fills, as arrays: what people are shown."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images, Mask
from labelfill.data.dataset import ImageDataset
from labelfill.data.dataset_reading import TableRequest
from labelfill.data.images.identity import fingerprint
from labelfill.data.run_tables import reading_of
from labelfill.data.showing import Layer, as_html, check_row, draw_row, one_line
from labelfill.errors import DataError
from labelfill.filling.provenance import beside, provenance_path, review_order
from labelfill.final.filled_table import filled_from, last_filled, read_filled
from labelfill.regressors.unit_names import STAGE
from labelfill.runs import RunDirectory, sha256_file
from labelfill.schema import KeypointSchema

if TYPE_CHECKING:
    import pandas as pd

# Flagged points come before all others, however large the radii of these are.
_FLAGGED = 1e6


@dataclass(frozen=True, repr=False)
class FilledRows:
    """The rows of a filled table; px are those of each row's own image.

    Attributes
    ----------
    dataset
        The filled table.
    labels
        (n, K, 2) px: observed coordinates, NaN where the table was blank.
    places
        (n, K, 2) px: all coordinates as they now stand, NaN where still blank.
    new
        (n, K, 2): which coordinates were filled.
    radius
        (n, K) px; NaN where nothing was filled.
    method, flags
        (n, K) text; empty where nothing was filled. Flags are words joined by spaces; labels have some too,
        if the review list beside the table names them.
    convention
        (n, K) text: of a keypoint on which label sources disagree, in whose convention it was filled and how
        far off the other source labels it; else empty.
    coverage
        Share of cases in which a radius holds.
    by_source
        What holds for all fills of a source and keypoint, as `labelfill.filling.quality.by_source` tells it.
    """

    dataset: ImageDataset
    labels: Array
    places: Array
    new: Mask
    radius: Array
    method: NDArray[np.object_]
    flags: NDArray[np.object_]
    convention: NDArray[np.object_]
    coverage: float
    by_source: Sequence[Mapping[str, Any]] = ()

    def __repr__(self) -> str:
        filled, blank = int(self.filled.sum()), int(np.isnan(self.places).sum())
        counts = f"{filled:,} points filled, {blank:,} cells left blank"
        return f"{type(self).__name__} {self.dataset.table.path.name}: {one_line(self.labels, counts)}"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self.schema.keypoints, self.labels)

    def plot(self, row: int, ax: Any = None) -> Any:
        """Draw a row: labels as dots, fills as diamonds in the circles of their radii."""
        row = check_row(row, len(self.labels))
        shown, size, new = self.in_frame(), self.schema.image_size, self.filled[row][:, None]
        layers = [
            Layer(np.where(new, np.nan, shown.labels[row]), "label"),
            Layer(np.where(new, shown.places[row], np.nan), "fill", shown.radius[row]),
        ]
        return draw_row(self.images[row], (size.height, size.width), layers, f"row {row}", ax)

    def to_pandas(self) -> pd.DataFrame:
        """One row per filled point: its row, keypoint, x, y and radius in px, method and flags."""
        import pandas as pd

        rows, k = np.nonzero(self.filled)
        x, y = self.places[rows, k].T
        columns = {
            "row": rows, "keypoint": np.array(self.schema.keypoints, object)[k], "x": x, "y": y,
            "radius": self.radius[rows, k], "method": self.method[rows, k], "flags": self.flags[rows, k],
        }  # fmt: skip
        return pd.DataFrame(columns)

    @property
    def schema(self) -> KeypointSchema:
        return self.dataset.schema

    @property
    def images(self) -> Images:
        """(n, H, W)."""
        return self.dataset.images

    @property
    def filled(self) -> Mask:
        """(n, K): points of which a coordinate was filled."""
        filled: Mask = np.any(self.new, axis=2)
        return filled

    def place(self, row: int) -> str:
        return f"row {row} (line {self.dataset.table.lines[row]})"

    def in_frame(self) -> FilledRows:
        """The same in px of the frame that `images` show."""
        where = self.dataset.placements
        if where is None:
            return self
        return replace(
            self,
            labels=where.to_frame(self.labels),
            places=where.to_frame(self.places),
            radius=where.lengths_to_frame(self.radius),
        )

    def frame_box(self, row: int) -> list[float]:
        """Left, top, width and height of a row's picture, in own px."""
        size = self.schema.image_size
        corners = np.array([[[-0.5, -0.5], [size.width - 0.5, size.height - 0.5]]])
        if self.dataset.placements is not None:
            corners = self.dataset.placements.take(slice(row, row + 1)).to_own(corners)
        (left, top), (right, bottom) = corners[0].tolist()
        return [left, top, right - left, bottom - top]

    def table_hash(self) -> str:
        """A SHA-256 over keypoints, observed labels and images: the same however the table is filled."""
        sha256 = hashlib.sha256("\0".join(self.schema.keypoints).encode("utf-8", "surrogatepass"))
        sha256.update(self.labels.astype("<f8").tobytes())
        sha256.update(fingerprint(self.images).encode())
        return sha256.hexdigest()


def read_filled_rows(
    run: RunDirectory, filled: Path | None, *, allow_outside: bool = False, progress: bool = False
) -> FilledRows:
    """Read a table that the run filled, its images, and its sidecar.

    Parameters
    ----------
    filled
        None: the table that `impute` wrote last.

    Raises
    ------
    ModelError
        If the run has filled none.
    DataError
        If the table or its sidecar is missing, or the two do not belong together.
    """
    path = filled or last_filled(run)
    size = None if run.begun_with is None else run.begun_with.size
    request = TableRequest(
        size, run.framed, images_beside=filled_from(run, path),
        allow_outside=allow_outside, filled=True, reading=reading_of(run),
    )  # fmt: skip
    table = read_filled(path, None, request, run.path / "cache", progress=progress)
    dataset, sidecar, shape = table.dataset, provenance_path(path), table.observed.shape[:2]
    radius = np.full(shape, np.nan)
    method, flags, convention = (np.full(shape, "", dtype=object) for _ in range(3))
    trained = run.stages.get(STAGE, {}).get("results", {})
    offsets = trained.get("convention offsets", ())
    for line, point, entry in _entries(sidecar, dataset.schema):
        radius[point], _ = (_number(entry, name, sidecar, line) for name in ("radius", "sigma"))
        method[point], flags[point] = entry["method"], entry["flags"]
        convention[point] = described_convention(entry, offsets)
    stage = run.stages.get(f"impute {run.recorded_path(path)}", {})
    # Labels have no line in the sidecar; the list of another filling that left it there does not count.
    review = beside(path, "review.csv")
    recorded = stage.get("outputs", {}).get(run.recorded_path(review))
    if recorded is not None and review.is_file() and sha256_file(review) == recorded:
        for _, point, entry in _entries(review, dataset.schema):
            flags[point] = flags[point] or entry["reasons"]
    return FilledRows(
        dataset,
        labels=np.where(table.observed, dataset.table.labels, np.nan),
        places=dataset.table.labels,
        new=dataset.table.observed & ~table.observed,
        radius=radius,
        method=method,
        flags=flags,
        convention=convention,
        coverage=float(stage.get("inputs", {}).get("settings", {}).get("coverage", 0.9)),
        by_source=stage.get("results", {}).get("by_source", ()),
    )


def _entries(path: Path, schema: KeypointSchema) -> Iterator[tuple[int, tuple[int, int], Mapping[str, str]]]:
    """Line, row and keypoint, and columns of each point of a file beside the table.

    `read_filled` has checked that the sidecar fits the table.
    """
    index = {name: k for k, name in enumerate(schema.keypoints)}
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for line, entry in enumerate(csv.DictReader(file), 2):
            yield line, (int(entry["row"]), index[entry["keypoint"]]), entry


def described_convention(entry: Mapping[str, str], offsets: Sequence[Mapping[str, Any]]) -> str:
    """``as source 1 labels it; source 2 labels it 0.1 px left and 5.3 px below``; empty if undisputed."""
    for offset in offsets:
        sources = (offset["reference"], offset["source"])
        if offset["keypoint"] == entry["keypoint"] and entry["convention"] in sources:
            filled_as = sources.index(entry["convention"])
            x, y = (np.array(offset["offset"]) * (1 - 2 * filled_as)).tolist()
            sideways = f"{abs(x):.1f} px {'left' if x < 0 else 'right'}"
            upwards = f"{abs(y):.1f} px {'above' if y < 0 else 'below'}"
            other = f"source {sources[1 - filled_as]} labels it {sideways} and {upwards}"
            return f"as source {sources[filled_as]} labels it; {other}"
    return ""


def _number(entry: Mapping[str, str], column: str, sidecar: Path, line: int) -> float:
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


def flags_of_row(filled: FilledRows, row: int) -> list[str]:
    """Each word once, in the order of the keypoints."""
    return list(dict.fromkeys(" ".join(map(str, filled.flags[row])).split()))


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
