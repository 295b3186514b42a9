"""The answer for an image averaged with the answer for its mirrored copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelfill.arrays import Array
from labelfill.schema import KeypointSchema


def averaged_with_mirrored(
    straight: tuple[Array, Array],
    mirrored: tuple[Array, Array],
    schema: KeypointSchema,
    partners: Sequence[int],
) -> tuple[Array, Array]:
    """Positions (n, K, 2) and sigma (n, K), px; as they are without a partner that states its sigma.

    Parameters
    ----------
    straight, mirrored
        Positions and sigma, px; the latter in the mirrored image.
    partners
        (K,) mirror partners, -1 where there is none.
    """
    order = np.asarray(partners)
    xy, sigma = schema.mirror(mirrored[0], partners), np.where(order >= 0, mirrored[1][:, order], np.nan)
    known = np.isfinite(sigma)
    return (
        np.where(known[..., None], (straight[0] + xy) / 2, straight[0]),
        np.where(known, np.sqrt((straight[1] ** 2 + sigma**2) / 2), straight[1]),
    )
