"""The commands of the three stages: how they find their table and run, and what they hand on."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from labelfill.cli import main as program
from labelfill.cli._call import Call
from labelfill.cli._printing import printed
from labelfill.cli._stages import find_table
from labelfill.cli.impute import FILLING as FILLING_LINES
from labelfill.cli.train_final import FINAL as FINAL_LINES
from labelfill.cli.train_keypoint_models import TRAINING as TRAINING_LINES
from labelfill.errors import DataError
from labelfill.final.filled_table import FilledRequest
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL
from labelfill.settings import RunSettings, TableSettings
from tests.stage_summaries import FILLING, FINAL, TRAINING

# -- tables and settings ----------------------------------------------------------------------------


def test_the_table_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--data, else the run's own table, else data/training.csv, else data/training.zip."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with RunDirectory.open(tmp_path / "run") as run:
        with pytest.raises(
            DataError, match=r"no table found at data/training\.csv or data/training\.zip: pass"
        ):
            find_table(None, run)
        (tmp_path / "data" / "training.zip").touch()
        assert find_table(None) == Path("data/training.zip")
        (tmp_path / "data" / "training.csv").touch()
        assert find_table(None, run) == Path("data/training.csv")
        run.note({"input": {"path": "/elsewhere/t.csv", "sha256": "", "image_size": "9x9"}})
        assert find_table(None, run) == Path("/elsewhere/t.csv")
        assert find_table(Path("mine.csv"), run) == Path("mine.csv")


def test_without_a_table_a_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, the two usual places, --data, demo-data and Kaggle; and no folder is made for nothing."""
    monkeypatch.chdir(tmp_path)
    assert program.main(["train-keypoint-models"]) == 3
    sentence = capsys.readouterr().err
    for word in ("data/training.csv", "data/training.zip", "--data TABLE", "`labelfill demo-data`", "Kaggle"):
        assert word in sentence
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_file_environment_and_flags(tmp_path: Path) -> None:
    """A command's settings file, the environment and its flags meet in one place."""
    path = tmp_path / "settings.toml"
    path.write_text('[run]\nseed = 1\ndevice = "cpu"\nrun-dir = "one"\n')
    arguments = argparse.Namespace(settings=path, seed=None, run_dir="three")
    settings = Call(arguments, {"LABELFILL_RUN_SEED": "2"}).settings(RunSettings)
    assert settings == RunSettings(Path("three"), "cpu", 2)


# -- the three stages in order, with stages that only say what they were asked for -------------------


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What the stages were called with; they do nothing."""
    calls: list[tuple[Any, ...]] = []
    Summary = dataclasses.make_dataclass("Summary", FILLING)  # noqa: N806 - a class

    def stage(room: str, job: str, name: str, result: Any) -> None:
        def made(*arguments: Any, **options: Any) -> Any:
            return [one for one in arguments if not isinstance(one, RunDirectory)], options

        def called(run: RunDirectory, job: Any, **options: Any) -> Any:
            run.begin_stage(name, {})
            run.finish_stage(name)
            arguments, chosen = job
            told = [one for one in arguments if not isinstance(one, Path) or one != Path("t.csv")]
            calls.append((name, *told, {**chosen, **options}))
            return result

        monkeypatch.setattr(f"labelfill.{room}.job.{job}", made)
        monkeypatch.setattr(f"labelfill.{room}.stage.{name}", called)

    stage("regressors", "training_job", "train_keypoint_models", TRAINING)
    stage("filling", "filling_job", "impute", Summary(**{**FILLING, "left_blank": 1}))
    stage("final", "final_job", "train_final", FINAL)
    # Where the commands have it, so that no module loaded meanwhile keeps the stand-in.
    for module in ("cli.train_keypoint_models", "cli.impute", "api.looking"):
        monkeypatch.setattr(f"labelfill.{module}.read_run_table", lambda run, path, table, **options: path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").touch()
    return calls


def test_run_does_the_three_stages_in_order(
    stages: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One JSON object of three results, exit code 6 for cells left blank, settings written down."""
    assert program.main(["run", "--data", "t.csv", "--json", "--seed", "7", "--method", "prior"]) == 6
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["train-keypoint-models", "impute", "train-final", "report"]
    assert result["report"] == {"out": None}, "stages that leave nothing behind: nothing to report on"
    assert result["impute"] == {**FILLING, "left_blank": 1}
    assert result["train-keypoint-models"] == TRAINING
    assert [call[0] for call in stages] == ["train_keypoint_models", "impute", "train_final"]
    assert stages[1][1] == Path("outputs/filled.csv")
    options = {"device": "auto", "seed": 7, "force": False, "progress": True}
    assert stages[0][-1] == {**options, "table": TableSettings(data=Path("t.csv")), "engine": LOCAL}
    written = (tmp_path / "outputs" / "settings.toml").read_text()
    assert 'method = "prior"' in written
    assert "seed = 7" in written


def test_the_three_commands_share_one_run(
    stages: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The three commands of the README, each with its own exit code and text."""
    assert program.main(["train-keypoint-models", "--data", "t.csv"]) == 0
    assert program.main(["impute", "--out", "filled.csv", "--data", "t.csv", "-q"]) == 6
    assert program.main(["train-final", "--filled", "filled.csv"]) == 0
    assert [call[1] for call in stages[1:]] == [
        Path("filled.csv"),
        FilledRequest(Path("filled.csv"), progress=True),
    ]
    summary = {**FILLING, "left_blank": 1}
    beside = {"run_dir": Path("outputs"), "coverage": 0.9}
    told = ((TRAINING_LINES, TRAINING), (FILLING_LINES, summary), (FINAL_LINES, FINAL))
    texts = [printed(lines, {**result, **beside}) for lines, result in told]
    assert capsys.readouterr().out == "\n".join([*texts, ""])


def test_run_tells_all_three_and_what_comes_next_once(
    stages: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The texts of the three stages, under a title each, with the next command at the end alone."""
    assert program.main(["run", "--data", "t.csv", "--run-dir", "there"]) == 6
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("==")] == [
        "== keypoint models",
        "== fill",
        "== final network",
    ]
    assert text.count("next: ") == 1
    assert text.endswith("next: labelfill predict --images TABLE --out predictions.csv --run-dir there\n")


@pytest.mark.parametrize("command", ["impute", "train-final"])
def test_a_stage_without_a_run_names_the_first(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, the command to run first, and no folder is made for nothing."""
    monkeypatch.chdir(tmp_path)
    assert program.main([command]) == 3
    assert "run `labelfill train-keypoint-models` first" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
