"""Grey pictures of heads: every pixel's ray is met with the head's surface, painted and lit there.

Vectorised over heads in small groups, in single precision. Deterministic for a given generator, whatever the
size of a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.synthetic.heads import REFERENCE_SIDE, SIDES, Camera, Heads, lid_line, relief
from labelfill.schema import ImageSize

Single = NDArray[Any]  # float32 throughout; numpy's stubs lose that at the first ufunc

_PIXELS_AT_ONCE = 600_000
"""Keeps one group's arrays within the processor's cache and a few MB."""

_SURFACE_STEPS = 5
"""Steps of the search for the point of the relief that a pixel sees; it moves by under 0.1 px after them."""


def draw(
    heads: Heads, camera: Camera, image_size: ImageSize, rng: np.random.Generator
) -> Iterator[tuple[slice, Images]]:
    """Pictures (m, H, W) of consecutive groups of heads, with the rows that each group covers."""
    step = max(1, _PIXELS_AT_ONCE // image_size.pixels)
    looks = rng.random((len(heads), 24)).astype(np.float32)
    for start in range(0, len(heads), step):
        rows = slice(start, min(start + step, len(heads)))
        canvas = _Canvas(heads.part(rows), camera.part(rows), looks[rows], image_size)
        noise = rng.standard_normal((rows.stop - rows.start, *_shape(image_size)), dtype=np.float32)
        yield rows, canvas.develop(canvas.paint(), noise)


def _shape(image_size: ImageSize) -> tuple[int, int]:
    return image_size.height, image_size.width


def _per_head(trait: NDArray[Any]) -> Single:
    """A trait (m,) as (m, 1, 1), to meet pixels (m, H, W)."""
    return trait.astype(np.float32)[:, None, None]


class _Canvas:
    """One group of heads, its pixels' places on the heads and how its pictures are taken."""

    def __init__(self, heads: Heads, camera: Camera, looks: Single, image_size: ImageSize) -> None:
        self.heads = heads.per_pixel()
        self.lids = [_per_head(lid) for lid in lid_line(heads)]
        self.under_nose = _per_head(heads.nose_tip_y + heads.nose_under) + 2
        self.camera, self.looks, self.image_size = camera, looks, image_size
        rows, columns = np.indices(_shape(image_size), dtype=np.float32)
        scale = _per_head(camera.scale)
        self.view_x: Single = (columns[None] - _per_head(camera.offset[:, 0])) / scale  # (m, H, W) head units
        self.view_y: Single = (rows[None] - _per_head(camera.offset[:, 1])) / scale
        side = np.float32(max(_shape(image_size)))
        self.image_x: Single = (columns / side - 0.5)[None]
        self.image_y: Single = (rows / side - 0.5)[None]
        self.softness = 1.2 / scale  # width of an edge in head units: about one pixel
        self._meet_surface()

    def look(self, i: int, low: float, high: float) -> Single:
        """The i-th of the pictures' random traits, spread evenly over a range; (m, 1, 1)."""
        return low + (high - low) * self.looks[:, i, None, None]

    def cover(self, distance: Single) -> Single:
        """How much of a pixel lies inside an edge at a signed distance in head units (negative inside)."""
        return (0.5 - distance / self.softness).clip(0, 1)

    def _meet_surface(self) -> None:
        """Find x, y (head frame) that each pixel sees, the surface's normals and the head's outline."""
        heads, turn = self.heads, self.camera.turn.astype(np.float32)

        def axis(i: int, j: int) -> Single:
            return turn[:, i, j, None, None]

        ray = [axis(2, j) for j in range(3)]  # the viewing direction in each head frame
        half = [heads.half_width, heads.half_height, heads.half_depth]
        square = sum((r / h) ** 2 for r, h in zip(ray, half, strict=True))
        bump: Single = np.zeros_like(self.view_x)
        for _ in range(_SURFACE_STEPS):
            seen_x, seen_y = self.view_x - axis(0, 2) * bump, self.view_y - axis(1, 2) * bump
            start = [axis(0, j) * seen_x + axis(1, j) * seen_y for j in range(3)]
            mixed = sum(r * s / h**2 for r, s, h in zip(ray, start, half, strict=True))
            outside = sum((s / h) ** 2 for s, h in zip(start, half, strict=True)) - 1
            inside = mixed**2 - square * outside
            depth = (np.sqrt(inside.clip(0)) - mixed) / square
            self.x: Single = start[0] + depth * ray[0]
            self.y: Single = start[1] + depth * ray[1]
            z = start[2] + depth * ray[2]
            bump = relief(heads, self.x, self.y)
        self.outline: Single = -inside / square * half[0] / 2  # signed distance, good near the edge
        depth = axis(2, 0) * self.x + axis(2, 1) * self.y + axis(2, 2) * (z + bump)
        step = np.float32(1) / _per_head(self.camera.scale)
        slope_y, slope_x = (g / step for g in np.gradient(depth, axis=(1, 2)))
        self.normal = -slope_x, -slope_y, 1 / np.sqrt(1 + slope_x**2 + slope_y**2)

    def paint(self) -> Single:
        """Linear light (m, H, W), about 0 to 1, of each pixel."""
        picture = self._background()
        picture = self._body(picture)
        skin = self._face()
        return _over(picture, skin * self._light(), self.cover(self.outline))

    def _light(self) -> Single:
        light_x, light_y, ambient = self.heads.light_x, self.heads.light_y, self.heads.ambient
        length = np.sqrt(1 + light_x**2 + light_y**2)
        facing = (self.normal[0] * light_x + self.normal[1] * light_y + 1) * self.normal[2] / length
        lit: Single = ambient + (1.08 - ambient) * facing.clip(0, None) + 0.10 * facing.clip(0, None) ** 12
        return lit

    def _background(self) -> Single:
        """A wall with a gradient, a few boxes, and sometimes stripes."""
        x, y = self.image_x, self.image_y
        picture = self.look(0, 0.05, 0.95) + self.look(1, -0.5, 0.5) * x + self.look(2, -0.5, 0.5) * y
        stripes = np.sin(self.look(3, 8, 45) * (x + self.look(4, -1, 1) * y))
        picture = picture + (self.look(5, -0.3, 0.25)).clip(0, None) * stripes
        for i in range(6, 15, 3):
            middle, tone = self.look(i, -0.5, 0.5), self.look(i + 2, -0.5, 0.5)
            half_width = self.look(i + 1, 0.03, 0.3)
            # A box's height in the image goes with its tone: one random trait less.
            box = (abs(x - middle) < half_width) & (abs(y - tone) < 0.3)
            picture = picture + tone * box
        wall: Single = picture.clip(0.02, 1)
        return wall

    def _body(self, picture: Single) -> Single:
        """Hair behind the head, neck, shoulders and ears."""
        heads, x, y = self.heads, self.view_x, self.view_y
        half_width, half_height = heads.half_width, heads.half_height
        volume = heads.hair_width + 9 * heads.long_hair
        wide, high = half_width + volume, half_height + 0.6 * volume
        below = (y - 4).clip(0) * (1 - heads.long_hair)  # short hair ends above the ears
        around = (np.sqrt((x / wide) ** 2 + (y / high) ** 2) - 1) * wide + below
        for side in SIDES:
            ear = _ellipse(x - side * (half_width + 0.5), y - 6, 4.2, 9.5)
            picture = _over(picture, heads.skin * 0.75, self.cover(ear))
        shoulders = 0.92 * half_height + 5 + 0.006 * x * x - y
        picture = _over(picture, self.look(16, 0.05, 0.8), self.cover(shoulders))
        neck = np.maximum(abs(x) - 0.66 * half_width, 0.4 * half_height - y)
        neck = np.maximum(neck, y - half_height - 12 + 0.25 * abs(x))
        picture = _over(picture, heads.skin * 0.55, self.cover(neck))
        return _over(picture, heads.hair * self._strands(x, y), self.cover(around))

    def _face(self) -> Single:
        """The albedo of the head's surface."""
        heads, x, y = self.heads, self.x, self.y
        albedo = heads.skin * (1 + 0.04 * np.sin(0.35 * x + self.look(17, 0, 6)) * np.sin(0.3 * y))
        albedo = self._stubble(albedo)
        albedo = self._nose(albedo)
        albedo = self._mouth(albedo)
        for i, side in enumerate(SIDES):
            albedo = self._eye(albedo, side)
            albedo = self._brow(albedo, side, i)
            albedo = self._spectacles(albedo, side)
        line = heads.hairline + heads.hairline_curve * x * x
        wave = self.look(18, 0.0, 6.0)
        line = line + 0.9 * np.sin(0.53 * x + wave) + 0.7 * np.sin(0.21 * x + 2 * wave) - y
        temple = (0.90 + 0.1 * self.looks[:, 19, None, None]) * heads.half_width - abs(x)
        line = np.minimum(-line, np.maximum(temple, y - 2))
        return _over(albedo, heads.hair * self._strands(x, y), self.cover(line / 1.5))

    def _strands(self, x: Single, y: Single) -> Single:
        """Hair's unevenness, as a factor on its tone."""
        phase, pitch = self.look(15, 0, 6), self.look(19, 0.6, 1.3)
        bent = x + 2 * np.sin(0.07 * y + phase)
        locks = np.sin(pitch * bent + phase) + np.sin(0.43 * bent + 0.11 * y + 2 * phase)
        strands: Single = 1 + 0.10 * locks
        return strands

    def _stubble(self, albedo: Single) -> Single:
        heads, x, y = self.heads, self.x, self.y
        mouth = heads.mouth_y
        lip = np.maximum(abs(x) - 0.9 * heads.mouth_half_width, abs(y - (self.under_nose + mouth) / 2) - 3)
        jaw = mouth + 9 - 0.012 * x * x - y
        tone = np.minimum(heads.hair + 0.05, 0.8 * heads.skin)
        albedo = _over(albedo, tone, self.cover(lip / 2) * heads.moustache * 0.8)
        return _over(albedo, tone, self.cover(jaw / 2) * heads.beard * 0.7)

    def _nose(self, albedo: Single) -> Single:
        heads, x, y = self.heads, self.x, self.y
        tip_x, tip_y = heads.nose_tip_x, heads.nose_tip_y
        width, under = heads.nose_half_width, heads.nose_under
        nose_x = x - tip_x
        shade = _ellipse(nose_x, y - tip_y - under, 1.05 * width, 1.5)
        albedo = albedo * (1 - 0.28 * self.cover(shade / 1.5))
        for side in SIDES:
            hole = _ellipse(side * nose_x - 0.55 * width, y - tip_y - 0.8 * under, 0.27 * width, 1.25)
            albedo = albedo * (1 - 0.65 * self.cover(hole / 1.3))
            wing = abs(np.hypot(side * nose_x - 0.7 * width, y - tip_y - 0.4 * under) - 0.42 * width) - 0.3
            outer = (side * nose_x - 0.85 * width).clip(0, 1)
            albedo = albedo * (1 - 0.30 * outer * self.cover(wing / 1.5))
            along = ((y - tip_y) / (heads.mouth_y - tip_y)).clip(0, 1.1)
            crease = width + 1.5 + along * (heads.mouth_half_width - width + 1)
            near = 1 - (abs(side * nose_x - crease) / 1.6).clip(0, 1)
            albedo = albedo * (1 - heads.cheek_line * near * (along > 0) * (along < 1.1))
        gloss = np.exp(-((nose_x / 2.2) ** 2) - ((y - tip_y) / 2.4) ** 2)
        return albedo * (1 + 0.22 * gloss)

    def _mouth(self, albedo: Single) -> Single:
        heads, y = self.heads, self.y
        half_width = heads.mouth_half_width
        u = (self.x - heads.mouth_shift) / half_width  # -1 and 1 at the corners
        lift = np.where(u > 0, heads.mouth_lift[:, 0], heads.mouth_lift[:, 1])
        v = y - heads.mouth_y + lift * u * u
        arc = (1 - u * u).clip(0)
        end = (abs(u) - 1) * half_width
        half = heads.mouth_opening / 2 * arc
        peaks = 0.8 * arc * (1 - np.exp(-((u / 0.16) ** 2)))  # none in the middle, where the label stands
        top = half + heads.upper_lip * arc**0.8 + peaks
        bottom = half + heads.lower_lip * np.sqrt(arc)
        lip = heads.lip_tone * heads.skin
        albedo = _over(albedo, lip * 0.92, self.cover(np.maximum(np.maximum(-v - top, v), end)))
        albedo = _over(albedo, lip * 1.08, self.cover(np.maximum(np.maximum(v - bottom, -v), end)))
        line = np.maximum(abs(v) - half - 0.55 * arc**0.5, end)
        albedo = _over(albedo, np.float32(0.10), self.cover(line))
        teeth = np.maximum(np.maximum(abs(v + 0.35 * half) - 0.55 * half, end + 2), 0.7 - half)
        return _over(albedo, np.float32(0.85), self.cover(teeth) * heads.teeth)

    def _eye(self, albedo: Single, side: float) -> Single:
        heads = self.heads
        half_width = heads.eye_half_width
        u = (side * self.x - heads.eye_x) / half_width  # -1 inner, 1 outer corner
        v = self.y - heads.eye_y - heads.eye_slant * u
        arc = (1 - u * u).clip(0)
        upper, lower = self.lids
        end = (abs(u) - 1) * half_width
        inside = np.maximum(np.maximum(upper * arc - v, v - lower * arc), end)
        shadow = _ellipse(u * half_width, v + 2.2, 1.25 * half_width, 4.0)
        albedo = albedo * (1 - 0.20 * self.cover(shadow / 4))
        open_eye = self.cover(inside)
        albedo = _over(albedo, np.float32(0.80), open_eye)
        gaze = u * half_width - side * heads.gaze * half_width
        middle = v - (upper + lower) / 2
        reach = np.hypot(gaze, middle)
        albedo = _over(albedo, heads.iris, open_eye * self.cover(reach - 3.1))
        albedo = _over(albedo, np.float32(0.03), open_eye * self.cover(reach - 1.4))
        shine = np.hypot(gaze - 1, middle + 1) - 0.6
        albedo = _over(albedo, np.float32(1.0), open_eye * self.cover(shine))
        lash = np.maximum(abs(v - upper * arc) - 0.55, end)
        albedo = _over(albedo, np.float32(0.12), 0.85 * self.cover(lash))
        rim = np.maximum(abs(v - lower * arc) - 0.25, end)
        albedo = _over(albedo, np.float32(0.25), 0.5 * self.cover(rim))
        fold = np.maximum(abs(v - upper * arc + 2.2) - 0.25, end)
        return albedo * (1 - 0.25 * self.cover(fold))

    def _brow(self, albedo: Single, side: float, i: int) -> Single:
        heads = self.heads
        inner, outer = heads.brow_inner_x[:, i], heads.brow_outer_x[:, i]
        along = (side * self.x - inner) / (outer - inner)
        within = along.clip(0, 1)
        inner_drop, outer_drop = heads.brow_inner_drop[:, i], heads.brow_outer_drop[:, i]
        line = heads.eye_y - heads.brow_height[:, i] + inner_drop
        line = line + (outer_drop - inner_drop) * within
        line = line - 4 * heads.brow_arch * within * (1 - within)
        half = heads.brow_thickness / 2 * (1 - 0.6 * within**2)
        past = np.maximum(-along, along - 1) * (outer - inner)
        tone = np.minimum(heads.brow_tone, 1.1 * heads.hair + 0.12)
        tone = tone * heads.skin
        hair = 1 + 0.2 * np.sin(1.9 * self.x * side + 0.8 * self.y)
        return _over(albedo, tone * hair, 0.92 * self.cover(np.maximum(abs(self.y - line) - half, past)))

    def _spectacles(self, albedo: Single, side: float) -> Single:
        heads = self.heads
        dx, dy = side * self.x - heads.eye_x, self.y - heads.eye_y - 1.5
        shape = (abs(dx) / self.look(20, 11, 14)) ** 3 + (abs(dy) / self.look(21, 8, 11)) ** 3
        rim = abs(np.cbrt(shape) - 1) * 10 - self.look(22, 0.4, 0.9)
        bridge = np.maximum(abs(dy + 2) - 0.6, side * self.x - heads.eye_x + 11)
        frame = self.cover(np.minimum(rim, bridge)) * (side * self.x > 0)
        return _over(albedo, self.look(23, 0.03, 0.5), frame * heads.glasses * 0.9)

    def develop(self, light: Single, noise: Single) -> Images:
        """A camera's blur, contrast, noise and 8 bits."""
        from scipy.ndimage import gaussian_filter

        m = len(light)
        wide = min(_shape(self.image_size)) / REFERENCE_SIDE
        soft = gaussian_filter(light, (0, wide, wide), truncate=2.5)
        light = light + self.look(3, 0.0, 1.0) * (soft - light)
        grain = noise + 0.6 * gaussian_filter(noise, (0, 0.7, 0.7), truncate=2.5)
        spread = light.reshape(m, -1).std(1)[:, None, None] + 0.05
        middle = light.reshape(m, -1).mean(1)[:, None, None]
        contrast = self.look(4, 28, 62) / spread
        grey = self.look(5, 85, 155) + contrast * (light - middle)
        grey = grey + (1.0 + 5.5 * self.look(7, 0.0, 1.0) ** 3) * grain
        developed: Images = np.rint(grey).clip(0, 255).astype(np.uint8)
        return developed


def _over(below: Single, colour: Single | np.float32, cover: Single) -> Single:
    """A layer of some colour over what is there, where it covers it."""
    return below + cover * (colour - below)


def _ellipse(dx: Single, dy: Single, half_width: Any, half_height: Any) -> Single:
    """Signed distance from an ellipse's edge, good near the edge."""
    distance: Single = (np.hypot(dx / half_width, dy / half_height) - 1) * half_height
    return distance
