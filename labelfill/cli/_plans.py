"""What the stages would do, in words: the texts of ``--dry-run``.

Each function takes the dict that ``--dry-run --json`` prints whole and tells the part of it that a person
wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labelfill.cli._options import print_result
from labelfill.cli._summaries import aligned, counted, named_sources

Plan = Mapping[str, Any]

_NOTHING_DONE = "dry run: nothing is trained and nothing is written"


def print_plan(plan: Plan, text: str, *, as_json: bool) -> None:
    """A stage's plan, or that of all stages, on stdout."""
    print_result(plan, as_json=as_json, text=f"{_NOTHING_DONE}\n{text}")


def training_plan_text(plan: Plan) -> str:
    """What `train-keypoint-models` would learn from, what it would train, and what would stay blank."""
    parts, models = plan["rows per part"], plan["models"]
    done = f"{plan['models done']} of {_range(models)} models are finished"
    lines = [
        _state(plan, done),
        f"{plan['table']}, {counted(plan['rows'], 'row')}: {parts['training']:,} to learn from, "
        f"{parts['validation']:,} to choose epochs by, {parts['evaluation']:,} kept for scoring",
    ]
    if "frame" in plan:
        lines.append(f"images differ in size: each is scaled into a frame of {plan['frame']}")
    lines.append(_sources(plan))
    if plan["keypoints"]:
        rows = [["incomplete keypoint", "labels to learn from", "blank cells"]]
        rows += [
            [name, f"{one['labels']:,}", f"{one['blank cells']:,}"] for name, one in plan["keypoints"].items()
        ]
        lines += ["", *aligned(rows), ""]
    else:
        lines.append("no keypoint lacks a label: there is nothing to learn")
    lines += [f"will stay blank: {name} ({why})" for name, why in plan["left blank"].items()]
    if plan["low data"]:
        lines.append(f"low data, wide radii: {', '.join(plan['low data'])}")
    if models[1]:
        networks = _range([plan["folds"] * count for count in models])
        lines.append(f"{networks} networks, {plan['folds']} to a model, on {plan['device']}")
    elif plan["keypoints"]:
        lines.append("no network: the shape prior alone")
    return "\n".join([*lines, *_writes(plan)])


def _sources(plan: Plan) -> str:
    if len(plan["sources"]) < 2:
        return "one label source"
    named = named_sources(plan)
    if not plan["suspected"]:
        return f"label sources: {named}; no keypoint seems disputed between them"
    return f"label sources: {named}; to be measured against the images: {', '.join(plan['suspected'])}"


def filling_plan_text(plan: Plan) -> str:
    """How many cells `impute` would fill, which would stay blank, and where it would write."""
    if plan["state"] == "after training":
        return "\n".join(["would follow once the models are trained", *_writes(plan)])
    cells = f"{plan['observed']:,} cells observed, {plan['filled']:,} to be filled"
    lines = [
        _state(plan, "the table is not written yet"),
        f"{plan['table']}, {counted(plan['rows'], 'row')}: {cells}, {plan['left_blank']:,} to stay blank",
    ]
    if plan["keypoints"]:
        rows = [["cells", "to be filled", "to stay blank"]]
        rows += [
            [name, f"{count:,}", f"{plan['left_blank_keypoints'].get(name, 0):,}"]
            for name, count in plan["keypoints"].items()
        ]
        lines += ["", *aligned(rows), ""]
    if plan["copies"]:
        lines.append(f"from an identical image: {counted(plan['copies'], 'point')}")
    if plan["kept_occluded"]:
        points = counted(plan["kept_occluded"], "point")
        lines.append(f"declared hidden, to stay blank: {points} (--fill-occluded fills them, too)")
    if plan["rejected"]:
        lines.append(f"rejected, to stay blank: {counted(plan['rejected'], 'cell')}")
    if plan["max_radius"] is not None:
        lines.append(f"whatever is less certain than {plan['max_radius']:g} px would stay blank, too")
    if plan["unknown_source_rows"]:
        rows_met = counted(plan["unknown_source_rows"], "row")
        lines.append(f"of a label source that the models have not met: {rows_met}, with wider radii")
    return "\n".join([*lines, f"on {plan['device']}", *_writes(plan)])


def filling_plans_text(plans: Sequence[Plan]) -> str:
    """How many cells `impute` would fill of each of many tables, a line each."""
    rows = [["table", "rows", "to be filled", "to stay blank", "would be written"]]
    for one in plans:
        cells = [f"{one[name]:,}" for name in ("rows", "filled", "left_blank")]
        rows.append([one["table"], *cells, one["writes"]["table"]])
    return "\n".join(aligned(rows))


def final_plan_text(plan: Plan) -> str:
    """What `train-final` would learn from, for how long, and how large its network would be."""
    if plan["state"] == "after filling":
        return "\n".join(["would follow once the table is filled", *_writes(plan)])
    epochs = " and ".join(f"{count:,}" for count in plan["epochs"])
    lines = [
        _state(plan, "it was begun before"),
        f"{plan['table']}, {counted(plan['rows'], 'row')}: {plan['training rows']:,} to learn from, "
        f"{plan['validation rows']:,} to choose the epoch by",
        f"preset {plan['preset']}, labels {plan['labels']}, {epochs} epochs",
        f"{counted(plan['outputs'], 'point')} answered by {plan['parameters']:,} parameters, "
        f"on {plan['device']}",
    ]
    return "\n".join([*lines, *_writes(plan)])


def run_plan_text(plans: Mapping[str, Plan]) -> str:
    """The plans of all three stages."""
    texts = (
        ("keypoint models", training_plan_text(plans["train-keypoint-models"])),
        ("fill", filling_plan_text(plans["impute"])),
        ("final network", final_plan_text(plans["train-final"])),
    )
    return "".join(f"\n== {title}\n{text}\n" for title, text in texts).removesuffix("\n")


def _state(plan: Plan, begun: str) -> str:
    if plan["starts over"]:
        return "would start over (--force): what was done before would be lost"
    return {
        "fresh": "would begin",
        "resume": f"would go on: {begun}",
        "done": "would do nothing: done before with the same input and settings (--force starts over)",
    }[plan["state"]]


def _writes(plan: Plan) -> list[str]:
    if plan["state"] == "done":
        return []
    writes = plan["writes"]
    paths: Iterable[str] = writes.values() if isinstance(writes, Mapping) else writes
    return [f"would write {path}" for path in paths]


def _range(counts: Sequence[int]) -> str:
    least, most = counts
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
