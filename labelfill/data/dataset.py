"""A keypoint table together with its images: what every command starts from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images
from labelfill.data import cache
from labelfill.data.formats import declared_occluded, read_keypoints
from labelfill.data.frame import assumed_frame, check_frame
from labelfill.data.images import FileStore, ImageFiles, MemoryStore, PixelText, image_file
from labelfill.data.images.placing import read_image_files
from labelfill.data.other_tables import array_table, checked_images, folder_table
from labelfill.data.table import (
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    KeypointTable,
    NoImagesError,
    open_decompressed,
    without_images,
)
from labelfill.errors import DataError, StorageError
from labelfill.schema import ImageSize, KeypointSchema, Placements

__all__ = ["Dataset", "dataset_of_arrays", "read_dataset"]


_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
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
    """

    table: KeypointTable
    schema: KeypointSchema
    images: Images | None
    image_size_assumed: bool
    distrusted: NDArray[np.bool_] | None = None
    confirmed: Array | None = None
    placements: Placements | None = None
    images_beside: Path | None = None

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
        astray: NDArray[np.bool_] = (labels < -reach) | (labels > 2 * reach)
        return astray

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
        order = [self.schema.index(keypoint) for keypoint in keypoints]
        labels, spans = self.table.labels[:, order], self.table.field_spans[:, order]
        return replace(
            self,
            table=replace(self.table, keypoints=keypoints, labels=labels, field_spans=spans),
            schema=replace(self.schema, keypoints=keypoints),
            distrusted=None if self.distrusted is None else self.distrusted[:, order],
            confirmed=None if self.confirmed is None else self.confirmed[:, order],
        )


@dataclass(frozen=True)
class _Options:
    """Everything but the file itself on which the outcome of reading depends."""

    image_size: ImageSize | None
    require_keypoints: bool
    require_images: bool
    with_images: bool
    images_beside: str | None
    allow_outside: bool
    framed: bool | None
    filled: bool

    def key(self, path: Path) -> str:
        """The name of the table's entry in a cache: the same whether images are needed or not."""
        return cache.entry_key(path, {**asdict(self), "require_images": True})


def read_dataset(
    path: Path,
    *,
    image_size: ImageSize | None = None,
    framed: bool | None = None,
    cache_dir: Path | None = None,
    require_keypoints: bool = True,
    require_images: bool = True,
    with_images: bool = True,
    images_beside: Path | None = None,
    models: Path | None = None,
    allow_outside: bool = False,
    images_file: Path | None = None,
    filled: bool = False,
    show_progress: bool = False,
) -> Dataset:
    """Read a table and its images, or take both from the cache.

    Parameters
    ----------
    path
        The table; where no keypoints are required a folder of images serves as well.
    image_size
        Of every image. None: that of the image files; for grey values as text a square is assumed
        and announced; without images the square that holds the labels.
    framed
        Whether `image_size` is a frame in which images of any size are placed, each in its own scale; None:
        only if image files differ in size.
    cache_dir
        Keeps what was read, by content hash. None: nothing is kept, and the images lie in memory.
    require_keypoints, require_images
        Whether a table without them is an error.
    with_images
        False leaves the images unread, which is faster.
    images_beside
        Another table whose folder ``image_path`` is relative to: the one of which this is a filled copy.
    models
        The run directory whose models ask for `image_size`, if it is not a person who states it.
    allow_outside
        Whether ``image_path`` may lead out of the table's folder.
    filled
        Whether the file is one that was filled, so that what stands beside its labels counts, too.
    images_file
        Where the images lie, memory-mapped, if nothing is kept; None: in memory.

    Raises
    ------
    DataError
        If the table or an image is not as it should be, or more than 1% of the labels lie beyond an
        image of an assumed size.
    StorageError
        If a file cannot be read, or the cache cannot be written.
    """
    path = Path(path)
    beside = None if images_beside is None else str(images_beside.resolve())
    options = _Options(
        image_size, require_keypoints, require_images, with_images, beside, allow_outside, framed, filled
    )
    if not (path.is_dir() and not require_keypoints):
        open_decompressed(path).close()  # a missing file is a matter of data, with its own sentence
    if cache_dir is None:
        cached = _read(path, options, images_file, models, show_progress=show_progress)
    else:
        entry = Path(cache_dir) / options.key(path)
        cached = (
            _load_fresh(entry, path, options)
            or _load_assumed(Path(cache_dir), path, options)
            or _read_into(entry, path, options, models, show_progress=show_progress)
        )
    if require_images and cached.table.image_column is None:  # kept by whoever did without
        raise NoImagesError(without_images(path, cached.table.columns))
    if cached.image_size_assumed and cached.images is not None:
        _log.info("%s: images of %s assumed; --image-size HxW states another size", path, cached.image_size)
    schema = KeypointSchema(cached.table.keypoints, cached.image_size)
    return Dataset(
        cached.table,
        schema,
        cached.images,
        cached.image_size_assumed,
        placements=cached.placements,
        images_beside=images_beside,
    )


def dataset_of_arrays(
    labels: NDArray[np.float64],
    keypoints: Sequence[str],
    images: NDArray[np.generic] | None,
    name: str,
    frame: ImageSize | None = None,
) -> Dataset:
    """Labels (n, K, 2) in px, NaN where blank, with their images (n, H, W) of grey values 0..255 or without.

    Without images `frame` stands in for their size; None: one that is assumed from the labels.

    Raises
    ------
    DataError
        If the images are not grey images of one size, one for each row; `name` is what messages call them.
    """
    if images is None:
        table, schema = array_table(labels, keypoints, frame or assumed_frame(labels, name), None, name)
        return Dataset(table, schema, None, frame is None)
    checked = checked_images(images, name)
    if len(checked) != len(labels):
        raise DataError(f"{name} holds {len(checked)} images for {len(labels)} rows; expected one per row")
    table, schema = array_table(labels, keypoints, ImageSize(*checked.shape[1:]), checked, name)
    return Dataset(table, schema, checked, False)


def _load_fresh(entry: Path, path: Path, options: _Options) -> cache.CachedTable | None:
    cached = cache.load(entry, path)
    if cached is None or cached.image_files != _fingerprint(cached.table, options):
        return None
    return cached


def _load_assumed(cache_dir: Path, path: Path, options: _Options) -> cache.CachedTable | None:
    """The entry of the same table read without a stated size, if it found the size that now is stated."""
    if options.image_size is None:
        return None
    unstated = replace(options, image_size=None, framed=None)
    cached = _load_fresh(cache_dir / unstated.key(path), path, unstated)
    if cached is None or cached.image_size != options.image_size:
        return None
    if options.framed is not None and options.framed != (cached.placements is not None):
        return None
    return replace(cached, image_size_assumed=False)


def _read_into(
    entry: Path, path: Path, options: _Options, models: Path | None, *, show_progress: bool
) -> cache.CachedTable:
    before = _signature(path)
    with cache.new_entry(entry) as folder:
        cached = _read(path, options, folder / cache.IMAGES, models, show_progress=show_progress)
        cache.save(folder, cached)
        if _signature(path) != before:
            raise DataError(f"{path} changed while it was read; run the command again once it is complete")
    loaded = cache.load(entry, path)
    if loaded is None:
        raise StorageError(f"{entry} cannot be read back after it was written; check the disk")
    return loaded


def _read(
    path: Path, options: _Options, images_path: Path | None, models: Path | None, *, show_progress: bool
) -> cache.CachedTable:
    """Parse the table; the images go to `images_path`, or into memory."""
    with closing(MemoryStore() if images_path is None else FileStore(images_path)) as store:
        pixels = PixelText(path, options.image_size, store, models)
        if path.is_dir():
            table = folder_table(path)
        else:
            table = read_keypoints(
                path,
                beside=None if options.images_beside is None else Path(options.images_beside),
                filled=options.filled,
                image_sink=pixels if options.with_images else None,
                require_keypoints=options.require_keypoints,
                require_images=options.require_images,
                show_progress=show_progress,
            )
        images, placements = None, None
        if options.with_images and table.image_column == IMAGE_COLUMN:
            images = pixels.finish()
        elif options.with_images and table.image_column == IMAGE_PATH_COLUMN:
            files = ImageFiles(
                path,
                table.extra[IMAGE_PATH_COLUMN],
                table.lines,
                _beside(table, options),
                options.allow_outside,
            )
            images, placements = read_image_files(
                files,
                table.boxes,
                store,
                image_size=options.image_size,
                framed=options.framed,
                models=models,
                show_progress=show_progress,
            )
    size = (
        ImageSize(*images.shape[1:])
        if images is not None
        else options.image_size or assumed_frame(table.labels, str(table.path))
    )
    assumed = options.image_size is None and table.image_column != IMAGE_PATH_COLUMN
    if images is not None or options.image_size is not None:
        check_frame(table, size, placements, assumed=assumed)
    return cache.CachedTable(table, images, size, assumed, _fingerprint(table, options), placements)


def _beside(table: KeypointTable, options: _Options) -> Path:
    if table.path.is_dir():
        return table.path / IMAGE_PATH_COLUMN  # as a table in the folder would name its files
    return table.path if options.images_beside is None else Path(options.images_beside)


def _fingerprint(table: KeypointTable, options: _Options) -> str:
    """Which image files the images came from: a hash of names, sizes and times; empty if from none."""
    if not options.with_images or table.image_column != IMAGE_PATH_COLUMN:
        return ""
    sha256 = hashlib.sha256()
    for name in table.extra[IMAGE_PATH_COLUMN]:
        try:
            file = image_file("", _beside(table, options), name, allow_outside=options.allow_outside)
            sha256.update(f"{str(file)!a} {_signature(file)}\n".encode())
        except (DataError, StorageError):
            return "unreadable"  # reading the images again says what is wrong
    return sha256.hexdigest()


def _signature(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns
