"""The page of `labelfill review`: a person goes through fills, and hands over what was decided.

One file that loads nothing: the script stands in the page, and the policy lets no other run. What the
script needs to know of the table is JSON beside it; names become text of the page by textContent alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.reports.faces import data_uri
from labelfill.reports.inspection.summary import printable
from labelfill.reports.pages import Markup, element, page, paragraph, plain, plural
from labelfill.reports.result.filled_rows import FilledRows, doubt_of_points, flags_of_row, worst_rows

_SCRIPTS = ("review_decisions.js", "review_picture.js", "review_page.js")
_LARGEST_SIDE = 512  # px of an embedded picture: a screen shows no more of a face
_SHOWN_EXTRA = 3
_SHOWN_CHARACTERS = 80

# Key, action of review_page.js, and what it does; actions without a button have keys only.
_KEYS = (
    ("↓ ↑", "next or previous point of the row"),
    ("→ ← or n p", "next or previous row"),
    ("a", "accept the fill, and go on to the next one that is not decided"),
    ("A (Shift+a)", "accept all fills of the row that are not decided, and go on to the next row"),
    ("Shift+arrow", "move the fill by 1 px (0.1 px with fine steps); or drag it"),
    ("r", "reject the fill: its cell is to stay blank"),
    ("w", "mark a label of the table as wrong"),
    ("u", "take back the decision on this point"),
    ("z", "zoom in on the point, and out again"),
    ("h", "hide the points, and show them again"),
    ("b", "brighten the picture"),
    ("d", "download corrections.csv"),
    ("?", "show or hide these keys"),
)
_LEGEND = (
    ("label", "label of the table"),
    ("fill", "filled, inside its error radius"),
    ("accepted", "accepted"),
    ("moved", "moved"),
    ("rejected", "rejected"),
    ("wrong", "label marked as wrong"),
)
_POINT_BUTTONS = (
    ("accept", "a", "Accept"),
    ("reject", "r", "Reject"),
    ("wrong", "w", "Label is wrong"),
    ("undo", "u", "Take back"),
)
_ROW_BUTTONS = (
    ("previous", "p", "Previous row"),
    ("next", "n", "Next row"),
    ("acceptAll", "A", "Accept all"),
)
_VIEW_BUTTONS = (("zoom", "z", "Zoom"), ("hide", "h", "Hide points"), ("brighten", "b", "Brighten"))


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
        f"The {plural(len(rows), 'row')} that deserve a look most, worst first"
        f"{f' ({left:,} more are not on this page)' if left else ''}. "
        "Decisions are kept in this browser; download corrections.csv when you are done, and give it to "
        "labelfill impute --corrections."
    )
    children = [_top(filled), _work(), _help(), _legend(), data]
    return page(
        f"Review of {plain(filled.path.name)}", summary, *children, style=_file("review.css"),
        script="\n".join(map(_file, _SCRIPTS)),
    )  # fmt: skip


def _row(filled: FilledRows, row: int, doubt: Array) -> dict[str, Any]:
    """What the script needs to know of a row whose points (K,) are in so much doubt."""
    known = np.flatnonzero(np.isfinite(filled.places[row]).all(axis=1))  # the others were left blank
    return {
        "row": row,
        "line": int(filled.lines[row]),
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
        f"{plural(int(new.sum()), 'fill')}; the largest radius is "
        f"{filled.radius[row, k]:.1f} px, of {plain(filled.schema.keypoints[k])}.{flagged}"
    )


def _about(filled: FilledRows, row: int) -> str:
    """The row's further columns, in short."""
    told = [
        f"{printable(name)}: {printable(values[row])}"[:_SHOWN_CHARACTERS]
        for name, values in filled.extra.items()
        if values[row]
    ]
    return "; ".join(told[:_SHOWN_EXTRA])


# -- what does not change from row to row --------------------------------------------------------------


def _top(filled: FilledRows) -> Markup:
    words = sorted({word for flags in filled.flags.reshape(-1) for word in str(flags).split()})
    options = [
        ("all", "all rows"),
        ("open", "rows not finished"),
        *((word, f"flag {word}") for word in words),
    ]
    choice = element(
        "select", *(element("option", text, value=value) for value, text in options), id="filter"
    )
    fine = element("label", element("input", type="checkbox", id="fine"), " fine steps")
    letters = element("label", element("input", type="checkbox", id="letters", checked=True), " letter keys")
    opening = element(
        "label",
        "Open corrections.csv",
        element("input", type="file", id="open", accept=".csv"),
        class_="file",
    )
    return element(
        "div",
        element("label", "Show ", choice),
        _button("corrections", "d", "Download corrections.csv"),
        _button("distrust", None, "Download distrust.csv"),
        opening, fine, letters,
        class_="bar",
    )  # fmt: skip


def _work() -> Markup:
    picture = element(
        "svg", id="picture", role="img", aria_label="The face with its points; the list beside it names them"
    )
    points = element("ul", id="points", role="listbox", tabindex="0", aria_label="Points of this row")
    side = element(
        "div",
        element("h2", id="where"),
        paragraph(id="why"),
        paragraph(class_="note", id="about"),
        element("div", *(_button(*button) for button in _ROW_BUTTONS), class_="bar"),
        points,
        paragraph(class_="note", id="point"),
        element("div", *(_button(*button) for button in _POINT_BUTTONS), class_="bar"),
        element("div", *(_button(*button, pressed=True) for button in _VIEW_BUTTONS), class_="bar"),
    )
    return element(
        "div",
        paragraph(id="status", role="status", aria_live="polite"),
        paragraph(
            "This browser keeps nothing here: download before you close the page.", id="unsaved", hidden=True
        ),
        paragraph("No row to show.", id="empty", hidden=True),
        element("div", element("div", picture, id="stage"), side, id="work"),
        paragraph(class_="note", id="counts"),
    )


def _help() -> Markup:
    lines = [
        part for keys, does in _KEYS for part in (element("dt", element("kbd", keys)), element("dd", does))
    ]
    return element(
        "details",
        element("summary", "Keys ", element("kbd", "?")),
        element("dl", *lines),
        paragraph(
            "Labels of the table are never moved. Letter keys can be switched off above, for screen readers "
            "and speech input that use them otherwise; every action has a button.", class_="note",
        ),
        id="keys",
    )  # fmt: skip


def _legend() -> Markup:
    return element("ul", *(element("li", text, data_state=state) for state, text in _LEGEND), id="legend")


def _button(name: str, key: str | None, text: str, *, pressed: bool = False) -> Markup:
    return element(
        "button", text, *((" ", element("kbd", key)) if key else ()), id=name, type="button",
        aria_keyshortcuts=None if key is None else f"Shift+{key}" if key.isupper() else key,
        aria_pressed="false" if pressed else None,
    )  # fmt: skip


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files("labelfill.reports.review").joinpath(name).read_text("utf-8")
