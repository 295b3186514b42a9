"""Lists every test function of a checkout with the first line of its docstring, to compare two of them.

Usage: python benchmarks/tests_listed.py CHECKOUT [OTHER]: with OTHER, what only one of them has.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def listed(checkout: Path) -> set[str]:
    """``NAME: first line of its docstring`` of each test function, wherever its file lies."""
    found = set()
    for path in sorted((checkout / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{node.name}: {(ast.get_docstring(node) or '').partition(chr(10))[0]}")
    return found


def main() -> None:
    before, *others = (listed(Path(name)) for name in sys.argv[1:])
    if not others:
        print("\n".join(sorted(before)))
        return
    (after,) = others
    print(f"{len(before)} tests before, {len(after)} after")
    for line in sorted(before - after):
        print("-", line)
    for line in sorted(after - before):
        print("+", line)


if __name__ == "__main__":
    main()
