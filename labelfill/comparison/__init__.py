"""Ways of filling, and final networks trained on them, side by side: one table, one split, one truth.

`compare` fills by columns alone and scores filled tables; `Setting` and the functions beside it run
labelfill's own stages, every way in a run directory of its own.
"""

from labelfill.comparison._filled import Comparison, WayScore, compare
from labelfill.comparison._stages import (
    Setting,
    check_one_split,
    fill_by_models,
    train_final_on,
    train_models,
)

__all__ = [
    "Comparison",
    "Setting",
    "WayScore",
    "check_one_split",
    "compare",
    "fill_by_models",
    "train_final_on",
    "train_models",
]
