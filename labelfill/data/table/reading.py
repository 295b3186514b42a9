"""Reads a table in one pass: coordinates into arrays, image text to a sink, other columns as text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Positions
from labelfill.data.table.container import open_decompressed
from labelfill.data.table.contents import KeypointTable
from labelfill.data.table.coordinates import NotACoordinate, decode_coordinates
from labelfill.data.table.header import (
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    Header,
    read_header,
)
from labelfill.data.table.tokenizer import Cursor, RecordBlock, Tokenizer
from labelfill.errors import DataError, place
from labelfill.runs.progress import bar
from labelfill.schema import AXES

Block = TypeVar("Block")

HeaderReader = Callable[[Path, Callable[[int], bytes]], tuple[Header, Cursor]]
"""From a table's path and a function that gives its next bytes: the header, and the cursor behind it."""


@dataclass(frozen=True)
class ImageTexts:
    """What stands in the ``Image`` column of consecutive rows.

    Attributes
    ----------
    buffer, starts, ends
        The text of row ``first_row + i`` is ``buffer[starts[i]:ends[i]]``, without quotes.
    lines
        On which the rows begin.
    cut_short
        Whether the table ends after the last of these rows without a line end.
    """

    buffer: bytes
    starts: Positions
    ends: Positions
    first_row: int
    lines: Positions
    cut_short: bool = False


ImageSink = Callable[[ImageTexts], None]
"""Takes the images' texts, block by block, in row order, in one thread at a time."""


def read_table(
    path: Path,
    *,
    image_sink: ImageSink | None = None,
    require_keypoints: bool = True,
    require_images: bool = True,
    header: HeaderReader | None = None,
    image_column: str | None = None,
    show_progress: bool = False,
) -> KeypointTable:
    """Read a ``.csv``, ``.csv.gz`` or ``.zip`` table in one streaming pass.

    The text of ``Image`` goes to `image_sink`, beside the tokenizing of the next block, or is skipped.
    `require_images` asks only that the table has a column of images.

    Parameters
    ----------
    header
        Reads a header of another kind than the format contract's, and gives back the cursor behind it.
    image_column
        See `read_header`.

    Raises
    ------
    DataError
        On anything that is not as the package's format contract says; the message names the place.
    StorageError
        If the file cannot be read.
    """
    path = Path(path)
    with ExitStack() as stack:
        source = stack.enter_context(open_decompressed(path))
        sha256, length = hashlib.sha256(), 0
        hashing, imaging = (stack.enter_context(_Beside(name)) for name in ("sha256", "images"))
        progress = stack.enter_context(
            bar(total=path.stat().st_size, desc=f"reading {path.name}", unit="B", show=show_progress)
        )

        def read(size: int) -> bytes:
            nonlocal length
            data = source.read(size)
            hashing.do(sha256.update, data)
            length += len(data)
            progress.update(source.packed_position - progress.n)
            return data

        if header is None:
            found, cursor = read_header(
                path, read, require_keypoints=require_keypoints, require_images=require_images,
                image_column=image_column,
            )  # fmt: skip
        else:
            found, cursor = header(path, read)
        collected = _Collected(path, found, image_sink, imaging)
        for block in Tokenizer(path, found.delimiter, found.columns, cursor).blocks(read):
            collected.add(block)
            source.refuse_bomb(collected.memory)
        if not collected.rows:
            raise DataError(f"{path} has a header but no rows; expected at least one row of labels or images")
        imaging.wait()
        hashing.wait()
        return collected.table(sha256.hexdigest(), length)


class _Beside:
    """A thread that does one piece of work after the other beside the tokenizing.

    Hashing and numpy's passes release the interpreter lock. What the work raises is raised by the
    next `do` or at the end: before whatever is wrong further down in the table.
    """

    def __init__(self, name: str) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._last: Future[None] | None = None

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or issubclass(kind, DataError):
                self.wait()
        finally:
            self._worker.shutdown()

    def do(self, work: Callable[[Block], None], block: Block) -> None:
        """Begin, once the work before has ended: at most one block is in memory for it."""
        self.wait()
        self._last = self._worker.submit(work, block)

    def wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()


class _Growing:
    """An array that grows along its first axis in place: blocks kept in a list would be copied at the end."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._array = np.empty((0, *shape), dtype)
        self._length = 0

    def append(self, block: NDArray[Any]) -> None:
        length = self._length + len(block)
        if length > len(self._array):
            self._resize(max(length, len(self._array) * 3 // 2))
        self._array[self._length : length] = block
        self._length = length

    def finish(self) -> NDArray[Any]:
        self._resize(self._length)
        return self._array

    def _resize(self, length: int) -> None:
        self._array.resize((length, *self._array.shape[1:]), refcheck=False)


class _Collected:
    """What the blocks read so far add up to."""

    def __init__(self, path: Path, header: Header, sink: ImageSink | None, imaging: _Beside) -> None:
        self.rows = 0
        self._path, self._header, self._sink, self._imaging = path, header, sink, imaging
        self._coordinates = np.array(header.coordinate_columns, np.intp)
        has_text = header.image_column == IMAGE_COLUMN
        self._image = header.columns.index(IMAGE_COLUMN) if has_text else None
        shape = (len(header.keypoints), len(AXES))
        self._labels = _Growing(shape, np.float64)
        self._spans = _Growing((*shape, 2), np.int64)
        self._lines = _Growing((), np.int64)
        self._extra: dict[int, list[str]] = {c: [] for c in header.extra_columns}

    @property
    def memory(self) -> int:
        """Roughly how many bytes the rows take, texts themselves left out."""
        return self.rows * 8 * (1 + 3 * len(self._coordinates) + len(self._extra))

    def add(self, block: RecordBlock) -> None:
        starts, ends = block.starts[:, self._coordinates], block.ends[:, self._coordinates]
        shape = (len(starts), len(self._header.keypoints), len(AXES))
        try:
            values = decode_coordinates(block.buffer, starts.ravel(), ends.ravel())
        except NotACoordinate as error:
            r, c = divmod(error.index, starts.shape[1])
            column = self._header.columns[self._coordinates[c]]
            where = place(self._path, row=self.rows + r, line=int(block.lines[r]), column=column)
            raise DataError(f"{where}: {error}") from error
        self._labels.append(values.reshape(shape))
        self._spans.append(np.stack([starts, ends], -1).reshape(*shape, 2) + block.offset)
        self._lines.append(block.lines)
        for c, fields in self._extra.items():
            spans = zip(block.starts[:, c].tolist(), block.ends[:, c].tolist(), strict=True)
            fields += [_text(block.buffer[start:end]) for start, end in spans]
        if self._image is not None and self._sink is not None:
            begin, end = _inner(block.buffer, block.starts[:, self._image], block.ends[:, self._image])
            texts = ImageTexts(block.buffer, begin, end, self.rows, block.lines, block.cut_short)
            self._imaging.do(self._sink, texts)
        self.rows += len(block.lines)

    def table(self, sha256: str, length: int) -> KeypointTable:
        columns, lines = self._header.columns, self._lines.finish()
        extra = {columns[c]: texts for c, texts in self._extra.items()}
        if self._header.image_column == IMAGE_PATH_COLUMN:
            refuse_blank_image_paths(self._path, extra[IMAGE_PATH_COLUMN], lines)
        return KeypointTable(
            path=self._path,
            content_sha256=sha256,
            content_length=length,
            columns=columns,
            delimiter=self._header.delimiter,
            keypoints=self._header.keypoints,
            labels=self._labels.finish(),
            field_spans=self._spans.finish(),
            lines=lines,
            extra=extra,
            image_column=self._header.image_column,
        )


def refuse_blank_image_paths(path: Path, texts: Sequence[str], lines: Positions | None = None) -> None:
    """Refuse a row that names no image; a table of text has lines."""
    for row, text in enumerate(texts):
        if not text.strip():
            line = None if lines is None else int(lines[row])
            where = place(path, row=row, line=line, column=IMAGE_PATH_COLUMN)
            raise DataError(f"{where}: no image is named; name its file, or remove the row")


def _text(field: bytes) -> str:
    if field[:1] == b'"':
        field = field.rstrip(b" \t")[1:-1].replace(b'""', b'"')
    return field.decode("utf-8", "surrogateescape")


def _inner(buffer: bytes, starts: Positions, ends: Positions) -> tuple[Positions, Positions]:
    """Begin and end of what stands inside the quotes, if there are any."""
    text = np.frombuffer(buffer, np.uint8)
    quoted = (ends > starts) & (text[np.minimum(starts, len(text) - 1)] == ord('"'))
    if not quoted.any():
        return starts, ends
    begin, end = starts + quoted, ends.copy()
    for i in np.flatnonzero(quoted):
        end[i] = starts[i] + len(buffer[starts[i] : ends[i]].rstrip(b" \t")) - 1
    return begin, end
