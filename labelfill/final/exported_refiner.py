"""The second look as a module of plain tensor operations, so that it travels in an exported file.

The same figures as `Refiner`, `Pyramid.cut` and `JointCorrection`, where they are explained; all patches of
an image are sampled by one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from labelfill.final.refiner import Patches, Refiner
from labelfill.networks.loss import LOG_SIGMA_RANGE
from labelfill.regressors.calibration.joint_correction import POSE_SHARE, JointCorrection
from labelfill.regressors.patches import PIXEL_SLACK, SCALE_RANGE, standardise


class Constants(nn.Module):
    """A module that keeps arrays: float32, integers or masks."""

    def keep(self, name: str, array: NDArray[Any]) -> None:
        """Keep an array under a name, at which it is a tensor from then on."""
        values = np.array(array, order="C")
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        self.register_buffer(name, torch.from_numpy(values))


class ExportedRefiner(Constants):
    """Grey images (B, h, w) in 0..255, answers (B, H, 2) and sigma (B, H) px -> answers and sigma."""

    mean: Tensor
    share: Tensor
    centred_mean: Tensor
    reach: Tensor
    spread: Tensor
    shown: Tensor
    both: Tensor
    back: Tensor
    beside: Tensor
    apart: Tensor
    places: Tensor

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        patches = refiner.patches
        self.heads, self.side = len(patches.mean), int(patches.size[0])
        self.folds = len(refiner.networks[0])
        self.network = _Together([network for of_head in refiner.networks for network in of_head])
        self.partners = refiner.partners
        mirrors = np.array(self.partners or [-1] * self.heads) >= 0
        self.keep("both", np.outer(mirrors, mirrors))
        beside = np.zeros((self.heads, self.heads, 2))
        beside[np.outer(mirrors, mirrors), 0] = refiner.schema.mirror_shift
        self.keep("back", np.array([-1.0, 1.0, 1.0]))
        self.keep("beside", beside)
        self.keep("apart", patches.mean[None] - patches.mean[:, None])
        size = refiner.schema.image_size
        self.width, self.height = size.width, size.height
        share = 1 / (patches.sigma**2 + PIXEL_SLACK)
        share = share / share.sum()
        self.keep("mean", patches.mean)
        self.keep("share", share[:, None])
        self.keep("centred_mean", patches.mean - share @ patches.mean)
        self.length = float((share[:, None] * (patches.mean - share @ patches.mean) ** 2).sum())
        self.keep("reach", patches.half)
        self.keep("spread", patches.spread)
        self.keep("shown", patches.shown & ~np.eye(self.heads, dtype=bool))
        along = ((np.arange(self.side) + 0.5) * 2 - self.side) / self.side
        right, down = np.meshgrid(along, along)
        self.keep("places", np.stack([right.ravel(), down.ravel()]))
        self.levels = _heads_by_reduction(patches)
        self.corrections = nn.ModuleList(
            [
                nn.Identity() if correction is None else _Correction(correction, self.heads)
                for correction in refiner.corrections
            ]
        )

    def forward(self, grey: Tensor, xy: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Every answer moved."""
        stated = sigma
        for correction in self.corrections:
            scale, cosine, sine = self._upright(xy)
            own, others, looked = self._look(grey, xy, scale, cosine, sine)
            if isinstance(correction, _Correction):
                own = correction(xy, own, others, scale, cosine, sine)
            xy, stated = own, torch.sqrt((sigma**2 + looked**2) / 2)
        return xy, stated

    def _upright(self, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale (B,), and cosine and sine of the angle, of shapes against the mean shape."""
        if self.heads < 2:
            one = torch.ones_like(xy[:, 0, 0])
            return one, one, torch.zeros_like(one)
        centred = xy - (self.share * xy).sum(dim=1, keepdim=True)
        same = (self.share * centred * self.centred_mean).sum(dim=(1, 2))
        crossed = self.centred_mean[:, 0] * centred[..., 1] - self.centred_mean[:, 1] * centred[..., 0]
        cross = (self.share[:, 0] * crossed).sum(dim=1)
        length = torch.sqrt(same**2 + cross**2)
        low, high = SCALE_RANGE
        scale = torch.clamp(length / max(self.length, 1e-9), low, high)
        safe = torch.clamp(length, min=1e-12)
        return scale, torch.where(length > 0, same / safe, 1.0), cross / safe

    def _look(
        self, grey: Tensor, xy: Tensor, scale: Tensor, cosine: Tensor, sine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        patches = self._cut(grey, xy, scale, cosine, sine)
        told = self._answered(patches)
        if self.partners is None:
            return self._put_together(xy, [told], scale, cosine, sine)
        # Mirrored patches are answered by the partner's networks, of which each answer is the partner's, too.
        partners = [head if partner < 0 else partner for head, partner in enumerate(self.partners)]
        mirrored = self._answered(torch.flip(patches[:, partners], (-1,)))[:, partners][:, :, partners]
        return self._put_together(xy, [told, mirrored * self.back], scale, cosine, sine)

    def _answered(self, patches: Tensor) -> Tensor:
        """(B, H, H, 3): from each patch's middle, upright, in px of a mean shape; variance."""
        answer = self.network(patches.repeat_interleave(self.folds, dim=1))
        told = answer.reshape(-1, self.heads, self.folds, self.heads, 3)
        offset = self.apart + told[..., :2].mean(dim=2) * self.spread[:, None, None]
        log_sigma = torch.clamp(told[..., 2], -LOG_SIGMA_RANGE, LOG_SIGMA_RANGE)
        variance = torch.exp(2 * log_sigma).mean(dim=2) * self.spread[:, None] ** 2
        return torch.cat([offset, variance[..., None]], dim=-1)

    def _put_together(
        self, xy: Tensor, ways: list[Tensor], scale: Tensor, cosine: Tensor, sine: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Own patches' answers, those of others' patches (B, H, 2) px, and own sigma (B, H) px."""
        told = torch.where(self.both[..., None], torch.stack(ways).mean(dim=0), ways[0])
        moved, spread = told[..., :2], told[..., 2] * (scale**2)[:, None, None]
        flat = _turned(moved.reshape(-1, self.heads * self.heads, 2), cosine, sine) * scale[:, None, None]
        place = xy[:, :, None] + flat.reshape(-1, self.heads, self.heads, 2) + self.beside
        every = torch.arange(self.heads)
        own = place[:, every, every]
        weight = torch.where(self.shown, 1 / spread, 0.0)
        total = weight.sum(dim=1)[..., None]
        others = (weight[..., None] * place).sum(dim=1) / torch.where(total > 0, total, 1.0)
        return own, torch.where(total > 0, others, own), torch.sqrt(spread[:, every, every])

    def _cut(self, grey: Tensor, xy: Tensor, scale: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(B, H, S, S): each head's patch."""
        right, down = self.places
        x = cosine[:, None] * right - sine[:, None] * down
        y = sine[:, None] * right + cosine[:, None] * down
        inside = torch.stack([x, y], dim=-1)  # (B, S * S, 2), upright
        cut: list[Tensor] = []
        order: list[int] = []
        for reduction, heads in self.levels.items():
            level = grey[:, None]
            if reduction > 1:
                padding = (0, -self.width % reduction, 0, -self.height % reduction)
                padded = functional.pad(level, padding, mode="replicate")
                level = functional.avg_pool2d(padded, reduction).round()
            wide = reduction * -(-self.width // reduction)
            high = reduction * -(-self.height // reduction)
            px = (self.reach[heads] * scale[:, None])[..., None, None]
            at = xy[:, heads, None] + inside[:, None] * px  # (B, h, S * S, 2)
            grid = (at + 0.5) * 2 / torch.tensor([wide, high], dtype=torch.float32) - 1
            rows = grid.reshape(-1, len(heads) * self.side, self.side, 2)
            sampled = functional.grid_sample(level, rows, padding_mode="border", align_corners=False) / 255
            cut.append(standardise(sampled.reshape(-1, len(heads), self.side, self.side)))
            order += heads
        return torch.cat(cut, dim=1)[:, [order.index(head) for head in range(self.heads)]]


class _Together(nn.Module):
    """Networks of patches side by side, as one: (B, N, S, S) -> (B, N, 3 K), each patch by its network."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(networks)
        alike = [
            [module for module in network.modules() if not list(module.children())] for network in networks
        ]
        layers: list[nn.Module] = []
        for modules in zip(*alike, strict=True):
            first = modules[0]
            if isinstance(first, nn.Conv2d):
                layers.append(_grouped(modules))
            elif isinstance(first, nn.Linear):
                layers.append(_Dense(modules))
            elif isinstance(first, nn.Flatten):
                layers.append(_Flat(self.count))
            else:
                layers.append(first)
        self.layers = nn.Sequential(*layers)

    def forward(self, patches: Tensor) -> Tensor:
        answer: Tensor = self.layers(patches)
        return answer.transpose(0, 1)


def _grouped(convolutions: Sequence[Any]) -> nn.Conv2d:
    first, count = convolutions[0], len(convolutions)
    together = nn.Conv2d(
        count * first.in_channels, count * first.out_channels, first.kernel_size, first.stride, first.padding,
        groups=count * first.groups, bias=first.bias is not None,
    )  # fmt: skip
    with torch.no_grad():
        together.weight.copy_(torch.cat([one.weight for one in convolutions]))
        if together.bias is not None:
            together.bias.copy_(torch.cat([one.bias for one in convolutions]))
    return together


class _Flat(nn.Module):
    """(B, N C, h, w) -> (N, B, C h w)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, features: Tensor) -> Tensor:
        _, channels, high, wide = features.shape
        return features.reshape(-1, self.count, channels // self.count * high * wide).transpose(0, 1)


class _Dense(nn.Module):
    """(N, B, I) -> (N, B, O) by dense layers side by side."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])[:, None])

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight + self.bias


def _heads_by_reduction(patches: Patches) -> dict[int, list[int]]:
    """At which resolution each head's patches are sampled."""
    levels: dict[int, list[int]] = {}
    for head, half in enumerate(patches.half):
        levels.setdefault(max(1, int(2 * half / int(patches.size[0]))), []).append(head)
    return levels


class _Correction(Constants):
    """The joint correction: places before and after a look -> corrected places."""

    keypoints: Tensor
    pose: Tensor
    centre: Tensor
    reach: Tensor
    weights: Tensor
    bias: Tensor
    support: Tensor
    dual: Tensor
    lengths: Tensor
    among_all: Tensor

    def __init__(self, correction: JointCorrection, heads: int) -> None:
        super().__init__()
        self.keep("among_all", np.eye(heads)[:, correction.keypoints])
        for name, array in correction.to_arrays().items():
            self.keep(name, array)
        self.radial, self.squared_length = (
            len(correction.support) > 0,
            float(correction.length.reshape(-1)[0]),
        )
        self.keep("lengths", (correction.support**2).sum(axis=1))

    def forward(
        self, before: Tensor, own: Tensor, others: Tensor, scale: Tensor, cosine: Tensor, sine: Tensor
    ) -> Tensor:
        """(B, H, 2) px."""

        def upright(offset: Tensor) -> Tensor:
            return _turned(offset, cosine, -sine) / scale[:, None, None]

        shape = before[:, self.keypoints]
        placed = upright(shape - shape.mean(dim=1, keepdim=True))
        inputs = torch.stack(
            [upright(own[:, self.keypoints] - shape), upright(others[:, self.keypoints] - shape),
             POSE_SHARE * (placed - self.pose)], dim=1,
        )  # fmt: skip
        departure = inputs.reshape(inputs.shape[0], -1) - self.centre
        departure = torch.maximum(torch.minimum(departure, self.reach), -self.reach)
        correction = departure @ self.weights + self.bias
        if self.radial:
            squares = (departure**2).sum(dim=1, keepdim=True) + self.lengths
            distance = torch.clamp(squares - 2 * departure @ self.support.T, min=0.0)
            correction = correction + torch.exp(-distance / self.squared_length) @ self.dual
        moved = _turned(correction.reshape(correction.shape[0], -1, 2), cosine, sine) * scale[:, None, None]
        return own + self.among_all @ moved


def _turned(offset: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Offsets (B, m, 2) turned by the angle of which (B,) cosine and sine are given."""
    x, y = offset[..., 0], offset[..., 1]
    cosine, sine = cosine[:, None], sine[:, None]
    return torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1)
