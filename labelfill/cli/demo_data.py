"""``labelfill demo-data``: draw the sample."""

from __future__ import annotations

from pathlib import Path

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line
from labelfill.settings import RunSettings

_FOLDER = Path("data")


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "demo-data",
        "create a sample of drawn faces in Kaggle's schema",
        description="Draw faces whose keypoints are all known, and write tables in the schema of Kaggle's\n"
        "Facial Keypoints Detection: training.csv with gaps and two labelling conventions, truth.csv with\n"
        "all labels, test.csv and test_truth.csv with other faces.",
        example="labelfill demo-data --out data --rows 700 --seed 0",
    )
    parser.add_argument("--out", type=Path, default=_FOLDER, metavar="FOLDER", help=f"default: {_FOLDER}")
    parser.add_argument(
        "--rows",
        type=int,
        metavar="NUMBER",
        help="rows of training.csv (default: 700, for which all three stages take a few minutes)",
    )
    parser.add_settings(RunSettings, "seed")
    parser.add_switch("--force", "overwrite existing files")
    return parser


def handle(call: Call) -> None:
    seed = call.settings(RunSettings).seed

    from labelfill.data.synthetic import SAMPLE_ROWS, write_sample

    rows = SAMPLE_ROWS if call.given.rows is None else call.given.rows
    folder: Path = call.given.out
    written = write_sample(folder, rows, seed, force=call.given.force, show_progress=call.progress)
    usual = "" if folder == _FOLDER else f" --data {folder / 'training.csv'}"
    files = {str(path): count for path, count in written.items()}
    call.tell({"files": files, "seed": seed, "next": f"labelfill train-keypoint-models{usual}"}, SAMPLE)


SAMPLE: tuple[Line, ...] = (
    lambda r: (f"wrote {path} ({count:,} rows)" for path, count in r["files"].items()),
    "next: {next}",
)
