"""Neurodata Without Borders, ``.nwb``: labels as ndx-pose's ``PoseTraining`` holds them.

A row is a skeleton instance of a training frame, in the file's order of names. A node whose
``node_visibility`` is false, or without a place, is a blank. Fills are put into a copy of the file:
``node_locations`` get a place, and their visibility stays, or becomes, false, as nobody saw them. Nothing
else of the file is touched, whatever other data it holds. ``PoseEstimation`` holds a network's answers, which
are no labels.

The format: https://github.com/rly/ndx-pose
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.frames import PoseFrames, VideoSource, frame_name, name_in
from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Kind
from labelfill.data.formats.pose_library import HDF5_MAGIC, edited_hdf5, open_hdf5
from labelfill.data.images.files import folder_of
from labelfill.data.table import IMAGE_SUFFIXES, FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, listed
from labelfill.runs import sha256_file

NWB = "nwb"
_TITLE = "an NWB file"
_LOCATIONS, _VISIBILITY, _INDEX = "node_locations", "node_visibility", "source_video_frame_index"

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class _Training:
    """The labels of a file: its groups of training frames and of source videos."""

    path: Path
    frames: Any
    videos: dict[str, Any]

    @classmethod
    def of(cls, path: Path, file: Any) -> _Training:
        """Those of the first module that holds any."""
        kinds = []
        for module in file["processing"].values() if "processing" in file else ():
            for group in module.values():
                kinds.append(str(group.attrs.get("neurodata_type", "")))
                if kinds[-1] == "PoseTraining":
                    videos = group.get("source_videos", {})
                    return cls(path, group["training_frames"], dict(videos.items()))
        if "PoseEstimation" in kinds:
            raise DataError(
                f"{path} holds PoseEstimation, a network's answers, which are no labels; give the file of "
                "PoseTraining, as sleap-io writes it of labels"
            )
        found = listed(sorted(filter(None, kinds))) or "nothing"
        raise DataError(f"{path} holds no PoseTraining of ndx-pose; found {found} in its processing modules")

    def instances(self) -> Iterator[tuple[Any, Any]]:
        """Frame and skeleton instance of each row."""
        for frame in self.frames.values():
            for instance in frame["skeleton_instances"].values():
                if _LOCATIONS in instance:
                    yield frame, instance

    def video_of(self, frame: Any) -> int:
        """Which of the source videos a frame is of."""
        if "source_video" not in frame:
            raise DataError(f"{self.path}, {frame.name}: no source_video, so nothing tells its image")
        return [*self.videos.values()].index(frame["source_video"])  # a link is the same object

    def sources(self) -> list[VideoSource]:
        return [_source(video) for video in self.videos.values()]


def _source(video: Any) -> VideoSource:
    files = [_text(name) for name in video["external_file"][()]] if "external_file" in video else []
    if len(files) == 1 and Path(files[0]).suffix.lower() not in IMAGE_SUFFIXES:
        return VideoSource(video=files[0])
    return VideoSource(images=[name.replace("\\", "/") for name in files])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_nwb(path: Path, asked: Asked) -> KeypointTable:
    """Read the labels of a file.

    Raises
    ------
    DataError
        If it is damaged, holds none, or has skeletons of different nodes.
    UsageError
        If sleap-io, and HDF5 with it, is not installed.
    """
    with open_hdf5(path, _TITLE) as file:
        training = _Training.of(path, file)
        sources = training.sources()
        rows, keypoints, folder = [], _keypoints(path, training), folder_of(asked.beside or path)
        for frame, instance in training.instances():
            number = training.video_of(frame)
            index = _index(frame)
            image = name_in(folder, frame_name(number, sources[number], index, path))
            extra = {"video": str(number), "frame": str(index), "instance": instance.name.rsplit("/", 1)[-1]}
            points, placed = _points(instance)
            rows.append(PoseRow(image, points, placed if asked.filled else None, extra=extra))
    return table_of_rows(path, NWB, sha256_file(path), keypoints, rows)


def _keypoints(path: Path, training: _Training) -> list[str]:
    names: dict[Any, list[str]] = {}
    for _, instance in training.instances():
        skeleton = _skeleton(path, instance)
        if skeleton not in names:
            names[skeleton] = [_text(name) for name in skeleton["nodes"][()]]
    found = list(names.values())
    for nodes in found:
        if nodes != found[0]:
            raise DataError(
                f"{path}: its skeletons have different nodes, {listed(found[0])} and {listed(nodes)}; "
                "split the file by skeleton"
            )
    return found[0] if found else []


def _skeleton(path: Path, instance: Any) -> Any:
    """The skeleton to which an instance has a link, of whatever name."""
    linked = [each for each in instance.values() if each.attrs.get("neurodata_type") == "Skeleton"]
    if len(linked) != 1:
        raise DataError(f"{path}, {instance.name}: found {len(linked)} skeletons, expected one")
    return linked[0]


def _index(frame: Any) -> int:
    """Which frame of its video it is; the first one if nothing says."""
    if _INDEX in frame.attrs:
        return int(frame.attrs[_INDEX])
    return int(frame[_INDEX][()]) if _INDEX in frame else 0


def _points(instance: Any) -> tuple[Array, Array]:
    """(K, 2) in px, NaN where blank: of visible nodes, and of all that have a place."""
    places = np.array(instance[_LOCATIONS][()], np.float64)[:, :2]
    blank: Mask = np.any(np.isnan(places), axis=1)
    placed = np.where(blank[:, None], np.nan, places)
    if _VISIBILITY in instance:
        blank |= ~np.asarray(instance[_VISIBILITY][()], bool)
    return np.where(blank[:, None], np.nan, places), placed


def filled_nwb(table: KeypointTable, found: FoundPoints) -> Iterator[bytes]:
    """A copy of the file with places for blank nodes, which stay invisible."""
    path = table.path
    refuse_changed(table, sha256_file(path))
    new: Mask = np.all(found.new(table), axis=2)

    def fill(file: Any) -> None:
        training = _Training.of(path, file)
        order = [table.keypoints.index(name) for name in _keypoints(path, training)]
        coarse = False
        for row, (_, instance) in enumerate(training.instances()):
            points = np.flatnonzero(new[row][order]).tolist()
            if points:
                _fill(instance, points, found.xy[row][order].round(4) + 0.0)
                coarse |= instance[_LOCATIONS].dtype != np.float64
        if coarse:
            _log.warning("%s: it holds places of 32 bits; the sidecar holds every digit of fills", path)

    return edited_hdf5(path, _TITLE, fill)


def _fill(instance: Any, points: list[int], xy: Array) -> None:
    """Places (K, 2) for some points of an instance; nobody saw them, whatever a placeholder said."""
    locations = instance[_LOCATIONS]
    seen = ~np.isnan(locations[()][:, :2]).any(axis=1)
    if _VISIBILITY in instance:
        seen &= np.asarray(instance[_VISIBILITY][()], bool)
    seen[points] = False
    for k in points:
        locations[k, :2] = xy[k]
    if _VISIBILITY in instance:
        instance[_VISIBILITY][...] = seen
    else:
        instance.create_dataset(_VISIBILITY, data=seen)


def _frames(table: KeypointTable, beside: Path | None) -> PoseFrames:
    path = table.path

    def sources() -> list[VideoSource]:
        with open_hdf5(path, _TITLE) as file:
            return _Training.of(path, file).sources()

    def embedded(number: int) -> Any:
        import h5py

        return [*_Training.of(path, h5py.File(path, "r")).videos.values()][number]["data"]

    return PoseFrames(path, _TITLE, sources, folder_of(beside or path), embedded)


NWB_KIND = Kind(
    title=_TITLE,
    suffix=".nwb",
    read=read_nwb,
    begins=lambda path, begin: begin.startswith(HDF5_MAGIC) and path.suffix.lower() == ".nwb",
    fill=filled_nwb,
    lacks="has no place for scores of labels",
    in_px=True,
    frames=_frames,
)
