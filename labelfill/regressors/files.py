"""What the first stage leaves in the run directory beside its networks, written and read back.

::

    shared-models/prior.safetensors                shape prior, calibration
    shared-models/sources.json                     label sources and convention offsets
    shared-models/distrust.csv                     labels that training did not trust, if there were any
    report/...                                     what the report shows (`held_out`)

Weights are safetensors and the rest is JSON; nothing here can run code when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import KeptArrays, check_array
from labelfill.data.dataset import Dataset
from labelfill.data.distrust import distrust_bytes, named_labels, read_distrust
from labelfill.errors import DamagedFile, ModelError
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import JointCorrection
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.ensemble import Ensemble, Member, Regressor
from labelfill.regressors.network_files import load_regressor
from labelfill.regressors.unit_names import COARSE, FACE, STAGE, audit_name, patch_name
from labelfill.runs import RunDirectory, kept
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.conventions import ConventionOffset, OffsetEntry, Sources
from labelfill.sources.groups import SourceGroups

_PRIOR = "shared-models/prior.safetensors"
_SOURCES = "shared-models/sources.json"
_DISTRUST = "shared-models/distrust.csv"


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
