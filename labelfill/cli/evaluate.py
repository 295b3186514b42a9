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
        description="Score the coordinates of a table against those of another table: RMSE and MAE in px,\n"
        "overall, per keypoint and per coordinate. Rows are joined by an ID column that both tables\n"
        "have, else by a column 'row' (0-based), else by order.",
        example="labelfill evaluate filled.csv data/truth.csv --blank-in data/training.csv --keypoints rare",
    )
    parser.add_path("table", "TABLE", "the filled or predicted table")
    parser.add_path("truth", "TRUTH", "the table with the true coordinates")
    parser.add_path(
        "--blank-in",
        "ORIGINAL",
        "score only coordinates that are blank in this table, the one before filling",
    )
    parser.add_argument("--by", metavar="COLUMN", help="also score the rows of each value of this column")
    parser.add_argument(
        "--mix",
        metavar="VALUE=WEIGHT,...",
        help="with --by: also print the RMSE of a weighted mix of the values, such as 1=0.649,2=0.351",
    )
    parser.add_keypoints("the rows of ORIGINAL, or of TRUTH without it")
    parser.add_settings(TableSettings, "missing_value")
    parser.add_path(
        "--distrust",
        "FILE",
        "labels of TRUTH to ignore: a file with lines row,keypoint, as written by inspect --write-distrust",
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
                f"--mix {text!r}: {part!r} is not VALUE=WEIGHT, or repeats a value; "
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
    (lambda r: r["joined_by"] == "order", "{table} against {truth}: {rows:,} rows, joined by order"),
    (lambda r: r["joined_by"] != "order", "{table} against {truth}: {rows:,} rows, joined by {joined_by!r}"),
    ("rows_not_found", "missing from the table, not scored: {rows_not_found:,} rows of the truth"),
    ("left_blank", "blank in the table, not scored: {left_blank:,} coordinates"),
    lambda r: table("px", _FIGURES, _scored(r)),
    ("mix", _mixed),
)
