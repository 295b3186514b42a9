"""Summaries as the three stages return them."""

from __future__ import annotations

from typing import Any

OFFSET = {
    "keypoint": "nose_tip",
    "source": "2",
    "reference": "1",
    "offset": [-0.12, 5.23],
    "interval": {"x": [-0.41, 0.17], "y": [4.9, 5.56]},
    "rows": 1600,
    "remaining sigma": [1.7, 1.7],
}
TRAINING: dict[str, Any] = {
    "state": "fresh",
    "rows": 2367,
    "rows per part": {"training": 1927, "validation": 340, "evaluation": 100},
    "sources": {"1": 767, "2": 1600},
    "convention offsets": [OFFSET],
    "mirror partners": "used",
    "regressors": ["left_eye", "chin"],
    "left blank": ["ear"],
    "low data": ["chin"],
    "cross-fitted rmse": 1.234,
    "cross-fitted rmse of the prior": 1.5,
    "keypoints": {
        "left_eye": {"labels": 1500, "cross-fitted rmse": 0.987, "cross-fitted rmse of the prior": 1.0},
        "chin": {"labels": 30},
    },
}
FILLING: dict[str, Any] = {
    "out": "filled.csv",
    "provenance": "filled.provenance.csv",
    "rows": 1000,
    "observed": 4000,
    "filled": 2000,
    "left_blank": 0,
    "left_blank_keypoints": {},
    "methods": {"regressor": 990, "copy": 10},
    "unknown_source_rows": 0,
    "median_radius": 2.5,
    "median_radius_share": 0.026,
    "quality": "fair",
    "image_size": "96x96",
    "by_source": [
        {
            "source": source,
            "keypoint": keypoint,
            "points": points,
            "flagged": 0,
            "median_radius": radius,
            "error_share": share,
            "flags": flags,
        }
        for source, keypoint, points, radius, share, flags in (
            ("2", "nose_tip", 600, 2.5, 0.7, "source-shift"),
            ("1", "left_eye", 400, 1.5, 0.3, ""),
        )
    ],
    "to_review": 0,
    "further": {},
    "rejected": 0,
    "too_uncertain": 0,
    "seconds": 0.5,
    "rows_per_second": 2000.0,
    "state": "fresh",
}
FINAL: dict[str, Any] = {
    "state": "fresh",
    "validation rows": 30,
    "validation rmse": 1.8,
    "validation mae": 1.2,
    "validation keypoints": {"left_eye": {"labels": 30, "rmse": 1.8, "mae": 1.2}},
    "evaluation rows": 1,
    "evaluation rmse": 1.9,
    "evaluation mae": 1.3,
    "evaluation keypoints": {"left_eye": {"labels": 1, "rmse": 1.9, "mae": 1.3}},
    "parameters": 1000,
    "best epoch": 3,
}
