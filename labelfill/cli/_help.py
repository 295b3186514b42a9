"""How the commands stand in ``labelfill --help``, and which one is meant by a word that is none."""

from __future__ import annotations

import argparse

# Modules of commands, in the order in which people need them.
GROUPS: dict[str, tuple[str, ...]] = {
    "look at a table": ("inspect", "demo_data"),
    "fill it": ("run", "train_keypoint_models", "impute"),
    "check the fills": ("review", "report", "evaluate", "compare"),
    "use them": ("train_final", "predict", "export", "convert"),
    "set up": ("init", "completion", "doctor"),
}

# Words that people try, and the command that does it.
_MEANT = {
    "annotate": "review",
    "benchmark": "compare",
    "check": "inspect",
    "complete": "impute",
    "config": "init",
    "correct": "review",
    "demo": "demo-data",
    "fill": "impute",
    "fit": "train-keypoint-models",
    "html": "report",
    "import": "convert",
    "infer": "predict",
    "interpolate": "impute",
    "metrics": "evaluate",
    "onnx": "export",
    "plot": "report",
    "sample": "demo-data",
    "score": "evaluate",
    "show": "report",
    "stats": "inspect",
    "test": "doctor",
    "train": "train-keypoint-models",
}


def command_meant(word: str) -> str | None:
    """The command that does what a word asks for, if the word is one that people try."""
    return _MEANT.get(word.lower())


class GroupedHelp(argparse.RawDescriptionHelpFormatter):
    """Help in which the commands stand in groups."""

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        commands = {command.dest: command for command in action._get_subactions()}
        lines = []
        for title, modules in GROUPS.items():
            names = [name for name in (module.replace("_", "-") for module in modules) if name in commands]
            if not names:
                continue
            lines.append(f"  {title}:\n")
            self._indent()
            lines += [super(GroupedHelp, self)._format_action(commands.pop(name)) for name in names]
            self._dedent()
        return "".join(lines + [super(GroupedHelp, self)._format_action(rest) for rest in commands.values()])
