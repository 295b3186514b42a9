"""The networks that the first stage leaves in the run directory, written and read back.

::

    keypoint-models/<keypoint>/model.safetensors   one patch regressor, a network per fold
    keypoint-models/<keypoint>/model.json          what it sees, how it was trained
    shared-models/<name>/...                       regressors that serve all keypoints
    shared-models/trunk/...                        what patch regressors started from, and each row's fold

Weights are safetensors and the rest is JSON; nothing here can run code when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from labelfill.arrays import Integers, check_array
from labelfill.errors import DamagedFile, ModelError
from labelfill.networks.architectures import PatchRegressor, parameter_count
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.folding import folded
from labelfill.regressors.ensemble import Regressor
from labelfill.regressors.trunk import Start, Trunk
from labelfill.regressors.unit_names import STAGE, UnitName
from labelfill.regressors.views import View, make_network
from labelfill.runs import RunDirectory, kept
from labelfill.schema import ImageSize, KeypointSchema

_TRUNK = "shared-models/trunk"
_FOLDS = "shared-models/trunk/folds.safetensors"
# Networks far beyond any that is trained are not built, whatever a file says.
_MOST_FOLDS, _LARGEST_VIEW = 100, 4096


@dataclass(frozen=True)
class RegressorFile:
    """``model.json`` of a regressor.

    Attributes
    ----------
    keypoint
        The one that it finds; None: all.
    examples
        About how many one fold's network learnt from.
    best_epochs, history
        Of each fold's network.
    """

    format: int
    keypoint: str | None
    keypoints: tuple[str, ...]
    image_size: str
    view: View
    folds: int
    parameters: int
    examples: int
    best_epochs: list[int]
    history: list[list[dict[str, float]]]

    def __post_init__(self) -> None:
        ImageSize.parse(self.image_size)
        view = self.view
        if not 1 <= self.folds <= _MOST_FOLDS or not 1 <= view.size <= _LARGEST_VIEW:
            raise DamagedFile("it refers to more folds, or a larger view, than there are")
        if not all(0 < length < math.inf for length in (view.half, view.spread)):
            raise DamagedFile("field 'view' has lengths that are not positive")
        if view.keypoint is not None and not 0 <= view.keypoint < len(self.keypoints):
            raise DamagedFile("field 'view' refers to an unknown keypoint")


@dataclass(frozen=True)
class TrunkFile:
    """``model.json`` of the trunk; fields as those of `RegressorFile`.

    Attributes
    ----------
    size
        Side of a patch in samples.
    """

    format: int
    keypoints: tuple[str, ...]
    size: int
    folds: int
    parameters: int
    examples: int
    history: list[list[dict[str, float]]]


def regressor_files(
    unit: UnitName, view: View, fitted: Sequence[Fitted], schema: KeypointSchema, examples: int
) -> dict[str, bytes]:
    """A trained regressor as files."""
    keypoint = None if view.keypoint is None else schema.keypoints[view.keypoint]
    about = RegressorFile(
        kept.FORMAT, keypoint, schema.keypoints, str(schema.image_size), view, len(fitted),
        parameter_count(make_network(view, schema.count)), examples,
        [network.best_epoch for network in fitted], [network.history for network in fitted],
    )  # fmt: skip
    folder = unit.folder(schema)
    return {f"{folder}/model.safetensors": _weights(fitted), f"{folder}/model.json": kept.json_bytes(about)}


def trunk_files(
    fitted: Sequence[Fitted], size: int, schema: KeypointSchema, examples: int, folds: Integers
) -> dict[str, bytes]:
    """A trained trunk as files; parameters as for `PatchRegressor`, and `examples` of an epoch."""
    parameters = parameter_count(PatchRegressor(size, schema.count))
    history = [network.history for network in fitted]
    about = TrunkFile(kept.FORMAT, schema.keypoints, size, len(fitted), parameters, examples, history)
    return {
        f"{_TRUNK}/model.safetensors": _weights(fitted),
        f"{_TRUNK}/model.json": kept.json_bytes(about),
        _FOLDS: kept.arrays_bytes({"folds": folds}),
    }


def _weights(fitted: Sequence[Fitted]) -> bytes:
    """The weights of each fold's network."""
    tensors = {
        f"fold{fold}.{name}": tensor.detach().cpu().contiguous()
        for fold, network in enumerate(fitted)
        for name, tensor in network.state.items()
    }
    return save(tensors)


def _read_trunk(run: RunDirectory, schema: KeypointSchema) -> tuple[Trunk, int]:
    """A trunk, and the side of its patches in samples."""
    about = kept.read_json(run, STAGE, f"{_TRUNK}/model.json", TrunkFile)
    networks = {f"fold{fold}.": PatchRegressor(about.size, schema.count) for fold in range(about.folds)}
    read_networks(run, STAGE, f"{_TRUNK}/model.safetensors", networks)
    return tuple(network.state_dict() for network in networks.values()), about.size


def has_start(run: RunDirectory) -> bool:
    """Whether networks of patches have a trunk there that they can start from."""
    return _FOLDS in run.stages[STAGE]["outputs"]


def load_start(run: RunDirectory, schema: KeypointSchema, trained: Sequence[UnitName]) -> Start:
    """What networks of patches can start from; errors as for `load_regressor`.

    Parameters
    ----------
    trained
        Patch regressors that are finished, from which their keypoints start.
    """
    trunk, size = _read_trunk(run, schema)

    def folds(arrays: Mapping[str, NDArray[Any]]) -> Integers:
        if "folds" not in arrays:
            raise DamagedFile("it lacks the array 'folds'")
        check_array("folds", arrays["folds"], np.int64, "N <=F", {**run.sizes, "F": len(trunk)})
        return arrays["folds"]

    own = {}
    for unit in trained:
        view, networks = _read_regressor(run, unit, schema)
        if view.keypoint is not None and view.size == size and len(networks) == len(trunk):
            own[view.keypoint] = tuple(network.state_dict() for network in networks)
    return Start(trunk, own, kept.read_arrays(run, STAGE, _FOLDS, folds), size)


def load_regressor(
    run: RunDirectory, unit: UnitName, schema: KeypointSchema, device: torch.device
) -> Regressor:
    """Read a regressor back.

    Raises
    ------
    ModelError
        If a file is missing, damaged, of a newer format, or made for other keypoints or images.
    """
    view, networks = _read_regressor(run, unit, schema)
    return Regressor(view, [folded(network.to(device)) for network in networks])


def _read_regressor(
    run: RunDirectory, unit: UnitName, schema: KeypointSchema
) -> tuple[View, list[nn.Module]]:
    """What a regressor sees, and its networks as they were trained; errors as for `load_regressor`."""
    folder = unit.folder(schema)
    about = kept.read_json(run, STAGE, f"{folder}/model.json", RegressorFile)
    if about.keypoints != schema.keypoints or about.image_size != str(schema.image_size):
        raise ModelError(
            f"{run.path / folder} was trained for different keypoints or another image size; "
            "train in another --run-dir"
        )
    networks = {f"fold{fold}.": make_network(about.view, schema.count) for fold in range(about.folds)}
    read_networks(run, STAGE, f"{folder}/model.safetensors", networks)
    return about.view, list(networks.values())


def read_networks(run: RunDirectory, stage: str, path: str, networks: Mapping[str, nn.Module]) -> None:
    """Give networks the weights of a file, each those whose names begin with its prefix.

    Raises
    ------
    ModelError
        If the file does not hold them.
    """
    try:
        tensors = load(run.read_artefact(stage, path))
        for prefix, network in networks.items():
            network.load_state_dict(
                {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            )
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{run.path / path} does not contain the expected network ({type(error).__name__}); "
            "train again in another --run-dir"
        ) from error
    for network in networks.values():
        for name, tensor in network.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(
                    f"{run.path / path} contains weights that are not finite ({name}); train again in "
                    "another --run-dir"
                )
