"""Drawn tables as files, and the sample: ``training.csv`` in Kaggle's schema and its truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from labelfill.arrays import Images
from labelfill.data.synthetic.tables import KAGGLE_SOURCES, DrawnTable, Source, draw_table
from labelfill.errors import UsageError
from labelfill.runs import atomic_write, make_folder
from labelfill.runs.progress import bar

SAMPLE_ROWS = 700
"""Rows of the sample's training table: enough to learn from, few enough for some minutes on two cores."""

_FEWEST_ROWS = 20
_TEST_SHARE = 0.2  # test rows per training row

SAMPLE_FILES = ("training.csv", "truth.csv", "test.csv", "test_truth.csv")

_TEST_SOURCES = tuple(
    Source(source.name, 1 / len(KAGGLE_SOURCES), source.labels, source.means) for source in KAGGLE_SOURCES
)


def write_sample(
    folder: Path, rows: int = SAMPLE_ROWS, seed: int = 0, *, force: bool = False, show_progress: bool = False
) -> dict[Path, int]:
    """Write the sample's four files into a folder, which is created if need be; each file's rows by its path.

    * ``training.csv``: labels with gaps and the images, columns as in Kaggle's table.
    * ``truth.csv``: for each of its rows ``row`` (0-based), ``source`` and every coordinate without noise, in
      the first source's convention.
    * ``test.csv``: ``ImageId`` and the images of other faces.
    * ``test_truth.csv``: for each of them ``ImageId``, ``source`` and the coordinates that this source would
      label, without noise, in its own convention.

    Raises
    ------
    UsageError
        If there are too few rows, or one of the files exists and `force` is false.
    StorageError
        If the folder or a file cannot be written.
    """
    if rows < _FEWEST_ROWS:
        raise UsageError(f"a sample needs at least {_FEWEST_ROWS} rows, not {rows}")
    if seed < 0:
        raise UsageError(f"a seed is 0 or more, not {seed}")
    paths = [folder / name for name in SAMPLE_FILES]
    for path in paths:
        if path.exists() and not force:
            raise UsageError(f"{path} exists already: choose another folder, or --force to replace it")
    make_folder(folder)
    training = draw_table(rows, seed, sources=KAGGLE_SOURCES)
    test_rows = max(_FEWEST_ROWS, round(_TEST_SHARE * rows))
    test = draw_table(test_rows, (seed, 1), sources=_TEST_SOURCES)
    expected = np.where(np.isnan(test.labels), np.nan, test.own_truth)
    row, image_id = map(str, range(rows)), list(map(str, range(1, test_rows + 1)))
    write_table(paths[0], training, show_progress=show_progress)
    about = {"row": list(row), "source": training.sources}
    write_table(paths[1], training.labelled(training.truth), before=about, images="none")
    write_table(paths[2], test.labelled(None), before={"ImageId": image_id}, show_progress=show_progress)
    about = {"ImageId": image_id, "source": test.sources}
    write_table(paths[3], test.labelled(expected), before=about, images="none")
    return dict(zip(paths, (rows, rows, test_rows, test_rows), strict=True))


def write_table(
    path: Path,
    table: DrawnTable,
    *,
    before: Mapping[str, Sequence[str]] | None = None,
    after: Mapping[str, Sequence[str]] | None = None,
    images: Literal["text", "files", "none"] = "text",
    delimiter: str = ",",
    show_progress: bool = False,
) -> None:
    """Write a drawn table as a csv file; blank labels are empty fields, all others have 4 decimals.

    Parameters
    ----------
    before, after
        Further columns, name to one text per row, before the coordinates or behind them.
    images
        ``text`` is Kaggle's ``Image`` column; ``files`` writes ``images/<row>.png`` beside the table and
        names them in ``image_path``.
    """
    texts = [
        ["" if value != value else f"{value:.4f}" for value in column]
        for column in table.labels.reshape(table.rows, -1).T.tolist()
    ]
    columns: dict[str, Iterable[str]] = {
        **(before or {}), **dict(zip(table.schema.columns, texts, strict=True)), **(after or {}),
    }  # fmt: skip
    if images == "files":
        columns["image_path"] = _write_image_files(path.parent, table.images)
    elif images == "text":
        columns["Image"] = _image_texts(table.images)
    rows = zip(*columns.values(), strict=True)
    with atomic_write(path) as file:
        file.write((delimiter.join(columns) + "\n").encode())
        for fields in bar(
            rows, total=table.rows, desc=f"writing {path.name}", unit="row", show=show_progress
        ):
            file.write((delimiter.join(fields) + "\n").encode())


def _image_texts(images: Images) -> Iterator[str]:
    text = [str(value) for value in range(256)]
    for image in images:
        yield " ".join([text[value] for value in image.ravel().tolist()])


def _write_image_files(folder: Path, images: Images) -> list[str]:
    from skimage.io import imsave

    make_folder(folder / "images")
    names = [f"images/{i:05d}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        imsave(folder / name, image, check_contrast=False)
    return names
