"""How good a table's fills are: in words, and for each source and keypoint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from labelfill.arrays import Array, Integers
from labelfill.data.dataset import Dataset
from labelfill.data.formats.tables import as_csv
from labelfill.filling.fills import FillMethod, OwnFills
from labelfill.filling.flags import source_flags
from labelfill.filling.provenance import is_reason
from labelfill.regressors.calibration.radii import Radii
from labelfill.sources.groups import UNKNOWN, SourceGroups

# The median error radius, as a share of the image's longer side, up to which a fill is called so. 2% is about
# what the final network errs by.
GOOD, FAIR = 0.02, 0.04

SOURCE_COLUMNS = ("source", "keypoint", "points", "flagged", "median_radius", "error_share", "flags")


def median_share(radius: Array, dataset: Dataset) -> float | None:
    """The median of error radii (n, K), px, as a share of the longer side of each row's image."""
    shares = (radius / dataset.own_sizes.max(axis=1)[:, None])[np.isfinite(radius)]
    return float(np.median(shares).round(4)) if len(shares) else None


def quality_word(share: float) -> str:
    """What a median error radius of such a share of the image's longer side is called."""
    return "good" if share <= GOOD else "fair" if share <= FAIR else "rough"


def quality_sentence(median_radius: float, share: float, image_size: str | None = None) -> str:
    """``rough: the median error radius is 4.3 px on images of 96x96``.

    Parameters
    ----------
    image_size
        None or empty if images differ in size, or if there are none.
    """
    px = f"{median_radius:.1f} px"
    where = f"{px} on images of {image_size}" if image_size else f"{px}, {share:.1%} of the longer side"
    return f"{quality_word(share)}: the median error radius is {where}"


def by_source(
    dataset: Dataset, fills: OwnFills, groups: Integers, sources: SourceGroups, radii: Radii | None
) -> list[dict[str, Any]]:
    """What holds for all fills of a source and keypoint, first where errors cost most.

    Parameters
    ----------
    groups
        (n,): the source of each row.

    Returns
    -------
    list of dict
        By the names of `SOURCE_COLUMNS`: how many points were filled, how many of them have a flag that sends
        a person to them, the median radius in px, the share of the expected squared error of the whole table,
        and the words that hold for all of them. The source is empty if the table has one, or if it is not
        known.
    """
    if radii is None or not fills.filled.any():
        return []
    error = np.where(fills.filled, dataset.lengths_in_frame(fills.sigma), 0.0) ** 2
    flagged = _flagged(fills)
    words = source_flags(radii, groups)
    unseen = fills.method != FillMethod.CONFIRMED
    found, keypoints = [], dataset.schema.keypoints
    for group, k in itertools.product(range(UNKNOWN, len(sources.names)), range(len(keypoints))):
        rows = np.flatnonzero((groups == group) & fills.filled[:, k])
        if not len(rows):
            continue
        holds = [word for word, points in words.items() if (points & unseen)[rows, k].any()]
        found.append({
            "source": sources.names[group] if len(sources.names) > 1 and group != UNKNOWN else "",
            "keypoint": keypoints[k],
            "points": len(rows),
            "flagged": int(flagged[rows, k].sum()),
            "median_radius": round(float(np.median(fills.radius[rows, k])), 3),
            "error_share": round(float(error[rows, k].sum() / max(error.sum(), 1e-12)), 4),
            "flags": " ".join(holds),
        })  # fmt: skip
    return sorted(found, key=lambda entry: -entry["error_share"])


def _flagged(fills: OwnFills) -> Array:
    """(n, K): fills that a flag sends a person to."""
    flagged = np.zeros(fills.filled.shape, bool)
    for row, k in np.argwhere(fills.filled & (fills.flags != "")).tolist():
        flagged[row, k] = any(map(is_reason, str(fills.flags[row, k]).split()))
    return flagged


def write_sources(out: BinaryIO, entries: Sequence[Mapping[str, Any]]) -> None:
    """A line for each source and keypoint."""

    def lines() -> Iterator[Sequence[object]]:
        yield SOURCE_COLUMNS
        for entry in entries:
            yield [
                f"{entry[name]:.3f}" if name == "median_radius" else entry[name] for name in SOURCE_COLUMNS
            ]

    out.writelines(as_csv(lines()))
