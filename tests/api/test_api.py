"""The library: its public names, what it costs to import, and its examples."""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import labelfill
from tests.driving import bare_table, done
from tests.trained_runs import Trained

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "__version__",
    "DataError",
    "Dataset",
    "DeviceError",
    "Evaluation",
    "FilledRows",
    "FinalModelSettings",
    "ImageSize",
    "ImputeSettings",
    "ImputeSummary",
    "KeypointImputer",
    "KeypointModelSettings",
    "LabelfillError",
    "ModelError",
    "PredictSettings",
    "Predictions",
    "ReviewSettings",
    "StorageError",
    "TableSettings",
    "UsageError",
    "evaluate",
    "export",
    "impute",
    "plot",
    "predict",
    "read_filled",
    "read_table",
    "report",
    "review",
    "train_final",
    "train_keypoint_models",
]


def test_the_public_names_are_these() -> None:
    """A name that comes or goes is a decision: it changes this list and the changelog."""
    assert labelfill.__all__ == PUBLIC
    assert dir(labelfill) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(labelfill, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fill'"):
        labelfill.fill  # type: ignore[attr-defined]  # noqa: B018 - that it is not there is the point


def test_type_checkers_are_told_the_same_names() -> None:
    """The stub and the module name the same, and the package says that it has types."""
    stub = ast.parse((ROOT / "labelfill" / "__init__.pyi").read_text())
    imported = {a.asname: n.module for n in ast.walk(stub) if isinstance(n, ast.ImportFrom) for a in n.names}
    homes = {name: f"labelfill.{home}" for name, home in labelfill._HOMES.items()}  # type: ignore[attr-defined]
    assert imported == homes
    assert (ROOT / "labelfill" / "py.typed").exists()


def test_importing_the_library_is_light() -> None:
    """Neither torch nor numpy is loaded before something is used, and nothing is printed."""
    code = "import sys, labelfill; sys.exit(bool({'torch', 'numpy', 'pandas', 'skimage'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample in data/, as the examples want it."""
    folder = tmp_path_factory.mktemp("api")
    done("demo-data", "--rows", 60, "--out", folder / "data")
    return folder


@pytest.mark.slow
def test_every_example_of_the_api_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples of the functions in their order, then that of the imputer; all functions have one."""
    monkeypatch.chdir(folder)
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder()
    filling = ("read_table", "train_keypoint_models", "impute")
    looking = ("read_filled", "plot", "report", "review", "evaluate")
    for name in (*filling, *looking, "train_final", "predict"):
        tests = finder.find(getattr(labelfill, name), name, globs={"labelfill": labelfill})
        assert any(test.examples for test in tests), name
        for test in tests:
            runner.run(test)
    for test in finder.find(labelfill.KeypointImputer, "KeypointImputer", globs={"labelfill": labelfill}):
        runner.run(test)
    assert runner.summarize().failed == 0, capsys.readouterr().out


@pytest.mark.slow
def test_the_usage_pages_example_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line by line as it stands there, but for shorter training and a run directory of its own."""
    monkeypatch.chdir(folder)
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    quick = example.replace("KeypointImputer(", 'KeypointImputer(method="prior", ')
    quick = quick.replace('"outputs")\nlabelfill.impute', '"outputs", settings=PRIOR)\nlabelfill.impute')
    quick = quick.replace(
        'train_final("filled.csv", "outputs")', 'train_final("filled.csv", "outputs", settings=ONE)'
    )
    assert quick.count("PRIOR") == quick.count("ONE") == 1
    quick = quick.replace('"outputs"', '"usage"').replace("filled.csv", "usage.csv")
    names = {
        "PRIOR": labelfill.KeypointModelSettings(method="prior"),
        "ONE": labelfill.FinalModelSettings(epochs=1),
    }
    exec(compile(quick, "docs/usage.md", "exec"), names)
    assert capsys.readouterr().out == "(60, 15)\n"
    assert names["found"].xy.shape == (20, 15, 2)
    assert not np.isnan(names["filled"]).any()


def test_the_library_fills_as_the_command_does(small_prior: Trained, tmp_path: Path) -> None:
    """The same bytes, whether a table is filled by a function or by a command."""
    done(
        "impute", "--run-dir", small_prior.run, "--data", small_prior.table, "--out", tmp_path / "command.csv"
    )
    summary = labelfill.impute(small_prior.table, tmp_path / "function.csv", small_prior.run)
    assert (tmp_path / "function.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    assert summary.filled > 0


def test_arrays_of_images_are_answered_like_their_table(
    two_sources_final: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict` of an array and of a path give what the command writes, and print nothing."""
    table = labelfill.read_table(two_sources_final.table, image_size="48x48")
    images = table.images[:7]
    by_array = labelfill.predict(images, two_sources_final.run)
    by_path = labelfill.predict(two_sources_final.table, two_sources_final.run)
    assert capsys.readouterr().out == ""
    out = tmp_path / "p.csv"
    done("predict", "--run-dir", two_sources_final.run, "--images", two_sources_final.table, "--out", out)
    np.testing.assert_allclose(bare_table(out).labels, by_path.xy, atol=6e-5)
    np.testing.assert_allclose(by_array.xy, by_path.xy[:7], atol=1e-3)
    frame = by_array.to_frame()
    assert list(frame.columns[:14]) == list(table.schema.columns)
    np.testing.assert_array_equal(frame.iloc[:, 14:], by_array.radius)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((2, 48, 48, 3), np.uint8), "images is 2x48x48x3; expected grey images"),
        (np.full((2, 48, 48), 0.5), "expected whole grey values 0..255"),
        (np.full((2, 48, 48), "a"), "expected grey values 0..255"),
        (np.zeros((2, 40, 48), np.uint8), "images has images of 40x48"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    images: np.ndarray, sentence: str, two_sources_final: Trained
) -> None:
    """A DataError that says what was found and what was expected."""
    with pytest.raises(labelfill.DataError, match=sentence):
        labelfill.predict(images, two_sources_final.run)
