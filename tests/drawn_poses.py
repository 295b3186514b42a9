"""Drawn frames of several animals as SLEAP's labels, and fills for their blanks."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.table import FoundPoints, KeypointTable
from tests.drawn_points import SIZES

NODES = ["nose", "left_ear", "right ear", "é"]
_PLACES = st.floats(-5, 60, allow_nan=False).filter(lambda v: v != 0) | st.integers(1, 30).map(float)


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[str], list[np.ndarray]]:
    """Names of nodes (K), and for each of some frames its instances' points (m, K, 2), NaN where missing."""
    nodes = draw(st.lists(st.sampled_from(NODES), min_size=1, max_size=4, unique=True))
    frames = []
    for _ in range(draw(st.integers(1, 4))):
        points = np.full((draw(st.integers(0, 3)), len(nodes), 2), np.nan)
        for instance, k in np.ndindex(points.shape[:2]):
            if draw(st.booleans()):
                points[instance, k] = draw(_PLACES), draw(_PLACES)
        frames.append(points)
    if not any(np.isfinite(points).any() for points in frames):
        frames[0] = np.full((1, len(nodes), 2), 7.25)
    return nodes, frames


def found_for(table: KeypointTable, seed: int, size: float = 20.0) -> FoundPoints:
    """Places and scores for most of a table's blanks."""
    random = np.random.default_rng(seed)
    xy = random.uniform(1, size, table.labels.shape).round(4)
    xy[random.random(table.labels.shape[:2]) < 0.2] = np.nan
    score = random.uniform(0.1, 1, table.labels.shape[:2])
    return FoundPoints(xy, score, np.full((table.rows, 2), size), "test")


def filled_copy(table: KeypointTable, found: FoundPoints, out: Path) -> Path:
    """The table's file with what was found, written as `impute` writes it."""
    buffer = BytesIO()
    write_found(table, found, buffer, out.name)
    out.write_bytes(buffer.getvalue())
    return out


def check_filled(path: Path, found: FoundPoints, out: Path, *, atol: float = 6e-5, **also: Any) -> None:
    """A filled copy, read as one, holds the labels exactly and the fills where there were blanks."""
    before = read_keypoints(path, reading=also.get("reading", read_keypoints.__kwdefaults__["reading"]))
    after = read_keypoints(out, beside=path, filled=True)
    assert after.keypoints == before.keypoints
    assert after.extra["image_path"] == before.extra["image_path"]
    np.testing.assert_array_equal(after.labels[before.observed], before.labels[before.observed])
    # What is looked at stays the same, so that images do.
    np.testing.assert_array_equal(np.array(after.boxes, float), np.array(before.boxes, float))
    np.testing.assert_allclose(after.labels, found.whole(before), rtol=0, atol=atol)


def sleap_labels(nodes: list[str], frames: list[np.ndarray], folder: Path) -> Any:
    """Labels of images of a folder: hidden nodes, tracks, predictions, a suggestion, a negative frame."""
    import sleap_io as sio

    skeleton = sio.Skeleton(list(nodes), edges=[(0, 1)] if len(nodes) > 1 else [], name="animal")
    tracks = [sio.Track("one"), sio.Track("two"), None]
    names = [str(folder / f"{i}.png") for i in range(len(SIZES))]
    about = {"type": "ImageVideo", "shape": [len(names), *SIZES[0], 1], "filename": names[0]}
    about["filenames"] = names
    video = sio.Video(filename=names, open_backend=False, backend_metadata=about)
    labelled = []
    for number, points in enumerate(frames):
        found = [
            sio.Instance.from_numpy(p, skeleton=skeleton, track=t)
            for p, t in zip(points, tracks, strict=False)
        ]
        for instance in found:  # a place that is declared invisible is none
            missing = ~instance.points["visible"]
            instance.points["xy"][missing] = 3.5
        if number % 2:
            scores = np.linspace(0.2, 1, len(nodes))
            given = np.column_stack([np.full((len(nodes), 2), 4.0 + number), scores])
            found.insert(0, sio.PredictedInstance.from_numpy(given, skeleton=skeleton, score=0.5))
        labelled.append(sio.LabeledFrame(video=video, frame_idx=number, instances=found))
    return sio.Labels(
        labelled,
        suggestions=[sio.SuggestionFrame(video=video, frame_idx=len(SIZES) - 1)],
        provenance={"lab": "of ours"},
    )
