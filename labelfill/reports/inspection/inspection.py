"""What is in a table, found before anything is trained.

Counts of labels, rows whose labels look wrong, images that repeat or show nothing, and which rows
belong to which label source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.lookalikes import Disagreement, Group, find_disagreement, find_lookalikes
from labelfill.reports.inspection.suspects import Suspect, find_suspects
from labelfill.sources.groups import SourceGroups

_EXTREMES = 6
_EXAMPLES = 12
_BLACK = 16.0  # grey levels


@dataclass(frozen=True)
class Pattern:
    """Rows that label the same coordinates."""

    observed: Mask  # (K, 2)
    rows: int


@dataclass(frozen=True)
class LabelCounts:
    """How many labels there are.

    Attributes
    ----------
    missing
        (K, 2): blank cells of each coordinate.
    per_row
        (K + 1,): rows with so many labelled keypoints (both coordinates).
    half_labelled
        (K,): labels with one coordinate of two.
    patterns
        Most frequent first.
    off_image
        (K,): labels beyond the image; None if the image size is not known.
    """

    rows: int
    missing: Integers
    per_row: Integers
    half_labelled: Integers
    patterns: tuple[Pattern, ...]
    off_image: Integers | None

    @property
    def complete_rows(self) -> int:
        return int(self.per_row[-1])

    @property
    def blank(self) -> int:
        return int(self.missing.sum())

    @property
    def share_blank(self) -> float:
        """Of all coordinates."""
        return self.blank / max(self.rows * self.missing.size, 1)


@dataclass(frozen=True)
class ImageFindings:
    """What the images are like.

    Attributes
    ----------
    black, flat
        Rows whose image shows nothing: nearly black, and of any other grey.
    brightness, contrast
        (n,): mean and standard deviation of the grey levels.
    extremes
        Rows at the ends of both scales with their values, the most extreme first; flat images left out.
    identical, near
        Groups of rows with the same image, and with nearly the same; None: not looked for.
    """

    black: tuple[int, ...]
    flat: tuple[int, ...]
    brightness: Array
    contrast: Array
    extremes: Mapping[str, tuple[tuple[int, float], ...]]
    identical: tuple[Group, ...]
    near: tuple[Group, ...] | None
    disagreement: Disagreement

    @property
    def repeats(self) -> int:
        """How many rows repeat the image of an earlier row, pixel by pixel or mirrored."""
        return sum(len(group) - 1 for group in self.identical)


@dataclass(frozen=True)
class SourceCounts:
    """How many rows a label source has, and how many of them label each keypoint (K,)."""

    name: str
    rows: int
    labelled: Integers

    def usual_keypoints(self, names: Sequence[str]) -> str:
        """Those that most of its rows label."""
        usual = [name for name, n in zip(names, self.labelled.tolist(), strict=True) if n >= self.rows / 2]
        return ", ".join(usual) or "none"


@dataclass(frozen=True)
class Inspection:
    """All that was found in a table.

    Attributes
    ----------
    suspects
        Rows whose labels look wrong, worst first: all that are flagged, and the next up to 20 in all.
    images
        None for a table without images.
    examples
        Rows to show, from all sources.
    """

    table: InspectedTable
    labels: LabelCounts
    sources: tuple[SourceCounts, ...]
    suspects: tuple[Suspect, ...]
    images: ImageFindings | None
    examples: tuple[int, ...]

    @property
    def rows_of_unknown_source(self) -> int:
        return int((self.table.source_of < 0).sum())

    @property
    def flagged(self) -> tuple[Suspect, ...]:
        return tuple(suspect for suspect in self.suspects if suspect.flagged)

    @property
    def distrusted(self) -> tuple[tuple[int, str], ...]:
        """(row, keypoint) of every label in question in the flagged rows, in the table's order."""
        pairs = sorted((suspect.row, k) for suspect in self.flagged for k in suspect.keypoints)
        return tuple((row, self.table.schema.keypoints[k]) for row, k in pairs)


def inspect(table: InspectedTable, *, seed: int = 0, show_progress: bool = False) -> Inspection:
    """Inspect a table, which may have no keypoint.

    Parameters
    ----------
    seed
        Of the examples, and of the folds in which labels are judged.
    """
    images = None if table.images is None else _inspect_images(table, show_progress)
    suspects = find_suspects(table, seed=seed, show_progress=show_progress) if table.schema.count else ()
    sources = count_sources(table.sources, table.source_of, table.labelled)
    return Inspection(
        table, count_labels(table), sources, suspects, images, _choose_examples(table, images, seed)
    )


def count_sources(sources: SourceGroups, source_of: Integers, labelled: Mask) -> tuple[SourceCounts, ...]:
    """Count each source's rows among those with these sources (n,) and labels (n, K)."""
    members = [labelled[source_of == number] for number in range(len(sources.names))]
    return tuple(
        SourceCounts(name, len(rows), rows.sum(axis=0))
        for name, rows in zip(sources.names, members, strict=True)
    )


def count_labels(table: InspectedTable) -> LabelCounts:
    """Count what labels there are."""
    labels, labelled, schema = table.labels, table.labelled, table.schema
    observed = np.isfinite(labels)
    per_row = np.bincount(labelled.sum(axis=1), minlength=schema.count + 1)
    flat = observed.reshape(len(labels), 2 * schema.count)
    distinct, counts = (
        np.unique(flat, axis=0, return_counts=True) if schema.count else (flat[:1], [len(flat)])
    )
    order = np.argsort(-np.asarray(counts), kind="stable")
    patterns = tuple(Pattern(distinct[i].reshape(-1, 2), int(counts[i])) for i in order)
    off_image = (labelled & ~schema.on_image(labels)).sum(axis=0) if table.frame_known else None
    half = np.any(observed, axis=2) & ~labelled
    return LabelCounts(len(labels), (~observed).sum(axis=0), per_row, half.sum(axis=0), patterns, off_image)


def _inspect_images(table: InspectedTable, show_progress: bool) -> ImageFindings:
    assert table.images is not None
    brightness, contrast = table.grey_levels
    black = table.flat & (brightness < _BLACK)
    identical, near = find_lookalikes(table.images, table.flat, show_progress=show_progress)
    looked_at = np.flatnonzero(~table.flat)
    ends = {"darkest": brightness, "brightest": -brightness, "lowest contrast": contrast,
            "highest contrast": -contrast}  # fmt: skip
    extremes = {}
    for title, values in ends.items():
        rows = looked_at[np.argsort(values[looked_at], kind="stable")][:_EXTREMES]
        extremes[title] = tuple(zip(rows.tolist(), np.abs(values[rows]).tolist(), strict=True))
    return ImageFindings(
        black=tuple(np.flatnonzero(black).tolist()),
        flat=tuple(np.flatnonzero(table.flat & ~black).tolist()),
        brightness=brightness,
        contrast=contrast,
        extremes=extremes,
        identical=identical,
        near=near,
        disagreement=find_disagreement([*identical, *(near or ())], table),
    )


def _choose_examples(table: InspectedTable, images: ImageFindings | None, seed: int) -> tuple[int, ...]:
    """Random rows with labels, the same number from each source."""
    labels = table.labels
    usable = np.any(np.isfinite(labels), axis=(1, 2)) if labels.size else np.ones(len(labels), bool)
    if images is not None:
        usable[[*images.black, *images.flat]] = False
    order = np.random.default_rng([seed, 0xE7A]).permutation(len(labels))
    chosen: list[int] = []
    groups = np.unique(table.source_of[usable])
    for g in groups:
        rows = order[(usable & (table.source_of == g))[order]]
        chosen += rows[: max(1, _EXAMPLES // len(groups))].tolist()
    return tuple(sorted(chosen))
