"""What the first stage leaves in the run directory, written and read back.

::

    keypoint-models/<keypoint>/model.safetensors   one patch regressor, a network per fold
    keypoint-models/<keypoint>/model.json          what it sees, how it was trained
    shared-models/<name>/...                       regressors that serve all keypoints
    shared-models/prior.safetensors                shape prior, calibration
    shared-models/sources.json                     label sources and convention offsets
    shared-models/distrust.csv                     labels that training did not trust, if there were any
    report/...                                     what the report shows (`held_out`)

Weights are safetensors and the rest is JSON; nothing here can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load, save

from labelfill.data.dataset import Dataset
from labelfill.data.distrust import distrust_bytes, named_labels, read_distrust
from labelfill.errors import ModelError, UsageError
from labelfill.networks.architectures import parameter_count
from labelfill.networks.checkpoints import Fitted
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import JointCorrection
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.ensemble import Ensemble, Regressor
from labelfill.regressors.unit_names import COARSE, FACE, UnitName, audit_name, patch_name
from labelfill.regressors.views import View, make_network
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.agreement import Agreement
from labelfill.sources.conventions import ConventionOffset, Sources
from labelfill.sources.groups import SourceGroups
from labelfill.sources.preparation import Preparation

FORMAT = 1
STAGE = "train-keypoint-models"
_PRIOR = "shared-models/prior.safetensors"
_SOURCES = "shared-models/sources.json"
_DISTRUST = "shared-models/distrust.csv"


def regressor_files(
    unit: UnitName, view: View, fitted: Sequence[Fitted], schema: KeypointSchema, examples: int
) -> dict[str, bytes]:
    """A trained regressor as files."""
    tensors = {
        f"fold{fold}.{name}": tensor.detach().cpu().contiguous()
        for fold, one in enumerate(fitted)
        for name, tensor in one.state.items()
    }
    network = make_network(view, schema.count)
    about = {
        "format": FORMAT,
        "keypoint": None if view.keypoint is None else schema.keypoints[view.keypoint],
        "keypoints": list(schema.keypoints),
        "image_size": str(schema.image_size),
        "view": view.to_json(),
        "folds": len(fitted),
        "parameters": parameter_count(network),
        "examples": examples,
        "best_epochs": [one.best_epoch for one in fitted],
        "history": [one.history for one in fitted],
    }
    folder = unit.folder(schema)
    return {
        f"{folder}/model.safetensors": save(tensors),
        f"{folder}/model.json": json.dumps(about, indent=1).encode(),
    }


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
    about = _json(run, f"{folder}/model.json")
    place = run.path / folder
    if about.get("format", 0) > FORMAT:
        raise ModelError(
            f"{place} has format {about['format']}, newer than this version reads; update labelfill"
        )
    if tuple(about["keypoints"]) != schema.keypoints or about["image_size"] != str(schema.image_size):
        raise ModelError(
            f"{place} was trained for other keypoints or another image size; train in another --run-dir"
        )
    view = View(**about["view"])
    try:
        tensors = load(run.read_artefact(STAGE, f"{folder}/model.safetensors"))
        networks = []
        for fold in range(about["folds"]):
            prefix = f"fold{fold}."
            network = make_network(view, schema.count)
            network.load_state_dict(
                {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            )
            networks.append(network.to(device).eval())
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{place}/model.safetensors does not hold the network it should ({type(error).__name__}); "
            "train again in another --run-dir"
        ) from error
    return Regressor(view, networks)


def _json(run: RunDirectory, relative: str) -> dict[str, Any]:
    try:
        about = json.loads(run.read_artefact(STAGE, relative))
    except ValueError as error:
        raise ModelError(f"{run.path / relative} is no JSON: {error}") from error
    if not isinstance(about, dict):
        raise ModelError(f"{run.path / relative} does not hold what it should")
    return about


def offsets_to_json(offset: ConventionOffset, schema: KeypointSchema, groups: SourceGroups) -> dict[str, Any]:
    """A convention offset for people and reports."""
    low, high = offset.interval.round(3).tolist()
    return {
        "keypoint": schema.keypoints[offset.keypoint],
        "source": groups.names[offset.group],
        "reference": groups.names[offset.reference],
        "offset": offset.mean.round(3).tolist(),
        "interval": {"x": [low[0], high[0]], "y": [low[1], high[1]]},
        "rows": offset.rows,
        "remaining sigma": np.sqrt(offset.noise).round(3).tolist(),
    }


def save_ensemble_files(
    run: RunDirectory,
    ensemble: Ensemble,
    preparation: Preparation,
    agreements: Sequence[Agreement],
    offsets: Sequence[ConventionOffset],
    skipped: NDArray[np.int64],
    for_report: Mapping[str, bytes],
) -> None:
    """Write the shape prior, the calibration and the sources; the regressors were written one by one.

    Parameters
    ----------
    for_report
        Files that belong to the same unit of work, by path.
    """
    arrays = {"prior.mean": ensemble.prior.mean, "prior.covariance": ensemble.prior.covariance}
    if ensemble.partners is not None:
        arrays["partners"] = np.asarray(ensemble.partners)
    if ensemble.coarse_noise is not None:
        arrays["coarse_noise"] = ensemble.coarse_noise
    if ensemble.calibration is not None:
        arrays |= {f"calibration.{name}": value for name, value in vars(ensemble.calibration).items()}
    if ensemble.joint is not None:
        arrays |= {f"joint.{name}": value for name, value in vars(ensemble.joint).items()}
    if ensemble.radii is not None:
        arrays |= {f"radii.{name}": value for name, value in vars(ensemble.radii).items()}
    for number, offset in enumerate(offset for offset in offsets if offset.claimed):
        arrays |= {
            f"offset{number}.{name}": value
            for name, value in vars(offset).items()
            if isinstance(value, np.ndarray)
        }
    sources = {
        "format": FORMAT,
        "keypoints": list(ensemble.schema.keypoints),
        "image_size": str(ensemble.schema.image_size),
        "mirror_shift": ensemble.schema.mirror_shift,
        "names": list(preparation.groups.names),
        "column": preparation.groups.column,
        "patterns": preparation.groups.patterns.astype(int).tolist(),
        "pattern_group": preparation.groups.pattern_group.tolist(),
        "reference": preparation.reference.tolist(),
        "untested": {str(a.group): a.untested.astype(int).tolist() for a in agreements},
        "skipped": skipped.tolist(),
        "patch": sorted(ensemble.patch),
        "face": ensemble.face is not None,
        "coarse": ensemble.coarse is not None,
        "offsets": [
            {name: getattr(offset, name) for name in ("group", "reference", "keypoint", "rows", "claimed")}
            for offset in offsets
            if offset.claimed
        ],
    }
    run.save_unit(
        STAGE, "prior and sources",
        {_PRIOR: arrays_file(arrays), _SOURCES: json.dumps(sources, indent=1).encode(), **for_report},
    )  # fmt: skip


def arrays_file(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as safetensors."""
    return save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def save_distrusted(run: RunDirectory, dataset: Dataset) -> None:
    """Keep the list of distrusted labels, so that later stages of the same table know it too."""
    if dataset.distrusted is not None and dataset.distrusted.any():
        content = distrust_bytes(named_labels(dataset.distrusted, dataset.table))
        run.save_unit(STAGE, "distrusted labels", {_DISTRUST: content})


def load_distrusted(run: RunDirectory, dataset: Dataset) -> NDArray[np.bool_] | None:
    """(n, K): the labels that training did not trust, if it was on this table; None if there are none."""
    if "distrusted labels" not in run.stages[STAGE]["units"]:
        return None
    if run.manifest["input"]["sha256"] != dataset.table.content_sha256:
        return None
    run.read_artefact(STAGE, _DISTRUST)  # verified
    return read_distrust(run.path / _DISTRUST, dataset.table)


def load_schema(run: RunDirectory) -> KeypointSchema:
    """Keypoints and image size that the models of a run are for.

    Raises
    ------
    ModelError
        If the stage is not finished, or its files are not as they should be.
    """
    with holding_what_it_should(run.path, STAGE):
        about = _read_about(run)
        return KeypointSchema(tuple(about["keypoints"]), ImageSize.parse(about["image_size"]))


def load_groups(run: RunDirectory) -> SourceGroups:
    """The label sources of a run and how their rows are told apart; errors as for `load_schema`."""
    return _groups(_read_about(run))


def _groups(about: Mapping[str, Any]) -> SourceGroups:
    return SourceGroups(
        tuple(about["names"]),
        np.array(about["patterns"], bool).reshape(-1, len(about["keypoints"])),
        np.array(about["pattern_group"], np.int64),
        about["column"],
    )


def _read_about(run: RunDirectory) -> dict[str, Any]:
    run.require_stage(STAGE)
    about = _json(run, _SOURCES)
    if about["format"] > FORMAT:
        raise ModelError(
            f"{run.path} has model format {about['format']}, newer than this version reads; update labelfill"
        )
    return about


def load_ensemble(run: RunDirectory, device: torch.device) -> tuple[Ensemble, Sources, dict[int, Regressor]]:
    """Read back what the first stage made: the ensemble, the sources, and the audit's regressors.

    Raises
    ------
    ModelError
        If the stage is not finished, or a file is not as it should be.
    """
    with holding_what_it_should(run.path, STAGE):
        return _read_ensemble(run, device)


@contextmanager
def holding_what_it_should(folder: Path, stage: str) -> Iterator[None]:
    """Files whose hashes are right but that another program wrote are refused, not loaded by halves."""
    try:
        yield
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        SafetensorError,
        UsageError,
    ) as error:
        raise ModelError(
            f"the models in {folder} do not hold what this labelfill writes "
            f"({type(error).__name__}: {error}): run `labelfill {stage}` again in another --run-dir"
        ) from error


def load_sources(run: RunDirectory) -> tuple[KeypointSchema, Sources]:
    """Keypoints with their mirror axis, and label sources, without a network; errors as for `load_schema`."""
    with holding_what_it_should(run.path, STAGE):
        return _sources(_read_about(run), load_arrays(run.read_artefact(STAGE, _PRIOR)))


def _sources(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[KeypointSchema, Sources]:
    schema = KeypointSchema(
        tuple(about["keypoints"]), ImageSize.parse(about["image_size"]), about["mirror_shift"]
    )
    offsets = [
        ConventionOffset(**entry, **_part(arrays, f"offset{number}."))
        for number, entry in enumerate(about["offsets"])
    ]
    return schema, Sources(
        _groups(about),
        np.array(about["reference"], np.int64),
        offsets,
        {int(group): np.array(mask, bool) for group, mask in about["untested"].items()},
        np.array(about["skipped"], np.int64),
    )


def _read_ensemble(run: RunDirectory, device: torch.device) -> tuple[Ensemble, Sources, dict[int, Regressor]]:
    about = _read_about(run)
    arrays = load_arrays(run.read_artefact(STAGE, _PRIOR))
    schema, sources = _sources(about, arrays)
    calibration = None
    if "calibration.weights" in arrays:
        calibration = Calibration(**_part(arrays, "calibration."))
    ensemble = Ensemble(
        schema,
        ShapePrior(**_part(arrays, "prior.")),
        tuple(arrays["partners"].tolist()) if "partners" in arrays else None,
        {k: load_regressor(run, patch_name(k), schema, device) for k in about["patch"]},
        load_regressor(run, FACE, schema, device) if about["face"] else None,
        load_regressor(run, COARSE, schema, device) if about["coarse"] else None,
        arrays.get("coarse_noise"),
        calibration,
        JointCorrection(**_part(arrays, "joint.")) if "joint.weights" in arrays else None,
        None if calibration is None else Radii(**_part(arrays, "radii.")),
    )
    finished = run.stages[STAGE]["units"]
    audit = {
        offset.keypoint: load_regressor(run, audit_name(offset.keypoint), schema, device)
        for offset in sources.offsets
        if str(audit_name(offset.keypoint)) in finished
    }
    return ensemble, sources, audit


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, Any]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def model_id(run: RunDirectory) -> str:
    """A short name for the models of a run: the first digits of a hash over all of them."""
    return hashlib.sha256(run.stage_fingerprint(STAGE).encode()).hexdigest()[:12]
