"""The second look's networks and arrays in the run directory, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save

from labelfill.errors import DamagedFile
from labelfill.final.refiner import Patches, Refiner
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.folding import folded
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import JointCorrection
from labelfill.regressors.network_files import read_networks
from labelfill.runs import RunDirectory, kept
from labelfill.schema import KeypointSchema

_WEIGHTS, _ARRAYS = "final/refiner/networks.safetensors", "final/refiner/corrections.safetensors"
ABOUT = "final/refiner/about.json"
_MOST_FOLDS, _MOST_LOOKS, _LARGEST_PATCH = 100, 10, 4096


@dataclass(frozen=True)
class RefinerFile:
    """``about.json`` of the second look.

    Attributes
    ----------
    looks
        For each look, whether what it shows is corrected jointly.
    """

    format: int
    folds: int
    looks: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.folds <= _MOST_FOLDS or not 1 <= len(self.looks) <= _MOST_LOOKS:
            raise DamagedFile("it refers to more folds or looks than there are")


def refiner_files(refiner: Refiner) -> dict[str, bytes]:
    """The files that `load_refiner` reads."""
    arrays = refiner.patches.to_arrays("patches.")
    for number, correction in enumerate(refiner.corrections):
        arrays |= {} if correction is None else correction.to_arrays(f"look{number}.")
    if refiner.calibration is not None:
        arrays |= refiner.calibration.to_arrays("calibration.")
    weights = {
        f"{_prefix(head, fold)}{name}": tensor.detach().cpu().contiguous()
        for head, networks in enumerate(refiner.networks)
        for fold, state in enumerate(networks)
        for name, tensor in state.state_dict().items()
    }
    looks = tuple(correction is not None for correction in refiner.corrections)
    about = RefinerFile(kept.FORMAT, len(refiner.networks[0]), looks)
    return {_WEIGHTS: save(weights), _ARRAYS: kept.arrays_bytes(arrays), ABOUT: kept.json_bytes(about)}


def load_refiner(
    run: RunDirectory, stage: str, schema: KeypointSchema, partners: tuple[int, ...] | None, heads: int,
    device: torch.device,
) -> Refiner | None:  # fmt: skip
    """Read the second look back; None if the final network answers alone.

    Raises
    ------
    ModelError
        If a file is missing, damaged or of a newer format.
    """
    if ABOUT not in run.stages[stage]["outputs"]:
        return None
    about = kept.read_json(run, stage, ABOUT, RefinerFile)
    untrained = kept.read_arrays(
        run, stage, _ARRAYS, lambda arrays: _untrained(arrays, about, schema, partners, heads)
    )
    size = int(untrained.patches.size[0])
    networks = {
        _prefix(head, fold): folded(PatchRegressor(size, heads))
        for head in range(heads) for fold in range(about.folds)
    }  # fmt: skip
    read_networks(run, stage, _WEIGHTS, networks)
    by_head = [
        [networks[_prefix(head, fold)].to(device) for fold in range(about.folds)] for head in range(heads)
    ]
    return replace(untrained, networks=by_head)


def _untrained(
    arrays: Mapping[str, NDArray[Any]], about: RefinerFile, schema: KeypointSchema,
    partners: tuple[int, ...] | None, heads: int,
) -> Refiner:  # fmt: skip
    patches = Patches.from_arrays(arrays, "patches.", sizes={"H": heads})
    if not 1 <= patches.size[0] <= _LARGEST_PATCH or not (patches.half > 0).all():
        raise DamagedFile("it describes impossible patches")
    corrections = tuple(
        JointCorrection.from_arrays(arrays, f"look{number}.", sizes={"K": heads}) if is_corrected else None
        for number, is_corrected in enumerate(about.looks)
    )
    calibration = None
    if "calibration.weights" in arrays:
        calibration = Calibration.from_arrays(arrays, "calibration.", sizes={"K": heads, "M": 1})
    return Refiner(schema, partners, patches, [], corrections, calibration)


def _prefix(head: int, fold: int) -> str:
    return f"head{head}.fold{fold}."
