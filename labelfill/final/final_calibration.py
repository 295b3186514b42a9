"""How far off the final network may be: error radii from rows that it did not learn from.

As for filled cells (`labelfill.regressors.calibration.blending`): split-conformal quantiles of the radial
error over the sigma that the network states. The residuals are those of validation rows; they chose the
epoch too, which flatters the network a little, so the share of evaluation rows within their radii is
reported beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.final.model import FinalModel
from labelfill.final.targets import Targets
from labelfill.regressors.calibration.blending import Calibration, calibrate
from labelfill.runs import VALIDATION

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def calibrate_radii(
    model: FinalModel,
    targets: Targets,
    images: NDArray[np.uint8],
    parts: NDArray[np.int8],
    device: torch.device,
) -> Calibration | None:
    """How large the network's errors are, per head, by the observed labels of validation rows.

    Returns
    -------
    Calibration or None
        None if no validation row has a label.
    """
    rows = np.flatnonzero((parts == VALIDATION) & targets.observed.any(axis=1))
    if not len(rows):
        return None
    found, sigma = model.answer(images[rows], device)
    residuals = np.where(targets.observed[rows][..., None], found - targets.xy[rows], np.nan)
    return calibrate(residuals[None], sigma[None])


def covered(error: Array, radius: Array, seen: Mask) -> float | None:
    """The share of the points `seen` (n, K) whose error (n, K, 2) stays within its radius (n, K), all px."""
    if not np.isfinite(radius[seen]).all():
        return None
    return float(np.mean(np.linalg.norm(error[seen], axis=-1) <= radius[seen]))
