"""Plots as SVG that takes the page's own colours, drawn by matplotlib without a display.

matplotlib (the extra ``plots``) is imported when something is drawn, and only its object interface.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.data.showing import require_matplotlib
from labelfill.reports.pages import Markup, element, plain, text

# Drawn in these colours, which nothing else uses; then replaced by the page's, which follow light and dark.
_INK, _SOFT, _ACCENT = "#010203", "#040506", "#070809"
_SERIES = (_ACCENT, "#0a0b0c", "#0d0e0f", "#101112")
_OF_PAGE = {
    _INK: "var(--ink)",
    _SOFT: "var(--line)",
    _ACCENT: "var(--accent)",
    **{drawn: f"var(--series-{number})" for number, drawn in enumerate(_SERIES) if number},
}
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_SMALL_COLUMNS = 4

_WIDTH, _HEIGHT = 7.0, 2.6  # inches
_REM_PER_INCH = 6.3  # on the page: letters of plots are then as large as those of the text

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "labelfill",  # the same plot is the same bytes
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _SOFT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def bars(values: Sequence[int], x_label: str, y_label: str, about: str) -> Markup:
    """A bar for each of 0, 1, 2, ...; `about` says in words what is seen."""
    with _drawing() as (figure, axes):
        drawn = axes.bar(range(len(values)), values, color=_ACCENT, width=0.8)
        axes.bar_label(drawn, [f"{value:,}" if value else "" for value in values], padding=2, fontsize=8)
        axes.margins(y=0.15)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(values) <= 25:
            axes.set_xticks(range(len(values)))
        axes.set(xlabel=plain(x_label), ylabel=plain(y_label))
        return _as_svg(figure, about)


def histograms(scales: Sequence[tuple[Array, str]], y_label: str, about: str) -> Markup:
    """Histograms side by side, of (values, name of the scale)."""
    with _drawing(len(scales)) as (figure, all_axes):
        for axes, (values, name) in zip(np.atleast_1d(all_axes), scales, strict=True):
            axes.hist(values, bins=40, color=_ACCENT)
            axes.set_xlabel(plain(name))
        figure.axes[0].set_ylabel(plain(y_label))
        return _as_svg(figure, about)


@dataclass(frozen=True)
class Line:
    """A curve through points (x, y); `low` and `high` are the ends of an interval around each."""

    x: Sequence[float] | Array
    y: Sequence[float] | Array
    name: str = ""
    low: Sequence[float] | Array | None = None
    high: Sequence[float] | Array | None = None


def share_curves(
    lines: Sequence[Line], x_label: str, y_label: str, about: str, *, diagonal: bool = False
) -> Markup:
    """Curves of shares, told apart by colour and dashes.

    Parameters
    ----------
    diagonal
        Whether to draw where x equals y.
    """
    with _drawing(size=(4.6, 4.2)) as (figure, axes):
        for number, line in enumerate(lines):
            style = {"color": _SERIES[number % len(_SERIES)], "linestyle": _DASHES[number % len(_DASHES)]}
            axes.plot(line.x, line.y, label=plain(line.name), linewidth=1.8, **style)
            if line.low is not None and line.high is not None:
                spread = [np.subtract(line.y, line.low), np.subtract(line.high, line.y)]
                axes.errorbar(line.x, line.y, spread, fmt="o", color=style["color"], markersize=4, capsize=3)
        if diagonal:
            ends = axes.get_xlim()
            axes.plot(ends, ends, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_ylim(top=1.02)
        axes.grid(visible=True, axis="both")
        if any(line.name for line in lines):
            axes.legend(frameon=False)
        axes.set(xlabel=plain(x_label), ylabel=plain(y_label))
        return _as_svg(figure, about)


def small_curves(
    panels: Sequence[tuple[str, Sequence[Line]]], x_label: str, y_label: str, about: str
) -> Markup:
    """One small plot for each (title, curves), all to the same scale; further curves are thin."""
    columns = min(_SMALL_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with _drawing(columns, rows, size=(1.9 * columns, 1.35 * rows + 0.3), alike=True) as (figure, all_axes):
        flat = np.atleast_1d(all_axes).reshape(-1)
        for axes, (title, lines) in zip(flat, panels, strict=False):
            for line in lines:
                axes.plot(line.x, line.y, color=_ACCENT, linewidth=1.0)
                if len(line.x) == 1:
                    axes.plot(line.x, line.y, "o", color=_ACCENT, markersize=3)
            axes.set_title(_cut(plain(title)), fontsize=7.5)
            axes.tick_params(labelsize=7)
            axes.set_ylim(bottom=0)
        for axes in flat[len(panels) :]:
            axes.remove()
        figure.supxlabel(plain(x_label), fontsize=8.5)
        figure.supylabel(plain(y_label), fontsize=8.5)
        return _as_svg(figure, about)


def _cut(title: str, most: int = 26) -> str:
    return title if len(title) <= most else f"{title[: most - 1]}…"


@contextmanager
def _drawing(
    columns: int = 1, rows: int = 1, *, size: tuple[float, float] = (_WIDTH, _HEIGHT), alike: bool = False
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, drawn in our style until the block ends; `alike`: to the same scale."""
    require_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(rows, columns, sharex=alike, sharey=alike)


def _as_svg(figure: Any, about: str) -> Markup:
    file = io.StringIO()
    with warnings.catch_warnings():
        # The page's font, which draws the text in the end, has other characters than matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    for drawn, wanted in _OF_PAGE.items():
        svg = svg.replace(drawn, wanted)
    labelled = svg.replace("<svg", f'<svg role="img" aria-label="{text(about)}"', 1)
    width = f"max-width: {figure.get_figwidth() * _REM_PER_INCH:.1f}rem"
    return element("figure", Markup(labelled), class_="plot", style=width)
