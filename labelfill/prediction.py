"""The final network applied to new images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.dataset import Dataset
from labelfill.errors import DataError, ModelError, UsageError
from labelfill.final_model import FinalModel, load_final
from labelfill.joining import join_rows
from labelfill.progress import bar
from labelfill.runs import (
    RunDirectory,
    atomic_write,
)
from labelfill.schema import KeypointSchema
from labelfill.settings import PredictSettings
from labelfill.sources import UNKNOWN
from labelfill.table import check_suffix, compressed_writer, coordinate_text, read_table
from labelfill.training import choose_device

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


def predict(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: PredictSettings,
    *,
    device: str,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Apply the final network to a table of images and write all keypoints, other columns kept.

    Raises
    ------
    UsageError
        If the output exists, or a source is named that the network does not know.
    """
    if out.resolve() == dataset.table.path.resolve():
        raise UsageError(f"--out {out} is the table of images that is read; give another file")
    check_suffix(out.name)
    if out.exists() and not force:
        raise UsageError(f"{out} exists already: use --force to overwrite it, or write to another file")
    chosen = choose_device(device)
    model = load_final(run, chosen)
    if dataset.schema.image_size != model.schema.image_size:
        raise ModelError(
            f"{dataset.table.path} has images of {dataset.schema.image_size}, "
            f"the final network in {run.path} "
            f"is for {model.schema.image_size}; train one for it in another --run-dir"
        )
    groups = _asked_sources(dataset, model, settings)
    assert dataset.images is not None
    pieces = []
    with bar(total=dataset.table.rows, desc="predict", unit="row", show=progress) as shown:
        for begin in range(0, dataset.table.rows, settings.batch_size):
            part = slice(begin, begin + settings.batch_size)
            found, _ = model.answer(np.asarray(dataset.images[part]), chosen)
            pieces.append(model.heads.in_convention(found, groups[part]))
            shown.update(len(found))
    xy = np.concatenate(pieces) if pieces else np.zeros((0, model.schema.count, 2))
    xy = dataset.in_own_px(xy)
    _write_predictions(out, dataset, model.schema, xy)
    known = groups != UNKNOWN
    return {
        "out": str(out),
        "rows": dataset.table.rows,
        "keypoints": model.schema.count,
        "convention": "reference" if not known.any() else "of each row's source",
        "rows in the reference convention": int((~known).sum()),
    }


def _asked_sources(dataset: Dataset, model: FinalModel, settings: PredictSettings) -> Integers:
    """(n,): group in whose convention each row is asked for; `UNKNOWN` for the reference convention."""
    if not model.sources and (settings.source, settings.source_from) != (None, None):
        raise UsageError(
            "the final network was trained with --single-convention and answers as the table mixes its "
            "conventions: leave out --source and --source-from, or train it without --single-convention"
        )
    numbers = {name: number for number, name in enumerate(model.sources)}
    rows = dataset.table.rows
    if settings.source is not None:
        if settings.source not in numbers:
            raise UsageError(
                f"--source {settings.source}: the network knows the sources {', '.join(numbers)}"
            )
        return np.full(rows, numbers[settings.source])
    if settings.source_from is None:
        return np.full(rows, UNKNOWN)
    path, _, column = settings.source_from.rpartition(":")
    if not path or not column:
        raise UsageError(
            f"--source-from {settings.source_from!r} is not TABLE:COLUMN, for example truth.csv:source"
        )
    table = read_table(Path(path), require_keypoints=False, require_images=False)
    if column not in table.extra:
        raise DataError(
            f"{path} has no column {column!r} for --source-from; "
            f"it has {', '.join(sorted(table.extra)) or 'none'}"
        )
    of_row, _ = join_rows(table, dataset.table)
    values = [table.extra[column][row].strip() if row >= 0 else "" for row in of_row.tolist()]
    unknown = sorted({value for value in values if value and value not in numbers})
    if unknown:
        raise DataError(
            f"{path}, column {column!r}: the network does not know the source {unknown[0]!r}; "
            f"it knows {', '.join(numbers)}"
        )
    return np.array([numbers.get(value, UNKNOWN) for value in values], np.int64)


def _write_predictions(out: Path, dataset: Dataset, schema: KeypointSchema, xy: Array) -> None:
    extra = list(dataset.table.extra)
    with atomic_write(out) as file, compressed_writer(file, out.name) as plain:
        text = io.TextIOWrapper(
            plain, encoding="utf-8", newline="", errors="surrogateescape", write_through=True
        )
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*extra, *schema.columns])
        for row in range(len(xy)):
            own = [dataset.table.extra[column][row] for column in extra]
            writer.writerow([*own, *(coordinate_text(value).decode() for value in xy[row].reshape(-1))])
        text.flush()
        text.detach()
