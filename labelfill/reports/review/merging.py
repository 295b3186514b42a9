"""What several reviewers decided about the same points: where they agree, and where they do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelfill.data.corrections import Decision, corrections_bytes, read_decisions
from labelfill.errors import UsageError
from labelfill.runs import write_bytes

_TOGETHER = "; "  # between the names of those who decided alike


@dataclass(frozen=True)
class Merged:
    """Decisions of several files.

    Attributes
    ----------
    agreed
        One decision for each point on which nobody disagrees.
    alone
        How many of these only one file decides.
    disputed
        For each other point the decisions, in the order of the files.
    """

    agreed: list[Decision]
    alone: int
    disputed: list[list[Decision]]


def merge_corrections(paths: Sequence[Path], out: Path | None, *, within: float) -> Mapping[str, Any]:
    """Compare files of decisions, and write those on which nobody disagrees to `out`, if it is given.

    Parameters
    ----------
    within
        Places that lie at most so many px apart agree.

    Raises
    ------
    UsageError
        If there are fewer than two files.
    DataError
        If a file is missing, or a line is no decision.
    """
    if len(paths) < 2:
        raise UsageError("--merge compares the decisions of several reviewers: name at least two files")
    named = [list(_named(path)) for path in paths]
    merged = merge_decisions(named, within)
    if out is not None:
        write_bytes(out, corrections_bytes(merged.agreed))
    return {
        "files": [str(path) for path in paths],
        "decisions": [len(decisions) for decisions in named],
        "agreed": len(merged.agreed) - merged.alone,
        "alone": merged.alone,
        "within": within,
        "disputed": [_told(decisions) for decisions in merged.disputed],
        "out": "" if out is None else str(out),
    }


def merge_decisions(files: Sequence[Sequence[Decision]], within: float) -> Merged:
    """Decisions by point; they agree if they say the same, or places at most `within` px apart."""
    points: dict[tuple[int, str], list[Decision]] = {}
    for decision in itertools.chain.from_iterable(files):
        points.setdefault((decision.row, decision.keypoint), []).append(decision)
    agreed, disputed, alone = [], [], 0
    for _, decisions in sorted(points.items()):
        if _agree(decisions, within):
            agreed.append(_as_one(decisions))
            alone += len(decisions) == 1
        else:
            disputed.append(decisions)
    return Merged(agreed, alone, disputed)


def _named(path: Path) -> Iterator[Decision]:
    """The decisions of a file; one that names no reviewer is told by the file's name in messages."""
    for decision in read_decisions(path).values():
        yield replace(decision, where=decision.reviewer or path.name)


def _agree(decisions: Sequence[Decision], within: float) -> bool:
    apart = _apart(decisions)
    return len({decision.action for decision in decisions}) == 1 if apart is None else apart <= within


def _apart(decisions: Sequence[Decision]) -> float | None:
    """How far the places lie apart at most, px; None if a decision gives none."""
    places = [decision.place for decision in decisions if decision.place is not None]
    if len(places) < len(decisions):
        return None
    return max((math.dist(*pair) for pair in itertools.combinations(places, 2)), default=0.0)


def _as_one(decisions: Sequence[Decision]) -> Decision:
    """Decisions that agree: by all who are named, at the mean of the places."""
    reviewers = dict.fromkeys(decision.reviewer for decision in decisions if decision.reviewer)
    first = replace(decisions[0], reviewer=_TOGETHER.join(reviewers))
    if first.place is None or not _apart(decisions):
        return first
    xs, ys = zip(*(decision.place for decision in decisions if decision.place is not None), strict=True)
    return replace(first, action="moved", place=(sum(xs) / len(xs), sum(ys) / len(ys)))


def _told(decisions: Sequence[Decision]) -> dict[str, Any]:
    """A disagreement for people and programs."""
    return {
        "row": decisions[0].row,
        "keypoint": decisions[0].keypoint,
        "distance": _apart(decisions),
        "decisions": [
            {"reviewer": decision.where, "action": decision.action, "place": decision.place}
            for decision in decisions
        ],
    }
