"""What `compare` found, as text, JSON and csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labelfill.cli._summaries import aligned

if TYPE_CHECKING:
    from labelfill.reports.comparison import Comparison, StepScore

Row = list[str]
_MEGABYTE = 1e6
_LIMITED = "budget-limited"


def comparison_text(about: Mapping[str, str | None], result: Comparison) -> str:
    if result.held_out:
        where = f"labels of held-out rows of {about['table']}, hidden as its own rows lack them"
    else:
        where = f"blank in {about['table']} and known in {about['truth']}"
    lines = [f"{result.cells:,} cells in {result.rows:,} rows, {where}"]
    if result.not_compared:
        lines.append(f"left blank by some way, not compared: {result.not_compared:,} cells")
    trained = any(way.parameters is not None or way.final for way in result.ways.values())
    overall = [["px", "RMSE", "MAE", *(["seconds", "MB", "parameters"] if trained else [])]]
    for name, way in result.ways.items():
        cost = [_number(way.seconds, 1), _megabytes(way.peak_memory), _number(way.parameters)]
        overall.append(
            [name, f"{way.overall.rmse:.2f}", f"{way.overall.mae:.2f}", *(cost if trained else [])]
        )
    lines += ["", *aligned(overall), ""]
    finals = {name: way.final for name, way in result.ways.items() if way.final is not None}
    if finals:
        rows = [["final network, px", "RMSE", "MAE", "seconds", "MB", "parameters", "epochs", ""]]
        rows += [[name, *_final_cells(one)] for name, one in finals.items()]
        count = next(iter(finals.values())).rows
        lines += [
            f"final networks on {count:,} held-out rows, observed labels, trained by the same split",
            "",
        ]
        lines += [*aligned(rows), ""]
    each = [["RMSE, px", *result.ways]]
    keypoints = next(iter(result.ways.values())).keypoints  # the same of every way
    each += [[k, *(f"{way.keypoints[k].rmse:.2f}" for way in result.ways.values())] for k in keypoints]
    return "\n".join([*lines, *aligned(each)])


def comparison_json(result: Comparison) -> dict[str, Any]:
    ways = {
        name: {
            **vars(way.overall),
            "left_blank": way.left_blank,
            "seconds": way.seconds,
            "peak_memory": way.peak_memory,
            "parameters": way.parameters,
            "final": None if way.final is None else asdict(way.final),
            "per_keypoint": {keypoint: vars(one) for keypoint, one in way.keypoints.items()},
        }
        for name, way in result.ways.items()
    }
    return {
        "rows": result.rows,
        "cells": result.cells,
        "not_compared": result.not_compared,
        "held_out": result.held_out,
        "ways": ways,
    }


def comparison_table(result: Comparison) -> list[Row]:
    """Lines of the csv file: every way over all keypoints, with what it took, then each keypoint."""
    head = ["way", "keypoint", "cells", "rmse", "mae", "seconds", "peak_memory_mb", "parameters"]
    final = ["rmse", "mae", "seconds", "peak_memory_mb", "parameters", "epochs", "limit"]
    lines = [[*head, *(f"final_{name}" for name in final)]]
    for name, way in result.ways.items():
        cost = [_number(way.seconds, 2), _megabytes(way.peak_memory), _plain(way.parameters)]
        last = [""] * len(final) if way.final is None else _final_line(way.final)
        lines.append([name, "all", *_score(way.overall), *cost, *last])
        lines += [
            [name, keypoint, *_score(one), *[""] * (len(cost) + len(final))]
            for keypoint, one in way.keypoints.items()
        ]
    return lines


def journey_text(steps: Sequence[StepScore], budget: str) -> str:
    rows = [["phase", "step", "RMSE", "MAE", "seconds", "MB", "parameters", "epochs", ""]]
    rows += [[one.step.phase, one.step.name, *_final_cells(one.score)] for one in steps]
    # The step's name is text too: flush left, whatever `aligned` does with columns of numbers.
    width = max(len(row[1]) for row in rows)
    told = aligned([[row[0], row[1].ljust(width), *row[2:]] for row in rows])
    count = steps[0].score.rows
    return "\n".join(
        [f"final networks, step by step: px on {count:,} held-out rows, observed labels; {budget}", "", *told]
    )


def journey_json(steps: Sequence[StepScore]) -> list[dict[str, Any]]:
    return [
        {
            "phase": one.step.phase,
            "step": one.step.name,
            "options": dict(one.step.options),
            "filled": one.step.filled,
            **asdict(one.score),
        }
        for one in steps
    ]


def journey_table(steps: Sequence[StepScore]) -> list[Row]:
    head = ["phase", "step", "rmse", "mae", "seconds", "peak_memory_mb", "parameters", "epochs", "limit"]
    return [head, *([one.step.phase, one.step.name, *_final_line(one.score)] for one in steps)]


def _final_cells(one: Any) -> Row:
    figures = [f"{one.rmse:.2f}", f"{one.mae:.2f}", _number(one.seconds, 1), _megabytes(one.peak_memory)]
    limited = _LIMITED if one.budget_limited else ""
    return [*figures, _number(one.parameters), str(one.epochs), limited]


def _final_line(one: Any) -> Row:
    figures = [f"{one.rmse:.4f}", f"{one.mae:.4f}", f"{one.seconds:.2f}", _megabytes(one.peak_memory)]
    return [*figures, str(one.parameters), str(one.epochs), _LIMITED if one.budget_limited else ""]


def _score(one: Any) -> Row:
    return [str(one.coordinates), f"{one.rmse:.4f}", f"{one.mae:.4f}"]


def _number(value: float | None, decimals: int = 0) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def _plain(value: int | None) -> str:
    return "" if value is None else str(value)


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / _MEGABYTE:.0f}"
