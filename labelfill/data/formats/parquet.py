"""Parquet: the columns of a table, coordinates as numbers.

A blank is a null or a NaN. ``Image`` holds grey values as text, ``image_path`` names a file. Filling writes
the whole file anew with the same columns, schema metadata, compression and row groups; every value but
filled blanks is the same. A coordinate column of another type than float64 becomes float64 if something is
filled in it, so that observed and filled values both keep every digit; so does a column of likelihoods,
unless it holds text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfill.data.formats.likelihoods import (
    likelihood_columns,
    no_likelihoods,
    scores_of_fills,
    without_likelihoods,
)
from labelfill.data.table import (
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    FoundPoints,
    ImageSink,
    ImageTexts,
    KeypointTable,
    NoImagesError,
    coordinate_texts,
    is_grey_text,
    likelihood_column,
    named_image_column,
    refuse_blank_image_paths,
    refuse_changed,
    without_images,
)
from labelfill.errors import DataError, StorageError, UsageError, listed, place
from labelfill.schema import AXES, coordinate_columns, keypoints_in_header

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = "parquet"
MAGIC = b"PAR1"

_ROWS_AT_ONCE = 256


def read_parquet(
    path: Path,
    *,
    image_sink: ImageSink | None = None,
    require_keypoints: bool = True,
    require_images: bool = True,
    image_column: str | None = None,
) -> KeypointTable:
    """Read a Parquet file; a row's line is its number, counted from 1.

    Raises
    ------
    DataError
        If it is damaged, or a column is missing or holds something else.
    UsageError
        If pyarrow is not installed.
    """
    file = _open(path)
    columns = tuple(file.schema_arrow.names)
    try:
        keypoints = keypoints_in_header(columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    images = named_image_column(path, columns, image_column)
    if require_keypoints and not keypoints:
        raise DataError(
            f"{path}: no keypoint columns, expected pairs named like nose_x and nose_y; "
            f"found {listed(columns)}"
        )
    rows = file.metadata.num_rows
    if not rows:
        raise DataError(f"{path} has no rows; expected at least one row of labels or images")
    coordinates = coordinate_columns(keypoints)
    others = [name for name in columns if name not in coordinates]
    grey = images is not None and _holds_grey_values(file, images)
    if grey or images == IMAGE_COLUMN:
        others.remove(images)
    content = file.read(columns=[*coordinates, *others])
    labels = [_numbers(path, name, content.column(name)) for name in coordinates]
    extra = {name: texts for name in others if (texts := _texts(content.column(name))) is not None}
    if images is None and require_images:
        first = [extra[name][0] if name in extra else "" for name in columns]
        raise NoImagesError(without_images(path, columns, first))
    if images is not None and images not in others:
        kind: str | None = IMAGE_COLUMN
        if image_sink is not None:
            _send_images(path, file, images, image_sink)
    elif images is not None:
        kind = IMAGE_PATH_COLUMN
        if images not in extra:
            raise DataError(f"{path}, column {images!r}: expected names of files as text")
        extra = {IMAGE_PATH_COLUMN: extra[images], **extra} if images != IMAGE_PATH_COLUMN else extra
        refuse_blank_image_paths(path, extra[IMAGE_PATH_COLUMN])
    else:
        kind = None
    shape = (rows, len(keypoints), len(AXES))
    sha256, length = _fingerprint(path)
    return KeypointTable(
        path=path,
        content_sha256=sha256,
        content_length=length,
        columns=columns,
        keypoints=keypoints,
        labels=np.array(labels).T.reshape(shape) if labels else np.empty(shape),
        field_spans=np.zeros((*shape, 2), np.int64),
        lines=np.arange(1, rows + 1),
        extra=extra,
        image_column=kind,
        format=PARQUET,
    )


def _open(path: Path) -> Any:
    require_pyarrow(path)
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        return pq.ParquetFile(path)
    except (ArrowException, ValueError) as error:
        raise DataError(f"{path} is a damaged or truncated Parquet file ({error}); copy it again") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error


def require_pyarrow(path: Path) -> None:
    """Say what to install if pyarrow is not there."""
    try:
        import pyarrow  # noqa: F401  # asked for only whether it is there
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet needs pyarrow; install it by: pip install 'labelfill[parquet]'"
        ) from error


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa

    if not (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)
    ):
        raise DataError(
            f"{path}, column {name!r}: found values of type {column.type}, expected numbers in px"
        )
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        where = place(path, row=int(infinite[0]), column=name)
        raise DataError(f"{where}: found {values[infinite[0]]}, expected a finite number, or null if unknown")
    return values


def _texts(column: pa.ChunkedArray) -> list[str] | None:
    """A column as text; None if it holds what has none, such as lists."""
    import pyarrow as pa

    try:
        return ["" if text is None else text for text in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None


def _holds_grey_values(file: Any, column: str) -> bool:
    """Whether a column holds grey values as text, by its first value."""
    batch = next(file.iter_batches(batch_size=1, columns=[column]), None)
    return batch is not None and is_grey_text(str(batch.column(0)[0].as_py()).encode())


def _send_images(path: Path, file: Any, images: str, sink: ImageSink) -> None:
    import pyarrow as pa

    row = 0
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[images]):
        column = batch.column(0)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DataError(
                f"{path}, column {images!r}: found values of type {column.type}, expected grey "
                "values as text, separated by spaces"
            )
        texts = [(text or "").encode() for text in column.to_pylist()]
        ends = np.cumsum([len(text) for text in texts])
        lines = np.arange(row + 1, row + 1 + len(texts))
        sink(ImageTexts(b"".join(texts), ends - [len(text) for text in texts], ends, row, lines))
        row += len(texts)


def _fingerprint(path: Path) -> tuple[str, int]:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def filled_parquet(table: KeypointTable, found: FoundPoints, *, likelihood: bool = False) -> bytes:
    """The file with its blank coordinates filled, everything else the same.

    Parameters
    ----------
    likelihood
        Whether columns state how sure each fill is.
    """
    import pyarrow as pa

    refuse_changed(table, _fingerprint(table.path)[0])
    file = _open(table.path)
    content: pa.Table = file.read()
    for name, filled, xy in zip(
        coordinate_columns(table.keypoints),
        *(array.reshape(table.rows, -1).T for array in (found.new(table), found.xy)),
        strict=True,
    ):
        if filled.any():
            index = content.column_names.index(name)
            field = content.schema.field(index).with_type(pa.float64()).with_nullable(True)
            before = content.column(index).cast(pa.float64()).to_numpy()
            # Filled coordinates as they stand in a text table.
            written = np.array([float(found.text(value)) for value in xy.tolist()])
            # What stays blank was a null or a NaN: both are nulls now.
            values = pa.array(np.where(filled, written, before), pa.float64(), from_pandas=True)
            content = content.set_column(index, field, values)
    if likelihood:
        content = _with_likelihoods(content, table, found)
    group = file.metadata.row_group(0)
    return _packed(content, compression=group.column(0).compression, row_group_size=group.num_rows)


def _with_likelihoods(content: pa.Table, table: KeypointTable, found: FoundPoints) -> pa.Table:
    """The same with the score of each fill in the columns that state it, and new columns at the end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [text.decode() for text in coordinate_texts(scores_of_fills(table, found).ravel())]
    by_keypoint = np.array(texts, np.float64).reshape(table.rows, -1).T
    for k, name in likelihood_columns(table).items():
        filled = np.isfinite(by_keypoint[k])
        if filled.any():
            index = content.column_names.index(name)
            field = content.schema.field(index)
            is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
            kind = field.type if is_text else pa.float64()
            new = texts[k :: len(table.keypoints)] if is_text else by_keypoint[k]
            try:
                before = content.column(index).cast(kind)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                raise no_likelihoods(table, name) from error
            values = pc.if_else(pa.array(filled), pa.array(new, kind), before)
            content = content.set_column(index, field.with_type(kind).with_nullable(True), values)
    for k in without_likelihoods(table):
        new = pa.array(by_keypoint[k], pa.float64(), from_pandas=True)
        content = content.append_column(likelihood_column(table.keypoints[k]), new)
    return content


def table_as_parquet(
    table: KeypointTable, further: Mapping[str, Sequence[str]], images: Sequence[str] | None
) -> bytes:
    """A whole table as a new file: further columns as text, coordinates as float64, blanks as nulls.

    Parameters
    ----------
    images
        Each row's grey values as text, if the table holds them.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, texts in further.items():  # Parquet's texts are UTF-8
        valid = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
        columns[name] = pa.array(valid, pa.string())
    labels = table.labels.reshape(table.rows, -1).T
    for name, values in zip(coordinate_columns(table.keypoints), labels, strict=True):
        columns[name] = pa.array(values, pa.float64(), from_pandas=True)
    if images is not None:
        columns[IMAGE_COLUMN] = pa.array(images, pa.string())
    return _packed(pa.table(columns))


def _packed(content: pa.Table, compression: str = "snappy", row_group_size: int | None = None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(content, sink, compression=compression, row_group_size=row_group_size)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
