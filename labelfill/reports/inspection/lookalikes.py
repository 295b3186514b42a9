"""Images that stand in a table more than once: identical, mirrored, or nearly the same.

Nearly the same are images whose reduced, contrast-normalised copies agree, also after a move by a
few pixels or after mirroring: the same picture brighter, noisier, saved anew or cut a little
differently, and neighbouring frames of a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Floats, Images, Integers, Mask
from labelfill.data.images.identity import content_ids, exact_ids
from labelfill.reports.inspection.appearance import area_means
from labelfill.reports.inspection.brightness import blocks
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize, KeypointSchema

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
class Lookalikes:
    """Rows whose images are the same, or nearly so.

    Attributes
    ----------
    rows
        In the table's order; the first is the one others are compared with.
    mirrored
        For each row whether its image is the first one's mirrored.
    moved
        For each row whether its image is cut differently from the first one's.
    identical
        Whether all images are the same, pixel by pixel, mirrored ones apart.
    """

    rows: tuple[int, ...]
    mirrored: tuple[bool, ...]
    moved: tuple[bool, ...]
    identical: bool


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


@dataclass(frozen=True)
class _Link:
    """Two rows with much the same image."""

    row: int
    other: int
    mirrored: bool
    moved: bool
    identical: bool


def find_lookalikes(
    images: Images, left_out: Mask, *, show_progress: bool = False
) -> tuple[tuple[Lookalikes, ...], bool]:
    """Groups of rows by their images (n, H, W), identical ones first; and whether near ones were looked for.

    Near ones are groups of different images, each stood for by the first row that has it.

    Parameters
    ----------
    left_out
        (n,): images that are not compared, such as flat ones.
    """
    identical = list(_identical(images, left_out))
    repeats = np.zeros(len(images), bool)
    repeats[[link.other for link in identical]] = True
    distinct = np.flatnonzero(~left_out & ~repeats)
    compared = len(distinct) <= MOST_COMPARED
    near = _near(images, distinct, show_progress) if compared and len(distinct) > 1 else []
    return (*_groups(identical), *_groups(near)), compared


def find_disagreement(
    groups: Sequence[Lookalikes],
    labels: Array,
    schema: KeypointSchema,
    partners: Sequence[int],
    source_of: Integers,
    most: int = 20,
) -> Disagreement:
    """How far labels (n, K, 2) px of the same images lie apart.

    Rows of different sources (n,) are not compared, since they may mean different things by the same
    name; nor are images that are cut differently.
    """
    differences, worst = [np.zeros((0, *labels.shape[1:]))], []
    for group in groups:
        for row, mirrored, moved in list(zip(group.rows, group.mirrored, group.moved, strict=True))[1:]:
            if moved or source_of[row] != source_of[group.rows[0]]:
                continue
            own = schema.mirror(labels[row], partners) if mirrored else labels[row]
            difference = own - labels[group.rows[0]]
            differences.append(difference[None])
            length = np.hypot(difference[:, 0], difference[:, 1])
            worst += [
                (group.rows[0], row, int(k), float(length[k])) for k in np.flatnonzero(np.isfinite(length))
            ]
    stacked = np.concatenate(differences)
    known = np.all(np.isfinite(stacked), axis=2)
    pairs = known.sum(axis=0)
    squares = np.where(known[:, :, None], stacked, 0.0) ** 2
    with np.errstate(invalid="ignore"):
        rms = np.sqrt(squares.sum(axis=(0, 2)) / (4 * pairs))  # of two coordinates, in two rows each
    worst.sort(key=lambda pair: -pair[3])
    return Disagreement(pairs, rms, tuple(worst[:most]))


def _identical(images: Images, left_out: Mask) -> Iterator[_Link]:
    content, exact = content_ids(images), exact_ids(images)
    first: dict[int, int] = {}
    for row in np.flatnonzero(~left_out).tolist():
        origin = first.setdefault(int(content[row]), row)
        if origin != row:
            yield _Link(origin, row, bool(exact[row] != exact[origin]), False, True)


def _near(images: Images, rows: Integers, show_progress: bool) -> list[_Link]:
    links = []
    with bar(total=len(rows), desc="comparing images", unit="row", show=show_progress) as progress:
        coarse = _normalised(_reduced(images, rows, _COARSE))
        flipped = _normalised(_reduced(images, rows, _COARSE)[:, :, ::-1])
        found: list[tuple[int, int, bool]] = []
        for block in blocks(len(rows)):
            for mirrored, others in ((False, coarse), (True, flipped)):
                alike = coarse[block] @ others.T > _CANDIDATE
                i, j = np.nonzero(np.triu(alike, block.start + 1))
                found += [(int(a) + block.start, int(b), mirrored) for a, b in zip(i, j, strict=True)]
            progress.update(block.stop - block.start)
            if len(found) >= _MOST_PAIRS:  # nothing but frames of one video: enough to say so
                break
    for begin in range(0, min(len(found), _MOST_PAIRS), _PAIRS_AT_ONCE):
        pairs = found[begin : begin + _PAIRS_AT_ONCE]
        alike, moved = _verified(images, rows, pairs)
        links += [
            _Link(int(rows[i]), int(rows[j]), mirrored, bool(moved[p]), False)
            for p, (i, j, mirrored) in enumerate(pairs)
            if alike[p]
        ]
    return links


def _verified(images: Images, rows: Integers, pairs: Sequence[tuple[int, int, bool]]) -> tuple[Mask, Mask]:
    """Whether pairs are alike in the best of all small moves, and whether that is a move at all."""
    ours = _reduced(images, rows[[i for i, _, _ in pairs]], _FINE)
    theirs = _reduced(images, rows[[j for _, j, _ in pairs]], _FINE)
    flip = np.array([mirrored for _, _, mirrored in pairs])
    theirs[flip] = theirs[flip, :, ::-1]
    height, width = ours.shape[1:]
    most = min(_MOST_MOVED, height // 8, width // 8)
    inner = _normalised(ours[:, most : height - most, most : width - most])
    best, unmoved = np.full(len(pairs), -1.0), np.zeros(len(pairs))
    for dy in range(2 * most + 1):
        for dx in range(2 * most + 1):
            window = theirs[:, dy : height - 2 * most + dy, dx : width - 2 * most + dx]
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


def _groups(links: Sequence[_Link]) -> Iterator[Lookalikes]:
    """Connected rows, each with how its image differs from that of the group's first row."""
    neighbours: dict[int, list[tuple[int, _Link]]] = {}
    for link in links:
        neighbours.setdefault(link.row, []).append((link.other, link))
        neighbours.setdefault(link.other, []).append((link.row, link))
    seen: set[int] = set()
    for start in sorted(neighbours):
        if start in seen:
            continue
        seen.add(start)
        members, queue, identical = {start: (False, False)}, [start], True
        while queue:
            row = queue.pop()
            mirrored, moved = members[row]
            for other, link in neighbours[row]:
                identical &= link.identical
                if other not in seen:
                    seen.add(other)
                    members[other] = (mirrored ^ link.mirrored, moved | link.moved)
                    queue.append(other)
        rows = tuple(sorted(members))
        yield Lookalikes(
            rows, tuple(members[r][0] for r in rows), tuple(members[r][1] for r in rows), identical
        )
