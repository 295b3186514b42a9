"""Plots of comparisons, drawn by matplotlib's object interface without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from labelfill.data.showing import require_matplotlib
from labelfill.reports.comparison.comparison import Comparison
from labelfill.reports.comparison.journey import StepScore

_RMSE, _MAE = "#0072B2", "#E69F00"  # told apart by people of any colour vision (Okabe and Ito 2008)
_SHADES = ("#ffffff", "#f0f0f0")


def draw_comparison(comparison: Comparison, kind: str) -> bytes:
    """Bars of RMSE and MAE for each way, and of its final network if there is one; `kind` is png or svg."""
    names = list(comparison.ways)
    panels: list[tuple[str, dict[str, Any]]] = [
        ("filled cells", {name: way.overall for name, way in comparison.ways.items()})
    ]
    finals = {name: way.final for name, way in comparison.ways.items() if way.final}
    if finals:
        panels.append(("final network", finals))
    figure = _figure(4.2 * len(panels) + 0.8, 0.42 * len(names) + 1.4)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (title, scores) in zip(axes, panels, strict=True):
        _bars(axis, names, scores)
        axis.set_title(title, fontsize=10)
    axes[0].legend(loc="lower right", frameon=False, fontsize=8)
    return _saved(figure, kind)


def draw_journey(steps: Sequence[StepScore], kind: str) -> bytes:
    """RMSE and MAE step by step, phases shaded in turn; hollow marks were limited by their budget."""
    figure = _figure(0.5 * len(steps) + 2.0, 5.2)
    axis = figure.subplots()
    places = list(range(len(steps)))
    for label, colour, values in (
        ("RMSE", _RMSE, [step.score.rmse for step in steps]),
        ("MAE", _MAE, [step.score.mae for step in steps]),
    ):
        axis.plot(places, values, color=colour, linewidth=1.4, label=label)
        for place, value, step in zip(places, values, steps, strict=True):
            face = "white" if step.score.budget_limited else colour
            axis.plot(place, value, marker="o", color=colour, markerfacecolor=face, markersize=5.5)
    top = max(step.score.rmse for step in steps) * 1.12
    for number, (phase, members) in enumerate(groupby(places, key=lambda place: steps[place].step.phase)):
        part = list(members)
        axis.axvspan(part[0] - 0.5, part[-1] + 0.5, color=_SHADES[number % 2], zorder=0)
        axis.text((part[0] + part[-1]) / 2, top * 0.985, phase, ha="center", va="top", fontsize=8)
    axis.set(xlim=(-0.5, len(steps) - 0.5), ylim=(0, top), ylabel="px, held-out rows, observed labels")
    axis.set_xticks(places, [step.step.name for step in steps], rotation=50, ha="right", fontsize=8)
    axis.legend(loc="lower left", frameon=False, fontsize=8)
    if any(step.score.budget_limited for step in steps):
        axis.set_title("hollow marks: limited by the budget, more training would help", fontsize=9)
    return _saved(figure, kind)


def _bars(axis: Any, names: Sequence[str], scores: Mapping[str, Any]) -> None:
    places = {name: len(names) - 1 - number for number, name in enumerate(names)}  # the first on top
    for label, colour, shift in (("RMSE", _RMSE, 0.2), ("MAE", _MAE, -0.2)):
        values = [score.rmse if label == "RMSE" else score.mae for score in scores.values()]
        drawn = axis.barh([places[name] + shift for name in scores], values, 0.38, color=colour, label=label)
        axis.bar_label(drawn, [f"{value:.2f}" for value in values], padding=2, fontsize=7)
    axis.set_yticks(list(places.values()), list(places))
    axis.set_xlabel("px")
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Any:
    require_matplotlib("a plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _saved(figure: Any, kind: str) -> bytes:
    from matplotlib import rc_context

    out = io.BytesIO()
    # No date and no random names: the same plot is the same bytes.
    with rc_context({"svg.hashsalt": "labelfill"}):
        figure.savefig(out, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()
