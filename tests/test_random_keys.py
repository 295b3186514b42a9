"""What enters the random keys: a name that is changed there changes every digit of every result."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import write_table
from tests.driving import done
from tests.trained_runs import draw_two_sources

SEED = 7
FOLDS = range(5)

# Two sources disagree on keypoints 2 and 3; a row without labels lacks all, and is looked at whole first.
PATCHES = ("audit 2", "audit 3", "probe 2", "probe 3", *(f"patch {k}" for k in range(7)))
# Every kind of network has one epoch, as is asked for; then come two of the final network.
EPOCHS = dict.fromkeys((*PATCHES, "coarse", "face"), 1)
SESSIONS = {0: 2, 1: 1}

REGRESSORS = {
    key
    for unit, epochs in EPOCHS.items()
    for key in (
        (unit, "validation"),
        *((unit, fold, "weights") for fold in FOLDS),
        *((unit, fold, epoch, *use) for fold in FOLDS for epoch in range(epochs)
          for use in ((), ("order",), ("dropout",))),
    )
}  # fmt: skip
TRUNK = {
    ("trunk", fold, *use)
    for fold in FOLDS
    for use in (("weights",), (0, "order"), (0, "dropout"), *((0, k) for k in range(7)))
}
FINAL = {
    ("train-final", "weights"),
    ("train-final", "some rows"),
    *(("train-final", session, epoch, *use) for session, epochs in SESSIONS.items() for epoch in range(epochs)
      for use in ((), ("order",), ("dropout",))),
}  # fmt: skip
SECOND_LOOK = {
    *(("train-final", what) for what in ("errors", "answers", "joint")),
    *((f"second look {head}", fold, *use) for head in range(9) for fold in FOLDS
      for use in (("weights",), (0, "order"), (0, "dropout"), (0, head))),
}  # fmt: skip
OTHERS = {
    ("folds",),
    ("audit residuals", 2),
    ("audit residuals", 3),
    # Which rows borrow which patterns: once for keypoints 0 to 3 each, once for those of one source together.
    *((name, k) for name in ("calibration", "held-out") for k in range(5)),
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int | str, ...]]]:
    """Every call of `random_key`, whichever module has it by name, in the order of the calls."""
    home = importlib.import_module(HOME)
    original = home.random_key
    found: list[tuple[int | str, ...]] = []

    def recorded(seed: int, *place: int | str) -> int:
        found.append((seed, *place))
        return original(seed, *place)

    importlib.import_module("labelfill.api")  # what is imported later takes the name from its home
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "labelfill" and vars(module).get("random_key") is original:
            monkeypatch.setattr(module, "random_key", recorded)
    yield found
    assert home.random_key is recorded


def _home() -> str:
    """The module that defines the function."""
    for name in ("labelfill.runs.randomness", "labelfill.training"):
        try:
            if hasattr(importlib.import_module(name), "random_key"):
                return name
        except ModuleNotFoundError:
            continue
    raise AssertionError("no module defines random_key")


HOME = _home()


@pytest.mark.slow
def test_the_keys_of_a_small_job(keys: list[tuple[int | str, ...]], tmp_path: Path) -> None:
    """All three stages with two sources and a row without labels draw from these places, by the seed."""
    drawn = draw_two_sources()
    drawn.labels[5] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    run = ("--run-dir", tmp_path / "run", "--seed", SEED)
    done("train-keypoint-models", "--data", tmp_path / "t.csv", *run)
    done("impute", *run)
    done("train-final", *run, "--epochs", 2, "--second-session-epochs", 1, "--most-rows", 50)
    assert {key[0] for key in keys} == {SEED}
    assert {key[1:] for key in keys} == REGRESSORS | TRUNK | FINAL | SECOND_LOOK | OTHERS


def test_a_key_is_the_same_everywhere() -> None:
    """The number is fixed by seed and place, with text and whole numbers told apart."""
    random_key = importlib.import_module(HOME).random_key
    assert random_key(0, "folds") == 22664655144261058
    assert random_key(SEED, "face", 0, 1, "order") == 42986195773006
    assert random_key(0, 1) != random_key(0, "1")
