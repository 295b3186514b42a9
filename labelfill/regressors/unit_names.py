"""What the first stage trains one by one: kinds of regressors, and the name and folder of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from labelfill.runs import safe_file_name
from labelfill.schema import KeypointSchema

STAGE = "train-keypoint-models"


class UnitKind(StrEnum):
    """Kinds of regressors.

    ``trunk`` learns the patches of all keypoints, and regressors of patches start from it; ``probe`` and
    ``audit`` look for the first and the second time at a disputed keypoint; ``face`` finds all keypoints of
    an upright shape, ``coarse`` of a whole image; ``patch`` one keypoint.
    """

    TRUNK = "trunk"
    PROBE = "probe"
    AUDIT = "audit"
    FACE = "face"
    COARSE = "coarse"
    PATCH = "patch"


@dataclass(frozen=True)
class UnitName:
    """A regressor's name, which random keys, the manifest and checkpoints know it by.

    Attributes
    ----------
    keypoint
        Its number in the table; None for those of all keypoints.
    """

    kind: UnitKind
    keypoint: int | None = None

    def __str__(self) -> str:
        return self.kind.value if self.keypoint is None else f"{self.kind.value} {self.keypoint}"

    def folder(self, schema: KeypointSchema) -> str:
        """Where its files go, relative to the run directory."""
        if self.keypoint is None:
            return f"shared-models/{self.kind.value}"
        keypoint = safe_file_name(schema.keypoints[self.keypoint])
        if self.kind is UnitKind.PATCH:
            return f"keypoint-models/{keypoint}"
        return f"shared-models/{self.kind.value}-{keypoint}"


TRUNK, FACE, COARSE = (UnitName(kind) for kind in (UnitKind.TRUNK, UnitKind.FACE, UnitKind.COARSE))


def patch_name(keypoint: int) -> UnitName:
    return UnitName(UnitKind.PATCH, keypoint)


def audit_name(keypoint: int) -> UnitName:
    return UnitName(UnitKind.AUDIT, keypoint)
