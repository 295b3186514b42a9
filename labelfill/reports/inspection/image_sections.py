"""Sections of the inspection's page that show images: repeats, brightness and contrast, equalisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from labelfill.data.images.equalization import Equalization, equalize
from labelfill.errors import counted
from labelfill.reports.faces import face
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.inspection import ImageFindings
from labelfill.reports.inspection.lookalikes import Disagreement, Group
from labelfill.reports.pages import (
    Markup,
    and_more,
    element,
    figure,
    joined,
    note,
    paragraph,
    section,
    table,
)
from labelfill.reports.plots import histograms
from labelfill.schema import KeypointSchema

_SHOWN_GROUPS = 12
_SHOWN_MEMBERS = 6
_SHOWN_FLAT = 12
_EQUALISED = 3
_HOW: tuple[tuple[Equalization, str], ...] = (
    ("none", "unchanged"),
    ("stretch", "stretch: darkest to black, brightest to white"),
    ("histogram", "histogram: all grey levels equally frequent"),
    ("adaptive", "adaptive: the same within tiles"),
)


def repeats_section(found: ImageFindings, inspected: InspectedTable) -> Markup:
    """Groups of rows with the same image, or nearly the same, and how far their labels lie apart."""
    unseen = "Not searched: the table is too large to compare all pairs of images."
    near = [paragraph(unseen)] if found.near is None else _groups(found.near, inspected)
    return section(
        "Duplicate images",
        element("h3", f"Identical or mirrored: {counted(len(found.identical), 'group')}"),
        *_groups(found.identical, inspected),
        element("h3", f"Nearly identical: {counted(len(found.near or ()), 'group')}"),
        *near,
        *_disagreement(found.disagreement, inspected.schema),
    )


def _groups(groups: Sequence[Group], inspected: InspectedTable) -> Iterator[Markup | None]:
    if not groups:
        yield note("None.")
        return
    drawn = []
    for group in groups[:_SHOWN_GROUPS]:
        captions = {
            member.row: f"row {member.row}{', mirrored' if member.mirrored else ''}" for member in group
        }
        more = len(group) - _SHOWN_MEMBERS
        pictures = _pictures([*captions.items()][:_SHOWN_MEMBERS], inspected)
        drawn.append(
            element("div", *pictures, f"and {more:,} more" if more > 0 else None, class_="row group")
        )
    yield element("div", *drawn, class_="row")
    yield and_more(len(groups) - _SHOWN_GROUPS, "group")


def _disagreement(found: Disagreement, schema: KeypointSchema) -> Iterator[Markup]:
    known = np.flatnonzero(found.pairs)
    if not len(known):
        return
    yield element("h3", "Differences between labels of the same image")
    yield note("Within one label source: annotator noise per coordinate, in px.")
    rows = [(schema.keypoints[k], f"{found.pairs[k]:,}", f"{found.rms[k]:.2f}") for k in known]
    yield table(("keypoint", "pairs", "noise (RMS)"), rows, numbers=(1, 2))


def light_section(found: ImageFindings, inspected: InspectedTable) -> Markup:
    """Brightness and contrast of all images, those that show nothing, and the extremes."""
    brightness, contrast = inspected.grey_levels
    plot = histograms(
        ((brightness, "brightness (mean grey level)"), (contrast, "contrast (standard deviation)")),
        "images",
        f"Histograms of brightness, from {brightness.min():.0f} to {brightness.max():.0f}, "
        f"and contrast, from {contrast.min():.0f} to {contrast.max():.0f} grey levels",
    )
    parts: list[Markup] = []
    nothing = [(row, f"row {row}") for row in (*found.black, *found.flat)]
    if nothing:
        title = f"Empty images: {len(found.black):,} black, {len(found.flat):,} of another uniform grey"
        parts += [element("h3", title), _row_of(nothing[:_SHOWN_FLAT], inspected)]
        if len(nothing) > _SHOWN_FLAT:
            parts.append(note(f"{len(nothing) - _SHOWN_FLAT:,} not shown."))
    for title, rows in found.extremes.items():
        captions = [(row, f"row {row}: {value:.0f}") for row, value in rows]
        parts += [element("h3", title.capitalize()), _row_of(captions, inspected)]
    return section("Brightness and contrast", plot, *parts)


def _row_of(captions: Iterable[tuple[int, str]], inspected: InspectedTable) -> Markup:
    return element("div", *_pictures(captions, inspected), class_="row")


def _pictures(captions: Iterable[tuple[int, str]], inspected: InspectedTable) -> Iterator[Markup]:
    """The images of rows with their captions."""
    for row, caption in captions:
        yield figure(face(inspected.picture(row), inspected.schema.image_size, about=caption), caption)


def equalisation_section(found: ImageFindings, inspected: InspectedTable) -> Markup:
    """What equalising does to the darkest and the flattest image, and to one in between."""
    assert inspected.images is not None
    rows = _worth_equalising(found, inspected)
    before = np.stack([inspected.images[row] for row in rows])
    changed = [(equalize(before, how), what) for how, what in _HOW]
    parts: list[Markup] = []
    for i, row in enumerate(rows):
        pictures = [
            figure(face(after[i], inspected.schema.image_size, about=what), what) for after, what in changed
        ]
        parts += [element("h3", inspected.place(row)), element("div", *pictures, class_="row")]
    about = "What contrast equalisation would do to the darkest image, the flattest one, and one in between."
    return section("Contrast equalisation, before and after", note(about), joined(parts))


def _worth_equalising(found: ImageFindings, inspected: InspectedTable) -> list[int]:
    ends = [rows[0][0] for rows in [*found.extremes.values()][::2] if rows]
    order = np.argsort(inspected.grey_levels[1])
    return list(dict.fromkeys([*ends, int(order[len(order) // 2])]))[:_EQUALISED]
