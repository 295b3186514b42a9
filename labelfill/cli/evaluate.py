"""``labelfill evaluate``: score a filled or predicted table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands, keypoints_asked
from labelfill.cli._printing import Line, Result, table
from labelfill.errors import UsageError
from labelfill.schema import AXES
from labelfill.settings import TableSettings

if TYPE_CHECKING:
    from labelfill.regressors.scores import Score
    from labelfill.reports.scores import Evaluation


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "evaluate",
        "score a filled or predicted table against the truth",
        description="Score a table's coordinates against those of another table: RMSE and MAE in px,\n"
        "over all, per keypoint and per coordinate. Rows are joined by a column of ids that both\n"
        "tables have, else by a column 'row' (0-based), else by order.",
        example="labelfill evaluate filled.csv data/truth.csv --blank-in data/training.csv --keypoints rare",
    )
    parser.add_path("table", "TABLE", "the filled or predicted table")
    parser.add_path("truth", "TRUTH", "the table that knows the coordinates")
    parser.add_path(
        "--blank-in", "ORIGINAL", "score only what is blank in this table, the one that was filled"
    )
    parser.add_argument("--by", metavar="COLUMN", help="score the rows of each value of this column, too")
    parser.add_argument(
        "--mix",
        metavar="VALUE=WEIGHT,...",
        help="with --by: also the root of the values' weighted mean squared error, as in 1=0.649,2=0.351",
    )
    parser.add_keypoints("the rows of ORIGINAL, or of TRUTH without it")
    parser.add_settings(TableSettings, "missing_value")
    parser.add_path(
        "--distrust",
        "FILE",
        "labels of TRUTH that count as unlabelled: a file of lines row,keypoint, as inspect writes",
    )
    return parser


def handle(call: Call) -> None:
    given = call.given
    mix = None if given.mix is None else _parse_mix(given.mix)

    from labelfill.reports.scores import ScoreRequest, evaluate

    request = ScoreRequest(
        given.blank_in, given.by, mix, keypoints_asked(given.keypoints), given.distrust,
        call.settings(TableSettings).missing_value, call.progress,
    )  # fmt: skip
    result = evaluate(given.table, given.truth, request)
    call.tell({"table": str(given.table), "truth": str(given.truth), **_as_json(result)}, EVALUATION)


def _parse_mix(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        value, _, weight = part.rpartition("=")
        value, number = value.strip(), _number(weight)
        if not value or value in weights or number is None:
            raise UsageError(
                f"--mix {text!r}: {part!r} is not VALUE=WEIGHT with a value of its own; "
                "expected for example 1=0.649,2=0.351"
            )
        weights[value] = number
    return weights


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_json(result: Evaluation) -> dict[str, Any]:
    def named(scores: Mapping[str, Score]) -> dict[str, Any]:
        return {name: vars(score) for name, score in scores.items()}

    scores = {
        "joined_by": result.joined_by,
        "rows": result.rows,
        "rows_not_found": result.rows_not_found,
        "left_blank": result.unanswered,
        **vars(result.overall),
        "per_keypoint": named(result.keypoints),
        "per_coordinate": named(result.coordinates),
    }
    if result.values is not None:
        scores |= {"by": result.by, "per_value": named(result.values)}
    if result.mix is not None:
        scores["mix"] = {"weights": dict(result.weights or {}), "rmse": result.mix}
    return scores


_FIGURES = (
    ("RMSE", "rmse", ".3f"), ("MAE", "mae", ".3f"),
    *((f"{figure.upper()} {axis}", f"{figure} {axis}", ".3f") for axis in AXES for figure in ("rmse", "mae")),
    ("coordinates", "coordinates", ","),
)  # fmt: skip


def _scored(r: Result) -> Iterator[tuple[str, Result]]:
    yield "all", r
    for name, score in r["per_keypoint"].items():
        axes = {axis: r["per_coordinate"].get(f"{name}_{axis}", {}) for axis in AXES}
        yield name, {**score, **{f"{figure} {x}": of[figure] for x, of in axes.items() for figure in of}}
    for value, score in r.get("per_value", {}).items():
        yield f"{r['by']}={value}", score


def _mixed(r: Result) -> list[str]:
    weights = ",".join(f"{value}={weight:g}" for value, weight in r["mix"]["weights"].items())
    return [f"mix {weights}: RMSE {r['mix']['rmse']:.3f} px"]


EVALUATION: tuple[Line, ...] = (
    (lambda r: r["joined_by"] == "order", "{table} against {truth}: {rows:,} rows, in the same order"),
    (lambda r: r["joined_by"] != "order", "{table} against {truth}: {rows:,} rows, joined by {joined_by!r}"),
    ("rows_not_found", "not in the table, not scored: {rows_not_found:,} rows of the truth"),
    ("left_blank", "left blank by the table, not scored: {left_blank:,} coordinates"),
    lambda r: table("px", _FIGURES, _scored(r)),
    ("mix", _mixed),
)
