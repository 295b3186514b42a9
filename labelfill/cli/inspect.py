"""``labelfill inspect``: look at a table before anything is trained."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result
from labelfill.cli._stages import find_table, next_commands
from labelfill.cli.train_keypoint_models import offset_sentence
from labelfill.errors import DataError, UsageError, counted, listed
from labelfill.settings import RunSettings, TableSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from labelfill.data.dataset import Dataset
    from labelfill.reports.inspection.inspection import Inspection
    from labelfill.sources.groups import SourceGroups


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "inspect",
        "check a table before training",
        description="Count labels and gaps of a table, and find suspicious labels, duplicate or "
        "empty images,\n"
        "and label sources. Images are checked too if the table has them.\n"
        "Nothing is trained or changed.",
        example="labelfill inspect data/training.csv --html inspection.html --write-distrust distrust.csv",
    )
    parser.add_path(
        "table",
        "TABLE",
        ".csv, .csv.gz or a .zip with one .csv inside (default: data/training.csv or data/training.zip)",
        nargs="?",
    )
    parser.add_settings(TableSettings, "image_size", "source_column", "image_folder", "allow_outside")
    parser.add_reading_options()
    parser.add_settings(RunSettings, "seed")
    parser.add_path(
        "--run-dir",
        "FOLDER",
        "also check labels with the keypoint models of this run, and print its source audit",
    )
    parser.add_path("--html", "FILE", "also write an HTML page with pictures to this file")
    parser.add_path(
        "--write-distrust",
        "FILE",
        "write the suspicious labels to this file, as lines row,keypoint",
    )
    parser.add_switch("--force", "overwrite existing files")
    return parser


def handle(call: Call) -> None:
    table_settings, seed = call.settings(TableSettings), call.settings(RunSettings).seed
    path = find_table(call.given.table or table_settings.data)
    _check_outputs(call)

    from labelfill.data.dataset_reading import TableRequest, read_dataset
    from labelfill.data.frame import check_frame
    from labelfill.data.label_checks import likely_meant
    from labelfill.data.reading_options import ReadingOptions
    from labelfill.reports.inspection.inspected_table import InspectedTable
    from labelfill.reports.inspection.inspection import inspect
    from labelfill.reports.inspection.summary import as_json, as_text

    request = TableRequest(
        table_settings.image_size,
        require_keypoints=False,
        require_images=False,
        images_beside=table_settings.images_beside,
        allow_outside=table_settings.allow_outside,
        reading=ReadingOptions.of(table_settings),
        lenient=True,
    )
    read = read_dataset(path, request, show_progress=call.progress)
    dataset, findings = likely_meant(read)
    sources, source_of = _group(dataset, table_settings.source_column)
    frame_known = dataset.images is not None or table_settings.image_size is not None
    if frame_known:
        size, assumed = dataset.schema.image_size, dataset.image_size_assumed
        check_frame(dataset.table, size, dataset.placements, assumed=assumed)
    table = InspectedTable(dataset, sources, source_of, frame_known, findings)
    by_labels = inspect(table, seed=seed, show_progress=call.progress)
    found, audit = (by_labels, {}) if call.given.run_dir is None else _judged(call, dataset, by_labels)
    beside = {
        "summary": as_text(found),
        "frame": None if dataset.placements is None else dataset.schema.image_size,
        "written": _write_outputs(call, found),
        "flagged": found.flagged,
        "distrust": call.given.write_distrust,
        "run_dir": call.given.run_dir or RunSettings().run_dir,
    }
    call.tell({"table": str(path), **as_json(found), **audit}, INSPECTION, beside)


def _judged(call: Call, dataset: Dataset, found: Inspection) -> tuple[Inspection, Result]:
    """The findings with labels that a run's models contradict, and what its source audit found."""
    from dataclasses import replace

    from labelfill.networks.devices import choose_device
    from labelfill.regressors.unit_names import STAGE
    from labelfill.reports.inspection.contradictions import find_contradictions
    from labelfill.reports.inspection.suspects import with_contradicted
    from labelfill.runs import RunDirectory

    run = RunDirectory.read_only(call.given.run_dir)
    run.require_stage(STAGE)
    against = find_contradictions(run, dataset, choose_device("auto"), progress=call.progress)
    suspects = with_contradicted(found.suspects, against.severity, against.answer)
    audit = {"convention_offsets": run.stages[STAGE]["results"]["convention offsets"]}
    return replace(found, suspects=suspects), audit


def _check_outputs(call: Call) -> None:
    """What would be refused in the end is refused before any work is done."""
    html = call.given.html
    for path in (html, call.given.write_distrust):
        call.refuse_existing(path)
    if html is not None and html == call.given.write_distrust:
        raise UsageError(f"--html and --write-distrust name the same file {html}: choose two different ones")
    if html is not None:
        from labelfill.data.showing import require_matplotlib

        require_matplotlib()


def _group(dataset: Dataset, column: str | None) -> tuple[SourceGroups, NDArray[np.int64]]:
    """The label sources and each row's."""
    from labelfill.sources.groups import find_groups, single_group

    labelled = dataset.table.labelled
    if (column is None and not dataset.schema.count) or (column is not None and column.lower() == "none"):
        groups, declared = single_group(dataset.schema.count), None
    else:
        declared = None if column is None else dataset.table.extra.get(column)
        if column is not None and declared is None:
            have = listed(sorted(dataset.table.extra)) or "none"
            raise DataError(
                f"{dataset.table.path} has no column {column!r} for --source-column; "
                f"its other columns: {have}"
            )
        groups = find_groups(labelled, declared, column)
    return groups, groups.assign(labelled, declared)


def _write_outputs(call: Call, found: Inspection) -> list[str]:
    from labelfill.runs import write_bytes

    written = []
    if call.given.html is not None:
        from labelfill.reports.inspection.inspection_page import inspection_page

        write_bytes(call.given.html, inspection_page(found).encode())
        written.append(str(call.given.html))
    if call.given.write_distrust is not None:
        from labelfill.data.distrust import write_distrust

        write_distrust(call.given.write_distrust, found.distrusted)
        written.append(f"{call.given.write_distrust} ({len(found.distrusted):,} labels)")
    return written


def _audit(r: Result) -> list[str]:
    """What the run's source audit found, below an empty line."""
    offsets = r["convention_offsets"]
    if not offsets:
        return ["", "conventions  the source audit of the run found no differences between sources"]
    keypoints = counted(len(offsets), "keypoint")
    lines = [
        f"conventions  {keypoints} marked differently by the sources, according to the "
        "source audit of the run"
    ]
    return ["", *lines, *(f"  {offset_sentence(offset)}" for offset in offsets)]


def _next(r: Result) -> list[str]:
    """How labels that are flagged can be left out of training."""
    table, written = shlex.quote(r["table"]), r["distrust"]
    listing = (f"labelfill inspect {table} --write-distrust distrust.csv", "list the flagged labels")
    training = f"labelfill train-keypoint-models --data {table} --distrust {shlex.quote(str(written))}"
    return ["", *next_commands(r, listing if written is None else (training, "train without them"))]


INSPECTION: tuple[Line, ...] = (
    "{table}: {summary}",
    ("frame", "\nimages differ in size: px refer to the common frame of {frame} that all are scaled to"),
    (lambda r: "convention_offsets" in r, _audit),
    ("written", lambda r: ["", *(f"wrote {line}" for line in r["written"])]),
    ("flagged", _next),
)
