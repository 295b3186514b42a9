"""Writes the pages that repeat what the code says: docs/commands.md from --help, docs/api.md from docstrings.

Usage: python scripts/reference.py [--check]     (--check: say whether they are current, write nothing)
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from pathlib import Path
from unittest import mock

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS.parent))

import labelfill  # noqa: E402 - found by the line above
from labelfill.cli.main import build_parser  # noqa: E402

_WIDTH = "100"
_FUNCTIONS = (
    "read_table", "train_keypoint_models", "impute", "read_filled", "plot", "review", "report", "evaluate",
    "train_final", "predict", "export",
)  # fmt: skip
_SETTINGS = (
    "TableSettings",
    "KeypointModelSettings",
    "ImputeSettings",
    "FinalModelSettings",
    "PredictSettings",
    "ReviewSettings",
)
_MADE = "<!-- Made by scripts/reference.py: change the code, not this page. -->"
_HEADING = re.compile(r"^([A-Z][a-z]+)\n-+$", re.MULTILINE)


def commands_page() -> str:
    """Every command's help, as it is printed on a terminal of 100 columns."""
    with mock.patch.dict(os.environ, {"COLUMNS": _WIDTH, "NO_COLOR": "1"}):
        parser = build_parser()
        (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        pages = [("labelfill", parser), *((f"labelfill {name}", one) for name, one in action.choices.items())]
        shown = [f"## {name}\n\n```text\n{one.format_help().rstrip()}\n```\n" for name, one in pages]
    return "\n".join(["# Commands", "", _MADE, "", *shown])


def api_page() -> str:
    """Signatures and docstrings of the public names."""
    parts = [
        "# Python",
        "",
        _MADE,
        "",
        "Everything below is imported from `labelfill`; `import labelfill` itself is fast. Errors caused by",
        "input or environment are subclasses of `labelfill.LabelfillError`: `UsageError`, `DataError` (with",
        "its subclass `ModelError`), `DeviceError` and `StorageError`. Tests run the examples.",
        "",
    ]
    for name in (*_FUNCTIONS, "KeypointImputer", "Dataset", "FilledRows", "Predictions", "Evaluation"):
        if name in labelfill.__all__:
            parts += _described(name, getattr(labelfill, name))
    parts += ["## Settings", "", "Each refuses values that make no sense.", ""]
    for name in _SETTINGS:
        parts += _settings(name, getattr(labelfill, name))
    return "\n".join(parts).rstrip() + "\n"


def _described(name: str, thing: object) -> list[str]:
    lines = [f"## {name}", "", "```python", _signature(name, thing), "```", "", *_markdown(thing)]
    if inspect.isclass(thing):
        for method, function in vars(thing).items():
            if callable(function) and not method.startswith("_") and inspect.getdoc(function):
                signature = _signature(method, function).replace("(self, ", "(").replace("(self)", "()")
                lines += [f"### {name}.{method}", "", "```python", signature, "```", "", *_markdown(function)]
    return lines


def _signature(name: str, thing: object) -> str:
    signature = inspect.signature(thing)  # type: ignore[arg-type]  # functions and classes only
    wanted: list[str] = []
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and "*" not in wanted:
            wanted.append("*")
        default = "" if one.default is one.empty else f" = {one.default!r}"
        wanted.append(
            f"{one.name}: {one.annotation}{default}" if one.annotation is not one.empty else one.name
        )
    returned = signature.return_annotation
    arrow = "" if returned in (inspect.Signature.empty, None, "None") else f" -> {returned}"
    text = f"{name}({', '.join(wanted)}){arrow}"
    return text if len(text) <= 100 else f"{name}(\n    " + ",\n    ".join(wanted) + f",\n){arrow}"


def _markdown(thing: object) -> list[str]:
    """A numpydoc docstring: section titles bold, definitions as a list, examples as code."""
    text = inspect.getdoc(thing) or ""
    pieces = _HEADING.split(text)
    lines = [_quoted(pieces[0].strip()), ""]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        lines += [f"**{title}**", ""]
        body = body.strip("\n")
        if title == "Examples":
            lines += ["```pycon", body, "```", ""]
        elif title == "Notes":
            lines += [_quoted(body), ""]
        else:
            lines += [*_definitions(_quoted(body)), ""]
    return lines


def _quoted(text: str) -> str:
    return text.replace("``", "`")


def _definitions(body: str) -> list[str]:
    """``name`` lines with what is said of them below, indented, as a list."""
    lines: list[str] = []
    for line in body.splitlines():
        if line.startswith(" "):
            lines.append("    " + line.strip())
        elif line.strip():
            names = re.sub(r"^(\w+(?:, \w+)*)", r"`\1`", line)
            lines.append(f"- {names}")
    return lines


def _settings(name: str, cls: type) -> list[str]:
    from dataclasses import fields

    rows = [f"### {name}", "", inspect.getdoc(cls) or "", "", "| name | default | is |", "|---|---|---|"]
    for field in fields(cls):
        about = field.metadata["about"].replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{field.default}` | {about} |")
    return [*rows, ""]


PAGES = {"commands.md": commands_page, "api.md": api_page}


def main(arguments: list[str]) -> int:
    stale = 0
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if "--check" in arguments:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                print(f"docs/{name} is not current: run python scripts/reference.py", file=sys.stderr)
                stale += 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
