"""Settings: what they refuse, and which of file, environment and flag wins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.errors import StorageError, UsageError
from labelfill.schema import ImageSize
from labelfill.settings import (
    NUMBERS,
    SECTIONS,
    FinalModelSettings,
    KeypointModelSettings,
    PredictSettings,
    RunSettings,
    Settings,
    TableSettings,
    field_types,
    read_toml,
    resolve,
    to_toml,
)
from tests.examples import drawing


def test_a_flag_wins_over_the_environment_and_that_over_the_file() -> None:
    """TOML file < environment < flag, each setting by itself."""
    toml = {"keypoint-models": {"epochs": 1, "batch-size": 1, "learning_rate": 0.1}}
    environment = {"LABELFILL_KEYPOINT_MODELS_EPOCHS": "2", "LABELFILL_KEYPOINT_MODELS_BATCH_SIZE": "2"}
    settings = resolve(
        KeypointModelSettings, toml, environment, {"epochs": "3", "batch_size": None, "data": "x"}
    )
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == (3, 2, 0.1)
    assert settings == dataclasses.replace(KeypointModelSettings(), epochs=3, batch_size=2, learning_rate=0.1)


def test_texts_become_what_the_settings_are() -> None:
    """Paths, image sizes, yes and no, numbers; an empty variable counts as none."""
    environment = {
        "LABELFILL_TABLE_DATA": "a b.csv",
        "LABELFILL_TABLE_IMAGE_SIZE": "80x120",
        "LABELFILL_TABLE_ALLOW_OUTSIDE": "yes",
        "LABELFILL_TABLE_GROUP_COLUMN": "",
    }
    wanted = TableSettings(Path("a b.csv"), ImageSize(80, 120), None, None, allow_outside=True)
    assert resolve(TableSettings, {}, environment, {}) == wanted


@pytest.mark.parametrize(
    ("cls", "flags", "sentence"),
    [
        (KeypointModelSettings, {"epochs": "0"}, "--epochs must be at least 1, not 0"),
        (KeypointModelSettings, {"epochs": "many"}, "--epochs: 'many' is not a whole number"),
        (KeypointModelSettings, {"epochs": "1.5"}, "--epochs: '1.5' is not a whole number"),
        (
            KeypointModelSettings,
            {"learning_rate": "nan"},
            "--learning-rate must be more than 0 and at most 1, not nan",
        ),
        (
            KeypointModelSettings,
            {"method": "magic"},
            "--method must be one of anchored, image-only, prior, not 'magic'",
        ),
        (
            KeypointModelSettings,
            {"method": "prior", "epochs": "3"},
            "--epochs has no effect: the method 'prior' trains no network; leave it out",
        ),
        (
            FinalModelSettings,
            {"second_session_batch": "512"},
            "--second-session-batch has no effect: it needs --second-session-epochs; leave it out",
        ),
        (
            TableSettings,
            {"image_size": "96"},
            "--image-size: image size '96' is not HEIGHTxWIDTH, for example 96x96",
        ),
        (TableSettings, {"data": ""}, "--data: '' is not a path"),
        (RunSettings, {"device": "gpu"}, "--device must be auto, cpu, cuda, cuda:NUMBER or mps, not 'gpu'"),
        (RunSettings, {"seed": "-1"}, "--seed must be at least 0 and at most 9.22337e+18, not -1"),
        (
            PredictSettings,
            {"source": "a", "source_from": "t.csv:source"},
            "use either --source or --source-from, not both",
        ),
        (PredictSettings, {"source_from": "t.csv"}, "--source-from must be TABLE:COLUMN, not 't.csv'"),
    ],
)
def test_a_bad_value_is_named_as_it_was_given(
    cls: type[Settings], flags: dict[str, str], sentence: str
) -> None:
    """The sentence begins with the flag, and says what was found and what is expected."""
    with pytest.raises(UsageError) as caught:
        resolve(cls, {}, {}, flags)
    assert str(caught.value) == sentence


def test_a_bad_value_names_its_origin() -> None:
    """A value of the environment or of a file is named by its variable or its place in the file."""
    with pytest.raises(UsageError, match="LABELFILL_RUN_SEED: 'x' is not a whole number"):
        resolve(RunSettings, {}, {"LABELFILL_RUN_SEED": "x"}, {})
    with pytest.raises(UsageError, match=r"settings file, \[run\] seed: True is not a whole number"):
        resolve(RunSettings, {"run": {"seed": True}}, {}, {})
    with pytest.raises(UsageError, match=r"settings file, \[run\] run-dir: 3 is not a path"):
        resolve(RunSettings, {"run": {"run-dir": 3}}, {}, {})


@pytest.mark.parametrize(
    ("toml", "environment", "flags", "where"),
    [
        ({"run": {"backend": "ray"}}, {}, {}, "settings file, [run] backend"),
        ({}, {"LABELFILL_RUN_BACKEND": "ray"}, {}, "LABELFILL_RUN_BACKEND"),
        ({}, {}, {"backend": "ray"}, "--backend"),
    ],
)
def test_a_word_that_is_gone_says_what_to_use(
    toml: dict[str, Any], environment: dict[str, str], flags: dict[str, str], where: str
) -> None:
    """From the file, the environment and the flag: the engine Ray is refused, and Dask named instead."""
    with pytest.raises(UsageError) as caught:
        resolve(RunSettings, toml, environment, flags)
    assert str(caught.value) == f"{where} no longer takes 'ray': use --backend dask"


def test_settings_made_in_code_are_checked_too() -> None:
    """A dataclass made by hand refuses the same values, by the field's name."""
    with pytest.raises(UsageError, match="epochs must be at least 1, not -1"):
        KeypointModelSettings(epochs=-1)
    with pytest.raises(UsageError, match="best_by must be one of rmse, mae, not 'r2'"):
        KeypointModelSettings(best_by="r2")  # type: ignore[arg-type]  # that is the fault
    with pytest.raises(dataclasses.FrozenInstanceError):
        KeypointModelSettings().epochs = 3  # type: ignore[misc]  # that is the fault


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs = 3", "unknown table [epochs]"),
        ("[keypoint-model]", "unknown table [keypoint-model]; did you mean keypoint-models?"),
        ("[keypoint-models]\nepoch = 3", "[keypoint-models] has no setting 'epoch'; did you mean epochs?"),
        ("run = 3", "run must be a table [run], not a value"),
        ("[run", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_settings_file_of_no_meaning_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """Unknown tables and keys are named with the nearest known one; what is not TOML is named."""
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        read_toml(path, SECTIONS)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_settings_file_is_a_sentence(tmp_path: Path) -> None:
    """A file that is not there is an input/output error."""
    with pytest.raises(StorageError, match=r"cannot read the settings file .*gone\.toml"):
        read_toml(tmp_path / "gone.toml", SECTIONS)


def values(cls: type[Settings], name: str) -> st.SearchStrategy[Any]:
    """Values that a field may have, hostile texts included."""
    kind = field_types(cls)[name]
    text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(8, 64),
        float: st.floats(0.5, 0.75),
        bool: st.booleans(),
        str: st.sampled_from(kind.choices) if kind.choices else text,
        Path: text.map(Path),
        ImageSize: st.builds(ImageSize, st.integers(1, 999), st.integers(1, 999)),
        NUMBERS: st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    }
    strategy = st.sampled_from(["cpu", "cuda:1"]) if name == "device" else by_type[kind.plain]
    if name == "source_from":
        return st.none()
    if name == "reviewer":  # a name on one line
        return st.none() | st.text(st.characters(categories=("L", "N", "S")), min_size=1, max_size=80)
    return st.none() | strategy if kind.optional else strategy


@pytest.mark.slow
@pytest.mark.parametrize("cls", SECTIONS)
@given(data=st.data())
@drawing(40)
def test_a_written_settings_file_reads_back(
    cls: type[Settings], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """settings.toml gives back the same settings, whatever characters they hold."""
    settings = cls(**{name: data.draw(values(cls, name), name) for name in field_types(cls)})
    path = tmp_path_factory.getbasetemp() / "settings.toml"
    path.write_text(to_toml(settings), encoding="utf-8", newline="\n")
    assert resolve(cls, read_toml(path, SECTIONS), {}, {}) == settings


def test_every_setting_has_a_help_text() -> None:
    """Help comes from the settings, so none may be without."""
    for cls in SECTIONS:
        for name, kind in field_types(cls).items():
            assert kind.about
            assert kind.metavar or kind.plain is bool, name
