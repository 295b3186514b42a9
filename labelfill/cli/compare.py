"""``labelfill compare``: ways of filling, and final networks, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._comparison import (
    COMPARISON,
    JOURNEY,
    comparison_json,
    comparison_table,
    journey_json,
    journey_table,
)
from labelfill.cli._inputs import find_table
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._printing import printed
from labelfill.errors import EXIT_DONE, UsageError
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
        "score ways of filling, and final networks, side by side",
        description="Fill the blank cells of a table in several ways and score each: RMSE and MAE in px,\n"
        "seconds, memory, parameters. With --truth on cells that are blank in TABLE, known in TRUTH, and\n"
        "filled in every way; without, on labels of held-out rows, hidden as the table's own rows lack.\n"
        "--final also trains the final network on each; --journey trains that of the original work, step by\n"
        "step. All learn by one split; what is trained is kept in RUN-DIR/compare, and goes on where it was\n"
        "stopped.",
        example="labelfill compare data/training.csv --truth data/truth.csv --filled filled.csv",
    )
    parser.add_path("table", "TABLE", "the table with blanks (default: as --data elsewhere)", nargs="?")
    parser.add_path("--truth", "TABLE", "the table that knows what the blanks hide")
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
        metavar="WAY,...",
        help="ways to fill, or none; knn and iterative need scikit-learn; anchored is labelfill's own, prior "
        f"its shape prior alone (default: {_ALL}; without images those of labels alone; with --filled those "
        "that need no training)",
    )
    parser.add_switch("--final", "also train the final network on each way's fills")
    parser.add_switch("--journey", "train the original work's final network, step by step, instead")
    parser.add_switch(
        "--quick", "prove the path: 1 epoch of keypoint models, 2 epochs of final networks on 120 rows"
    )
    parser.add_argument(
        "--keypoints",
        default="all",
        metavar="all|rare|NAME,...",
        help="which keypoints to score; rare are those labelled in under half of TABLE's rows (default: all)",
    )
    parser.add_path("--csv", "FILE", "also write the scores as a table")
    parser.add_path("--plot", "FILE", "also draw them: .png or .svg")
    parser.add_run_options()
    parser.add_settings(RunSettings, "device")
    parser.add_settings(TableSettings, "image_size", "source_column", "group_column", "allow_outside")
    parser.add_settings(TableSettings, "distrust")
    parser.add_settings(FinalModelSettings, "preset")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    _check(arguments)
    settings = Resolver(arguments)
    if arguments.journey:
        return _journey(arguments, settings)
    table = find_table(arguments.table)
    ways = _ways(arguments, table)
    keypoints = arguments.keypoints

    from labelfill.reports.comparison.comparison import ComparisonRequest, compare
    from labelfill.reports.comparison.drawing import draw_comparison
    from labelfill.reports.comparison.journey import limited
    from labelfill.reports.comparison.trained_ways import MODEL_WAYS

    final = None
    if arguments.final:
        final = settings(FinalModelSettings)
        final = limited(final, _QUICK_FINAL) if arguments.quick else final
    needs_runs = final is not None or arguments.truth is None or bool(set(ways) & set(MODEL_WAYS))
    request = ComparisonRequest(
        table,
        arguments.truth,
        arguments.filled,
        ways,  # checked where they are known
        keypoints if keypoints in ("all", "rare") else _names(keypoints),
        settings(TableSettings).distrust,
        show_progress(arguments),
    )
    result = compare(request, _trained(arguments, settings, table) if needs_runs else None, final)
    about = {"table": str(table), "truth": None if arguments.truth is None else str(arguments.truth)}
    told = {**about, **_budget(arguments), **comparison_json(result)}
    _write(arguments, comparison_table(told), lambda kind: draw_comparison(result, kind))
    print_result(told, as_json=arguments.json, text=printed(COMPARISON, told))
    return EXIT_DONE


def _journey(arguments: argparse.Namespace, settings: Resolver) -> int:
    table = find_table(arguments.table)

    from labelfill.reports.comparison.drawing import draw_journey
    from labelfill.reports.comparison.journey import journey

    trained = _trained(arguments, settings, table)
    steps = journey(trained, limits=_QUICK_FINAL if arguments.quick else {})
    told = {"table": str(table), **_budget(arguments), "steps": journey_json(steps)}
    _write(arguments, journey_table(told), lambda kind: draw_journey(steps, kind))
    print_result(told, as_json=arguments.json, text=printed(JOURNEY, told))
    return EXIT_DONE


def _check(arguments: argparse.Namespace) -> None:
    """Refuse files that exist, and options that would do nothing, before anything is trained."""
    for file in (arguments.csv, arguments.plot):
        if file is not None and file.exists() and not arguments.force:
            raise UsageError(f"{file} exists already: use --force to overwrite it, or write to another file")
    if arguments.plot is not None and arguments.plot.suffix not in (".png", ".svg"):
        raise UsageError(f"--plot {arguments.plot}: choose one of these suffixes: .png, .svg")
    given = {"--truth": arguments.truth, "--filled": arguments.filled, "--ways": arguments.ways,
             "--final": arguments.final, "--preset": arguments.preset}  # fmt: skip
    if arguments.journey and any(given.values()):
        names = ", ".join(name for name, value in given.items() if value)
        raise UsageError(f"{names} would do nothing beside --journey, which has its own; leave it out")
    if arguments.preset is not None and not arguments.final and not arguments.journey:
        raise UsageError("--preset would do nothing without --final; leave it out")


def _ways(arguments: argparse.Namespace, table: Path) -> list[Any]:
    from labelfill.data.formats import has_images

    if arguments.ways is None:
        if arguments.filled:
            return _names(_SIMPLE)
        return _names(_ALL if has_images(table) else _WITHOUT_IMAGES)
    return [] if arguments.ways == "none" else _names(arguments.ways)


def _names(text: str) -> list[Any]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _trained(arguments: argparse.Namespace, settings: Resolver, table: Path) -> TrainedWays:
    from labelfill.reports.comparison.stages import Setting
    from labelfill.reports.comparison.trained_ways import TrainedWays

    run = settings(RunSettings)
    folder = run.run_dir / _FOLDER / ("quick" if arguments.quick else "full")
    models = settings(KeypointModelSettings)
    setting = Setting(
        folder,
        table,
        settings(TableSettings),
        run.seed,
        run.device,
        arguments.force,
        show_progress(arguments),
    )
    return TrainedWays(setting, replace(models, **_QUICK_MODELS) if arguments.quick else models)


def _budget(arguments: argparse.Namespace) -> dict[str, str]:
    if not arguments.quick:
        return {"budget": "whole budget of each preset"}
    return {
        "budget": f"--quick: {_QUICK_FINAL['epochs']} epochs on {_QUICK_FINAL['most_rows']} training rows, "
        "which proves the path and no more"
    }


def _write(arguments: argparse.Namespace, lines: Sequence[Sequence[str]], draw: Any) -> None:
    """The files that were asked for."""
    from labelfill.data.formats.tables import as_csv
    from labelfill.runs import write_bytes

    if arguments.csv is not None:
        write_bytes(arguments.csv, b"".join(as_csv(lines)))
    if arguments.plot is not None:
        write_bytes(arguments.plot, draw(arguments.plot.suffix[1:]))
