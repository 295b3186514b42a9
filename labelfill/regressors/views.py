"""What regressors see: upright patches around expected positions, whole shapes, whole images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import torch
from torch import nn

from labelfill.arrays import Array, Integers, Mask
from labelfill.networks.architectures import FaceRegressor, PatchRegressor
from labelfill.regressors.calibration.conformal import GAUSSIAN_RADIUS_95
from labelfill.regressors.patches import Frames, Pyramid, photometric_jitter, standardise, upright
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import Expected, ShapePrior

# A patch reaches this share of the face's extent, and three times the radius of 95% of the prior's errors.
_PATCH_REACH = 0.23
_ERRORS_IN_PATCH = 3.0
# The view of a whole shape reaches a little beyond it: brows move, and expected shapes err.
_FACE_REACH = 0.75
_FACE_SIZE = 48
_IMAGE_SIZE = 48


class ViewKind(Enum):
    """Kinds of views: a patch around one keypoint, the whole expected shape, the image as it is."""

    PATCH = auto()
    FACE = auto()
    IMAGE = auto()


@dataclass(frozen=True)
class View:
    """What a regressor sees and how its answers are scaled.

    Attributes
    ----------
    keypoint
        The one it finds, or None for all.
    whole_image
        Whether it sees the image as it is, whatever is expected.
    size
        Side of the patch in samples.
    half
        Half of the patch's side in px, for a shape of mean size.
    spread
        Px (for a shape of mean size) per unit of its answers.
    """

    keypoint: int | None
    whole_image: bool
    size: int
    half: float
    spread: float

    @property
    def kind(self) -> ViewKind:
        """What else depends on the kind asks for it."""
        if self.whole_image:
            return ViewKind.IMAGE
        return ViewKind.FACE if self.keypoint is None else ViewKind.PATCH

    @property
    def answered(self) -> slice:
        """The keypoints that it answers."""
        return slice(None) if self.keypoint is None else slice(self.keypoint, self.keypoint + 1)

    def answers(self, keypoints: int) -> int:
        """How many of a table's keypoints it answers."""
        return keypoints if self.keypoint is None else 1


def patch_view(
    keypoint: int, expected: Expected, prior: ShapePrior, schema: KeypointSchema, size: int
) -> View:
    """A patch around one keypoint, wide enough for the prior's errors on rows like `expected`."""
    sigma = float(np.sqrt(np.mean(expected.sigma[:, keypoint] ** 2)))
    return patch_of_errors(keypoint, sigma, prior.extent, schema, size)


def patch_of_errors(keypoint: int, sigma: float, extent: float, schema: KeypointSchema, size: int) -> View:
    """A patch around one keypoint of a shape `extent` px wide, for errors of `sigma` px per coordinate."""
    half = max(_PATCH_REACH * extent, _ERRORS_IN_PATCH * GAUSSIAN_RADIUS_95 * sigma, 4.0)
    longer = max(schema.image_size.height, schema.image_size.width)
    return View(keypoint, False, size, min(half, longer / 2), max(sigma, 0.25))


def face_view(expected: Expected, prior: ShapePrior, schema: KeypointSchema) -> View:
    """A view of the whole expected shape."""
    sigma = max(float(np.sqrt(np.mean(expected.sigma**2))), 0.25)
    half = min(max(_FACE_REACH * prior.extent, 3.0 * sigma, 8.0), schema.image_size.unit * 1.5)
    return View(None, False, _FACE_SIZE, half, sigma)


def image_view(keypoint: int | None, schema: KeypointSchema, prior: ShapePrior) -> View:
    """The whole image, for rows of which nothing is known."""
    spread = float(np.sqrt(np.trace(prior.covariance) / len(prior.covariance)))
    return View(keypoint, True, _IMAGE_SIZE, schema.image_size.unit, max(spread, 0.5))


@dataclass(frozen=True)
class Seen:
    """Rows as a regressor sees them: possibly mirrored, with what is expected of them."""

    rows: Integers
    mirrored: Mask
    frames: Frames
    expected: Expected
    scale: Array

    def take(self, part: Integers) -> Seen:
        return Seen(
            self.rows[part], self.mirrored[part], self.frames.take(part), self.expected.take(part),
            self.scale[part],
        )  # fmt: skip


def look(
    view: View, rows: Integers, mirrored: Mask, expected: Expected, prior: ShapePrior, schema: KeypointSchema
) -> Seen:
    """Frames for rows of which `expected` is known, centred where the regressor's keypoint is expected."""
    if view.kind is ViewKind.IMAGE:
        count = len(rows)
        frames = Frames(
            np.tile(schema.image_size.centre, (count, 1)), np.full(count, view.half), np.zeros(count)
        )
        return Seen(rows, mirrored, frames, expected, np.ones(count))
    scale, angle = upright(expected.xy, expected.sigma, prior.mean)
    centre = expected.xy.mean(axis=1) if view.keypoint is None else expected.xy[:, view.keypoint]
    return Seen(rows, mirrored, Frames(centre, view.half * scale, angle), expected, scale)


def make_network(view: View, keypoints: int) -> nn.Module:
    """An untrained network for such views of a table with so many keypoints."""
    if view.kind is ViewKind.PATCH:
        return PatchRegressor(view.size)
    evidence = 3 * keypoints if view.kind is ViewKind.FACE else 0
    return FaceRegressor(view.answers(keypoints), view.size, evidence)


def view_inputs(
    view: View, seen: Seen, pyramid: Pyramid, prior: ShapePrior, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (n, 1, S, S), lit at random if a generator is given, and the evidence beside them (n, E)."""
    patches = pyramid.cut(seen.rows, seen.mirrored, seen.frames, view.size, view.half)
    if generator is not None:
        patches = photometric_jitter(patches, generator)
    evidence = np.zeros((len(seen.rows), 0), np.float32)
    if view.kind is ViewKind.FACE:
        placed = seen.frames.to_frame(seen.expected.xy - seen.frames.centre[:, None])
        sureness = seen.expected.sigma / max(prior.extent, 1.0) * 10
        evidence = np.concatenate([placed.reshape(len(placed), -1), sureness], axis=1).astype(np.float32)
    return standardise(patches), torch.from_numpy(evidence).to(patches.device)


def base_positions(view: View, seen: Seen) -> Array:
    """(n, k, 2) px: from where answers count, for each keypoint that is answered."""
    if view.kind is ViewKind.FACE:
        return seen.expected.xy
    return np.repeat(seen.frames.centre[:, None], view.answers(seen.expected.xy.shape[1]), axis=1)
