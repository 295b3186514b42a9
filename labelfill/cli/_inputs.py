"""The run directory and the table that a command works on."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._options import Resolver
from labelfill.errors import DataError, UsageError
from labelfill.settings import RunSettings, Settings, TableSettings

if TYPE_CHECKING:
    from labelfill.data.dataset import Dataset
    from labelfill.runs import RunDirectory
    from labelfill.runs.engines import Engine

USUAL_TABLES = (Path("data/training.csv"), Path("data/training.zip"))
USUAL_IMAGES = (Path("data/test.csv"), Path("data/test.zip"))


def find_table(data: Path | None, run: RunDirectory | None = None) -> Path:
    """The table to read: `data` if given, else the one `run` was begun with, else a usual place.

    Raises
    ------
    DataError
        If there is none; says what to do.
    """
    if data is not None:
        return data
    recorded = run.manifest.get("input", {}).get("path") if run is not None else None
    if recorded is not None:
        return Path(recorded)
    for path in USUAL_TABLES:
        if path.is_file():
            return path
    raise DataError(
        f"there is no table at {' or '.join(map(str, USUAL_TABLES))}: name yours by --data TABLE, "
        "draw a sample by `labelfill demo-data`, or put there the training.zip of Kaggle's competition "
        "facial-keypoints-detection (https://www.kaggle.com/c/facial-keypoints-detection/data)"
    )


def tables_of_pattern(data: Path | None) -> dict[str, Path] | None:
    """The tables that a pattern such as ``parts/*.csv`` stands for, by name; None if `data` is no pattern.

    Raises
    ------
    DataError
        If there is none, or if two have one name, as they would be filled into one file.
    """
    if data is None or data.exists() or not glob.has_magic(str(data)):
        return None
    found = [Path(path) for path in sorted(glob.glob(str(data), recursive=True)) if Path(path).is_file()]
    if not found:
        raise DataError(f"no file is called like {data}")
    tables: dict[str, Path] = {}
    for path in found:
        if path.name in tables:
            raise DataError(
                f"{tables[path.name]} and {path} have one name, and would be filled into one file: "
                "give a pattern for each folder, with an --out of its own"
            )
        tables[path.name] = path
    return tables


def find_images(images: Path | None) -> Path:
    """The images to find keypoints in: `images` if given, else the table at a usual place.

    Raises
    ------
    UsageError
        If there is none.
    """
    if images is not None:
        return images
    for path in USUAL_IMAGES:
        if path.is_file():
            return path
    raise UsageError(
        f"there are no images at {' or '.join(map(str, USUAL_IMAGES))}: name yours by --images TABLE, "
        "or by --images FOLDER"
    )


@contextmanager
def open_run(
    settings: Resolver, *sections: type[Settings], begun: bool, dry: bool = False
) -> Iterator[RunDirectory]:
    """The run directory, locked, with the settings of `sections` for its stages to record.

    With `begun`, a run directory that holds no run is refused, not created; with `dry`, it is only looked at.
    """
    from labelfill.runs import RunDirectory

    resolved: list[Settings] = [settings(cls) for cls in sections]
    run_settings = settings(RunSettings)
    if begun:
        RunDirectory.read_only(run_settings.run_dir)
    else:
        find_table(settings(TableSettings).data)  # before a folder is made for nothing
    if dry:
        yield RunDirectory.look(run_settings.run_dir)
        return
    with RunDirectory.open(run_settings.run_dir, [run_settings, *resolved]) as run:
        yield run


@contextmanager
def learning_curves(settings: Resolver, run: RunDirectory, command: str) -> Iterator[None]:
    """The learning curves of what a command's stage trains go to event files, if they are asked for."""
    if not settings(RunSettings).tensorboard:
        yield
        return
    from labelfill.runs.curves import Curves

    with Curves(run, command):
        yield


def with_curves(settings: Resolver, run: RunDirectory, plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """A training stage's plan, which tells where learning curves would go, if they are asked for."""
    if not settings(RunSettings).tensorboard:
        return plan
    from labelfill.runs.curves import FOLDER, require_tensorboard

    require_tensorboard()
    return {**plan, "writes": [*plan["writes"], str(run.path / FOLDER)]}


def chosen_engine(settings: Resolver) -> Engine:
    """What --backend and --scheduler say."""
    from labelfill.runs.engines import Engine

    run_settings = settings(RunSettings)
    return Engine(run_settings.backend, run_settings.scheduler)


def refuse_changed_table(run: RunDirectory, dataset: Dataset) -> None:
    """Refuse the run's own table, found without --data, if it is not what the models were trained on.

    Raises
    ------
    DataError
        Naming --data, which fills it as it now is.
    """
    begun_with = run.manifest.get("input")  # none in a run that stopped before its table was read
    if begun_with and dataset.table.content_sha256 != begun_with["sha256"]:
        path = dataset.table.path
        raise DataError(
            f"{path} has changed since the models in {run.path} were trained on it: train again in another "
            f"--run-dir, or fill it as it is now by --data {path}"
        )
