"""Which images are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.images.storage import let_go

_IMAGES_AT_ONCE = 1024


def content_ids(images: Images) -> NDArray[np.int64]:
    """(n, H, W) -> (n,): the same number for identical images, a mirrored copy counting as identical."""
    return _ids(images, lambda image: min(image.tobytes(), image[:, ::-1].tobytes()))


def exact_ids(images: Images) -> NDArray[np.int64]:
    """(n, H, W) -> (n,): the same number for identical images only."""
    return _ids(images, lambda image: image.tobytes())


def fingerprint(images: Images) -> str:
    """One text that is the same for the same images (n, H, W) in the same order."""
    return hashlib.sha256(exact_ids(images).tobytes()).hexdigest()


def _ids(images: Images, content: Callable[[NDArray[np.uint8]], bytes]) -> NDArray[np.int64]:
    ids = np.empty(len(images), np.int64)
    for begin in range(0, len(images), _IMAGES_AT_ONCE):
        block = images[begin : begin + _IMAGES_AT_ONCE]
        # 64 bits: among a million images two share a number by accident with a chance of one in 40 million.
        digests = [hashlib.blake2b(content(image), digest_size=8).digest() for image in block]
        ids[begin : begin + len(block)] = np.frombuffer(b"".join(digests), "<i8")
        let_go(images)
    return ids
