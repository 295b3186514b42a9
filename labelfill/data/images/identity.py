"""Which images are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images, Integers, Mask
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


def rows_to_copy_from(
    ids: Integers, wanted: Mask, labelled: Mask, side: Integers
) -> Iterator[tuple[int, int, Integers]]:
    """Row, keypoint, and the rows with an identical image that label it, where there are any.

    Parameters
    ----------
    ids
        (n,): as `exact_ids` gives them.
    wanted, labelled
        (n, K): points to find such rows for, and points that may be copied.
    side
        (n, K): points are copied between rows that have the same number there.
    """
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    by_image = np.split(np.argsort(which.reshape(-1), kind="stable"), np.cumsum(counts)[:-1])
    for rows in (rows for rows in by_image if len(rows) > 1):
        for number, k in np.argwhere(wanted[rows]).tolist():
            row = int(rows[number])
            same = rows[labelled[rows, k] & (side[rows, k] == side[row, k])]
            if len(same):
                yield row, k, same


def _ids(images: Images, content: Callable[[NDArray[np.uint8]], bytes]) -> NDArray[np.int64]:
    ids = np.empty(len(images), np.int64)
    for begin in range(0, len(images), _IMAGES_AT_ONCE):
        block = images[begin : begin + _IMAGES_AT_ONCE]
        # 64 bits: among a million images two share a number by accident with a chance of one in 40 million.
        digests = [hashlib.blake2b(content(image), digest_size=8).digest() for image in block]
        ids[begin : begin + len(block)] = np.frombuffer(b"".join(digests), "<i8")
        let_go(images)
    return ids
