"""Points of held-out rows, filled with their labels hidden: what the first stage keeps for the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.regressors.unit_names import STAGE
from labelfill.runs import RunDirectory, kept
from labelfill.sources.anchors import Anchors
from labelfill.sources.conventions import ConventionOffset

_log = logging.getLogger("labelfill")

_HELD_OUT, _DISPUTED = "report/held-out.safetensors", "report/disputed.safetensors"
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class HeldOutPoints(KeptArrays):
    """What was filled in where labels of held-out rows were hidden as in rows to be filled.

    A row is hidden once for the keypoints that most rows to be filled lack, and once for each other one.

    Attributes
    ----------
    hidden_row
        (h,): the row of the table that was hidden each time.
    shown
        (h, K): its keypoints whose labels could be seen.
    hiding
        (p,): of each point, the number of its row's hiding among these h.
    keypoint
        (p,): of each point.
    truth, found, prior
        (p, 2) px in the reference convention: its label, the fill, and what the shape prior alone expects.
    radius
        (p, len(COVERAGES)) px: error radii for each of the coverages.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "hidden_row": "H <N",
        "shown": "H K",
        "hiding": "P <H",
        "keypoint": "P <K",
        "truth": "P 2",
        "found": "P 2",
        "prior": "P 2",
        "radius": "P 7",
    }

    hidden_row: Integers
    shown: Mask
    hiding: Integers
    keypoint: Integers
    truth: Array
    found: Array
    prior: Array
    radius: Array

    @property
    def row(self) -> Integers:
        """(p,): of the table."""
        return self.hidden_row[self.hiding]


@dataclass(frozen=True)
class DisputedLabels(KeptArrays):
    """Where the reference convention would put the labels of a group that marks a keypoint otherwise.

    Attributes
    ----------
    row
        (r,): of the table.
    reference
        (r, 2) px.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "row": "R <N",
        "reference": "R 2",
    }

    row: Integers
    reference: Array


def disputed_labels(
    offsets: Sequence[ConventionOffset], labels: Array, groups: Integers, anchors: Anchors
) -> list[DisputedLabels]:
    """For each offset, its group's labels (of the table's (n, K, 2) px) that anchors were found for."""
    found = []
    for offset in offsets:
        k = offset.keypoint
        labelled = np.isfinite(labels[:, k]).all(axis=1)
        rows = np.flatnonzero((groups == offset.group) & labelled & anchors.known[:, k])
        found.append(DisputedLabels(rows, anchors.xy[rows, k]))
    return found


def report_files(held_out: HeldOutPoints | None, disputed: Sequence[DisputedLabels]) -> dict[str, bytes]:
    """What the report shows of this stage as files: points, and labels of each claimed offset, in order."""
    files = {}
    if held_out is not None:
        files[_HELD_OUT] = kept.arrays_bytes(held_out.to_arrays())
    if disputed:
        arrays: dict[str, NDArray[Any]] = {}
        for number, labels in enumerate(disputed):
            arrays |= {f"{name}{number}": array for name, array in labels.to_arrays().items()}
        files[_DISPUTED] = kept.arrays_bytes(arrays)
    return files


def load_held_out(run: RunDirectory) -> HeldOutPoints | None:
    """The points that were kept; None if no held-out row labels a keypoint that is filled.

    Raises
    ------
    ModelError
        If the file is not as it should be.
    """
    if _HELD_OUT not in run.stages[STAGE]["outputs"]:
        if run.stages[STAGE]["results"]["regressors"]:
            _log.warning(
                "%s was trained by an earlier version, which stored nothing for held-out rows: "
                "train again in another --run-dir to see the errors of fills", run.path,
            )  # fmt: skip
        return None
    points = kept.read_arrays(
        run, STAGE, _HELD_OUT, lambda arrays: HeldOutPoints.from_arrays(arrays, sizes=run.sizes)
    )
    return points if len(points.keypoint) else None


def load_disputed(run: RunDirectory) -> list[DisputedLabels]:
    """The labels that were kept, in the order of the sources' offsets; errors as for `load_held_out`."""
    if _DISPUTED not in run.stages[STAGE]["outputs"]:
        return []
    return kept.read_arrays(run, STAGE, _DISPUTED, lambda arrays: _disputed(arrays, run.sizes))


def _disputed(arrays: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> list[DisputedLabels]:
    numbers = [str(number) for number in range(len(arrays) // 2)]
    return [
        DisputedLabels.from_arrays(
            {name.removesuffix(number): array for name, array in arrays.items()}, sizes=sizes
        )
        for number in numbers
    ]
