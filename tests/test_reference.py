"""The pages that repeat what the code says: every command's help, the library's docstrings."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from labelfill.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent


def reference() -> object:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "api.md"])
def test_the_page_is_current(page: str) -> None:
    """What it repeats is what the code says now; otherwise: python scripts/reference.py."""
    made = reference().PAGES[page]()  # type: ignore[attr-defined]  # a module made above
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, "run python scripts/reference.py"


def test_every_command_has_its_help() -> None:
    """A section for each command, and one for the program itself."""
    headings = re.findall(
        r"^## (.+)$", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings == ["labelfill", *(f"labelfill {name.replace('_', '-')}" for name in COMMANDS)]
