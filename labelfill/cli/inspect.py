"""``labelfill inspect``: look at a table before anything is trained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import find_table
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._printing import printed
from labelfill.cli._results import AUDIT
from labelfill.errors import EXIT_DONE, DataError, UsageError
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
        "look at a table before anything is trained",
        description="Count a table's labels and gaps, and find rows whose labels look wrong, images that\n"
        "repeat or show nothing, and label sources. Images are looked at if the table has them.\n"
        "Nothing is trained or changed.",
        example="labelfill inspect data/training.csv --html inspection.html --write-distrust distrust.csv",
    )
    parser.add_path(
        "table",
        "TABLE",
        ".csv, .csv.gz or a .zip that holds one (default: data/training.csv or data/training.zip)",
        nargs="?",
    )
    parser.add_settings(TableSettings, "image_size", "source_column", "image_folder", "allow_outside")
    parser.add_settings(RunSettings, "seed")
    parser.add_path(
        "--run-dir",
        "FOLDER",
        "also judge labels by the keypoint models of this run, and tell what its source audit found",
    )
    parser.add_path("--html", "FILE", "write a page with pictures to this file")
    parser.add_path(
        "--write-distrust",
        "FILE",
        "write the labels in question of the flagged rows to this file, as lines row,keypoint",
    )
    parser.add_switch("--force", "replace files that exist")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    table_settings, seed = settings(TableSettings), settings(RunSettings).seed
    path = find_table(arguments.table or table_settings.data)
    _check_outputs(arguments)

    from labelfill.data.dataset_reading import TableRequest, read_dataset
    from labelfill.reports.inspection.inspected_table import InspectedTable
    from labelfill.reports.inspection.inspection import inspect
    from labelfill.reports.inspection.summary import as_json, as_text

    request = TableRequest(
        table_settings.image_size,
        require_keypoints=False,
        require_images=False,
        images_beside=table_settings.images_beside,
        allow_outside=table_settings.allow_outside,
    )
    dataset = read_dataset(path, request, show_progress=show_progress(arguments))
    sources, source_of = _group(dataset, table_settings.source_column)
    frame_known = dataset.images is not None or table_settings.image_size is not None
    table = InspectedTable(dataset, sources, source_of, frame_known)
    found = inspect(table, seed=seed, show_progress=show_progress(arguments))
    audit: list[dict[str, Any]] = []
    if arguments.run_dir is not None:
        found, audit = _judged_by_models(arguments, dataset, found)
    written = _write_outputs(arguments, found)
    result = {"table": str(path), **as_json(found)}
    text = f"{path}: {as_text(found)}"
    if dataset.placements is not None:
        frame = dataset.schema.image_size
        text += f"\n\nimages differ in size: px are those of the frame of {frame} that each is scaled into"
    if arguments.run_dir is not None:
        result["convention_offsets"] = audit
        text += f"\n\n{printed(AUDIT, result)}"
    if written:
        text += "\n\n" + "\n".join(f"wrote {line}" for line in written)
    print_result(result, as_json=arguments.json, text=text)
    return EXIT_DONE


def _judged_by_models(
    arguments: argparse.Namespace, dataset: Dataset, found: Inspection
) -> tuple[Inspection, list[dict[str, Any]]]:
    """The findings with labels that a run's models contradict, and the convention offsets it measured."""
    from dataclasses import replace

    from labelfill.networks.devices import choose_device
    from labelfill.regressors.files import STAGE
    from labelfill.reports.inspection.contradictions import find_contradictions
    from labelfill.reports.inspection.suspects import with_contradicted
    from labelfill.runs import RunDirectory

    run = RunDirectory.read_only(arguments.run_dir)
    run.require_stage(STAGE)
    against = find_contradictions(run, dataset, choose_device("auto"), progress=show_progress(arguments))
    suspects = with_contradicted(found.suspects, against.severity, against.answer)
    return replace(found, suspects=suspects), run.stages[STAGE]["results"]["convention offsets"]


def _check_outputs(arguments: argparse.Namespace) -> None:
    """What would be refused in the end is refused before any work is done."""
    for path in (arguments.html, arguments.write_distrust):
        if path is not None and path.exists() and not arguments.force:
            raise UsageError(f"{path} exists already: choose another file, or --force to replace it")
    if arguments.html is not None and arguments.html == arguments.write_distrust:
        raise UsageError(f"--html and --write-distrust name the same file {arguments.html}: choose two")
    if arguments.html is not None:
        from labelfill.reports.plots import require_matplotlib

        require_matplotlib()


def _group(dataset: Dataset, column: str | None) -> tuple[SourceGroups, NDArray[np.int64]]:
    """The label sources and each row's."""
    from labelfill.errors import listed
    from labelfill.sources.groups import find_groups, single_group

    labelled = dataset.table.labelled
    declared = None
    if column is not None and column.lower() == "none":
        groups = single_group(dataset.schema.count)
    elif column is not None:
        if column not in dataset.table.extra:
            have = listed(sorted(dataset.table.extra)) or "none"
            raise DataError(
                f"{dataset.table.path} has no column {column!r} for --source-column; "
                f"its other columns: {have}"
            )
        declared = dataset.table.extra[column]
        groups = find_groups(labelled, declared, column)
    else:
        groups = find_groups(labelled) if dataset.schema.count else single_group(0)
    return groups, groups.assign(labelled, declared)


def _write_outputs(arguments: argparse.Namespace, found: Inspection) -> list[str]:
    from labelfill.runs import write_bytes

    written = []
    if arguments.html is not None:
        from labelfill.reports.inspection.inspection_page import inspection_page

        write_bytes(arguments.html, inspection_page(found).encode())
        written.append(str(arguments.html))
    if arguments.write_distrust is not None:
        from labelfill.data.distrust import write_distrust

        write_distrust(arguments.write_distrust, found.distrusted)
        written.append(f"{arguments.write_distrust} ({len(found.distrusted):,} labels)")
    return written
