"""JABS' poses of mice, ``..._pose_est_v2.h5`` to ``v6``: a network's answers for each frame of a video.

A row is an animal in a frame. Every point has a confidence; 0 means that there is none. Such files are
answers, so --min-likelihood says which of them are sure enough to count as labels; the others are filled. A
file whose confidences are all 0 or 1, as sleap-io writes what a person labelled, is read without. Fills are
put into a copy of the file: a place in whole px, and a confidence below 1.

The format: https://github.com/KumarLabJax/JABS-behavior-classifier
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.frames import PoseFrames, VideoSource, frame_name
from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Held, Kind
from labelfill.data.formats.pose_library import HDF5_MAGIC, edited_hdf5, open_hdf5
from labelfill.data.images.files import folder_of
from labelfill.data.table import FoundPoints, KeypointTable, likelihood_column, refuse_changed
from labelfill.errors import DataError
from labelfill.runs import sha256_file

JABS = "jabs"
_TITLE = "a file of JABS' poses"
_NAME = re.compile(r"(.*)_pose_est_v[2-6]\.h5", re.IGNORECASE)
_NODES = (
    "NOSE", "LEFT_EAR", "RIGHT_EAR", "BASE_NECK", "LEFT_FRONT_PAW", "RIGHT_FRONT_PAW", "CENTER_SPINE",
    "LEFT_REAR_PAW", "RIGHT_REAR_PAW", "BASE_TAIL", "MID_TAIL", "TIP_TAIL",
)  # fmt: skip
# A label is as sure as can be; no fill is.
_NEARLY_SURE = 0.9999

_log = logging.getLogger("labelfill")


def read_jabs(path: Path, asked: Asked) -> KeypointTable:
    """Read a file of poses.

    Raises
    ------
    DataError
        If it is damaged, or holds answers and nothing says which of them are labels.
    UsageError
        If sleap-io, and HDF5 with it, is not installed.
    """
    with open_hdf5(path, _TITLE) as file:
        points, confidence = _arrays(path, file)
        cells = [*_animals(file, confidence)]
    unsure = bool(((confidence > 0) & (confidence < 1)).any())
    if unsure and not asked.filled and asked.reading.min_likelihood is None:
        raise DataError(
            f"{path} holds a network's answers, which are no labels; --min-likelihood 0.6, for example, "
            "takes points that are at least so sure as labels and fills the others"
        )
    keypoints = _names(points.shape[2])
    source, rows = VideoSource(video=_video(path)), []
    for frame, animal in cells:
        sure = confidence[frame, animal]
        xy = np.where(sure[:, None] > 0, points[frame, animal][:, ::-1], np.nan)  # they are y, x
        stated = {
            likelihood_column(name): f"{value:.6g}" if value > 0 else ""
            for name, value in zip(keypoints, sure.tolist(), strict=True)
        }
        extra = {"frame": str(frame), "animal": str(animal), **stated}
        rows.append(PoseRow(frame_name(0, source, frame, path), xy, extra=extra))
    # Nothing tells fills from answers afterwards, so they must not decide what is looked at.
    return table_of_rows(path, JABS, sha256_file(path), keypoints, rows, whole_images=True)


def _names(count: int) -> list[str]:
    return list(_NODES) if count == len(_NODES) else [f"node_{k}" for k in range(count)]


def _arrays(path: Path, file: Any) -> tuple[Array, Array]:
    """(frames, animals, K, 2) y and x, and (frames, animals, K) how sure they are."""
    poses = file["poseest"]
    points, confidence = (np.array(poses[name][()], np.float64) for name in ("points", "confidence"))
    if points.ndim == 3:  # one animal
        points, confidence = points[:, None], confidence[:, None]
    if points.ndim != 4 or points.shape[3] != 2 or confidence.shape != points.shape[:3]:
        raise DataError(
            f"{path}: points of shape {points.shape} and confidences of {confidence.shape} do not fit"
        )
    return points, confidence


def _animals(file: Any, confidence: Array) -> Iterator[tuple[int, int]]:
    """Frame and animal of each row: those that are there and have a point."""
    poses = file["poseest"]
    there = (confidence > 0).any(axis=2)
    if "instance_embed_id" in poses:
        there &= np.asarray(poses["instance_embed_id"][()]) > 0
    elif "instance_count" in poses:
        there &= np.arange(there.shape[1]) < np.asarray(poses["instance_count"][()]).reshape(-1, 1)
    yield from map(tuple, np.argwhere(there).tolist())


def filled_jabs(table: KeypointTable, found: FoundPoints) -> Iterator[bytes]:
    """A copy of the file with places and confidences of what was filled."""
    path = table.path
    refuse_changed(table, sha256_file(path))
    new: Mask = np.all(found.new(table), axis=2)

    def fill(file: Any) -> None:
        poses, held = file["poseest"], _held(table)
        _, confidence = _arrays(path, file)
        order = [table.keypoints.index(name) for name in _names(confidence.shape[2])]
        for row, (frame, animal) in enumerate(_animals(file, confidence)):
            cell = (frame,) if poses["points"].ndim == 3 else (frame, animal)
            for k in np.flatnonzero(new[row][order]).tolist():
                xy = held(row, found.xy[row, order[k]])
                poses["points"][(*cell, k)] = xy[::-1]
                poses["confidence"][(*cell, k)] = min(float(found.score[row, order[k]]), _NEARLY_SURE)
        if new.any():
            _log.warning(
                "%s: it holds whole px, so fills are written as whole px; the sidecar holds every digit", path
            )

    return edited_hdf5(path, _TITLE, fill)


def _held(table: KeypointTable) -> Held:
    return lambda row, xy: np.rint(xy).clip(0, np.iinfo(np.uint16).max)


def _video(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return f"{match[1] if match is not None else path.stem}.avi"


def _frames(table: KeypointTable, beside: Path | None) -> PoseFrames:
    told = table.path if beside is None or _NAME.fullmatch(beside.name) is None else beside
    source = VideoSource(video=_video(told))
    return PoseFrames(table.path, _TITLE, lambda: [source], folder_of(beside or table.path))


JABS_KIND = Kind(
    title=_TITLE,
    suffix=".h5",
    read=read_jabs,
    begins=lambda path, begin: (
        begin.startswith(HDF5_MAGIC) and (_NAME.fullmatch(path.name) is not None or b"poseest" in begin)
    ),
    fill=filled_jabs,
    states_scores=True,
    in_px=True,
    held=_held,
    frames=_frames,
)
