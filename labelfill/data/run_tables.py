"""A table read as a run needs it: in its image size or frame, from its cache, less distrusted labels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.data.table import NoImagesError
from labelfill.errors import DamagedFile, DataError, real_path
from labelfill.settings import Method, TableSettings

if TYPE_CHECKING:
    from labelfill.data.dataset import Dataset
    from labelfill.data.reading_options import ReadingOptions
    from labelfill.runs import RunDirectory

_log = logging.getLogger("labelfill")

FILL_WITHOUT = "or fill without by --method prior"


def reading_of(run: RunDirectory) -> ReadingOptions:
    """How the values of a run's table are understood, and of tables that its models answer for.

    Raises
    ------
    ModelError
        If its manifest does not hold what it should.
    """
    from labelfill.data.reading_options import ReadingOptions
    from labelfill.runs import damaged_manifest

    try:
        return ReadingOptions.kept({} if run.begun_with is None else run.begun_with.reading)
    except DamagedFile as error:
        raise damaged_manifest(run.path, error) from error


def read_run_table(
    run: RunDirectory,
    path: Path,
    table: TableSettings,
    *,
    to_fill: bool = False,
    method: Method | None = None,
    require_images: bool = True,
    show_progress: bool,
) -> Dataset:
    """A table with keypoints and images, by the image size given, else the run's, else the one assumed.

    A run whose own table has no images looks at none of the tables that its models fill.

    Parameters
    ----------
    to_fill
        Whether the run's models are to fill it: any table, then, has the run's image size; otherwise only
        the one that the run was begun with.
    method
        By which it is to be learnt from, if it is: ``prior`` does without images.
    require_images
        Whether a table without images is an error, where no `method` tells.

    Raises
    ------
    DataError
        If it is not as it should be, or lacks images that are needed.
    """
    from labelfill.data.dataset_reading import TableRequest, read_dataset
    from labelfill.data.distrust import read_distrust
    from labelfill.data.reading_options import ReadingOptions

    begun_with = run.begun_with
    same_table = begun_with is not None and begun_with.path == str(real_path(path))
    size, framed, frame, reading = table.image_size, None, None, ReadingOptions.of(table)
    if to_fill or same_table:
        reading = reading.stated_over(reading_of(run))
    if begun_with is not None and (to_fill or same_table):
        framed = begun_with.framed
        if size is None and run.frame_assumed:
            frame = begun_with.size
        elif size is None:
            size = begun_with.size
    beside = None
    if begun_with is not None and same_table and begun_with.images_beside is not None:
        beside = Path(begun_with.images_beside)
    request = TableRequest(
        size,
        framed,
        require_images=require_images and method != "prior",
        with_images=not (to_fill and run.without_images),
        images_beside=table.images_beside or beside,
        allow_outside=table.allow_outside,
        reading=reading,
    )
    models = run.path if to_fill and table.image_size is None else None
    try:
        dataset = read_dataset(path, request, cache_dir=run.cache, models=models, show_progress=show_progress)
    except NoImagesError as error:
        if method is None:
            raise
        raise DataError(f"{error}, {FILL_WITHOUT}") from error
    if to_fill and run.without_images and dataset.table.image_column is not None:
        _log.info("%s: images are not looked at, the models in %s are of labels alone", path, run.path)
    if to_fill and frame is not None:
        dataset = replace(dataset, schema=replace(dataset.schema, image_size=frame), image_size_assumed=True)
    if table.distrust is None:
        return dataset
    return replace(dataset, distrusted=read_distrust(table.distrust, dataset.table))


def refuse_changed_table(run: RunDirectory, dataset: Dataset) -> None:
    """Refuse the run's own table, found without --data, if it is not what the models were trained on.

    Raises
    ------
    DataError
        Naming --data, which fills it as it now is.
    """
    begun_with = run.begun_with  # none in a run that stopped before its table was read
    if begun_with is not None and dataset.table.content_sha256 != begun_with.sha256:
        path = dataset.table.path
        raise DataError(
            f"{path} has changed since the models in {run.path} were trained on it: train again in another "
            f"--run-dir, or fill it as it is now by --data {path}"
        )
