"""``labelfill doctor``: whether this installation works."""

from __future__ import annotations

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result
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
    parser.add_settings(RunSettings, "run_dir", "device")
    return parser


def handle(call: Call) -> int:
    settings = call.settings(RunSettings)

    from labelfill.api.doctor import examine

    checks = list(examine(settings.run_dir, settings.device))
    problems = [check.problem for check in checks if check.problem is not None]
    found = [
        {"name": check.name, "found": check.found, "problem": check.problem and str(check.problem)}
        for check in checks
    ]
    call.tell({"checks": found, "problems": len(problems)}, CHECKS)
    return problems[0].exit_code if problems else EXIT_DONE


def _check(check: Result) -> str:
    problem = check["problem"]
    return f"{'ok' if problem is None else 'PROBLEM':<9}{check['name']}: {problem or check['found']}"


CHECKS: tuple[Line, ...] = (
    lambda r: map(_check, r["checks"]),
    ("problems", "{problems:problem}"),
    (lambda r: not r["problems"], "no problems"),
)
