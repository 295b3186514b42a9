"""``labelfill completion``: a script by which a shell completes commands and options."""

from __future__ import annotations

import argparse
import shlex

from labelfill.cli._options import CommandParser, Subparsers, add_command, add_output_options, print_result
from labelfill.errors import EXIT_DONE

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_labelfill() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W '@commands@' -- "$word"))
        return
    fi
    case ${COMP_WORDS[COMP_CWORD-1]} in
@values@
    esac
    if [[ -z $words && $word == -* ]]; then
        case $command in
@options@
        esac
    fi
    if [[ -n $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -o filenames -F _labelfill labelfill
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "completion",
        "print a script that completes commands in a shell",
        description="Print a script for bash, zsh or fish that completes commands, options, their\n"
        'values and file names. In ~/.bashrc: eval "$(labelfill completion bash)"; likewise in\n'
        "~/.zshrc with zsh; in config.fish: labelfill completion fish | source.",
        example="labelfill completion bash",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to write for")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    from labelfill.cli.main import build_parser  # here: it imports this module

    script = completion_script(build_parser(), arguments.shell)
    print_result({"script": script}, as_json=arguments.json, text=script.rstrip("\n"))
    return EXIT_DONE


def completion_script(parser: CommandParser, shell: str) -> str:
    """The script for a shell, from the options that the commands have."""
    if shell == "fish":
        return _fish(parser)
    commands = parser.commands()
    options = [
        f"            {name}) words={shlex.quote(' '.join(_options(one)))} ;;"
        for name, one in commands.items()
    ]
    values = {
        option: " ".join(_values(action))
        for one in commands.values()
        for action in one._actions
        if _values(action)
        for option in action.option_strings
    }
    of_values = [f"        {option}) words={shlex.quote(words)} ;;" for option, words in values.items()]
    script = _BASH.replace("@commands@", " ".join(commands)).replace("@options@", "\n".join(options))
    script = script.replace("@values@", "\n".join(of_values) or "        *) ;;")
    return script if shell == "bash" else "autoload -U +X bashcompinit && bashcompinit\n" + script


def _values(action: argparse.Action) -> list[str]:
    """The words that an option takes, if it takes words: by its choices, or as its help lists them."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    words = action.metavar.split("|") if isinstance(action.metavar, str) else []
    return [word for word in words if word.islower()] if len(words) > 1 else []


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for option in parser._option_string_actions if option.startswith("--")]


def _fish(parser: CommandParser) -> str:
    lines = []
    for name, one in parser.commands().items():
        about = shlex.quote((one.description or "").partition("\n")[0])
        lines.append(f"complete -c labelfill -n __fish_use_subcommand -f -a {name} -d {about}")
        where = f"complete -c labelfill -n '__fish_seen_subcommand_from {name}'"
        for action in one._actions:
            values = f" -x -a {shlex.quote(' '.join(_values(action)))}" if _values(action) else ""
            options = [option for option in action.option_strings if option.startswith("--")]
            lines += [f"{where} -l {option[2:]}{values}" for option in options]
    return "\n".join(lines) + "\n"
