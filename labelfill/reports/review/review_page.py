"""The page of `labelfill review`: a person goes through fills, and hands over what was decided.

One file that loads nothing: the script stands in the page, and the policy lets no other run. The markup
that every table's page has is `review.html`. What the script needs to know of the table is JSON beside it;
names become text of the page by textContent alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.errors import counted
from labelfill.reports.faces import data_uri
from labelfill.reports.inspection.summary import printable
from labelfill.reports.pages import Markup, element, joined, page, plain
from labelfill.reports.result.filled_rows import FilledRows, doubt_of_points, flags_of_row, worst_rows

_SCRIPTS = ("review_decisions.js", "review_picture.js", "review_page.js")
_LARGEST_SIDE = 512  # px of an embedded picture: a screen shows no more of a face
_SHOWN_EXTRA = 3
_SHOWN_CHARACTERS = 80


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


def review_page(filled: FilledRows, *, most_rows: int, most_bytes: int) -> Review:
    """The page with the worst rows: at most so many, and as many as fit into so many bytes.

    Parameters
    ----------
    most_bytes
        Of the whole file; one row is shown however large it is.
    """
    doubt = doubt_of_points(filled)
    order = worst_rows(doubt)
    rows: list[str] = []
    frame = _html(filled, [], 0)
    room = most_bytes - len(frame.encode()) - 1000
    for row in order[:most_rows].tolist():
        described = _script_json(_row(filled, row, doubt[row]))
        room -= len(described) + 1
        if rows and room < 0:
            break
        rows.append(described)
    left = len(order) - len(rows)
    return Review(_html(filled, rows, left), len(rows), left)


def _html(filled: FilledRows, rows: list[str], left: int) -> str:
    about = {
        "hash": filled.table_hash(),
        "count": len(filled.labels),
        "shape": filled.schema.image_size.width / filled.schema.image_size.height,
        "names": filled.schema.keypoints,
    }
    described = _script_json(about)[:-1] + ',"rows":[' + ",".join(rows) + "]}"
    data = element("script", Markup(described), type="application/json", id="data")
    summary = (
        f"The {counted(len(rows), 'row')} that deserve a look most, worst first"
        f"{f' ({left:,} more are not on this page)' if left else ''}. "
        "Decisions are kept in this browser; download corrections.csv when you are done, and give it to "
        "labelfill impute --corrections."
    )
    title = f"Review of {plain(filled.dataset.table.path.name)}"
    script = "\n".join(map(_file, _SCRIPTS))
    return page(title, summary, _controls(filled), data, style=_file("review.css"), script=script)


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
        "flags": plain(filled.flags[row, k]),
    }


def _why(filled: FilledRows, row: int) -> str:
    """A sentence on why the row stands where it does."""
    words, new = flags_of_row(filled, row), filled.filled[row]
    flagged = f" Flags: {', '.join(map(plain, words))}." if words else ""
    if not new.any():
        return f"No fill, but a label in doubt.{flagged}"
    k = int(np.argmax(np.where(new, filled.radius[row], -np.inf)))
    return (
        f"{counted(int(new.sum()), 'fill')}; the largest radius is "
        f"{filled.radius[row, k]:.1f} px, of {plain(filled.schema.keypoints[k])}.{flagged}"
    )


def _about(filled: FilledRows, row: int) -> str:
    """The row's further columns, in short."""
    columns = [
        f"{printable(name)}: {printable(values[row])}"[:_SHOWN_CHARACTERS]
        for name, values in filled.dataset.table.extra.items()
        if values[row]
    ]
    return "; ".join(columns[:_SHOWN_EXTRA])


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("labelfill.reports.review").joinpath(name).read_text("utf-8")
