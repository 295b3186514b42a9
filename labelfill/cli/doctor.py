"""``labelfill doctor``: whether this installation works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line
from labelfill.errors import EXIT_DONE
from labelfill.settings import RunSettings

if TYPE_CHECKING:
    from labelfill.api.doctor import Check


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "doctor",
        "check the installation",
        description="Print versions and devices, check free memory and disk space, and train and "
        "fill a tiny\n"
        "table on each device, compared with the CPU. Exits with the code of the first problem.",
        example="labelfill doctor --run-dir outputs",
    )
    parser.add_settings(RunSettings, "run_dir", "device")
    return parser


def handle(call: Call) -> int:
    settings = call.settings(RunSettings)

    from labelfill.api.doctor import examine

    checks = []
    for check in examine(settings.run_dir, settings.device):
        checks.append(check)
        if not call.given.json:  # a line as each check ends: those of devices take a while
            print(_line(check), flush=True)
    problems = [check.problem for check in checks if check.problem is not None]
    found = [
        {"name": check.name, "found": check.found, "problem": check.problem and str(check.problem)}
        for check in checks
    ]
    call.tell({"checks": found, "problems": len(problems)}, SUMMARY)
    return problems[0].exit_code if problems else EXIT_DONE


def _line(check: Check) -> str:
    state = "ok" if check.problem is None else "PROBLEM"
    return f"{state:<9}{check.name}: {check.problem or check.found}"


SUMMARY: tuple[Line, ...] = (
    ("problems", "{problems:problem}"),
    (lambda r: not r["problems"], "no problems"),
)
