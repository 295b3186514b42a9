"""``labelfill demo-data``: draw the sample."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.errors import EXIT_DONE
from labelfill.settings import RunSettings

_FOLDER = Path("data")


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "demo-data",
        "draw a sample of faces in Kaggle's schema, with its truth",
        description="Draw faces whose keypoints are all known, and write them as tables in the schema of\n"
        "Kaggle's Facial Keypoints Detection: training.csv with its gaps and two conventions,\n"
        "truth.csv with what the gaps hide, test.csv and test_truth.csv with other faces.",
        example="labelfill demo-data --out data --rows 700 --seed 0",
    )
    parser.add_argument("--out", type=Path, default=_FOLDER, metavar="FOLDER", help=f"default: {_FOLDER}")
    parser.add_argument(
        "--rows",
        type=int,
        metavar="NUMBER",
        help="rows of training.csv (default: 700, for which all three stages take some minutes)",
    )
    parser.add_settings(RunSettings, "seed")
    parser.add_switch("--force", "replace files that exist")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    seed = Resolver(arguments)(RunSettings).seed

    from labelfill.data.synthetic import SAMPLE_ROWS, write_sample

    rows = SAMPLE_ROWS if arguments.rows is None else arguments.rows
    folder: Path = arguments.out
    written = write_sample(folder, rows, seed, force=arguments.force, show_progress=show_progress(arguments))
    usual = "" if folder == _FOLDER else f" --data {folder / 'training.csv'}"
    following = f"labelfill train-keypoint-models{usual}"
    lines = [f"wrote {path} ({count:,} rows)" for path, count in written.items()]
    result = {"files": {str(path): count for path, count in written.items()}, "seed": seed, "next": following}
    print_result(result, as_json=arguments.json, text="\n".join([*lines, f"next: {following}"]))
    return EXIT_DONE
