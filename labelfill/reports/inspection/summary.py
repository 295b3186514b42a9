"""An inspection in words, in a few lines of text, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from labelfill.arrays import Integers
from labelfill.errors import counted, listed, shown
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.inspection import ImageFindings, Inspection, LabelCounts, Pattern
from labelfill.reports.inspection.lookalikes import Group
from labelfill.reports.inspection.suspects import Suspect
from labelfill.schema import AXES, KeypointSchema

_SHOWN_PATTERNS = 8
_SHOWN_SUSPECTS = 20
_SHOWN_GROUPS = 5
_JSON_PATTERNS = 100


# -- words, for text, JSON and page -----------------------------------------------------------------


def sentence(found: Inspection) -> str:
    """The most important figures in a sentence or two."""
    counts, schema = found.labels, found.table.schema
    on_images = "" if found.images is None else f" on images of {schema.image_size}"
    rows = f"{counted(counts.rows, 'row')} with {counted(schema.count, 'keypoint')}{on_images}"
    if not schema.count:
        return f"{rows}."
    flagged = len(found.flagged)
    looks = f" {counted(flagged, 'row')} {'deserves' if flagged == 1 else 'deserve'} a second look."
    return (
        f"{rows}, {counts.complete_rows:,} of them complete; {counts.share_blank:.1%} of the coordinates are "
        f"blank.{looks if flagged else ''}"
    )


def missing_by_keypoint(counts: LabelCounts, schema: KeypointSchema) -> Iterator[tuple[float, list[str]]]:
    """For each keypoint the share missing; as text its name, blanks in x and y, share, labels off image."""
    for k, name in enumerate(schema.keypoints):
        x, y = counts.missing[k].tolist()
        share = (x + y) / (2 * counts.rows)
        beyond = [] if counts.off_image is None else [f"{counts.off_image[k]:,}"]
        yield share, [name, f"{x:,}", f"{y:,}", f"{share:.1%}", *beyond]


def describe_pattern(pattern: Pattern, schema: KeypointSchema) -> str:
    """Which labels a pattern's rows have, by the shorter of two lists."""
    present, whole = pattern.observed.any(axis=1), pattern.observed.all(axis=1)
    names = np.array(schema.keypoints, dtype=object)
    missing = names[~present].tolist()
    if whole.all():
        text = "complete"
    elif not present.any():
        text = "no labels"
    elif len(missing) <= schema.count / 2:
        text = f"all but {listed(missing)}" if missing else "all"
    else:
        text = f"{listed(names[present].tolist())} only"
    half = names[present & ~whole].tolist()
    return f"{text}; one coordinate of {listed(half)}" if half else text


def describe(suspect: Suspect, table: InspectedTable) -> str:
    """What looks wrong in a row."""
    names = listed([table.schema.keypoints[k] for k in suspect.keypoints], most=4)
    them = "it" if len(suspect.keypoints) == 1 else "them"
    match suspect.kind:
        case "swapped":
            return f"left and right seem to be swapped: {names}"
        case "shifted":
            k = suspect.keypoints[0]
            x, y = table.labels[suspect.row, k] - suspect.suggested[k]
            return f"all labels seem to be shifted, by about {x:+.1f} px in x and {y:+.1f} px in y"
        case "keypoint" if table.images is None:
            return f"{names}: not where the other labels suggest"
        case "keypoint":
            return f"{names}: not where the other labels and the image suggest"
        case "contradicted":
            return f"{names}: not where the trained regressors predict {them}"
        case "off-image":
            return f"outside the image: {names}"
        case "shape":
            return "an unlikely overall shape"


def suspect_rows(suspects: Iterable[Suspect], table: InspectedTable) -> Iterator[list[str]]:
    """Cells: row, line, severity, and what looks wrong."""
    for suspect in suspects:
        line, severity = table.dataset.table.lines[suspect.row], f"{suspect.severity:.2f}"
        yield [str(suspect.row), str(line), severity, describe(suspect, table)]


# -- text -------------------------------------------------------------------------------------------


def as_text(found: Inspection) -> str:
    """What a person reads in the terminal."""
    parts = [[sentence(found)]]
    if found.table.findings:
        parts.append(["to settle before training (already assumed below)"])
        parts[-1] += [f"  {finding}" for finding in found.table.findings]
    if found.table.schema.count:
        parts += [_missing(found.labels, found.table.schema), _patterns(found), _sources(found)]
    if found.images is not None:
        parts.append(_images(found.images))
    if found.table.schema.count:
        parts.append(_suspects(found))
    return "\n\n".join("\n".join(part) for part in parts)


def _columns(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
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
    rows = [[printable(name), *cells] for _, (name, *cells) in missing_by_keypoint(counts, schema)]
    return _columns([header, *rows])


def _patterns(found: Inspection) -> list[str]:
    counts = found.labels
    per_row = [f"{k}: {rows:,}" for k, rows in enumerate(counts.per_row.tolist()) if rows]
    lines = [
        f"{counted(pattern.rows, 'row')}: {describe_pattern(pattern, found.table.schema)}"
        for pattern in counts.patterns
    ]
    return [
        f"rows by number of labelled keypoints  {', '.join(per_row)}",
        f"missing patterns  {counted(len(lines), 'pattern')}, most frequent first",
        *_first(lines, _SHOWN_PATTERNS),
    ]


def _first(lines: Sequence[str], most: int, what: str = "") -> list[str]:
    """The first lines, set in, and how many more of what there are."""
    more = len(lines) - most
    return [*(f"  {line}" for line in lines[:most]), *([f"  and {more:,} more{what}"] if more > 0 else [])]


def _sources(found: Inspection) -> list[str]:
    if len(found.sources) < 2:
        return ["label sources  one: the missing patterns show no groups of rows"]
    column, unknown = found.table.sources.column, found.rows_of_unknown_source
    rows = [f"{printable(source.name)}: {counted(source.rows, 'row')}" for source in found.sources]
    if unknown:
        rows.append(f"unknown: {counted(unknown, 'row')}")
    by = f"by column {shown(column)}" if column else "by missing pattern"
    return [f"label sources  {len(found.sources)}, {by}: {', '.join(rows)}"]


def _images(found: ImageFindings) -> list[str]:
    nothing = f"black: {_row_numbers(found.black)}; flat: {_row_numbers(found.flat)}"
    lines = [
        f"empty images  {nothing}",
        f"images identical to that of an earlier row, or mirrored  {found.repeats:,}",
        *_first([*map(_describe_group, found.identical)], _SHOWN_GROUPS, " groups"),
    ]
    if found.near is None:
        lines.append("groups of nearly identical images  not searched: the table is too large")
    else:
        lines.append(f"groups of nearly identical images  {len(found.near):,}")
        lines += _first([*map(_describe_group, found.near)], _SHOWN_GROUPS, " groups")
    known = np.flatnonzero(found.disagreement.pairs)
    if len(known):
        pairs = found.disagreement.pairs[known]
        squares = float((found.disagreement.rms[known] ** 2 * pairs).sum() / pairs.sum())
        lines.append(
            f"labels of the same image and source  differ by {2**0.5 * squares**0.5:.2f} px per coordinate "
            f"(RMS over {counted(int(pairs.sum()), 'pair')}): annotator noise of {squares**0.5:.2f} px"
        )
    return lines


def _describe_group(group: Group) -> str:
    rows = [f"{member.row}{' (mirrored)' if member.mirrored else ''}" for member in group]
    return f"rows {', '.join(rows[:8])}" + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")


def _row_numbers(rows: Sequence[int], most: int = 10) -> str:
    if not rows:
        return "none"
    first = ", ".join(str(row) for row in rows[:most]) + (", ..." if len(rows) > most else "")
    return f"{len(rows):,} (row{'s' if len(rows) > 1 else ''} {first})"


def _suspects(found: Inspection) -> list[str]:
    if not found.suspects:
        return ["too few labels to compare rows"]
    flagged = counted(len(found.flagged), "row")
    title = (
        f"labels worth a second look  {flagged} flagged (*), worst first; rows count from 0"
        if found.flagged
        else "no label looks wrong; the most unusual rows are"
    )
    first = found.suspects[:_SHOWN_SUSPECTS]
    rows = [
        ["*" if suspect.flagged else "", *cells]
        for suspect, cells in zip(first, suspect_rows(first, found.table), strict=True)
    ]
    more = len(found.suspects) - _SHOWN_SUSPECTS
    rest = [f"and {more:,} more (--json and --html list all)"] if more > 0 else []
    lines = _columns([["", "row", "line", "severity", "what"], *rows], left=(0, 4))
    return [title, *lines, *rest]


def printable(name: str) -> str:
    """A name as it is if it prints on one line, else quoted with escapes."""
    return name if name.isprintable() else shown(name)


# -- JSON -------------------------------------------------------------------------------------------


def as_json(found: Inspection) -> dict[str, Any]:
    """The same as `as_text` for programs, with nothing left out but rare patterns."""
    schema, counts = found.table.schema, found.labels
    columns = np.array(schema.columns, dtype=object)
    return {
        "rows": counts.rows,
        "findings": found.table.findings,
        "keypoints": schema.keypoints,
        "image_size": None if found.images is None else str(schema.image_size),
        "complete_rows": counts.complete_rows,
        "blank_coordinates": counts.blank,
        "missing": _by_name(schema.columns, counts.missing.reshape(-1)),
        "half_labelled": _by_name(schema.keypoints, counts.half_labelled),
        "off_image": None if counts.off_image is None else _by_name(schema.keypoints, counts.off_image),
        "rows_by_labelled_keypoints": counts.per_row,
        "patterns": len(counts.patterns),
        "most_frequent_patterns": [
            {"rows": pattern.rows, "columns": columns[pattern.observed.reshape(-1)]}
            for pattern in counts.patterns[:_JSON_PATTERNS]
        ],
        "sources": {
            "column": found.table.sources.column,
            "groups": [
                {**vars(source), "labelled": _by_name(schema.keypoints, source.labelled)}
                for source in found.sources
            ],
            "rows_of_unknown_source": found.rows_of_unknown_source,
        },
        "images": None if found.images is None else _images_as_json(found.images, schema),
        "flagged_rows": len(found.flagged),
        "suspects": [_suspect_as_json(suspect, found.table) for suspect in found.suspects],
    }


def _suspect_as_json(suspect: Suspect, table: InspectedTable) -> dict[str, Any]:
    names = table.schema.keypoints
    return {
        "row": suspect.row,
        "line": table.dataset.table.lines[suspect.row],
        "kind": suspect.kind,
        "severity": round(suspect.severity, 4),
        "flagged": suspect.flagged,
        "keypoints": [names[k] for k in suspect.keypoints],
        "suggested": {
            names[k]: suspect.suggested[k].round(4)
            for k in np.flatnonzero(np.isfinite(suspect.suggested).all(axis=1))
        },
        "what": describe(suspect, table),
    }


def _images_as_json(found: ImageFindings, schema: KeypointSchema) -> dict[str, Any]:
    noise = found.disagreement
    return {
        "black": found.black,
        "flat": found.flat,
        "repeats": found.repeats,
        "identical": [_group_as_json(group) for group in found.identical],
        "near": None if found.near is None else [_group_as_json(group) for group in found.near],
        "label_noise": {
            schema.keypoints[k]: {"pairs": noise.pairs[k], "px": noise.rms[k]}
            for k in np.flatnonzero(noise.pairs)
        },
        "labels_that_differ_most": [
            {"rows": [row, other], "keypoint": schema.keypoints[k], "px": distance}
            for row, other, k, distance in noise.worst
        ],
        "extremes": {
            title: [{"row": row, "grey_level": value} for row, value in rows]
            for title, rows in found.extremes.items()
        },
    }


def _group_as_json(group: Group) -> dict[str, Any]:
    mirrored = [member.row for member in group if member.mirrored]
    return {"rows": [member.row for member in group], "mirrored": mirrored}


def _by_name(names: Sequence[str], values: Integers) -> dict[str, int]:
    return dict(zip(names, values.tolist(), strict=True))
