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
        "columns are not needed; other columns are copied, and each point gets an error radius.\n"
        "With --lookup and --submission, also write a Kaggle submission: the coordinates that the\n"
        "look-up table requests, clipped to the image. Each image is answered in the convention of the\n"
        "label source that labels the requested keypoints.",
        example="labelfill predict --images test.zip --out predictions.csv\n"
        "  labelfill predict --images test.zip --lookup IdLookupTable.csv --submission submission.csv",
    )
    parser.add_path(
        "--images",
        "TABLE|FOLDER",
        "table of images, or folder of image files (default: data/test.csv or data/test.zip)",
    )
    parser.add_path("--out", "TABLE", "table of coordinates to write")
    parser.add_path(
        "--lookup",
        "TABLE",
        "table of requested coordinates: columns RowId, ImageId, FeatureName",
    )
    parser.add_path("--submission", "TABLE", "submission to write: columns RowId, Location")
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
            f"no images found at {' or '.join(map(str, _USUAL_IMAGES))}: pass yours with --images TABLE "
            "or --images FOLDER"
        )
    return found


def _conventions(r: Result) -> list[str]:
    undeclared, convention = r["rows in the reference convention"], "in the reference convention"
    if undeclared < r["rows"]:
        named = ", ".join(f"{name}: {count:,}" for name, count in r["rows per source"].items())
        without = f", {counted(undeclared, 'row')} without a source {convention}" if undeclared else ""
        convention = f"each row in the convention of its source (rows per source: {named}){without}"
    return [filled_in("{keypoints:keypoint} in {rows:image}, ", r) + convention]


PREDICTION: tuple[Line, ...] = (
    _conventions,
    (
        "median radius",
        "median error radius ({coverage:.0%} coverage): {median radius:.2f} px",
    ),
    (
        "submission",
        "{locations:location} requested in {images asked for:image}, {clipped:,} of them clipped "
        "to the image",
    ),
    ("out", "wrote {out}"),
    ("submission", "wrote {submission}"),
)
