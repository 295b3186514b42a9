"""How far the pictures say that labels lie off: linear regression from what is seen around each label.

For every keypoint one ridge regression learns, from labels moved at random, how far a point was moved
from what the image shows around it (the first step of supervised descent: Xiong & De la Torre 2013,
CVPR). A second one is also told how far the label lies from where the row's other keypoints expect
it. Applied to the labels as they are, both answer how far these lie off. Rows are judged by
regressions that did not see them. Only numpy: no network is trained, and it takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Floats, Images, Integers
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize

FEWEST_LABELS = 30
"""A keypoint with fewer labels is not judged by what the images show."""

_FOLDS = 3
_JITTERS = 4
_JITTER = 0.07  # standard deviation of the moves learnt from, in extents of the shape
_SIDE = 7  # samples per side of what is seen
_STEP = 0.06  # between samples, in extents of the shape
_STEP_PIXELS = 2.0  # images are shrunk until that many of their pixels lie between samples
_RIDGE = 0.5
_LEAST_CONTRAST = 8.0  # grey levels: what is flatter counts as flat, not as faint structure
_PLANES = 5  # brightness, and the four directions in which it rises
_PIXELS_AT_ONCE = 2_000_000
_TRAINING_LABELS = 4000  # per keypoint: more make no better regression of so few weights


@dataclass(frozen=True)
class Displacements:
    """How far labels seem to lie off, px (n, K, 2); NaN where a label is missing or not judged.

    Attributes
    ----------
    by_image
        By the image alone.
    by_both
        By the image and by where the row's other keypoints expect the label.
    """

    by_image: Array
    by_both: Array


class AppearanceModel:
    """Regressions of all keypoints, fitted in folds to the labels of a table.

    Parameters
    ----------
    images
        (n, H, W); rows that are to be left out (flat images) have no labels.
    labels
        (n, K, 2) px, NaN where missing.
    residuals
        (n, K, 2) px: label minus where the row's other keypoints expect it.
    extent
        Of the shape, px.
    """

    def __init__(
        self,
        images: Images,
        labels: Array,
        residuals: Array,
        extent: float,
        seed: int = 0,
        *,
        show_progress: bool = False,
    ) -> None:
        self._images, self._extent, self._show = images, extent, show_progress
        step = _STEP * extent
        self._shrink = max(1, round(step / _STEP_PIXELS))
        along = (np.arange(_SIDE) - _SIDE // 2) * step
        self._grid = np.stack(np.meshgrid(along, along), -1).reshape(-1, 2)
        rng = np.random.default_rng([seed, 0xA99E])
        self._fold = rng.permutation(len(labels)) % _FOLDS
        self._weights = self._fit(labels, residuals, rng)

    def displacements(self, points: Array, residuals: Array, rows: Integers | None = None) -> Displacements:
        """Judge points (m, K, 2) px with these residuals, in the images of these rows (m,) or of all."""
        rows = np.arange(len(self._images)) if rows is None else rows
        by_image, by_both = np.full(points.shape, np.nan), np.full(points.shape, np.nan)
        for block, planes in self._blocks(rows, "judging labels"):
            folds = self._fold[rows[block]]
            for k, weights in self._weights.items():
                known = np.isfinite(points[block, k]).all(axis=1)
                at = block[known]
                seen = self._design(planes, np.flatnonzero(known), points[at, k], residuals[at, k])
                answers = np.einsum("nd,ndc->nc", seen, weights[folds[known]])
                by_image[at, k], by_both[at, k] = answers[:, :2], answers[:, 2:]
        return Displacements(by_image, by_both)

    def _fit(self, labels: Array, residuals: Array, rng: np.random.Generator) -> dict[int, Array]:
        """For each keypoint (folds, features, 4): weights for x, y by the image, x, y by both."""
        known = np.all(np.isfinite(labels), axis=2)
        keypoints = np.flatnonzero(known.sum(axis=0) >= FEWEST_LABELS)
        used = known & (rng.random(known.shape) * known.sum(axis=0) < _TRAINING_LABELS)
        features = self._grid.shape[0] * _PLANES + 3
        squares = np.zeros((len(keypoints), _FOLDS, features, features))
        products = np.zeros((len(keypoints), _FOLDS, features, 2))
        for block, planes in self._blocks(np.arange(len(labels)), "learning what labels look like"):
            for i, k in enumerate(keypoints):
                for fold in range(_FOLDS):
                    at = np.flatnonzero(used[block, k] & (self._fold[block] == fold))
                    for _ in range(_JITTERS if len(at) else 0):
                        moved = rng.normal(size=(len(at), 2)) * (_JITTER * self._extent)
                        rows = block[at]
                        seen = self._design(planes, at, labels[rows, k] + moved, residuals[rows, k] + moved)
                        squares[i, fold] += seen.T @ seen
                        products[i, fold] += seen.T @ moved.astype(np.float32)
        return {int(k): _solve_folds(squares[i], products[i]) for i, k in enumerate(keypoints)}

    def _blocks(self, rows: Integers, doing: str) -> Iterator[tuple[Integers, Floats]]:
        """Positions in `rows`, and the planes (b, h, w, 5) of their images."""
        count = max(1, _PIXELS_AT_ONCE // max(1, self._images[0].size))
        with bar(total=len(rows), desc=doing, unit="row", show=self._show) as progress:
            for begin in range(0, len(rows), count):
                block = np.arange(begin, min(begin + count, len(rows)))
                yield block, self._planes(self._images[rows[block]])
                progress.update(len(block))

    def _planes(self, images: Images) -> Floats:
        from scipy import ndimage

        height, width = images.shape[1:]
        small = area_means(images, ImageSize(-(-height // self._shrink), -(-width // self._shrink)))
        step = _STEP * self._extent / self._shrink
        blurred = ndimage.gaussian_filter(small, (0.0, step / 2, step / 2), mode="nearest")
        planes = np.zeros((*blurred.shape, _PLANES), np.float32)
        planes[..., 0] = blurred
        for axis, at in ((2, 1), (1, 3)):
            rise = np.zeros_like(blurred)
            inside, after, before = ([slice(None)] * 3 for _ in range(3))
            inside[axis], after[axis], before[axis] = slice(1, -1), slice(2, None), slice(None, -2)
            rise[*inside] = (blurred[*after] - blurred[*before]) / 2
            np.maximum(rise, 0, out=planes[..., at])
            np.maximum(-rise, 0, out=planes[..., at + 1])
        return planes

    def _design(self, planes: Floats, images: Integers, points: Array, residuals: Array) -> Floats:
        """What is seen around points (m, 2) px of these images, then the residual and 1: (m, features)."""
        height, width = planes.shape[1:3]
        at = (points[:, None] + self._grid + 0.5) / self._shrink - 0.5  # (m, G, 2) in shrunk pixels
        x = np.clip(np.rint(at[..., 0]), 0, width - 1).astype(np.intp)
        y = np.clip(np.rint(at[..., 1]), 0, height - 1).astype(np.intp)
        seen = planes[images[:, None], y, x]  # (m, G, 5)
        contrast = seen[..., 0].std(axis=1) + _LEAST_CONTRAST
        seen[..., 0] -= seen[..., 0].mean(axis=1, keepdims=True)
        seen /= contrast[:, None, None]
        columns = [seen.reshape(len(seen), len(self._grid) * _PLANES), residuals, np.ones((len(seen), 1))]
        return np.concatenate(columns, axis=1, dtype=np.float32, casting="same_kind")


def area_means(images: Images, size: ImageSize) -> Floats:
    """(n, H, W) -> (n, h, w): mean grey values of nearly equal rectangles; never more than the pixels."""
    height, width = images.shape[1:]
    tops = np.linspace(0, height, min(size.height, height) + 1).astype(int)
    lefts = np.linspace(0, width, min(size.width, width) + 1).astype(int)
    rows = np.add.reduceat(images, tops[:-1], axis=1, dtype=np.float32)
    sums = np.add.reduceat(rows, lefts[:-1], axis=2)
    means: Floats = (sums / np.outer(np.diff(tops), np.diff(lefts))).astype(np.float32)
    return means


def _solve_folds(squares: Array, products: Array) -> Array:
    """Ridge regressions for each fold from the other folds' sums."""
    features = squares.shape[1]
    without_residual = np.r_[0 : features - 3, features - 1]
    weights = np.zeros((_FOLDS, features, 4))
    for fold in range(_FOLDS):
        square = squares.sum(axis=0) - squares[fold]
        product = products.sum(axis=0) - products[fold]
        count = max(square[-1, -1], 1.0)
        variance = np.diag(square) / count - (square[-1] / count) ** 2
        # What is seen is penalised in its own unit; residual and constant are not.
        penalty = _RIDGE * count * np.maximum(variance, 1e-6)
        penalty[-3:] = 1e-6 * count
        system = square + np.diag(penalty)
        weights[fold, :, 2:] = np.linalg.solve(system, product)
        small = np.ix_(without_residual, without_residual)
        weights[fold, without_residual, :2] = np.linalg.solve(system[small], product[without_residual])
    return weights
