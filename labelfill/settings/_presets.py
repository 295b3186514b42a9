"""What presets of the final network decide of its settings, and which settings it once had.

Presets are labelfill's own and the stages of the original work, which improved one network in phases:
`baseline`, then better training (`phase1`), semi-supervised labels and more images (`phase2`), a deeper
network and a long search (`phase3`). What else it chose stands in the room `original/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["default", "baseline", "phase1", "phase2", "phase3"]
Labels = Literal["filled", "observed", "complete", "forward-fill", "mean", "knn", "iterative"]
RowsMode = Literal["together", "parallel", "separate"]
Switch = Literal["on", "off"]
Refine = Literal["auto", "none"]
Equalize = Literal["none", "stretch", "histogram", "adaptive"]

_DEFAULT: dict[str, Any] = {
    "labels": "filled",
    "epochs": 32,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "second_session_epochs": 0,
    "second_session_batch": 256,
    "equalize": "none",
    "flip": "on",
}
_BASELINE: dict[str, Any] = {
    "labels": "forward-fill",
    "epochs": 50,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "second_session_epochs": 0,
    "second_session_batch": 512,
    "equalize": "none",
    "flip": "off",
}
_PHASE1 = _BASELINE | {"epochs": 100, "batch_size": 32, "second_session_epochs": 25}
_PHASE2 = _PHASE1 | {"labels": "filled", "equalize": "adaptive", "flip": "on"}
_PHASE3 = _PHASE2 | {"epochs": 256, "batch_size": 8, "second_session_epochs": 64}

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "default": _DEFAULT,
    "baseline": _BASELINE,
    "phase1": _PHASE1,
    "phase2": _PHASE2,
    "phase3": _PHASE3,
}
"""What each preset decides, by the names of the settings."""

_BY_PRESET = "choose a preset with --preset"
_BY_JOURNEY = "`labelfill compare --journey`"
GONE: Mapping[str, str] = {
    "shuffle": f"rows are shuffled in every epoch, except in the preset baseline; {_BY_PRESET}",
    "rotate": "the presets phase2 and phase3 use rotated copies, the default preset rotates "
    "images at random in "
    f"every epoch; {_BY_PRESET}",
    "activation": "the preset baseline uses ReLU, phase1 and phase2 LeakyReLU, phase3 SELU; "
    f"{_BY_PRESET}, or compare them with {_BY_JOURNEY}",
    "batch_norm": "the presets phase1, phase2 and phase3 have batch normalisation, baseline has none; "
    f"{_BY_PRESET}, or compare them with {_BY_JOURNEY}",
    "dropout": f"the networks of all presets have a dropout of 0.1; {_BY_PRESET}",
    "features": f"{_BY_JOURNEY} trains a network on edges beside the pixels",
    "l1": f"{_BY_JOURNEY} trains a network with this penalty",
    "l2": f"{_BY_JOURNEY} trains a network with this penalty",
}
"""Settings of the final network that are gone, and what to use instead."""
