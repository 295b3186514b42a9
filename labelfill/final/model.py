"""The final network with what its answers mean, and its files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from labelfill.arrays import Array
from labelfill.data.images.equalization import equalize
from labelfill.errors import DamagedFile
from labelfill.final.refiner import Refiner
from labelfill.final.refiner_files import load_refiner, refiner_files
from labelfill.final.targets import Heads
from labelfill.networks.architectures import FinalNetwork, SeparateNetworks
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.folding import folded
from labelfill.networks.loss import sigma_of
from labelfill.networks.memory import answers, in_chunks
from labelfill.original.design import design, settings_kind
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.mirror_averaging import averaged_with_mirrored
from labelfill.regressors.network_files import read_networks
from labelfill.regressors.patches import Frames, Pyramid, standardise
from labelfill.runs import RunDirectory, json_value, kept
from labelfill.runs.records import record_of
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import FinalModelSettings

STAGE = "train-final"
ROWS_AT_ONCE = 1024
_LARGEST_INPUT = 4096
FOLDER = "final"
WEIGHTS, ABOUT = f"{FOLDER}/model.safetensors", f"{FOLDER}/model.json"
RADII = f"{FOLDER}/radii.safetensors"
# The best weights by the figure that did not choose, kept for the presets of the original work.
OTHER_WEIGHTS = "final/model-by-{by}.safetensors"


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
    settings
        By which it was trained, complete; a `Design` if the original work's.
    calibration
        How large errors of the network's own answers are, per head; None if no held-out row told.
    refiner
        The second look; None where the network's own answers stand.
    """

    network: nn.Module
    schema: KeypointSchema
    heads: Heads
    size: tuple[int, int]
    spread: float
    partners: tuple[int, ...] | None
    sources: tuple[str, ...]
    settings: FinalModelSettings
    calibration: Calibration | None = None
    refiner: Refiner | None = None

    @property
    def answers_calibration(self) -> Calibration | None:
        """How large errors of answers are, those of the second look if there is one."""
        return self.calibration if self.refiner is None else self.refiner.calibration

    def radius(self, sigma: Array, coverage: float) -> Array:
        """(n, heads), px: the distance that the error stays within in `coverage` of cases; NaN if unknown."""
        calibration = self.answers_calibration
        if calibration is None:
            return np.full(sigma.shape, np.nan)
        calibrated = calibration.blend(np.zeros((1, *sigma.shape, 2)), sigma[None])[1]
        radius: Array = calibrated * calibration.radius_factor(coverage)
        return radius

    def grey(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images (n, H, W), their contrast as the networks know it."""
        assert self.settings.equalize is not None
        return equalize(images, self.settings.equalize)

    def pyramid(self, images: NDArray[np.uint8], device: torch.device) -> Pyramid:
        """Images (n, H, W) ready to be sampled."""
        return Pyramid(self.grey(images), device)

    def scaled(self, inputs: Tensor) -> Tensor:
        """Grey values in 0..1 as the network takes them; the original work took them as they are."""
        return inputs if self.settings.original else standardise(inputs)

    def answer(self, images: NDArray[np.uint8], device: torch.device) -> tuple[Array, Array]:
        """Positions (n, heads, 2) and stated sigma (n, heads), px.

        The default network's answer is averaged with that for the mirrored image; the second look, if there
        is one, moves it.
        """

        def answer(part: slice, _: int) -> tuple[Array, Array]:
            return self._answer(images[part], device)

        chunks = in_chunks(len(images), ROWS_AT_ONCE, answer, "the final network")
        pieces = list(chunks) or [answer(slice(0, 0), 0)]
        return np.concatenate([xy for xy, _ in pieces]), np.concatenate([sigma for _, sigma in pieces])

    def _answer(self, images: NDArray[np.uint8], device: torch.device) -> tuple[Array, Array]:
        pyramid = self.pyramid(images, device)
        xy, sigma = self._own(pyramid, len(images))
        return (xy, sigma) if self.refiner is None else self.refiner.refine(pyramid, xy, sigma)

    def _own(self, pyramid: Pyramid, count: int) -> tuple[Array, Array]:
        """The network's own answers."""
        rows, size = np.arange(count), self.schema.image_size
        whole, unit = whole_images(size, count), size.unit
        seen = self.scaled(pyramid.cut(rows, np.zeros(count, bool), whole, self.size, unit))
        straight = self._found(seen)
        if self.partners is None or self.settings.original:
            return straight
        mirrored = self._found(torch.flip(seen, (-1,)))
        return averaged_with_mirrored(straight, mirrored, self.schema, self.partners)

    def _found(self, inputs: Tensor) -> tuple[Array, Array]:
        """What the network finds in whole images (n, 1, h, w)."""
        answer = answers(self.network, inputs, inputs.new_zeros(len(inputs), 0))
        out = answer.cpu().numpy().astype(np.float64)  # here, because not every device has doubles
        return self.schema.image_size.centre + out[..., :2] * self.spread, sigma_of(out[..., 2]) * self.spread


def whole_images(size: ImageSize, count: int) -> Frames:
    return Frames(np.tile(size.centre, (count, 1)), np.full(count, size.unit), np.zeros(count))


@dataclass(frozen=True)
class FinalFile(kept.SchemaFile):
    """``model.json`` of the final network; fields as those of `FinalModel`, and how it was trained.

    Attributes
    ----------
    sources
        Empty where a single convention is the table's own: there is no source to name.
    """

    format: int
    keypoints: tuple[str, ...]
    image_size: str
    mirror_shift: float
    further: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    spread: float
    partners: tuple[int, ...] | None
    sources: tuple[str, ...]
    settings: dict[str, Any]
    best_epoch: int
    history: list[dict[str, float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        keypoints = len(self.keypoints)
        if not all(1 <= side <= _LARGEST_INPUT for side in self.size) or not 0 < self.spread < math.inf:
            raise DamagedFile("field 'size' or 'spread' does not fit any network")
        sources = len(self.sources) or math.inf  # none are named where the table has a single convention
        if not all(0 <= k < keypoints and 0 <= group < sources for k, group in self.further):
            raise DamagedFile("field 'further' refers to keypoints or label sources that are not listed")
        heads = keypoints + len(self.further)
        if self.partners is not None and (
            len(self.partners) != heads or not all(-1 <= partner < heads for partner in self.partners)
        ):
            raise DamagedFile("field 'partners' refers to keypoints that are not listed")
        _settings(self.settings)


def model_files(model: FinalModel, fitted: Fitted) -> dict[str, bytes]:
    """The files that `load_final` reads."""
    schema, sources = model.schema, () if model.settings.single_convention else model.sources
    about = FinalFile(
        kept.FORMAT, schema.keypoints, str(schema.image_size), schema.mirror_shift, model.heads.further,
        model.size, model.spread, model.partners, sources, json_value(model.settings), fitted.best_epoch,
        fitted.history,
    )  # fmt: skip
    files = {WEIGHTS: weights_file(fitted.state), ABOUT: kept.json_bytes(about)}
    if model.calibration is not None:
        files[RADII] = kept.arrays_bytes(model.calibration.to_arrays())
    return files if model.refiner is None else files | refiner_files(model.refiner)


def weights_file(state: Mapping[str, Tensor]) -> bytes:
    """A network's weights as safetensors."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def load_final(run: RunDirectory, device: torch.device, *, refined: bool = True) -> FinalModel:
    """Read the final network back.

    Parameters
    ----------
    refined
        With its second look, if it has one.

    Raises
    ------
    ModelError
        If it was not trained, or its files are damaged or of a newer format.
    """
    run.require_stage(STAGE)
    about = kept.read_json(run, STAGE, ABOUT, FinalFile)
    heads, settings = Heads(len(about.keypoints), about.further), _settings(about.settings)
    network = build_final_network(heads.outputs(settings.rows == "separate"), about.size, settings)
    read_networks(run, STAGE, WEIGHTS, {"": network})
    calibration = None
    if RADII in run.stages[STAGE]["outputs"]:
        sizes = {"K": heads.count, "M": 1}
        calibration = kept.read_arrays(
            run, STAGE, RADII, lambda arrays: Calibration.from_arrays(arrays, sizes=sizes)
        )
    refiner = None
    if refined:
        partners = mirror_of_patches(about.partners, settings)
        refiner = load_refiner(run, STAGE, about.schema, partners, heads.count, device)
    return FinalModel(
        folded(network.to(device)), about.schema, heads, about.size, about.spread, about.partners,
        about.sources, settings, calibration, refiner,
    )  # fmt: skip


def mirror_of_patches(
    partners: tuple[int, ...] | None, settings: FinalModelSettings
) -> tuple[int, ...] | None:
    """Mirror partners of heads in the second look: none where mirrored rows are not learnt from."""
    return partners if settings.flip == "on" else None


def _settings(told: dict[str, Any]) -> FinalModelSettings:
    """Settings as ``model.json`` holds them; what it does not hold is as it was before there was a choice."""
    kind = settings_kind(told)
    known = {field.name for field in fields(kind)}
    given = {name: value for name, value in told.items() if name in known}
    return record_of(kind, given).complete()


def build_final_network(
    outputs: Sequence[int], size: tuple[int, int], settings: FinalModelSettings
) -> nn.Module:
    """An untrained network that answers (B, sum of outputs, 3) from (B, 1, height, width).

    Parameters
    ----------
    outputs
        Keypoints answered; several numbers are as many networks that share nothing.
    size
        Height and width of its input, in samples.
    settings
        Complete.
    """
    original = design(settings)
    networks = [
        FinalNetwork(count, *size) if original is None else original.network(count, size) for count in outputs
    ]
    return networks[0] if len(networks) == 1 else SeparateNetworks(networks)
