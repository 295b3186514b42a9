"""The second look: patch networks that see where the final network's answers lie, and move them.

The final network sees the whole image at once; where its answer for a keypoint lies, a patch shows more. All
patches of an image are cut upright (by the answered shape against the mean shape), a small network of each
head tells how far its keypoint is from the middle, and the joint correction puts these answers together.
The corrected answers may be looked at once more in the same way (a cascade, Dollár et al. 2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.networks.loss import sigma_of
from labelfill.networks.memory import answers
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import Found, JointCorrection
from labelfill.regressors.patches import Frames, Pyramid, standardise, turned, upright
from labelfill.schema import KeypointSchema


@dataclass(frozen=True)
class Patches(KeptArrays):
    """What patches show of the image, by head.

    Attributes
    ----------
    mean
        (H, 2), px: the mean shape, against which answered shapes are set upright.
    sigma
        (H,), px: of the final network's answers, per coordinate: how much each has a say in that.
    half
        (H,), px: half of a patch's side, for a shape of mean size.
    spread
        (H,), px: per unit of a network's answers.
    size
        (1,): side of a patch in samples.
    shown
        (H, H): heads whose keypoints a head's patch usually shows, and which its networks answer too.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "mean": "H 2",
        "sigma": "H",
        "half": "H",
        "spread": "H",
        "size": "1",
        "shown": "H H",
    }

    mean: Array
    sigma: Array
    half: Array
    spread: Array
    size: Integers
    shown: Mask

    def around(self, xy: Array) -> Shapes:
        """The shapes around whose points (n, H, 2) px patches are cut; NaN where nothing was answered."""
        known = np.isfinite(xy).all(axis=2)
        sigma = np.where(known, self.sigma, np.inf)
        scale, angle = upright(np.nan_to_num(xy), sigma, self.mean)
        return Shapes(xy, scale, angle)


@dataclass(frozen=True)
class Shapes:
    """Answered shapes (n, H, 2) px, and their scale (n,) and angle (n,) against the mean shape."""

    xy: Array
    scale: Array
    angle: Array

    def take(self, rows: Integers) -> Shapes:
        return Shapes(self.xy[rows], self.scale[rows], self.angle[rows])

    def frames(self, head: int, patches: Patches) -> Frames:
        """Of one head's patches."""
        return Frames(self.xy[:, head], patches.half[head] * self.scale, self.angle)


@dataclass(frozen=True)
class Refiner:
    """Networks that move the final network's answers.

    Attributes
    ----------
    partners
        (H,) mirror partners of heads; None if mirrored patches are not used.
    networks
        By head, those of each fold.
    corrections
        Of each look; None where it would not pay.
    calibration
        How large errors of refined answers are, per head; None if no held-out row told.
    """

    schema: KeypointSchema
    partners: tuple[int, ...] | None
    patches: Patches
    networks: Sequence[Sequence[nn.Module]]
    corrections: tuple[JointCorrection | None, ...] = ()
    calibration: Calibration | None = None

    def refine(self, pyramid: Pyramid, xy: Array, sigma: Array) -> tuple[Array, Array]:
        """Positions (n, H, 2) and stated sigma (n, H), px, for those of a pyramid's images.

        Where the network of the whole image is unsure patches mislead, too: both have a say in sigma.
        """
        stated = sigma
        for correction in self.corrections:
            shapes = self.patches.around(xy)
            looked = self.look(pyramid, shapes)
            xy = corrected(correction, shapes, looked)
            stated = np.sqrt((sigma**2 + looked.sigma**2) / 2)
        return xy, stated

    def look(self, pyramid: Pyramid, shapes: Shapes, folds: Integers | None = None) -> Looked:
        """What patches show.

        Parameters
        ----------
        folds
            (n,): answer by the networks that did not see this fold only; None averages over all.
        """
        rows, heads = np.arange(len(shapes.xy)), len(self.networks)
        xy, variance = np.zeros((heads, len(rows), heads, 2)), np.ones((heads, len(rows), heads))
        parts = [rows] if folds is None else [rows[folds == fold] for fold in range(len(self.networks[0]))]
        for fold, part in enumerate(parts):
            if not len(part):
                continue
            chosen = slice(None) if folds is None else slice(fold, fold + 1)
            taken = shapes.take(part)
            for head in range(heads):
                xy[head, part], variance[head, part] = self._of_patch(pyramid, part, taken, head, chosen)
        return _put_together(xy, variance, self.patches.shown)

    def _of_patch(
        self, pyramid: Pyramid, rows: Integers, shapes: Shapes, head: int, folds: slice
    ) -> tuple[Array, Array]:
        """Where one head's patches find all heads' keypoints (n, H, 2), px, and the variance (n, H), px²."""
        patches, frames = self.patches, shapes.frames(head, self.patches)
        not_mirrored = np.zeros(len(rows), bool)
        cut = pyramid.cut(rows, not_mirrored, frames, int(patches.size[0]), patches.half[head])
        straight = standardise(cut)
        offset, variance = self._answered(head, folds, straight)
        beside = np.zeros((len(self.networks), 2))
        partner = -1 if self.partners is None else self.partners[head]
        if partner >= 0:
            order = np.asarray(self.partners)
            mirrored, other = self._answered(partner, folds, torch.flip(straight, (-1,)))
            known = order >= 0
            mirrored = mirrored[:, order] * np.array([-1.0, 1.0])
            offset = np.where(known[:, None], (offset + mirrored) / 2, offset)
            variance = np.where(known, (variance + other[:, order]) / 2, variance)
            # Labels lie beside what they mark, in mirrored images on the other side.
            beside[known, 0] = self.schema.mirror_shift
        scale = shapes.scale[:, None]
        xy = frames.centre[:, None] + turned(offset, frames.angle) * scale[..., None] + beside
        return xy, variance * scale**2

    def _answered(self, head: int, folds: slice, straight: Tensor) -> tuple[Array, Array]:
        """Networks on average: (n, H, 2) from the patch's middle, upright, px of a mean shape; variance."""
        nothing = straight.new_zeros(len(straight), 0)
        out = torch.stack([answers(network, straight, nothing) for network in self.networks[head][folds]])
        told = out.cpu().numpy().astype(np.float64)  # here, because not every device has doubles
        mean, spread = self.patches.mean, self.patches.spread[head]
        offset = mean - mean[head] + told[..., :2].mean(axis=0) * spread
        return offset, (sigma_of(told[..., 2]) ** 2).mean(axis=0) * spread**2


@dataclass(frozen=True)
class Looked:
    """What patches show of keypoints.

    Attributes
    ----------
    own, others
        (n, H, 2), px: where a head's own patch finds it, and where patches of others do that show it, on
        average; where none shows it, as its own.
    sigma
        (n, H), px: of the own patch's answer.
    """

    own: Array
    others: Array
    sigma: Array


def _put_together(xy: Array, variance: Array, shown: Mask) -> Looked:
    """From what each patch tells of each head: (H, n, H, 2) px and (H, n, H) px²."""
    heads = np.arange(len(shown))
    own = xy[heads, :, heads].transpose(1, 0, 2)
    weight = np.where((shown & ~np.eye(len(shown), dtype=bool))[:, None], 1 / variance, 0.0)
    total = weight.sum(axis=0)[..., None]
    others = (weight[..., None] * xy).sum(axis=0) / np.where(total > 0, total, 1.0)
    return Looked(own, np.where(total > 0, others, own), np.sqrt(variance[heads, :, heads].T))


def corrected(correction: JointCorrection | None, shapes: Shapes, looked: Looked) -> Array:
    """(n, H, 2) px: what patches show, put together."""
    if correction is None:
        return looked.own
    return correction.apply(departures(shapes, looked), looked.own)


def departures(shapes: Shapes, looked: Looked) -> Found:
    """How far what patches show departs from what was answered before."""
    return Found(shapes.xy, np.stack([looked.own, looked.others]), shapes.scale, shapes.angle)
