"""The time left: one sentence, computed from a ratio of work and no more exact than an estimate."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.runs import progress
from labelfill.runs.progress import Speed, about, bar, seconds_left

SECONDS = st.floats(0, 1e6)
WORK = st.floats(1e-3, 1e6)
SENTENCE = re.compile(r"less than a minute|about [\d.]+ (minute|hour)s?")
RANGE = re.compile(
    rf"{SENTENCE.pattern}|at most about [\d.]+ (minute|hour)s?|about .* to [\d.]+ (minute|hour)s?"
)


@given(SECONDS, WORK, WORK)
def test_time_left_is_proportional_to_work_left(elapsed: float, done: float, left: float) -> None:
    """As much again takes as long again; nothing left takes no time; twice the work twice the time."""
    assert seconds_left(elapsed, done, done) == pytest.approx(elapsed)
    assert seconds_left(elapsed, done, 0) == 0
    assert seconds_left(elapsed, done, 2 * left) == pytest.approx(2 * seconds_left(elapsed, done, left))


@given(SECONDS, SECONDS)
def test_durations_are_words(one: float, other: float) -> None:
    """Every duration and range is one short sentence, the longer end of a range last."""
    least, most = sorted((one, other))
    assert SENTENCE.fullmatch(about(least))
    assert RANGE.fullmatch(about(least, most))
    assert about(least, least) == about(least)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (10, "less than a minute"),
        (61, "about 1 minute"),
        (250, "about 4 minutes"),
        (1390, "about 25 minutes"),
        (3600, "about 1 hour"),
        (9000, "about 2.5 hours"),
    ],
)
def test_durations_are_rounded_as_people_do(seconds: float, words: str) -> None:
    """The longer, the coarser."""
    assert about(seconds) == words


def test_ranges_name_a_common_unit_once() -> None:
    """And both units where they differ; two ends that are the same in words are one."""
    assert about(190, 400) == "about 3 to 7 minutes"
    assert about(3000, 9000) == "about 50 minutes to 2.5 hours"
    assert about(5, 130) == "at most about 2 minutes"
    assert about(100, 110) == about(100)


def test_speed_is_measured_after_warm_up() -> None:
    """What is done at once, before an interruption or while code is loaded, does not count as fast work."""
    speed = Speed(100, 0.0)
    assert speed.moved(40, 0.1) is None, "told of what was done before"
    assert speed.moved(1, 2.0) is None, "too short to tell"
    left = speed.moved(1, 4.1)
    assert left == pytest.approx(4.0 / 2 * 58)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No work is too short to be measured, and every time left is worth a line."""
    monkeypatch.setattr(progress, "_WARM_UP", 0.0)
    monkeypatch.setattr(progress, "_MEASURED", 0.0)
    monkeypatch.setattr(progress, "WORTH_SAYING", -1.0)


@pytest.mark.usefixtures("quick")
def test_time_left_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """After the first steps, by loops and by hand; also where no bar is drawn."""
    caplog.set_level(logging.INFO, "labelfill")
    assert list(bar(range(5), desc="counting")) == list(range(5))
    with bar(total=5, desc="adding") as shown:
        for _ in range(5):
            shown.update()
    said = caplog.messages
    assert len(said) == 2
    for line, name in zip(said, ("counting", "adding"), strict=True):
        assert SENTENCE.fullmatch(line.removeprefix(f"{name}: ").removesuffix(" left"))


@pytest.mark.usefixtures("quick")
def test_nothing_is_said_unasked(caplog: pytest.LogCaptureFixture) -> None:
    """Not of hidden bars, of bars without a name, or of what was announced before."""
    caplog.set_level(logging.INFO, "labelfill")
    for options in ({"desc": "work", "show": False}, {"desc": ""}, {"desc": "work", "announced": True}):
        assert len(list(bar(range(5), **options))) == 5
    assert not caplog.messages
