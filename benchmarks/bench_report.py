"""The figures of ``scripts/bench`` as one table, and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelfill.runs import atomic_write

STAGES = ("train-keypoint-models", "impute", "train-final")
ONE_OFF = ("data", "networks", "original", "reading", "curve", "end to end")
Row = list[str]
NOT_MEASURED = "not measured"


def report(out: Path, about: dict[str, Any]) -> str:
    """Write results.json and results.md from the parts that are done; the text."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((out / "parts").glob("*.json")):
        parts.setdefault(file.stem.rpartition(" ")[0], []).append(json.loads(file.read_text()))
    summary = {"about": about, "stages": stages(parts), "ways": ways(parts), **one_off(parts)}
    sections = [
        ("stages", stage_rows(summary)), ("ways of filling", way_rows(summary)),
        ("networks, training", network_rows(summary)), ("matrix product", matrix_rows(summary)),
        ("reading", reading_rows(summary)), ("impute end to end", end_to_end_rows(summary)),
        ("accuracy against time", curve_rows(summary)),
    ]  # fmt: skip
    head = ", ".join(f"{name} {value}" for name, value in about.items())
    text = "\n\n".join([head, *(markdown(title, rows) for title, rows in sections if len(rows) > 1)]) + "\n"
    with atomic_write(out / "results.json", "w") as file:
        json.dump(summary, file, indent=1)
    with atomic_write(out / "results.md", "w") as file:
        file.write(text)
    return text


def stages(parts: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Median seconds and largest memory of each stage, its error, and what it reaches."""
    told: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        if name not in parts:
            continue
        each = parts[name]
        told[name] = cost(each)
        if name == "train-final":
            told[name]["rmse"] = middle(each, "evaluation rmse")
            told[name]["parameters"] = each[0]["parameters"]
        if name == "train-keypoint-models" and "networks" in parts:
            trained = parts["networks"][0]["stage"]
            told[name] |= trained
            reached = trained["flops"] / told[name]["seconds"]
            told[name] |= {
                "flops per second": reached,
                "share of a matrix product": reached / best_rate(parts),
            }
    return told


def ways(parts: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Seconds, error on held-out cells and memory of each way, labelfill's first."""
    if not {*STAGES[:2], "original", "imputers"} <= set(parts):
        return {}
    scores = [one["all"]["ways"] for one in parts["imputers"]]
    few = [one["trained whole"]["ways"] for one in parts["imputers"]]
    own = [parts[name] for name in STAGES[:2]]
    peaks = [one["peak_memory"] for each in own for one in each if one["peak_memory"]]
    seconds = sum(cost(each)["seconds"] for each in own)
    told: dict[str, dict[str, Any]] = {
        "labelfill": {
            "seconds": seconds, "peak_memory": max(peaks, default=None),
            "rmse": middle_of(scores, "labelfill.csv"), "cells": parts["imputers"][0]["all"]["cells"],
            "rmse of keypoints trained whole": middle_of(few, "labelfill.csv"),
        }
    }  # fmt: skip
    for name in ("iterative", "knn", "mean"):
        told[name] = {
            "seconds": statistics.median(one[name]["seconds"] for one in scores),
            "peak_memory": max(one[name]["peak_memory"] or 0 for one in scores) or None,
            "rmse": middle_of(scores, name),
        }
    if "masked loss" in parts and all("masked.csv" in one for one in scores):
        masked = {**cost(parts["masked loss"]), "rmse": middle_of(scores, "masked.csv")}
        told["one network, masked loss"] = masked
    original = parts["original"][0]
    told["the original way"] = {
        "seconds": original["extrapolated seconds"], "peak_memory": original["peak_memory"], "rmse": None,
        "rmse of keypoints trained whole": middle_of(few, "original.csv"),
        "times labelfill": original["extrapolated seconds"] / seconds,
    }  # fmt: skip
    return told


def best_rate(parts: dict[str, list[dict[str, Any]]]) -> float:
    """FLOP/s of matrix products by all threads of the CPU, in the precision in which it is fastest."""
    return max(one["flops"] for one in parts["networks"][0]["matrix"] if one["device"] == "cpu")


def one_off(parts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {name: parts[name][0] for name in ONE_OFF if name in parts}


def cost(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    took = [one["wall"] for one in each]
    peaks = [one["peak_memory"] for one in each if one["peak_memory"]]
    return {"seconds": statistics.median(took), "each": took, "peak_memory": max(peaks, default=None)}


def middle(each: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in each if name in one]
    return statistics.median(values) if values else None


def middle_of(scores: Sequence[dict[str, Any]], way: str) -> float:
    return statistics.median(one[way]["rmse"] for one in scores)


def stage_rows(summary: dict[str, Any]) -> list[Row]:
    rows = [["stage", "seconds", "each run", "peak MB", "networks", "TFLOP", "GFLOP/s", "of matrix product"]]
    for name, one in summary["stages"].items():
        each = ", ".join(f"{seconds:.1f}" for seconds in one["each"])
        rows.append([
            name, number(one["seconds"], 1), each, megabytes(one["peak_memory"]), number(one.get("networks")),
            number(one.get("flops"), 2, 1e12), number(one.get("flops per second"), 1, 1e9),
            f"{one['share of a matrix product']:.0%}" if "flops per second" in one else "",
        ])  # fmt: skip
    return rows


def way_rows(summary: dict[str, Any]) -> list[Row]:
    original = summary.get("original", {})
    whole = ", ".join(original.get("trained whole", [])) or "none"
    rows = [["way", "seconds", "times labelfill", "RMSE px", f"RMSE px, {whole}", "peak MB"]]
    own = summary["ways"].get("labelfill", {}).get("seconds")
    for name, one in summary["ways"].items():
        said = f"{name}, extrapolated to {original['epochs']} epochs" if name == "the original way" else name
        rows.append([
            said, number(one["seconds"], 1), number(one["seconds"] / own, 2),
            number(one["rmse"], 3) or NOT_MEASURED, number(one.get("rmse of keypoints trained whole"), 3),
            megabytes(one["peak_memory"]),
        ])  # fmt: skip
    return rows


def network_rows(summary: dict[str, Any]) -> list[Row]:
    """Each network once, what it takes on the CPU and beside it on a GPU."""
    reached = ["s/epoch", "GFLOP/s", "of matrix product"]
    rows = [["network", "parameters", "MFLOP/row", "rows/epoch"]]
    rows[0] += [f"{device}: {name}" for device in ("CPU", "GPU") for name in reached]
    measured = summary.get("networks", {}).get("networks", [])
    for one in measured:
        if one["device"] != "cpu":
            continue
        other = [two for two in measured if two["device"] != "cpu" and two["network"] == one["network"]]
        said = f"{one['network']} ({one['threads']} threads, {one['precision']})"
        rows.append([
            said, number(one["parameters"]), number(one["training flops per row"], 1, 1e6),
            number(one["rows"]), *rate(one), *(rate(other[0]) if other else [NOT_MEASURED] * 3),
        ])  # fmt: skip
    return rows


def rate(one: dict[str, Any]) -> Row:
    share = f"{one['share of a matrix product']:.0%}"
    return [number(one["seconds per epoch"], 2), number(one["flops"], 1, 1e9), share]


def matrix_rows(summary: dict[str, Any]) -> list[Row]:
    rows = [["device", "precision", "threads", "GFLOP/s"]]
    measured = summary.get("networks", {}).get("matrix", [])
    return rows + [
        [one["device"], one["precision"], str(one["threads"]), number(one["flops"], 1, 1e9)]
        for one in measured
    ]


def reading_rows(summary: dict[str, Any]) -> list[Row]:
    rows = [["read by", "seconds", "processor seconds", "rows/s"]]
    told = summary.get("reading", {"ways": {}})
    for name, one in told["ways"].items():
        rows.append([
            name, number(one["seconds"], 2), number(one["processor seconds"], 2),
            number(told["rows"] / one["seconds"]),
        ])  # fmt: skip
    return rows


def end_to_end_rows(summary: dict[str, Any]) -> list[Row]:
    rows = [["rows", "seconds", "reading alone", "inference", "times the larger"]]
    return rows + [
        [
            number(one["rows"]), number(one["seconds"], 1), number(one["reading"], 1),
            number(one["inference"], 1), number(one["times the larger"], 2),
        ]
        for one in summary.get("end to end", {}).get("tables", [])
    ]  # fmt: skip


def curve_rows(summary: dict[str, Any]) -> list[Row]:
    """The prior, fewer epochs and the default: seconds of training and filling, and how well they fill."""
    choices = dict(summary.get("curve", {}).get("choices", {}))
    own = summary["ways"].get("labelfill")
    if not choices or own is None:
        return [[]]
    original = summary["original"]["extrapolated seconds"]
    rows = [["epochs", "seconds", "RMSE px", "the original way's time over it"]]
    for name, one in (*choices.items(), ("default", own)):
        ratio = original / one["seconds"]
        rows.append([name, number(one["seconds"], 1), number(one["rmse"], 3), number(ratio, 1)])
    return rows


def markdown(title: str, rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"**{title}**", "", lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def number(value: float | None, decimals: int = 0, unit: float = 1.0) -> str:
    return "" if value is None else f"{value / unit:,.{decimals}f}"


def megabytes(value: int | None) -> str:
    return NOT_MEASURED if value is None else f"{value / 1e6:,.0f}"
