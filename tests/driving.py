"""Drives the real command line, and checks what every filled table keeps; shared by tests of the stages."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from labelfill.cli.main import main
from labelfill.data.table import KeypointTable, open_decompressed, read_table
from tests.drawn_tables import restored

DATA = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[2] / "shared" / "data"))

# Networks this small learn next to nothing, and are trained in seconds.
QUICK = {
    "LABELFILL_KEYPOINT_MODELS_PATCH_SIZE": "8",
    "LABELFILL_KEYPOINT_MODELS_EPOCHS": "1",
    "LABELFILL_FINAL_EPOCHS": "1",
}


# Fills by the shape prior alone: for tests that ask nothing of the regressors.
PRIOR = ("--method", "prior")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """What the command printed for --json."""
        result: dict[str, Any] = json.loads(self.out)
        return result

    @property
    def sentence(self) -> str:
        """The one error line of a failed command; what is only announced before it does not count."""
        errors = [line for line in self.err.splitlines() if line.startswith("labelfill: error: ")]
        assert len(errors) == 1, self.err
        assert self.err.splitlines()[-1] == errors[0], "the error is the last that is said"
        assert "Traceback" not in self.err
        assert self.out == ""
        return errors[0].removeprefix("labelfill: error: ")


def labelfill(*arguments: object) -> Outcome:
    """Run a command in this process, as a person would with these arguments; training is short."""
    out, err = io.StringIO(), io.StringIO()
    quick = dict(QUICK)
    if "prior" in arguments:  # it trains no regressors, and refuses settings that would do nothing
        quick = {name: value for name, value in QUICK.items() if "KEYPOINT" not in name}
    if "image-only" in arguments:  # it cuts no patches
        quick.pop("LABELFILL_KEYPOINT_MODELS_PATCH_SIZE")
    with (
        mock.patch.dict(os.environ, quick),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> dict[str, Any]:
    """The result of a command that has to succeed."""
    outcome = labelfill(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return outcome.result


def content(path: Path) -> bytes:
    """A table's bytes without compression."""
    with open_decompressed(path) as text:
        return text.read()


def bare_table(path: Path) -> KeypointTable:
    return read_table(path, require_images=False)


def read_provenance(filled: Path) -> list[dict[str, str]]:
    # Here, because every test loads this module by way of the fixtures, and most need no torch.
    from labelfill.filling.provenance import PROVENANCE_COLUMNS, provenance_path

    with open(provenance_path(filled), newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    assert tuple(reader.fieldnames or ()) == PROVENANCE_COLUMNS
    return lines


def check_filled(original: Path, filled: Path, summary: dict[str, Any]) -> list[dict[str, str]]:
    """The promises that hold for every filled table; the lines of its sidecar.

    Only blank cells were written, everything else is there byte for byte, and every filled cell has exactly
    one line of provenance that tells the truth.
    """
    before, after = bare_table(original), bare_table(filled)
    assert restored(content(original), before, content(filled), after) == content(original)
    new = after.observed & ~before.observed
    lines = read_provenance(filled)
    told = np.zeros_like(new)
    for line in lines:
        row, k = int(line["row"]), before.keypoints.index(line["keypoint"])
        assert not told[row, k].any(), "one line per keypoint and row"
        told[row, k] = [axis in line["filled"] for axis in "xy"]
        assert line["filled"] in ("xy", "x", "y")
        assert int(line["line"]) == before.lines[row]
        stated = np.array([float(line["x"]), float(line["y"])])
        np.testing.assert_allclose(stated, after.labels[row, k], rtol=0, atol=6e-5)
        assert float(line["radius"]) > 0
        assert float(line["sigma"]) > 0
        assert line["method"] in ("regressor", "copy", "prior", "convention")
        assert len(line["model"]) == 12
    np.testing.assert_array_equal(told, new)
    assert [int(line["row"]) for line in lines] == sorted(int(line["row"]) for line in lines)
    assert summary["rows"] == before.rows
    assert summary["observed"] == before.observed.sum()
    assert summary["filled"] == new.sum() == sum(len(line["filled"]) for line in lines)
    assert summary["left_blank"] == (~after.observed).sum() == sum(summary["left_blank_keypoints"].values())
    assert sum(summary["methods"].values()) == len(lines)
    return lines


def files_below(folder: Path, *parts: str) -> dict[str, bytes]:
    """The bytes of all files in some parts of a run directory, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for part in parts
        for file in sorted((folder / part).rglob("*"))
        if file.is_file()
    }
