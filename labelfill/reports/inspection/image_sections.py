"""Sections of the inspection's page that show images: repeats, brightness and contrast, equalisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Images
from labelfill.data.images.equalization import Equalization, equalize
from labelfill.reports.faces import face
from labelfill.reports.inspection.inspection import ImageFindings, Inspection
from labelfill.reports.inspection.lookalikes import Lookalikes
from labelfill.reports.inspection.summary import plural
from labelfill.reports.pages import Markup, element, joined, paragraph, section, table
from labelfill.reports.plots import histograms
from labelfill.schema import KeypointSchema

_SHOWN_GROUPS = 12
_SHOWN_MEMBERS = 6
_SHOWN_FLAT = 12
_EQUALISED = 3
_HOW: tuple[tuple[Equalization, str], ...] = (
    ("none", "as it is"),
    ("stretch", "stretch: darkest to black, brightest to white"),
    ("histogram", "histogram: all greys equally frequent"),
    ("adaptive", "adaptive: the same within tiles"),
)


@dataclass(frozen=True)
class Shown:
    """What an inspection was made of, as the page shows it.

    Attributes
    ----------
    name
        Of the table.
    labels
        (n, K, 2) px, NaN = blank.
    lines
        (n,): on which each row starts in its file.
    images
        (n, H, W), or None.
    """

    name: str
    labels: Array
    lines: NDArray[np.int64]
    images: Images | None

    def picture(self, row: int) -> NDArray[np.uint8] | None:
        return None if self.images is None else np.asarray(self.images[row])

    def place(self, row: int) -> str:
        return f"row {row} (line {self.lines[row]})"


def repeats_section(found: ImageFindings, schema: KeypointSchema, shown: Shown) -> Markup:
    near = (
        _groups(found.near, schema, shown)
        if found.near_compared
        else [paragraph("Not looked for: the table is too large to compare every image with every other.")]
    )
    return section(
        "Images that repeat",
        element("h3", f"The same, pixel by pixel or mirrored: {plural(len(found.identical), 'group')}"),
        *_groups(found.identical, schema, shown),
        element("h3", f"Nearly the same: {plural(len(found.near), 'group')}"),
        *near,
        *_disagreement(found, schema),
    )


def _groups(groups: Sequence[Lookalikes], schema: KeypointSchema, shown: Shown) -> Iterator[Markup]:
    if not groups:
        yield paragraph("None.", class_="note")
        return
    drawn = []
    for group in groups[:_SHOWN_GROUPS]:
        members = list(zip(group.rows, group.mirrored, strict=True))[:_SHOWN_MEMBERS]
        pictures = [
            _picture(row, f"row {row}{', mirrored' if mirrored else ''}", schema, shown)
            for row, mirrored in members
        ]
        more = len(group.rows) - len(members)
        drawn.append(element("div", *pictures, f"and {more:,} more" if more else None, class_="row group"))
    yield element("div", *drawn, class_="row")
    if len(groups) > _SHOWN_GROUPS:
        yield paragraph(f"And {plural(len(groups) - _SHOWN_GROUPS, 'group')} more.", class_="note")


def _disagreement(found: ImageFindings, schema: KeypointSchema) -> Iterator[Markup]:
    known = np.flatnonzero(found.disagreement.pairs)
    if not len(known):
        return
    yield element("h3", "How far labels of the same image lie apart")
    yield paragraph(
        "Within one label source: the noise of an annotator, per coordinate, in px.",
        class_="note",
    )
    rows = [
        (schema.keypoints[k], f"{found.disagreement.pairs[k]:,}", f"{found.disagreement.rms[k]:.2f}")
        for k in known
    ]
    yield table(("keypoint", "pairs", "noise (RMS)"), rows, numbers=(1, 2))


def light_section(found: ImageFindings, schema: KeypointSchema, shown: Shown) -> Markup:
    nothing = [*found.black, *found.flat]
    plot = histograms(
        (
            (found.brightness, "brightness (mean grey level)"),
            (found.contrast, "contrast (standard deviation)"),
        ),
        "images",
        f"Histograms of brightness, from {found.brightness.min():.0f} to {found.brightness.max():.0f}, "
        f"and contrast, from {found.contrast.min():.0f} to {found.contrast.max():.0f} grey levels",
    )
    extremes: list[Markup] = []
    for extreme in found.extremes:
        pictures = [
            _picture(row, f"row {row}: {value:.0f}", schema, shown)
            for row, value in zip(extreme.rows, extreme.values, strict=True)
        ]
        extremes += [element("h3", extreme.title.capitalize()), element("div", *pictures, class_="row")]
    flat: list[Markup] = []
    if nothing:
        pictures = [_picture(row, f"row {row}", schema, shown) for row in nothing[:_SHOWN_FLAT]]
        title = f"Images that show nothing: {len(found.black):,} black, {len(found.flat):,} of another grey"
        flat = [element("h3", title), element("div", *pictures, class_="row")]
        if len(nothing) > _SHOWN_FLAT:
            flat.append(paragraph(f"And {len(nothing) - _SHOWN_FLAT:,} more.", class_="note"))
    return section("Brightness and contrast", plot, *flat, *extremes)


def _picture(row: int, caption: str, schema: KeypointSchema, shown: Shown) -> Markup:
    picture = face(shown.picture(row), schema.image_size, about=caption)
    return element("figure", picture, element("figcaption", caption))


def equalisation_section(found: Inspection, shown: Shown, images: Images) -> Markup:
    rows = _worth_equalising(found)
    before = np.stack([images[row] for row in rows])
    parts: list[Markup] = []
    changed = [equalize(before, how) for how, _ in _HOW]
    for i, row in enumerate(rows):
        pictures = [
            element(
                "figure", face(after[i], found.schema.image_size, about=what), element("figcaption", what)
            )
            for after, (_, what) in zip(changed, _HOW, strict=True)
        ]
        parts += [element("h3", shown.place(row)), element("div", *pictures, class_="row")]
    about = (
        "What equalising the contrast would do to the darkest and the flattest image, and to one in between."
    )
    return section("Equalisation, before and after", paragraph(about, class_="note"), joined(parts))


def _worth_equalising(found: Inspection) -> list[int]:
    assert found.images is not None
    ends: Iterable[int] = [extreme.rows[0] for extreme in found.images.extremes[::2] if extreme.rows]
    order = np.argsort(found.images.contrast)
    return list(dict.fromkeys([*ends, int(order[len(order) // 2])]))[:_EQUALISED]
