"""Counts the code of checkouts: lines without docstrings and comments, long modules, long signatures.

Usage: python benchmarks/code_counted.py CHECKOUT [OTHER ...]
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_LINES, MOST_ARGUMENTS = 320, 7
_NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Count:
    """What was counted.

    Attributes
    ----------
    documented
        Functions and classes with a docstring.
    long_modules, long_signatures
        Names with lines over `MOST_LINES`, and with arguments over `MOST_ARGUMENTS` (``self`` left out).
    passing_on
        Functions that only pass their arguments on to another.
    """

    lines: int = 0
    functions: int = 0
    documented: int = 0
    long_modules: dict[str, int] = field(default_factory=dict)
    long_signatures: dict[str, int] = field(default_factory=dict)
    passing_on: list[str] = field(default_factory=list)


def count(checkout: Path) -> Count:
    """The code of the package in a checkout."""
    found, package = Count(), checkout / "labelfill"
    for path in sorted(package.rglob("*.py")):
        name, text = str(path.relative_to(package)), path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
        found.lines += len(_code_lines(text) - _docstring_lines(nodes))
        if text.count("\n") > MOST_LINES:
            found.long_modules[name] = text.count("\n")
        for node in nodes:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.documented += ast.get_docstring(node) is not None
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.functions += 1
                arguments = [
                    one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                ]
                own = len(arguments) - (arguments[:1] in (["self"], ["cls"]))
                if own > MOST_ARGUMENTS:
                    found.long_signatures[f"{name}: {node.name}"] = own
                if not node.decorator_list and _passes_on(node, set(arguments)):
                    found.passing_on.append(f"{name}: {node.name}")
    return found


def _passes_on(function: ast.FunctionDef | ast.AsyncFunctionDef, arguments: set[str]) -> bool:
    """Whether it calls another function with its own arguments, all of them as they are, and nothing else."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return | ast.Expr) else None
    if not isinstance(call, ast.Call) or function.name.startswith("__"):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = {value.id for value in given if isinstance(value, ast.Name)}
    return len(names) == len(given) > 0 and names == arguments - {"self", "cls"}


def _code_lines(text: str) -> set[int]:
    return {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _NOT_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }


def _docstring_lines(nodes: list[ast.AST]) -> set[int]:
    def spans() -> Iterator[range]:
        for node in nodes:
            if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
                told = node.body[0]
                assert told.end_lineno is not None
                yield range(told.lineno, told.end_lineno + 1)

    return {line for span in spans() for line in span}


def main() -> None:
    for checkout in map(Path, sys.argv[1:]):
        found = count(checkout)
        share = found.documented / found.functions
        print(f"{checkout}: {found.lines:,} lines of code; {found.functions:,} functions, ", end="")
        print(f"{found.documented:,} docstrings of functions and classes ({share:.3f} for each function)")
        print(f"  modules over {MOST_LINES} lines: {_told(found.long_modules)}")
        print(f"  functions of over {MOST_ARGUMENTS} arguments: {len(found.long_signatures)}")
        for name, arguments in sorted(found.long_signatures.items(), key=lambda one: (-one[1], one[0])):
            print(f"    {arguments:3d} {name}")
        print(f"  functions that only pass their arguments on: {', '.join(found.passing_on) or 'none'}")


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"


if __name__ == "__main__":
    main()
