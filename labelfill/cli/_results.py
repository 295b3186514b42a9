"""What commands say when they are done: for each result the lines and columns that are printed of it.

Figures are in px, RMSE per coordinate, unless the text says otherwise.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from labelfill.cli._printing import Line, Result, counted, filled_in, printed, shown, table

_USUAL_RUN_DIR = Path("outputs")

_DONE_BEFORE: Line = (
    lambda r: r["state"] == "done before",
    "done before with the same input and settings, nothing was done now (--force starts over):",
)
_NEXT: Line = ("next", "next: {next}")
_FRAME: Line = (
    "frame",
    "images differ in size: each is scaled into a frame of {frame}; errors here are in px of that frame",
)
# What images would add: figures of docs/accuracy.md.
_WITHOUT_IMAGES = (
    "filled by labels alone; with images, in a column Image or image_path, networks also look at each row, "
    "which took the error on real faces from 1.65 to 1.10 px"
)
PARTS = (
    "{rows per part[training]:,} to learn from, {rows per part[validation]:,} to choose epochs by, "
    "{rows per part[evaluation]:,} kept for scoring"
)
NOTHING_TO_LEARN = "no keypoint lacks a label: there is nothing to learn"
LOW_DATA: Line = ("low data", "low data, wide radii: {low data}")
UNKNOWN_SOURCE: Line = (
    "unknown_source_rows",
    "of a label source that the models have not met: {unknown_source_rows:row}, with wider radii",
)


def sources(disputed: str, *, none: str, some: str = "") -> Callable[[Result], list[str]]:
    """A line on the label sources, with what there is to say of `none` or `some` keypoints under a key."""

    def words(r: Result) -> list[str]:
        if len(r["sources"]) < 2:
            return ["one label source"]
        return [filled_in("label sources: {sources:row}" + (some if r[disputed] else none), r)]

    return words


def offset_sentence(offset: Result) -> str:
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


def _and_all(r: Result) -> Iterable[tuple[str, Result]]:
    return [*r["keypoints"].items(), ("all", r)]


_HIDDEN_LABELS = (
    ("labels", "labels", ","),
    ("RMSE", "cross-fitted rmse", ".2f"),
    ("shape prior alone", "cross-fitted rmse of the prior", ".2f"),
)
TRAINING: tuple[Line, ...] = (
    _DONE_BEFORE,
    "{rows:row}: " + PARTS,
    ("without images", "no images: the shape prior learns from labels alone"),
    _FRAME,
    sources("convention offsets", none="; no keypoint is disputed between them"),
    lambda r: map(offset_sentence, r["convention offsets"]),
    ("keypoints", lambda r: ["", *table("px, on rows not learnt from", _HIDDEN_LABELS, _and_all(r)), ""]),
    (lambda r: not r["keypoints"] and not r["left blank"], NOTHING_TO_LEARN),
    ("left blank", "will stay blank, too few rows label them: {left blank}"),
    LOW_DATA,
    _NEXT,
)


def training_text(summary: Result, run_dir: Path = _USUAL_RUN_DIR, *, following: bool = True) -> str:
    """What `train-keypoint-models` learnt, and, if `following`, the command that comes next."""
    command = _in_run("labelfill impute --out filled.csv", run_dir)
    return printed(TRAINING, summary, next=command if following else None)


def _in_run(command: str, run_dir: Path) -> str:
    return command + ("" if run_dir == _USUAL_RUN_DIR else f" --run-dir {shlex.quote(str(run_dir))}")


def _offsets_of_audit(r: Result) -> list[str]:
    keypoints = counted(len(r["convention_offsets"]), "keypoint")
    lines = [f"conventions  {keypoints} marked differently, by the run's source audit"]
    return [*lines, *(f"  {offset_sentence(offset)}" for offset in r["convention_offsets"])]


AUDIT: tuple[Line, ...] = (
    (
        lambda r: not r["convention_offsets"],
        "conventions  the run's source audit found no keypoint that sources mark differently",
    ),
    ("convention_offsets", _offsets_of_audit),
)

_METHODS = {
    "regressor": "by regressors",
    "copy": "from an identical image",
    "prior": "by the shape prior",
    "convention": "by regressors, in their own source's convention",
    "confirmed": "confirmed by a person",
}


def _filled_points(r: Result) -> list[str]:
    return ["filled points: " + ", ".join(f"{_METHODS[name]} {n:,}" for name, n in r["methods"].items())]


def _left_blank(r: Result) -> list[str]:
    """Where cells were left blank and why, with counts where there are several reasons."""
    rest = r["left_blank"] - r["rejected"] - r["too_uncertain"]
    counts = (rest, r["rejected"], r["too_uncertain"])
    reasons = zip(("too few rows label them", "rejected", "too uncertain"), counts, strict=True)
    given = {why: count for why, count in reasons if count}
    why = next(iter(given)) if len(given) == 1 else shown(given, "cell")
    return [f"left blank, {why}: {shown(r['left_blank_keypoints'], 'cell')}"]


FILLING: tuple[Line, ...] = (
    _DONE_BEFORE,
    (
        lambda r: r["filled"] or r["left_blank"],
        "{rows:row}: {observed:,} cells observed, {filled:,} filled, {left_blank:,} left blank",
    ),
    (
        lambda r: not r["filled"] and not r["left_blank"],
        "nothing to fill: all {observed:,} cells are observed, the output is the input",
    ),
    ("left_blank_keypoints", _left_blank),
    ("kept_occluded", "declared hidden, left blank: {kept_occluded:point} (--fill-occluded fills them, too)"),
    ("methods", _filled_points),
    UNKNOWN_SOURCE,
    ("median_radius", "median error radius: {median_radius:.2f} px (each holds in {coverage:.0%} of cases)"),
    ("to_review", "worth a look by a person: {to_review:point}"),
    ("without_images", _WITHOUT_IMAGES),
    "{seconds:.1f} s, {rows_per_second:,.0f} rows per second",
    "wrote {out}",
    "wrote {provenance} (where each filled value comes from)",
    lambda r: (f"wrote {path} ({what})" for path, what in r["further"].items()),
    _NEXT,
)


def filling_text(
    summary: Result, coverage: float, run_dir: Path = _USUAL_RUN_DIR, *, following: bool = True
) -> str:
    """What `impute` filled, and, if `following`, the command that comes next.

    Parameters
    ----------
    coverage
        Share of cases in which the stated error radius holds.
    """
    command = _in_run(f"labelfill train-final --filled {shlex.quote(str(summary['out']))}", run_dir)
    following = following and not summary.get("without_images")
    return printed(FILLING, summary, coverage=coverage, next=command if following else None)


_FILLED_TABLES = (
    ("rows", "rows", ","),
    ("filled", "filled", ","),
    ("left blank", "left_blank", ","),
    ("median radius, px", "median_radius", ".2f"),
)


def _tables_and_all(r: Result) -> Iterable[tuple[str, Result]]:
    total = {name: sum(one[name] for one in r["tables"]) for name in ("rows", "filled", "left_blank")}
    return [*((Path(one["out"]).name, one) for one in r["tables"]), ("all", total)]


def _filled_into(r: Result) -> list[str]:
    before = sum(one["state"] == "done before" for one in r["tables"])
    done = f", {before} of them before" if before else ""
    where = f"{counted(len(r['tables']), 'table')} into {Path(r['tables'][0]['out']).parent}"
    return [f"filled {where}{done}; beside each, where its filled values come from"]


FILLINGS: tuple[Line, ...] = (
    lambda r: table("table", _FILLED_TABLES, _tables_and_all(r)),
    "each radius holds in {coverage:.0%} of cases",
    _filled_into,
    (lambda r: r["tables"][0].get("without_images"), _WITHOUT_IMAGES),
)

# The rows that the final network is scored on are the first of these that have labels.
_SCORED = {
    "evaluation": "that no stage has learnt from",
    "validation": "that chose the epoch, for want of others",
}
_OBSERVED_LABELS = (("labels", "labels", ","), ("RMSE", "rmse", ".2f"), ("MAE", "mae", ".2f"))
FINAL: tuple[Line, ...] = (
    _DONE_BEFORE,
    _FRAME,
    (
        lambda r: "rmse" not in r,
        "final network: trained, but there is no held-out row with a label to score it on",
    ),
    ("rmse", "final network: RMSE {rmse:.2f} px, MAE {mae:.2f} px on {rows:row} {which}"),
    ("rmse", lambda r: ["", *table("px, observed labels", _OBSERVED_LABELS, _and_all(r)), ""]),
    ("coverage", "{coverage:.0%} of these points lie within their 90% error radius"),
    _NEXT,
)
WITHOUT_FINAL: tuple[Line, ...] = (
    "none: it learns from images, and the table has none; the filled table is the result",
)


def final_text(summary: Result, run_dir: Path = _USUAL_RUN_DIR) -> str:
    """How far `train-final`'s network is off on rows that it has not seen, over observed labels."""
    command = _in_run("labelfill predict --images TABLE --out predictions.csv", run_dir)
    for part, which in _SCORED.items():
        if f"{part} rmse" in summary:
            names = ("rows", "rmse", "mae", "coverage", "keypoints")
            scores = {name: summary.get(f"{part} {name}") for name in names}
            return printed(FINAL, summary, next=command, which=which, **scores)
    return printed(FINAL, summary, next=command)


def _conventions(r: Result) -> list[str]:
    undeclared, convention = r["rows in the reference convention"], "in the reference convention"
    if undeclared < r["rows"]:
        named = ", ".join(f"{name}: {count:,}" for name, count in r["rows per source"].items())
        without = f", {counted(undeclared, 'row')} without one {convention}" if undeclared else ""
        convention = f"each row in its source's convention (rows per source: {named}){without}"
    return [filled_in("{keypoints:keypoint} in {rows:image}, ", r) + convention]


PREDICTION: tuple[Line, ...] = (
    _conventions,
    (
        "median radius",
        "error radius in px (holds in {coverage:.0%} of cases): {median radius:.2f} in the median",
    ),
    (
        "submission",
        "{locations:location} asked for in {images asked for:image}, "
        "{clipped:,} of them moved onto the image",
    ),
    ("out", "wrote {out}"),
    ("submission", "wrote {submission}"),
)

_TO_REVIEW = "{rows:row} to go through, worst first"
REVIEW: tuple[Line, ...] = (
    (lambda r: not r["rows_left_out"], _TO_REVIEW),
    (
        "rows_left_out",
        _TO_REVIEW + "; {rows_left_out:row} with fills left out (--rows and --megabytes say how many fit)",
    ),
    "wrote {out} ({bytes:.1M} MB): open it in a browser",
)

EXPORT: tuple[Line, ...] = (
    "{count:keypoint} in images of {image_size}, in the convention: {convention}",
    "answers at most {difference:.4f} px beside the network it was made of",
    "wrote {out}",
    "wrote {card}",
)
