"""What a file's values mean where the file does not say it: stated by a person, and kept with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from labelfill.runs.records import record_of
from labelfill.settings import Coordinates, TableSettings


@dataclass(frozen=True)
class ReadingOptions:
    """How the values of a file and of its images are understood.

    Attributes
    ----------
    missing_values
        Numbers that, in both coordinates of a point, stand for "not labelled".
    min_likelihood
        The least likelihood at which a point counts as labelled; None: whatever it is.
    coordinates
        Their unit: ``px``; ``share``, 0 to 1 of the image's width and height; ``centred``, -1 to 1 of them.
    image_column
        The column of image files or grey values, if it has another name than usual.
    exif_turn
        Whether image files are turned as their EXIF orientation says.
    bits
        Of the images that state 16: how many of them are used, so that ``2 ** bits - 1`` is white. None: to
        be found from the images, or there are no such images.
    """

    missing_values: tuple[float, ...] = ()
    min_likelihood: float | None = None
    coordinates: Coordinates = "px"
    image_column: str | None = None
    exif_turn: bool = True
    bits: int | None = None

    @classmethod
    def of(cls, table: TableSettings) -> ReadingOptions:
        return cls(
            table.missing_value, table.min_likelihood, table.coordinates, table.image_column,
            not table.no_exif_turn,
        )  # fmt: skip

    @classmethod
    def kept(cls, unusual: Mapping[str, Any]) -> ReadingOptions:
        """Those that a run keeps as unusual, the usual ones elsewhere."""
        return record_of(cls, unusual)

    @property
    def unusual(self) -> dict[str, Any]:
        """By name, those that differ from the usual ones."""
        usual = asdict(USUAL)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    def stated_over(self, others: ReadingOptions) -> ReadingOptions:
        """These where they are unusual, the others elsewhere."""
        return replace(others, **self.unusual)


USUAL = ReadingOptions()
"""Nothing is unusual: labels are in px, and every number is one."""
