"""Images that stand in a table more than once: identical, mirrored, or nearly the same.

Nearly the same are images whose reduced, contrast-normalised copies agree, also after a move by a
few pixels or after mirroring: the same picture brighter, noisier, saved anew or cut a little
differently, and neighbouring frames of a video.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labelfill.arrays import Array, Floats, Images, Integers, Mask
from labelfill.data.images.identity import content_ids, exact_ids
from labelfill.reports.inspection.appearance import area_means
from labelfill.reports.inspection.inspected_table import InspectedTable, blocks
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize, mirror_partners

MOST_COMPARED = 30_000
"""Of more images only identical ones are looked for: every image is compared with every other."""

_COARSE = ImageSize(16, 16)
_CANDIDATE = 0.93  # correlation of coarse copies
_FINE = ImageSize(48, 48)
_MOST_MOVED = 3  # pixels of the fine copy
_ALIKE = 0.985  # correlation of fine copies, in the best position
_PAIRS_AT_ONCE = 1024
_MOST_PAIRS = 200_000


@dataclass(frozen=True)
class Lookalike:
    """A row whose image is the same as another row's, or nearly so.

    Attributes
    ----------
    mirrored, moved
        Whether it is the other's mirrored, and whether it is cut differently.
    """

    row: int
    mirrored: bool = False
    moved: bool = False


Group = tuple[Lookalike, ...]  # in the table's order; the first row is the one that others are compared with
_Link = tuple[int, Lookalike]


@dataclass(frozen=True)
class Disagreement:
    """How far labels of the same image lie apart: a measure of the annotators' noise.

    Attributes
    ----------
    pairs
        (K,): pairs of rows with the same image that both label the keypoint.
    rms
        (K,) px per coordinate: root mean square of half the squared differences; NaN without a pair.
    worst
        Pairs of rows (row, other, keypoint, distance in px), the largest distances first.
    """

    pairs: Integers
    rms: Array
    worst: tuple[tuple[int, int, int, float], ...]


def find_lookalikes(
    images: Images, left_out: Mask, *, show_progress: bool = False
) -> tuple[tuple[Group, ...], tuple[Group, ...] | None]:
    """Groups of rows with the same image (n, H, W), and with nearly the same: None if not looked for.

    Near ones are groups of different images, each stood for by the first row that has it.

    Parameters
    ----------
    left_out
        (n,): images that are not compared, such as flat ones.
    """
    identical = list(_identical(images, left_out))
    repeats = np.zeros(len(images), bool)
    repeats[[other.row for _, other in identical]] = True
    distinct = np.flatnonzero(~left_out & ~repeats)
    compared = len(distinct) <= MOST_COMPARED
    near = _near(images, distinct, show_progress) if compared and len(distinct) > 1 else ()
    return tuple(_groups(identical)), tuple(_groups(near)) if compared else None


def find_disagreement(groups: Iterable[Group], table: InspectedTable, most: int = 20) -> Disagreement:
    """How far labels of the same images lie apart.

    Rows of different sources are not compared, since they may mean different things by the same name; nor
    are images that are cut differently.
    """
    compared = [
        (first.row, other.row, other.mirrored)
        for first, *others in groups
        for other in others
        if not other.moved and table.source_of[other.row] == table.source_of[first.row]
    ]
    rows, others, is_mirrored = np.array(compared, np.int64).reshape(-1, 3).T
    schema, labels = table.schema, table.labels
    mirrored = schema.mirror(labels[others], mirror_partners(schema.keypoints))
    difference = np.where(is_mirrored[:, None, None] > 0, mirrored, labels[others]) - labels[rows]
    distance = np.hypot(difference[..., 0], difference[..., 1])
    known = np.isfinite(distance)
    worst = [(int(rows[i]), int(others[i]), k, float(distance[i, k])) for i, k in np.argwhere(known).tolist()]
    worst.sort(key=lambda pair: -pair[3])
    pairs = known.sum(axis=0)
    squares = np.where(known[..., None], difference, 0.0) ** 2
    with np.errstate(invalid="ignore"):
        rms = np.sqrt(squares.sum(axis=(0, 2)) / (4 * pairs))  # of two coordinates, in two rows each
    return Disagreement(pairs, rms, tuple(worst[:most]))


def _identical(images: Images, left_out: Mask) -> Iterator[_Link]:
    content, exact = content_ids(images), exact_ids(images)
    first: dict[int, int] = {}
    for row in np.flatnonzero(~left_out).tolist():
        origin = first.setdefault(int(content[row]), row)
        if origin != row:
            yield origin, Lookalike(row, mirrored=bool(exact[row] != exact[origin]))


def _near(images: Images, rows: Integers, show_progress: bool) -> Iterator[_Link]:
    found: list[tuple[int, int, bool]] = []
    with bar(total=len(rows), desc="comparing images", unit="row", show=show_progress) as progress:
        coarse = _normalised(_reduced(images, rows, _COARSE))
        flipped = _normalised(_reduced(images, rows, _COARSE)[:, :, ::-1])
        for block in blocks(len(rows)):
            for mirrored, others in ((False, coarse), (True, flipped)):
                alike = coarse[block] @ others.T > _CANDIDATE
                i, j = np.nonzero(np.triu(alike, block.start + 1))
                found += zip((i + block.start).tolist(), j.tolist(), [mirrored] * len(i), strict=True)
            progress.update(block.stop - block.start)
            if len(found) >= _MOST_PAIRS:  # nothing but frames of one video: enough to say so
                break
    for begin in range(0, min(len(found), _MOST_PAIRS), _PAIRS_AT_ONCE):
        pairs = found[begin : begin + _PAIRS_AT_ONCE]
        verified = zip(pairs, *_verified(images, rows, pairs), strict=True)
        for (first, second, mirrored), near, moved in verified:
            if near:
                yield int(rows[first]), Lookalike(int(rows[second]), mirrored, bool(moved))


def _verified(images: Images, rows: Integers, pairs: Sequence[tuple[int, int, bool]]) -> tuple[Mask, Mask]:
    """Whether pairs are alike in the best of all small moves, and whether that is a move at all."""
    firsts = _reduced(images, rows[[i for i, _, _ in pairs]], _FINE)
    seconds = _reduced(images, rows[[j for _, j, _ in pairs]], _FINE)
    flip = np.array([mirrored for _, _, mirrored in pairs])
    seconds[flip] = seconds[flip, :, ::-1]
    height, width = firsts.shape[1:]
    most = min(_MOST_MOVED, height // 8, width // 8)
    inner = _normalised(firsts[:, most : height - most, most : width - most])
    best, unmoved = np.full(len(pairs), -1.0), np.zeros(len(pairs))
    for dy in range(2 * most + 1):
        for dx in range(2 * most + 1):
            window = seconds[:, dy : height - 2 * most + dy, dx : width - 2 * most + dx]
            agreement = np.einsum("np,np->n", inner, _normalised(window))
            best = np.maximum(best, agreement)
            if dx == dy == most:
                unmoved = agreement
    return best > _ALIKE, unmoved < best - 1e-3


def _reduced(images: Images, rows: Integers, size: ImageSize) -> Floats:
    parts = [area_means(images[rows[block]], size) for block in blocks(len(rows))]
    return np.concatenate(parts) if parts else np.zeros((0, size.height, size.width), np.float32)


def _normalised(copies: Floats) -> Floats:
    """(n, h, w) -> (n, h w): without brightness, of length 1."""
    flat = copies.reshape(len(copies), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length: Floats = np.linalg.norm(flat, axis=1, keepdims=True)
    normalised: Floats = flat / np.maximum(length, 1e-6)
    return normalised


def _groups(links: Iterable[_Link]) -> Iterator[Group]:
    """Connected rows, each with how its image differs from that of the group's first row."""
    neighbours = defaultdict(list)
    for row, other in links:
        neighbours[row].append(other)
        neighbours[other.row].append(replace(other, row=row))
    seen: set[int] = set()
    for start in sorted(neighbours):
        if start in seen:
            continue
        members, queue = {start: Lookalike(start)}, [start]
        while queue:
            member = members[queue.pop()]
            for other in neighbours[member.row]:
                if other.row not in members:
                    mirrored, moved = member.mirrored ^ other.mirrored, member.moved | other.moved
                    members[other.row] = Lookalike(other.row, mirrored, moved)
                    queue.append(other.row)
        seen |= set(members)
        yield tuple(members[row] for row in sorted(members))
