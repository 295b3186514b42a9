"""The order in which a person looks at points: the most doubtful first, each with its reasons."""

from __future__ import annotations

import numpy as np

from labelfill.filling.provenance import review_order


def test_points_with_reasons_come_worst_first() -> None:
    """Larger radii and more reasons come first; flags of whole columns alone send nobody anywhere."""
    radius = np.array([[1.0, 1.0, 9.0], [2.0, np.nan, 1.0], [1.0, 1.0, 3.0]])
    flags = np.full((3, 3), "", dtype=object)
    flags[0, 2] = "large-radius low-data"
    flags[1, 0] = "off-image implausible-shape"
    flags[1, 1] = "doubtful-label"
    flags[2, 2] = "large-radius"
    flags[2, 0] = "source-shift"
    order = review_order(radius, flags)
    assert order.points.tolist() == [[0, 2], [1, 0], [2, 2], [1, 1]]
    assert order.reasons.tolist()[0] == "large-radius"
    assert (np.diff(order.severity) <= 0).all()
    assert order.rows.tolist() == [0, 1, 2]


def test_a_table_without_doubts_has_nothing_to_look_at() -> None:
    """No flags, no points; no fills neither."""
    order = review_order(np.full((2, 1), np.nan), np.full((2, 1), "", dtype=object))
    assert order.points.shape == (0, 2)
    assert not len(order.rows)
