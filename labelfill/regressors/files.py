"""What the first stage leaves in the run directory, written and read back.

::

    keypoint-models/<keypoint>/model.safetensors   one patch regressor, a network per fold
    keypoint-models/<keypoint>/model.json          what it sees, how it was trained
    shared-models/<name>/...                       regressors that serve all keypoints
    shared-models/trunk/...                        what patch regressors started from, and each row's fold
    shared-models/prior.safetensors                shape prior, calibration
    shared-models/sources.json                     label sources and convention offsets
    shared-models/distrust.csv                     labels that training did not trust, if there were any
    report/...                                     what the report shows (`held_out`)

Weights are safetensors and the rest is JSON; nothing here can run code when it is read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from labelfill.arrays import Integers, KeptArrays, check_array
from labelfill.data.dataset import Dataset
from labelfill.data.distrust import distrust_bytes, named_labels, read_distrust
from labelfill.errors import DamagedFile, ModelError
from labelfill.networks.architectures import PatchRegressor, parameter_count
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.folding import folded
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import JointCorrection
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.ensemble import Ensemble, Member, Regressor
from labelfill.regressors.trunk import Start, Trunk
from labelfill.regressors.unit_names import COARSE, FACE, UnitName, audit_name, patch_name
from labelfill.regressors.views import View, make_network
from labelfill.runs import RunDirectory, kept
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.conventions import ConventionOffset, OffsetEntry, Sources
from labelfill.sources.groups import SourceGroups

STAGE = "train-keypoint-models"
_PRIOR = "shared-models/prior.safetensors"
_SOURCES = "shared-models/sources.json"
_TRUNK = "shared-models/trunk"
_FOLDS = "shared-models/trunk/folds.safetensors"
_DISTRUST = "shared-models/distrust.csv"
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


@dataclass(frozen=True)
class SourcesFile(kept.SchemaFile):
    """``sources.json``: label sources, and which regressors there are; the rest as `Sources` has it.

    Attributes
    ----------
    names, column, patterns, pattern_group
        As `SourceGroups` has them.
    patch, face, coarse
        Keypoints that have a patch regressor; whether there are the other two.
    """

    format: int
    keypoints: tuple[str, ...]
    image_size: str
    mirror_shift: float
    names: tuple[str, ...]
    column: str | None
    patterns: list[list[int]]
    pattern_group: list[int]
    reference: list[int]
    untested: dict[str, list[int]]
    skipped: list[int]
    patch: list[int]
    face: bool
    coarse: bool
    offsets: list[OffsetEntry]

    def __post_init__(self) -> None:
        super().__post_init__()
        lists = (*self.patterns, *self.untested.values(), self.reference)
        if any(len(of_keypoints) != len(self.keypoints) for of_keypoints in lists):
            raise DamagedFile("its numbers of keypoints do not match")
        groups, named = len(self.names), [*self.pattern_group, *map(_number, self.untested)]
        for entry in self.offsets:
            named += [entry.group, entry.reference]
        keypoints = [*self.patch, *self.skipped, *(entry.keypoint for entry in self.offsets)]
        if len(self.pattern_group) != len(self.patterns) or not all(0 <= group < groups for group in named):
            raise DamagedFile("it refers to label sources that are not listed")
        if not all(-1 <= group < groups for group in self.reference):
            raise DamagedFile("it refers to label sources that are not listed")
        if not all(0 <= keypoint < len(self.keypoints) for keypoint in keypoints):
            raise DamagedFile("it refers to keypoints that are not listed")

    @property
    def sizes(self) -> dict[str, int]:
        """K, the number of keypoints; see `KeptArrays.shapes`."""
        return {"K": len(self.keypoints)}

    @property
    def disputed(self) -> list[tuple[str, str, str]]:
        """Of each offset the keypoint, its source and the one that it is measured against."""
        names = self.names
        return [(self.keypoints[o.keypoint], names[o.group], names[o.reference]) for o in self.offsets]

    @property
    def groups(self) -> SourceGroups:
        """Label sources, and how their rows are told apart."""
        patterns = np.array(self.patterns, bool).reshape(-1, len(self.keypoints))
        return SourceGroups(self.names, patterns, np.array(self.pattern_group, np.int64), self.column)

    def sources(self, arrays: Mapping[str, NDArray[Any]]) -> Sources:
        """What the run knows of label sources, given the arrays beside the file."""
        offsets = [
            ConventionOffset.from_arrays(arrays, f"offset{number}.", entry, self.sizes)
            for number, entry in enumerate(self.offsets)
        ]
        untested = {int(group): np.array(keypoints, bool) for group, keypoints in self.untested.items()}
        reference, skipped = np.array(self.reference, np.int64), np.array(self.skipped, np.int64)
        return Sources(self.groups, reference, offsets, untested, skipped)


@dataclass(frozen=True)
class KeypointModels:
    """What the first stage made.

    Attributes
    ----------
    audit
        By disputed keypoint: the regressors that look at labels of other conventions.
    """

    ensemble: Ensemble
    sources: Sources
    audit: Mapping[int, Regressor]


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


def load_trunk(run: RunDirectory, schema: KeypointSchema) -> Trunk:
    """Read a trunk back; errors as for `load_regressor`."""
    return _read_trunk(run, schema)[0]


def _read_trunk(run: RunDirectory, schema: KeypointSchema) -> tuple[Trunk, int]:
    """A trunk, and the side of its patches in samples."""
    about = kept.read_json(run, STAGE, f"{_TRUNK}/model.json", TrunkFile)
    networks = {f"fold{fold}.": PatchRegressor(about.size, schema.count) for fold in range(about.folds)}
    read_networks(run, STAGE, f"{_TRUNK}/model.safetensors", networks)
    return tuple(network.state_dict() for network in networks.values()), about.size


def load_start(run: RunDirectory, schema: KeypointSchema) -> Start | None:
    """The trunk and its folds; None if there are none. Errors as for `load_regressor`."""
    if _FOLDS not in run.stages[STAGE]["outputs"]:
        return None
    trunk, size = _read_trunk(run, schema)

    def folds(arrays: Mapping[str, NDArray[Any]]) -> Integers:
        if "folds" not in arrays:
            raise DamagedFile("the array 'folds' is missing")
        check_array("folds", arrays["folds"], np.int64, "N <=F", {**run.sizes, "F": len(trunk)})
        return arrays["folds"]

    return Start(trunk, kept.read_arrays(run, STAGE, _FOLDS, folds), size)


def load_regressor(
    run: RunDirectory, unit: UnitName, schema: KeypointSchema, device: torch.device
) -> Regressor:
    """Read a regressor back.

    Raises
    ------
    ModelError
        If a file is missing, damaged, of a newer format, or made for other keypoints or images.
    """
    folder = unit.folder(schema)
    about = kept.read_json(run, STAGE, f"{folder}/model.json", RegressorFile)
    if about.keypoints != schema.keypoints or about.image_size != str(schema.image_size):
        raise ModelError(
            f"{run.path / folder} was trained for different keypoints or another image size; "
            "train in another --run-dir"
        )
    networks = {f"fold{fold}.": make_network(about.view, schema.count) for fold in range(about.folds)}
    read_networks(run, STAGE, f"{folder}/model.safetensors", networks)
    return Regressor(about.view, [folded(network.to(device)) for network in networks.values()])


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


def save_ensemble(
    run: RunDirectory, ensemble: Ensemble, sources: Sources, for_report: Mapping[str, bytes]
) -> None:
    """Write the shape prior, the calibration and the sources; the regressors were written one by one.

    Parameters
    ----------
    for_report
        Files that belong to the same unit of work, by path.
    """
    parts: dict[str, KeptArrays | None]
    parts = {"prior.": ensemble.prior, "calibration.": ensemble.calibration, "joint.": ensemble.joint,
             "radii.": ensemble.radii}  # fmt: skip
    parts |= {f"offset{number}.": offset for number, offset in enumerate(sources.offsets)}
    arrays: dict[str, NDArray[Any]] = {}
    for prefix, part in parts.items():
        arrays |= {} if part is None else part.to_arrays(prefix)
    if ensemble.partners is not None:
        arrays["partners"] = np.asarray(ensemble.partners)
    if ensemble.coarse_noise is not None:
        arrays["coarse_noise"] = ensemble.coarse_noise
    schema, groups = ensemble.schema, sources.groups
    untested = {str(group): mask.astype(int).tolist() for group, mask in sources.untested.items()}
    about = SourcesFile(
        kept.FORMAT, schema.keypoints, str(schema.image_size), schema.mirror_shift, groups.names,
        groups.column, groups.patterns.astype(int).tolist(), groups.pattern_group.tolist(),
        sources.reference.tolist(), untested, sources.skipped.tolist(), sorted(ensemble.patch),
        ensemble.face is not None, ensemble.coarse is not None,
        [offset.entry for offset in sources.offsets],
    )  # fmt: skip
    files = {_PRIOR: kept.arrays_bytes(arrays), _SOURCES: kept.json_bytes(about), **for_report}
    run.save_unit(STAGE, "prior and sources", files)


def save_distrusted(run: RunDirectory, dataset: Dataset) -> None:
    """Keep the list of distrusted labels, so that later stages of the same table know it too."""
    if dataset.distrusted is not None and dataset.distrusted.any():
        content = distrust_bytes(named_labels(dataset.distrusted, dataset.table))
        run.save_unit(STAGE, "distrusted labels", {_DISTRUST: content})


def load_distrusted(run: RunDirectory, dataset: Dataset) -> NDArray[np.bool_] | None:
    """(n, K): the labels that training did not trust, if it was on this table; None if there are none."""
    if "distrusted labels" not in run.stages[STAGE]["units"]:
        return None
    if run.input.sha256 != dataset.table.content_sha256:
        return None
    run.read_artefact(STAGE, _DISTRUST)  # verified
    return read_distrust(run.path / _DISTRUST, dataset.table)


def load_about(run: RunDirectory) -> SourcesFile:
    """Keypoints, image size and label sources of a run, without an array.

    Raises
    ------
    ModelError
        If the stage is not finished, or the file is not as it should be.
    """
    run.require_stage(STAGE)
    about = kept.read_json(run, STAGE, _SOURCES, SourcesFile)
    told = run.stages[STAGE]["results"]["convention offsets"]
    if about.disputed != [(offset["keypoint"], offset["source"], offset["reference"]) for offset in told]:
        raise ModelError(
            f"{run.path / _SOURCES} tells of other disputed keypoints than the run's manifest; "
            "train again in another --run-dir"
        )
    return about


def load_sources(run: RunDirectory) -> tuple[KeypointSchema, Sources]:
    """Keypoints with their mirror axis, and label sources, without a network; errors as for `load_about`."""
    about = load_about(run)
    return about.schema, kept.read_arrays(run, STAGE, _PRIOR, about.sources)


def load_models(run: RunDirectory, device: torch.device) -> KeypointModels:
    """Read back what the first stage made; errors as for `load_about`."""
    about = load_about(run)
    schema = about.schema
    sources, ensemble = kept.read_arrays(
        run, STAGE, _PRIOR, lambda arrays: (about.sources(arrays), _untrained(schema, arrays))
    )
    with_networks = replace(
        ensemble,
        patch={k: load_regressor(run, patch_name(k), schema, device) for k in about.patch},
        face=load_regressor(run, FACE, schema, device) if about.face else None,
        coarse=load_regressor(run, COARSE, schema, device) if about.coarse else None,
    )
    audited = [audit_name(offset.keypoint) for offset in sources.offsets]
    finished = run.stages[STAGE]["units"]
    audit = {
        name.keypoint: load_regressor(run, name, schema, device) for name in audited
        if name.keypoint is not None and str(name) in finished
    }  # fmt: skip
    return KeypointModels(with_networks, sources, audit)


def _untrained(schema: KeypointSchema, arrays: Mapping[str, NDArray[Any]]) -> Ensemble:
    """An ensemble without its networks."""
    calibrated, joint = "calibration.weights" in arrays, "joint.weights" in arrays
    sizes = {"K": schema.count}
    if "partners" in arrays:
        check_array("partners", arrays["partners"], np.int64, "K <=K", sizes)
    if "coarse_noise" in arrays:
        check_array("coarse_noise", arrays["coarse_noise"], np.float64, "K", sizes)
    weighted = {**sizes, "M": len(Member)}
    return Ensemble(
        schema,
        ShapePrior.from_arrays(arrays, "prior.", sizes=sizes),
        tuple(arrays["partners"].tolist()) if "partners" in arrays else None,
        coarse_noise=arrays.get("coarse_noise"),
        calibration=Calibration.from_arrays(arrays, "calibration.", sizes=weighted) if calibrated else None,
        joint=JointCorrection.from_arrays(arrays, "joint.", sizes=sizes) if joint else None,
        radii=Radii.from_arrays(arrays, "radii.", sizes=sizes) if calibrated else None,
    )


def _number(text: str) -> int:
    """A group's number, as names of JSON's objects are text; -1 if it is none."""
    return int(text) if text.isascii() and text.isdigit() else -1


def model_id(run: RunDirectory) -> str:
    """A short name for the models of a run: the first digits of a hash over all of them."""
    return hashlib.sha256(run.stage_fingerprint(STAGE).encode()).hexdigest()[:12]
