"""The figures of ``scripts/bench`` as one table, and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import Figures, as_markdown, write_results

STAGES = ("train-keypoint-models", "impute", "train-final")
ONE_OFF = ("data", "networks", "original", "reading", "curve", "end to end")
NOT_MEASURED = "not measured"

Parts = dict[str, list[Figures]]  # each part's repetitions


def report(out: Path, about: Figures) -> str:
    """Write results.json and results.md from the parts that are done; the text."""
    parts = stored(out)
    summary = {"about": about, "stages": stages(parts), "ways": ways(parts)}
    summary |= {name: parts[name][0] for name in ONE_OFF if name in parts}
    sections = {
        "stages": stage_table(summary), "ways of filling": way_table(summary),
        "networks, training": network_table(summary), "matrix product": matrix_table(summary),
        "reading": reading_table(summary), "impute end to end": end_to_end_table(summary),
        "accuracy against time": curve_table(summary),
    }  # fmt: skip
    head = ", ".join(f"{name} {value}" for name, value in about.items())
    shown = [f"**{title}**\n\n{text}" for title, text in sections.items() if text]
    text = "\n".join([head + "\n", *shown])
    write_results(out, text, summary)
    return text


def stored(out: Path) -> Parts:
    """The parts that are done."""
    parts: Parts = {}
    for file in sorted((out / "parts").glob("*.json")):
        parts.setdefault(file.stem.rpartition(" ")[0], []).append(json.loads(file.read_text()))
    return parts


def stages(parts: Parts) -> Figures:
    """Median seconds and largest memory of each stage, its error, and what it reaches."""
    told: Figures = {}
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
            reached = trained["flops"] / told[name]["seconds"]
            share_of_best = {"share of a matrix product": reached / best_rate(parts)}
            told[name] |= {**trained, "flops per second": reached, **share_of_best}
    return told


def ways(parts: Parts) -> Figures:
    """Seconds, error on held-out cells and memory of each way, labelfill's first."""
    if not {*STAGES[:2], "original", "imputers"} <= set(parts):
        return {}
    scores = [one["all"]["ways"] for one in parts["imputers"]]
    few = [one["trained whole"]["ways"] for one in parts["imputers"]]
    own = [parts[name] for name in STAGES[:2]]
    peaks = [one["peak_memory"] for each in own for one in each if one["peak_memory"]]
    seconds = sum(cost(each)["seconds"] for each in own)
    told: Figures = {
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


def best_rate(parts: Parts) -> float:
    """FLOP/s of matrix products by all threads of the CPU, in the precision in which it is fastest."""
    return max(one["flops"] for one in parts["networks"][0]["matrix"] if one["device"] == "cpu")


def cost(each: Sequence[Figures]) -> Figures:
    took = [one["wall"] for one in each]
    peaks = [one["peak_memory"] for one in each if one["peak_memory"]]
    return {"seconds": statistics.median(took), "each": took, "peak_memory": max(peaks, default=None)}


def middle(each: Sequence[Figures], name: str) -> float | None:
    values = [one[name] for one in each if name in one]
    return statistics.median(values) if values else None


def middle_of(scores: Sequence[Figures], way: str) -> float:
    return statistics.median(one[way]["rmse"] for one in scores)


def stage_table(summary: Figures) -> str:
    head = ("stage", "seconds", "each run", "peak MB", "networks", "TFLOP", "GFLOP/s", "of matrix product")
    return table(head, [
        (
            name, number(one["seconds"], 1), ", ".join(f"{seconds:.1f}" for seconds in one["each"]),
            megabytes(one["peak_memory"]), number(one.get("networks")), number(one.get("flops"), 2, 1e12),
            number(one.get("flops per second"), 1, 1e9), share(one) if "flops per second" in one else "",
        )
        for name, one in summary["stages"].items()
    ])  # fmt: skip


def way_table(summary: Figures) -> str:
    original = summary.get("original", {})
    said = {"the original way": f"the original way, extrapolated to {original.get('epochs')} epochs"}
    whole = ", ".join(original.get("trained whole", [])) or "none"
    own = summary["ways"].get("labelfill", {}).get("seconds")
    return table(("way", "seconds", "times labelfill", "RMSE px", f"RMSE px, {whole}", "peak MB"), [
        (
            said.get(name, name), number(one["seconds"], 1), number(one["seconds"] / own, 2),
            number(one["rmse"], 3) or NOT_MEASURED, number(one.get("rmse of keypoints trained whole"), 3),
            megabytes(one["peak_memory"]),
        )
        for name, one in summary["ways"].items()
    ])  # fmt: skip


def network_table(summary: Figures) -> str:
    """Each network once, what it takes on the CPU and beside it on a GPU."""
    rates = ("s/epoch", "GFLOP/s", "of matrix product")
    reached = [f"{device}: {name}" for device in ("CPU", "GPU") for name in rates]
    measured = summary.get("networks", {}).get("networks", [])
    on_gpu = {one["network"]: rate(one) for one in reversed(measured) if one["device"] != "cpu"}
    return table(("network", "parameters", "MFLOP/row", "rows/epoch", *reached), [
        (
            f"{one['network']} ({one['threads']} threads, {one['precision']})", number(one["parameters"]),
            number(one["training flops per row"], 1, 1e6), number(one["rows"]), *rate(one),
            *on_gpu.get(one["network"], [NOT_MEASURED] * 3),
        )
        for one in measured if one["device"] == "cpu"
    ])  # fmt: skip


def matrix_table(summary: Figures) -> str:
    head = ("device", "precision", "threads")
    measured = summary.get("networks", {}).get("matrix", [])
    rows = [(*(str(one[name]) for name in head), number(one["flops"], 1, 1e9)) for one in measured]
    return table((*head, "GFLOP/s"), rows)


def reading_table(summary: Figures) -> str:
    told = summary.get("reading", {"ways": {}})
    took = ("seconds", "processor seconds")
    return table(("read by", *took, "rows/s"), [
        (name, *(number(one[column], 2) for column in took), number(told["rows"] / one["seconds"]))
        for name, one in told["ways"].items()
    ])  # fmt: skip


def end_to_end_table(summary: Figures) -> str:
    tables = summary.get("end to end", {}).get("tables", [])
    decimals = {"rows": 0, "seconds": 1, "reading": 1, "inference": 1, "times the larger": 2}
    rows = [[number(one[name], places) for name, places in decimals.items()] for one in tables]
    return table(("rows", "seconds", "reading alone", "inference", "times the larger"), rows)


def curve_table(summary: Figures) -> str:
    """The prior, fewer epochs and the default: seconds of training and filling, and how well they fill."""
    choices = summary.get("curve", {}).get("choices", {})
    if not choices or "labelfill" not in summary["ways"]:
        return ""
    original = summary["original"]["extrapolated seconds"]
    return table(("epochs", "seconds", "RMSE px", "the original way's time over it"), [
        (name, number(one["seconds"], 1), number(one["rmse"], 3), number(original / one["seconds"], 1))
        for name, one in (*choices.items(), ("default", summary["ways"]["labelfill"]))
    ])  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; nothing where it has no rows."""
    return as_markdown(head, rows) if rows else ""


def rate(one: Figures) -> list[str]:
    return [number(one["seconds per epoch"], 2), number(one["flops"], 1, 1e9), share(one)]


def share(one: Figures) -> str:
    return f"{one['share of a matrix product']:.0%}"


def number(value: float | None, decimals: int = 0, unit: float = 1.0) -> str:
    return "" if value is None else f"{value / unit:,.{decimals}f}"


def megabytes(value: int | None) -> str:
    return number(value, 0, 1e6) or NOT_MEASURED
