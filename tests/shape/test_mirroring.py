"""The mirror axis of labels, found in the images."""

from __future__ import annotations

import numpy as np
import pytest

from labelfill.data.synthetic import draw_table
from labelfill.schema import mirror_partners
from labelfill.shape.mirror_axis import middle_shift, mirror_shift


def faces(seed: int, shift: float) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Drawn faces whose labels lie `shift` px right of what they mark."""
    table = draw_table(120, seed)
    return table.images, table.labels + np.array([shift, 0.0]), mirror_partners(table.schema.keypoints)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.3])
def test_a_planted_shift_is_found(shift: float) -> None:
    """Labels moved sideways against their images are found out to a quarter of a px."""
    images, labels, partners = faces(0, shift)
    assert mirror_shift(images, labels, partners, 60.0) == pytest.approx(shift, abs=0.26)


def test_nothing_is_claimed_without_evidence() -> None:
    """Too few rows, no partners, or noise for images: no shift."""
    images, labels, partners = faces(1, 2.0)
    assert mirror_shift(images[:20], labels[:20], partners, 60.0) == 0.0
    assert mirror_shift(images, labels, (-1,) * labels.shape[1], 60.0) == 0.0
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    assert mirror_shift(noise, labels, partners, 60.0) == 0.0


def test_without_images_labels_have_a_middle_of_their_own() -> None:
    """The middle between left and right, wherever the table lies; none without partners."""
    table = draw_table(120, 0)
    partners = mirror_partners(table.schema.keypoints)
    here = middle_shift(table.labels, partners, table.schema)
    assert here == pytest.approx(0.0, abs=2.0)
    moved = middle_shift(table.labels + np.array([-300.0, 5.0]), partners, table.schema)
    assert moved == pytest.approx(here - 300)
    assert middle_shift(table.labels, (-1,) * len(partners), table.schema) == 0.0
    nowhere = np.full(table.labels.shape, np.nan)
    assert middle_shift(nowhere, partners, table.schema) == 0.0
