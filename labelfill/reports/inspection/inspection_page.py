"""The page of `labelfill inspect`: what is in a table, with pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.reports.faces import Points, face, key
from labelfill.reports.inspection.image_sections import (
    Shown,
    equalisation_section,
    light_section,
    repeats_section,
)
from labelfill.reports.inspection.inspection import Inspection
from labelfill.reports.inspection.summary import describe, describe_pattern, plural, sentence
from labelfill.reports.inspection.suspects import Suspect
from labelfill.reports.pages import Markup, element, page, paragraph, section, share_bar, table, tiles
from labelfill.reports.plots import bars
from labelfill.schema import KeypointSchema

_SHOWN_SUSPECTS = 24
_LISTED_SUSPECTS = 300
_SHOWN_PATTERNS = 12


def inspection_page(found: Inspection, shown: Shown) -> str:
    """The whole page as HTML."""
    sections: list[Markup | None] = [tiles(_figures(found))]
    if found.schema.count:
        sections += [_suspects(found, shown), _labels(found), _patterns(found), _sources(found)]
    if found.images is not None and shown.images is not None:
        sections += [
            repeats_section(found.images, found.schema, shown),
            light_section(found.images, found.schema, shown),
        ]
    if found.schema.count and found.examples:
        sections.append(_examples(found, shown))
    if found.images is not None and shown.images is not None:
        sections.append(equalisation_section(found, shown, shown.images))
    return page(f"Inspection of {shown.name}", sentence(found), *sections)


def _figures(found: Inspection) -> Iterator[tuple[str, str]]:
    counts = found.labels
    yield f"{counts.rows:,}", "rows"
    if found.schema.count:
        yield f"{found.schema.count:,}", "keypoints"
        yield f"{counts.complete_rows:,}", "complete rows"
        yield f"{counts.blank / max(counts.cells, 1):.1%}", "of the coordinates blank"
        yield f"{len(found.sources.names):,}", "label sources"
        yield f"{len(found.flagged):,}", "rows worth a second look"
    if found.images is not None:
        yield f"{found.images.repeats:,}", "repeated images"
        yield f"{len(found.images.black) + len(found.images.flat):,}", "black or flat images"


# -- labels -----------------------------------------------------------------------------------------


def _suspects(found: Inspection, shown: Shown) -> Markup:
    pictured = found.suspects[:_SHOWN_SUSPECTS]
    rest = found.suspects[_SHOWN_SUSPECTS:][:_LISTED_SUSPECTS]
    by_image = found.images is not None
    about = (
        "Worst first. A row is flagged if it stands out from the rest of the table (severity 1 and above); "
        "the others are those that come next. A suggestion is a guess, not a measurement."
    )
    markers = key(
        [("label", "label"), ("doubtful", "label in question"), ("suggested", "where it might belong")]
    )
    cards = [_suspect(suspect, found.schema, shown, by_image) for suspect in pictured]
    listing = None
    if rest:
        listing = table(
            ("row", "line", "severity", "what"),
            [
                (
                    suspect.row,
                    str(shown.lines[suspect.row]),
                    f"{suspect.severity:.2f}",
                    describe(suspect, found.schema, shown.labels[suspect.row], by_image=by_image),
                )
                for suspect in rest
            ],
            numbers=(0, 1, 2),
        )
    left = len(found.suspects) - len(pictured) - len(rest)
    return section(
        "Labels worth a second look",
        paragraph(about, class_="note"),
        markers if cards else paragraph("There are too few labels to compare rows."),
        element("div", *cards, class_="faces"),
        listing,
        paragraph(f"And {plural(left, 'row')} more.", class_="note") if left else None,
    )


def _suspect(suspect: Suspect, schema: KeypointSchema, shown: Shown, by_image: bool) -> Markup:
    labels = shown.labels[suspect.row]
    doubtful = np.zeros(len(labels), bool)
    doubtful[list(suspect.keypoints)] = True
    layers = [
        Points(suspect.suggested, schema.keypoints, "suggested"),
        Points(_only(labels, ~doubtful), schema.keypoints, "label"),
        Points(_only(labels, doubtful), schema.keypoints, "doubtful"),
    ]
    what = describe(suspect, schema, labels, by_image=by_image)
    caption = element(
        "figcaption",
        element("strong", shown.place(suspect.row)),
        f", severity {suspect.severity:.2f}: {what}",
    )
    picture = face(
        shown.picture(suspect.row), schema.image_size, layers, f"{shown.place(suspect.row)}: {what}"
    )
    return element("figure", picture, caption, class_="flagged" if suspect.flagged else None)


def _only(points: Array, which: NDArray[np.bool_]) -> Array:
    return np.where(which[:, None], points, np.nan)


def _labels(found: Inspection) -> Markup:
    counts = found.labels
    header = ["keypoint", "missing x", "missing y", "share missing", ""]
    rows = []
    for k, name in enumerate(found.schema.keypoints):
        x, y = counts.missing[k].tolist()
        share = (x + y) / (2 * counts.rows)
        row = [name, f"{x:,}", f"{y:,}", f"{share:.1%}", share_bar(share)]
        rows.append(row + ([f"{counts.off_image[k]:,}"] if counts.off_image is not None else []))
    if counts.off_image is not None:
        header.append("beyond the image")
    return section("Missing labels", table(header, rows, numbers=(1, 2, 3, 5)))


def _patterns(found: Inspection) -> Markup:
    counts = found.labels
    per_row = ", ".join(f"{rows:,} with {k}" for k, rows in enumerate(counts.per_row.tolist()) if rows)
    histogram = bars(
        counts.per_row.tolist(),
        "labelled keypoints in a row",
        "rows",
        f"Rows by number of labelled keypoints: {per_row}",
    )
    names = [element("span", name, class_="upright") for name in found.schema.keypoints]
    rows = []
    for pattern in counts.patterns[:_SHOWN_PATTERNS]:
        marks = [_mark(bool(x), bool(y)) for x, y in pattern.observed.tolist()]
        rows.append((f"{pattern.rows:,}", f"{pattern.rows / counts.rows:.1%}", *marks))
    matrix = element("div", table(("rows", "share", *names), rows, numbers=(0, 1)), class_="patterns")
    more = len(counts.patterns) - _SHOWN_PATTERNS
    return section(
        "Labels per row, and missing patterns",
        histogram,
        paragraph(
            f"{plural(len(counts.patterns), 'pattern')}; the most frequent: "
            f"{describe_pattern(counts.patterns[0], found.schema)}."
        ),
        paragraph("● labelled, ◐ one coordinate only, · missing", class_="note"),
        matrix,
        paragraph(f"And {plural(more, 'rarer pattern')}.", class_="note") if more > 0 else None,
    )


def _mark(x: bool, y: bool) -> Markup:
    if x and y:
        return element("span", "●", class_="has", title="labelled")
    if x or y:
        return element("span", "◐", class_="has", title="one coordinate only")
    return element("span", "·", class_="lacks", title="missing")


def _sources(found: Inspection) -> Markup:
    sources = found.sources
    if len(sources.names) < 2:
        told = "One: the missing patterns tell no groups of rows apart."
        return section("Label sources", paragraph(told))
    how = f"column {sources.column}" if sources.column else "their missing patterns"
    rows = []
    for name, count, labelled in zip(sources.names, sources.rows.tolist(), sources.labelled, strict=True):
        usual = [k for k, n in zip(found.schema.keypoints, labelled.tolist(), strict=True) if n >= count / 2]
        rows.append((name, f"{count:,}", f"{count / found.labels.rows:.1%}", ", ".join(usual) or "none"))
    return section(
        "Label sources",
        paragraph(f"Groups of rows that were probably labelled by different people, told apart by {how}."),
        table(("source", "rows", "share", "keypoints that most of its rows label"), rows, numbers=(1, 2)),
        paragraph(f"{plural(sources.unknown, 'row')} of no known source.") if sources.unknown else None,
    )


def _examples(found: Inspection, shown: Shown) -> Markup:
    schema = found.schema
    cards = [
        element(
            "figure",
            face(
                shown.picture(row),
                schema.image_size,
                [Points(shown.labels[row], schema.keypoints, "label")],
                f"{shown.place(row)} with its labels",
            ),
            element("figcaption", shown.place(row)),
        )
        for row in found.examples
    ]
    chosen = "Random rows" + (", as many of each label source." if len(found.sources.names) > 1 else ".")
    return section("Examples", paragraph(chosen, class_="note"), element("div", *cards, class_="faces"))
