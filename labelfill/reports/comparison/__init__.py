"""Ways of filling, and final networks trained on them, side by side: one table, one split, one truth.

`compare` fills by columns alone and scores filled tables; `Setting` and the functions beside it run
labelfill's own stages, every way in a run directory of its own.
"""

from labelfill.reports.comparison._drawing import draw_comparison, draw_journey
from labelfill.reports.comparison._filled import WAYS, Comparison, Way, WayScore, compare
from labelfill.reports.comparison._journey import STEPS, Step, StepScore, builds_on, journey
from labelfill.reports.comparison._models import MODEL_WAYS, FinalScore, TrainedWays
from labelfill.reports.comparison._stages import (
    Setting,
    check_one_split,
    fill_by_models,
    train_final_on,
    train_models,
)

__all__ = [
    "MODEL_WAYS",
    "STEPS",
    "WAYS",
    "Comparison",
    "FinalScore",
    "Setting",
    "Step",
    "StepScore",
    "TrainedWays",
    "Way",
    "WayScore",
    "builds_on",
    "check_one_split",
    "compare",
    "draw_comparison",
    "draw_journey",
    "fill_by_models",
    "journey",
    "train_final_on",
    "train_models",
]
