"""``labelfill export``: the final network as one file for other programs."""

from __future__ import annotations

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line
from labelfill.settings import PredictSettings, RunSettings


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "export",
        "write the final network as one file for other programs",
        description="Write the final network to one file. Input: grey pixels (uint8, any batch "
        "size); output:\n"
        "coordinates and error radii in px. Averaging with the mirrored image is included. A model card\n"
        "next to it (OUT with .md) describes its training data, accuracy and limits. ONNX needs the extra\n"
        "onnx; torch writes a .pt2 file of torch.export.",
        example="labelfill export --format onnx --out keypoints.onnx",
    )
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="(default: onnx)")
    parser.add_path("--out", "FILE", "file to write: .onnx, or .pt2 for torch", required=True)
    parser.add_settings(RunSettings, "run_dir")
    parser.add_switch("--force", "overwrite existing files")
    parser.add_settings_file()
    parser.add_settings(PredictSettings, "source", "coverage")
    return parser


def handle(call: Call) -> None:
    run_dir, prediction = call.settings(RunSettings).run_dir, call.settings(PredictSettings)

    from labelfill.final.export import export
    from labelfill.runs import RunDirectory

    with RunDirectory.read_only(run_dir) as run:
        summary = export(
            run,
            call.given.out,
            call.given.format,
            source=prediction.source,
            coverage=prediction.coverage,
            force=call.given.force,
        )
    call.tell(summary, EXPORT, {"count": len(summary["keypoints"])})


EXPORT: tuple[Line, ...] = (
    "{count:keypoint} in images of {image_size}, convention: {convention}",
    "predictions differ from the original network by at most {difference:.4f} px",
    "wrote {out}",
    "wrote {card}",
)
