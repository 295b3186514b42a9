"""Pictures with points drawn on them, as SVG that holds its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.reports.pages import Markup, element
from labelfill.schema import ImageSize

Marker = Literal["label", "doubtful", "suggested", "filled", "found"]
Box = tuple[int, int, int, int]

# Okabe & Ito, bright enough for grey pictures; each marker has a shape of its own and a dark outline.
COLOURS: dict[Marker, str] = {
    "label": "#56b4e9",
    "doubtful": "#ff8c42",
    "suggested": "#f0e442",
    "filled": "#ffb000",
    "found": "#f0e442",
}
# Sizes, and corners in these sizes; the corners of the cross are the ends of its two strokes.
_SHAPES: dict[Marker, tuple[float, tuple[tuple[float, float], ...]]] = {
    "doubtful": (1.25, ((-1, -1), (1, 1), (-1, 1), (1, -1))),
    "suggested": (1.25, ((-1, 0), (0, -1), (1, 0), (0, 1))),
    "filled": (1.15, ((0, -1), (1, 0), (0, 1), (-1, 0))),
    "found": (1.3, ((0, -1), (1, 0.8), (-1, 0.8))),
}
_OUTLINE = "#000000"
_LARGEST_SIDE = 192  # px: pictures are shrunk to this, so that pages stay small
_MARKER = 0.021  # radius of a marker, in image sides
_CLOSE_UP = 1.7  # how much larger it is in a part of an image, which is shown smaller


@dataclass(frozen=True)
class Points:
    """Points to draw: places (K, 2) in px, NaN for those there are not; `radius` (K,) px draws circles."""

    xy: Array
    names: Sequence[str]
    marker: Marker
    radius: Array | None = None


def face(
    image: NDArray[np.uint8] | None,
    size: ImageSize,
    layers: Sequence[Points] = (),
    about: str = "",
    *,
    box: Box | None = None,
) -> Markup:
    """A picture (H, W), or a grey plate where there is none, with points; their names appear on pointing.

    Parameters
    ----------
    box
        Left, top, width and height in px of the part to show, within the image.
    """
    left, top, width, height = box or (0, 0, size.width, size.height)
    at: dict[str, str | float] = {"x": left, "y": top, "width": width, "height": height}
    if image is None:
        picture = element("rect", style="fill: var(--plate)", **at)
    else:
        part = image[top : top + height, left : left + width]
        picture = element("image", href=data_uri(part), preserveAspectRatio="none", **at)
    unit = _MARKER * max(width, height) * (1.0 if box is None else _CLOSE_UP)
    circles, marks = [], []
    for layer in layers:
        for k, ((x, y), name) in enumerate(zip(layer.xy.tolist(), layer.names, strict=True)):
            if x == x and y == y:  # a pixel's centre lies half a pixel inside
                marks.append(_mark(x + 0.5, y + 0.5, unit, layer.marker, name))
                if layer.radius is not None:
                    circles += _circle(x + 0.5, y + 0.5, float(layer.radius[k]), unit, layer.marker)
    view = f"{left} {top} {width} {height}"
    return element("svg", picture, *circles, *marks, viewBox=view, role="img", aria_label=about)


def box_around(centre: Array, side: float, size: ImageSize) -> Box:
    """A square of about so many px around a point (2,), moved onto the image and no larger than it."""
    width, height = (max(1, min(round(side), whole)) for whole in (size.width, size.height))
    corner = np.rint(centre + 0.5 - np.array([width, height]) / 2)
    left, top = np.clip(corner, 0, [size.width - width, size.height - height]).astype(int).tolist()
    return left, top, width, height


def key(markers: Sequence[tuple[Marker, str]]) -> Markup:
    """What the markers mean."""
    items = []
    for marker, meaning in markers:
        plate = element("rect", width=10, height=10, style="fill: var(--plate)")
        drawn = element("svg", plate, _mark(5, 5, 2.4, marker), viewBox="0 0 10 10", aria_hidden="true")
        items.append(element("li", drawn, meaning))
    return element("ul", *items, class_="key")


def data_uri(image: NDArray[np.uint8], largest_side: int = _LARGEST_SIDE) -> str:
    """A grey picture (H, W) as PNG text, shrunk to a longest side in px if it is larger."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((largest_side, largest_side))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _mark(x: float, y: float, unit: float, marker: Marker, name: str = "") -> Markup:
    title = element("title", name) if name else None
    inside = {"fill": COLOURS[marker], "stroke": _OUTLINE, "stroke_width": f"{0.3 * unit:.3g}"}
    if marker == "label":
        return element("circle", title, cx=f"{x:.2f}", cy=f"{y:.2f}", r=f"{0.8 * unit:.3g}", **inside)
    size, corners = _SHAPES[marker]
    reach = size * unit
    points = [f"{x + dx * reach:.2f} {y + dy * reach:.2f}" for dx, dy in corners]
    if marker in ("filled", "found"):
        return element("path", title, d=f"M{'L'.join(points)}Z", **inside)
    cross = "M{}L{}M{}L{}".format(*points)
    d = cross if marker == "doubtful" else f"M{'L'.join(points)}Z"
    strokes = ((_OUTLINE, f"{1.1 * unit:.3g}"), (COLOURS[marker], f"{0.45 * unit:.3g}"))
    lines = [element("path", d=d, fill="none", stroke=ink, stroke_width=width) for ink, width in strokes]
    return element("g", title, *lines)


def _circle(x: float, y: float, radius: float, unit: float, marker: Marker) -> list[Markup]:
    if radius != radius:
        return []
    strokes = ((_OUTLINE, 0.42, "0.5"), (COLOURS[marker], 0.2, "0.95"))
    return [
        element(
            "circle", cx=f"{x:.2f}", cy=f"{y:.2f}", r=f"{radius:.2f}", fill="none", stroke=ink,
            stroke_width=f"{width * unit:.3g}", stroke_opacity=opacity,
        )
        for ink, width, opacity in strokes
    ]  # fmt: skip
