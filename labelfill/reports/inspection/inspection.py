"""What is in a table, found before anything is trained: arrays in, findings out.

Counts of labels, rows whose labels look wrong, images that repeat or show nothing, and which rows
belong to which label source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Images, Integers, Mask
from labelfill.reports.inspection.brightness import FLAT, brightness_and_contrast
from labelfill.reports.inspection.lookalikes import (
    Disagreement,
    Lookalikes,
    find_disagreement,
    find_lookalikes,
)
from labelfill.reports.inspection.suspects import Suspect, find_suspects
from labelfill.schema import KeypointSchema
from labelfill.sources.groups import SourceGroups

EXTREMES = 6
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
    def cells(self) -> int:
        return self.rows * self.missing.size

    @property
    def blank(self) -> int:
        return int(self.missing.sum())


@dataclass(frozen=True)
class Extremes:
    """Rows at the ends of a scale of the images, the most extreme first; flat images left out."""

    title: str
    rows: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ImageFindings:
    """What the images are like.

    Attributes
    ----------
    black, flat
        Rows whose image shows nothing: nearly black, and of any other grey.
    brightness, contrast
        (n,): mean and standard deviation of the grey levels.
    lookalikes
        Groups of rows with the same image, or nearly the same; identical ones first.
    near_compared
        Whether nearly identical images were looked for: not in very large tables.
    """

    black: tuple[int, ...]
    flat: tuple[int, ...]
    brightness: Array
    contrast: Array
    extremes: tuple[Extremes, ...]
    lookalikes: tuple[Lookalikes, ...]
    near_compared: bool
    disagreement: Disagreement

    @property
    def identical(self) -> tuple[Lookalikes, ...]:
        return tuple(group for group in self.lookalikes if group.identical)

    @property
    def near(self) -> tuple[Lookalikes, ...]:
        return tuple(group for group in self.lookalikes if not group.identical)

    @property
    def repeats(self) -> int:
        """How many rows repeat the image of an earlier row, pixel by pixel or mirrored."""
        return sum(len(group.rows) - 1 for group in self.identical)


@dataclass(frozen=True)
class SourceFindings:
    """Label sources: groups of rows that were labelled by the same people.

    Attributes
    ----------
    names, column
        Of the sources, and the column that names them if one does.
    rows
        (g,): rows of each.
    labelled
        (g, K): rows of each source that label the keypoint.
    unknown
        Rows of no known source.
    """

    names: tuple[str, ...]
    column: str | None
    rows: Integers
    labelled: Integers
    unknown: int


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

    schema: KeypointSchema
    labels: LabelCounts
    sources: SourceFindings
    suspects: tuple[Suspect, ...]
    images: ImageFindings | None
    examples: tuple[int, ...]

    @property
    def flagged(self) -> tuple[Suspect, ...]:
        return tuple(suspect for suspect in self.suspects if suspect.flagged)

    @property
    def distrusted(self) -> tuple[tuple[int, str], ...]:
        """(row, keypoint) of every label in question in the flagged rows, in the table's order."""
        pairs = sorted((suspect.row, k) for suspect in self.flagged for k in suspect.keypoints)
        return tuple((row, self.schema.keypoints[k]) for row, k in pairs)


def inspect(
    labels: Array,
    schema: KeypointSchema,
    sources: SourceGroups,
    group_of: Integers,
    partners: Sequence[int],
    images: Images | None = None,
    *,
    frame_known: bool = True,
    seed: int = 0,
    show_progress: bool = False,
) -> Inspection:
    """Inspect a table.

    Parameters
    ----------
    labels
        (n, K, 2) px, NaN = blank. K may be 0.
    sources, group_of
        The label sources, and each row's (n,), -1 if unknown.
    partners
        Mirror partner of each keypoint, itself or -1 if there is none.
    images
        (n, H, W).
    frame_known
        Whether the schema's image size is that of images, not guessed from the labels.
    seed
        Of the examples, and of the folds in which labels are judged.
    """
    found = None
    if images is not None:
        found = _inspect_images(images, labels, schema, partners, group_of, show_progress)
    suspects: tuple[Suspect, ...] = ()
    if schema.count:
        suspects = find_suspects(
            labels,
            schema,
            group_of,
            partners,
            images,
            frame_known=frame_known,
            seed=seed,
            show_progress=show_progress,
        )
    return Inspection(
        schema,
        count_labels(labels, schema, frame_known=frame_known),
        _describe_sources(labels, sources, group_of),
        suspects,
        found,
        _choose_examples(labels, group_of, found, seed),
    )


def count_labels(labels: Array, schema: KeypointSchema, *, frame_known: bool = True) -> LabelCounts:
    """Count what labels (n, K, 2) px there are."""
    observed = np.isfinite(labels)
    labelled = np.all(observed, axis=2)
    per_row = np.bincount(labelled.sum(axis=1), minlength=schema.count + 1)
    flat = observed.reshape(len(labels), 2 * schema.count)
    distinct, counts = (
        np.unique(flat, axis=0, return_counts=True) if schema.count else (flat[:1], [len(flat)])
    )
    order = np.argsort(-np.asarray(counts), kind="stable")
    patterns = tuple(Pattern(distinct[i].reshape(-1, 2), int(counts[i])) for i in order)
    off_image = (labelled & ~schema.on_image(labels)).sum(axis=0) if frame_known else None
    half = np.any(observed, axis=2) & ~labelled
    return LabelCounts(len(labels), (~observed).sum(axis=0), per_row, half.sum(axis=0), patterns, off_image)


def _inspect_images(
    images: Images,
    labels: Array,
    schema: KeypointSchema,
    partners: Sequence[int],
    group_of: Integers,
    show_progress: bool,
) -> ImageFindings:
    brightness, contrast = brightness_and_contrast(images)
    flat: Mask = contrast < FLAT
    lookalikes, compared = find_lookalikes(images, flat, show_progress=show_progress)
    return ImageFindings(
        black=tuple(np.flatnonzero(flat & (brightness < _BLACK)).tolist()),
        flat=tuple(np.flatnonzero(flat & (brightness >= _BLACK)).tolist()),
        brightness=brightness,
        contrast=contrast,
        extremes=tuple(
            _extremes(title, values, flat, largest)
            for title, values, largest in (
                ("darkest", brightness, False),
                ("brightest", brightness, True),
                ("lowest contrast", contrast, False),
                ("highest contrast", contrast, True),
            )
        ),
        lookalikes=lookalikes,
        near_compared=compared,
        disagreement=find_disagreement(lookalikes, labels, schema, partners, group_of),
    )


def _extremes(title: str, values: Array, left_out: Mask, largest: bool) -> Extremes:
    rows = np.flatnonzero(~left_out)
    order = rows[np.argsort(-values[rows] if largest else values[rows], kind="stable")][:EXTREMES]
    return Extremes(title, tuple(order.tolist()), tuple(values[order].tolist()))


def _describe_sources(labels: Array, sources: SourceGroups, group_of: Integers) -> SourceFindings:
    labelled = np.all(np.isfinite(labels), axis=2)
    members = [group_of == g for g in range(len(sources.names))]
    return SourceFindings(
        sources.names,
        sources.column,
        np.array([rows.sum() for rows in members]),
        np.array([labelled[rows].sum(axis=0) for rows in members]).reshape(len(members), -1),
        int((group_of < 0).sum()),
    )


def _choose_examples(
    labels: Array, group_of: Integers, images: ImageFindings | None, seed: int
) -> tuple[int, ...]:
    """Random rows with labels, the same number from each source."""
    usable = np.any(np.isfinite(labels), axis=(1, 2)) if labels.size else np.ones(len(labels), bool)
    if images is not None:
        usable[[*images.black, *images.flat]] = False
    order = np.random.default_rng([seed, 0xE7A]).permutation(len(labels))
    chosen: list[int] = []
    groups = np.unique(group_of[usable])
    for g in groups:
        rows = order[(usable & (group_of == g))[order]]
        chosen += rows[: max(1, _EXAMPLES // len(groups))].tolist()
    return tuple(sorted(chosen))
