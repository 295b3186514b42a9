"""SLEAP's labels, ``.slp`` and ``.pkg.slp``, read and written by sleap-io.

A row is an instance that a person labelled, in the order of frames and of instances in them. A node that is
missing or invisible is a blank. Predicted instances are no labels. Fills go out as one more predicted
instance for each row in which something is filled, without a track, so that SLEAP shows it beside the
person's own: its points are the labels, score 1, and the fills, each with its score below 1. Which it is
stands in the provenance, ``labelfill``. Everything else is written back as sleap-io read it.

The format: https://io.sleap.ai
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.frames import PoseFrames, VideoSource, frame_name, name_in
from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Kind
from labelfill.data.formats.pose_library import HDF5_MAGIC, asking, blocks_of
from labelfill.data.formats.visibility import HIDDEN, visibilities
from labelfill.data.images.files import folder_of
from labelfill.data.table import FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, counted, listed
from labelfill.runs import sha256_file

SLEAP = "sleap"
_TITLE = "SLEAP's labels"
_TRACK = "track"
# In the provenance of labels: of each row, which instance of its frame holds its fills; -1 for none.
_FILLS = "labelfill"
# A label is as sure as can be; no fill is, however small its error.
_SURE, _NEARLY_SURE = 1.0, 0.9999

_log = logging.getLogger("labelfill")


def read_sleap(path: Path, asked: Asked) -> KeypointTable:
    """Read a file of SLEAP's labels.

    Raises
    ------
    DataError
        If it is damaged, labels nothing, or has skeletons of different nodes.
    UsageError
        If sleap-io is not installed.
    """
    with asking(path, _TITLE):
        labels = _loaded(path)
        sources = _sources(labels)
        pairs = [*_labelled(labels)]
        keypoints = _keypoints(path, [instance for _, instance in pairs])
        numbers = {id(video): number for number, video in enumerate(labels.videos)}
        rows, folder = [], folder_of(asked.beside or path)
        for frame, instance in pairs:
            number = numbers[id(frame.video)]
            image = name_in(folder, frame_name(number, sources[number], int(frame.frame_idx), path))
            points = _without(np.asarray(instance.numpy(), np.float64), asked.reading.missing_values)
            extra = {"video": str(number), "frame": str(int(frame.frame_idx)), _TRACK: _track(instance)}
            rows.append(PoseRow(image, points, extra=extra))
        if asked.filled:
            rows = [*_with_fills(labels, pairs, rows)]
    return table_of_rows(path, SLEAP, sha256_file(path), keypoints, rows)


def _loaded(path: Path, *, open_videos: bool = False) -> Any:
    import sleap_io

    return sleap_io.load_slp(str(path), open_videos=open_videos)


def _labelled(labels: Any) -> Iterator[tuple[Any, Any]]:
    """Frame and instance of each row."""
    import sleap_io

    for frame in labels.labeled_frames:
        for instance in frame.instances:
            if not isinstance(instance, sleap_io.PredictedInstance):
                yield frame, instance


def _keypoints(path: Path, instances: Sequence[Any]) -> list[str]:
    skeletons = list({id(instance.skeleton): instance.skeleton for instance in instances}.values())
    names = [list(skeleton.node_names) for skeleton in skeletons]
    for skeleton, nodes in zip(skeletons[1:], names[1:], strict=True):
        if nodes != names[0]:
            raise DataError(
                f"{path}: its skeletons have different nodes, {skeletons[0].name!r} {listed(names[0])} and "
                f"{skeleton.name!r} {listed(nodes)}; split the file by skeleton"
            )
    return names[0] if names else []


def _without(points: Array, missing_values: Sequence[float]) -> Array:
    """Points (K, 2) without those that are placeholders, so that a fill can stand there."""
    placeholder = np.isin(points, missing_values).all(axis=1) & (points[:, 0] == points[:, 1])
    return np.where(placeholder[:, None], np.nan, points)


def _track(instance: Any) -> str:
    return "" if instance.track is None else str(instance.track.name)


def _sources(labels: Any) -> list[VideoSource]:
    found = []
    for video in labels.videos:
        if video.backend_metadata.get("has_embedded_images") or video.backend_metadata.get("dataset"):
            found.append(VideoSource())
        elif isinstance(video.filename, list):
            found.append(VideoSource(images=[str(name).replace("\\", "/") for name in video.filename]))
        else:
            found.append(VideoSource(video=str(video.filename)))
    return found


def _with_fills(labels: Any, pairs: Sequence[tuple[Any, Any]], rows: Sequence[PoseRow]) -> Iterator[PoseRow]:
    """Rows completed by the predicted instances that `filled_sleap` wrote last."""
    listed_fills = labels.provenance.get(_FILLS)
    places = listed_fills if isinstance(listed_fills, list) else []
    for (frame, _), row, place in zip(pairs, rows, [*places, *[-1] * len(rows)], strict=False):
        number = place if isinstance(place, int) else -1
        predicted = frame.instances[number] if 0 <= number < len(frame.instances) else None
        if predicted is None or not _holds(predicted, row.points):
            yield row
            continue
        yield replace(row, fills=predicted.numpy())


def _holds(predicted: Any, points: Array) -> bool:
    """Whether a predicted instance has exactly these labels as its sure points."""
    labelled = np.isfinite(points).all(axis=1)
    if len(predicted.points) != len(points) or "score" not in predicted.points.dtype.names:
        return False
    sure = (predicted.points["score"] == _SURE) & predicted.points["visible"]
    return bool(np.array_equal(sure, labelled) and np.array_equal(predicted.points["xy"][sure], points[sure]))


def filled_sleap(table: KeypointTable, found: FoundPoints) -> Iterator[bytes]:
    """The file with a predicted instance for each row in which something is filled."""
    path = table.path
    refuse_changed(table, sha256_file(path))
    with asking(path, _TITLE):
        labels = _loaded(path)
        embedded = any(not source.images and not source.video for source in _sources(labels))
        if embedded:  # whose frames are copied, so they have to be open
            labels = _loaded(path, open_videos=True)
        pairs = [*_labelled(labels)]
        order = [table.keypoints.index(name) for name in _keypoints(path, [each for _, each in pairs])]
        new: Mask = np.all(found.new(table), axis=2)[:, order]
        xy, score, observed = found.xy[:, order], found.score[:, order], table.labels[:, order]
        places = [-1] * len(pairs)
        for row in np.flatnonzero(new.any(axis=1)).tolist():
            frame, instance = pairs[row]
            places[row] = len(frame.instances)
            filled = _prediction(instance.skeleton, observed[row], new[row], xy[row], score[row])
            frame.instances.append(filled)
        labels.provenance[_FILLS] = places
        yield from _saved(labels, path, embedded=embedded)


def _prediction(skeleton: Any, labels: Array, new: Mask, xy: Array, score: Array) -> Any:
    """A predicted instance of labels (K, 2) and of fills where `new` (K,) says so."""
    import sleap_io

    points = sleap_io.PredictedInstance.empty(skeleton=skeleton).points
    labelled: Mask = np.all(np.isfinite(labels), axis=1)
    points["xy"] = np.where(labelled[:, None], labels, np.where(new[:, None], xy.round(4) + 0.0, np.nan))
    points["score"] = np.where(labelled, _SURE, np.where(new, np.minimum(score.round(4), _NEARLY_SURE), 0.0))
    points["visible"], points["complete"] = labelled | new, False
    mean = float(points["score"][new].mean())
    return sleap_io.PredictedInstance(points=points, skeleton=skeleton, score=mean)


def _saved(labels: Any, path: Path, *, embedded: bool) -> Iterator[bytes]:
    """The bytes of labels as sleap-io writes them; `path` is the file from which they came."""
    import sleap_io

    provenance = dict(labels.provenance)
    with tempfile.TemporaryDirectory(prefix="labelfill-") as folder:
        written = Path(folder) / path.with_suffix(".slp").name
        labels.provenance["filename"] = str(path)  # from there it takes what it does not know
        sleap_io.save_slp(
            labels, str(written), embed=None if embedded else False, verbose=False, preserve_unknown=True,
            save_embedding_vectors=True,
        )  # fmt: skip
        labels.provenance.update(provenance)
        yield from blocks_of(written)


def table_as_sleap(table: KeypointTable, names: Sequence[str], sizes: Array, path: Path) -> list[bytes]:
    """A whole table as new labels: images of one size are one list of images, rows are instances.

    Parameters
    ----------
    names, sizes
        Of each row's image: its file, and (n, 2) height and width in px.
    """
    hidden = int((visibilities(table) == HIDDEN).sum())
    if hidden:
        _log.warning(
            "%s: %s declared hidden; SLEAP has no word for that: those with a place are written as visible, "
            "the others as missing", table.path, counted(hidden, "point"),
        )  # fmt: skip
    with asking(path, _TITLE) as library:
        skeleton = library.Skeleton(list(table.keypoints), name="object")
        by_size: dict[tuple[int, int], dict[str, int]] = {}
        for name, size in zip(names, sizes.astype(int).tolist(), strict=True):
            images = by_size.setdefault((size[0], size[1]), {})
            images.setdefault(name, len(images))
        videos = {size: _image_list(library, [*images], size) for size, images in by_size.items()}
        tracks = {name: library.Track(name) for name in table.extra.get(_TRACK, []) if name}
        frames: dict[tuple[tuple[int, int], str], Any] = {}
        for row, name in enumerate(names):
            size = int(sizes[row, 0]), int(sizes[row, 1])
            if (size, name) not in frames:
                frames[size, name] = library.LabeledFrame(
                    video=videos[size], frame_idx=by_size[size][name], instances=[]
                )
            track = tracks.get(table.extra[_TRACK][row]) if tracks else None
            instance = library.Instance.from_numpy(table.labels[row], skeleton=skeleton, track=track)
            frames[size, name].instances.append(instance)
        labels = library.Labels([*frames.values()], videos=[*videos.values()], skeletons=[skeleton])
        return [*_saved(labels, path, embedded=False)]


def _image_list(library: Any, names: Sequence[str], size: tuple[int, int]) -> Any:
    """A list of image files of one size, height and width in px, without looking at them."""
    about = {"type": "ImageVideo", "shape": [len(names), *size, 1], "filename": names[0], "filenames": names}
    return library.Video(filename=[*names], backend=None, backend_metadata=about, open_backend=False)


def _frames(table: KeypointTable, beside: Path | None) -> PoseFrames:
    path, folder = table.path, folder_of(beside or table.path)
    return PoseFrames(path, _TITLE, lambda: _sources_of(path), folder, _embedded_opener(path))


def _sources_of(path: Path) -> list[VideoSource]:
    with asking(path, _TITLE):
        return _sources(_loaded(path))


def _embedded_opener(path: Path) -> Callable[[int], Any]:
    embedded: list[Any] = []

    def opened(number: int) -> Any:
        if not embedded:
            embedded.extend(_loaded(path, open_videos=True).videos)
        return embedded[number]

    return opened


SLEAP_KIND = Kind(
    title=_TITLE,
    suffix=".slp",
    read=read_sleap,
    begins=lambda path, begin: begin.startswith(HDF5_MAGIC) and path.suffix.lower() == ".slp",
    fill=filled_sleap,
    states_scores=True,
    in_px=True,
    frames=_frames,
)
