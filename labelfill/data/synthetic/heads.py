"""Heads in three dimensions: who they are, how they look at the camera, where their landmarks lie.

Two frames are used here and in `drawing`, both with x to the right, y down, z towards the viewer:

* **head frame**: the origin in the middle of the skull, a face seen from the front. Its unit is one
  pixel of an image of `REFERENCE_SIDE` pixels, in which eyes are about 36 units apart.
* **image frame**: px of the drawn image, the only frame that leaves this package.

A head is an ellipsoid with a relief (nose, eye sockets, lips, chin). Every landmark lies on that surface, so
that a turned face moves its nose against its eyes as a real one does. "Left" is the person's own left, at
larger x, as in Kaggle's table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.schema import ImageSize

REFERENCE_SIDE = 96.0
"""Sides of the square image, in px, for which one unit of the head frame is one pixel."""

SIDES = (1.0, -1.0)
"""The sign of x on the left and on the right side of a head: the order of every pair of traits."""

_AIM_BELOW_CENTRE = 9.5
"""How far below the image's centre the middle of eyes and mouth is aimed at, in head units."""


def _trait(
    mean: float, spread: float, low: float = -np.inf, high: float = np.inf, side: float | None = None
) -> Any:
    """A trait, normally distributed among heads and clipped.

    With a spread between a head's sides, `side`, it has a value for each of these.
    """
    return field(metadata={"mean": mean, "spread": spread, "side": side, "low": low, "high": high})


def _share(share: float) -> Any:
    """A trait that a share of the heads has (1.0) and the others have not (0.0)."""
    return field(metadata={"share": share})


@dataclass(frozen=True)
class Heads:
    """Traits of n heads, each an array (n,) or, for a pair of sides, (n, 2); lengths in head units."""

    # pose and place in the image
    yaw: Array = _trait(0.0, 0.21, -0.55, 0.55)
    pitch: Array = _trait(0.02, 0.13, -0.32, 0.32)
    roll: Array = _trait(0.0, 0.10, -0.30, 0.30)
    size: Array = _trait(1.0, 0.06, 0.85, 1.15)
    place_x: Array = _trait(0.0, 2.0, -5.0, 5.0)
    place_y: Array = _trait(0.0, 2.0, -5.0, 5.0)
    # skull
    half_width: Array = _trait(41.0, 2.4, 36.5, 47.0)
    half_height: Array = _trait(58.0, 3.0, 51.0, 66.0)
    half_depth: Array = _trait(44.0, 2.5, 38.0, 50.0)
    # eyes
    eye_x: Array = _trait(18.2, 1.0, 15.5, 21.0)
    eye_y: Array = _trait(-2.0, 1.0, -5.0, 1.0)
    eye_half_width: Array = _trait(7.0, 0.75, 5.0, 9.0)
    eye_opening: Array = _trait(4.6, 1.3, 1.0, 8.0)
    eye_slant: Array = _trait(-0.3, 0.7, -2.2, 1.8)
    eye_socket: Array = _trait(3.0, 0.8, 1.0, 5.0)
    gaze: Array = _trait(0.0, 0.16, -0.40, 0.40)
    iris: Array = _trait(0.22, 0.10, 0.05, 0.45)
    # brows
    brow_height: Array = _trait(8.6, 1.8, 4.5, 14.0, side=0.7)
    brow_inner_x: Array = _trait(8.6, 1.5, 4.5, 13.0, side=0.5)
    brow_outer_x: Array = _trait(31.0, 1.7, 25.0, 35.0, side=0.8)
    brow_inner_drop: Array = _trait(0.0, 1.3, -3.0, 3.5, side=0.5)
    brow_outer_drop: Array = _trait(0.5, 1.5, -3.0, 4.5, side=0.6)
    brow_arch: Array = _trait(1.8, 0.8, 0.0, 4.0)
    brow_thickness: Array = _trait(3.2, 0.9, 1.4, 5.5)
    brow_tone: Array = _trait(0.42, 0.14, 0.15, 0.75)
    # nose
    nose_tip_y: Array = _trait(18.5, 2.0, 13.0, 24.0)
    nose_tip_x: Array = _trait(0.0, 0.5, -1.3, 1.3)
    nose_height: Array = _trait(10.0, 1.8, 6.0, 14.0)
    nose_under: Array = _trait(5.3, 0.9, 3.2, 8.0)
    nose_half_width: Array = _trait(6.0, 0.9, 4.0, 8.5)
    # mouth
    mouth_y: Array = _trait(37.0, 1.9, 32.0, 42.0)
    mouth_half_width: Array = _trait(14.6, 2.2, 9.0, 20.0)
    mouth_lift: Array = _trait(0.5, 1.8, -5.0, 4.0, side=0.6)
    mouth_shift: Array = _trait(0.0, 0.8, -2.0, 2.0)
    mouth_opening: Array = _trait(0.0, 4.0, 0.0, 10.0)
    upper_lip: Array = _trait(3.2, 0.9, 1.2, 6.0)
    lower_lip: Array = _trait(5.0, 1.1, 2.0, 7.5)
    lip_tone: Array = _trait(0.70, 0.10, 0.45, 0.95)
    teeth: Array = _share(0.5)
    # skin, hair and what people wear
    skin: Array = _trait(0.66, 0.15, 0.30, 0.95)
    hair: Array = _trait(0.26, 0.20, 0.04, 0.85)
    hairline: Array = _trait(-34.0, 5.0, -48.0, -19.0)
    hairline_curve: Array = _trait(0.010, 0.008, -0.006, 0.030)
    hair_width: Array = _trait(2.5, 3.5, 0.0, 11.0)
    long_hair: Array = _share(0.35)
    moustache: Array = _share(0.12)
    beard: Array = _share(0.12)
    glasses: Array = _share(0.14)
    cheek_line: Array = _trait(0.13, 0.08, 0.0, 0.35)
    # light
    light_x: Array = _trait(0.0, 0.55, -1.3, 1.3)
    light_y: Array = _trait(-0.35, 0.35, -1.1, 0.6)
    ambient: Array = _trait(0.42, 0.12, 0.15, 0.70)

    def __len__(self) -> int:
        return len(self.yaw)

    def part(self, rows: slice) -> Heads:
        """The heads of some rows."""
        return Heads(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def per_pixel(self) -> Heads:
        """In single precision, each trait (n, 1, 1) or (n, 2, 1, 1), to meet pixels (n, H, W)."""
        traits = {f.name: getattr(self, f.name) for f in fields(self)}
        return Heads(**{name: trait.astype(np.float32)[..., None, None] for name, trait in traits.items()})


def draw_heads(count: int, rng: np.random.Generator) -> Heads:
    """`count` heads with independent traits."""
    traits: dict[str, Array] = {}
    for trait in fields(Heads):
        how = trait.metadata
        if "share" in how:
            traits[trait.name] = (rng.random(count) < how["share"]).astype(float)
            continue
        value = how["mean"] + how["spread"] * rng.standard_normal(count)
        if how["side"] is not None:
            value = value[:, None] + how["side"] * rng.standard_normal((count, 2))  # (n, 2)
        traits[trait.name] = value.clip(how["low"], how["high"])
    return Heads(**traits)


def relief(heads: Heads, x: Array, y: Array) -> Array:
    """How far the surface stands out of the ellipsoid at (x, y), in head units.

    `x` and `y` are of shape (n, ...), as the traits are: the first axis runs over the heads.
    """
    mouth_y, eye_y, tip_y, under = heads.mouth_y, heads.eye_y, heads.nose_tip_y, heads.nose_under
    along = ((y - eye_y) / (tip_y - eye_y)).clip(0, 1)  # 0 at the bridge, 1 from the tip on
    below = ((y - tip_y) / under).clip(0, 1.25)
    bridge = 0.14 * ((y - eye_y + 9) / 9).clip(0, 1)  # fades towards the forehead
    profile = (bridge + 0.86 * along**1.4) * (1 - below * below * (3 - 2 * below) * 0.8).clip(0, 1)
    width = heads.nose_half_width * (0.5 + 0.5 * along)
    across = (x - heads.nose_tip_x * along) / width
    height: Array = heads.nose_height * profile * np.exp(-across * across)
    for side in SIDES:
        dx = (side * x - heads.eye_x) / 8
        dy = (y - eye_y) / 6
        height -= heads.eye_socket * np.exp(-dx * dx - dy * dy)
    dy = (y - mouth_y) / 6
    height += 2.2 * np.exp(-dy * dy - (x / 12) ** 2)
    dy = (y - mouth_y - 15) / 6
    height += 2.6 * np.exp(-dy * dy - (x / 9) ** 2)
    return height


def rotations(heads: Heads) -> Array:
    """Matrices (n, 3, 3) that turn a head frame as the camera sees it: yaw, then pitch, then roll."""
    zeros, ones = np.zeros(len(heads)), np.ones(len(heads))

    def matrix(*rows: tuple[Array, Array, Array]) -> Array:
        return np.stack([np.stack(row, -1) for row in rows], -2)  # (n, 3, 3)

    def angle(a: Array) -> tuple[Array, Array]:
        return np.cos(a), np.sin(a)

    (cy, sy), (cp, sp), (cr, sr) = angle(heads.yaw), angle(heads.pitch), angle(heads.roll)
    yaw = matrix((cy, zeros, sy), (zeros, ones, zeros), (-sy, zeros, cy))
    pitch = matrix((ones, zeros, zeros), (zeros, cp, sp), (zeros, -sp, cp))
    roll = matrix((cr, -sr, zeros), (sr, cr, zeros), (zeros, zeros, ones))
    turned: Array = roll @ pitch @ yaw
    return turned


@dataclass(frozen=True)
class Camera:
    """Where heads stand in an image: ``px = offset + scale * (turn @ head)[:2]``."""

    turn: Array  # (n, 3, 3)
    scale: Array  # (n,) px per head unit
    offset: Array  # (n, 2) px: the head frame's origin in the image

    def project(self, points: Array) -> Array:
        """Points (n, L, 3) of the head frame to px (n, L, 2)."""
        seen = np.einsum("nij,nlj->nli", self.turn[:, :2], points)
        projected: Array = self.offset[:, None] + self.scale[:, None, None] * seen
        return projected

    def part(self, rows: slice) -> Camera:
        """The cameras of some rows."""
        return Camera(self.turn[rows], self.scale[rows], self.offset[rows])


def aim(heads: Heads, image_size: ImageSize) -> Camera:
    """A camera that has each face near the image's middle, as a face detector would crop it."""
    turn = rotations(heads)
    scale = heads.size * min(image_size.height, image_size.width) / REFERENCE_SIDE
    place = np.stack([heads.place_x, heads.place_y + _AIM_BELOW_CENTRE], -1)
    middle = on_surface(heads, np.zeros(len(heads)), (heads.eye_y + heads.mouth_y) / 2)  # (n, 3)
    seen = np.einsum("nij,nj->ni", turn[:, :2], middle)
    offset = image_size.centre + (scale / heads.size)[:, None] * place - scale[:, None] * seen
    return Camera(turn, scale, offset)


def on_surface(heads: Heads, x: Array, y: Array) -> Array:
    """The points (n, 3) of the heads' surfaces that a viewer from the front sees at (x, y), each (n,)."""
    inside = 1 - (x / heads.half_width) ** 2 - (y / heads.half_height) ** 2
    z = heads.half_depth * np.sqrt(inside.clip(0)) + relief(heads, x, y)
    return np.stack([x, y, z], -1)


def lid_line(heads: Heads) -> tuple[Array, Array]:
    """How far the middles of the upper and the lower lid are from the corners' line, upwards negative."""
    return -0.62 * heads.eye_opening, 0.38 * heads.eye_opening


def landmarks(heads: Heads) -> dict[str, Array]:
    """The point (n, 3) of each of `LANDMARKS` in the head frame."""
    frontal: dict[str, tuple[Array, Array]] = {}
    upper, lower = lid_line(heads)
    eye_middle = heads.eye_y + (upper + lower) / 2
    middle = heads.mouth_shift
    for i, (name, side) in enumerate(zip(("left", "right"), SIDES, strict=True)):
        frontal[f"{name}_eye_center"] = side * heads.eye_x, eye_middle
        for where, u in (("inner", -1.0), ("outer", 1.0)):
            x = side * (heads.eye_x + u * heads.eye_half_width)
            frontal[f"{name}_eye_{where}_corner"] = x, heads.eye_y + u * heads.eye_slant
        top = heads.eye_y - heads.brow_height[:, i]
        inner = side * heads.brow_inner_x[:, i], top + heads.brow_inner_drop[:, i]
        outer = side * heads.brow_outer_x[:, i], top + heads.brow_outer_drop[:, i]
        frontal[f"{name}_eyebrow_inner_end"], frontal[f"{name}_eyebrow_outer_end"] = inner, outer
        corner_y = heads.mouth_y - heads.mouth_lift[:, i]
        frontal[f"mouth_{name}_corner"] = middle + side * heads.mouth_half_width, corner_y
        nostril = heads.nose_tip_x + side * 0.55 * heads.nose_half_width
        frontal[f"{name}_nostril"] = nostril, heads.nose_tip_y + 0.8 * heads.nose_under
        frontal[f"{name}_cheek"] = side * heads.eye_x, (heads.eye_y + heads.mouth_y) / 2
        pupil = side * heads.eye_x + heads.gaze * heads.eye_half_width
        frontal[f"{name}_pupil"] = pupil, eye_middle
    half = heads.mouth_opening / 2
    frontal["mouth_center_top_lip"] = middle, heads.mouth_y - half - heads.upper_lip
    frontal["mouth_center_bottom_lip"] = middle, heads.mouth_y + half + heads.lower_lip
    frontal["mouth_center"] = middle, heads.mouth_y
    frontal["nose_tip"] = heads.nose_tip_x, heads.nose_tip_y
    frontal["nose_base"] = heads.nose_tip_x, heads.nose_tip_y + heads.nose_under
    frontal["nose_bridge"] = 0 * middle, heads.eye_y
    frontal["chin"] = 0 * middle, 0.88 * heads.half_height
    return {name: on_surface(heads, *xy) for name, xy in frontal.items()}


KAGGLE_KEYPOINTS = (
    "left_eye_center", "right_eye_center", "left_eye_inner_corner", "left_eye_outer_corner",
    "right_eye_inner_corner", "right_eye_outer_corner", "left_eyebrow_inner_end", "left_eyebrow_outer_end",
    "right_eyebrow_inner_end", "right_eyebrow_outer_end", "nose_tip", "mouth_left_corner",
    "mouth_right_corner", "mouth_center_top_lip", "mouth_center_bottom_lip",
)  # fmt: skip
"""The keypoints of Kaggle's table, in its order of columns."""

LANDMARKS = (
    *KAGGLE_KEYPOINTS, "nose_base", "mouth_center", "nose_bridge", "chin", "left_nostril", "left_cheek",
    "left_pupil", "right_nostril", "right_cheek", "right_pupil",
)  # fmt: skip
"""Every landmark that can be drawn and labelled."""
