"""A table at the prompt: in one line, as a small HTML table, as a data frame, and a row of it as a picture.

matplotlib (the extra ``plots``) and pandas are loaded when they are used.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.errors import UsageError, counted
from labelfill.schema import coordinate_columns

if TYPE_CHECKING:
    import pandas as pd

# Okabe & Ito, bright enough for grey pictures; labels and fills differ in shape, too.
_STYLES = {"label": ("o", "#56b4e9"), "fill": ("D", "#ffb000")}
_PLATE = 0.85  # grey of what stands in for an image


def require_matplotlib(purpose: str = "an HTML page") -> None:
    """Raise the sentence that says what to install, before work is done in vain."""
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        raise UsageError(
            f"{purpose} needs matplotlib, which is not installed: pip install 'labelfill[plots]'"
        ) from None


def one_line(labels: Array, further: str = "") -> str:
    """``700 rows, 15 keypoints, 10,548 of 21,000 coordinates labelled``: of labels (n, K, 2)."""
    rows, keypoints = labels.shape[:2]
    known = int(np.isfinite(labels).sum())
    parts = [
        counted(rows, "row"), counted(keypoints, "keypoint"),
        f"{known:,} of {labels.size:,} coordinates labelled",
    ]  # fmt: skip
    return ", ".join([*parts, further] if further else parts)


def as_html(title: str, names: Sequence[str], labels: Array) -> str:
    """A title, and for each keypoint how many rows label both its coordinates, one, and none."""
    known = np.isfinite(labels).sum(axis=2)  # (n, K)
    head = "".join(f"<th>{word}</th>" for word in ("keypoint", "labelled", "half labelled", "blank"))
    lines = []
    for k, name in enumerate(names):
        counts = "".join(f"<td>{int((known[:, k] == number).sum()):,}</td>" for number in (2, 1, 0))
        shown = html.escape(name.encode("utf-8", "backslashreplace").decode())
        lines.append(f"<tr><th>{shown}</th>{counts}</tr>")
    body = "".join(lines)
    return f"<p>{html.escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def as_frame(labels: Array, names: Sequence[str], extra: dict[str, list[str]]) -> pd.DataFrame:
    """One row per image: further columns as text, then ``<keypoint>_x`` and ``<keypoint>_y``, px."""
    import pandas as pd

    coordinates = labels.reshape(len(labels), 2 * len(names))
    found = pd.DataFrame(coordinates, columns=list(coordinate_columns(tuple(names))))
    for place, (name, values) in enumerate(extra.items()):
        if name not in found.columns:
            found.insert(min(place, found.shape[1]), name, values)
    return found


@dataclass(frozen=True)
class Layer:
    """Points (K, 2) px to draw, NaN where there is none; `radius` (K,) px draws circles around them."""

    xy: Array
    kind: str
    radius: Array | None = None


def draw_row(
    image: NDArray[np.uint8] | None, shape: tuple[int, int], layers: Sequence[Layer], title: str, ax: Any
) -> Any:
    """Draw an image (H, W), or a grey plate, with points; the matplotlib axes.

    Parameters
    ----------
    shape
        Height and width in px.
    ax
        Axes to draw into; None: those of a new figure.
    """
    require_matplotlib("a plot")
    from matplotlib.patches import Circle

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(4, 4), layout="constrained")
    height, width = shape
    shown = np.full(shape, 255 * _PLATE) if image is None else np.asarray(image)
    ax.imshow(shown, cmap="gray", vmin=0, vmax=255)
    for layer in layers:
        marker, colour = _STYLES[layer.kind]
        there = np.isfinite(layer.xy).all(axis=1)
        if not there.any():
            continue
        ax.plot(
            *layer.xy[there].T, marker, color=colour, markeredgecolor="black", markersize=5, label=layer.kind
        )
        if layer.radius is not None:
            for (x, y), radius in zip(layer.xy[there].tolist(), layer.radius[there].tolist(), strict=True):
                if radius == radius:
                    ax.add_patch(Circle((x, y), radius, fill=False, edgecolor=colour, linewidth=1))
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_title(title, fontsize=9, parse_math=False)
    if len([layer for layer in layers if np.isfinite(layer.xy).all(axis=1).any()]) > 1:
        ax.legend(loc="lower right", fontsize=8)
    return ax


def check_row(row: int, rows: int) -> int:
    """A row's number from 0; one below counts from the end.

    Raises
    ------
    UsageError
        If there is no such row.
    """
    if not -rows <= row < rows:
        raise UsageError(f"there is no row {row}: the table has {counted(rows, 'row')}, counted from 0")
    return row % rows
