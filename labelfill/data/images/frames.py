"""What reads images that are no files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Frames(Protocol):
    """Images that are no files of their own, by the names that rows have for them."""

    def file(self, name: str) -> Path | None:
        """The file in which an image lies; None if its name is that of an image file."""

    def read(self, name: str) -> NDArray[np.uint8]:
        """(h, w) or (h, w, channels): one of them."""
