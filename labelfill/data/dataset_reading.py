"""Reads a table of any format and its images into a dataset, or takes both from the cache."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from labelfill.data import cache
from labelfill.data.dataset import Dataset
from labelfill.data.folder import folder_table
from labelfill.data.formats import KINDS, LABEL_STUDIO, detect, files_of, is_keypoint_folder, read_keypoints
from labelfill.data.frame import assumed_frame, check_frame
from labelfill.data.images.files import ImageFiles
from labelfill.data.images.pixel_text import PixelText
from labelfill.data.images.placing import read_image_files
from labelfill.data.images.storage import FileStore, MemoryStore
from labelfill.data.label_checks import in_px, refuse_unlikely_labels, refuse_wrong_turns
from labelfill.data.reading_options import USUAL, ReadingOptions
from labelfill.data.table import (
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    KeypointTable,
    NoImagesError,
    lacks_images,
)
from labelfill.errors import DataError, StorageError, reading, real_path
from labelfill.schema import ImageSize, KeypointSchema

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class TableRequest:
    """What is asked of a table: everything but the file itself on which the outcome of reading it depends.

    Attributes
    ----------
    image_size
        Of every image. None: that of the image files; for grey values as text a square is assumed
        and announced; without images the square that holds the labels.
    framed
        Whether `image_size` is a frame in which images of any size are placed, each in its own scale; None:
        only if image files differ in size.
    require_keypoints, require_images
        Whether a table without them is an error.
    with_images
        False leaves the images unread, which is faster.
    images_beside
        Another table whose folder ``image_path`` is relative to: the one of which this is a filled copy.
    allow_outside
        Whether ``image_path`` may lead out of the table's folder.
    filled
        Whether the file is one that was filled, so that what stands beside its labels counts, too.
    reading
        How the file's values are understood.
    lenient
        Whether labels may hold placeholders, or be in another unit: whoever reads them so says it.
    """

    image_size: ImageSize | None = None
    framed: bool | None = None
    require_keypoints: bool = True
    require_images: bool = True
    with_images: bool = True
    images_beside: Path | None = None
    allow_outside: bool = False
    filled: bool = False
    reading: ReadingOptions = USUAL
    lenient: bool = False

    def key(self, path: Path) -> str:
        """The name of the table's entry in a cache: the same whether images are needed or not."""
        beside = None if self.images_beside is None else str(real_path(self.images_beside))
        options = {**asdict(self), "images_beside": beside, "require_images": True}
        return cache.entry_key(files_of(path), options)


def read_dataset(
    path: Path,
    request: TableRequest = TableRequest(),
    *,
    cache_dir: Path | None = None,
    models: Path | None = None,
    images_file: Path | None = None,
    show_progress: bool = False,
) -> Dataset:
    """Read a table and its images, or take both from the cache.

    Parameters
    ----------
    path
        The table; where no keypoints are required a folder of images serves as well.
    cache_dir
        Keeps what was read, by content hash. None: nothing is kept, and the images lie in memory.
    models
        The run directory whose models ask for the image size, if it is not a person who states it.
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
    if not _is_folder(path, request):
        detect(path)  # a missing file is a matter of data, with its own sentence
    read = partial(_read, path, request, models, show_progress)
    if cache_dir is None:
        dataset = read(images_file)
    else:
        entry = Path(cache_dir) / request.key(path)
        dataset = (
            _load_fresh(entry, path, request)
            or _load_assumed(Path(cache_dir), path, request)
            or _read_into(entry, path, request, read)
        )
    if request.require_images and dataset.table.image_column is None:  # kept by whoever did without
        raise NoImagesError(lacks_images(dataset.table))
    if dataset.image_size_assumed and dataset.images is not None:
        size = dataset.schema.image_size
        _log.info("%s: images of %s assumed; --image-size HxW states another size", path, size)
    return replace(dataset, images_beside=request.images_beside)


def _is_folder(path: Path, request: TableRequest) -> bool:
    """Whether a folder is read: of files of keypoints, or of images where no keypoints are required."""
    return path.is_dir() and (not request.require_keypoints or is_keypoint_folder(path))


def _load_fresh(entry: Path, path: Path, request: TableRequest) -> Dataset | None:
    kept = cache.load(entry, path)
    if kept is None or kept.image_files != _fingerprint(kept.dataset.table, request):
        return None
    return kept.dataset


def _load_assumed(cache_dir: Path, path: Path, request: TableRequest) -> Dataset | None:
    """The entry of the same table read without a stated size, if it found the size that now is stated."""
    if request.image_size is None:
        return None
    unstated = replace(request, image_size=None, framed=None)
    dataset = _load_fresh(cache_dir / unstated.key(path), path, unstated)
    if dataset is None or dataset.schema.image_size != request.image_size:
        return None
    if request.framed is not None and request.framed != (dataset.placements is not None):
        return None
    return replace(dataset, image_size_assumed=False)


def _read_into(entry: Path, path: Path, request: TableRequest, read: Callable[[Path], Dataset]) -> Dataset:
    """Read a table whose images go to the path that is given to `read`, and keep it."""
    before = [_signature(file) for file in files_of(path)]
    with cache.new_entry(entry) as folder:
        dataset = read(folder / cache.IMAGES)
        cache.save(folder, cache.Kept(dataset, _fingerprint(dataset.table, request)))
        if [_signature(file) for file in files_of(path)] != before:
            raise DataError(f"{path} changed while it was read; run the command again once it is complete")
    kept = cache.load(entry, path)
    if kept is None:
        raise StorageError(f"{entry} cannot be read back after it was written; check the disk")
    return kept.dataset


def _read(
    path: Path, request: TableRequest, models: Path | None, show_progress: bool, images_path: Path | None
) -> Dataset:
    """Parse the table; the images go to `images_path`, or into memory."""
    stated, reading = request.image_size, request.reading
    images, placements = None, None
    with closing(MemoryStore() if images_path is None else FileStore(images_path)) as store:
        pixels = PixelText(path, stated, store, models)
        if path.is_dir() and not is_keypoint_folder(path):
            table = folder_table(path)
        else:
            table = read_keypoints(
                path,
                beside=request.images_beside,
                filled=request.filled,
                image_sink=pixels.add if request.with_images else None,
                require_keypoints=request.require_keypoints,
                require_images=request.require_images,
                reading=reading,
                show_progress=show_progress,
            )
        if request.with_images and table.image_column == IMAGE_COLUMN:
            images = pixels.finish()
            table = in_px(table, images.shape[1:], reading)
        elif request.with_images and table.image_column == IMAGE_PATH_COLUMN:
            files = _image_files(table, request)
            images, placements, files = read_image_files(
                files,
                table.boxes,
                store,
                image_size=stated,
                framed=request.framed,
                models=models,
                show_progress=show_progress,
            )
            reading = replace(reading, bits=files.bits)
            if reading.coordinates != "px" or files.by_shape or files.findings.turned:
                sizes = files.sizes()
                refuse_wrong_turns(table, files, sizes)
                table = in_px(table, sizes, reading)
        else:
            table = in_px(table, stated, reading)
    if images is not None:
        size = ImageSize(*images.shape[1:])
    else:
        size = stated or assumed_frame(table.labels, str(table.path))
    assumed = stated is None and table.image_column != IMAGE_PATH_COLUMN
    schema = KeypointSchema(table.keypoints, size)
    dataset = Dataset(table, schema, images, assumed, placements=placements, reading=reading)
    if not request.lenient:
        refuse_unlikely_labels(dataset)
        if images is not None or stated is not None:
            check_frame(table, size, placements, assumed=assumed)
    return dataset


def image_files(
    table: KeypointTable, *, beside: Path | None, allow_outside: bool, reading: ReadingOptions
) -> ImageFiles:
    """The image files that a table's rows name.

    Parameters
    ----------
    beside
        Another table whose folder names are relative to.
    """
    frames = KINDS[table.format].frames
    return ImageFiles(
        table.path,
        table.extra[IMAGE_PATH_COLUMN],
        table.lines,
        beside,
        allow_outside,
        column=reading.image_column or IMAGE_PATH_COLUMN,
        stated_sizes=table.stated_sizes,
        by_shape=table.format == LABEL_STUDIO,
        exif_turn=reading.exif_turn,
        bits=reading.bits,
        frames=None if frames is None else frames(table, beside),
    )


def _image_files(table: KeypointTable, request: TableRequest) -> ImageFiles:
    beside = request.images_beside and real_path(request.images_beside)
    return image_files(table, beside=beside, allow_outside=request.allow_outside, reading=request.reading)


def _fingerprint(table: KeypointTable, request: TableRequest) -> str:
    """Which image files the images came from: a hash of names, sizes and times; empty if from none."""
    if not request.with_images or table.image_column != IMAGE_PATH_COLUMN:
        return ""
    sha256, files = hashlib.sha256(), _image_files(table, request)
    try:
        for row in range(table.rows):
            file = files.file(row)
            sha256.update(f"{str(file)!a} {_signature(file)}\n".encode())
    except (DataError, StorageError):
        return "unreadable"  # reading the images again says what is wrong
    return sha256.hexdigest()


def _signature(path: Path) -> tuple[int, int]:
    with reading(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns
