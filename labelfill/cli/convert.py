"""``labelfill convert``: keypoints from one format into another."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.errors import EXIT_DONE
from labelfill.settings import TableSettings

_FORMATS = ("table", "coco", "deeplabcut", "parquet", "label-studio")


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "convert",
        "write keypoints in another tool's format",
        description="Read keypoints in any format that labelfill knows, and write them in another one.\n"
        "The format of IN is found from its content. docs/formats.md says what each format keeps.",
        example="labelfill convert person_keypoints.json table.csv",
    )
    parser.add_path("source", "IN", "the file to read")
    parser.add_path("out", "OUT", "the file to write")
    parser.add_argument(
        "--to", choices=_FORMATS, metavar="|".join(_FORMATS), help="its format (default: by the name of OUT)"
    )
    parser.add_settings(TableSettings, "image_size", "image_folder", "allow_outside")
    parser.add_switch("--force", "overwrite what exists")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    from labelfill.data.formats import FORMATS
    from labelfill.data.formats.conversion import convert

    done = convert(
        arguments.source,
        arguments.out,
        arguments.to,
        settings=Resolver(arguments)(TableSettings),
        force=arguments.force,
        show_progress=show_progress(arguments),
    )
    text = f"{done.rows:,} rows of {done.keypoints} keypoints, {done.observed:,} coordinates\n"
    if done.images_written:
        text += f"wrote {done.images_written:,} images beside it\n"
    print_result(
        asdict(done), as_json=arguments.json, text=f"{text}wrote {done.out} ({FORMATS[done.format]})"
    )
    return EXIT_DONE
