"""Presets of the final network: labelfill's own, and the stages of the original work.

The original work improved one network in phases: `baseline`, then better training (`phase1`), semi-supervised
labels and more images (`phase2`), a deeper network and a long search (`phase3`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["default", "baseline", "phase1", "phase2", "phase3"]
Labels = Literal["filled", "observed", "complete", "forward-fill", "mean", "knn", "iterative"]
RowsMode = Literal["together", "parallel", "separate"]
Switch = Literal["on", "off"]
Equalize = Literal["none", "stretch", "histogram", "adaptive"]
Rotate = Literal["none", "complete", "all"]
Activation = Literal["relu", "leaky-relu", "elu", "selu"]
Features = Literal["none", "edges"]

_BASELINE: dict[str, Any] = {
    "labels": "forward-fill",
    "epochs": 50,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "second_session_epochs": 0,
    "second_session_batch": 512,
    "shuffle": "off",
    "equalize": "none",
    "flip": "off",
    "rotate": "none",
    "activation": "relu",
    "batch_norm": "off",
    "dropout": 0.1,
    "features": "none",
    "l1": 0.0,
    "l2": 0.0,
}
_PHASE1 = _BASELINE | {
    "epochs": 100,
    "batch_size": 32,
    "second_session_epochs": 25,
    "shuffle": "on",
    "activation": "leaky-relu",
    "batch_norm": "on",
}
_PHASE2 = _PHASE1 | {"labels": "filled", "equalize": "adaptive", "flip": "on", "rotate": "complete"}
_PHASE3 = _PHASE2 | {"epochs": 256, "batch_size": 8, "second_session_epochs": 64, "activation": "selu"}
_DEFAULT: dict[str, Any] = {
    "labels": "filled",
    "epochs": 40,
    "batch_size": 64,
    "learning_rate": 2e-3,
    "second_session_epochs": 0,
    "second_session_batch": 256,
    "shuffle": "on",
    "equalize": "none",
    "flip": "on",
    "rotate": "none",
    "l1": 0.0,
    "l2": 0.0,
}

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "default": _DEFAULT,
    "baseline": _BASELINE,
    "phase1": _PHASE1,
    "phase2": _PHASE2,
    "phase3": _PHASE3,
}
"""What each preset decides, by the names of the settings."""
