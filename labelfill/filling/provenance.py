"""The sidecar of a filled table: where each filled coordinate comes from; and the other files beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers
from labelfill.data.dataset import Dataset
from labelfill.data.formats.tables import as_csv
from labelfill.data.table import coordinate_text
from labelfill.errors import UsageError
from labelfill.filling.fills import FillMethod, OwnFills
from labelfill.sources.conventions import Sources

# Flags that send a person to a single point; `replaced` says only what stood there before. What holds for all
# fills of a source and keypoint stands in another file (`by_source`).
DISTRUSTED = "distrusted-label"
REASONS = (
    "large-radius", "implausible-shape", "off-image", "doubtful-anchor", "doubtful-label", DISTRUSTED,
)  # fmt: skip
# How many typical radii a reason other than a large radius weighs.
_REASON_WEIGHT = 2.0


PROVENANCE_COLUMNS = (
    "row", "line", "keypoint", "x", "y", "filled", "method", "convention", "sigma", "radius", "model",
    "flags",
)  # fmt: skip
REVIEW_COLUMNS = ("row", "line", "keypoint", "x", "y", "radius", "severity", "reasons")
_WHOLE, _REAL = ("row", "line"), ("x", "y", "sigma", "radius")
_LINES_AT_ONCE = 100_000


def is_reason(word: str) -> bool:
    """Whether a flag sends a person to the point that has it."""
    return word in REASONS


def provenance_path(table: Path) -> Path:
    """The sidecar of a filled table: ``filled.csv`` -> ``filled.provenance.csv``."""
    return beside(table, "provenance.csv")


def sources_path(table: Path) -> Path:
    """What holds for all fills of a source and keypoint: ``filled.sources.csv``."""
    return beside(table, "sources.csv")


def distrust_path(table: Path) -> Path:
    """Where the labels stand that were not trusted when a table was filled: ``filled.distrust.csv``."""
    return beside(table, "distrust.csv")


def harmonised_path(table: Path) -> Path:
    """The table in one convention beside a filled one: ``filled.csv.gz`` -> ``filled.harmonised.csv.gz``."""
    return beside(table, f"harmonised{_divided(table.name)[1]}")


def beside(table: Path, ending: str) -> Path:
    """``filled.csv`` -> ``filled.ENDING``."""
    return table.with_name(f"{_divided(table.name)[0]}.{ending}")


def _divided(name: str) -> tuple[str, str]:
    """A table's name without its suffix, and the suffix."""
    for suffix in (".csv.gz", ".csv", ".zip", ".json", ".parquet"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def write_provenance(out: BinaryIO, dataset: Dataset, fills: OwnFills, sources: Sources, model: str) -> None:
    """The sidecar: one line per filled keypoint, in row and keypoint order."""
    lines = _provenance(dataset, fills, sources, model)
    out.writelines(as_csv(itertools.chain([PROVENANCE_COLUMNS], lines)))


def write_review(out: BinaryIO, dataset: Dataset, fills: OwnFills) -> None:
    """What a person should look at first: points in order of doubt, with the reasons."""
    out.writelines(as_csv(itertools.chain([REVIEW_COLUMNS], _review(dataset, fills))))


def _review(dataset: Dataset, fills: OwnFills) -> Iterator[list[str]]:
    order = review_order(fills.radius, fills.flags)
    for (row, k), severity, reasons in zip(order.points.tolist(), order.severity, order.reasons, strict=True):
        radius = fills.radius[row, k]
        yield [
            *_point(dataset, fills, row, k), f"{radius:.3f}" if np.isfinite(radius) else "",
            f"{severity:.2f}", reasons,
        ]  # fmt: skip


def _point(dataset: Dataset, fills: OwnFills, row: int, k: int) -> list[str]:
    """Where a point stands in the table, its name, x and y."""
    table, filled = dataset.table, fills.xy[row, k]
    xy = np.where(np.isfinite(filled), filled, table.labels[row, k])
    place = [str(row), str(table.lines[row]), dataset.schema.keypoints[k]]
    return [*place, *(coordinate_text(value).decode() for value in xy)]


def require_parquet() -> None:
    """Raise `UsageError` if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError("--parquet needs pyarrow: pip install 'labelfill[parquet]'") from error


def write_parquet(out: BinaryIO, dataset: Dataset, fills: OwnFills, sources: Sources, model: str) -> None:
    r"""The same sidecar as Parquet: the same columns and values, numbers as numbers.

    Bytes of names that are not UTF-8 stand as ``\xNN``, because Parquet's texts are UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {**dict.fromkeys(_WHOLE, pa.int64()), **dict.fromkeys(_REAL, pa.float64())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in PROVENANCE_COLUMNS])
    with pq.ParquetWriter(out, schema) as writer:
        lines = _provenance(dataset, fills, sources, model)
        while batch := list(itertools.islice(lines, _LINES_AT_ONCE)):
            columns = dict(zip(PROVENANCE_COLUMNS, zip(*batch, strict=True), strict=True))
            writer.write_table(pa.table({n: _typed(n, texts) for n, texts in columns.items()}, schema))


def _typed(name: str, texts: tuple[str, ...]) -> list[int] | list[float] | list[str]:
    if name in _WHOLE:
        return [int(text) for text in texts]
    if name in _REAL:
        return [float(text) for text in texts]
    return [text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for text in texts]


def _provenance(dataset: Dataset, fills: OwnFills, sources: Sources, model: str) -> Iterator[list[str]]:
    several = len(sources.groups.names) > 1
    for row, k in np.argwhere(fills.filled).tolist():
        new = np.isfinite(fills.xy[row, k])
        yield [
            *_point(dataset, fills, row, k),
            "xy" if new.all() else "x" if new[0] else "y",
            FillMethod(fills.method[row, k]).word,
            sources.groups.names[fills.conventions[row, k]] if several else "",
            f"{fills.sigma[row, k]:.3f}", f"{fills.radius[row, k]:.3f}", model, fills.flags[row, k],
        ]  # fmt: skip


@dataclass(frozen=True)
class ReviewOrder:
    """Points worth a look, worst first.

    Attributes
    ----------
    points
        (p, 2): row and keypoint of each.
    severity
        (p,): radius over the table's median radius, and 2 more for each further reason; falls.
    reasons
        (p,) words of `REASONS`, joined by spaces.
    """

    points: Integers
    severity: Array
    reasons: NDArray[np.object_]

    @property
    def rows(self) -> Integers:
        """(r,): rows with such a point, by their worst one."""
        rows, first = np.unique(self.points[:, 0], return_index=True)
        ordered: Integers = rows[np.argsort(first)]
        return ordered


def review_order(radius: Array, flags: NDArray[np.object_]) -> ReviewOrder:
    """Order the flagged points of a table by how much they deserve a look.

    Parameters
    ----------
    radius
        (n, K), px; NaN where nothing was filled.
    flags
        (n, K): words joined by spaces, empty where there are none. An observed label may have some too.
    """
    filled = np.isfinite(radius)
    typical = float(np.median(radius[filled])) if filled.any() else 1.0
    points, severity, reasons = [], [], []
    for row, k in np.argwhere(flags != "").tolist():
        words = [word for word in str(flags[row, k]).split() if is_reason(word)]
        if not words:
            continue
        size = radius[row, k] / max(typical, 1e-9) if filled[row, k] else 0.0
        points.append((row, k))
        severity.append(size + _REASON_WEIGHT * sum(word != "large-radius" for word in words))
        reasons.append(" ".join(words))
    order = np.argsort(-np.array(severity), kind="stable")
    return ReviewOrder(
        np.array(points, np.int64).reshape(-1, 2)[order],
        np.array(severity, np.float64)[order],
        np.array(reasons, dtype=object)[order],
    )
