"""A keypoint table together with its images: what every command starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images, Integers
from labelfill.data.formats import declared_occluded
from labelfill.data.frame import assumed_frame
from labelfill.data.images.identity import content_ids, fingerprint
from labelfill.data.reading_options import USUAL, ReadingOptions
from labelfill.data.showing import Layer, as_html, check_row, draw_row, one_line
from labelfill.data.table import KeypointTable, NoImagesError, lacks_images
from labelfill.errors import DataError
from labelfill.schema import ImageSize, KeypointSchema, Placements

if TYPE_CHECKING:
    import pandas as pd

# Rows that agree in so many points to the last digit are of one image; in fewer they may be by chance.
_LEAST_POINTS = 3


@dataclass(frozen=True, repr=False)
class Dataset:
    """A table, what its coordinates mean, and its images.

    Attributes
    ----------
    images
        (n, H, W) uint8, read-only, memory-mapped if there is a cache; None if the table has no
        images or none were asked for.
    image_size_assumed
        Whether nobody stated the image size: a square was assumed, without images by the labels' extent.
    distrusted
        (n, K): labels that stay in the table as they are, and are not to be learnt from; None if there
        are none.
    confirmed
        (n, K, 2), own px: where a person says that blank coordinates lie; NaN elsewhere. None if nowhere.
    placements
        Where each row's image lies in the frame, if they differ in size; None: the frame is the image.
    images_beside
        The file whose folder ``image_path`` is relative to, if that is not the table.
    reading
        How the file's values were understood; of 16-bit images, how many bits are used.
    """

    table: KeypointTable
    schema: KeypointSchema
    images: Images | None
    image_size_assumed: bool
    distrusted: NDArray[np.bool_] | None = None
    confirmed: Array | None = None
    placements: Placements | None = None
    images_beside: Path | None = None
    reading: ReadingOptions = USUAL

    def __repr__(self) -> str:
        size = "without images" if self.images is None else f"images of {self.schema.image_size}"
        return f"{type(self).__name__} {self.table.path.name}: {one_line(self.table.labels, size)}"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self.schema.keypoints, self.table.labels)

    def to_pandas(self) -> pd.DataFrame:
        """One row per image: further columns as text, then ``<keypoint>_x`` and ``<keypoint>_y``, own px."""
        return self.table.to_pandas()

    def plot(self, row: int, ax: Any = None) -> Any:
        """Draw the labels of a row on its image; the matplotlib axes.

        Parameters
        ----------
        row
            Counted from 0.
        ax
            Axes to draw into; None: those of a new figure.

        Raises
        ------
        UsageError
            If there is no such row, or matplotlib is not installed.
        """
        row = check_row(row, self.table.rows)
        size, image = self.schema.image_size, None if self.images is None else self.images[row]
        layers = [Layer(self.all_labels[row], "label")]
        return draw_row(image, (size.height, size.width), layers, f"row {row}", ax)

    @property
    def occluded(self) -> NDArray[np.bool_] | None:
        """(n, K): points that the table declares hidden, their place unknown; None if it declares none."""
        return declared_occluded(self.table)

    @property
    def labels(self) -> Array:
        """(n, K, 2), px of the frame: what is taken as known; NaN elsewhere.

        That is the table's labels less those that are distrusted or astray, and what a person confirmed of
        its blank coordinates.
        """
        labels = self.table.labels
        if self.confirmed is not None:
            labels = np.where(np.isnan(labels), self.confirmed, labels)
        left_out: NDArray[np.bool_] = np.any(self.astray, axis=2)
        if self.distrusted is not None:
            left_out |= self.distrusted
        return self._in_frame(np.where(left_out[..., None], np.nan, labels))

    @property
    def all_labels(self) -> Array:
        """(n, K, 2), px of the frame: every label of the table."""
        return self._in_frame(self.table.labels)

    @property
    def astray(self) -> NDArray[np.bool_]:
        """(n, K, 2): coordinates further beyond the image than it is large.

        Those are slips of the pen, such as a lost decimal point: they stay in the table, and nothing is
        learnt from them.
        """
        labels, size = self.all_labels, self.schema.image_size
        reach = np.array([size.width, size.height])
        return (labels < -reach) | (labels > 2 * reach)

    def in_own_px(self, xy: Array) -> Array:
        """Points (n, K, 2) in px of the frame as px of each row's own image."""
        return xy if self.placements is None else self.placements.to_own(xy)

    def lengths_in_own_px(self, lengths: Array) -> Array:
        """Lengths (n, K), such as sigma, in px of the frame as px of each row's own image."""
        return lengths if self.placements is None else self.placements.lengths_to_own(lengths)

    def lengths_in_frame(self, lengths: Array) -> Array:
        """The other way round."""
        return lengths if self.placements is None else self.placements.lengths_to_frame(lengths)

    @property
    def own_sizes(self) -> Array:
        """(n, 2), px: height and width of what is looked at of each row's image."""
        size = self.schema.image_size
        if self.placements is None:
            return np.tile([float(size.height), float(size.width)], (self.table.rows, 1))
        return self.placements.extents

    def on_image(self, xy: Array) -> NDArray[np.bool_]:
        """(n, K): whether points (n, K, 2) in px of the frame lie on their own image, if one is known."""
        if self.images is None and self.image_size_assumed:
            return np.ones(xy.shape[:-1], bool)
        if self.placements is None:
            return self.schema.on_image(xy)
        return self.placements.on_image(self.placements.to_own(xy))

    def onto_image(self, xy: Array, rows: slice) -> Array:
        """Points (m, K, 2) of some rows, px of their own images, moved onto these."""
        return self.schema.clipped(xy) if self.placements is None else self.placements.take(rows).clipped(xy)

    def _in_frame(self, xy: Array) -> Array:
        return xy if self.placements is None else self.placements.to_frame(xy)

    def in_order_of(self, keypoints: tuple[str, ...]) -> Dataset:
        """The same with its keypoints in another order."""
        order = [self.schema.keypoints.index(keypoint) for keypoint in keypoints]
        labels, spans = self.table.labels[:, order], self.table.field_spans[:, order]
        blank = self.table.declared_blank
        if blank is not None:
            blank = blank[:, order]
        return replace(
            self,
            table=replace(
                self.table, keypoints=keypoints, labels=labels, field_spans=spans, declared_blank=blank
            ),
            schema=replace(self.schema, keypoints=keypoints),
            distrusted=None if self.distrusted is None else self.distrusted[:, order],
            confirmed=None if self.confirmed is None else self.confirmed[:, order],
        )


@dataclass(frozen=True, repr=False)
class ImageDataset(Dataset):
    """A dataset that has images."""

    images: Images

    @classmethod
    def of(cls, dataset: Dataset) -> ImageDataset:
        """The same where images are looked at.

        Raises
        ------
        NoImagesError
            If it has none.
        """
        if dataset.images is None:
            raise NoImagesError(lacks_images(dataset.table))
        return cls(**vars(dataset))


def row_ids(dataset: Dataset, rows: Integers | None = None) -> Integers:
    """(n,), or (m,) of some rows: the same number for rows that show the same, mirrored images included."""
    if dataset.images is not None:
        return content_ids(dataset.images if rows is None else np.asarray(dataset.images[rows]))
    ids = _label_ids(dataset.table.labels)
    return ids if rows is None else ids[rows]


def rows_fingerprint(dataset: Dataset) -> str:
    """One text that is the same for tables whose rows show the same in the same order."""
    if dataset.images is not None:
        return fingerprint(dataset.images)
    return hashlib.sha256(_label_ids(dataset.table.labels).tobytes()).hexdigest()


def _label_ids(labels: Array) -> Integers:
    """The first row with the same labels (n, K, 2); its own number for a row of fewer than three points."""
    ids = np.arange(len(labels))
    first: dict[bytes, int] = {}
    texts = np.where(np.isnan(labels), np.nan, labels + 0.0)  # one NaN, and no -0.0
    for row in np.flatnonzero(np.isfinite(labels).all(axis=2).sum(axis=1) >= _LEAST_POINTS).tolist():
        ids[row] = first.setdefault(texts[row].tobytes(), row)
    return ids


def dataset_of_labels(
    labels: Array, keypoints: Sequence[str], name: str, frame: ImageSize | None = None
) -> Dataset:
    """Labels (n, K, 2) in px, NaN where blank, without images.

    Parameters
    ----------
    name
        What messages call them.
    frame
        Stands in for the images' size; None: one that is assumed from the labels.

    Raises
    ------
    DataError
        If it is to be assumed, and there is no label.
    """
    schema = KeypointSchema(tuple(keypoints), frame or assumed_frame(labels, name))
    return Dataset(_array_table(labels, schema, None, name), schema, None, frame is None)


def dataset_of_arrays(
    labels: Array, keypoints: Sequence[str], images: NDArray[np.generic], name: str
) -> ImageDataset:
    """Labels (n, K, 2) in px, NaN where blank, with their images (n, H, W) of grey values 0..255.

    Raises
    ------
    DataError
        If the images are not grey images of one size, one for each row; `name` is what messages call them.
    """
    checked = _checked_images(images, name)
    if len(checked) != len(labels):
        raise DataError(f"{name} holds {len(checked)} images for {len(labels)} rows; expected one per row")
    schema = KeypointSchema(tuple(keypoints), ImageSize(*checked.shape[1:]))
    return ImageDataset(_array_table(labels, schema, checked, name), schema, checked, False)


def _array_table(labels: Array, schema: KeypointSchema, images: Images | None, name: str) -> KeypointTable:
    """A table of labels (n, K, 2) and images as if they had been read; no file is read or written."""
    shape = None if images is None else images.shape
    content = hashlib.sha256(repr((schema.columns, labels.shape, shape)).encode())
    content.update(np.ascontiguousarray(labels).tobytes())
    if images is not None:
        content.update(np.ascontiguousarray(images).data)
    return KeypointTable(
        path=Path(name),
        content_sha256=content.hexdigest(),
        columns=schema.columns,
        keypoints=schema.keypoints,
        labels=labels,
        field_spans=np.zeros((*labels.shape, 2), np.int64),
        lines=np.arange(1, len(labels) + 1),
    )


def _checked_images(images: Any, name: str) -> NDArray[np.uint8]:
    """An array of grey images (n, H, W) of whole numbers in 0..255; anything else is refused."""
    array = np.asarray(images)
    if array.ndim != 3 or not array.size:
        shape = "x".join(map(str, array.shape)) or "a single value"
        raise DataError(f"{name} is {shape}; expected grey images as an array (n, height, width)")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {array.dtype}; expected grey values 0..255")
    if not ((array >= 0) & (array <= 255) & (array == np.floor(array))).all():
        raise DataError(
            f"{name} holds values from {array.min():g} to {array.max():g}; expected whole grey values 0..255 "
            "(for 0..1 multiply by 255 and round)"
        )
    return array.astype(np.uint8)
