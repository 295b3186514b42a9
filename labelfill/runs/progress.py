"""How long work takes: progress bars, and one line on the time left for whatever takes over a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm.auto import tqdm

_log = logging.getLogger("labelfill")

# What is done in the first second is warm-up, or was done before an interruption: neither tells the speed.
_WARM_UP = 1.0
_MEASURED = 3.0  # seconds of work that tell the speed
WORTH_SAYING = 60.0  # seconds
_MINUTE, _HOUR = 60.0, 3600.0


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "it",
    show: bool = True,
    announced: bool = False,
) -> Bar:
    """A bar that shows the time left, on a terminal or in a notebook; no bar elsewhere, or if not `show`.

    Work that takes over a minute logs once, after its first steps, how long it will take, unless that was
    `announced` before.
    """
    on_terminal = None  # tqdm disables itself where stderr is none
    shown = Bar(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        disable=True if not show else False if _in_notebook() else on_terminal,
        dynamic_ncols=True,
        unit_scale=unit == "B",
        leave=False,
    )
    if show and desc and not announced:
        shown.name, shown.speed = desc, Speed(shown.total, time.monotonic())
    return shown


def work_bar(total: float, *, desc: str, show: bool, announced: bool) -> Bar:
    """A bar over units of work of different sizes, whose number means nothing to people and is not shown."""
    shown = bar(total=total, desc=desc, show=show, announced=announced)
    shown.bar_format = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"
    shown.smoothing = 0  # units of different sizes end in bursts: only the average speed tells what is left
    return shown


class Bar(tqdm):  # type: ignore[type-arg]  # tqdm's own class takes none
    """tqdm's bar, which logs once how long its work will take; it counts where no bar is drawn, too."""

    name = ""
    speed: Speed | None = None

    def __iter__(self) -> Iterator[Any]:
        with self:
            for element in self.iterable:
                yield element
                self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Move on by `n` units."""
        left = None if self.speed is None else self.speed.moved(n or 0, time.monotonic())
        if left is not None:
            self.speed = None
            if left >= WORTH_SAYING:
                _log.info("%s: %s left", self.name, about(left))
        changed: bool | None = super().update(n)
        return changed


class Speed:
    """How fast work goes, and so how long it will still take; `total` in any unit of work."""

    def __init__(self, total: float | None, now: float) -> None:
        self._total, self._done, self._created = total, 0.0, now
        self._from = now, 0.0

    def moved(self, work: float, now: float) -> float | None:
        """Seconds left after some more work; None until enough of it is measured.

        Parameters
        ----------
        now
            In seconds, by the same clock as when the work began.
        """
        self._done += work
        if self._total is None:
            return None
        if now - self._created < _WARM_UP:
            self._from = now, self._done
        begun, before = self._from
        if now - begun < _MEASURED or self._done <= before:
            return None
        return seconds_left(now - begun, self._done - before, self._total - self._done)


def seconds_left(elapsed: float, done: float, left: float) -> float:
    """How long work will still take, by how long the work done so far took."""
    return elapsed * max(left, 0.0) / done


def about(seconds: float, most: float | None = None) -> str:
    """A duration in words, no more exact than an estimate is: ``about 4 minutes``; a range up to `most`."""
    least, unit = _rounded(seconds)
    if most is not None and (bounds := _rounded(most)) != (least, unit):
        most_number, most_unit = bounds
        longest = f"{most_number:g} {_plural(most_number, most_unit)}"
        if not least:
            return f"at most about {longest}"
        first = f"{least:g}" if unit == most_unit else f"{least:g} {_plural(least, unit)}"
        return f"about {first} to {longest}"
    return "less than a minute" if not least else f"about {least:g} {_plural(least, unit)}"


def _rounded(seconds: float) -> tuple[float, str]:
    """A number of minutes or hours that people would say; 0 for less than a minute."""
    if seconds < 0.75 * _MINUTE:
        return 0, "minute"
    minutes = max(round(seconds / _MINUTE), 1)
    if minutes < 12:
        return minutes, "minute"
    if minutes < 58:
        return 5 * round(minutes / 5), "minute"
    return round(2 * seconds / _HOUR) / 2, "hour"


def _plural(number: float, unit: str) -> str:
    return unit if number == 1 else f"{unit}s"


def _in_notebook() -> bool:
    """Whether Python runs behind a notebook, whose output is no terminal but draws bars."""
    shell = sys.modules.get("IPython")
    return shell is not None and "IPKernelApp" in getattr(shell.get_ipython(), "config", {})
