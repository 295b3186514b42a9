"""Progress bars for whatever takes longer than a second; silent where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "it",
    show: bool = True,
) -> tqdm[Any]:
    """A tqdm bar on stderr; off when `show` is false or stderr is not a terminal."""
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        disable=None if show else True,
        dynamic_ncols=True,
        unit_scale=unit == "B",
        leave=False,
    )
