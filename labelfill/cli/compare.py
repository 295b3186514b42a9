"""``labelfill compare``: ways of filling side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._options import (
    Subparsers,
    add_command,
    add_output_options,
    print_result,
    show_progress,
)
from labelfill.cli._summaries import aligned
from labelfill.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from labelfill.comparison import Comparison

_WAYS = "mean,forward-fill,knn,iterative"


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "compare",
        "score ways of filling side by side on the same blank cells",
        description="Fill the blank cells of a table in simple ways, by its columns alone, and score each\n"
        "beside tables that were filled before: RMSE and MAE in px on cells that are blank in TABLE,\n"
        "known in TRUTH, and filled in every way.",
        example="labelfill compare data/training.csv --truth data/truth.csv --filled filled.csv",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="the table with blanks")
    parser.add_argument(
        "--truth", type=Path, required=True, metavar="TABLE", help="the table that knows what the blanks hide"
    )
    parser.add_argument(
        "--filled",
        type=Path,
        action="append",
        default=[],
        metavar="TABLE",
        help="TABLE filled before, by labelfill or anything else; may be given several times",
    )
    parser.add_argument(
        "--ways",
        default=_WAYS,
        metavar="WAY,...",
        help=f"simple ways to fill, or none; knn and iterative need scikit-learn (default: {_WAYS})",
    )
    parser.add_argument(
        "--keypoints",
        default="all",
        metavar="all|rare|NAME,...",
        help="which keypoints to score; rare are those labelled in under half of TABLE's rows (default: all)",
    )
    parser.add_argument(
        "--distrust",
        type=Path,
        metavar="FILE",
        help="labels of TABLE that the simple ways do not learn from: a file of lines row,keypoint",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the scores as a table")
    parser.add_argument("--force", action="store_true", help="overwrite the file of --csv")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    csv: Path | None = arguments.csv
    if csv is not None and csv.exists() and not arguments.force:
        raise UsageError(f"{csv} exists already: use --force to overwrite it, or write to another file")
    asked = arguments.keypoints

    from labelfill.comparison import compare

    result = compare(
        arguments.table,
        arguments.truth,
        filled=arguments.filled,
        ways=[] if arguments.ways == "none" else _names(arguments.ways),  # checked where they are known
        keypoints=asked if asked in ("all", "rare") else _names(asked),
        distrust=arguments.distrust,
        show_progress=show_progress(arguments),
    )
    if csv is not None:
        _write_csv(csv, result)
    about = {"table": str(arguments.table), "truth": str(arguments.truth)}
    print_result({**about, **_as_json(result)}, as_json=arguments.json, text=_as_text(about, result))
    return EXIT_DONE


def _names(text: str) -> list[Any]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _as_json(result: Comparison) -> dict[str, Any]:
    ways = {
        name: {
            **vars(way.overall),
            "left_blank": way.left_blank,
            "seconds": way.seconds,
            "per_keypoint": {keypoint: vars(one) for keypoint, one in way.keypoints.items()},
        }
        for name, way in result.ways.items()
    }
    return {"rows": result.rows, "cells": result.cells, "not_compared": result.not_compared, "ways": ways}


def _as_text(about: dict[str, str], result: Comparison) -> str:
    where = f"blank in {about['table']} and known in {about['truth']}"
    lines = [f"{result.cells:,} cells in {result.rows:,} rows, {where}"]
    if result.not_compared:
        lines.append(f"left blank by some way, not compared: {result.not_compared:,} cells")
    overall = [["px", "RMSE", "MAE"]]
    overall += [[n, f"{way.overall.rmse:.2f}", f"{way.overall.mae:.2f}"] for n, way in result.ways.items()]
    lines += ["", *aligned(overall), ""]
    each = [["RMSE, px", *result.ways]]
    keypoints = next(iter(result.ways.values())).keypoints  # the same of every way
    each += [[k, *(f"{way.keypoints[k].rmse:.2f}" for way in result.ways.values())] for k in keypoints]
    return "\n".join([*lines, *aligned(each)])


def _write_csv(path: Path, result: Comparison) -> None:
    import csv

    from labelfill.runs import atomic_write

    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["way", "keypoint", "cells", "rmse", "mae"])
        for name, way in result.ways.items():
            for keypoint, one in {"all": way.overall, **way.keypoints}.items():
                writer.writerow([name, keypoint, one.coordinates, f"{one.rmse:.4f}", f"{one.mae:.4f}"])
