"""``labelfill export``: the final network as one file for other programs."""

from __future__ import annotations

import argparse

from labelfill.cli._options import CommandParser, Commands, Resolver, print_result
from labelfill.cli._printing import printed
from labelfill.cli._results import EXPORT
from labelfill.errors import EXIT_DONE
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


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    run_dir, prediction = settings(RunSettings).run_dir, settings(PredictSettings)

    from labelfill.final.export import export
    from labelfill.runs import RunDirectory

    with RunDirectory.read_only(run_dir) as run:
        summary = export(
            run,
            arguments.out,
            arguments.format,
            source=prediction.source,
            coverage=prediction.coverage,
            force=arguments.force,
        )
    text = printed(EXPORT, summary, count=len(summary["keypoints"]))
    print_result(summary, as_json=arguments.json, text=text)
    return EXIT_DONE
