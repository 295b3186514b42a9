"""Upright patches: cut on the device, jittered, and the way back from a patch to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelfill.arrays import Array

# How far a training patch is turned and scaled at random: what is left of both after the frame of the
# expected shape was made upright is about a tenth.
_TURN = 0.10
_STRETCH = 0.10
_GAMMA = 0.4
# A px of slack, squared: no single keypoint decides alone how a shape lies.
PIXEL_SLACK = 1.0
SCALE_RANGE = (0.25, 4.0)
_PIXEL_NOISE = 0.03
_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Frames:
    """Where patches are cut: for each a centre, half of its side and its turn.

    Attributes
    ----------
    centre
        (n, 2), px in the image.
    half
        (n,), px in the image: half of the patch's side.
    angle
        (n,), radians: the patch's x axis in the image.
    """

    centre: Array
    half: Array
    angle: Array

    def __len__(self) -> int:
        return len(self.half)

    def to_frame(self, offset: Array) -> Array:
        """Offsets from the centre (n, ..., 2) in px to the patch's axes, in halves of its side."""
        return turned(offset, -self.angle) / _spread(self.half, offset)

    def from_frame(self, offset: Array) -> Array:
        """Offsets in the patch's axes, in halves of its side, to px in the image."""
        return turned(offset, self.angle) * _spread(self.half, offset)

    def take(self, rows: NDArray[np.int64]) -> Frames:
        return Frames(self.centre[rows], self.half[rows], self.angle[rows])

    def jittered(self, generator: np.random.Generator) -> Frames:
        """The same frames turned and scaled a little."""
        turn = generator.standard_normal(len(self)) * _TURN
        stretch = np.exp(generator.standard_normal(len(self)) * _STRETCH)
        return Frames(self.centre, self.half * stretch, self.angle + turn)


def turned(offset: Array, angle: Array) -> Array:
    """Offsets (n, ..., 2) turned by (n,) radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    shape = (-1,) + (1,) * (offset.ndim - 2)
    cosine, sine = cosine.reshape(shape), sine.reshape(shape)
    x, y = offset[..., 0], offset[..., 1]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)


def _spread(half: Array, offset: Array) -> Array:
    return half.reshape((-1,) + (1,) * (offset.ndim - 1))


def upright(xy: Array, sigma: Array, mean: Array) -> tuple[Array, Array]:
    """Scale (n,) and angle (n,) of shapes (n, K, 2) against the mean shape (K, 2).

    Weighted Procrustes analysis (Umeyama 1991): a keypoint counts by how surely it is placed, which `sigma`
    (n, K) in px tells. Rows of which little is known are taken as upright and of mean size.
    """
    if len(mean) < 2:
        return np.ones(len(xy)), np.zeros(len(xy))
    weight = 1.0 / (sigma**2 + PIXEL_SLACK)
    weight /= weight.sum(axis=1, keepdims=True)
    centred = xy - np.einsum("nk,nka->na", weight, xy)[:, None]
    model = mean[None] - np.einsum("nk,ka->na", weight, mean)[:, None]
    same = np.einsum("nk,nka,nka->n", weight, centred, model)
    cross = np.einsum("nk,nk->n", weight, model[..., 0] * centred[..., 1] - model[..., 1] * centred[..., 0])
    size = np.einsum("nk,nka->n", weight, model**2)
    scale = np.hypot(same, cross) / np.maximum(size, 1e-9)
    return np.clip(scale, *SCALE_RANGE), np.arctan2(cross, same)


class Pyramid:
    """The images on the device, ready to be sampled at a given resolution without aliasing.

    Parameters
    ----------
    images
        (n, H, W) uint8.
    """

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self.device = device
        self.height, self.width = images.shape[1:]
        self._levels = {1: torch.from_numpy(np.array(images)).to(device)[:, None]}

    def _level(self, reduction: int) -> Tensor:
        """uint8 (n, 1, h, w): means over squares of `reduction` px."""
        if reduction not in self._levels:
            full = self._levels[1]
            pieces = []
            for begin in range(0, len(full), _IMAGES_AT_ONCE):
                piece = full[begin : begin + _IMAGES_AT_ONCE].float()
                right, below = -self.width % reduction, -self.height % reduction
                piece = functional.pad(piece, (0, right, 0, below), mode="replicate")
                pieces.append(functional.avg_pool2d(piece, reduction).round().to(torch.uint8))
            self._levels[reduction] = torch.cat(pieces)
        return self._levels[reduction]

    def cut(
        self,
        rows: NDArray[np.int64],
        mirrored: NDArray[np.bool_],
        frames: Frames,
        size: int | tuple[int, int],
        typical_half: float,
    ) -> Tensor:
        """Patches (n, 1, size, size), grey in 0..1; beyond the image its edge is continued.

        Parameters
        ----------
        rows
            (n,) the image of each patch.
        mirrored
            (n,) whether the image is mirrored before the patch is cut.
        size
            Side in samples; or height and width of a patch whose longer side is the frame's.
        typical_half
            Half of a typical frame's side in px: decides the resolution that is sampled, which must not
            depend on which rows come together.
        """
        tall, broad = (size, size) if isinstance(size, int) else size
        longer = max(tall, broad)
        reduction = max(1, int(2 * typical_half / longer))
        level = self._level(reduction)
        high, wide = level.shape[-2] * reduction, level.shape[-1] * reduction
        down, right = torch.meshgrid(
            ((torch.arange(tall, device=self.device) + 0.5) * 2 - tall) / longer,
            ((torch.arange(broad, device=self.device) + 0.5) * 2 - broad) / longer,
            indexing="ij",
        )
        places = torch.stack([right, down, torch.ones_like(right)], dim=-1).view(-1, 3)  # (S * S, 3)
        maps = torch.from_numpy(self._maps(frames, mirrored, wide, high)).to(self.device)  # (n, 3, 2)
        index = torch.from_numpy(rows).to(self.device)
        pieces = []
        for begin in range(0, len(rows), _IMAGES_AT_ONCE):  # whole images as floats are large
            part = slice(begin, begin + _IMAGES_AT_ONCE)
            grid = (places @ maps[part]).view(-1, tall, broad, 2)
            pieces.append(_sampled(level[index[part]].float(), grid, self.device).div_(255))
        return torch.cat(pieces) if pieces else maps.new_zeros(0, 1, tall, broad)

    def _maps(self, frames: Frames, mirrored: NDArray[np.bool_], wide: int, high: int) -> NDArray[np.float32]:
        """(n, 3, 2): from places in patches (halves of a side, and 1) to places in images (from -1 to 1)."""
        cosine, sine = np.cos(frames.angle) * frames.half, np.sin(frames.angle) * frames.half
        maps = np.stack(
            [np.stack([cosine, sine], 1), np.stack([-sine, cosine], 1), frames.centre], axis=1
        )  # (n, 3, 2), px
        # Mirroring the image equals sampling it at mirrored places.
        maps[mirrored, :, 0] *= -1
        maps[mirrored, 2, 0] += self.width - 1
        maps[:, 2] += 0.5
        maps *= 2 / np.array([wide, high])
        maps[:, 2] -= 1
        return maps.astype(np.float32)


def _sampled(source: Tensor, grid: Tensor, device: torch.device) -> Tensor:
    """Images (n, 1, h, w) at the places of a grid (n, H, W, 2), each image's edge continued beyond it."""
    if device.type != "mps":
        return functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    # Apple's GPU continues edges from PyTorch 2.13 on only: places are held to the centres of edge pixels.
    high, wide = source.shape[-2:]
    furthest = grid.new_tensor([1 - 1 / wide, 1 - 1 / high])
    return functional.grid_sample(source, grid.clamp(-furthest, furthest), align_corners=False)


def photometric_jitter(patches: Tensor, generator: torch.Generator) -> Tensor:
    """Random gamma and pixel noise per patch, for values in 0..1."""
    count = (len(patches), 1, 1, 1)
    gamma = torch.exp((torch.rand(count, generator=generator, device=patches.device) * 2 - 1) * _GAMMA)
    noise = torch.rand(count, generator=generator, device=patches.device) * _PIXEL_NOISE
    jittered = patches.clamp(1e-3, 1.0) ** gamma
    return jittered + noise * torch.randn(patches.shape, generator=generator, device=patches.device)


def standardise(patches: Tensor) -> Tensor:
    """Each patch to mean 0 and about standard deviation 1; a flat patch to about 0."""
    centred = patches - patches.mean(dim=(-2, -1), keepdim=True)
    deviation = centred.square().mean(dim=(-2, -1), keepdim=True).sqrt_()  # `std` takes several times as long
    return centred.div_(deviation + 0.05)
