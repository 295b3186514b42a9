"""What commands say with ``--dry-run``: for each stage's job the lines and columns that are printed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from labelfill.cli._options import print_result
from labelfill.cli._printing import Line, Result, filled_in, printed, table
from labelfill.cli._results import (
    LOW_DATA,
    NOTHING_TO_LEARN,
    PARTS,
    UNKNOWN_SOURCE,
    WITHOUT_FINAL,
    sources,
)

NOTHING_DONE = "dry run: nothing is trained and nothing is written"


def _state(begun: Callable[[Result], str]) -> Callable[[Result], list[str]]:
    """What would become of a stage; `begun` says how far one is that is to go on."""

    def lines(r: Result) -> list[str]:
        if r["starts over"]:
            return ["would start over (--force): what was done before would be lost"]
        told = {
            "fresh": "would begin",
            "resume": f"would go on: {begun(r)}",
            "done": "would do nothing: done before with the same input and settings (--force starts over)",
        }
        return [told[r["state"]]]

    return lines


def _writes(r: Result) -> Iterable[str]:
    writes = r["writes"]
    return [f"would write {path}" for path in (writes.values() if isinstance(writes, Mapping) else writes)]


_WRITES: Line = (lambda r: r["state"] != "done", _writes)


def _range(counts: Sequence[int]) -> str:
    least, most = counts
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _networks(r: Result) -> list[str]:
    networks = _range([r["folds"] * count for count in r["models"]])
    return [f"{networks} networks, {r['folds']} to a model, on {r['device']}"]


def _suspected(how: str) -> Callable[[Result], list[str]]:
    """A line on the label sources, and how keypoints that seem disputed are to be judged."""
    none = "; no keypoint seems disputed between them"
    return sources("suspected", none=none, some=f"; to be {how}: {{suspected}}")


_INCOMPLETE = (("labels to learn from", "labels", ","), ("blank cells", "blank cells", ","))
PLANNED_TRAINING: tuple[Line, ...] = (
    _state(lambda r: f"{r['models done']} of {_range(r['models'])} models are finished"),
    "{table}, {rows:row}: " + PARTS,
    ("frame", "images differ in size: each is scaled into a frame of {frame}"),
    (lambda r: not r.get("without images"), _suspected("measured against the images")),
    ("without images", _suspected("measured against the shape of the labels alone")),
    ("keypoints", lambda r: ["", *table("incomplete keypoint", _INCOMPLETE, r["keypoints"].items()), ""]),
    (lambda r: not r["keypoints"], NOTHING_TO_LEARN),
    lambda r: (f"will stay blank: {name} ({why})" for name, why in r["left blank"].items()),
    LOW_DATA,
    (lambda r: r["models"][1], _networks),
    (lambda r: r["keypoints"] and not r["models"][1], "no network: the shape prior alone"),
    _WRITES,
)


def _cells(r: Result) -> Iterable[tuple[str, Result]]:
    left = r["left_blank_keypoints"]
    return [(name, {"filled": n, "left_blank": left.get(name, 0)}) for name, n in r["keypoints"].items()]


_FILLED = (("to be filled", "filled", ","), ("to stay blank", "left_blank", ","))
PLANNED_FILLING: tuple[Line, ...] = (
    _state(lambda r: "the table is not written yet"),
    "{table}, {rows:row}: {observed:,} cells observed, {filled:,} to be filled, {left_blank:,} to stay blank",
    ("keypoints", lambda r: ["", *table("cells", _FILLED, _cells(r)), ""]),
    ("copies", "from an identical image: {copies:point}"),
    (
        "kept_occluded",
        "declared hidden, to stay blank: {kept_occluded:point} (--fill-occluded fills them, too)",
    ),
    ("rejected", "rejected, to stay blank: {rejected:cell}"),
    ("max_radius", "whatever is less certain than {max_radius:g} px would stay blank, too"),
    UNKNOWN_SOURCE,
    "on {device}",
    _WRITES,
)

_TABLES = (("rows", "rows", ","), *_FILLED, ("would be written", "written", ""))
PLANNED_FILLINGS: tuple[Line, ...] = (
    lambda r: table(
        "table", _TABLES, ((one["table"], {**one, "written": one["writes"]["table"]}) for one in r["tables"])
    ),
)


def _epochs(sessions: Sequence[int]) -> str:
    return " and ".join(f"{count:,}" for count in sessions) + " epochs"


PLANNED_FINAL: tuple[Line, ...] = (
    _state(lambda r: "it was begun before"),
    "{table}, {rows:row}: {training rows:,} to learn from, {validation rows:,} to choose the epoch by",
    lambda r: [filled_in("preset {preset}, labels {labels}, ", r) + _epochs(r["epochs"])],
    "{outputs:point} answered by {parameters:,} parameters, on {device}",
    _WRITES,
)

NEEDS_IMAGES = "needs images"
# Of stages whose input is still to be made, or cannot be, by their state.
PLANNED_LATER: dict[str, tuple[Line, ...]] = {
    "after training": ("would follow once the models are trained", _WRITES),
    "after filling": ("would follow once the table is filled", _WRITES),
    NEEDS_IMAGES: WITHOUT_FINAL,
}


def print_plan(plan: Result, lines: Sequence[Line], *, as_json: bool) -> None:
    """What a stage would do, on stdout."""
    print_result(plan, as_json=as_json, text=f"{NOTHING_DONE}\n{printed(lines, plan)}")
