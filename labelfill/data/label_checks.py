"""Whether labels are what they are taken for: places in px on their images, seen the right way round."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import Dataset
from labelfill.data.images.files import ImageFiles
from labelfill.data.placeholders import (
    Placeholder,
    find_placeholders,
    half_placeholders,
    single_placeholders,
    told,
)
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import KeypointTable, image_question
from labelfill.data.units import advised_unit, from_px, small_extent, to_px
from labelfill.errors import DataError, UsageError, shown
from labelfill.schema import ImageSize

_log = logging.getLogger("labelfill")

# A few labels lie beyond the image, whichever way round it is.
_MOST_OUTSIDE = 0.01


def in_px(
    table: KeypointTable, sizes: Array | Sequence[int] | ImageSize | None, reading: ReadingOptions
) -> KeypointTable:
    """The table with labels in px of the images that are there.

    Parameters
    ----------
    sizes
        (n, 2) or (2,), px: height and width of each row's image; None: not known.

    Raises
    ------
    UsageError
        If labels are shares of images of an unknown size.
    """
    if isinstance(sizes, ImageSize):
        sizes = (sizes.height, sizes.width)
    if sizes is None:
        if reading.coordinates == "px":
            return table
        raise UsageError(
            f"--coordinates {reading.coordinates}: {table.path} has no images to tell their size; state it "
            "by --image-size HxW"
        )
    whole = np.broadcast_to(np.asarray(sizes, np.float64), (table.rows, 2))
    if reading.coordinates != "px":
        labels = to_px(table.labels, reading.coordinates, whole)
        return replace(table, labels=labels, coordinates=reading.coordinates, stated_sizes=whole)
    if table.stated_sizes is None:
        return table
    # Labels in shares, which the reader took for shares of images of the size that the file states.
    ratio = np.nan_to_num(whole / table.stated_sizes, nan=1.0)[:, None, ::-1]
    if (ratio == 1).all():
        return table
    return replace(table, labels=table.labels * ratio, stated_sizes=whole)


def refuse_wrong_turns(table: KeypointTable, files: ImageFiles, sizes: Array) -> None:
    """Refuse images that were turned by their EXIF orientation if the labels lie on them as they are stored.

    Parameters
    ----------
    sizes
        (n, 2), px: height and width of each row's image as it was turned.

    Raises
    ------
    DataError
        Naming the option that takes files as they are stored.
    """
    rows = np.flatnonzero([name in files.findings.turned for name in files.names])
    labels = table.labels[rows]
    if table.coordinates != "px" or not np.isfinite(labels).any():
        return
    as_turned, as_stored = (_outside(labels, sizes[rows][:, order]) for order in ([0, 1], [1, 0]))
    count = int(np.isfinite(labels).sum())
    if as_turned.sum() > _MOST_OUTSIDE * count >= as_stored.sum():
        row = int(rows[as_turned.any(axis=(1, 2))][0])
        raise DataError(
            f"{files.where(row)}: {shown(files.names[row])} is turned by its EXIF orientation, but then "
            f"{int(as_turned.sum()):,} coordinates lie beyond such images ({len(rows):,}), and on images as "
            "they are stored they do not; pass --no-exif-turn"
        )


def _outside(labels: Array, sizes: Array) -> Mask:
    """(n, K, 2): coordinates beyond images of some sizes (n, 2)."""
    with np.errstate(invalid="ignore"):
        outside: Mask = (labels < -0.5) | (labels > sizes[:, None, ::-1] - 0.5)
    return outside


def refuse_unlikely_labels(dataset: Dataset) -> None:
    """Refuse placeholders among labels, and labels in another unit than they are read in.

    Raises
    ------
    DataError
        Naming what was found and the option that tells what it is.
    """
    table = dataset.table
    _refuse(table, find_in(dataset))
    if _images_known(dataset):
        advice = advised_unit(table, _image_sizes(dataset))
        if advice is not None:
            raise DataError(advice[1])
    for sentence in _doubts(dataset):
        _log.warning("%s", sentence)


def refuse_placeholders(table: KeypointTable) -> None:
    """Refuse placeholders among the labels of a table whose images are not looked at.

    Raises
    ------
    DataError
        Naming what was found and the option that tells what it is.
    """
    _refuse(table, find_placeholders(table.labels, table.labels, table.labels, None))


def _refuse(table: KeypointTable, found: Sequence[Placeholder]) -> None:
    if found:
        also = [str(each) for each in found[1:]]
        further = f"; so are {' and '.join(also)}" if also else ""
        raise DataError(told(table, found[0]) + further)


def likely_meant(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """A dataset as its labels are likely meant, and a sentence on everything that was not said of them."""
    findings = []
    placeholders = find_in(dataset)
    if placeholders:
        blank = np.any([each.points for each in placeholders], axis=0)
        labels = np.where(blank[..., None], np.nan, dataset.table.labels)
        findings += [told(dataset.table, each) for each in placeholders]
        dataset = replace(dataset, table=replace(dataset.table, labels=labels))
    if _images_known(dataset):
        sizes = _image_sizes(dataset)
        advice = advised_unit(dataset.table, sizes)
        if advice is not None:
            unit, sentence = advice
            written = from_px(dataset.table.labels, dataset.table.coordinates, sizes)
            table = replace(dataset.table, labels=to_px(written, unit, sizes), coordinates=unit)
            findings.append(sentence)
            dataset = replace(dataset, table=table)
    return dataset, (*findings, *_doubts(dataset), *_images_elsewhere(dataset.table))


def _doubts(dataset: Dataset) -> list[str]:
    """What may be right, but should be looked at."""
    table = dataset.table
    doubts = [half_placeholders(table, single_placeholders(table.labels))]
    if _images_known(dataset):
        doubts.append(small_extent(table, _image_sizes(dataset)))
    return [sentence for sentence in doubts if sentence is not None]


def _images_elsewhere(table: KeypointTable) -> list[str]:
    """A sentence on a column that names image files, in a table that is read without images."""
    question = image_question(table.columns, table.first_row)
    if table.image_column is not None or question is None:
        return []
    return [f"{table.path} is read without images: {question}"]


def find_in(dataset: Dataset) -> list[Placeholder]:
    """The placeholders among a dataset's labels; see `find_placeholders`."""
    table, sizes = dataset.table, _image_sizes(dataset)
    written = from_px(table.labels, table.coordinates, sizes)
    known = sizes if _images_known(dataset) else None
    return find_placeholders(written, table.labels, dataset.all_labels, known)


def _images_known(dataset: Dataset) -> bool:
    return dataset.images is not None or not dataset.image_size_assumed


def _image_sizes(dataset: Dataset) -> Array:
    """(n, 2), px: height and width of each row's image; of its box if nothing tells the image's."""
    stated = dataset.table.stated_sizes
    return dataset.own_sizes if stated is None else np.where(np.isnan(stated), dataset.own_sizes, stated)
