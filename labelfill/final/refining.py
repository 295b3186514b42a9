"""How the networks of the second look are trained: on patches where the final network's answers could lie.

What the final network answers for a row is imitated by the row's target and the whole error that the network
made on another row, one that it did not learn from: so a row's errors belong together as they do there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.images.identity import exact_ids
from labelfill.final.fitting import FinalSetup, mean_target, rows_learnt_from
from labelfill.final.held_out import PartAnswers
from labelfill.final.model import STAGE, FinalModel, mirror_of_patches
from labelfill.final.refiner import Patches, Refiner, departures
from labelfill.final.targets import Targets
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.folding import folded
from labelfill.networks.tasks import Task, announce, perform
from labelfill.regressors.calibration.joint_correction import JointCorrection, fit_joint_correction
from labelfill.regressors.examples import chosen_rows, joined
from labelfill.regressors.patches import Pyramid, photometric_jitter, standardise
from labelfill.regressors.scores import score
from labelfill.regressors.trunk import Start
from labelfill.regressors.views import patch_of_errors
from labelfill.runs import RunDirectory, safe_file_name
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.settings import PRESETS

_TRUNK = "second look trunk"
_SIZE = 32
# Patches are this much smaller than those of keypoint models for errors of the same size.
_NEARER = 0.8
# How often a row's own answer is imitated, and not that of another row.
_OWN = 0.75
_LOOKS = 2
_INSIDE = 0.75
# A look that lowers the squared error of rows that it did not learn from by a smaller share is not taken.
LEAST_GAIN = 0.01
# Fewer rows do not tell how the final network errs.
_LEAST_ROWS = 10
_MOST_RESIDUAL_ROWS = 1000
_FOLDS, _JOINT_FOLDS = 3, 4


@dataclass(frozen=True)
class _Course:
    """How a network learns: passes over at most so many examples of a head, in at least so many steps."""

    epochs: int
    most: int
    batch: int
    rate: float
    least_steps: int

    def plan(self, examples: int, asked: float) -> tuple[Plan, float]:
        """The plan, and how often an epoch goes through so many examples.

        Parameters
        ----------
        asked
            The share of the preset's epochs that is asked for: who asks for fewer gets fewer.
        """
        plan = Plan(max(round(self.epochs * min(asked, 1.0)), 1), self.batch, self.rate)
        return plan.over(examples, self.least_steps if asked >= 1 else 0)


_OF_TRUNK, _TUNING = _Course(8, 700, 64, 2e-3, 1000), _Course(6, 1000, 64, 1.4e-3, 80)


@dataclass(frozen=True)
class Evidence:
    """What all networks of the second look learn from.

    Attributes
    ----------
    partners
        (H,) mirror partners of heads; None if mirrored rows are not used.
    images
        (n, h, w) uint8, of training rows, their contrast as the networks know it.
    targets
        Of these rows.
    folds
        (n,): the fold of each row.
    errors
        (m, H, 2), px: the final network's on rows that it did not learn from.
    own_errors
        (n, H, 2), px: its errors on these rows, as large on the whole as they are on others; NaN where
        there is no target.
    """

    schema: KeypointSchema
    partners: tuple[int, ...] | None
    images: NDArray[np.uint8]
    targets: Targets
    folds: Integers
    fold_count: int
    errors: Array
    own_errors: Array
    patches: Patches

    def partner(self, head: int) -> int:
        """The head's mirror partner; -1 for none."""
        return -1 if self.partners is None else self.partners[head]

    def known(self, rows: Integers, mirrored: Mask) -> tuple[Array, Array]:
        """Targets (n, H, 2), NaN where there is none, and weights (n, H); some mirrored."""
        xy, weight = self.targets.seen(rows, mirrored, self.schema, self.partners)
        return np.where((weight > 0)[..., None], xy, np.nan), weight

    def answered(self, rows: Integers, mirrored: Mask, xy: Array, generator: np.random.Generator) -> Array:
        """(n, H, 2) px: where the final network's answers for rows with targets `xy` could lie.

        Most of them where they do, the others as far off as those of other rows.
        """
        errors = self.errors[generator.integers(0, len(self.errors), len(xy))]
        elsewhere = self._flipped(errors, generator.random(len(xy)) < 0.5)
        there = self._flipped(self.own_errors[rows], mirrored)
        own = (generator.random(len(xy)) < _OWN)[:, None, None] & np.isfinite(there)
        return xy + np.where(own, there, elsewhere)

    def _flipped(self, errors: Array, which: Mask) -> Array:
        """Errors (n, H, 2), some rows' as in the mirrored image."""
        if self.partners is None:
            return errors
        order = np.asarray(self.partners)
        flipped = np.where((order >= 0)[:, None], errors[:, order] * np.array([-1.0, 1.0]), errors)
        return np.where(which[:, None, None], flipped, errors)


@dataclass(frozen=True)
class RefinerJob:
    """The network of a head, or of all heads together, to be trained.

    Attributes
    ----------
    heads
        Those that it answers.
    most, passes
        How many examples of a head an epoch has at most, or else how often it goes through all.
    start
        What its weights are before it learns, and of which keypoint; None: random.
    """

    name: str
    heads: tuple[int, ...]
    plan: Plan
    most: int
    passes: float
    seed: int
    device: str
    start: tuple[Start, int] | None = None

    def train(
        self, evidence: Evidence, folds: Sequence[int], checkpoint: Callable[[int], Path | None]
    ) -> list[Fitted]:
        """Train the network of some folds, each without its fold's rows; the last epoch is kept."""
        pyramid = Pyramid(evidence.images, torch.device(self.device))
        fitted = []
        for fold in folds:
            torch.manual_seed(random_key(self.seed, self.name, fold, "weights"))
            network = PatchRegressor(int(evidence.patches.size[0]), len(evidence.patches.mean))
            if self.start is not None:
                weights, keypoint = self.start[0].of(self.start[1], fold)
                network.start_from(weights, {self.heads[0]: keypoint})
            if not any(len(_sample(evidence, head, evidence.folds != fold).rows) for head in self.heads):
                network.start_from(network.state_dict(), {})  # it leaves answers where they are
                fitted.append(Fitted(network.state_dict(), -1))
                continue
            draw = self._drawing(evidence, fold, pyramid)
            key, file = (self.seed, self.name, fold), checkpoint(fold)
            fitted.append(fit(network.to(pyramid.device), draw, None, self.plan, key=key, checkpoint=file))
        return fitted

    def _drawing(self, evidence: Evidence, fold: int, pyramid: Pyramid) -> Callable[[int], Examples]:
        inside = evidence.folds != fold
        samples = [_sample(evidence, head, inside) for head in self.heads]

        def draw(epoch: int) -> Examples:
            parts = []
            for head, sample in zip(self.heads, samples, strict=True):
                key = random_key(self.seed, self.name, fold, epoch, head)
                chosen = chosen_rows(len(sample.rows), self.most, self.passes, key)
                if len(chosen):
                    some = _Sample(sample.rows[chosen], sample.mirrored[chosen])
                    parts.append(_examples(evidence, head, some, pyramid, key))
            return parts[0] if len(parts) == 1 else joined(parts)

        return draw


@dataclass(frozen=True)
class _Sample:
    """Rows to learn from, and which of them are mirrored."""

    rows: Integers
    mirrored: Mask


def _sample(evidence: Evidence, head: int, inside: Mask) -> _Sample:
    """Rows with a target for a head, then those whose mirrored copies have one."""
    rows = np.flatnonzero(inside & (evidence.targets.weight[:, head] > 0))
    copies, partner = rows[:0], evidence.partner(head)
    if partner >= 0:
        copies = np.flatnonzero(inside & (evidence.targets.weight[:, partner] > 0))
    return _Sample(np.concatenate([rows, copies]), np.repeat([False, True], [len(rows), len(copies)]))


def _examples(evidence: Evidence, head: int, sample: _Sample, pyramid: Pyramid, key: int) -> Examples:
    """Patches of one head where the final network's answers could lie, jittered."""
    generator = np.random.default_rng(key)
    xy, weight = evidence.known(sample.rows, sample.mirrored)
    answered = evidence.answered(sample.rows, sample.mirrored, xy, generator)
    patches = evidence.patches
    half, spread = patches.half[head], patches.spread[head]
    frames = patches.around(answered).frames(head, patches).jittered(generator)
    light = torch.Generator(device=pyramid.device)
    light.manual_seed(key)
    cut = pyramid.cut(sample.rows, sample.mirrored, frames, int(patches.size[0]), half)
    inputs = standardise(photometric_jitter(cut, light))
    offset = frames.to_frame(np.nan_to_num(xy - frames.centre[:, None])) * half
    target = (offset - (patches.mean - patches.mean[head])) / spread
    # What other keypoints a patch shows teaches its network, too.
    weight = weight * evidence.patches.shown[head]

    def move(values: Array) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(pyramid.device)

    return Examples(
        inputs, inputs.new_zeros(len(xy), 0), move(target), move(weight),
        move(frames.half * spread / half),
    )  # fmt: skip


def train_refiner(
    run: RunDirectory,
    setup: FinalSetup,
    model: FinalModel,
    targets: Targets,
    images: NDArray[np.uint8],
    validation: PartAnswers | None,
    start: Start | None,
) -> Refiner | None:
    """The networks of the second look, trained on training rows; None if too few rows tell how answers err.

    Parameters
    ----------
    images
        Of all rows.
    validation
        The final network's answers for rows that it did not learn from.
    start
        What networks of patches start from, learnt from this table; None if there is nothing: anew.
    """
    if validation is None or len(validation.rows) < _LEAST_ROWS:
        return None
    training, _ = rows_learnt_from(targets, setup.parts, setup.settings, setup.seed)
    evidence = _evidence(setup, model, targets, images, training, validation, start)
    untrained = Refiner(model.schema, evidence.partners, evidence.patches, [])
    networks = _trained(run, setup, model, evidence, start)
    return _with_corrections(replace(untrained, networks=networks), evidence, setup)


def _evidence(
    setup: FinalSetup, model: FinalModel, targets: Targets, images: NDArray[np.uint8], training: Integers,
    validation: PartAnswers, start: Start | None,
) -> Evidence:  # fmt: skip
    inside = targets.take(training)
    partners = mirror_of_patches(model.partners, setup.settings)
    errors = _whole_errors(validation, targets, setup.seed)
    sigma = np.array([score(of_head).rmse for of_head in errors.swapaxes(0, 1)])
    if partners is not None:  # the same patch is looked at for both
        order = np.asarray(partners)
        sigma = np.where(order >= 0, np.maximum(sigma, sigma[order]), sigma)
    mean = mean_target(inside, np.ones(len(training), bool), model.schema) + model.schema.image_size.centre
    extent = float(np.ptp(mean, axis=0).max())
    size = _SIZE if start is None else start.size
    views = [patch_of_errors(head, float(one), extent, model.schema, size) for head, one in enumerate(sigma)]
    half = _NEARER * np.array([view.half for view in views])
    patches = Patches(
        mean, sigma, half, np.array([view.spread for view in views]), np.array([size]),
        _shown(mean, half) & (inside.weight.sum(axis=0) > 0)[:, None],
    )  # fmt: skip
    seen = images[training]
    grey, (answered, _) = model.grey(seen), model.answer(seen, setup.computing.device)
    folds, count = _folds(grey, training, start, setup.seed)
    own = np.where((inside.weight > 0)[..., None], answered - inside.xy, np.nan)
    on_rows = np.array([score(of_head).rmse for of_head in own.swapaxes(0, 1)])
    enlarged = own * (sigma / np.maximum(on_rows, 1e-9))[:, None]
    return Evidence(model.schema, partners, grey, inside, folds, count, errors, enlarged, patches)


def _shown(mean: Array, half: Array) -> Mask:
    """(H, H): which heads' keypoints a mean shape's (H, 2) patches show, a little inside their edges."""
    apart = np.abs(mean[None] - mean[:, None]).max(axis=2)
    shown: Mask = apart < _INSIDE * half[:, None]
    return shown


def _whole_errors(validation: PartAnswers, targets: Targets, seed: int) -> Array:
    """(m, H, 2), px: errors of rows' answers; where a row has no target, those of other rows."""
    there = targets.take(validation.rows)
    errors, known = validation.xy - there.xy, there.weight > 0
    generator = np.random.default_rng(random_key(seed, STAGE, "errors"))
    pooled = errors[known]
    for head in range(errors.shape[1]):
        others = errors[known[:, head], head] if known[:, head].any() else pooled
        lacking = ~known[:, head]
        errors[lacking, head] = others[generator.integers(0, len(others), int(lacking.sum()))]
    return errors


def _folds(
    images: NDArray[np.uint8], training: Integers, start: Start | None, seed: int
) -> tuple[Integers, int]:
    """The fold of each training row (n,): those of what is started from; identical images share one."""
    if start is not None:
        return start.folds[training], len(start.trunk)
    return _random_folds(images, _FOLDS, random_key(seed, STAGE, "folds")), _FOLDS


def _random_folds(images: NDArray[np.uint8], count: int, key: int) -> Integers:
    which = np.unique(exact_ids(images), return_inverse=True)[1].reshape(-1)
    fold_of = np.random.default_rng(key).permutation(which.max() + 1) % count
    folds: Integers = fold_of[which]
    return folds


def _trained(
    run: RunDirectory, setup: FinalSetup, model: FinalModel, evidence: Evidence, start: Start | None
) -> list[list[nn.Module]]:
    """By head, the networks of each fold."""
    heads, keypoints = model.heads, model.heads.of_keypoint
    every = tuple(range(heads.count))
    if start is None:
        fitted = _performed(run, setup, evidence, {_TRUNK: every}, None)
        trunk = tuple(one.state for one in fitted[_TRUNK])
        start, keypoints = Start(trunk, {}, evidence.folds, _SIZE), every
    named = {f"second look {head}": (head,) for head in every}
    starts = {name: (start, keypoints[head]) for name, (head,) in named.items()}
    fitted = _performed(run, setup, evidence, named, starts)
    device = setup.computing.device
    return [[_folded(one, evidence.patches, device) for one in fitted[name]] for name in named]


def _folded(fitted: Fitted, patches: Patches, device: torch.device) -> nn.Module:
    network = PatchRegressor(int(patches.size[0]), len(patches.mean))
    network.load_state_dict(fitted.state)
    return folded(network.to(device))


def _performed(
    run: RunDirectory,
    setup: FinalSetup,
    evidence: Evidence,
    heads: Mapping[str, tuple[int, ...]],
    starts: Mapping[str, tuple[Start, int]] | None,
) -> dict[str, list[Fitted]]:
    """Networks by name, each fold's; what a killed run had finished is in its checkpoints."""
    course = _OF_TRUNK if starts is None else _TUNING
    folds, tasks = tuple(range(evidence.fold_count)), []
    attempt = run.stages[STAGE]["attempt"]
    assert setup.settings.epochs is not None, "settings are complete"
    asked = setup.settings.epochs / PRESETS["default"]["epochs"]
    for name, answered in heads.items():
        counts = [len(_sample(evidence, head, evidence.folds >= 0).rows) for head in answered]
        examples = sum(min(count, course.most) for count in counts)
        plan, passes = course.plan(examples, asked)
        begun = None if starts is None else starts[name]
        job = RefinerJob(
            name, answered, plan, course.most, passes, setup.seed, str(setup.computing.device), begun
        )
        steps = plan.epochs * len(folds) * passes * examples / plan.batch_size
        checkpoints = run.checkpoint_folder(STAGE) / f"{attempt}-{safe_file_name(name)}"
        tasks.append(Task(job, folds, steps, checkpoints))
    done: dict[str, list[Fitted]] = {}
    names = list(heads)
    known = announce("second look", tasks, evidence, setup.computing)
    for number, fitted in perform(tasks, evidence, setup.computing, "second look", announced=known):
        done[names[number]] = fitted
    return done


def _with_corrections(refiner: Refiner, evidence: Evidence, setup: FinalSetup) -> Refiner:
    """The networks put together: looks are taken as long as they bring answers nearer to the labels.

    Judged by training rows that are answered by networks which did not see them.
    """
    rows = _labelled_most(evidence.targets.observed)
    generator = np.random.default_rng(random_key(setup.seed, STAGE, "answers"))
    xy, _ = evidence.known(rows, np.zeros(len(rows), bool))
    labels = np.where(evidence.targets.observed[rows][..., None], xy, np.nan)
    place = np.where(np.isfinite(xy), xy, evidence.patches.mean)
    answered = evidence.answered(rows, np.zeros(len(rows), bool), place, generator)
    joint = _random_folds(evidence.images, _JOINT_FOLDS, random_key(setup.seed, STAGE, "joint"))[rows]
    pyramid = Pyramid(evidence.images[rows], setup.computing.device)
    corrections: list[JointCorrection | None] = []
    heads = np.flatnonzero(np.isfinite(labels).any(axis=(0, 2)))
    for _ in range(_LOOKS):
        shapes = evidence.patches.around(answered)
        looked = refiner.look(pyramid, shapes, evidence.folds[rows])
        correction, moved = fit_joint_correction(
            departures(shapes, looked), looked.own, labels, joint, heads, evidence.partners
        )
        if corrections and np.nansum((moved - labels) ** 2) > (1 - LEAST_GAIN) * np.nansum(
            (answered - labels) ** 2
        ):
            break
        corrections.append(correction)
        answered = moved
    return replace(refiner, corrections=tuple(corrections))


def _labelled_most(observed: Mask) -> Integers:
    """Rows (n, H) that are labelled; of very many those with most labels."""
    labels = observed.sum(axis=1)
    rows = np.flatnonzero(labels)
    if len(rows) <= _MOST_RESIDUAL_ROWS:
        return rows
    chosen: Integers = np.sort(rows[np.argsort(-labels[rows], kind="stable")[:_MOST_RESIDUAL_ROWS]])
    return chosen
