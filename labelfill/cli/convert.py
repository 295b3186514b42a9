"""``labelfill convert``: keypoints from one format into another."""

from __future__ import annotations

from dataclasses import asdict

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line
from labelfill.settings import TableSettings

_FORMATS = ("table", "coco", "deeplabcut", "parquet", "label-studio", "sleap", "yolo")


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "convert",
        "write keypoints in another tool's format",
        description="Read keypoints in any supported format and write them in another one. The format of IN\n"
        "is detected from its content. docs/formats.md lists what each format keeps.",
        example="labelfill convert person_keypoints.json table.csv",
    )
    parser.add_path("source", "IN", "the file to read")
    parser.add_path("out", "OUT", "the file to write")
    parser.add_argument(
        "--to", choices=_FORMATS, metavar="|".join(_FORMATS), help="format of OUT (default: from its name)"
    )
    parser.add_settings(TableSettings, "image_size", "image_folder", "allow_outside")
    parser.add_reading_options()
    parser.add_switch("--force", "overwrite existing files")
    return parser


def handle(call: Call) -> None:
    from labelfill.data.formats import FORMATS
    from labelfill.data.formats.conversion import convert

    converted = convert(
        call.given.source,
        call.given.out,
        call.given.to,
        settings=call.settings(TableSettings),
        force=call.given.force,
        show_progress=call.progress,
    )
    call.tell(asdict(converted), CONVERSION, {"in words": FORMATS[converted.format]})


CONVERSION: tuple[Line, ...] = (
    "{rows:,} rows of {keypoints} keypoints, {observed:,} coordinates",
    ("images_written", "wrote {images_written:,} images next to it"),
    "wrote {out} ({in words})",
)
