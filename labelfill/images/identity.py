"""Which images are the same."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from labelfill.images.storage import Images


def content_ids(images: Images) -> NDArray[np.int64]:
    """(n, H, W) -> (n,): the same number for identical images, a mirrored copy counting as identical."""
    return np.array([_digest(min(image.tobytes(), image[:, ::-1].tobytes())) for image in images], np.int64)


def exact_ids(images: Images) -> NDArray[np.int64]:
    """(n, H, W) -> (n,): the same number for identical images only."""
    return np.array([_digest(image.tobytes()) for image in images], np.int64)


def fingerprint(images: Images) -> str:
    """One text that is the same for the same images (n, H, W) in the same order."""
    return hashlib.sha256(exact_ids(images).tobytes()).hexdigest()


def _digest(pixels: bytes) -> int:
    # 64 bits: among a million images the chance that two share a number by accident is one in 40 million.
    return int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "little", signed=True)
