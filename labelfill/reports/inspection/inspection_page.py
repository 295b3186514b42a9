"""The page of `labelfill inspect`: what is in a table, with pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelfill.errors import counted
from labelfill.reports.faces import Points, face, key
from labelfill.reports.inspection.image_sections import equalisation_section, light_section, repeats_section
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.inspection import Inspection
from labelfill.reports.inspection.summary import (
    describe,
    describe_pattern,
    missing_by_keypoint,
    sentence,
    suspect_rows,
)
from labelfill.reports.inspection.suspects import Suspect
from labelfill.reports.pages import (
    Markup,
    and_more,
    element,
    figure,
    note,
    page,
    paragraph,
    section,
    share_bar,
    table,
    tiles,
)
from labelfill.reports.plots import bars

_SHOWN_SUSPECTS = 24
_LISTED_SUSPECTS = 300
_SHOWN_PATTERNS = 12


def inspection_page(found: Inspection) -> str:
    """The whole page as HTML."""
    inspected, images = found.table, found.images
    sections: list[Markup | None] = [tiles(_figures(found)), _findings(inspected)]
    if inspected.schema.count:
        sections += [_suspects(found), _labels(found), _patterns(found), _sources(found)]
    if images is not None:
        sections += [repeats_section(images, inspected), light_section(images, inspected)]
    if inspected.schema.count and found.examples:
        sections.append(_examples(found))
    if images is not None:
        sections.append(equalisation_section(images, inspected))
    return page(f"Inspection of {inspected.dataset.table.path.name}", sentence(found), *sections)


def _findings(inspected: InspectedTable) -> Markup | None:
    if not inspected.findings:
        return None
    about = "The rest of this page already assumes these settings."
    return section("To settle before training", note(about), *map(paragraph, inspected.findings))


def _figures(found: Inspection) -> Iterator[tuple[str, str]]:
    counts, keypoints = found.labels, found.table.schema.count
    yield f"{counts.rows:,}", "rows"
    if keypoints:
        yield f"{keypoints:,}", "keypoints"
        yield f"{counts.complete_rows:,}", "complete rows"
        yield f"{counts.share_blank:.1%}", "of the coordinates blank"
        yield f"{len(found.sources):,}", "label sources"
        yield f"{len(found.flagged):,}", "rows worth a second look"
    if found.images is not None:
        yield f"{found.images.repeats:,}", "duplicate images"
        yield f"{len(found.images.black) + len(found.images.flat):,}", "black or flat images"


# -- labels -----------------------------------------------------------------------------------------


def _suspects(found: Inspection) -> Markup:
    about = (
        "Worst first. A row is flagged if it stands out from the rest of the table (severity 1 and above); "
        "the others come next in order. A suggestion is a guess, not a measurement."
    )
    markers = key([
        ("label", "label"), ("doubtful", "suspicious label"), ("suggested", "where it might belong")
    ])  # fmt: skip
    cards = [_suspect(suspect, found.table) for suspect in found.suspects[:_SHOWN_SUSPECTS]]
    listed = found.suspects[_SHOWN_SUSPECTS:][:_LISTED_SUSPECTS]
    rows = suspect_rows(listed, found.table)
    return section(
        "Labels worth a second look" if found.flagged else "The most unusual rows",
        note(about),
        markers if cards else paragraph("There are too few labels to compare rows."),
        element("div", *cards, class_="faces"),
        table(("row", "line", "severity", "what"), rows, numbers=(0, 1, 2)) if listed else None,
        and_more(len(found.suspects) - len(cards) - len(listed), "row"),
    )


def _suspect(suspect: Suspect, inspected: InspectedTable) -> Markup:
    labels, names = inspected.labels[suspect.row], inspected.schema.keypoints
    doubtful = np.isin(np.arange(len(labels)), suspect.keypoints)[:, None]
    layers = [
        Points(suspect.suggested, names, "suggested"),
        Points(np.where(doubtful, np.nan, labels), names, "label"),
        Points(np.where(doubtful, labels, np.nan), names, "doubtful"),
    ]
    place, what = inspected.place(suspect.row), describe(suspect, inspected)
    picture = face(inspected.picture(suspect.row), inspected.schema.image_size, layers, f"{place}: {what}")
    flagged = "flagged" if suspect.flagged else None
    severity = f", severity {suspect.severity:.2f}: {what}"
    return figure(picture, element("strong", place), severity, class_=flagged)


def _labels(found: Inspection) -> Markup:
    beyond = [] if found.labels.off_image is None else ["outside the image"]
    header = ["keypoint", "missing x", "missing y", "share missing", "", *beyond]
    rows = [
        [*cells[:4], share_bar(share), *cells[4:]]
        for share, cells in missing_by_keypoint(found.labels, found.table.schema)
    ]
    return section("Missing labels", table(header, rows, numbers=(1, 2, 3, 5)))


def _patterns(found: Inspection) -> Markup:
    counts, schema = found.labels, found.table.schema
    per_row = ", ".join(f"{rows:,} with {k}" for k, rows in enumerate(counts.per_row.tolist()) if rows)
    histogram = bars(
        counts.per_row.tolist(),
        "labelled keypoints in a row",
        "rows",
        f"Rows by number of labelled keypoints: {per_row}",
    )
    names = [element("span", name, class_="upright") for name in schema.keypoints]
    rows = [
        (f"{pattern.rows:,}", f"{pattern.rows / counts.rows:.1%}", *map(_mark, pattern.observed.sum(axis=1)))
        for pattern in counts.patterns[:_SHOWN_PATTERNS]
    ]
    more = len(counts.patterns) - _SHOWN_PATTERNS
    return section(
        "Labels per row, and missing patterns",
        histogram,
        paragraph(
            f"{counted(len(counts.patterns), 'pattern')}; the most frequent: "
            f"{describe_pattern(counts.patterns[0], schema)}."
        ),
        note("● labelled, ◐ one coordinate only, · missing"),
        element("div", table(("rows", "share", *names), rows, numbers=(0, 1)), class_="patterns"),
        note(f"{counted(more, 'rarer pattern')} not shown.") if more > 0 else None,
    )


def _mark(coordinates: int) -> Markup:
    """A sign for a keypoint of which so many coordinates are labelled."""
    sign, kind, title = (
        ("·", "lacks", "missing"), ("◐", "has", "one coordinate only"), ("●", "has", "labelled")
    )[coordinates]  # fmt: skip
    return element("span", sign, class_=kind, title=title)


def _sources(found: Inspection) -> Markup:
    if len(found.sources) < 2:
        return section("Label sources", paragraph("One: the missing patterns show no groups of rows."))
    column, unknown = found.table.sources.column, found.rows_of_unknown_source
    names, rows_of_table = found.table.schema.keypoints, found.labels.rows
    rows = [
        (source.name, f"{source.rows:,}", f"{source.rows / rows_of_table:.1%}", source.usual_keypoints(names))
        for source in found.sources
    ]
    return section(
        "Label sources",
        paragraph(
            "Groups of rows that were probably labelled by different people, identified by "
            f"{f'column {column}' if column else 'their missing patterns'}."
        ),
        table(("source", "rows", "share", "keypoints labelled in most of its rows"), rows, numbers=(1, 2)),
        paragraph(f"{counted(unknown, 'row')} of unknown source.") if unknown else None,
    )


def _examples(found: Inspection) -> Markup:
    inspected, schema = found.table, found.table.schema
    cards = []
    for row in found.examples:
        place, layers = inspected.place(row), [Points(inspected.labels[row], schema.keypoints, "label")]
        picture = face(inspected.picture(row), schema.image_size, layers, f"{place} with its labels")
        cards.append(figure(picture, place))
    chosen = "Random rows" + (", equally many from each label source." if len(found.sources) > 1 else ".")
    return section("Examples", note(chosen), element("div", *cards, class_="faces"))
