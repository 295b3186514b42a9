"""Trains regressors as independent units of work, several at a time, and keeps what is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labelfill.arrays import Mask
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.fit import Plan
from labelfill.networks.tasks import Task, perform
from labelfill.regressors.ensemble import Regressor
from labelfill.regressors.examples import MOST_EXAMPLES, Evidence, example_count
from labelfill.regressors.files import STAGE, load_regressor, load_trunk, regressor_files, trunk_files
from labelfill.regressors.patch_regressor import RegressorJob
from labelfill.regressors.trunk import Trunk, TrunkJob, all_looks, most_of_each
from labelfill.regressors.unit_names import TRUNK, UnitName
from labelfill.regressors.views import View, ViewKind
from labelfill.runs import RunDirectory, safe_file_name
from labelfill.runs.progress import bar
from labelfill.settings import KeypointModelSettings
from labelfill.sources.anchors import PatternBank

__all__ = ["STAGE", "Unit", "UnitTrainer"]


@dataclass(frozen=True)
class _Course:
    """How a network learns, beside what the settings say.

    Attributes
    ----------
    share
        Of the epochs asked for.
    step
        Of the rate and the rows of a step.
    least_steps
        In all: networks of few rows go through them several times per epoch. More epochs would each end with
        a look at the validation rows and a checkpoint.
    """

    share: float
    step: float
    least_steps: int


# What starts from a trunk has less to learn.
_ALONE, _OF_TRUNK, _TUNING = _Course(1.0, 1.0, 100), _Course(0.4, 1.0, 1000), _Course(0.25, 0.5, 200)


@dataclass(frozen=True)
class Unit:
    """One regressor to train: what it sees, and the patterns of the rows that it will fill."""

    name: UnitName
    label: str
    view: View
    bank: PatternBank


@dataclass(frozen=True)
class UnitTrainer:
    """Trains units, skips those that are finished, and writes each as soon as it is."""

    run: RunDirectory
    settings: KeypointModelSettings
    seed: int
    computing: Computing

    def trunk(self, evidence: Evidence, blank: Mask) -> Trunk:
        """What patch regressors start from, trained when it is first asked for.

        Parameters
        ----------
        blank
            (n, K): what is to be filled.
        """
        name, run = str(TRUNK), self.run
        if run.finished_unit(STAGE, name) is None:
            looks = all_looks(evidence, blank, self.settings.patch_size)
            most = most_of_each(len(looks))
            examples = sum(min(example_count(look.view, look.bank, evidence), most) for look in looks)
            plan, passes = self._plan(examples, _OF_TRUNK)
            job = TrunkJob(looks, plan, passes, self.seed, str(self.computing.device))
            folds = range(evidence.fold_count)
            tasks = [self._task(name, job, (fold,), passes * examples) for fold in folds]
            done = dict(self._performed(tasks, evidence, "common start"))
            fitted = [network for fold in folds for network in done[fold]]
            self._keep(
                name,
                "common start",
                trunk_files(fitted, looks[0].view.size, evidence.schema, examples, evidence.folds),
                fitted,
            )
        return load_trunk(run, evidence.schema)

    def train(
        self, units: Sequence[Unit], evidence: Evidence, desc: str, trunk: Trunk | None = None
    ) -> list[Regressor]:
        """The trained regressors, in the order of `units`.

        Parameters
        ----------
        trunk
            What those that see patches start from.
        """
        run, schema, folds = self.run, evidence.schema, tuple(range(evidence.fold_count))
        todo = [unit for unit in units if run.finished_unit(STAGE, str(unit.name)) is None]
        counts = [example_count(unit.view, unit.bank, evidence) for unit in todo]
        tasks = []
        for unit, count in zip(todo, counts, strict=True):
            from_trunk = trunk if unit.view.kind is ViewKind.PATCH else None
            course = _ALONE if from_trunk is None else _TUNING
            plan, passes = self._plan(min(count, MOST_EXAMPLES), course)
            job = RegressorJob(
                str(unit.name), unit.view, unit.bank, plan, passes, self.seed, str(self.computing.device),
                from_trunk,
            )  # fmt: skip
            tasks.append(self._task(job.name, job, folds, passes * min(count, MOST_EXAMPLES)))
        for number, fitted in self._performed(tasks, evidence, desc, len(units) - len(todo)):
            unit = todo[number]
            files = regressor_files(unit.name, unit.view, fitted, schema, counts[number])
            self._keep(str(unit.name), unit.label, files, fitted)
        return [load_regressor(run, unit.name, schema, self.computing.device) for unit in units]

    def _plan(self, examples: int, course: _Course) -> tuple[Plan, int]:
        """How a network of so many examples learns, and how often an epoch goes through them."""
        settings = self.settings
        epochs = max(round(settings.epochs * course.share), 1)
        batch = max(round(settings.batch_size * course.step), 1)
        plan = Plan(epochs, batch, settings.learning_rate * course.step, best_by=settings.best_by)
        fewer = settings.epochs < KeypointModelSettings().epochs  # who asks for fewer epochs gets fewer
        return plan, 1 if fewer else plan.passes(examples, course.least_steps)

    def _task(self, name: str, job: RegressorJob | TrunkJob, folds: tuple[int, ...], examples: int) -> Task:
        # A step of a regressor of all keypoints takes about three times as long.
        cost = 3 if isinstance(job, RegressorJob) and job.view.keypoint is None else 1
        steps = cost * job.plan.epochs * len(folds) * examples / job.plan.batch_size
        attempt = self.run.stages[STAGE]["attempt"]
        begin = self.run.checkpoint_folder(STAGE) / f"{attempt}-{safe_file_name(name)}"
        return Task(job, folds, steps, None if self.computing.engine.cluster else begin)

    def _performed(
        self, tasks: Sequence[Task], evidence: Evidence, desc: str, before: int = 0
    ) -> Iterator[tuple[int, list[Fitted]]]:
        """The number of each task and what came of it, as they are finished; `before` were done before."""
        self.run.checkpoint_folder(STAGE).mkdir(parents=True, exist_ok=True)
        total, show = before + len(tasks), self.computing.progress
        with bar(total=total, desc=desc, unit="model", show=show) as shown:
            shown.update(before)
            for number, fitted in perform(tasks, evidence, self.computing):
                yield number, fitted
                shown.update()

    def _keep(self, name: str, label: str, files: Mapping[str, bytes], fitted: list[Fitted]) -> None:
        best = [network.history[network.best_epoch] for network in fitted]
        self.run.save_unit(STAGE, name, files, {"best": best})
        self.run.record({"stage": STAGE, "unit": name, "label": label, "best": best})
