"""The documents: commands that parse, links that lead somewhere, tables that name what is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import labelfill
from labelfill.cli.main import COMMANDS, build_parser
from labelfill.filling.provenance import PROVENANCE_COLUMNS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_is_valid(path: Path) -> None:
    """A line ``$ labelfill ...`` is accepted by the program's own parser."""
    for line in re.findall(r"^\$ labelfill (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        arguments = shlex.split(line, comments=True)
        assert build_parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_to_a_file(path: Path) -> None:
    """Relative links of a document name files that are there."""
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    """README has at most 120 lines, none of them longer than 120 characters."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


def test_the_readmes_contents_lead_to_its_sections() -> None:
    """README's table of contents names every section, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = [
        name.lower().replace(",", "").replace(" ", "-")
        for name in re.findall(r"^## (.+)$", text, re.MULTILINE)
    ]
    assert re.findall(r"\]\(#([^)]+)\)", text) == sections


def test_the_citation_names_this_version() -> None:
    """CITATION.cff and the package state the same version."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", text, re.MULTILINE) == [labelfill.__version__]


def test_the_usage_page_explains_every_column_of_the_sidecar() -> None:
    """The table of provenance in docs/usage.md names the columns that are written, in their order."""
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    table = text.split("The columns of `filled.provenance.csv`:", 1)[1].split("\n\n", 2)[1]
    names = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert tuple(names) == PROVENANCE_COLUMNS


def test_the_design_names_every_command() -> None:
    """docs/design.md lists each command of the program."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"`{command.replace('_', '-')}" in text


# What version 0.1 had and this one has not: options, settings, files and what they were called.
GONE = (
    r"--(shuffle|no-shuffle|rotate|no-rotate|activation|batch-norm|no-batch-norm|dropout|features|l1|l2)\b",
    r"\b(batch_norm|LABELFILL_FINAL_(SHUFFLE|ROTATE|ACTIVATION|BATCH_NORM|DROPOUT|FEATURES|L1|L2))\b",
    r"\b[Rr]ay\b|RAY_ADDRESS",
    r"CUDA graph|replay\.py|captured step",
    r"compiled\.(c|pyi)|C compiler",
    r"json_text|plans\.py|_summaries\.py|_compared\.py",
)


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if path.name != "CHANGELOG.md"] + [ROOT / "labelfill" / "README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_document_names_what_is_gone(path: Path) -> None:
    """Removed options and words stand in the changelog alone, which says what to use instead."""
    text = path.read_text(encoding="utf-8")
    found = [match[0] for pattern in GONE for match in re.finditer(pattern, text)]
    assert not found, found
