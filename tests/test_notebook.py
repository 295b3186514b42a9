"""docs/notebook.ipynb: its cells run as they stand, from a table to pictures and scores."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from labelfill.cli.main import main

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


def cells(kind: str) -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_holds_no_outputs() -> None:
    """Outputs and counts are left out, so that a change of a cell is all that a comparison shows."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own and one namespace; a line that begins with ! is a command of the program."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, source in enumerate(cells("code")):
        if source.startswith("!"):
            program, *arguments = shlex.split(source[1:])
            assert (program, main(arguments)) == ("labelfill", 0)
        else:
            exec(compile(source, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
    assert len(pyplot.get_fignums()) == 2
    pyplot.close("all")
    scores = names["scores"]
    assert scores.overall.rmse < 4  # type: ignore[attr-defined]  # an Evaluation
    assert scores.to_pandas().index[0] == "all"  # type: ignore[attr-defined]
    assert names["complete"].shape == (300, 30)  # type: ignore[attr-defined]  # an array
    assert {path.name for path in (tmp_path / "outputs").glob("*.html")} == {"report.html", "review.html"}
