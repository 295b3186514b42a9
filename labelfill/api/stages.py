"""The stages as functions: paths and settings in, files and figures out.

The commands do the same and print the figures. Unlike the commands, these functions read neither environment
variables nor a settings file: what is not passed has its default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.data.dataset import Dataset, dataset_of_arrays
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.run_tables import read_run_table
from labelfill.filling import stage as imputation
from labelfill.filling.job import filling_job
from labelfill.filling.stage import ImputeSummary
from labelfill.final import export as exporting
from labelfill.final import predict as prediction
from labelfill.final import stage as final_training
from labelfill.final.filled_table import FilledRequest
from labelfill.final.job import final_job
from labelfill.final.predict import Predictions
from labelfill.regressors import stage as keypoint_models
from labelfill.regressors.job import training_job
from labelfill.regressors.unit_names import STAGE
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize
from labelfill.settings import (
    FinalModelSettings,
    ImputeSettings,
    KeypointModelSettings,
    PredictSettings,
    RunSettings,
    Settings,
    TableSettings,
)

Place = str | os.PathLike[str]


def read_table(
    path: Place,
    *,
    image_size: ImageSize | str | None = None,
    images: bool = True,
    table: TableSettings | None = None,
) -> Dataset:
    """Read a keypoint table and its images.

    Parameters
    ----------
    path
        A ``.csv``, ``.csv.gz``, or a ``.zip`` that contains one.
    image_size
        Height and width of the images in px, ``ImageSize(96, 96)`` or ``"96x96"``; None: square, from
        the number of grey values, or the size of the image files.
    images
        False skips the images, which is faster.
    table
        Further options, such as ``TableSettings(missing_value=(-1,))``; None: the defaults.

    Returns
    -------
    Dataset
        ``labels`` (n, K, 2) float64 in px, NaN where blank; ``images`` (n, H, W) uint8 or None;
        ``schema.keypoints``; ``table.extra``, all other columns as text.

    Raises
    ------
    DataError
        If the table is invalid; the message names the place.

    Examples
    --------
    >>> table = labelfill.read_table("data/training.csv")
    >>> table.labels.shape, table.images.shape
    ((60, 15, 2), (60, 96, 96))
    >>> table.schema.keypoints[:2]
    ('left_eye_center', 'right_eye_center')
    """
    size = ImageSize.parse(image_size) if isinstance(image_size, str) else image_size
    settings = table or TableSettings()
    request = TableRequest(
        size or settings.image_size, with_images=images, require_images=images,
        images_beside=settings.images_beside, allow_outside=settings.allow_outside,
        reading=ReadingOptions.of(settings),
    )  # fmt: skip
    return read_dataset(Path(path), request)


def train_keypoint_models(
    data: Place,
    run_dir: Place = "outputs",
    *,
    settings: KeypointModelSettings | None = None,
    table: TableSettings | None = None,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Train the models that fill the blanks of a table, and store them in a run directory.

    Parameters
    ----------
    data
        The table; ``KeypointModelSettings(method="prior")`` needs no images.
    run_dir
        Created if needed. Finished training is not repeated; interrupted training resumes.
    settings, table
        How to train, and how to read the table; None: the defaults.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:NUMBER`` or ``mps`` (untested).
    force
        Start over, whatever the run directory contains.
    progress
        Draw progress bars with the time left, in notebooks and on terminals.

    Returns
    -------
    dict
        Figures: rows, label sources, convention offsets, and per keypoint the RMSE in px on held-out labels.

    Raises
    ------
    UsageError
        If other models were trained there and `force` is False.
    DataError
        If the table is invalid.

    Examples
    --------
    >>> figures = labelfill.train_keypoint_models(
    ...     "data/training.csv", "outputs", settings=labelfill.KeypointModelSettings(method="prior")
    ... )
    >>> figures["rows"], figures["sources"]
    (60, {'1': 60})
    """
    settings, table = settings or KeypointModelSettings(), table or TableSettings()
    with _open(run_dir, device, seed, table, settings) as run:
        dataset = read_run_table(run, Path(data), table, method=settings.method, show_progress=progress)
        job = training_job(dataset, settings, table=table, device=device, seed=seed, force=force)
        return keypoint_models.train_keypoint_models(run, job, progress=progress)


def impute(
    data: Place,
    out: Place,
    run_dir: Place = "outputs",
    *,
    settings: ImputeSettings | None = None,
    table: TableSettings | None = None,
    device: str = "auto",
    force: bool = False,
    progress: bool = False,
) -> ImputeSummary:
    """Fill the blank coordinates of a table with the models of a run directory; write it and its sidecar.

    Parameters
    ----------
    data
        The table that the models were trained on, or another with the same keypoints and image size.
    out
        The filled table: the bytes of `data` except for the blank fields (for JSON and Parquet: the values).
        The origin of each value is written to ``<out>.provenance.csv``.

    Returns
    -------
    ImputeSummary
        How many cells were filled, how, and their error radii.

    Raises
    ------
    UsageError
        If `out` exists, was not written by an earlier call, and `force` is False.
    ModelError
        If the run directory contains no finished models, or models for other keypoints or images.

    Examples
    --------
    >>> summary = labelfill.impute("data/training.csv", "filled.csv", "outputs")
    >>> summary.filled + summary.observed + summary.left_blank == 60 * 30
    True
    """
    settings, table = settings or ImputeSettings(), table or TableSettings()
    with _open(run_dir, device, 0, table, settings) as run:
        run.require_stage(STAGE)
        dataset = read_run_table(
            run, Path(data), table, to_fill=True, require_images=False, show_progress=progress
        )
        job = filling_job(run, dataset, Path(out), settings, device=device, force=force)
        return imputation.impute(run, job, progress=progress)


def train_final(
    filled: Place,
    run_dir: Place = "outputs",
    *,
    original: Place | None = None,
    settings: FinalModelSettings | None = None,
    table: TableSettings | None = None,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Train one network for all keypoints on a filled table, and score it on held-out rows.

    Parameters
    ----------
    filled
        A table written by `impute`, with its sidecar next to it.
    original
        The table before filling; only needed if there is no sidecar.

    Returns
    -------
    dict
        RMSE per coordinate and MAE in px on observed labels, overall and per keypoint.

    Raises
    ------
    DataError
        If the table is not a filled table of this run, or does not match its sidecar.

    Examples
    --------
    >>> figures = labelfill.train_final(
    ...     "filled.csv", "outputs", settings=labelfill.FinalModelSettings(epochs=1)
    ... )
    >>> figures["evaluation rows"]
    6
    """
    settings, table = settings or FinalModelSettings(), table or TableSettings()
    with _open(run_dir, device, seed, table, settings) as run:
        asked = FilledRequest(
            Path(filled), None if original is None else Path(original), allow_outside=table.allow_outside,
            progress=progress,
        )  # fmt: skip
        job = final_job(run, asked, settings, device=device, seed=seed, force=force)
        return final_training.train_final(run, job, progress=progress)


def predict(
    images: Place | NDArray[np.uint8],
    run_dir: Place = "outputs",
    *,
    settings: PredictSettings | None = None,
    table: TableSettings | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Predictions:
    """Find all keypoints in new images with the final network of a run directory.

    Parameters
    ----------
    images
        An array (n, H, W) of grey values 0..255; or a table of images; or a folder of image files.

    Returns
    -------
    Predictions
        ``xy`` (n, K, 2) and ``radius`` (n, K) in px of the images, in the order of ``keypoints``.

    Raises
    ------
    ModelError
        If there is no final network, or it was trained for another image size.

    Examples
    --------
    >>> found = labelfill.predict("data/test.csv", "outputs")
    >>> found.xy.shape, found.radius.shape
    ((20, 15, 2), (20, 15))
    >>> table = labelfill.read_table("data/training.csv")
    >>> labelfill.predict(table.images[:3], "outputs").to_frame().columns[0]
    'left_eye_center_x'
    """
    settings, table = settings or PredictSettings(), table or TableSettings()
    run = RunDirectory.read_only(Path(run_dir))
    if isinstance(images, np.ndarray):
        dataset = dataset_of_arrays(np.zeros((len(images), 0, 2)), (), images, "images")
        return prediction.predicted(run, dataset, settings, device=device, progress=progress)
    with prediction.images_to_predict(run, Path(images), table, show_progress=progress) as dataset:
        return prediction.predicted(run, dataset, settings, device=device, progress=progress)


def export(
    out: Place,
    run_dir: Place = "outputs",
    *,
    format: exporting.ExportFormat = "onnx",  # noqa: A002 - as the command calls it
    source: str | None = None,
    coverage: float = 0.9,
    force: bool = False,
) -> Mapping[str, Any]:
    """Write the final network to one file for other programs, and a model card next to it.

    Parameters
    ----------
    out
        ``*.onnx``, or ``*.pt2`` for ``format="torch"``. Input: grey pixels, uint8 (B, H, W). Output: ``xy``
        (B, K, 2) and ``radius`` (B, K), px.
    source
        The label source whose convention predictions follow; None: the reference convention.
    coverage
        Nominal coverage of the error radii.

    Returns
    -------
    dict
        The two files, and by how many px its predictions differ from those of the original network.

    Raises
    ------
    UsageError
        If a file exists and `force` is False, or the packages for ONNX are not installed.
    """
    run = RunDirectory.read_only(Path(run_dir))
    return exporting.export(run, Path(out), format, source=source, coverage=coverage, force=force)


def _open(
    run_dir: Place, device: str, seed: int, *settings: Settings,
) -> RunDirectory:  # fmt: skip
    run_settings = RunSettings(run_dir=Path(run_dir), device=device, seed=seed)
    return RunDirectory.open(run_settings.run_dir, [run_settings, *settings])
