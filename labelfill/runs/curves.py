"""Learning curves as TensorBoard event files, for people who watch their training there.

::

    tensorboard/keypoint-models/<keypoint>/fold-<n>/   a keypoint's patch regressor, one curve per fold
    tensorboard/shared-models/<name>/fold-<n>/         regressors that serve all keypoints
    tensorboard/final/                                 the final network, epoch by epoch as it learns

They are no results: no stage reads them, and what is trained is the same with them or without. They repeat
the ``history`` of each ``model.json``, so curves that a stop has cut short are whole again when the stage is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from labelfill.errors import UsageError
from labelfill.runs import RunDirectory, kept
from labelfill.runs.records import parsed_json, record_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
_ABOUT = "model.json"
_SHOWN = ("loss", "rmse", "mae")

Figures = Mapping[str, float]
History = list[list[dict[str, float]]] | list[dict[str, float]]


def require_tensorboard() -> None:
    """Raise `UsageError` if tensorboard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError("--tensorboard needs tensorboard: pip install 'labelfill[tensorboard]'") from error


class Curves:
    """The learning curves of one stage, written while it works in `run`; a context manager.

    Raises
    ------
    UsageError
        If tensorboard is not installed.
    """

    def __init__(self, run: RunDirectory, stage: str) -> None:
        require_tensorboard()
        self._run, self._stage = run, stage
        self._whole: set[str] = set()
        self._growing: dict[str, SummaryWriter] = {}

    def __enter__(self) -> Curves:
        self._run.watcher = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._run.watcher = None
        for writer in self._growing.values():
            writer.close()
        if kind is None:
            self._settle()

    def epoch_done(self, model: str, step: int, figures: Figures) -> None:
        """Add an epoch to a model's curve; epoch 0 begins it anew."""
        if step == 0 or model not in self._growing:
            self._growing[model] = self._new(model)
        _add(self._growing[model], step, figures)
        self._growing[model].flush()

    def unit_saved(self, files: Mapping[str, bytes]) -> None:
        """Write the whole curves of a model that is finished."""
        for path, data in files.items():
            model, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
            if name == _ABOUT:
                self._write(model, _history(data))

    def _write(self, model: str, history: History) -> None:
        """A whole curve: ``history`` of a ``model.json`` has one entry per epoch, or one list per fold."""
        if model in self._growing:
            self._growing.pop(model).close()
        self._whole.add(model)
        by_fold = bool(history) and isinstance(history[0], list)
        folds: Any = enumerate(history) if by_fold else [("", history)]
        shutil.rmtree(self._folder(model), ignore_errors=True)  # nothing of an earlier curve lies beside it
        for fold, epochs in folds:
            with self._new(f"{model}/fold-{fold}" if by_fold else model) as writer:
                for step, figures in enumerate(epochs):
                    _add(writer, step, figures)

    def _settle(self) -> None:
        """Write the curves of models that were finished before, and remove those of models that are gone."""
        units = self._run.stages.get(self._stage, {"units": {}})["units"].values()
        about = [path for unit in units for path in unit["files"] if PurePosixPath(path).name == _ABOUT]
        models = {str(PurePosixPath(path).parent) for path in about}
        for path in about:
            model = str(PurePosixPath(path).parent)
            if model not in self._whole:
                self._write(model, kept.read(self._run, self._stage, path, _history))
        for shelf in {PurePosixPath(model).parts[0] for model in models}:
            for folder in self._folder(shelf).iterdir():
                if folder.is_dir() and f"{shelf}/{folder.name}" not in models:
                    shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, model: str) -> Path:
        return self._run.path / FOLDER / model

    def _new(self, model: str) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(self._folder(model), ignore_errors=True)
        return SummaryWriter(str(self._folder(model)))


@dataclass(frozen=True)
class _Learnt:
    """What is asked of a ``model.json``."""

    history: History


def _history(data: bytes) -> History:
    about = parsed_json(data)
    found = {"history": about["history"]} if isinstance(about, dict) and "history" in about else about
    return record_of(_Learnt, found).history


def _add(writer: SummaryWriter, step: int, figures: Figures) -> None:
    for name in _SHOWN:
        if name in figures:
            writer.add_scalar(name, figures[name], step)
