"""Drawn keypoint tables of any kind: sources with missing patterns and conventions, gaps, copies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images
from labelfill.data.synthetic.drawing import draw
from labelfill.data.synthetic.heads import (
    KAGGLE_KEYPOINTS,
    LANDMARKS,
    REFERENCE_SIDE,
    aim,
    draw_heads,
    landmarks,
)
from labelfill.errors import UsageError
from labelfill.schema import ImageSize, KeypointSchema, mirrored_name

SQUARE = ImageSize(round(REFERENCE_SIDE), round(REFERENCE_SIDE))
"""The size of Kaggle's images."""

LABEL_NOISE = 0.6
"""Standard deviation of an annotator's error in px of a `SQUARE` image, for a keypoint of middling ease."""

Seed = int | tuple[int, ...]
"""Not negative; several numbers where one seed has to give several tables."""

_DRAWING, _LABELLING = 1, 2  # stages with a generator each

_EASE = {"eye_center": 0.7, "corner": 0.9, "eyebrow": 1.3, "nose": 1.1, "lip": 1.0, "cheek": 1.3, "chin": 1.3}
"""A factor on the noise for landmarks whose name holds a word; the first that it holds counts."""


@dataclass(frozen=True)
class Source:
    """Rows of a table that the same people labelled: what they labelled, and what they meant by it.

    Parameters
    ----------
    name
        What stands in the column ``source``.
    share
        Share of the table's rows; the shares of a table's sources sum to 1.
    labels
        The keypoints that these people labelled; None for all, ``()`` for none.
    means
        For a keypoint that they mark elsewhere, the landmark where they mark it.
    rows_with_gaps
        Share of their rows that lack a few of those labels: one or two mostly, rarely nearly all.
    noise
        Standard deviation of their labels in px of an image of `SQUARE`; it grows with the image.
    """

    name: str = "1"
    share: float = 1.0
    labels: tuple[str, ...] | None = None
    means: Mapping[str, str] = field(default_factory=dict)
    rows_with_gaps: float = 0.0
    noise: float = LABEL_NOISE


KAGGLE_SOURCES = (
    Source("1", 2284 / 7049, rows_with_gaps=0.06),
    Source(
        "2",
        4765 / 7049,
        labels=("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip"),
        means={"nose_tip": "nose_base", "mouth_center_bottom_lip": "mouth_center"},
        rows_with_gaps=0.002,
    ),
)
"""Kaggle's two sources with their shares, missing patterns and conventions."""


@dataclass(frozen=True)
class DrawnFaces:
    """Pictures of faces with every landmark known.

    Attributes
    ----------
    images
        Grey values, uint8 (n, H, W).
    landmarks
        Name of each of `LANDMARKS` to its place (n, 2) in px.
    """

    images: Images
    landmarks: Mapping[str, Array]
    image_size: ImageSize


@dataclass(frozen=True)
class DrawnTable:
    """A partially labelled table with everything known that its labels leave out.

    Attributes
    ----------
    schema
        Keypoints and image size.
    images
        Grey values, uint8 (n, H, W).
    labels
        What annotators wrote, px (n, K, 2), NaN where they wrote nothing.
    truth
        Without noise and gaps, px (n, K, 2), every row in the first source's convention.
    own_truth
        The same, each row in its own source's convention.
    sources
        The name of each row's source (n,).
    copy_of
        For a row whose image is another row's, possibly mirrored, that row; -1 for the others. int64 (n,).
    mirrored
        Whether a copy is mirrored, bool (n,).
    """

    schema: KeypointSchema
    images: Images
    labels: Array
    truth: Array
    own_truth: Array
    sources: tuple[str, ...]
    copy_of: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        return len(self.images)

    def labelled(self, labels: Array | None) -> DrawnTable:
        """The same with other labels; None: of no keypoints."""
        if labels is None:
            none = replace(self.schema, keypoints=())
            return replace(self, schema=none, labels=self.labels[:, :0])
        return replace(self, labels=labels)


def _generator(seed: Seed, stage: int) -> np.random.Generator:
    return np.random.default_rng([*((seed,) if isinstance(seed, int) else seed), stage])


def draw_faces(rows: int, seed: Seed, image_size: ImageSize = SQUARE) -> DrawnFaces:
    """Grey faces that differ in identity, expression, pose, light, background and picture quality.

    The same arguments give the same bytes.
    """
    rng = _generator(seed, _DRAWING)
    heads = draw_heads(rows, rng)
    camera = aim(heads, image_size)
    points = landmarks(heads)
    places = camera.project(np.stack([points[name] for name in LANDMARKS], 1))  # (n, L, 2)
    images = np.empty((rows, image_size.height, image_size.width), np.uint8)
    for part, drawn in draw(heads, camera, image_size, rng):
        images[part] = drawn
    return DrawnFaces(images, {name: places[:, i] for i, name in enumerate(LANDMARKS)}, image_size)


def draw_table(
    rows: int,
    seed: Seed = 0,
    *,
    keypoints: Sequence[str] | Mapping[str, str] = KAGGLE_KEYPOINTS,
    image_size: ImageSize = SQUARE,
    sources: Sequence[Source] = (Source(),),
    gaps: float = 0.0,
    copies: float = 0.0,
) -> DrawnTable:
    """Draw faces and have them labelled.

    Parameters
    ----------
    rows, seed
        The same arguments give the same bytes.
    keypoints
        Names out of `LANDMARKS`; or a mapping from any names to landmarks.
    sources
        They follow each other in the table, each with its share of the rows.
    gaps
        The chance of each label to be missing, besides those that a row's source never gives.
    copies
        Share of the rows that repeat the image of another row, of another source if there are several; every
        second one is mirrored. Their labels are the copying source's own, with noise of their own.

    Raises
    ------
    UsageError
        If a landmark, a keypoint or a share makes no sense.
    """
    meant = dict(keypoints) if isinstance(keypoints, Mapping) else {name: name for name in keypoints}
    _check(meant, sources, {"gaps": gaps, "copies": copies})
    faces = draw_faces(rows, seed, image_size)
    rng = _generator(seed, _LABELLING)
    schema = KeypointSchema(tuple(meant), image_size)
    of_row = source_of_rows(rows, [source.share for source in sources])
    copy_of, mirrored = _choose_copies(of_row, copies, rng)
    images = faces.images
    images[copy_of >= 0] = images[copy_of[copy_of >= 0]]
    images[mirrored] = images[mirrored, :, ::-1]

    meanings = [{**meant, **source.means} for source in sources]
    places = [_places(faces, meaning, copy_of, mirrored) for meaning in meanings]
    meant_places = np.stack(places)[of_row, np.arange(rows)]  # (n, K, 2)
    scale = min(image_size.height, image_size.width) / REFERENCE_SIDE
    spread = np.stack([[_ease(meaning[name]) for name in schema.keypoints] for meaning in meanings])[of_row]
    noise = np.array([source.noise for source in sources])[of_row] * scale
    labels = meant_places + noise[:, None, None] * spread[..., None] * rng.standard_normal(meant_places.shape)
    labelled = [
        [source.labels is None or name in source.labels for name in schema.keypoints] for source in sources
    ]
    given = np.array(labelled)[of_row]  # (n, K)
    given &= rng.random(given.shape) >= gaps
    for i, source in enumerate(sources):
        given[of_row == i] &= ~_row_gaps(given[of_row == i], source.rows_with_gaps, rng)
    labels[~given] = np.nan
    names = tuple(sources[i].name for i in of_row)
    return DrawnTable(schema, images, labels, places[0], meant_places, names, copy_of, mirrored)


def source_of_rows(rows: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """The index of each row's source, int64 (n,): the sources follow each other."""
    ends = np.rint(np.cumsum(shares) * rows)
    return np.searchsorted(ends, np.arange(rows), side="right").clip(max=len(shares) - 1)


def _check(meant: Mapping[str, str], sources: Sequence[Source], shares: Mapping[str, float]) -> None:
    if not meant:
        raise UsageError("a drawn table needs at least one keypoint")
    if not sources or abs(sum(source.share for source in sources) - 1) > 1e-6:
        raise UsageError("the shares of a drawn table's sources have to sum to 1")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"{name} is a share between 0 and 1, not {share}")
    for source in sources:
        for keypoint in (*(source.labels or ()), *source.means):
            if keypoint not in meant:
                raise UsageError(f"source {source.name!r} labels {keypoint!r}, no keypoint of the table")
    for landmark in (*meant.values(), *(place for source in sources for place in source.means.values())):
        if landmark not in LANDMARKS:
            raise UsageError(f"no landmark {landmark!r} can be drawn; there are {', '.join(LANDMARKS)}")


def _ease(landmark: str) -> float:
    return next((factor for word, factor in _EASE.items() if word in landmark), 1.0)


def _places(
    faces: DrawnFaces, meaning: Mapping[str, str], copy_of: NDArray[np.int64], mirrored: NDArray[np.bool_]
) -> Array:
    """Where each keypoint lies by one source's meaning, px (n, K, 2), in the images after copying."""
    origin = np.where(copy_of >= 0, copy_of, np.arange(len(copy_of)))
    straight = np.stack([faces.landmarks[place][origin] for place in meaning.values()], 1)
    flipped = np.stack([faces.landmarks[mirrored_name(place)][origin] for place in meaning.values()], 1)
    flipped[..., 0] = (faces.image_size.width - 1) - flipped[..., 0]
    return np.where(mirrored[:, None, None], flipped, straight)


def _choose_copies(
    of_row: NDArray[np.int64], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which rows repeat which others' images, and whether mirrored; an original is never itself a copy."""
    rows = len(of_row)
    copy_of, mirrored = np.full(rows, -1), np.zeros(rows, bool)
    copies = rng.permutation(rows)[: round(share * rows)]
    originals = np.setdiff1d(np.arange(rows), copies)
    for i, row in enumerate(copies):
        elsewhere = originals[of_row[originals] != of_row[row]]
        choice = elsewhere if len(elsewhere) else originals
        if len(choice):
            copy_of[row], mirrored[row] = rng.choice(choice), i % 2 == 1
    return copy_of, mirrored


def _row_gaps(given: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Labels (n, K) that a share of the rows lack: one or two of them mostly, sometimes many."""
    gaps = np.zeros_like(given)
    count = math.ceil(share * len(given))  # rounded up: a small table still shows the rare patterns
    for row in rng.permutation(len(given))[:count]:
        labels = np.flatnonzero(given[row])
        if len(labels) > 1:
            several = min(int(rng.geometric(0.5)), len(labels) - 1)
            gaps[row, rng.choice(labels, several, replace=False)] = True
    return gaps
