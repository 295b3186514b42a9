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
        description="Write the final network as one file: grey pixels in (uint8, any batch), coordinates\n"
        "and error radii in px out, mirror averaging included. A model card beside it (OUT with .md) says\n"
        "what it learnt from, how good it is and where it ends. ONNX needs the extra onnx; torch writes the\n"
        ".pt2 of torch.export.",
        example="labelfill export --format onnx --out keypoints.onnx",
    )
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="(default: onnx)")
    parser.add_path("--out", "FILE", "where to write: .onnx, or .pt2 for torch", required=True)
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
    "{count:keypoint} in images of {image_size}, in the convention: {convention}",
    "answers at most {difference:.4f} px beside the network it was made of",
    "wrote {out}",
    "wrote {card}",
)
