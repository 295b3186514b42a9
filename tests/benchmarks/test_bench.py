"""The whole path of ``scripts/bench``, on a table of a few rows."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import bench, measuring
from benchmarks.parts import networks, original
from tests.driving import labelfill


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's commands and parts are run in this process, with small patches.

    Starting a dozen processes would take a minute, and networks of the usual size two more.
    """

    def run_python(first: str, *rest: object, **_: object) -> measuring.Ended:
        printed, begun = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(printed):
            if first == "-c":
                print(torch.cuda.is_available())
            elif rest[0] == "labelfill":
                outcome = labelfill(*rest[1:])
                assert outcome.code in (0, 6), outcome.err
                print(outcome.out)
            else:
                part = importlib.import_module(str(rest[0]))
                monkeypatch.setattr(sys, "argv", rest)
                measuring.tell(part.measure)
        return measuring.Ended(printed.getvalue(), time.perf_counter() - begun, 0.0, 0)

    for module in (measuring, bench):
        monkeypatch.setattr(module, "run_python", run_python)
    monkeypatch.setattr(networks, "SECONDS", 0.0)
    monkeypatch.setitem(networks.SIDE, "cpu", 256)
    monkeypatch.setattr(original, "TRIED_ROWS", 16)


@pytest.mark.usefixtures("in_this_process")
def test_parts_are_measured_that_are_asked_for(tmp_path: Path) -> None:
    """Drawing and reading alone; a folder keeps to the arguments that it was begun with."""
    asked = ["--out", str(tmp_path), "--rows", "20", "--parts", "data,reading"]
    assert bench.main(asked) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["data"]["rows"] == told["reading"]["rows"] == 20
    assert told["stages"] == told["ways"] == {}
    with pytest.raises(SystemExit, match="choose another --out"):
        bench.main([*asked, "--seed", "1"])


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_every_part_leaves_figures_and_is_not_done_twice(tmp_path: Path) -> None:
    """Stages, other ways, networks and reading are measured; what was measured is kept."""
    asked = ["--out", str(tmp_path), "--rows", "44", "--epochs", "1", "--curve", "1", "--device", "cpu"]
    threads = torch.get_num_threads()
    assert bench.main(asked) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    text = (tmp_path / "results.md").read_text()
    assert set(told["stages"]) == {"train-keypoint-models", "impute", "train-final"}
    assert all(stage["seconds"] > 0 for stage in told["stages"].values())
    ways = told["ways"]
    assert 0 < ways["labelfill"]["rmse"] < ways["mean"]["rmse"], "labels are better known than by their mean"
    assert ways["the original way"]["seconds"] > ways["labelfill"]["seconds"] / 100
    assert ways["the original way"]["rmse of keypoints trained whole"] > 0
    original = told["networks"]["networks"][-1]
    assert original["parameters"] == 3_369_666  # of the original work's network, with one keypoint
    assert 1e6 < original["training flops per row"] < 1e9
    assert {"pandas.read_csv", "labelfill, into memory"} <= set(told["reading"]["ways"])
    assert "extrapolated to 50 epochs" in text
    assert told["curve"]["choices"].keys() == {"prior", "1"}
    assert told["curve"]["choices"]["1"]["rmse"] == ways["labelfill"]["rmse"], "of as many epochs"
    assert [one["rows"] for one in told["end to end"]["tables"]] == [44, 440]
    assert all(one["seconds"] > one["inference"] > 0 for one in told["end to end"]["tables"])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "parts").iterdir()}
    assert bench.main(asked) == 0
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "parts").iterdir()}
    with pytest.raises(SystemExit, match="choose another --out"):
        bench.main([*asked[:2], "--rows", "41"])
    torch.set_num_threads(threads)
