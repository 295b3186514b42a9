"""``labelfill predict``: the final network on a table of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._options import (
    Resolver,
    Subparsers,
    add_command,
    add_device_option,
    add_output_options,
    add_settings,
    print_result,
)
from labelfill.cli._summaries import prediction_text
from labelfill.errors import EXIT_DONE
from labelfill.schema import ImageSize
from labelfill.settings import PredictSettings, RunSettings, TableSettings


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "predict",
        "find all keypoints in new images",
        description="Apply the final network to a table of images; keypoint columns are not needed,\n"
        "and columns other than keypoints and images are carried through.",
        example="labelfill predict --images test.zip --out predictions.csv",
    )
    parser.add_argument("--images", type=Path, required=True, metavar="TABLE", help="the table of images")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TABLE", help="where to write the coordinates"
    )
    add_settings(parser, RunSettings, "run_dir")
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings file (TOML)")
    add_device_option(parser)
    add_settings(parser, TableSettings, "image_size", "allow_outside")
    add_settings(parser, PredictSettings, "source", "source_from", "batch_size")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    run_settings, table, prediction = (
        settings(RunSettings),
        settings(TableSettings),
        settings(PredictSettings),
    )
    progress = not arguments.quiet

    from labelfill.dataset import read_dataset
    from labelfill.final_model import STAGE
    from labelfill.prediction import predict
    from labelfill.runs import RunDirectory

    with RunDirectory.read_only(run_settings.run_dir) as run:
        run.require_stage(STAGE)
        images = read_dataset(
            arguments.images,
            image_size=table.image_size or ImageSize.parse(run.manifest["input"]["image_size"]),
            framed=run.framed,
            models=run.path if table.image_size is None else None,
            cache_dir=None,
            require_keypoints=False,
            allow_outside=table.allow_outside,
            show_progress=progress,
        )
        summary = predict(
            run,
            images,
            arguments.out,
            prediction,
            device=run_settings.device,
            force=arguments.force,
            progress=progress,
        )
    print_result(summary, as_json=arguments.json, text=prediction_text(summary))
    return EXIT_DONE
