"""A table read as a run needs it: in its image size or frame, from its cache, less distrusted labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.schema import ImageSize
from labelfill.settings import TableSettings

if TYPE_CHECKING:
    from labelfill.data.dataset import Dataset
    from labelfill.runs import RunDirectory


def read_run_table(
    run: RunDirectory, path: Path, table: TableSettings, *, to_fill: bool = False, show_progress: bool
) -> Dataset:
    """A table with keypoints and images, by the image size given, else the run's, else the one assumed.

    Parameters
    ----------
    to_fill
        Whether the run's models are to fill it: any table, then, has the run's image size; otherwise only
        the one that the run was begun with.
    """
    from labelfill.data.dataset import read_dataset
    from labelfill.data.distrust import read_distrust

    begun_with = run.manifest.get("input", {})
    size, framed = table.image_size, None
    if begun_with and (to_fill or begun_with["path"] == str(path.resolve())):
        size = size or ImageSize.parse(begun_with["image_size"])
        framed = run.framed
    own = begun_with.get("path") == str(path.resolve())
    recorded = Path(begun_with["images_beside"]) if own and "images_beside" in begun_with else None
    dataset = read_dataset(
        path,
        image_size=size,
        framed=framed,
        images_beside=table.images_beside or recorded,
        models=run.path if to_fill and table.image_size is None else None,
        cache_dir=run.cache,
        allow_outside=table.allow_outside,
        show_progress=show_progress,
    )
    if table.distrust is None:
        return dataset
    return replace(dataset, distrusted=read_distrust(table.distrust, dataset.table))
