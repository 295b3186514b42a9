"""The final network's examples: whole images and targets, as they are, jittered, or with fixed copies."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.final.model import FinalModel, whole_images
from labelfill.final.targets import Targets
from labelfill.networks.fit import Examples, random_key
from labelfill.regressors.patches import Frames, Pyramid, photometric_jitter

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Training images are turned, scaled and shifted at random by about this much (radians, share, share).
_TURN, _STRETCH, _SHIFT = 0.15, 0.08, 0.04
# Copies of the original work are turned by an angle between these, each way.
_LEAST_DEGREES, _MOST_DEGREES = 1.0, 16.0


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
    settings, every = model.settings, np.arange(len(targets.xy))
    generator = np.random.default_rng(random_key(seed, "copies"))
    none = np.zeros(len(every))
    parts: list[tuple[Integers, bool, Array]] = [(every, False, none)]  # rows, mirrored, angles
    if settings.flip == "on" and model.partners is not None:
        parts.append((every, True, none))
    turned = every if settings.rotate == "all" else every[complete]
    if settings.rotate != "none" and len(turned):
        for way in (1, -1):
            degrees = generator.uniform(_LEAST_DEGREES, _MOST_DEGREES, len(turned))
            parts.append((turned, False, way * np.radians(degrees)))
    rows = np.concatenate([part for part, _, _ in parts])
    mirrored = np.concatenate([np.full(len(part), side) for part, side, _ in parts])
    whole = whole_images(model.schema.image_size, len(rows))
    frames = Frames(whole.centre, whole.half, np.concatenate([angles for _, _, angles in parts]))
    return _cut(model, targets, pyramid, rows, mirrored, frames)


def _cut(
    model: FinalModel, targets: Targets, pyramid: Pyramid, rows: Integers, mirrored: Mask, frames: Frames,
    light: torch.Generator | None = None,
) -> Examples:  # fmt: skip
    schema, unit = model.schema, model.schema.image_size.unit
    xy, weight = targets.xy[rows], targets.weight[rows]
    if mirrored.any():
        assert model.partners is not None
        order = np.asarray(model.partners)
        flipped = np.nan_to_num(schema.mirror(xy, model.partners))
        xy = np.where(mirrored[:, None, None], flipped, xy)
        weight = np.where(mirrored[:, None], np.where(order >= 0, weight[:, order], 0.0), weight)
    inputs = pyramid.cut(rows, mirrored, frames, model.size, unit)
    if light is not None:
        inputs = photometric_jitter(inputs, light)
    target = frames.to_frame(xy - frames.centre[:, None]) * (unit / model.spread)

    def move(values: Array) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(pyramid.device)

    scale = move(frames.half / unit * model.spread)
    return Examples(model.scaled(inputs), inputs.new_zeros(len(rows), 0), move(target), move(weight), scale)
