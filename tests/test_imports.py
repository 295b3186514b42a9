"""The house: which room may import which, what loads late, and what is never loaded."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labelfill"

# A line for each room: which rooms it may import, besides `errors` and `schema`.
ROOMS = {
    "schema": "",
    "settings": "",
    "shape": "",
    "runs": "settings",
    "data": "settings runs",
    "networks": "settings runs",
    "original": "settings data networks",
    "sources": "settings shape runs data networks",
    "regressors": "settings shape runs data networks sources",
    "filling": "settings shape runs data networks sources regressors",
    "final": "settings shape runs data networks original sources regressors filling",
    "reports": "settings shape runs data networks original sources regressors filling final",
    "api": "settings shape runs data networks sources regressors filling final reports",
    "cli": "settings shape runs data networks sources regressors filling final reports api",
}
EVERYWHERE = {"labelfill", "arrays", "errors", "schema"}
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


def allowed(room: str) -> set[str]:
    """Rooms that a room may import, itself included."""
    if room in {"labelfill", "arrays", "errors"}:
        return {"labelfill", "arrays", "errors"}
    return {room, *EVERYWHERE, *("cli" if room == "__main__" else ROOMS[room]).split()}


def faults(source: str, module: tuple[str, ...], package: tuple[str, ...]) -> list[str]:
    """What is wrong with the imports of a file: arrows that run back, and private modules of other rooms."""
    room, found = room_of(module), []
    for line, name in imports(source, package):
        where = f"{'/'.join(module)}, line {line} imports {'.'.join(name)}"
        if room_of(name) not in allowed(room):
            found.append(f"{where}: {room} may not import {room_of(name)}")
        elif room_of(name) != room and any(part.startswith("_") for part in name[1:]):
            found.append(f"{where}, which is private")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_runs_back(path: Path) -> None:
    """A file imports what its room may import, and private modules of its own room alone."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    assert not faults(path.read_text(encoding="utf-8"), module_of(path), package)


def test_an_arrow_that_runs_back_is_found() -> None:
    """Wherever in a file it stands; what is allowed is not reported."""
    source = (
        "from labelfill.data.table import read_table\ndef f():\n    from labelfill.final import predict\n"
    )
    (fault,) = faults(source, ("labelfill", "regressors", "stage"), ("labelfill", "regressors"))
    assert fault.endswith("line 3 imports labelfill.final.predict: regressors may not import final")
    (fault,) = faults(
        "from labelfill.runs import _files", ("labelfill", "data", "cache"), ("labelfill", "data")
    )
    assert fault.endswith("imports labelfill.runs._files, which is private")


def test_every_room_may_import_earlier_rooms_only() -> None:
    """The lines themselves have no arrow back, and there is a line for every room of the package."""
    for number, (room, names) in enumerate(ROOMS.items()):
        assert set(names.split()) <= {*list(ROOMS)[:number]}, room
    rooms = {room_of(module_of(path)) for path in FILES}
    assert rooms == {*ROOMS, *EVERYWHERE, "__main__"}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Within rooms, too, files can be ordered so that each imports earlier ones only."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
        found = {".".join(name) for _, name in imports(path.read_text(encoding="utf-8"), package)}
        graph[".".join(module_of(path))] = found - {".".join(module_of(path))}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names them


def test_every_kind_of_import_is_seen() -> None:
    """The walk sees imports inside functions, of submodules, relative and absolute, and no others."""
    source = (
        "import os, labelfill.cli.main\nfrom labelfill import schema, __version__\nfrom numpy import array\n"
        "from ..settings import resolve\nfrom . import _files\ndef f():\n"
        "    from labelfill.data.table import read_table\n"
    )
    assert sorted(".".join(name) for _, name in imports(source, ("labelfill", "runs"))) == [
        "labelfill",
        "labelfill.cli.main",
        "labelfill.data.table",
        "labelfill.runs._files",
        "labelfill.schema",
        "labelfill.settings",
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
            safe = {"joblib", "Parallel", "cpu_count", "delayed", "get_reusable_executor", "parallel_config"}
            assert "joblib" not in loaded or loaded <= safe
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


@pytest.mark.parametrize("room", ["data.table", "runs", "settings", "schema"])
def test_rooms_without_tensors_do_not_load_torch(room: str) -> None:
    """Torch is imported only where tensors are made."""
    code = f"import sys, labelfill.{room}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
