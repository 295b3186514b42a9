"""Values of options that several scripts take: some of a few words, and numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


def some_of(known: Iterable[str], what: str) -> Callable[[str], list[str]]:
    """A type for argparse: words out of `known`, separated by commas; in errors each is a `what`."""
    words = list(known)

    def chosen(text: str) -> list[str]:
        asked = text.split(",")
        for word in asked:
            if word not in words:
                raise argparse.ArgumentTypeError(f"there is no {what} {word!r}; there are {', '.join(words)}")
        return asked

    return chosen


def numbers(text: str) -> list[int]:
    """A type for argparse: whole numbers separated by commas."""
    return [int(one) for one in text.split(",")]
