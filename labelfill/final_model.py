"""The final network with what its answers mean, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.torch import load

from labelfill.calibration import Calibration
from labelfill.errors import ModelError
from labelfill.final_targets import Heads
from labelfill.networks import FinalNetwork
from labelfill.patches import Frames, Pyramid, standardise
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.training import answers

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STAGE = "train-final"
FORMAT = 1
WEIGHTS, ABOUT = "final/model.safetensors", "final/model.json"
RADII = "final/radii.safetensors"


@dataclass(frozen=True)
class FinalModel:
    """A trained final network and what its answers mean.

    Attributes
    ----------
    size
        (height, width) of its input in samples.
    spread
        Px per unit of its answers.
    partners
        Mirror partners of all heads; None if mirrored images are not used.
    sources
        Names of the label sources, in the order of group numbers.
    calibration
        How large errors are, per head; None if no held-out row told.
    """

    network: FinalNetwork
    schema: KeypointSchema
    heads: Heads
    size: tuple[int, int]
    spread: float
    partners: tuple[int, ...] | None
    sources: tuple[str, ...]
    calibration: Calibration | None = None

    def radius(self, sigma: Array, coverage: float) -> Array:
        """(n, heads), px: the distance that the error stays within in `coverage` of cases; NaN if unknown."""
        if self.calibration is None:
            return np.full(sigma.shape, np.nan)
        calibrated = self.calibration.blend(np.zeros((1, *sigma.shape, 2)), sigma[None])[1]
        radius: Array = calibrated * self.calibration.radius_factor(coverage)
        return radius

    def answer(self, images: NDArray[np.uint8], device: torch.device) -> tuple[Array, Array]:
        """Positions (n, heads, 2) and stated sigma (n, heads), px; averaged with the mirrored image."""
        pyramid = Pyramid(images, device)
        straight = self._one_way(pyramid, np.zeros(len(images), bool))
        if self.partners is None:
            return straight
        xy, sigma = self._one_way(pyramid, np.ones(len(images), bool))
        xy, order = self.schema.mirror(xy, self.partners), np.asarray(self.partners)
        both = (order >= 0)[None]
        xy = np.where(both[..., None], (straight[0] + np.nan_to_num(xy)) / 2, straight[0])
        return xy, np.where(both, np.sqrt((straight[1] ** 2 + sigma[:, order] ** 2) / 2), straight[1])

    def _one_way(self, pyramid: Pyramid, mirrored: Mask) -> tuple[Array, Array]:
        rows = np.arange(len(mirrored))
        frames = whole_images(self.schema.image_size, len(rows))
        inputs = standardise(pyramid.cut(rows, mirrored, frames, self.size, self.schema.image_size.unit))
        out = answers(self.network, inputs, inputs.new_zeros(len(rows), 0)).double().cpu().numpy()
        xy = frames.centre[:, None] + out[..., :2] * self.spread
        return xy, np.exp(np.clip(out[..., 2], -4, 4)) * self.spread


def whole_images(size: ImageSize, count: int) -> Frames:
    return Frames(np.tile(size.centre, (count, 1)), np.full(count, size.unit), np.zeros(count))


def load_final(run: RunDirectory, device: torch.device) -> FinalModel:
    """Read the final network back.

    Raises
    ------
    ModelError
        If it was not trained, or its files are damaged or of a newer format.
    """
    run.require_stage(STAGE)
    about = json.loads(run.read_artefact(STAGE, ABOUT))
    if about["format"] > FORMAT:
        raise ModelError(
            f"{run.path / ABOUT} has format {about['format']}, newer than this version reads; "
            "update labelfill"
        )
    schema = KeypointSchema(
        tuple(about["keypoints"]), ImageSize.parse(about["image_size"]), about["mirror_shift"]
    )
    heads = Heads(schema.count, tuple((int(k), int(g)) for k, g in about["further"]))
    network = FinalNetwork(heads.count, *about["size"])
    try:
        network.load_state_dict(load(run.read_artefact(STAGE, WEIGHTS)))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{run.path / WEIGHTS} does not hold the network it should: {error}") from error
    partners = None if about["partners"] is None else tuple(about["partners"])
    calibration = None
    if RADII in run.stages[STAGE]["outputs"]:
        calibration = Calibration(**load_arrays(run.read_artefact(STAGE, RADII)))
    return FinalModel(
        network.to(device).eval(), schema, heads, tuple(about["size"]), about["spread"], partners,
        tuple(about["sources"]), calibration,
    )  # fmt: skip
