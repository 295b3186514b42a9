"""What `compare` found: as JSON, and the lines and columns of its text and its csv file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labelfill.cli._printing import Line, Result, cells, table

if TYPE_CHECKING:
    from labelfill.reports.comparison.comparison import Comparison
    from labelfill.reports.comparison.journey import StepScore

_ERRORS = (("RMSE", "rmse", ".2f"), ("MAE", "mae", ".2f"))
_COSTS = (("seconds", "seconds", ",.1f"), ("MB", "peak_memory", ".0M"), ("parameters", "parameters", ","))
_FINAL = (*_ERRORS, *_COSTS, ("epochs", "epochs", ""), ("", "budget_limited", "budget-limited"))

_CSV_ERRORS = (("rmse", "rmse", ".4f"), ("mae", "mae", ".4f"))
_CSV_MEMORY = ("peak_memory_mb", "peak_memory", ".0M")
_CSV_PARAMETERS = ("parameters", "parameters", "")
_CSV_WAY = (
    ("cells", "coordinates", ""), *_CSV_ERRORS, ("seconds", "seconds", ",.2f"), _CSV_MEMORY, _CSV_PARAMETERS
)  # fmt: skip
_CSV_FINAL = (
    *_CSV_ERRORS, ("seconds", "seconds", ".2f"), _CSV_MEMORY, _CSV_PARAMETERS,
    ("epochs", "epochs", ""), ("limit", "budget_limited", "budget-limited"),
)  # fmt: skip


def comparison_json(result: Comparison) -> dict[str, Any]:
    ways = {}
    for name, way in result.ways.items():
        scores = asdict(way)
        overall, keypoints = scores.pop("overall"), scores.pop("keypoints")
        ways[name] = {**overall, **scores, "per_keypoint": keypoints}
    return {
        "rows": result.rows,
        "cells": result.cells,
        "not_compared": result.not_compared,
        "held_out": result.held_out,
        "ways": ways,
    }


def _finals(r: Result) -> dict[str, Result]:
    return {name: way["final"] for name, way in r["ways"].items() if way["final"] is not None}


def _overall(r: Result) -> list[str]:
    trained = _finals(r) or any(way["parameters"] is not None for way in r["ways"].values())
    return ["", *table("px", (*_ERRORS, *(_COSTS if trained else ())), r["ways"].items()), ""]


def _final_networks(r: Result) -> list[str]:
    finals = _finals(r)
    rows = next(iter(finals.values()))["rows"]
    sentence = f"final networks on observed labels of {rows:,} held-out rows, trained on the same split"
    return [sentence, "", *table("final network, px", _FINAL, finals.items()), ""]


def _per_keypoint(r: Result) -> list[str]:
    each = {name: way["per_keypoint"] for name, way in r["ways"].items()}
    keypoints = next(iter(each.values()))  # the same of every way
    rows = ((k, {name: scores[k]["rmse"] for name, scores in each.items()}) for k in keypoints)
    return table("RMSE, px", [(name, name, ".2f") for name in each], rows)


COMPARISON: tuple[Line, ...] = (
    (
        "held_out",
        "{cells:,} cells in {rows:,} held-out rows of {table}, hidden in the patterns in which "
        "the table lacks labels",
    ),
    (lambda r: not r["held_out"], "{cells:,} cells in {rows:,} rows, blank in {table} and known in {truth}"),
    ("not_compared", "left blank by at least one way, not compared: {not_compared:,} cells"),
    _overall,
    (_finals, _final_networks),
    _per_keypoint,
)


def comparison_table(r: Result) -> list[list[str]]:
    """Lines of the csv file: every way over all keypoints, with what it took, then each keypoint."""
    head = [label for label, _, _ in _CSV_WAY]
    lines = [["way", "keypoint", *head, *(f"final_{label}" for label, _, _ in _CSV_FINAL)]]
    for name, way in r["ways"].items():
        lines += [
            [name, keypoint, *cells(_CSV_WAY, scores), *cells(_CSV_FINAL, scores.get("final") or {})]
            for keypoint, scores in (("all", way), *way["per_keypoint"].items())
        ]
    return lines


def journey_json(steps: Sequence[StepScore]) -> list[dict[str, Any]]:
    return [
        {
            "phase": scored.step.phase,
            "step": scored.step.name,
            "options": dict(scored.step.options),
            "filled": scored.step.filled,
            **asdict(scored.score),
        }
        for scored in steps
    ]


def _steps(r: Result) -> Iterable[str]:
    # The step's name is text too: flush left, whatever `table` does with columns of numbers.
    width = max(len(step["step"]) for step in (*r["steps"], {"step": "step"}))
    columns = (("step".ljust(width), "step", f"<{width}"), *_FINAL)
    return table("phase", columns, ((step["phase"], step) for step in r["steps"]))


JOURNEY: tuple[Line, ...] = (
    "final networks, step by step: errors in px on observed labels of {steps[0][rows]:,} "
    "held-out rows; {budget}",
    "",
    _steps,
)


def journey_table(r: Result) -> list[list[str]]:
    columns = (("phase", "phase", ""), ("step", "step", ""), *_CSV_FINAL)
    return [[label for label, _, _ in columns], *(cells(columns, step) for step in r["steps"])]
