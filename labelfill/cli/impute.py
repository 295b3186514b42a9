"""``labelfill impute``: the second of the three stages."""

from __future__ import annotations

import glob
import logging
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result, shown, table
from labelfill.cli._stages import (
    DONE_BEFORE,
    NOTHING_DONE,
    PLANNED_WRITES,
    chosen_engine,
    find_table,
    next_commands,
    open_run,
    planned_state,
)
from labelfill.data.run_tables import read_run_table, refuse_changed_table
from labelfill.errors import EXIT_CELLS_LEFT_BLANK, EXIT_DONE, DataError, UsageError, counted
from labelfill.settings import ImputeSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory

_log = logging.getLogger("labelfill")


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "impute",
        "fill the blank coordinates of a table",
        description="Fill every blank coordinate of a table and leave every other byte unchanged\n"
        "(in JSON and Parquet: every other value).\n"
        "A second file, OUT.provenance.csv, records where each filled value comes from.",
        example="labelfill impute --out filled.csv",
    )
    parser.add_path(
        "--out",
        "TABLE",
        "filled table to write: .csv, .csv.gz or .zip (default: filled.csv in the run directory); a "
        "folder if --data is a pattern such as 'parts/*.csv'",
    )
    parser.add_stage_options()
    parser.add_settings(TableSettings, "image_folder", "allow_outside", "distrust")
    parser.add_reading_options()
    parser.add_settings(ImputeSettings, "batch_size", "coverage", "max_radius", "corrections")
    parser.add_settings(ImputeSettings, "harmonise", "parquet", "fill_occluded", "likelihood")
    return parser


def handle(call: Call) -> int:
    tables = tables_of_pattern(call.settings(TableSettings).data)
    with open_run(call, TableSettings, ImputeSettings, begun=True) as run:
        results = [perform(call, run)] if tables is None else _each(tables, call, run)
    result = results[0] if tables is None else {"tables": results}
    if call.given.dry_run:
        planned = PLANNED_FILLING if tables is None else PLANNED_FILLINGS
        call.tell(result, (NOTHING_DONE, *planned))
        return EXIT_DONE
    beside = {
        "coverage": call.settings(ImputeSettings).coverage,
        "likelihood": call.settings(ImputeSettings).likelihood,
        "run_dir": call.settings(RunSettings).run_dir,
    }
    call.tell(result, FILLING if tables is None else FILLINGS, beside)
    return max(map(exit_code, results))


def tables_of_pattern(data: Path | None) -> dict[str, Path] | None:
    """The tables that a pattern such as ``parts/*.csv`` stands for, by name; None if `data` is no pattern.

    Raises
    ------
    DataError
        If there is none, or if two have one name, as they would be filled into one file.
    """
    if data is None or data.exists() or not glob.has_magic(str(data)):
        return None
    found = [Path(path) for path in sorted(glob.glob(str(data), recursive=True)) if Path(path).is_file()]
    if not found:
        raise DataError(f"no file matches {data}")
    tables: dict[str, Path] = {}
    for path in found:
        if path.name in tables:
            raise DataError(
                f"{tables[path.name]} and {path} have the same name and would overwrite each other: "
                "run one command per folder, each with its own --out"
            )
        tables[path.name] = path
    return tables


def exit_code(summary: Result) -> int:
    return EXIT_CELLS_LEFT_BLANK if summary["left_blank"] else EXIT_DONE


def output_path(call: Call, run: RunDirectory, table: Path) -> Path:
    """Where the filled copy of `table` goes: in the same format."""
    from labelfill.data.formats import suffix_of

    return call.given.out or run.path / f"filled{suffix_of(table)}"


def perform(call: Call, run: RunDirectory) -> Result:
    """What was done, or with --dry-run what would be."""
    table = find_table(call.settings(TableSettings).data, run)
    return _perform(table, output_path(call, run, table), call, run)


def _each(tables: Mapping[str, Path], call: Call, run: RunDirectory) -> list[Result]:
    """Fill every table of a pattern into a folder, under its own name; what is finished is not done again."""
    lists = {
        "--corrections": call.settings(ImputeSettings).corrections,
        "--distrust": call.settings(TableSettings).distrust,
    }
    given = [name for name, file in lists.items() if file is not None]
    if given:
        raise UsageError(f"{' and '.join(given)} refers to the rows of one table: fill that table on its own")
    folder = call.given.out or run.path / "filled"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; with several tables it must be a folder")
    run.make_folder(folder)
    results = []
    for number, (name, path) in enumerate(tables.items(), start=1):
        if not call.given.dry_run:
            _log.info("table %d of %d: %s", number, len(tables), path)
        results.append(_perform(path, folder / name, call, run))
    return results


def _perform(path: Path, out: Path, call: Call, run: RunDirectory) -> Result:
    table, filling = call.settings(TableSettings), call.settings(ImputeSettings)
    dataset = read_run_table(
        run, path, table, to_fill=True, require_images=False, show_progress=call.progress
    )
    if table.data is None:
        refuse_changed_table(run, dataset)

    from labelfill.data.corrections import read_corrections
    from labelfill.filling.job import filling_job
    from labelfill.filling.stage import describe_filling, impute

    verdicts = filling.corrections
    job = filling_job(
        run,
        dataset,
        out,
        filling,
        corrections=None if verdicts is None else read_corrections(verdicts, dataset.table),
        device=call.settings(RunSettings).device,
        force=call.given.force,
    )
    if call.given.dry_run:
        return describe_filling(run, job)
    result = asdict(impute(run, job, progress=call.progress, engine=chosen_engine(call)))
    return {**result, "without_images": True} if run.without_images else result


_UNKNOWN_SOURCE: Line = (
    "unknown_source_rows",
    "from a label source unknown to the models: {unknown_source_rows:row}, with wider radii",
)


def _cells(r: Result) -> Iterable[tuple[str, Result]]:
    left = r["left_blank_keypoints"]
    return [(name, {"filled": n, "left_blank": left.get(name, 0)}) for name, n in r["keypoints"].items()]


_FILLED = (("would be filled", "filled", ","), ("would stay blank", "left_blank", ","))
PLANNED_FILLING: tuple[Line, ...] = (
    planned_state(lambda r: "the table has not been written yet"),
    "{table}, {rows:row}: {observed:,} cells observed, {filled:,} would be filled, "
    "{left_blank:,} would stay blank",
    ("keypoints", lambda r: ["", *table("cells", _FILLED, _cells(r)), ""]),
    ("copies", "copied from an identical image: {copies:point}"),
    (
        "kept_occluded",
        "marked as occluded, would stay blank: {kept_occluded:point} (--fill-occluded fills them)",
    ),
    ("rejected", "rejected, would stay blank: {rejected:cell}"),
    ("max_radius", "points with an error radius above {max_radius:g} px would also stay blank"),
    _UNKNOWN_SOURCE,
    "on {device}",
    PLANNED_WRITES,
)

_TABLES = (("rows", "rows", ","), *_FILLED, ("would be written", "written", ""))
PLANNED_FILLINGS: tuple[Line, ...] = (
    lambda r: table(
        "table",
        _TABLES,
        ((plan["table"], {**plan, "written": plan["writes"]["table"]}) for plan in r["tables"]),
    ),
)


# What images would add: figures of docs/accuracy.md.
_WITHOUT_IMAGES = (
    "filled from labels alone; with images, in a column Image or image_path, networks also look at each row, "
    "which lowered the error on real faces from 1.65 to 1.12 px"
)
_METHODS = {
    "regressor": "by regressors",
    "copy": "from an identical image",
    "prior": "by the shape prior",
    "convention": "converted to the convention of their source",
    "confirmed": "confirmed in review",
}


def _filled_points(r: Result) -> list[str]:
    return ["filled points: " + ", ".join(f"{_METHODS[name]} {n:,}" for name, n in r["methods"].items())]


def _left_blank(r: Result) -> list[str]:
    """Where cells were left blank and why, with counts where there are several reasons."""
    rest = r["left_blank"] - r["rejected"] - r["too_uncertain"]
    counts = (rest, r["rejected"], r["too_uncertain"])
    reasons = zip(("too few labels", "rejected", "too uncertain"), counts, strict=True)
    given = {why: count for why, count in reasons if count}
    why = next(iter(given)) if len(given) == 1 else shown(given, "cell")
    return [f"left blank, {why}: {shown(r['left_blank_keypoints'], 'cell')}"]


def _quality(r: Result) -> list[str]:
    from labelfill.filling.quality import quality_sentence

    sentence = quality_sentence(r["median_radius"], r["median_radius_share"], r["image_size"])
    return [sentence, f"{r['coverage']:.0%} of errors should lie within the error radii"]


_COSTLIEST = 3
_COST = (
    ("points", "points", ","),
    ("median radius, px", "median_radius", ".2f"),
    ("share of squared error", "error_share", ".0%"),
)


def _costliest(r: Result) -> list[str]:
    """The keypoints of a source in which errors are expected to add up to most."""
    named = ((_of_source(entry), entry) for entry in r["by_source"][:_COSTLIEST])
    return ["", *table("check these first", _COST, named), ""]


def _of_source(entry: Result) -> str:
    of = f" of source {entry['source']}" if entry["source"] else ""
    return f"{entry['keypoint']}{of}"


_HOLDS = {
    "source-shift": "never labelled by their source, so their radii are wider and unverified",
    "low-data": "few training labels, wide radii",
}


def _of_sources(r: Result) -> list[str]:
    """What holds for all fills of a source and keypoint, with how many points it holds for."""
    lines = []
    for word, meaning in _HOLDS.items():
        points = sum(entry["points"] for entry in r["by_source"] if word in entry["flags"].split())
        keypoints = len({entry["keypoint"] for entry in r["by_source"] if word in entry["flags"].split()})
        if points:
            lines.append(f"{meaning}: {counted(points, 'point')} of {counted(keypoints, 'keypoint')}")
    return lines


_NEXT = (
    ("review", "check doubtful fills"),
    ("report", "see errors and pictures"),
    ("train-final", "train the final network"),
)


def _next(r: Result) -> list[str]:
    filled = shlex.quote(str(r["out"]))
    return next_commands(r, *((f"labelfill {name} --filled {filled}", purpose) for name, purpose in _NEXT))


FILLING: tuple[Line, ...] = (
    DONE_BEFORE,
    (
        lambda r: r["filled"] or r["left_blank"],
        "{rows:row}: {observed:,} cells observed, {filled:,} filled, {left_blank:,} left blank",
    ),
    (
        lambda r: not r["filled"] and not r["left_blank"],
        # Columns of likelihoods may be new, and empty.
        lambda r: [
            f"nothing to fill: all {r['observed']:,} cells are observed"
            + ("" if r.get("likelihood") else ", the output equals the input")
        ],
    ),
    ("left_blank_keypoints", _left_blank),
    ("kept_occluded", "marked as occluded, left blank: {kept_occluded:point} (--fill-occluded fills them)"),
    ("distrusted", "marked as wrong, kept in the table but not used: {distrusted:label}"),
    ("methods", _filled_points),
    _UNKNOWN_SOURCE,
    ("quality", _quality),
    ("by_source", _costliest),
    ("to_review", "flagged and listed, worst first: {to_review:point}"),
    ("by_source", _of_sources),
    ("without_images", _WITHOUT_IMAGES),
    "{seconds:.1f} s, {rows_per_second:,.0f} rows per second",
    "wrote {out}",
    "wrote {provenance} (where each filled value comes from)",
    lambda r: (f"wrote {path} ({what})" for path, what in r["further"].items()),
    (lambda r: "run_dir" in r and not r.get("without_images"), _next),
)


_FILLED_TABLES = (
    ("rows", "rows", ","),
    ("filled", "filled", ","),
    ("left blank", "left_blank", ","),
    ("median radius, px", "median_radius", ".2f"),
)


def _tables_and_all(r: Result) -> Iterable[tuple[str, Result]]:
    total = {name: sum(filled[name] for filled in r["tables"]) for name in ("rows", "filled", "left_blank")}
    return [*((Path(filled["out"]).name, filled) for filled in r["tables"]), ("all", total)]


def _filled_into(r: Result) -> list[str]:
    before = sum(filled["state"] == "done before" for filled in r["tables"])
    done = f", {before} of them earlier" if before else ""
    where = f"{counted(len(r['tables']), 'table')} into {Path(r['tables'][0]['out']).parent}"
    return [f"filled {where}{done}, each with its provenance"]


FILLINGS: tuple[Line, ...] = (
    lambda r: table("table", _FILLED_TABLES, _tables_and_all(r)),
    "{coverage:.0%} of errors should lie within the error radii",
    _filled_into,
    (lambda r: r["tables"][0].get("without_images"), _WITHOUT_IMAGES),
)
