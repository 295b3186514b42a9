"""The house: which room may import which, what loads late, and what is never loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labelfill"

# From left to right: a room imports rooms of earlier lines only, never one of its own line.
ORDER = (
    {"labelfill", "errors", "progress", "place", "resources", "scanning"},
    {"schema"},
    {"settings"},
    {
        "table",
        "images",
        "shape",
        "networks",
        "plain_networks",
        "runs",
        "baselines",
        "mirroring",
        "reviewing",
        "optimizer",
        "replay",
    },
    {"formats", "joining", "lookup", "distrust", "final_networks"},
    {"dataset"},
    {"patches", "chunks", "prediction_files", "corrections", "radii", "run_tables", "engines"},
    {"training", "curves"},
    {"calibration", "joint", "sources"},
    {"agreement"},
    {"conventions"},
    {"anchors"},
    {"views", "doubts"},
    {"regressors"},
    {"ensemble", "preparation"},
    {"model_files"},
    {"units", "shards"},
    {"work"},
    {"cross_fitting", "source_audit"},
    {"coarse"},
    {"learnable"},
    {"keypoint_models"},
    {"fills"},
    {"filling"},
    {"provenance", "contradictions"},
    {"filling_job"},
    {"imputation"},
    {"final_targets"},
    {"final_model", "final_tables"},
    {"final_calibration", "final_examples", "final_lessons", "prediction", "model_card"},
    {"final_fitting"},
    {"final_training"},
    {"plans"},
    {"evaluation", "report", "synthetic", "exporting"},
    {"comparison", "doctor"},
    {"api", "imputer"},
    {"cli"},
    {"__main__"},
)
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a dotted name that begins with labelfill; labelfill itself is the package's own file."""
    return parts[1] if len(parts) > 1 else "labelfill"


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and dotted name of everything of labelfill that a file of `package` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) if is_module((*base, alias.name)) else base for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name[0] == "labelfill")


def is_module(name: tuple[str, ...]) -> bool:
    path = PACKAGE.parent.joinpath(*name)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_runs_back(path: Path) -> None:
    """A file imports rooms to the left of its own, and private modules of its own room alone."""
    own = room_of(module_of(path))
    assert own in LEVELS, f"{own} has no place in the order of rooms"
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for line, name in imports(path.read_text(encoding="utf-8"), package):
        other = room_of(name)
        where = f"{path.relative_to(PACKAGE)}, line {line} imports {'.'.join(name)}"
        assert other in LEVELS, where
        assert other == own or LEVELS[other] < LEVELS[own], f"{where}: the arrow runs back"
        assert other == own or not any(part.startswith("_") for part in name), f"{where}, which is private"


def test_every_kind_of_import_is_seen() -> None:
    """The walk sees imports inside functions, of submodules, relative and absolute, and no others."""
    source = (
        "import os, labelfill.cli.main\nfrom labelfill import schema, __version__\nfrom numpy import array\n"
        "from ..settings import resolve\nfrom . import _files\ndef f():\n"
        "    from labelfill.table import read_table\n"
    )
    assert sorted(".".join(name) for _, name in imports(source, ("labelfill", "runs"))) == [
        "labelfill",
        "labelfill.cli.main",
        "labelfill.runs._files",
        "labelfill.schema",
        "labelfill.settings",
        "labelfill.table",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle_is_ever_loaded(path: Path) -> None:
    """No module of pickles is imported, and no loader that may unpickle is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            loaded = {name.split(".")[0] for name in names}
            assert not loaded & {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
            # joblib's workers talk to their own parent only; what it could load from files stays out.
            allowed = {"joblib", "Parallel", "delayed", "get_reusable_executor", "parallel_config"}
            assert "joblib" not in loaded or loaded <= allowed
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr == "load":
            assert node.value.id not in {"torch", "joblib", "pickle"}
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.Attribute):
            assert node.attr != "read_pickle"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train-keypoint-models", "--help"]])
def test_help_comes_without_heavy_imports(arguments: list[str]) -> None:
    """Help and version load neither torch nor pandas nor scikit-image, so they come at once."""
    code = (
        "import sys; from labelfill.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'skimage', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert ended.returncode == 0, ended.stderr
    assert "labelfill" in ended.stdout


@pytest.mark.parametrize("room", ["table", "runs", "settings", "schema"])
def test_rooms_without_tensors_do_not_load_torch(room: str) -> None:
    """Torch is imported only where tensors are made."""
    code = f"import sys, labelfill.{room}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
