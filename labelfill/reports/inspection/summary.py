"""An inspection in words, in a few lines of text, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.errors import listed, shown
from labelfill.reports.inspection.inspection import ImageFindings, Inspection, LabelCounts, Pattern
from labelfill.reports.inspection.lookalikes import Lookalikes
from labelfill.reports.inspection.suspects import Suspect
from labelfill.schema import AXES, KeypointSchema

_SHOWN_PATTERNS = 8
_SHOWN_SUSPECTS = 20
_SHOWN_GROUPS = 5
_JSON_PATTERNS = 100


def describe(suspect: Suspect, schema: KeypointSchema, labels: Array, *, by_image: bool) -> str:
    """What looks wrong in a row with these labels (K, 2) px."""
    names = listed([schema.keypoints[k] for k in suspect.keypoints], most=4)
    if suspect.kind == "swapped":
        return f"left and right look exchanged: {names}"
    if suspect.kind == "shifted":
        k = suspect.keypoints[0]
        x, y = labels[k] - suspect.suggested[k]
        return f"all labels look shifted, by about {x:+.1f} px in x and {y:+.1f} px in y"
    if suspect.kind == "keypoint":
        witnesses = "the other labels and the image expect" if by_image else "the other labels expect"
        return f"{names}: not where {witnesses} {'it' if len(suspect.keypoints) == 1 else 'them'}"
    if suspect.kind == "contradicted":
        return (
            f"{names}: not where the trained regressors see {'it' if len(suspect.keypoints) == 1 else 'them'}"
        )
    if suspect.kind == "off-image":
        return f"beyond the image: {names}"
    return "an unlikely shape as a whole"


def sentence(inspection: Inspection) -> str:
    """The most important figures in a sentence or two."""
    counts = inspection.labels
    parts = [f"{plural(counts.rows, 'row')} with {plural(inspection.schema.count, 'keypoint')}"]
    if inspection.schema.count:
        share = counts.blank / max(counts.cells, 1)
        parts.append(f"{counts.complete_rows:,} of them complete; {share:.1%} of the coordinates are blank")
    if inspection.images is not None:
        parts[0] += f" on images of {inspection.schema.image_size}"
    text = ", ".join(parts) + "."
    if inspection.schema.count:
        text += f" {plural(len(inspection.flagged), 'row')} {_look(len(inspection.flagged))} a second look."
    return text


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _look(count: int) -> str:
    return "deserves" if count == 1 else "deserve"


def pattern_columns(pattern: Pattern, schema: KeypointSchema) -> list[str]:
    """The coordinate columns that a pattern's rows have."""
    return [
        column for column, there in zip(schema.columns, pattern.observed.reshape(-1), strict=True) if there
    ]


# -- text -------------------------------------------------------------------------------------------


def as_text(inspection: Inspection, labels: Array, lines: NDArray[np.int64]) -> str:
    """What a person reads in the terminal.

    Parameters
    ----------
    labels, lines
        (n, K, 2) px and (n,): the table's labels, and the line on which each row starts.
    """
    parts = [[sentence(inspection)]]
    if inspection.schema.count:
        parts.append(_missing(inspection.labels, inspection.schema))
        parts.append(_patterns(inspection.labels, inspection.schema))
        parts.append(_sources(inspection))
    if inspection.images is not None:
        parts.append(_images(inspection.images, inspection.schema))
    if inspection.schema.count:
        parts.append(_suspects(inspection, labels, lines))
    return "\n\n".join("\n".join(part) for part in parts)


def columns(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Lines of cells under each other; columns not in `left` are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _missing(counts: LabelCounts, schema: KeypointSchema) -> list[str]:
    header = ["missing labels", *AXES, "share", *(["off image"] if counts.off_image is not None else [])]
    rows = [header]
    for k, name in enumerate(schema.keypoints):
        x, y = counts.missing[k].tolist()
        row = [printable(name), f"{x:,}", f"{y:,}", f"{(x + y) / (2 * counts.rows):.1%}"]
        rows.append(row + ([f"{counts.off_image[k]:,}"] if counts.off_image is not None else []))
    return columns(rows)


def _patterns(counts: LabelCounts, schema: KeypointSchema) -> list[str]:
    per_row = [f"{k}: {rows:,}" for k, rows in enumerate(counts.per_row.tolist()) if rows]
    lines = [f"rows by number of labelled keypoints  {', '.join(per_row)}"]
    lines.append(f"missing patterns  {plural(len(counts.patterns), 'pattern')}, most frequent first")
    lines += [
        f"  {plural(pattern.rows, 'row')}: {describe_pattern(pattern, schema)}"
        for pattern in counts.patterns[:_SHOWN_PATTERNS]
    ]
    if len(counts.patterns) > _SHOWN_PATTERNS:
        lines.append(f"  and {len(counts.patterns) - _SHOWN_PATTERNS:,} more")
    return lines


def describe_pattern(pattern: Pattern, schema: KeypointSchema) -> str:
    """Which labels a pattern's rows have, by the shorter of two lists."""
    there: NDArray[np.bool_] = np.all(pattern.observed, axis=1)
    half = np.any(pattern.observed, axis=1) & ~there
    missing = [name for name, is_there in zip(schema.keypoints, there | half, strict=True) if not is_there]
    if pattern.observed.all():
        text = "complete"
    elif not pattern.observed.any():
        text = "no labels"
    elif len(missing) <= len(there) / 2:
        text = f"all but {listed(missing)}" if missing else "all"
    else:
        text = f"{listed([n for n, t in zip(schema.keypoints, there | half, strict=True) if t])} only"
    if half.any():
        text += f"; one coordinate of {listed([n for n, h in zip(schema.keypoints, half, strict=True) if h])}"
    return text


def _sources(inspection: Inspection) -> list[str]:
    found = inspection.sources
    if len(found.names) < 2:
        return ["label sources  one: the missing patterns tell no groups of rows apart"]
    told = f"by column {shown(found.column)}" if found.column else "by missing pattern"
    rows = [
        f"{printable(name)}: {plural(n, 'row')}"
        for name, n in zip(found.names, found.rows.tolist(), strict=True)
    ]
    if found.unknown:
        rows.append(f"of none of them: {plural(found.unknown, 'row')}")
    return [f"label sources  {len(found.names)}, {told}: {', '.join(rows)}"]


def _images(found: ImageFindings, schema: KeypointSchema) -> list[str]:
    lines = [f"images that show nothing  black: {_some_rows(found.black)}; flat: {_some_rows(found.flat)}"]
    lines.append(f"images that repeat an earlier row's, pixel by pixel or mirrored  {found.repeats:,}")
    lines += [f"  rows {describe_group(group)}" for group in found.identical[:_SHOWN_GROUPS]]
    if len(found.identical) > _SHOWN_GROUPS:
        lines.append(f"  and {len(found.identical) - _SHOWN_GROUPS:,} more groups")
    if found.near_compared:
        lines.append(f"groups of nearly identical images  {len(found.near):,}")
        lines += [f"  rows {describe_group(group)}" for group in found.near[:_SHOWN_GROUPS]]
        if len(found.near) > _SHOWN_GROUPS:
            lines.append(f"  and {len(found.near) - _SHOWN_GROUPS:,} more groups")
    else:
        lines.append("groups of nearly identical images  not looked for in so large a table")
    known = np.flatnonzero(found.disagreement.pairs)
    if len(known):
        pairs = found.disagreement.pairs[known]
        squares = float((found.disagreement.rms[known] ** 2 * pairs).sum() / pairs.sum())
        lines.append(
            f"labels of the same image and source  differ by {2**0.5 * squares**0.5:.2f} px per coordinate "
            f"(RMS over {plural(int(pairs.sum()), 'pair')}): annotators' noise of {squares**0.5:.2f} px"
        )
    return lines


def describe_group(group: Lookalikes) -> str:
    rows = [
        f"{row}{' (mirrored)' if mirrored else ''}"
        for row, mirrored in zip(group.rows, group.mirrored, strict=True)
    ]
    return ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")


def _some_rows(rows: Sequence[int], most: int = 10) -> str:
    if not rows:
        return "none"
    first = ", ".join(str(row) for row in rows[:most]) + (", ..." if len(rows) > most else "")
    return f"{len(rows):,} (row{'s' if len(rows) > 1 else ''} {first})"


def _suspects(inspection: Inspection, labels: Array, lines: NDArray[np.int64]) -> list[str]:
    flagged = len(inspection.flagged)
    title = f"labels worth a second look  {plural(flagged, 'row')} flagged"
    if not inspection.suspects:
        return [title]
    rows = [["", "row", "line", "severity", "what"]]
    for suspect in inspection.suspects[:_SHOWN_SUSPECTS]:
        what = describe(
            suspect, inspection.schema, labels[suspect.row], by_image=inspection.images is not None
        )
        mark = "*" if suspect.flagged else ""
        rows.append([mark, str(suspect.row), str(lines[suspect.row]), f"{suspect.severity:.2f}", what])
    more = len(inspection.suspects) - _SHOWN_SUSPECTS
    rest = [f"and {more:,} more (--json and --html list all)"] if more > 0 else []
    return [f"{title} (*), worst first", *columns(rows, left=(0, 4)), *rest]


def printable(name: str) -> str:
    """A name as it is if it prints on one line, else quoted with escapes."""
    return name if name.isprintable() else shown(name)


# -- JSON -------------------------------------------------------------------------------------------


def as_json(inspection: Inspection, labels: Array, lines: NDArray[np.int64]) -> dict[str, Any]:
    """The same as `as_text` for programs, with nothing left out but rare patterns."""
    schema, counts = inspection.schema, inspection.labels
    by_image = inspection.images is not None
    return {
        "rows": counts.rows,
        "keypoints": schema.keypoints,
        "image_size": str(schema.image_size) if by_image else None,
        "complete_rows": counts.complete_rows,
        "blank_coordinates": counts.blank,
        "missing": dict(zip(schema.columns, counts.missing.reshape(-1).tolist(), strict=True)),
        "half_labelled": _by_name(schema, counts.half_labelled),
        "off_image": None if counts.off_image is None else _by_name(schema, counts.off_image),
        "rows_by_labelled_keypoints": counts.per_row,
        "patterns": len(counts.patterns),
        "most_frequent_patterns": [
            {"rows": pattern.rows, "columns": pattern_columns(pattern, schema)}
            for pattern in counts.patterns[:_JSON_PATTERNS]
        ],
        "sources": {
            "column": inspection.sources.column,
            "groups": [
                {"name": name, "rows": rows, "labelled": _by_name(schema, labelled)}
                for name, rows, labelled in zip(
                    inspection.sources.names,
                    inspection.sources.rows.tolist(),
                    inspection.sources.labelled,
                    strict=True,
                )
            ],
            "rows_of_unknown_source": inspection.sources.unknown,
        },
        "images": None if inspection.images is None else _images_as_json(inspection.images, schema),
        "flagged_rows": len(inspection.flagged),
        "suspects": [
            {
                "row": suspect.row,
                "line": int(lines[suspect.row]),
                "kind": suspect.kind,
                "severity": round(suspect.severity, 4),
                "flagged": suspect.flagged,
                "keypoints": [schema.keypoints[k] for k in suspect.keypoints],
                "suggested": {
                    schema.keypoints[k]: suspect.suggested[k].round(4)
                    for k in np.flatnonzero(np.isfinite(suspect.suggested).all(axis=1))
                },
                "what": describe(suspect, schema, labels[suspect.row], by_image=by_image),
            }
            for suspect in inspection.suspects
        ],
    }


def _images_as_json(found: ImageFindings, schema: KeypointSchema) -> dict[str, Any]:
    return {
        "black": found.black,
        "flat": found.flat,
        "repeats": found.repeats,
        "identical": [_group_as_json(group) for group in found.identical],
        "near": [_group_as_json(group) for group in found.near] if found.near_compared else None,
        "label_noise": {
            schema.keypoints[k]: {
                "pairs": int(found.disagreement.pairs[k]),
                "px": float(found.disagreement.rms[k]),
            }
            for k in np.flatnonzero(found.disagreement.pairs)
        },
        "labels_that_differ_most": [
            {"rows": [row, other], "keypoint": schema.keypoints[k], "px": distance}
            for row, other, k, distance in found.disagreement.worst
        ],
        "extremes": {
            extreme.title: [
                {"row": row, "grey_level": value}
                for row, value in zip(extreme.rows, extreme.values, strict=True)
            ]
            for extreme in found.extremes
        },
    }


def _group_as_json(group: Lookalikes) -> dict[str, Any]:
    mirrored = [row for row, flag in zip(group.rows, group.mirrored, strict=True) if flag]
    return {"rows": group.rows, "mirrored": mirrored}


def _by_name(schema: KeypointSchema, values: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(schema.keypoints, values.tolist(), strict=True))
