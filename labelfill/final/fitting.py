"""The final network built and fitted: where it begins, its sessions, and which of its epochs is kept."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from labelfill.arrays import Array, Integers, Mask, Parts
from labelfill.errors import DataError
from labelfill.final.filled_table import Filled
from labelfill.final.model import FOLDER, STAGE, FinalModel, build_final_network, whole_images
from labelfill.final.targets import Heads, Targets
from labelfill.networks.architectures import FinalNetwork
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.fit import Examples, Plan, beats, fit
from labelfill.original.design import design
from labelfill.regressors.patches import Frames, Pyramid, photometric_jitter
from labelfill.runs import TRAINING, VALIDATION, RunDirectory
from labelfill.runs.progress import bar, seconds_left
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.settings import PRESETS, FinalModelSettings

# Training images are turned, scaled and shifted at random by about this much (radians, share, share).
_TURN, _STRETCH, _SHIFT = 0.08, 0.045, 0.022

_LONGEST_SIDE = 80
_AVERAGED = 0.995
# Tables of few rows get more epochs, so that the network still takes about this many steps.
_LEAST_STEPS = 800
_GAIN = 0.01
_TRIED_STEPS = 4  # by which a dry run estimates how long training takes


@dataclass(frozen=True)
class FinalSetup:
    """What is decided before the final network is built.

    Attributes
    ----------
    partners
        (K,) mirror partners; None if mirrored rows are not used.
    sources
        Names of the label sources, in the order of group numbers.
    parts
        (n,): training, validation or evaluation.
    settings
        Complete.
    """

    schema: KeypointSchema
    partners: tuple[int, ...] | None
    sources: tuple[str, ...]
    parts: Parts
    settings: FinalModelSettings
    seed: int
    computing: Computing


def new_model(setup: FinalSetup, heads: Heads, targets: Targets) -> FinalModel:
    """An untrained network; labelfill's own begins at the mean shape."""
    schema, settings, training = setup.schema, setup.settings, setup.parts == TRAINING
    size, shape = schema.image_size, input_shape(schema)
    mean = mean_target(targets, training, schema)
    spread = size.unit
    if not settings.original:
        aside = (targets.xy[training] - (mean + size.centre))[targets.weight[training] > 0]
        spread = max(float(np.sqrt(np.mean(aside**2))) if len(aside) else size.unit / 10, 1.0)
    torch.manual_seed(random_key(setup.seed, STAGE, "weights"))
    outputs, device = heads.outputs(settings.rows == "separate"), setup.computing.device
    network = build_final_network(outputs, shape, settings).to(device)
    start = torch.from_numpy((mean / spread).astype(np.float32)).to(device)
    _start_at(network, start, outputs)
    partners = None if setup.partners is None else heads.partners(setup.partners)
    return FinalModel(network, schema, heads, shape, spread, partners, setup.sources, settings)


def input_shape(schema: KeypointSchema) -> tuple[int, int]:
    """Height and width of the network's input, in samples."""
    size = schema.image_size
    reduction = max(1.0, max(size.height, size.width) / _LONGEST_SIDE)
    return max(round(size.height / reduction), 8), max(round(size.width / reduction), 8)


def _start_at(network: nn.Module, mean: torch.Tensor, outputs: tuple[int, ...]) -> None:
    parts = [network] if len(outputs) == 1 else list(network.get_submodule("networks").children())
    for part, start in zip(parts, torch.split(mean, list(outputs)), strict=True):
        if isinstance(part, FinalNetwork):
            part.start_at(start)


def mean_target(targets: Targets, training: Mask, schema: KeypointSchema) -> Array:
    """(heads, 2): mean target of training rows (n,), from the image's centre, px."""
    weight = targets.weight[training][..., None]
    total = (weight * (targets.xy[training] - schema.image_size.centre)).sum(axis=0)
    mean: Array = total / np.maximum(weight.sum(axis=0), 1e-9)
    return mean


def fit_sessions(
    run: RunDirectory, setup: FinalSetup, model: FinalModel, targets: Targets, filled: Filled
) -> Fitted:
    """The long session with small batches, then the second from the best weights with large ones."""
    settings, seed, device = model.settings, setup.seed, setup.computing.device
    images = filled.dataset.images
    training, held_out = rows_learnt_from(targets, setup.parts, settings, seed)
    pyramid = model.pyramid(images[training], device)
    validation = None
    if len(held_out):
        labels = targets.take(held_out)
        observed = replace(labels, weight=labels.observed.astype(float))
        validation = plain_examples(model, observed, model.pyramid(images[held_out], device))
    inside, copies = targets.take(training), None
    if settings.original:
        copies = copied_examples(model, inside, pyramid, filled.complete[training], seed)
    plans = session_plans(settings, len(training))
    folder = run.checkpoint_folder(STAGE)
    folder.mkdir(parents=True, exist_ok=True)
    best: Fitted | None = None
    epochs = sum(plan.epochs for plan in plans)
    with bar(total=epochs, desc="final network", unit="epoch", show=setup.computing.progress) as shown:
        for number, plan in enumerate(plans):
            begun = sum(before.epochs for before in plans[:number])

            def draw(epoch: int, number: int = number) -> Examples:
                if copies is not None:
                    return copies
                return jittered_examples(model, inside, pyramid, random_key(seed, STAGE, number, epoch))

            def tell(figures: dict[str, float], begun: int = begun) -> None:
                if run.watcher is not None:
                    run.watcher.epoch_done(FOLDER, begun + int(figures["epoch"]), figures)
                shown.update()
                shown.set_postfix({name: f"{value:.3f}" for name, value in figures.items() if name == "rmse"})

            file = folder / f"{run.stages[STAGE]['attempt']}-{number}.safetensors"
            fitted = fit(
                model.network, draw, validation, plan,
                key=(seed, STAGE, number), checkpoint=file, on_epoch=tell,
            )  # fmt: skip
            best = fitted if best is None else _joined(best, fitted, plan)
            model.network.load_state_dict(best.state)
    assert best is not None
    return best


def estimated_seconds(setup: FinalSetup, heads: Heads, targets: Targets, filled: Filled) -> float:
    """About how long the sessions will take, by a few steps of an untrained network, which is thrown away."""
    training, _ = rows_learnt_from(targets, setup.parts, setup.settings, setup.seed)
    plans, device = session_plans(setup.settings, len(training)), setup.computing.device
    rows = training[: _TRIED_STEPS * plans[0].batch_size]
    model, inside = new_model(setup, heads, targets), targets.take(rows)
    pyramid = model.pyramid(filled.dataset.images[rows], device)

    def draw(epoch: int) -> Examples:
        return jittered_examples(model, inside, pyramid, random_key(setup.seed, STAGE, "trial", epoch))

    short = replace(plans[0], epochs=1)
    for _ in range(2):  # the first steps are warm-up
        begun = time.perf_counter()
        fit(model.network, draw, None, short, key=(setup.seed, STAGE, "trial"))
        elapsed = time.perf_counter() - begun
    planned = sum(plan.epochs for plan in plans) * len(training)
    return seconds_left(elapsed, len(rows), planned)


def rows_learnt_from(
    targets: Targets, parts: Parts, settings: FinalModelSettings, seed: int
) -> tuple[Integers, Integers]:
    """The rows that are learnt from, and those that choose the epoch.

    Raises
    ------
    DataError
        If there is none to learn from.
    """
    training = np.flatnonzero((parts == TRAINING) & (targets.weight > 0).any(axis=1))
    held_out = np.flatnonzero((parts == VALIDATION) & targets.observed.any(axis=1))
    if not len(training):
        rows = "complete training row" if settings.labels == "complete" else "training row with a coordinate"
        raise DataError(f"there is no {rows}: the network cannot be trained on this table")
    if settings.most_rows is not None:
        training = _chosen(training, settings.most_rows, seed)
        held_out = _chosen(held_out, settings.most_rows // 2, seed)
    return training, held_out


def _chosen(rows: Integers, most: int, seed: int) -> Integers:
    generator = np.random.default_rng(random_key(seed, STAGE, "some rows"))
    return np.sort(generator.permutation(rows)[:most])


def session_plans(settings: FinalModelSettings, rows: int) -> list[Plan]:
    """The first session and, if asked for, the second."""
    epochs, batch, rate = settings.epochs, settings.batch_size, settings.learning_rate
    assert epochs is not None and batch is not None and rate is not None, "settings are complete"
    original = design(settings)

    def session(epochs: int, batch: int, rate: float) -> Plan:
        if original is not None:
            return original.plan(epochs, batch, rate)
        return Plan(epochs, batch, rate, best_by=settings.best_by, averaged=_AVERAGED)

    # Who asks for fewer epochs gets fewer.
    if original is None and epochs >= PRESETS["default"]["epochs"]:
        epochs = max(epochs, math.ceil(_LEAST_STEPS * batch / rows))
    plans = [session(epochs, batch, rate)]
    if settings.second_session_epochs:
        assert settings.second_session_batch is not None
        plans.append(session(settings.second_session_epochs, settings.second_session_batch, rate / 4))
    return plans


def _joined(first: Fitted, second: Fitted, plan: Plan) -> Fitted:
    """The best of two sessions by each figure; epochs of the second count on from the first."""
    begun = len(first.history)
    history = first.history + second.history
    joined = replace(first, history=history)
    if beats(history, begun + second.best_epoch, first.best_epoch, plan.best_by):
        joined = replace(joined, state=second.state, best_epoch=begun + second.best_epoch)
    if plan.also_by and beats(history, begun + second.other_epoch, first.other_epoch, plan.also_by):
        joined = replace(joined, other=second.other, other_epoch=begun + second.other_epoch)
    return joined


def at_plateau(fitted: Fitted, settings: FinalModelSettings) -> bool | None:
    """Whether more epochs would hardly have helped; None without validation rows.

    The default network's learning rate falls to nothing by its last epoch: it had what it needs if it had the
    preset's epochs. The others are at a plateau if their last fifth gained less than one in a hundred.
    """
    if settings.best_by not in fitted.history[-1]:
        return None
    if not settings.original:
        return len(fitted.history) >= int(PRESETS[settings.preset]["epochs"])
    errors = [figures[settings.best_by] for figures in fitted.history]
    early = errors[: max(int(len(errors) * 0.8), 1)]
    return min(early) <= (1 + _GAIN) * min(errors)


def plain_examples(model: FinalModel, targets: Targets, pyramid: Pyramid) -> Examples:
    """All rows once, as they are."""
    rows = np.arange(len(targets.xy))
    frames = whole_images(model.schema.image_size, len(rows))
    return _cut(model, targets, pyramid, rows, np.zeros(len(rows), bool), frames)


def jittered_examples(model: FinalModel, targets: Targets, pyramid: Pyramid, key: int) -> Examples:
    """All rows once: mirrored, turned, scaled, shifted and lit at random."""
    generator, size = np.random.default_rng(key), model.schema.image_size
    rows = np.arange(len(targets.xy))
    turn = generator.standard_normal(len(rows)) * _TURN
    stretch = np.exp(generator.standard_normal(len(rows)) * _STRETCH)
    shift = generator.standard_normal((len(rows), 2)) * _SHIFT * 2 * size.unit
    whole = whole_images(size, len(rows))
    frames = Frames(whole.centre + shift, whole.half * stretch, turn)
    light = torch.Generator(device=pyramid.device)
    light.manual_seed(key)
    mirrored = np.zeros(len(rows), bool)
    if model.partners is not None and model.settings.flip == "on":
        mirrored = generator.random(len(rows)) < 0.5
    return _cut(model, targets, pyramid, rows, mirrored, frames, light)


def copied_examples(
    model: FinalModel, targets: Targets, pyramid: Pyramid, complete: Mask, seed: int
) -> Examples:
    """All rows as they are, then their copies, the same in every epoch, as the original work made them.

    Parameters
    ----------
    complete
        (n,) rows of which every label is a person's.
    """
    original = design(model.settings)
    assert original is not None, "the default network has no copies"
    generator = np.random.default_rng(random_key(seed, "copies"))
    rows, mirrored, angles = original.copies(complete, generator, mirrors=model.partners is not None)
    whole = whole_images(model.schema.image_size, len(rows))
    frames = Frames(whole.centre, whole.half, angles)
    return _cut(model, targets, pyramid, rows, mirrored, frames)


def _cut(
    model: FinalModel, targets: Targets, pyramid: Pyramid, rows: Integers, mirrored: Mask, frames: Frames,
    light: torch.Generator | None = None,
) -> Examples:  # fmt: skip
    schema, unit = model.schema, model.schema.image_size.unit
    xy, weight = targets.seen(rows, mirrored, schema, model.partners)
    inputs = pyramid.cut(rows, mirrored, frames, model.size, unit)
    if light is not None:
        inputs = photometric_jitter(inputs, light)
    target = frames.to_frame(xy - frames.centre[:, None]) * (unit / model.spread)

    def move(values: Array) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(pyramid.device)

    scale = move(frames.half / unit * model.spread)
    return Examples(model.scaled(inputs), inputs.new_zeros(len(rows), 0), move(target), move(weight), scale)
