"""The final network, and its second look, applied to new images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from labelfill.arrays import Array, Integers
from labelfill.data.dataset import Dataset, ImageDataset
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import read_keypoints
from labelfill.data.joining import join_rows
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.run_tables import reading_of
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable, check_suffix
from labelfill.errors import DataError, ModelError, UsageError, did_you_mean, listed, real_path
from labelfill.final.model import STAGE, FinalModel, load_final
from labelfill.final.submission import IMAGE_ID, AnswerWriter, Submission, prediction_table, read_lookup
from labelfill.networks.devices import Computing, choose_device
from labelfill.regressors.files import load_about
from labelfill.runs import RunDirectory
from labelfill.runs.progress import bar
from labelfill.schema import AXES, KeypointSchema
from labelfill.settings import PredictSettings, TableSettings
from labelfill.sources.groups import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """What the final network found.

    Attributes
    ----------
    xy
        (n, K, 2), px of the image, x first; may lie off the image.
    radius
        (n, K), px: the point lies within it in 90% of cases (or the coverage asked for); NaN where no
        held-out row told.
    """

    keypoints: tuple[str, ...]
    xy: Array
    radius: Array

    def to_frame(self) -> pd.DataFrame:
        """One row per image: ``<keypoint>_x``, ``<keypoint>_y``, then ``<keypoint>_radius``."""
        import pandas as pd

        columns = [f"{keypoint}_{axis}" for keypoint in self.keypoints for axis in AXES]
        columns += [f"{keypoint}_radius" for keypoint in self.keypoints]
        return pd.DataFrame(np.hstack([self.xy.reshape(len(self.xy), -1), self.radius]), columns=columns)


@contextmanager
def images_to_predict(
    run: RunDirectory, path: Path, table: TableSettings, *, show_progress: bool = False
) -> Iterator[ImageDataset]:
    """A table of images, or a folder of image files; they lie in a temporary file, not in memory.

    Raises
    ------
    DataError
        If an image is not as it should be, or not of the size that the final network is for.
    """
    run.require_stage(STAGE)
    request = TableRequest(
        table.image_size or run.input.size,
        run.framed,
        require_keypoints=False,
        images_beside=table.images_beside,
        allow_outside=table.allow_outside,
        reading=ReadingOptions.of(table).stated_over(reading_of(run)),
        lenient=True,
    )
    with TemporaryDirectory(prefix="labelfill-", ignore_cleanup_errors=True) as folder:
        dataset = read_dataset(
            path,
            request,
            models=run.path if table.image_size is None else None,
            images_file=Path(folder) / "images.npy",
            show_progress=show_progress,
        )
        yield ImageDataset.of(dataset)


@dataclass(frozen=True)
class Outputs:
    """Which files are written.

    Attributes
    ----------
    out
        A table of all keypoints and their error radii, the images' other columns kept.
    lookup, submission
        The coordinates that a look-up table asks for, in its order and moved onto the image; each image in
        the convention of the label source that labels what is asked for, if no setting names a source.
    force
        Whether files that are there are overwritten.
    """

    out: Path | None = None
    lookup: Path | None = None
    submission: Path | None = None
    force: bool = False

    def check(self, table: KeypointTable) -> None:
        """Refuse what cannot be written beside the table of images."""
        if (self.lookup is None) != (self.submission is None):
            raise UsageError("--lookup and --submission must be used together")
        files = [path for path in (self.out, self.submission) if path is not None]
        if not files:
            raise UsageError("nothing to write: pass --out TABLE, or --lookup TABLE with --submission TABLE")
        if len({real_path(path) for path in files}) < len(files):
            raise UsageError(f"--out and --submission are both {files[0]}; choose two different files")
        for path in files:
            if real_path(path) == real_path(table.path):
                raise UsageError(f"--out {path} is the table of images itself; choose another file")
            check_suffix(path.name)
            if path.exists() and not self.force:
                raise UsageError(
                    f"{path} already exists: choose another file, or use --force to overwrite it"
                )


def predict(
    run: RunDirectory,
    dataset: ImageDataset,
    settings: PredictSettings,
    outputs: Outputs,
    *,
    device: str,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Apply the final network to images, batch by batch, and write what it finds.

    Raises
    ------
    UsageError
        If an output exists, nothing is asked for, or a source is named that the network does not know.
    DataError
        If the look-up table asks for what there is not.
    """
    outputs.check(dataset.table)
    computing = Computing(choose_device(device), progress)
    model = _model_for(run, dataset, computing.device, refined=not settings.no_refine)
    groups = _asked_sources(dataset, model, settings)
    wanted = None
    if outputs.lookup is not None:
        wanted = _submission(outputs.lookup, dataset, model.schema)
        if model.sources:
            revealed = load_about(run).groups.revealed_by(wanted.asked_for(model.schema.count))
            groups = np.where(groups == UNKNOWN, revealed, groups)
    with ExitStack() as stack:
        writers: list[AnswerWriter] = [] if wanted is None else [wanted]
        if outputs.out is not None:
            writers.append(stack.enter_context(prediction_table(outputs.out, dataset.table, model.schema)))
        median = _answer(model, dataset, groups, settings, computing, writers)
    if wanted is not None and outputs.submission is not None:
        wanted.write(outputs.submission)
    return {
        "out": None if outputs.out is None else str(outputs.out),
        "rows": dataset.table.rows,
        "keypoints": model.schema.count,
        "convention": "reference" if (groups == UNKNOWN).all() else "of each row's source",
        "rows in the reference convention": int((groups == UNKNOWN).sum()),
        "rows per source": {name: int((groups == number).sum()) for number, name in enumerate(model.sources)},
        "median radius": median,
        "coverage": settings.coverage,
        **({} if wanted is None else {"submission": str(outputs.submission), **wanted.counts}),
    }


def _submission(lookup: Path, dataset: ImageDataset, schema: KeypointSchema) -> Submission:
    asked = read_lookup(lookup)
    cells = asked.cells(image_ids(dataset.table), schema.columns, str(dataset.table.path))
    return Submission(asked, cells, dataset)


def predicted(
    run: RunDirectory, dataset: ImageDataset, settings: PredictSettings, *, device: str,
    progress: bool = False,
) -> Predictions:  # fmt: skip
    """Apply the final network to images; errors as for `predict`."""
    computing = Computing(choose_device(device), progress)
    model = _model_for(run, dataset, computing.device, refined=not settings.no_refine)
    found = _Collected(model.schema.count)
    _answer(model, dataset, _asked_sources(dataset, model, settings), settings, computing, [found])
    return Predictions(model.schema.keypoints, np.concatenate(found.xy), np.concatenate(found.radius))


class _Collected:
    """Answers kept in memory."""

    def __init__(self, keypoints: int) -> None:
        self.xy, self.radius = [np.zeros((0, keypoints, 2))], [np.zeros((0, keypoints))]

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        self.xy.append(xy)
        self.radius.append(radius)


def _model_for(run: RunDirectory, dataset: Dataset, device: torch.device, *, refined: bool) -> FinalModel:
    model = load_final(run, device, refined=refined)
    size = model.schema.image_size
    if dataset.schema.image_size != size:
        raise ModelError(
            f"{dataset.table.path} has images of {dataset.schema.image_size}, the final network in "
            f"{run.path} is for {size}; train one for it in another --run-dir"
        )
    return model


def _answer(
    model: FinalModel, dataset: ImageDataset, groups: Integers, settings: PredictSettings,
    computing: Computing, writers: list[AnswerWriter],
) -> float | None:  # fmt: skip
    """Hand every batch's answers to the writers; the median radius in px."""
    radii = []
    with bar(total=dataset.table.rows, desc="predict", unit="row", show=computing.progress) as shown:
        for begin in range(0, dataset.table.rows, settings.batch_size):
            rows = slice(begin, begin + settings.batch_size)
            found, sigma = model.answer(np.asarray(dataset.images[rows]), computing.device)
            xy = model.heads.in_convention(found, groups[rows])
            radius = model.heads.in_convention(model.radius(sigma, settings.coverage), groups[rows])
            if dataset.placements is not None:
                placements = dataset.placements.take(rows)
                xy, radius = placements.to_own(xy), placements.lengths_to_own(radius)
            for writer in writers:
                writer.add(rows, xy, radius)
            radii.append(radius.astype(np.float32))
            shown.update(len(found))
    return None if np.isnan(radii[0]).any() else round(float(np.median(np.concatenate(radii))), 2)


def image_ids(table: KeypointTable) -> list[str]:
    """What a look-up table calls the images: by the column ``ImageId``, else by their file names.

    Raises
    ------
    DataError
        If the table has neither.
    """
    if IMAGE_ID in table.extra:
        return [name.strip() for name in table.extra[IMAGE_ID]]
    if IMAGE_PATH_COLUMN in table.extra:
        return [PurePosixPath(name.replace("\\", "/")).stem for name in table.extra[IMAGE_PATH_COLUMN]]
    near = did_you_mean(IMAGE_ID, table.extra)
    raise DataError(
        f"{table.path} has no column {IMAGE_ID!r}, which look-up tables refer to; "
        f"its other columns: {listed(sorted(table.extra)) or 'none'}{near}"
    )


def _asked_sources(dataset: Dataset, model: FinalModel, settings: PredictSettings) -> Integers:
    """(n,): group in whose convention each row is asked for; `UNKNOWN` where nobody says."""
    if not model.sources and (settings.source, settings.source_from) != (None, None):
        raise UsageError(
            "the final network was trained with --single-convention and does not separate "
            "conventions: leave out --source and --source-from, or train it without --single-convention"
        )
    numbers = {name: number for number, name in enumerate(model.sources)}
    rows = dataset.table.rows
    if settings.source is not None:
        if settings.source not in numbers:
            raise UsageError(
                f"--source {settings.source}: the network knows the sources {', '.join(numbers)}"
            )
        return np.full(rows, numbers[settings.source])
    if settings.source_from is None:
        return np.full(rows, UNKNOWN)
    path, _, column = settings.source_from.rpartition(":")
    if not path or not column:
        raise UsageError(
            f"--source-from {settings.source_from!r} is not TABLE:COLUMN, for example truth.csv:source"
        )
    table = read_keypoints(Path(path), require_keypoints=False, require_images=False)
    if column not in table.extra:
        raise DataError(
            f"{path} has no column {column!r} for --source-from; "
            f"it has {', '.join(sorted(table.extra)) or 'none'}{did_you_mean(column, table.extra)}"
        )
    of_row, _ = join_rows(table, dataset.table)
    values = [table.extra[column][row].strip() if row >= 0 else "" for row in of_row.tolist()]
    unknown = sorted({value for value in values if value and value not in numbers})
    if unknown:
        raise DataError(
            f"{path}, column {column!r}: the network does not know the source {unknown[0]!r}; "
            f"it knows {', '.join(numbers)}"
        )
    return np.array([numbers.get(value, UNKNOWN) for value in values], np.int64)
