"""What the stages did, in words: from the summary that a stage returns to the text on stdout.

Each function takes the dict that ``--json`` prints whole and tells the part of it that a person wants.
Figures are in px, RMSE per coordinate, unless the text says otherwise.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_USUAL_RUN_DIR = Path("outputs")

Summary = Mapping[str, Any]


def training_text(summary: Summary, run_dir: Path = _USUAL_RUN_DIR, *, following: bool = True) -> str:
    """What `train-keypoint-models` learnt: rows, sources, offsets, and how well each keypoint is found."""
    parts = summary["rows per part"]
    lines = [
        *_done_before(summary),
        f"{counted(summary['rows'], 'row')}: {parts['training']:,} to learn from, "
        f"{parts['validation']:,} to choose epochs by, {parts['evaluation']:,} kept for scoring",
        *_frame(summary),
        *_sources(summary),
        *_keypoint_models(summary),
    ]
    if summary["left blank"]:
        lines.append(f"will stay blank, too few rows label them: {_names(summary['left blank'])}")
    if summary["low data"]:
        lines.append(f"low data, wide radii: {_names(summary['low data'])}")
    return _ended(lines, "labelfill impute --out filled.csv", run_dir, following)


def _frame(summary: Summary) -> list[str]:
    if "frame" not in summary:
        return []
    return [
        f"images differ in size: each is scaled into a frame of {summary['frame']}; "
        "errors here are in px of that frame"
    ]


def _sources(summary: Summary) -> list[str]:
    if len(summary["sources"]) < 2:
        return ["one label source"]
    named = named_sources(summary)
    offsets = summary["convention offsets"]
    if not offsets:
        return [f"label sources: {named}; no keypoint is disputed between them"]
    return [f"label sources: {named}", *map(offset_sentence, offsets)]


def named_sources(summary: Summary) -> str:
    """Every label source with its number of rows."""
    return ", ".join(f"{name} ({counted(rows, 'row')})" for name, rows in summary["sources"].items())


def audit_text(offsets: Sequence[Summary]) -> str:
    """What a run's source audit found, for `inspect`."""
    if not offsets:
        return "conventions  the run's source audit found no keypoint that sources mark differently"
    lines = [
        f"conventions  {counted(len(offsets), 'keypoint')} marked differently, by the run's source audit"
    ]
    return "\n".join([*lines, *(f"  {offset_sentence(offset)}" for offset in offsets)])


def offset_sentence(offset: Summary) -> str:
    """One convention offset as a sentence, with its 99% interval."""
    x, y = offset["offset"]
    across = f"{abs(x):.1f} px {'right' if x > 0 else 'left'} of"
    along = f"{abs(y):.1f} px {'below' if y > 0 else 'above'}"
    between = {axis: f"{low:+.1f} to {high:+.1f}" for axis, (low, high) in offset["interval"].items()}
    return (
        f"source {offset['source']} marks {offset['keypoint']} {across} and {along} where source "
        f"{offset['reference']} does (99% interval: x {between['x']}, y {between['y']}; "
        f"{counted(offset['rows'], 'row')})"
    )


def _keypoint_models(summary: Summary) -> list[str]:
    figures = summary["keypoints"]
    if not figures:
        return [] if summary["left blank"] else ["no keypoint lacks a label: there is nothing to learn"]
    rows = [["px, on rows not learnt from", "labels", "RMSE", "shape prior alone"]]
    rows += [
        [
            name,
            f"{one['labels']:,}",
            _px(one.get("cross-fitted rmse")),
            _px(one.get("cross-fitted rmse of the prior")),
        ]
        for name, one in figures.items()
    ]
    rows.append(
        ["all", "", _px(summary["cross-fitted rmse"]), _px(summary["cross-fitted rmse of the prior"])]
    )
    return ["", *aligned(rows), ""]


def filling_text(
    summary: Summary, coverage: float, run_dir: Path = _USUAL_RUN_DIR, *, following: bool = True
) -> str:
    """What `impute` filled, how surely, how fast, and where it was written.

    Parameters
    ----------
    coverage
        Share of cases in which the stated error radius holds.
    """
    filled, left = summary["filled"], summary["left_blank"]
    lines = _done_before(summary)
    cells = f"{summary['observed']:,} cells observed, {filled:,} filled, {left:,} left blank"
    if not filled and not left:
        lines.append(
            f"nothing to fill: all {summary['observed']:,} cells are observed, the output is the input"
        )
    else:
        lines.append(f"{counted(summary['rows'], 'row')}: {cells}")
    if summary["left_blank_keypoints"]:
        each = (f"{name} ({counted(n, 'cell')})" for name, n in summary["left_blank_keypoints"].items())
        lines.append(f"left blank, {_why_blank(summary)}: {', '.join(each)}")
    if summary.get("kept_occluded"):
        points = counted(summary["kept_occluded"], "point")
        lines.append(f"declared hidden, left blank: {points} (--fill-occluded fills them, too)")
    if summary["methods"]:
        each = (f"{_METHODS[name]} {count:,}" for name, count in summary["methods"].items())
        lines.append(f"filled points: {', '.join(each)}")
    if summary["unknown_source_rows"]:
        rows = counted(summary["unknown_source_rows"], "row")
        lines.append(f"of a label source that the models have not met: {rows}, with wider radii")
    if summary["median_radius"] is not None:
        lines.append(
            f"median error radius: {summary['median_radius']:.2f} px (each holds in {coverage:.0%} of cases)"
        )
    if summary["to_review"]:
        lines.append(f"worth a look by a person: {counted(summary['to_review'], 'point')}")
    lines.append(f"{summary['seconds']:.1f} s, {summary['rows_per_second']:,.0f} rows per second")
    lines.append(f"wrote {summary['out']}")
    lines.append(f"wrote {summary['provenance']} (where each filled value comes from)")
    lines += [f"wrote {path} ({what})" for path, what in summary["further"].items()]
    command = f"labelfill train-final --filled {shlex.quote(str(summary['out']))}"
    return _ended(lines, command, run_dir, following)


def fillings_text(summaries: Sequence[Summary], coverage: float) -> str:
    """What `impute` filled of each of many tables, a line each, and over all."""
    rows = [["table", "rows", "filled", "left blank", "median radius, px"]]
    for one in summaries:
        radius = "" if one["median_radius"] is None else f"{one['median_radius']:.2f}"
        cells = [f"{one[name]:,}" for name in ("rows", "filled", "left_blank")]
        rows.append([Path(one["out"]).name, *cells, radius])
    total = {name: sum(one[name] for one in summaries) for name in ("rows", "filled", "left_blank")}
    rows.append(["all", *(f"{count:,}" for count in total.values()), ""])
    before = sum(one["state"] == "done before" for one in summaries)
    done = f", {before} of them before" if before else ""
    return "\n".join(
        [
            *aligned(rows),
            f"each radius holds in {coverage:.0%} of cases",
            f"filled {counted(len(summaries), 'table')} into {Path(summaries[0]['out']).parent}{done}; "
            "beside each, where its filled values come from",
        ]
    )


def _why_blank(summary: Summary) -> str:
    """Why cells were left blank, with counts where there are several reasons."""
    rejected, uncertain = summary["rejected"], summary["too_uncertain"]
    rest = summary["left_blank"] - rejected - uncertain
    reasons = {"too few rows label them": rest, "rejected": rejected, "too uncertain": uncertain}
    given = {why: count for why, count in reasons.items() if count}
    if len(given) == 1:
        return next(iter(given))
    return ", ".join(f"{why} ({counted(count, 'cell')})" for why, count in given.items())


_METHODS = {
    "regressor": "by regressors",
    "copy": "from an identical image",
    "prior": "by the shape prior",
    "convention": "by regressors, in their own source's convention",
    "confirmed": "confirmed by a person",
}


def final_text(summary: Summary, run_dir: Path = _USUAL_RUN_DIR, *, following: bool = True) -> str:
    """How far `train-final`'s network is off on rows that it has not seen, over observed labels."""
    lines = [*_done_before(summary), *_frame(summary)]
    part = next((name for name in _SCORED if f"{name} rmse" in summary), None)
    if part is None:
        lines.append("final network: trained, but there is no held-out row with a label to score it on")
    else:
        rmse, mae = summary[f"{part} rmse"], summary[f"{part} mae"]
        rows = [["px, observed labels", "labels", "RMSE", "MAE"]]
        rows += [
            [name, f"{one['labels']:,}", _px(one["rmse"]), _px(one["mae"])]
            for name, one in summary[f"{part} keypoints"].items()
        ]
        rows.append(["all", "", _px(rmse), _px(mae)])
        on = f"{counted(summary[f'{part} rows'], 'row')} {_SCORED[part]}"
        lines += [f"final network: RMSE {rmse:.2f} px, MAE {mae:.2f} px on {on}", "", *aligned(rows), ""]
        if summary.get(f"{part} coverage") is not None:
            lines += [f"{summary[f'{part} coverage']:.0%} of these points lie within their 90% error radius"]
    return _ended(lines, "labelfill predict --images TABLE --out predictions.csv", run_dir, following)


_SCORED = {
    "evaluation": "that no stage has learnt from",
    "validation": "that chose the epoch, for want of others",
}


def prediction_text(summary: Summary) -> str:
    """What `predict` wrote."""
    rows, undeclared = summary["rows"], summary["rows in the reference convention"]
    if undeclared == rows:
        convention = "in the reference convention"
    else:
        named = ", ".join(f"{name}: {count:,}" for name, count in summary["rows per source"].items())
        convention = f"each row in its source's convention (rows per source: {named})"
        if undeclared:
            convention += f", {counted(undeclared, 'row')} without one in the reference convention"
    lines = [f"{counted(summary['keypoints'], 'keypoint')} in {counted(rows, 'image')}, {convention}"]
    if summary["median radius"] is not None:
        lines.append(
            f"error radius in px (holds in {summary['coverage']:.0%} of cases): "
            f"{summary['median radius']:.2f} in the median"
        )
    if "submission" in summary:
        asked = counted(summary["images asked for"], "image")
        lines.append(
            f"{counted(summary['locations'], 'location')} asked for in {asked}, "
            f"{summary['clipped']:,} of them moved onto the image"
        )
    lines += [f"wrote {summary[name]}" for name in ("out", "submission") if summary.get(name)]
    return "\n".join(lines)


def review_text(summary: Summary) -> str:
    """What `review` wrote, and what to do with it."""
    left = summary["rows_left_out"]
    lines = [
        f"{counted(summary['rows'], 'row')} to go through, worst first"
        + (
            f"; {counted(left, 'row')} with fills left out (--rows and --megabytes say how many fit)"
            if left
            else ""
        ),
        f"wrote {summary['out']} ({summary['bytes'] / 1e6:.1f} MB): open it in a browser",
    ]
    return "\n".join(lines)


def export_text(summary: Summary) -> str:
    """What `export` wrote, and how true it is."""
    found = counted(len(summary["keypoints"]), "keypoint")
    return (
        f"{found} in images of {summary['image_size']}, in the convention: {summary['convention']}\n"
        f"answers at most {summary['difference']:.4f} px beside the network it was made of\n"
        f"wrote {summary['out']}\nwrote {summary['card']}"
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines: the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]


def _done_before(summary: Summary) -> list[str]:
    if summary["state"] != "done before":
        return []
    return ["done before with the same input and settings, nothing was done now (--force starts over):"]


def _ended(lines: list[str], command: str, run_dir: Path, following: bool) -> str:
    if following:
        where = "" if run_dir == _USUAL_RUN_DIR else f" --run-dir {shlex.quote(str(run_dir))}"
        lines = [*lines, f"next: {command}{where}"]
    return "\n".join(lines).rstrip()


def _px(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
