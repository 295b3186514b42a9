"""How far answers are from labels: the one place where errors become figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array


@dataclass(frozen=True)
class Score:
    """How far answers are from the truth, over a number of coordinates."""

    rmse: float  # px
    mae: float  # px
    coordinates: int


def score(errors: Array) -> Score:
    """RMSE and MAE over the errors that are not NaN, in px; NaN if there are none."""
    errors = errors[~np.isnan(errors)]
    if not errors.size:
        return Score(float("nan"), float("nan"), 0)
    return Score(float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors))), errors.size)
