"""What a table holds, of whatever format it was read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfill.data.showing import as_frame, as_html, one_line
from labelfill.data.table.header import without_images
from labelfill.settings import Coordinates

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class KeypointTable:
    """A partially labelled keypoint table, without its images.

    Attributes
    ----------
    content_sha256, content_length
        Of the decompressed bytes; all positions are positions in these.
    labels
        (n, K, 2) float64, px; NaN = blank.
    field_spans
        (n, K, 2, 2) int64: begin and end of each coordinate field, quotes included.
    lines
        (n,) int64: 1-based line on which each row's record starts.
    extra
        Every column but the coordinates and ``Image``, as text. Bytes that are not UTF-8 are kept as
        lone surrogates (`surrogateescape`).
    image_column
        ``Image``, ``image_path`` or None.
    boxes
        (n, 4), px: left, top, right and bottom edge of what a row's keypoints are looked for in, NaN for all
        of its image; None if no row has a box.
    format
        What `path` holds: ``table``, or a format of `labelfill.data.formats`, which then has no field spans.
    declared_blank
        (n, K): points that were declared to count as blank though something stands there; None if none were.
    stated_sizes
        (n, 2), px: height and width of each row's image as the file states them, NaN where it does not; None
        if it never does.
    coordinates
        In which unit the file states what `labels` hold in px.
    """

    path: Path
    content_sha256: str
    keypoints: tuple[str, ...]
    labels: NDArray[np.float64]
    field_spans: NDArray[np.int64]
    lines: NDArray[np.int64]
    content_length: int = 0
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    extra: dict[str, list[str]] = field(default_factory=dict)
    image_column: str | None = None
    boxes: NDArray[np.float64] | None = None
    format: str = "table"
    declared_blank: NDArray[np.bool_] | None = None
    stated_sizes: NDArray[np.float64] | None = None
    coordinates: Coordinates = "px"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.path.name}: {one_line(self.labels)}"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self.keypoints, self.labels)

    def to_pandas(self) -> pd.DataFrame:
        """One row per image: further columns as text, then ``<keypoint>_x`` and ``<keypoint>_y``, px."""
        return as_frame(self.labels, self.keypoints, self.extra)

    @property
    def rows(self) -> int:
        return len(self.lines)

    @property
    def first_row(self) -> list[str]:
        """The first row's text in each column; empty for coordinates and grey values."""
        return [self.extra.get(column, [""])[0] for column in self.columns]

    def take(self, rows: NDArray[np.int64]) -> KeypointTable:
        """The same with some of its rows (m,) alone."""
        by_row = ("labels", "field_spans", "lines", "boxes", "declared_blank", "stated_sizes")
        arrays: dict[str, Any] = {name: getattr(self, name) for name in by_row}
        arrays = {name: array if array is None else array[rows] for name, array in arrays.items()}
        extra = {name: [values[row] for row in rows.tolist()] for name, values in self.extra.items()}
        return replace(self, extra=extra, **arrays)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n, K): keypoints of which both coordinates are stated."""
        return self.observed[..., 0] & self.observed[..., 1]

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(n, K, 2): which coordinates the table states."""
        return ~np.isnan(self.labels)


def lacks_images(table: KeypointTable) -> str:
    """What a table without images lacks, and what to do."""
    return without_images(table.path, table.columns, table.first_row)
