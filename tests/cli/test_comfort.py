"""What makes the program pleasant: settings templates, words completed and corrected."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from labelfill.cli.completion import SHELLS, completion_script
from labelfill.cli.main import COMMANDS, build_parser
from labelfill.settings import SECTIONS, read_toml, resolve, template
from tests.driving import done, labelfill
from tests.trained_runs import Trained

# -- labelfill.toml ---------------------------------------------------------------------------------


def test_the_template_changes_nothing_until_a_sign_is_taken_away(tmp_path: Path) -> None:
    """As it is written it holds no setting; with every '# ' taken away it holds every default."""
    text = template(SECTIONS)
    assert all(table == {} for table in tomllib.loads(text).values())
    (tmp_path / "all.toml").write_text(re.sub(r"^# (?=[a-z-]+ = )", "", text, flags=re.MULTILINE))
    toml = read_toml(tmp_path / "all.toml", SECTIONS)
    for cls in SECTIONS:
        assert toml[cls.section], cls
        assert resolve(cls, toml, {}, {}) == cls()


def test_the_template_tells_every_setting() -> None:
    """Each setting of each section, those without a default too."""
    text = template(SECTIONS)
    for cls in SECTIONS:
        for field in fields(cls):  # type: ignore[arg-type]  # every section is a dataclass
            assert re.search(rf"^#+ {field.name.replace('_', '-')} = ", text, re.MULTILINE), field.name


def test_init_writes_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """labelfill.toml in this folder; an existing one is kept without --force."""
    monkeypatch.chdir(tmp_path)
    assert done("init") == {"out": "labelfill.toml"}
    assert (tmp_path / "labelfill.toml").read_text() == template(SECTIONS)
    refused = labelfill("init")
    assert (refused.code, "already exists" in refused.sentence) == (2, True)


def test_a_settings_file_of_this_folder_is_found(
    small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """labelfill.toml is read without being named; a flag wins over it, and --settings takes its place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labelfill.toml").write_text(f'[run]\nrun-dir = "{small_prior.run}"\n')
    (tmp_path / "other.toml").write_text('[run]\nrun-dir = "nowhere"\n')
    done("impute", "--data", small_prior.table, "--out", tmp_path / "f.csv")
    assert "nowhere" in labelfill("impute", "--settings", "other.toml").sentence
    assert "elsewhere" in labelfill("impute", "--run-dir", "elsewhere").sentence
    (tmp_path / "labelfill.toml").write_text("[run]\nrun-folder = 1\n")
    assert labelfill("impute").sentence.startswith("labelfill.toml: [run] has no setting 'run-folder'")


# -- completion -------------------------------------------------------------------------------------


def completed(words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of these words."""
    script = folder / "completion.bash"
    script.write_text(completion_script("bash"))
    typed = " ".join(f"'{word}'" for word in words)
    place = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}"
    code = f'source {script}; {place}; _shtab_labelfill; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return ended.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    """By the generated script, in a real bash."""
    (tmp_path / "table.csv").touch()
    assert completed(["labelfill", "imp"], tmp_path) == ["impute"]
    assert set(completed(["labelfill", ""], tmp_path)) == {name.replace("_", "-") for name in COMMANDS}
    assert completed(["labelfill", "predict", "--look"], tmp_path) == ["--lookup"]
    assert completed(["labelfill", "train-keypoint-models", "--method", "pr"], tmp_path) == ["prior"]
    assert completed(["labelfill", "export", "--format", "o"], tmp_path) == ["onnx"]
    assert completed(["labelfill", "predict", "--images", "ta"], tmp_path) == ["table.csv"]
    assert completed(["labelfill", "impute", "--force", "--data", "ta"], tmp_path) == ["table.csv"]
    assert completed(["labelfill", "evaluate", "table.csv", "ta"], tmp_path) == ["table.csv"]
    assert completed(["labelfill", "impute", "--seed", "ta"], tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_told_every_option(shell: str) -> None:
    """The scripts are made from the parsers, so they name all options of all commands."""
    script = completion_script(shell)
    for name, parser in build_parser().commands().items():
        assert name in script
        for option in parser._option_string_actions:
            if option.startswith("--"):
                assert {"fish": f"-l {option[2:]}", "tcsh": option[2:]}.get(shell, option) in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


# -- did you mean -----------------------------------------------------------------------------------


def test_a_mistyped_column_is_corrected(small_prior: Trained, tmp_path: Path) -> None:
    """The message names the column that was probably meant."""
    lines = small_prior.table.read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join(["studio," + lines[0], *(f"a,{line}" for line in lines[1:])]))
    refused = labelfill(
        "train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "r",
        "--source-column", "stduio",
    )  # fmt: skip
    assert refused.code == 3
    assert "did you mean 'studio'?" in refused.sentence
