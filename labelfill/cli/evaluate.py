"""``labelfill evaluate``: score a filled or predicted table."""

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
from labelfill.cli._printing import aligned
from labelfill.errors import EXIT_DONE, UsageError
from labelfill.schema import AXES

if TYPE_CHECKING:
    from labelfill.regressors.scores import Score
    from labelfill.reports.scores import Evaluation


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        "score a filled or predicted table against the truth",
        description="Score a table's coordinates against those of another table: RMSE and MAE in px,\n"
        "over all, per keypoint and per coordinate. Rows are joined by a column of ids that both\n"
        "tables have, else by a column 'row' (0-based), else by order.",
        example="labelfill evaluate filled.csv data/truth.csv --blank-in data/training.csv --keypoints rare",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="the filled or predicted table")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="the table that knows the coordinates")
    parser.add_argument(
        "--blank-in",
        type=Path,
        metavar="ORIGINAL",
        help="score only what is blank in this table, the one that was filled",
    )
    parser.add_argument("--by", metavar="COLUMN", help="score the rows of each value of this column, too")
    parser.add_argument(
        "--mix",
        metavar="VALUE=WEIGHT,...",
        help="with --by: also the root of the values' weighted mean squared error, as in 1=0.649,2=0.351",
    )
    parser.add_argument(
        "--keypoints",
        default="all",
        metavar="all|rare|NAME,...",
        help="which keypoints to score; rare are those labelled in under half of the rows of ORIGINAL, "
        "or of TRUTH without it (default: all)",
    )
    parser.add_argument(
        "--distrust",
        type=Path,
        metavar="FILE",
        help="labels of TRUTH that count as unlabelled: a file of lines row,keypoint, as inspect writes",
    )
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    mix = None if arguments.mix is None else _parse_mix(arguments.mix)
    keypoints: str = arguments.keypoints

    from labelfill.reports.scores import ScoreRequest, evaluate

    request = ScoreRequest(
        arguments.blank_in,
        arguments.by,
        mix,
        keypoints if keypoints in ("all", "rare") else [n.strip() for n in keypoints.split(",") if n.strip()],
        arguments.distrust,
        show_progress(arguments),
    )
    result = evaluate(arguments.table, arguments.truth, request)
    about = {"table": str(arguments.table), "truth": str(arguments.truth)}
    print_result({**about, **_as_json(result)}, as_json=arguments.json, text=_as_text(about, result))
    return EXIT_DONE


def _parse_mix(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        value, _, weight = part.rpartition("=")
        value = value.strip()
        if not value or value in weights or not _is_number(weight):
            raise UsageError(
                f"--mix {text!r}: {part!r} is not VALUE=WEIGHT with a value of its own; "
                "expected for example 1=0.649,2=0.351"
            )
        weights[value] = float(weight)
    return weights


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_json(result: Evaluation) -> dict[str, Any]:
    def named(scores: dict[str, Score]) -> dict[str, Any]:
        return {name: vars(score) for name, score in scores.items()}

    described: dict[str, Any] = {
        "joined_by": result.joined_by,
        "rows": result.rows,
        "rows_not_found": result.rows_not_found,
        "left_blank": result.unanswered,
        **vars(result.overall),
        "per_keypoint": named(dict(result.keypoints)),
        "per_coordinate": named(dict(result.coordinates)),
    }
    if result.values is not None:
        described["by"] = result.by
        described["per_value"] = named(dict(result.values))
    if result.mix is not None:
        described["mix"] = {"weights": dict(result.weights or {}), "rmse": result.mix}
    return described


def _as_text(about: dict[str, str], result: Evaluation) -> str:
    joined = "in the same order" if result.joined_by == "order" else f"joined by {result.joined_by!r}"
    lines = [f"{about['table']} against {about['truth']}: {result.rows:,} rows, {joined}"]
    if result.rows_not_found:
        lines.append(f"not in the table, not scored: {result.rows_not_found:,} rows of the truth")
    if result.unanswered:
        lines.append(f"left blank by the table, not scored: {result.unanswered:,} coordinates")
    blank = ["", ""]
    rows = [["px", "RMSE", "MAE", "RMSE x", "MAE x", "RMSE y", "MAE y", "coordinates"]]
    rows.append(["all", *_cells(result.overall), *blank, *blank, f"{result.overall.coordinates:,}"])
    for name, score in result.keypoints.items():
        axes = [result.coordinates.get(f"{name}_{axis}") for axis in AXES]
        of_axes = [cell for axis in axes for cell in (_cells(axis) if axis else blank)]
        rows.append([name, *_cells(score), *of_axes, f"{score.coordinates:,}"])
    for value, score in (result.values or {}).items():
        rows.append([f"{result.by}={value}", *_cells(score), *blank, *blank, f"{score.coordinates:,}"])
    lines += aligned(rows)
    if result.mix is not None:
        weights = ",".join(f"{value}={weight:g}" for value, weight in (result.weights or {}).items())
        lines.append(f"mix {weights}: RMSE {result.mix:.3f} px")
    return "\n".join(lines)


def _cells(score: Score) -> list[str]:
    return [f"{score.rmse:.3f}", f"{score.mae:.3f}"]
