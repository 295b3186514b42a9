"""The three stages as a comparison runs them: every way in a run directory of its own, one split for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.distrust import read_distrust
from labelfill.data.reading_options import ReadingOptions
from labelfill.errors import DataError
from labelfill.filling.job import filling_job
from labelfill.filling.stage import impute
from labelfill.final.filled_table import FilledRequest
from labelfill.final.job import final_job
from labelfill.final.stage import train_final
from labelfill.regressors.job import training_job
from labelfill.regressors.stage import train_keypoint_models
from labelfill.runs import RunDirectory, make_folder, sha256_file
from labelfill.settings import (
    FinalModelSettings,
    ImputeSettings,
    KeypointModelSettings,
    RunSettings,
    TableSettings,
)

FILLED = "filled.csv"


@dataclass(frozen=True)
class Setting:
    """The table that is compared on, and how everything is run.

    Attributes
    ----------
    folder
        Holds a run directory for each way.
    force
        Start over what was done with other settings.
    data
        The table with blanks.
    """

    folder: Path
    data: Path
    table: TableSettings
    seed: int = 0
    device: str = "auto"
    force: bool = False
    progress: bool = False

    def open(self, name: str) -> RunDirectory:
        """The run directory of a way, made where needed."""
        make_folder(self.folder)
        settings = RunSettings(self.folder / name, self.device, self.seed)
        return RunDirectory.open(self.folder / name, [settings, replace(self.table, data=self.data)])

    def read(self, run: RunDirectory | None = None) -> Dataset:
        """The table with its images, from a cache that all ways share."""
        size, framed = self.table.image_size, None
        if run is not None and run.begun_with is not None and not run.frame_assumed:
            size, framed = run.begun_with.size, run.framed
        request = TableRequest(
            size, framed, require_images=False, allow_outside=self.table.allow_outside,
            reading=ReadingOptions.of(self.table),
        )  # fmt: skip
        cache = self.folder / "cache"
        dataset = read_dataset(self.data, request, cache_dir=cache, show_progress=self.progress)
        if self.table.distrust is None:
            return dataset
        return replace(dataset, distrusted=read_distrust(self.table.distrust, dataset.table))


def train_models(setting: Setting, name: str, models: KeypointModelSettings, *, force: bool = False) -> None:
    """Keypoint models in the run directory `name`; with `force` anew."""
    with setting.open(name) as run:
        job = training_job(
            setting.read(), models, table=setting.table,
            device=setting.device, seed=setting.seed, force=force,
        )  # fmt: skip
        train_keypoint_models(run, job, progress=setting.progress)


def fill_by_models(setting: Setting, name: str, *, force: bool = False) -> Path:
    """The table filled by the models in the run directory `name`."""
    with setting.open(name) as run:
        job = filling_job(
            run, setting.read(run), run.path / FILLED, ImputeSettings(), device=setting.device, force=force
        )
        impute(run, job, progress=setting.progress)
    return setting.folder / name / FILLED


def train_final_on(
    setting: Setting,
    name: str,
    settings: FinalModelSettings,
    *,
    models: str,
    filled: Path | None = None,
    original: Path | None = None,
    force: bool = False,
) -> Mapping[str, Any]:
    """A final network in the run directory `name`, with the label sources and the split of run `models`."""
    asked = FilledRequest(
        filled, original, setting.table.distrust, allow_outside=setting.table.allow_outside,
        progress=setting.progress,
    )  # fmt: skip
    with setting.open(models) as basis, setting.open(name) as run:
        job = final_job(
            run, asked, settings, models=basis, device=setting.device, seed=setting.seed, force=force
        )
        return train_final(run, job, progress=setting.progress)


def check_one_split(setting: Setting, names: list[str]) -> None:
    """Refuse run directories whose rows are divided differently: their figures could not be compared.

    Raises
    ------
    DataError
        Naming the two files.
    """
    files = [setting.folder / name / "split.csv" for name in names]
    for file in files[1:]:
        if sha256_file(file) != sha256_file(files[0]):
            raise DataError(
                f"{file} splits the rows differently from {files[0]}, so their results cannot be "
                "compared; choose another --run-dir"
            )
