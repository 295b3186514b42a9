"""A table as it is inspected: its labels and images, and which rows belong to which label source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labelfill.arrays import Array, Images, Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.schema import KeypointSchema
from labelfill.sources.groups import SourceGroups

_FLAT = 3.0  # grey levels: an image of so small a standard deviation shows nothing
_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class InspectedTable:
    """What is inspected; px are those of the frame.

    Attributes
    ----------
    sources, source_of
        The label sources, and each row's (n,), -1 if unknown.
    frame_known
        Whether the schema's image size is that of images, not guessed from the labels.
    findings
        Sentences on what the table does not say of itself, and the dataset was read by.
    """

    dataset: Dataset
    sources: SourceGroups
    source_of: Integers
    frame_known: bool = True
    findings: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> Array:
        """(n, K, 2) px, NaN = blank."""
        return self.dataset.all_labels

    @cached_property
    def labelled(self) -> Mask:
        """(n, K): labels with both coordinates."""
        return self.dataset.table.labelled

    @property
    def schema(self) -> KeypointSchema:
        return self.dataset.schema

    @property
    def images(self) -> Images | None:
        return self.dataset.images

    @cached_property
    def grey_levels(self) -> tuple[Array, Array]:
        """Mean and standard deviation of the grey levels of each image, (n,) each."""
        assert self.images is not None
        brightness, contrast = np.empty(len(self.images)), np.empty(len(self.images))
        for rows in blocks(len(self.images)):
            pixels = self.images[rows].reshape(len(self.images[rows]), -1)
            brightness[rows] = pixels.mean(axis=1)
            contrast[rows] = pixels.std(axis=1, dtype=np.float32)
        return brightness, contrast

    @property
    def flat(self) -> Mask:
        """(n,): images without anything to see, black ones for example."""
        flat: Mask = self.grey_levels[1] < _FLAT
        return flat

    def picture(self, row: int) -> Images | None:
        """The row's image (H, W)."""
        return None if self.images is None else self.images[row]

    def place(self, row: int) -> str:
        """The row's number, and the line on which it starts in its file."""
        return f"row {row} (line {self.dataset.table.lines[row]})"


def blocks(count: int) -> Iterator[slice]:
    """Parts of so many images that are looked at together."""
    for begin in range(0, count, _IMAGES_AT_ONCE):
        yield slice(begin, min(begin + _IMAGES_AT_ONCE, count))
