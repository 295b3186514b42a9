"""``labelfill doctor``: whether this installation works."""

from __future__ import annotations

import argparse

from labelfill.cli._options import CommandParser, Commands, Resolver, print_result
from labelfill.errors import EXIT_DONE
from labelfill.settings import RunSettings


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "doctor",
        "check the installation: versions, devices, disk and memory",
        description="Tell versions and devices, train and fill a tiny drawn table on each device and\n"
        "compare it with the CPU, and look at free disk and memory.\n"
        "The exit code is that of the first problem.",
        example="labelfill doctor --run-dir outputs",
    )
    parser.add_settings(RunSettings, "run_dir")
    parser.add_settings(RunSettings, "device")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)(RunSettings)

    from labelfill.api.doctor import examine

    checks = list(examine(settings.run_dir, settings.device))
    problems = [check.problem for check in checks if check.problem is not None]
    lines = [
        f"{'ok' if check.problem is None else 'PROBLEM':<9}{check.name}: {check.problem or check.found}"
        for check in checks
    ]
    lines.append(f"{len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    result = {
        "checks": [
            {"name": check.name, "found": check.found, "problem": check.problem and str(check.problem)}
            for check in checks
        ],
        "problems": len(problems),
    }
    print_result(result, as_json=arguments.json, text="\n".join(lines))
    return problems[0].exit_code if problems else EXIT_DONE
