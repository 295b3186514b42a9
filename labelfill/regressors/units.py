"""Trains regressors as independent units of work, several at a time, and keeps what is finished."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from labelfill.arrays import Mask
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.fit import Plan
from labelfill.networks.tasks import Task, announce, estimated_seconds, perform
from labelfill.regressors.ensemble import Regressor
from labelfill.regressors.examples import MOST_EXAMPLES, Evidence, example_count
from labelfill.regressors.network_files import load_regressor, load_start, regressor_files, trunk_files
from labelfill.regressors.patch_regressor import RegressorJob
from labelfill.regressors.trunk import Look, Start, TrunkJob, all_looks, most_of_each
from labelfill.regressors.unit_names import STAGE, TRUNK, UnitKind, UnitName
from labelfill.regressors.views import View, ViewKind
from labelfill.runs import RunDirectory, safe_file_name
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
    rate
        Of the learning rate.
    least_steps
        In all: networks of few rows go through them several times per epoch. More epochs would each end with
        a look at the validation rows and a checkpoint.
    """

    share: float
    rate: float
    least_steps: int


_ALONE, _OF_TRUNK = _Course(1.0, 1.0, 100), _Course(0.35, 1.0, 1000)
# What starts from a trunk has less to learn, and what starts from its keypoint's networks hardly anything.
_TUNING = _Course(0.2, 0.7, 100)
_BESIDE_A_TRUNK = {
    UnitKind.PROBE: _TUNING, UnitKind.AUDIT: _Course(0.1, 0.7, 50),
    UnitKind.PATCH: _TUNING, UnitKind.FACE: _Course(0.6, 1.0, 100),
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One regressor to train: what it sees, and the patterns of the rows that it will fill."""

    name: UnitName
    label: str
    view: View
    bank: PatternBank


@dataclass(frozen=True)
class UnitTrainer:
    """Trains units, skips those that are finished, and writes each as soon as it is.

    Attributes
    ----------
    announced
        Whether it was said how long this will take.
    finished
        Names of the units that count as finished; None: those in the run directory.
    """

    run: RunDirectory
    settings: KeypointModelSettings
    seed: int
    computing: Computing
    announced: bool = False
    finished: Collection[str] | None = None

    def announce(
        self, what: str, units: Sequence[Unit], evidence: Evidence, blank: Mask | None = None
    ) -> UnitTrainer:
        """Log how long units and the trunk that they start from will take, if that is over a minute.

        Parameters
        ----------
        blank
            (n, K): what is to be filled; None where no trunk is needed.

        Returns
        -------
        UnitTrainer
            One that does not announce the same work again.
        """
        known = announce(what, self.planned(units, evidence, blank), evidence, self.computing)
        return replace(self, announced=known)

    def planned(self, units: Sequence[Unit], evidence: Evidence, blank: Mask | None) -> list[Task]:
        """What is still to be trained; the tasks are like those of the training in cost, not in outcome."""
        tasks = [] if blank is None else self._trunk_tasks(evidence, blank)[0]
        return tasks + [task for _, task in self._unit_tasks(units, evidence, None, tuned=blank is not None)]

    def estimated_seconds(self, tasks: Sequence[Task], evidence: Evidence) -> float | None:
        """About how long tasks will take; None where that cannot be told."""
        return estimated_seconds(tasks, evidence, self.computing)

    def start(self, evidence: Evidence, blank: Mask, trained: Sequence[UnitName] = ()) -> Start:
        """What patch regressors start from; its trunk is trained when it is first asked for.

        Parameters
        ----------
        blank
            (n, K): what is to be filled.
        trained
            Finished patch regressors from which those of the same keypoints start.
        """
        name = str(TRUNK)
        tasks, looks, examples = self._trunk_tasks(evidence, blank)
        if tasks:
            done = dict(self._performed(tasks, evidence, "common start"))
            fitted = [network for fold in range(evidence.fold_count) for network in done[fold]]
            self._keep(
                name,
                "common start",
                trunk_files(fitted, looks[0].view.size, evidence.schema, examples, evidence.folds),
                fitted,
            )
        return load_start(self.run, evidence.schema, trained)

    def _trunk_tasks(self, evidence: Evidence, blank: Mask) -> tuple[list[Task], tuple[Look, ...], int]:
        """A task for each fold's trunk, what they look at, and how many examples; none if it is finished."""
        name = str(TRUNK)
        if self._is_finished(name):
            return [], (), 0
        looks = all_looks(evidence, blank, self.settings.patch_size)
        most = most_of_each(len(looks))
        examples = sum(min(example_count(look.view, look.bank, evidence), most) for look in looks)
        plan, passes = self._plan(examples, _OF_TRUNK)
        job = TrunkJob(looks, plan, passes, self.seed, str(self.computing.device))
        folds = range(evidence.fold_count)
        return [self._task(name, job, (fold,), passes * examples) for fold in folds], looks, examples

    def train(
        self, units: Sequence[Unit], evidence: Evidence, desc: str, start: Start | None = None
    ) -> list[Regressor]:
        """The trained regressors, in the order of `units`.

        Parameters
        ----------
        start
            What those that see patches start from.
        """
        run, schema = self.run, evidence.schema
        todo = self._unit_tasks(units, evidence, start, tuned=start is not None)
        before = len(units) - len(todo)
        for number, fitted in self._performed([task for _, task in todo], evidence, desc, before):
            unit = todo[number][0]
            examples = example_count(unit.view, unit.bank, evidence)
            files = regressor_files(unit.name, unit.view, fitted, schema, examples)
            self._keep(str(unit.name), unit.label, files, fitted)
        return [load_regressor(run, unit.name, schema, self.computing.device) for unit in units]

    def _unit_tasks(
        self, units: Sequence[Unit], evidence: Evidence, start: Start | None, *, tuned: bool
    ) -> list[tuple[Unit, Task]]:
        """Units that are not finished, and the task of each.

        Parameters
        ----------
        tuned
            Whether those that see patches start from a trunk, and so have less to learn.
        """
        tasks, folds = [], tuple(range(evidence.fold_count))
        for unit in units:
            if self._is_finished(str(unit.name)):
                continue
            sees_patch = unit.view.kind is ViewKind.PATCH
            examples = min(example_count(unit.view, unit.bank, evidence), MOST_EXAMPLES)
            course = _BESIDE_A_TRUNK.get(unit.name.kind, _ALONE) if tuned else _ALONE
            plan, passes = self._plan(examples, course)
            job = RegressorJob(
                str(unit.name), unit.view, unit.bank, plan, passes, self.seed, str(self.computing.device),
                start if sees_patch else None,
            )  # fmt: skip
            tasks.append((unit, self._task(job.name, job, folds, passes * examples)))
        return tasks

    def _is_finished(self, name: str) -> bool:
        if self.finished is not None:
            return name in self.finished
        return self.run.finished_unit(STAGE, name) is not None

    def _plan(self, examples: int, course: _Course) -> tuple[Plan, float]:
        """How a network of so many examples learns, and how often an epoch goes through them."""
        settings = self.settings
        epochs = max(round(settings.epochs * course.share), 1)
        rate = settings.learning_rate * course.rate
        plan = Plan(epochs, settings.batch_size, rate, best_by=settings.best_by)
        fewer = settings.epochs < KeypointModelSettings().epochs  # who asks for fewer epochs gets fewer
        return plan.over(examples, 0 if fewer else course.least_steps)

    def _task(self, name: str, job: RegressorJob | TrunkJob, folds: tuple[int, ...], examples: float) -> Task:
        # A step of a regressor of all keypoints takes about three times as long.
        cost = 3 if isinstance(job, RegressorJob) and job.view.keypoint is None else 1
        steps = cost * job.plan.epochs * len(folds) * examples / job.plan.batch_size
        begun = self.run.stages.get(STAGE)
        if begun is None or self.computing.engine.cluster:  # a dry run keeps nothing either
            return Task(job, folds, steps, None)
        begin = self.run.checkpoint_folder(STAGE) / f"{begun['attempt']}-{safe_file_name(name)}"
        return Task(job, folds, steps, begin)

    def _performed(
        self, tasks: Sequence[Task], evidence: Evidence, desc: str, before: int = 0
    ) -> Iterator[tuple[int, list[Fitted]]]:
        """The number of each task and what came of it, as they are finished; `before` were done before."""
        self.run.checkpoint_folder(STAGE).mkdir(parents=True, exist_ok=True)
        yield from perform(tasks, evidence, self.computing, desc, done=before, announced=self.announced)

    def _keep(self, name: str, label: str, files: Mapping[str, bytes], fitted: list[Fitted]) -> None:
        best = [network.history[network.best_epoch] for network in fitted]
        self.run.save_unit(STAGE, name, files, {"best": best})
        self.run.record({"stage": STAGE, "unit": name, "label": label, "best": best})
