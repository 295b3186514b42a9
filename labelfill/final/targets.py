"""What the final network learns from: a filled table's coordinates, and how much each counts."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.data.dataset import Dataset, read_dataset
from labelfill.data.formats import read_keypoints
from labelfill.errors import DataError
from labelfill.filling.fills import HALF_WEIGHT
from labelfill.filling.provenance import PROVENANCE_COLUMNS, provenance_path
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.sources.conventions import ConventionOffset

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Filled:
    """A filled table that knows which of its coordinates were observed.

    Attributes
    ----------
    observed
        (n, K, 2): which coordinates a person made.
    sigma
        (n, K), px of the frame: stated for fills; 0 where a fill is to be trusted like a label.
    confirmed
        (n, K): fills that a person confirmed; None if there are none.
    harmonised
        Whether disputed keypoints stand in one convention in all rows.
    """

    dataset: Dataset
    observed: Mask
    sigma: Array
    confirmed: Mask | None = None
    harmonised: bool = False

    @property
    def labels(self) -> Array:
        """(n, K, 2), px: observed and confirmed coordinates only."""
        known = self.observed if self.confirmed is None else self.observed | self.confirmed[..., None]
        return np.where(known, self.dataset.labels, np.nan)

    def in_order_of(self, keypoints: tuple[str, ...]) -> Filled:
        """The same with its keypoints in another order."""
        order = [self.dataset.schema.index(keypoint) for keypoint in keypoints]
        return replace(
            self,
            dataset=self.dataset.in_order_of(keypoints),
            observed=self.observed[:, order],
            sigma=self.sigma[:, order],
            confirmed=None if self.confirmed is None else self.confirmed[:, order],
        )


def read_filled(
    path: Path,
    original: Path | None,
    size: ImageSize | None,
    cache: Path | None,
    *,
    framed: bool = False,
    images_beside: Path | None = None,
    allow_outside: bool = False,
    progress: bool = False,
) -> Filled:
    """Read a filled table, and its sidecar or the table before it was filled; its images are of `size`.

    Parameters
    ----------
    cache
        Keeps what was read; None: nothing is kept.
    framed
        Whether `size` is a frame in which images of any size are placed.
    images_beside
        The table before it was filled, if it is known: ``image_path`` names files beside that one.

    Raises
    ------
    DataError
        If the sidecar is missing or belongs to another file, or `original` is another table.
    """
    dataset = read_dataset(
        path,
        image_size=size,
        framed=framed,
        filled=True,
        cache_dir=cache,
        images_beside=images_beside or original,
        allow_outside=allow_outside,
        show_progress=progress,
    )
    if original is not None:
        return _by_original(dataset, original)
    sidecar = provenance_path(path)
    if not sidecar.is_file():
        raise DataError(
            f"{path} has no sidecar {sidecar.name} that tells filled from observed cells; "
            "put it beside the table, or name the table before it was filled by --data ORIGINAL"
        )
    return _by_sidecar(dataset, sidecar)


def _by_original(dataset: Dataset, original: Path) -> Filled:
    table, before = dataset.table, read_keypoints(original, require_images=False)
    if before.keypoints != dataset.schema.keypoints or before.rows != table.rows:
        raise DataError(
            f"{original} is not {table.path} before it was filled: it has {before.rows} rows and "
            f"{len(before.keypoints)} keypoints, not {table.rows} and {dataset.schema.count}"
        )
    observed = before.observed
    altered = observed & ~(np.abs(before.labels - table.labels) < 1e-9)
    if altered.any():
        row, k, axis = (int(i[0]) for i in np.nonzero(altered))
        raise DataError(
            f"{original} is not {table.path} before it was filled: row {row} (line {table.lines[row]}), "
            f"column {dataset.schema.columns[2 * k + axis]!r} was {before.labels[row, k, axis]:g} and is "
            f"{table.labels[row, k, axis]:g}"
        )
    return Filled(dataset, observed, np.zeros(observed.shape[:2]))


def _by_sidecar(dataset: Dataset, sidecar: Path) -> Filled:
    table, index = dataset.table, {name: k for k, name in enumerate(dataset.schema.keypoints)}
    observed = table.observed.copy()
    sigma, confirmed, harmonised = np.zeros(observed.shape[:2]), np.zeros(observed.shape[:2], bool), False
    with open(sidecar, newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != PROVENANCE_COLUMNS:
            raise DataError(
                f"{sidecar} is not a sidecar of labelfill: its header differs; run `labelfill impute` again"
            )
        for number, entry in enumerate(reader, 2):
            try:
                row, k = int(entry["row"]), index[entry["keypoint"]]
                xy = np.array([float(entry["x"]), float(entry["y"])])
                sigma[row, k] = float(entry["sigma"])
                new = np.array([axis in entry["filled"] for axis in "xy"])
                matches = int(entry["line"]) == table.lines[row]
                matches &= bool((np.abs(table.labels[row, k] - xy)[new] < 6e-5).all()) and new.any()
            except (KeyError, ValueError, IndexError, TypeError):
                matches = False
            if not matches:
                raise DataError(
                    f"{sidecar}, line {number}, does not match {table.path}: it belongs to another file, or "
                    "one of the two was changed; run `labelfill impute` again, or name the table before "
                    "it was "
                    "filled by --data ORIGINAL"
                )
            observed[row, k] &= ~new
            harmonised |= entry["method"] == "harmonised"
            if entry["method"] == "confirmed":
                confirmed[row, k], sigma[row, k] = True, 0.0  # as good as a label
    return Filled(dataset, observed, dataset.lengths_in_frame(sigma), confirmed, harmonised)


@dataclass(frozen=True)
class Heads:
    """What the final network answers: all keypoints, then disputed ones in further conventions.

    Attributes
    ----------
    further
        (keypoint, group) of each further head.
    """

    keypoints: int
    further: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        return self.keypoints + len(self.further)

    def outputs(self, separate: bool) -> tuple[int, ...]:
        """How many heads each network has: one network, or with `separate` one for each group's heads."""
        if not separate:
            return (self.count,)
        groups = sorted({group for _, group in self.further})
        return (self.keypoints, *(sum(own == group for _, own in self.further) for group in groups))

    def partners(self, partners: tuple[int, ...]) -> tuple[int, ...]:
        """Mirror partners of all heads."""
        index = {head: self.keypoints + number for number, head in enumerate(self.further)}
        others = [
            index.get((partners[k], group), -1) if partners[k] >= 0 else -1 for k, group in self.further
        ]
        return (*partners, *others)

    def in_convention(self, answer: Array, groups: NDArray[np.int64]) -> Array:
        """(n, K, ...) from (n, heads, ...): each row in its own group's convention."""
        own = answer[:, : self.keypoints].copy()
        for number, (k, group) in enumerate(self.further):
            rows = groups == group
            own[rows, k] = answer[rows, self.keypoints + number]
        return own


@dataclass(frozen=True)
class Targets:
    """Targets of all heads.

    Attributes
    ----------
    xy, weight
        (n, heads, 2) px and (n, heads).
    observed
        (n, heads): whether a person labelled it, in that head's convention: what is scored.
    """

    xy: Array
    weight: Array
    observed: Mask


def make_targets(
    filled: Filled,
    heads: Heads,
    offsets: list[ConventionOffset],
    groups: NDArray[np.int64],
    moved: tuple[Array, Array] | None,
) -> Targets:
    """Targets and weights of every head.

    Parameters
    ----------
    groups
        (n,) label source of each row.
    moved
        Positions (n, K, 2) and variances (n, K, 2) in the reference convention, of labels that are in
        another; None takes every value as it stands.
    """
    schema: KeypointSchema = filled.dataset.schema
    s0 = _half_variance(schema)
    values = filled.dataset.labels
    count, k_count = len(values), heads.keypoints
    xy = np.full((count, heads.count, 2), np.nan)
    variance = np.full((count, heads.count), np.inf)
    person = np.zeros((count, heads.count), bool)
    whole = filled.observed.all(axis=2)
    xy[:, :k_count] = values
    variance[:, :k_count] = np.where(np.isfinite(values).all(axis=2), filled.sigma**2, np.inf)
    person[:, :k_count] = whole
    by_head = {head: k_count + number for number, head in enumerate(heads.further)}
    for offset in offsets:
        k, head = offset.keypoint, by_head.get((offset.keypoint, offset.group))
        if head is None or moved is None:
            continue
        away = groups == offset.group
        xy[away, head], variance[away, head], person[away, head] = (
            xy[away, k],
            variance[away, k],
            person[away, k],
        )
        xy[away, k], person[away, k] = moved[0][away, k], False
        variance[away, k] = moved[1][away, k].mean(axis=1)
        home = (groups == offset.reference) & np.isfinite(values[:, k]).all(axis=1)
        xy[home, head] = offset.in_group(values[home], values[home, k])
        variance[home, head] = offset.guess_variance.mean() + filled.sigma[home, k] ** 2
    return _weighed(xy, variance, person, s0)


def targets_by_source(filled: Filled, heads: Heads, groups: NDArray[np.int64], main: int) -> Targets:
    """Targets of heads that each learn from the rows of one source alone: the keypoints' from group `main`.

    Where a row's source has a head of its own for a keypoint, that head learns it, else none does.
    """
    values = filled.dataset.labels
    s0 = _half_variance(filled.dataset.schema)
    xy = np.full((len(values), heads.count, 2), np.nan)
    variance = np.full((len(values), heads.count), np.inf)
    person = np.zeros((len(values), heads.count), bool)
    by_head = [(k, main) for k in range(heads.keypoints)] + list(heads.further)
    for head, (k, group) in enumerate(by_head):
        own = groups == group
        xy[own, head], variance[own, head] = values[own, k], filled.sigma[own, k] ** 2
        person[own, head] = filled.observed[own, k].all(axis=1)
    return _weighed(xy, variance, person, s0)


def _half_variance(schema: KeypointSchema) -> float:
    return (HALF_WEIGHT * max(schema.image_size.height, schema.image_size.width)) ** 2


def _weighed(xy: Array, variance: Array, person: Mask, s0: float) -> Targets:
    known = np.isfinite(xy).all(axis=2) & np.isfinite(variance)
    weight = np.where(known, s0 / (s0 + np.where(known, variance, 0.0)), 0.0)
    return Targets(np.nan_to_num(xy), weight, person & known)
