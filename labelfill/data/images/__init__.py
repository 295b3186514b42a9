"""A table's images: (n, H, W) uint8 grey, from text or files, and what is asked of them."""

from __future__ import annotations

from labelfill.arrays import Images
from labelfill.data.images.equalization import Equalization, equalize
from labelfill.data.images.files import (
    MAX_IMAGE_PIXELS,
    ImageFiles,
    SizesDifferError,
    image_file,
    load_image_files,
)
from labelfill.data.images.identity import content_ids, exact_ids, fingerprint
from labelfill.data.images.pixel_text import PixelText, likely_sizes
from labelfill.data.images.placing import load_placed, placed, sampling
from labelfill.data.images.storage import FileStore, ImageStore, MemoryStore, let_go

__all__ = [
    "MAX_IMAGE_PIXELS",
    "Equalization",
    "FileStore",
    "ImageFiles",
    "ImageStore",
    "Images",
    "MemoryStore",
    "PixelText",
    "SizesDifferError",
    "content_ids",
    "equalize",
    "exact_ids",
    "fingerprint",
    "image_file",
    "let_go",
    "likely_sizes",
    "load_image_files",
    "load_placed",
    "placed",
    "sampling",
]
