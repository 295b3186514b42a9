"""Ways of filling that are trained: labelfill's regressors, regressors of images alone, the shape prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from labelfill.arrays import Array
from labelfill.data.dataset import Dataset
from labelfill.errors import UsageError
from labelfill.filling.fill import fill
from labelfill.filling.request import FillRequest
from labelfill.filling.simple_ways import SimpleMethod
from labelfill.networks.devices import Computing, choose_device
from labelfill.regressors.files import load_models
from labelfill.reports.comparison.held_out import Hidden, hide
from labelfill.reports.comparison.stages import (
    Setting,
    check_one_split,
    fill_by_models,
    train_final_on,
    train_models,
)
from labelfill.runs import load_split, write_bytes
from labelfill.runs.resources import Cost, measured_once
from labelfill.settings import FinalModelSettings, ImputeSettings, KeypointModelSettings, Labels
from labelfill.sources.preparation import groups_of_rows

T = TypeVar("T")

ModelWay = Literal["prior", "image-only", "anchored"]
MODEL_WAYS: tuple[ModelWay, ...] = get_args(ModelWay)


@dataclass(frozen=True)
class Answer:
    """What a way filled: (n, K, 2) px, NaN where it left a cell blank; and what it took."""

    xy: Array
    cost: Cost | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class FinalScore:
    """The final network of a way: errors in px on held-out rows' observed labels, and what it took.

    Attributes
    ----------
    plateau
        Whether its validation error had stopped falling; None without validation rows.
    budget_limited
        Whether more epochs would have helped, or only some of the rows were learnt from.
    """

    rmse: float
    mae: float
    rows: int
    seconds: float
    peak_memory: int | None
    parameters: int
    epochs: int
    plateau: bool | None
    budget_limited: bool


class TrainedWays:
    """Ways that are trained on a table, each in a run directory of its own, by one split."""

    def __init__(self, setting: Setting, models: KeypointModelSettings) -> None:
        self.setting, self._models = setting, models
        self._costs: dict[str, Cost] = {}
        self._paths: dict[str, Path] = {}

    def train(self, way: ModelWay) -> None:
        """Train a way's models, unless it was done; all ways have to divide the rows alike."""
        if way in self._costs:
            return
        settings = _for_method(self._models, way)
        _, self._costs[way] = self._measured(
            f"{way}/cost.json", lambda force: train_models(self.setting, way, settings, force=force)
        )
        check_one_split(self.setting, list(self._costs))

    def filled(self, way: ModelWay) -> Path:
        """The table filled by a way."""
        self.train(way)
        if way not in self._paths:
            path, cost = self._measured(
                f"{way}/cost-of-filling.json", lambda force: fill_by_models(self.setting, way, force=force)
            )
            self._paths[way] = path
            self._costs[way] = self._costs[way] + cost
        return self._paths[way]

    def answer(self, way: ModelWay, xy: Array) -> Answer:
        """What it filled in, with what it took, and the trainable numbers of all its networks and folds."""
        files = (self.setting.folder / way / "keypoint-models").rglob("*.safetensors")
        return Answer(xy, self._costs[way], sum(_count(file) for file in files))

    @property
    def basis(self) -> ModelWay:
        """Whose label sources and split final networks use: the best way's there is, else the prior's."""
        for way in ("anchored", "image-only"):
            if way in self._costs:
                return way
        self.train("prior")
        return "prior"

    def hidden(self) -> tuple[Dataset, Hidden, NDArray[np.int8]]:
        """The table, its held-out rows with labels hidden, and the part of each row."""
        with self.setting.open(self.basis) as run:
            dataset = self.setting.read(run)
            parts = load_split(run.path / "split.csv", dataset.table.rows)
        return dataset, hide(dataset, parts, self.setting.seed), parts

    def answer_hidden(self, way: ModelWay, dataset: Dataset, hidden: Hidden) -> Answer:
        """What a way finds for the hidden labels (m, K, 2); rows keep the label source that they had."""
        self.train(way)
        computing = Computing(choose_device(self.setting.device))
        with self.setting.open(way) as run:
            models = load_models(run, computing.device)
        groups = groups_of_rows(dataset, models.sources.groups)[hidden.rows]
        part = hidden.dataset(dataset)
        found = fill(FillRequest(part, models, ImputeSettings(), groups), computing)
        return self.answer(way, part.in_own_px(found.fills.xy))

    def final(
        self,
        name: str,
        settings: FinalModelSettings,
        filled: Path | None = None,
        original: Path | None = None,
    ) -> FinalScore:
        """The final network of a way, in the run directory ``NAME``."""
        basis = self.basis
        results, cost = self._measured(
            f"{name}/cost.json",
            lambda force: train_final_on(
                self.setting, name, settings, models=basis, filled=filled, original=original, force=force
            ),
        )
        part = "evaluation" if "evaluation rmse" in results else "validation"
        limited = results["plateau"] is not True or settings.most_rows is not None
        return FinalScore(
            results[f"{part} rmse"], results[f"{part} mae"], results[f"{part} rows"], cost.seconds,
            cost.peak_memory, results["parameters"], results["epochs"], results["plateau"], limited,
        )  # fmt: skip

    def _measured(self, file: str, work: Callable[[bool], T]) -> tuple[T, Cost]:
        """Work done or continued; started over, if that is allowed, where it was done with other settings."""
        path = self.setting.folder / file
        try:
            return measured_once(partial(work, False), path, write_bytes)
        except UsageError:
            if not self.setting.force:
                raise
        return measured_once(partial(work, True), path, write_bytes, anew=True)


def _for_method(models: KeypointModelSettings, way: ModelWay) -> KeypointModelSettings:
    if way == "prior":
        return KeypointModelSettings(method="prior", mirror_pairs=models.mirror_pairs)
    return replace(models, method=way)


def labels_of(way: SimpleMethod | ModelWay) -> Labels:
    """What `FinalModelSettings.labels` calls what a way puts into blank cells."""
    if way == "prior" or way == "image-only" or way == "anchored":
        return "filled"
    return way


def _count(file: Path) -> int:
    """Numbers in a file of weights that learn: running statistics are none."""
    with safe_open(file, "np") as weights:
        names = [n for n in weights.keys() if "running_" not in n and "num_batches" not in n]  # noqa: SIM118
        return sum(prod(weights.get_slice(name).get_shape()) for name in names)
