"""The page of `labelfill review`: a person goes through fills, and hands over what was decided.

One file that loads nothing: the script stands in the page, and the policy lets no other run. The markup
that every table's page has is `review.html`. What the script needs to know of the table is JSON beside it;
names become text of the page by textContent alone. A page that is served has one more script, by which
decisions reach the server that it came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.errors import counted
from labelfill.filling.provenance import DISTRUSTED
from labelfill.reports.faces import data_uri
from labelfill.reports.inspection.summary import printable
from labelfill.reports.pages import Markup, element, joined, page, plain
from labelfill.reports.result.filled_rows import FilledRows, doubt_of_points, flags_of_row, worst_rows

_SCRIPTS = (
    "review_decisions.js", "review_picture.js", "review_view.js", "review_shown.js", "review_page.js",
)  # fmt: skip
_SERVED_SCRIPT = "review_server.js"
_LARGEST_SIDE = 512  # px of an embedded picture: a screen shows no more of a face
_ROOM_FOR_THE_FRAME = 1000  # bytes by which the page without rows may grow
_SHOWN_EXTRA = 3
_SHOWN_CHARACTERS = 80

_KEPT_IN_BROWSER = "Decisions stay in this browser; download corrections.csv for impute --corrections."


@dataclass(frozen=True)
class Review:
    """A page for review.

    Attributes
    ----------
    rows
        How many rows it shows.
    left_out
        Rows with fills or flags that are not on it.
    """

    html: str
    rows: int
    left_out: int


@dataclass(frozen=True)
class ListedRows:
    """The rows of a page, worst first.

    Attributes
    ----------
    described
        What the script needs to know of each, as JSON.
    left_out
        Rows with fills or flags that are not among them.
    """

    described: Sequence[str]
    left_out: int

    @property
    def summary(self) -> str:
        more = f" ({self.left_out:,} more left out)" if self.left_out else ""
        return f"The {counted(len(self.described), 'row')} that most need a look, worst first{more}."


@dataclass(frozen=True)
class Served:
    """What a page that is served has in addition.

    Attributes
    ----------
    decisions
        What was decided before: row, keypoint number, and the decision as the script has it.
    saved
        A sentence on where decisions are kept.
    """

    decisions: Sequence[tuple[int, int, Mapping[str, Any]]]
    saved: str


def review_page(filled: FilledRows, *, most_rows: int, most_bytes: int, reviewer: str = "") -> Review:
    """The page with the worst rows: at most so many, and as many as fit into so many bytes.

    Parameters
    ----------
    most_bytes
        Of the whole file; one row is shown however large it is.
    reviewer
        Who decides, if decisions are to name somebody.
    """
    frame = page_of_rows(filled, ListedRows([], 0), reviewer)
    room = most_bytes - len(frame.encode()) - _ROOM_FOR_THE_FRAME
    rows = listed_rows(filled, most_rows=most_rows, most_bytes=room)
    return Review(page_of_rows(filled, rows, reviewer), len(rows.described), rows.left_out)


def listed_rows(
    filled: FilledRows, *, most_rows: int, most_bytes: int, decided: Mask | None = None
) -> ListedRows:
    """The rows that deserve a look most; those come last of which all points (n, K) are `decided`."""
    doubt = doubt_of_points(filled)
    if decided is not None:
        doubt = np.where(decided & (doubt > 0), 0.0, doubt)
    order = worst_rows(doubt)
    rows: list[str] = []
    for row in order[:most_rows].tolist():
        described = script_json(_row(filled, row, doubt[row]))
        most_bytes -= len(described) + 1
        if rows and most_bytes < 0:
            break
        rows.append(described)
    return ListedRows(rows, len(order) - len(rows))


def page_of_rows(
    filled: FilledRows, rows: ListedRows, reviewer: str = "", served: Served | None = None
) -> str:
    """The whole page as text."""
    about = {
        "hash": filled.table_hash(),
        "count": len(filled.labels),
        "shape": filled.schema.image_size.width / filled.schema.image_size.height,
        "names": filled.schema.keypoints,
        "reviewer": reviewer,
        "distrusted": _distrusted(filled),
        **({} if served is None else {"served": True, "decisions": served.decisions}),
    }
    described = script_json(about)[:-1] + ',"rows":[' + ",".join(rows.described) + "]}"
    data = element("script", Markup(described), type="application/json", id="data")
    summary = f"{rows.summary} {_KEPT_IN_BROWSER if served is None else served.saved}"
    title = f"Review of {plain(filled.dataset.table.path.name)}"
    first, *others = _SCRIPTS
    script = "\n".join(map(_file, [first, *([] if served is None else [_SERVED_SCRIPT]), *others]))
    return page(
        title, summary, _controls(filled), data,
        style=_file("review.css"), script=script, served=served is not None,
    )  # fmt: skip


def _distrusted(filled: FilledRows) -> list[list[int]]:
    """Row and keypoint number of each label that was not used to fill the table."""
    flagged: list[list[int]] = np.argwhere(filled.flags != "").tolist()
    return [[row, k] for row, k in flagged if DISTRUSTED in str(filled.flags[row, k]).split()]


def _controls(filled: FilledRows) -> Markup:
    """What does not change from row to row: our own markup, and a choice for each flag of the table."""
    flags = sorted({word for words in filled.flags.reshape(-1) for word in str(words).split()})
    choices = joined(element("option", f"flag {flag}", value=flag) for flag in flags)
    markup = re.sub(r"\n *", "", _file("review.html"))
    return Markup(markup.replace("{{flags}}", choices))


def _row(filled: FilledRows, row: int, doubt: Array) -> dict[str, Any]:
    """What the script needs to know of a row whose points (K,) are in so much doubt."""
    known = np.flatnonzero(np.isfinite(filled.places[row]).all(axis=1))  # the others were left blank
    return {
        "row": row,
        "line": int(filled.dataset.table.lines[row]),
        "why": _why(filled, row),
        "about": _about(filled, row),
        "box": [round(value, 4) for value in filled.frame_box(row)],
        "picture": data_uri(filled.images[row], _LARGEST_SIDE),
        "points": [_point(filled, row, k) for k in known.tolist()],
        "start": int(np.argmax(doubt[known])),
    }


def _point(filled: FilledRows, row: int, k: int) -> dict[str, Any]:
    x, y = filled.places[row, k].tolist()
    new, observed = filled.new[row, k], np.isfinite(filled.labels[row, k])
    is_label = not new.any()
    return {
        "k": k,
        "shown": plain(filled.schema.keypoints[k]),
        "x": round(x, 4),
        "y": round(y, 4),
        "label": is_label,
        "observed": bool(observed.any()),
        "filled": "".join(axis for axis, filled_axis in zip("xy", new, strict=True) if filled_axis),
        "radius": None if is_label else float(filled.radius[row, k]),
        "method": plain(filled.method[row, k]),
        "convention": plain(filled.convention[row, k]),
        "flags": plain(filled.flags[row, k]),
    }


def _why(filled: FilledRows, row: int) -> str:
    """A sentence on why the row stands where it does."""
    words, new = flags_of_row(filled, row), filled.filled[row]
    flagged = f" Flags: {', '.join(map(plain, words))}." if words else ""
    if not new.any():
        doubted = np.flatnonzero(filled.flags[row] != "").tolist()
        names = ", ".join(plain(filled.schema.keypoints[k]) for k in doubted)
        return f"No fill, but {_labels_in_doubt(words)}: {names}.{flagged}"
    k = int(np.argmax(np.where(new, filled.radius[row], -np.inf)))
    return (
        f"{counted(int(new.sum()), 'fill')}; the largest radius is "
        f"{filled.radius[row, k]:.1f} px, of {plain(filled.schema.keypoints[k])}.{flagged}"
    )


def _labels_in_doubt(flags: Sequence[str]) -> str:
    if DISTRUSTED in flags:
        return "a label that was not used"
    return "a label that the others of its row contradict"


def _about(filled: FilledRows, row: int) -> str:
    """The row's further columns, in short."""
    columns = [
        f"{printable(name)}: {printable(values[row])}"[:_SHOWN_CHARACTERS]
        for name, values in filled.dataset.table.extra.items()
        if values[row]
    ]
    return "; ".join(columns[:_SHOWN_EXTRA])


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("labelfill.reports.review").joinpath(name).read_text("utf-8")
