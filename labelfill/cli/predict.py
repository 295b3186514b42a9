"""``labelfill predict``: the final network on new images."""

from __future__ import annotations

from pathlib import Path

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result, filled_in
from labelfill.errors import UsageError, counted
from labelfill.settings import PredictSettings, RunSettings, TableSettings

_USUAL_IMAGES = (Path("data/test.csv"), Path("data/test.zip"))


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
    parser.add_settings(TableSettings, "image_column", "no_exif_turn")
    parser.add_settings(PredictSettings, "no_refine", "source", "source_from", "batch_size", "coverage")
    return parser


def handle(call: Call) -> None:
    run_settings, table = call.settings(RunSettings), call.settings(TableSettings)
    prediction = call.settings(PredictSettings)
    images = find_images(call.given.images)

    from labelfill.final.predict import Outputs, images_to_predict, predict
    from labelfill.runs import RunDirectory

    with (
        RunDirectory.read_only(run_settings.run_dir) as run,
        images_to_predict(run, images, table, show_progress=call.progress) as dataset,
    ):
        outputs = Outputs(call.given.out, call.given.lookup, call.given.submission, call.given.force)
        summary = predict(
            run, dataset, prediction, outputs, device=run_settings.device, progress=call.progress
        )
    call.tell(summary, PREDICTION)


def find_images(images: Path | None) -> Path:
    """The images to find keypoints in: `images` if given, else the table at a usual place.

    Raises
    ------
    UsageError
        If there is none.
    """
    found = images or next(filter(Path.is_file, _USUAL_IMAGES), None)
    if found is None:
        raise UsageError(
            f"there are no images at {' or '.join(map(str, _USUAL_IMAGES))}: name yours by --images TABLE, "
            "or by --images FOLDER"
        )
    return found


def _conventions(r: Result) -> list[str]:
    undeclared, convention = r["rows in the reference convention"], "in the reference convention"
    if undeclared < r["rows"]:
        named = ", ".join(f"{name}: {count:,}" for name, count in r["rows per source"].items())
        without = f", {counted(undeclared, 'row')} without one {convention}" if undeclared else ""
        convention = f"each row in its source's convention (rows per source: {named}){without}"
    return [filled_in("{keypoints:keypoint} in {rows:image}, ", r) + convention]


PREDICTION: tuple[Line, ...] = (
    _conventions,
    (
        "median radius",
        "error radius in px (holds in {coverage:.0%} of cases): {median radius:.2f} in the median",
    ),
    (
        "submission",
        "{locations:location} asked for in {images asked for:image}, "
        "{clipped:,} of them moved onto the image",
    ),
    ("out", "wrote {out}"),
    ("submission", "wrote {submission}"),
)
