"""``labelfill predict``: the final network on new images."""

from __future__ import annotations

import argparse

from labelfill.cli._inputs import find_images
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._printing import printed
from labelfill.cli._results import PREDICTION
from labelfill.errors import EXIT_DONE
from labelfill.settings import PredictSettings, RunSettings, TableSettings


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "predict",
        "find all keypoints in new images",
        description="Apply the final network to a table of images, or to a folder of image files. Keypoint\n"
        "columns are not needed; other columns are carried through, and each point gets an error radius.\n"
        "With --lookup and --submission also write the coordinates that a look-up table asks for, as\n"
        "Kaggle wants them: moved onto the image, each image in the convention of the label source that\n"
        "labels what is asked for.",
        example="labelfill predict --images test.zip --out predictions.csv\n"
        "  labelfill predict --images test.zip --lookup IdLookupTable.csv --submission submission.csv",
    )
    parser.add_path(
        "--images",
        "TABLE|FOLDER",
        "the table of images, or a folder of image files (default: data/test.csv or data/test.zip)",
    )
    parser.add_path("--out", "TABLE", "where to write all coordinates")
    parser.add_path(
        "--lookup",
        "TABLE",
        "which coordinates of which images to submit: columns RowId, ImageId, FeatureName",
    )
    parser.add_path("--submission", "TABLE", "where to write them: columns RowId, Location")
    parser.add_settings(RunSettings, "run_dir")
    parser.add_switch("--force", "overwrite an existing output")
    parser.add_settings_file()
    parser.add_settings(RunSettings, "device")
    parser.add_settings(TableSettings, "image_size", "image_folder", "allow_outside")
    parser.add_settings(PredictSettings, "source", "source_from", "batch_size", "coverage")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    run_settings, table, prediction = (
        settings(RunSettings),
        settings(TableSettings),
        settings(PredictSettings),
    )
    progress = show_progress(arguments)
    images = find_images(arguments.images)

    from labelfill.final.predict import Outputs, images_to_predict, predict
    from labelfill.runs import RunDirectory

    with (
        RunDirectory.read_only(run_settings.run_dir) as run,
        images_to_predict(run, images, table, show_progress=progress) as dataset,
    ):
        outputs = Outputs(arguments.out, arguments.lookup, arguments.submission, arguments.force)
        summary = predict(run, dataset, prediction, outputs, device=run_settings.device, progress=progress)
    print_result(summary, as_json=arguments.json, text=printed(PREDICTION, summary))
    return EXIT_DONE
