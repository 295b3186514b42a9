"""Frames that are no image files: embedded in a file of poses, or of a video, read by sleap-io."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.data.formats.pose_library import asking
from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.frames import Frames
from labelfill.errors import DataError, shown

_NAME = re.compile(r"video(\d+)#(\d+)")


@dataclass(frozen=True)
class VideoSource:
    """Where the frames of one video of a file of poses lie.

    Attributes
    ----------
    images
        Names of image files, one for each frame; empty if the frames are no files.
    video
        The name of a video's file; empty if frames are embedded.
    """

    images: Sequence[str] = ()
    video: str = ""


def frame_name(number: int, source: VideoSource, frame: int, path: Path) -> str:
    """What the row of a frame calls its image: the image's file, or ``video0#12``."""
    if not source.images:
        return f"video{number}#{frame}"
    if not 0 <= frame < len(source.images):
        raise DataError(
            f"{path}: a label is for image {frame} of a list of {len(source.images)}; export it anew"
        )
    return source.images[frame]


def name_in(folder: Path, name: str) -> str:
    """The name of a file as seen from a folder: of one that lay elsewhere, the longest end that is there."""
    parts = Path(name.replace("\\", "/")).parts
    ways = (Path(*parts[begin:]) for begin in range(len(parts)))
    return next((way.as_posix() for way in ways if (folder / way).is_file()), name)


@dataclass(frozen=True)
class PoseFrames(Frames):
    """The frames of a file's videos, opened when the first of them is asked for.

    Attributes
    ----------
    path, title
        The file, and what it is.
    sources
        Gives where the frames of each video lie.
    folder
        From which the files of videos are named.
    open_embedded
        Opens a video by its number if its frames are embedded; None if no video's are.
    """

    path: Path
    title: str
    sources: Callable[[], Sequence[VideoSource]]
    folder: Path
    open_embedded: Callable[[int], Any] | None = None
    _opened: dict[int, Any] = field(default_factory=dict)
    _known: list[Sequence[VideoSource]] = field(default_factory=list)

    def file(self, name: str) -> Path | None:
        """Where a frame lies; None for the name of an image file.

        Raises
        ------
        DataError
            If it is a frame of a video that is not there.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        if not self._known:
            self._known.append(self.sources())
        number = int(match[1])
        if number >= len(self._known[0]):
            raise DataError(f"{self.path} has no video {number}, of which {shown(name)} would be a frame")
        return self._video_file(self._known[0][number])

    def _video_file(self, source: VideoSource) -> Path:
        if not source.video:
            return self.path
        found = self.folder / name_in(self.folder, source.video)
        if not found.is_file():
            raise DataError(
                f"{self.path}: its labels are for frames of the video {shown(source.video)}, which is not in "
                f"{self.folder}; put it there or name its folder by --image-folder, or embed the frames: "
                "`sio embed` of sleap-io, or Predict, Export Labels Package in SLEAP, gives a .pkg.slp"
            )
        return found

    def _open(self, number: int, file: Path | None) -> Any:
        if file == self.path and self.open_embedded is not None:
            return self.open_embedded(number)
        import sleap_io

        return sleap_io.load_video(str(file))

    def read(self, name: str) -> NDArray[np.uint8]:
        """(h, w, channels): one frame.

        Raises
        ------
        UnusableError
            If it cannot be read.
        """
        file, match = self.file(name), _NAME.fullmatch(name)
        assert match is not None, f"{name} is no frame"
        number, frame = int(match[1]), int(match[2])
        try:
            with asking(self.path, self.title):
                if number not in self._opened:
                    self._opened[number] = self._open(number, file)
                image = np.asarray(self._opened[number][frame])
        except DataError as error:
            raise UnusableError(
                f"cannot be read from {file} ({error.__cause__}); export the frames as image files, or embed "
                "them by `sio embed`"
            ) from error
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise UnusableError(f"is an array of {image.dtype}, expected 8 bits; export image files")
        return image
