"""``labelfill compare``: ways of filling, and final networks, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._call import OVERWRITE, Call
from labelfill.cli._comparison import (
    COMPARISON,
    JOURNEY,
    comparison_json,
    comparison_table,
    journey_json,
    journey_table,
)
from labelfill.cli._options import CommandParser, Commands, keypoints_asked, names_listed
from labelfill.cli._stages import find_table
from labelfill.errors import UsageError
from labelfill.settings import FinalModelSettings, KeypointModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.reports.comparison.trained_ways import TrainedWays

_SIMPLE = "mean,forward-fill,knn,iterative"
_WITHOUT_IMAGES = f"{_SIMPLE},prior"
_ALL = f"{_WITHOUT_IMAGES},image-only,anchored"
_FOLDER = "compare"
# --quick proves the path: this is how little is learnt, and the output says so.
_QUICK_MODELS: dict[str, Any] = {"epochs": 1}
_QUICK_FINAL: dict[str, Any] = {"epochs": 2, "second_session_epochs": 1, "most_rows": 120}


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "compare",
        "compare ways of filling, and final networks",
        description="Fill the blank cells of a table in several ways and compare them: RMSE and MAE in px,\n"
        "seconds, memory, parameters. With --truth, cells are scored that are blank in TABLE, known in\n"
        "TRUTH and filled in every way; without it, labels of held-out rows are hidden in the patterns in\n"
        "which labels are missing from the table. --final also trains the final network on each filled\n"
        "table; --journey trains the networks of the original work, step by step. All use the same split.\n"
        "Trained models are kept in RUN-DIR/compare; an interrupted comparison resumes.",
        example="labelfill compare data/training.csv --truth data/truth.csv --filled filled.csv",
    )
    parser.add_path(
        "table", "TABLE", "the table with blanks (default: data/training.csv or data/training.zip)", nargs="?"
    )
    parser.add_path("--truth", "TABLE", "the complete table")
    parser.add_argument(
        "--filled",
        type=Path,
        action="append",
        default=[],
        metavar="TABLE",
        help="a filled version of TABLE, from labelfill or any other program; may be repeated",
    )
    parser.add_argument(
        "--ways",
        metavar="WAY,...",
        help="ways to fill, or none; knn and iterative need scikit-learn; anchored is "
        "labelfill's default, prior "
        f"its shape prior alone (default: {_ALL}; without images, those that use labels alone; with "
        "--filled, those that need no training)",
    )
    parser.add_switch("--final", "also train the final network on each filled table")
    parser.add_switch("--journey", "instead train the networks of the original work, step by step")
    parser.add_switch(
        "--quick", "smoke test: 1 epoch for keypoint models, 2 epochs on 120 rows for final networks"
    )
    parser.add_keypoints("the rows of TABLE")
    parser.add_path("--csv", "FILE", "also write the scores to this CSV file")
    parser.add_path("--plot", "FILE", "also plot the scores: .png or .svg")
    parser.add_run_options()
    parser.add_settings(RunSettings, "device")
    parser.add_settings(TableSettings, "image_size", "source_column", "group_column", "allow_outside")
    parser.add_settings(TableSettings, "distrust")
    parser.add_reading_options()
    parser.add_settings(FinalModelSettings, "preset")
    return parser


def handle(call: Call) -> None:
    _check(call)
    if call.given.journey:
        _journey(call)
        return
    table = find_table(call.given.table)
    ways = _ways(call, table)

    from labelfill.data.reading_options import ReadingOptions
    from labelfill.reports.comparison.comparison import ComparisonRequest, compare
    from labelfill.reports.comparison.drawing import draw_comparison
    from labelfill.reports.comparison.journey import limited
    from labelfill.reports.comparison.trained_ways import MODEL_WAYS

    final = None
    if call.given.final:
        final = call.settings(FinalModelSettings)
        final = limited(final, _QUICK_FINAL) if call.given.quick else final
    needs_runs = final is not None or call.given.truth is None or bool(set(ways) & set(MODEL_WAYS))
    request = ComparisonRequest(
        table,
        call.given.truth,
        call.given.filled,
        ways,  # checked where they are known
        keypoints_asked(call.given.keypoints),
        call.settings(TableSettings).distrust,
        ReadingOptions.of(call.settings(TableSettings)),
        call.progress,
    )
    result = compare(request, _trained(call, table) if needs_runs else None, final)
    about = {"table": str(table), "truth": None if call.given.truth is None else str(call.given.truth)}
    scores = {**about, **_budget(call), **comparison_json(result)}
    _write(call, comparison_table(scores), lambda kind: draw_comparison(result, kind))
    call.tell(scores, COMPARISON)


def _journey(call: Call) -> None:
    table = find_table(call.given.table)

    from labelfill.reports.comparison.drawing import draw_journey
    from labelfill.reports.comparison.journey import journey

    trained = _trained(call, table)
    steps = journey(trained, limits=_QUICK_FINAL if call.given.quick else {})
    scores = {"table": str(table), **_budget(call), "steps": journey_json(steps)}
    _write(call, journey_table(scores), lambda kind: draw_journey(steps, kind))
    call.tell(scores, JOURNEY)


def _check(call: Call) -> None:
    """Refuse files that exist, and options that would do nothing, before anything is trained."""
    for file in (call.given.csv, call.given.plot):
        call.refuse_existing(file, OVERWRITE)
    if call.given.plot is not None and call.given.plot.suffix not in (".png", ".svg"):
        raise UsageError(f"--plot {call.given.plot}: the suffix must be .png or .svg")
    given = {"--truth": call.given.truth, "--filled": call.given.filled, "--ways": call.given.ways,
             "--final": call.given.final, "--preset": call.given.preset}  # fmt: skip
    if call.given.journey and any(given.values()):
        names = ", ".join(name for name, value in given.items() if value)
        raise UsageError(f"{names} has no effect with --journey; leave it out")
    if call.given.preset is not None and not call.given.final and not call.given.journey:
        raise UsageError("--preset has no effect without --final; leave it out")


def _ways(call: Call, table: Path) -> list[Any]:
    from labelfill.data.formats import has_images

    if call.given.ways is None:
        if call.given.filled:
            return names_listed(_SIMPLE)
        return names_listed(
            _ALL if has_images(table, call.settings(TableSettings).image_column) else _WITHOUT_IMAGES
        )
    return [] if call.given.ways == "none" else names_listed(call.given.ways)


def _trained(call: Call, table: Path) -> TrainedWays:
    from labelfill.reports.comparison.stages import Setting
    from labelfill.reports.comparison.trained_ways import TrainedWays

    run = call.settings(RunSettings)
    folder = run.run_dir / _FOLDER / ("quick" if call.given.quick else "full")
    models = call.settings(KeypointModelSettings)
    setting = Setting(
        folder, table, call.settings(TableSettings), run.seed, run.device, call.given.force, call.progress
    )
    return TrainedWays(setting, replace(models, **_QUICK_MODELS) if call.given.quick else models)


def _budget(call: Call) -> dict[str, str]:
    if not call.given.quick:
        return {"budget": "full budget of each preset"}
    return {
        "budget": f"--quick: {_QUICK_FINAL['epochs']} epochs on {_QUICK_FINAL['most_rows']} training rows, "
        "a smoke test, not a result"
    }


def _write(call: Call, lines: Sequence[Sequence[str]], draw: Any) -> None:
    """The files that were asked for."""
    from labelfill.data.formats.tables import as_csv
    from labelfill.runs import write_bytes

    if call.given.csv is not None:
        write_bytes(call.given.csv, b"".join(as_csv(lines)))
    if call.given.plot is not None:
        write_bytes(call.given.plot, draw(call.given.plot.suffix[1:]))
