"""Plots as SVG that takes the page's own colours, drawn by matplotlib without a display.

matplotlib (the extra ``plots``) is imported only here, and only its object interface.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from labelfill.errors import UsageError
from labelfill.report.pages import Markup, element, plain, text
from labelfill.schema import Array

# Drawn in these colours, which nothing else uses; then replaced by the page's, which follow light and dark.
_INK, _SOFT, _ACCENT = "#010203", "#040506", "#070809"
_OF_PAGE = {_INK: "var(--ink)", _SOFT: "var(--line)", _ACCENT: "var(--accent)"}

_WIDTH, _HEIGHT = 7.0, 2.6  # inches

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
        axes.set_xlabel(plain(x_label))
        axes.set_ylabel(plain(y_label))
        return _as_svg(figure, about)


def histograms(scales: Sequence[tuple[Array, str]], y_label: str, about: str) -> Markup:
    """Histograms side by side, of (values, name of the scale)."""
    with _drawing(len(scales)) as (figure, all_axes):
        for axes, (values, name) in zip([all_axes] if len(scales) == 1 else all_axes, scales, strict=True):
            axes.hist(values, bins=40, color=_ACCENT)
            axes.set_xlabel(plain(name))
        figure.axes[0].set_ylabel(plain(y_label))
        return _as_svg(figure, about)


def require_matplotlib() -> None:
    """Raise the sentence that says what to install, before work is done in vain."""
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        raise UsageError(
            "an HTML page needs matplotlib, which is not installed: pip install 'labelfill[plots]'"
        ) from None


@contextmanager
def _drawing(columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, drawn in our style until the block ends."""
    require_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(1, columns)


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
    return element("figure", Markup(labelled), class_="plot")
