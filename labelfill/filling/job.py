"""A table to fill: what decides the outcome, which files are written, and what is refused beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelfill.arrays import Mask
from labelfill.data.corrections import Corrections
from labelfill.data.dataset import Dataset
from labelfill.data.formats import FORMATS, TABLE, check_out
from labelfill.data.table import KeypointTable, lacks_images
from labelfill.errors import DataError, ModelError, UsageError, listed, real_path
from labelfill.filling.provenance import (
    beside,
    distrust_path,
    harmonised_path,
    provenance_path,
    require_parquet,
    sources_path,
)
from labelfill.networks.devices import choose_device
from labelfill.regressors.files import load_about, load_distrusted
from labelfill.regressors.unit_names import STAGE as TRAINING_STAGE
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import ImputeSettings
from labelfill.sources.preparation import distrust_inputs, reading_inputs


@dataclass(frozen=True)
class FillingJob:
    """A table to fill, what a person said of it, and where the results go.

    Attributes
    ----------
    rejected
        (n, K): fills that a person rejected.
    stage
        Its name in the manifest.
    inputs
        What decides the outputs.
    force
        Fill it anew whatever was filled before, and overwrite outputs.
    """

    dataset: Dataset
    rejected: Mask
    out: Path
    settings: ImputeSettings
    stage: str
    inputs: Mapping[str, Any]
    device: torch.device
    force: bool = False

    @property
    def outputs(self) -> dict[str, Path]:
        """Every file that is written, by what it holds, in the order in which they appear."""
        return output_files(self.out, self.settings, self.dataset)


def filling_job(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: ImputeSettings,
    *,
    corrections: Corrections | None = None,
    device: str,
    force: bool = False,
) -> FillingJob:
    """The job, unless it cannot be done: refused before hours of work, not after them.

    Parameters
    ----------
    corrections
        A person's verdicts on an earlier filling of this table.

    Raises
    ------
    ModelError
        If the models are missing, unfinished, or for other keypoints or images.
    DataError
        If the table has no images and the models look at them.
    UsageError
        If an output exists and is not this stage's, or would overwrite the input.
    """
    chosen = choose_device(device)
    run.require_stage(TRAINING_STAGE)
    distrusted = dataset.distrusted if dataset.distrusted is not None else load_distrusted(run, dataset)
    rejected = np.zeros(dataset.table.labels.shape[:2], bool)
    if corrections is not None:
        distrusted = corrections.wrong if distrusted is None else distrusted | corrections.wrong
        dataset = replace(dataset, confirmed=corrections.confirmed)
        rejected = corrections.rejected
    dataset = replace(dataset, distrusted=distrusted)
    check_destination(run, dataset, out, settings, force=force)
    _check_images(run, dataset)
    ordered = _of_the_models_kind(run, dataset)
    order = [dataset.schema.keypoints.index(keypoint) for keypoint in ordered.schema.keypoints]
    rejected = rejected[:, order]
    inputs = {
        "table": ordered.table.content_sha256,
        "models": run.stage_fingerprint(TRAINING_STAGE),
        # Of the corrections only what they say, not where they stand.
        "settings": json_value(replace(settings, corrections=None)),
        "out": str(run.recorded_path(out)),
        "device": chosen.type,
        **reading_inputs(ordered),
        **distrust_inputs(ordered),
    }
    if rejected.any():
        inputs["rejected points"] = hashlib.sha256(np.packbits(rejected).tobytes()).hexdigest()
    return FillingJob(ordered, rejected, out, settings, stage_name(run, out), inputs, chosen, force)


def stage_name(run: RunDirectory, out: Path) -> str:
    """What the manifest calls the filling of one file."""
    return f"impute {run.recorded_path(out)}"


def output_files(out: Path, settings: ImputeSettings, dataset: Dataset) -> dict[str, Path]:
    """Every file that is written with a filled table, by what it holds, in the order in which they appear."""
    harmonised = harmonised_path(out)
    paths = {
        "distrusted labels": distrust_path(out),
        "provenance of the harmonised table": provenance_path(harmonised),
        "every keypoint in one convention": harmonised,
        "provenance as Parquet": beside(out, "provenance.parquet"),
        "what to look at first": beside(out, "review.csv"),
        "every source and keypoint": sources_path(out),
        "provenance": provenance_path(out),
        "table": out,
    }
    if dataset.distrusted is None or not dataset.distrusted.any():
        del paths["distrusted labels"]
    if not settings.harmonise:
        del paths["every keypoint in one convention"], paths["provenance of the harmonised table"]
    if not settings.parquet:
        del paths["provenance as Parquet"]
    return paths


def check_destination(
    run: RunDirectory, dataset: Dataset, out: Path, settings: ImputeSettings, *, force: bool
) -> dict[str, Path]:
    """Every file that is written, unless it cannot be, exists, or is the table that is read.

    Raises
    ------
    UsageError, StorageError
        Naming the file.
    """
    table = dataset.table
    check_out(table, out, likelihood=settings.likelihood)
    if settings.harmonise and table.format != TABLE:
        raise UsageError(f"--harmonise works on tables; {table.path} is {FORMATS[table.format]}")
    if settings.parquet:
        require_parquet()
    files = output_files(out, settings, dataset)
    paths = list(files.values())
    _refuse_the_input(table, out, paths)
    run.check_outputs(stage_name(run, out), paths, overwrite=force)
    return files


def _refuse_the_input(table: KeypointTable, out: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        if real_path(path) == real_path(table.path):
            raise UsageError(
                f"--out {out} would overwrite the input {path}; choose another file, "
                "the original is never changed"
            )


def _check_images(run: RunDirectory, dataset: Dataset) -> None:
    table, settings = dataset.table, run.stages[TRAINING_STAGE]["inputs"]["settings"]
    if dataset.images is None and not run.without_images and settings["method"] != "prior":
        raise DataError(
            f"{lacks_images(table)}, or train others in another --run-dir with "
            f"--method prior: the models in {run.path} look at images"
        )


def _of_the_models_kind(run: RunDirectory, dataset: Dataset) -> Dataset:
    """The table with its keypoints in the models' order; refused if it has others, or other images."""
    schema = load_about(run).schema
    path, found = dataset.table.path, dataset.schema
    if set(found.keypoints) != set(schema.keypoints):
        lacking, further = (
            listed([name for name in names if name not in other]) or "none"
            for names, other in ((schema.keypoints, found.keypoints), (found.keypoints, schema.keypoints))
        )
        raise ModelError(
            f"{path} has different keypoints than the models in {run.path} (missing: {lacking}; additional: "
            f"{further}); train models for it in another --run-dir"
        )
    if found.image_size != schema.image_size:
        raise ModelError(
            f"{path} has images of {found.image_size}, the models in {run.path} are for {schema.image_size}; "
            "train models for it in another --run-dir"
        )
    return dataset.in_order_of(schema.keypoints)
