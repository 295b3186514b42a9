"""What was found for blanks: in which px it is stated, and that every filled cell is accounted for."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelfill.data.dataset import Dataset, dataset_of_arrays, dataset_of_labels
from labelfill.filling.fill import _conditioned_on_half, fill
from labelfill.filling.fills import FillMethod, Fills
from labelfill.filling.label_fills import copied_fills
from labelfill.filling.provenance import write_provenance
from labelfill.filling.request import FillRequest
from labelfill.networks.devices import Computing
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import KeypointModels
from labelfill.schema import ImageSize, Placements
from labelfill.settings import ImputeSettings
from labelfill.shape.prior import fit_shape_prior
from labelfill.sources.anchors import labels_as_anchors
from labelfill.sources.conventions import ConventionOffset, Sources, constant_map
from labelfill.sources.groups import UNKNOWN, SourceGroups, single_group
from tests.drawn_shapes import FACE, LEFT_EYE, NOSE, RIGHT_EYE, faces

NAMES = ("left_eye", "right_eye", "nose")
SOURCES = Sources(single_group(3), np.zeros(3, np.int64), [], {}, np.zeros(0, np.int64))
FRAME = ImageSize(30, 40)


def gappy(seed: int, rows: int = 9) -> Dataset:
    """Labels of which a third of the coordinates is missing."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(1, 28, (rows, 3, 2))
    labels[rng.random(labels.shape) < 0.3] = np.nan
    return dataset_of_arrays(labels, NAMES, np.zeros((rows, 30, 40), np.uint8), "X")


def filled(dataset: Dataset, seed: int) -> Fills:
    """Numbers in nearly all of the blanks."""
    rng = np.random.default_rng(seed)
    blank = np.isnan(dataset.table.labels)
    there = blank.any(axis=2) & (rng.random(blank.shape[:2]) < 0.9)
    return Fills(
        np.where(blank & there[..., None], rng.uniform(1, 28, blank.shape), np.nan),
        np.where(there, rng.uniform(0.5, 2, there.shape), np.nan),
        np.where(there, rng.uniform(1, 4, there.shape), np.nan),
        np.where(there, FillMethod.PRIOR, 0).astype(np.int8),
        np.zeros(there.shape, np.int64),
        np.full(there.shape, "", dtype=object),
    )


@pytest.mark.parametrize("seed", range(10))
def test_every_filled_point_has_one_line_of_provenance(seed: int) -> None:
    """No line is lost, doubled or about a point that was not filled; each tells which coordinates are new."""
    dataset = gappy(seed)
    fills, out = filled(dataset, seed).in_own_px(dataset), io.BytesIO()
    write_provenance(out, dataset, fills, SOURCES, "model")
    lines = list(csv.DictReader(io.StringIO(out.getvalue().decode())))
    new = np.isfinite(fills.xy)
    told = [(int(line["row"]), NAMES.index(line["keypoint"])) for line in lines]
    assert told == [tuple(point) for point in np.argwhere(new.any(axis=2)).tolist()]
    for line, point in zip(lines, told, strict=True):
        assert [axis in line["filled"] for axis in "xy"] == new[point].tolist()
        stated = [float(line[axis]) for axis in "xy"]
        known = np.where(new[point], fills.xy[point], dataset.table.labels[point])
        np.testing.assert_allclose(stated, known, atol=6e-5)
        assert float(line["radius"]) == pytest.approx(fills.radius[point], abs=6e-4)


def test_fills_are_stated_in_px_of_their_own_images() -> None:
    """In an image twice as large as the frame sigma and radius are twice as long, as its points lie apart."""
    sizes = np.array([[30.0, 40.0], [60.0, 80.0], [15.0, 20.0]])
    dataset = replace(gappy(0, rows=3), placements=Placements.of_whole_images(FRAME, sizes))
    points, one = np.tile([[5.0, 6.0], [8.0, 10.0], [20.0, 9.0]], (3, 1, 1)), np.ones((3, 3))
    fills = replace(filled(dataset, 0), xy=points, sigma=one, radius=3 * one).in_own_px(dataset)
    times = np.array([1.0, 2.0, 0.5])
    np.testing.assert_allclose(fills.sigma, times[:, None] * one)
    np.testing.assert_allclose(fills.radius, 3 * times[:, None] * one)
    apart = np.linalg.norm(fills.xy[:, 0] - fills.xy[:, 1], axis=1)
    np.testing.assert_allclose(apart, 5 * times)


def test_copies_are_as_unsure_as_their_labels_differ() -> None:
    """A blank is filled by the median of identical images' labels; where these scatter, sigma says so."""
    labels = np.tile([[5.0, 6.0], [8.0, 10.0], [20.0, 9.0]], (5, 1, 1))
    labels[:3, 2] += [[-3.0, 0.0], [0.0, 0.0], [9.0, 0.0]]
    labels[3] = np.nan
    images = np.zeros((5, 30, 40), np.uint8)
    images[4] = 7  # another image, which gives nothing
    labels[4, 1] += 5.0
    dataset = dataset_of_arrays(labels, NAMES, images, "X")
    prior = fit_shape_prior(labels[:3], np.zeros((3, 3, 2)))
    models = KeypointModels(Ensemble(dataset.schema, prior, None), SOURCES, {})
    copies = copied_fills(FillRequest(dataset, models, ImputeSettings(), np.zeros(5, np.int64)))
    fills = filled(dataset, 0).overlaid(copies)
    assert (fills.method == FillMethod.COPY).nonzero()[0].tolist() == [3, 3, 3]
    np.testing.assert_allclose(fills.xy[3], [[5.0, 6.0], [8.0, 10.0], [20.0, 9.0]])
    assert fills.sigma[3, 0] == fills.sigma[3, 1] < 1
    assert fills.sigma[3, 2] == pytest.approx(np.sqrt(np.var([-3.0, 0.0, 9.0]) / 2))
    np.testing.assert_allclose(fills.radius[3] / fills.sigma[3], np.sqrt(-2 * np.log(0.1)))


def test_a_known_half_moves_the_other_as_errors_go_together() -> None:
    """Where x is known to lie further right than found, y goes down as far as their errors correlate."""
    labels = np.array([[[12.0, np.nan], [np.nan, 7.0], [np.nan, np.nan], [5.0, 5.0]]])
    found = np.array([[[10.0, 20.0], [30.0, 10.0], [1.0, 2.0], [np.nan, np.nan]]])
    moved = _conditioned_on_half(found, labels, np.array([0.5, -0.5, 0.9, 0.9]))
    assert moved[0, 0].tolist() == [10.0, 21.0]
    assert moved[0, 1].tolist() == [31.5, 10.0]
    assert moved[0, 2].tolist() == [1.0, 2.0]


# -- by the shape prior alone -----------------------------------------------------------------------

OFFSET = ConventionOffset(
    group=1, reference=0, keypoint=NOSE, mean=np.array([2.0, -1.0]), interval=np.zeros((2, 2)), rows=50,
    claimed=True, guess_variance=np.array([0.6, 0.2]), noise=np.array([0.6, 0.2]),
    anchors=np.array([LEFT_EYE, RIGHT_EYE]),
    to_group=constant_map(np.array([LEFT_EYE, RIGHT_EYE]), np.array([2.0, -1.0])),
)  # fmt: skip


def of_two_groups(offsets: list[ConventionOffset]) -> Sources:
    patterns = np.ones((2, 7), bool)
    patterns[1, NOSE] = False
    groups = SourceGroups(("1", "2"), patterns, np.arange(2))
    return Sources(groups, np.zeros(7, np.int64), offsets, {}, np.zeros(0, np.int64))


def filled_as(group: int, offsets: list[ConventionOffset]) -> tuple[Dataset, Fills]:
    """Faces that lack nose and lip, filled as if their label source were that group."""
    labels = labels_as_anchors(faces(200, np.random.default_rng(0)))
    one, three = np.ones(7), np.ones((7, 3))
    calibration = Calibration(
        np.tile([1.0, 0.0, 0.0], (7, 1)), one, 0 * one, one[:, None], one.astype(np.int64)
    )
    radii = Radii(
        np.full((7, 2), np.inf), 2.0 * three[..., None], 500 * three.astype(np.int64), np.ones((2, 7), bool),
        np.ones(2), one, 500 * one.astype(np.int64),
    )  # fmt: skip
    prior = fit_shape_prior(labels.xy, labels.noise)
    ensemble = Ensemble(FACE, prior, None, calibration=calibration, radii=radii)
    rows = faces(5, np.random.default_rng(1))
    rows[:, NOSE : NOSE + 2] = np.nan
    rows[0, 0, 1] = np.nan  # half a point
    dataset = dataset_of_labels(rows, FACE.keypoints, "X", FACE.image_size)
    groups = np.full(5, group)
    models = KeypointModels(ensemble, of_two_groups(offsets), {})
    request = FillRequest(dataset, models, ImputeSettings(), groups)
    return dataset, fill(request, Computing(torch.device("cpu"))).fills


def test_blanks_are_filled_and_nothing_else() -> None:
    """No coordinate that the table has is among the fills, halves of points included."""
    dataset, fills = filled_as(0, [])
    np.testing.assert_array_equal(np.isfinite(fills.xy), np.isnan(dataset.table.labels))
    np.testing.assert_array_equal(fills.filled, np.isnan(dataset.table.labels).any(axis=2))
    np.testing.assert_allclose(fills.radius[fills.filled], 2 * fills.sigma[fills.filled])


def test_rows_of_unknown_source_are_filled_less_surely() -> None:
    """The same row gets the same fill with a larger sigma and radius if nobody knows its source."""
    (_, known), (_, unknown) = filled_as(0, []), filled_as(UNKNOWN, [])
    np.testing.assert_allclose(unknown.xy, known.xy)
    there = known.filled
    assert (unknown.sigma[there] > 1.2 * known.sigma[there]).all()
    np.testing.assert_allclose(unknown.radius[there] / unknown.sigma[there], 2)


def test_a_disputed_point_is_filled_as_its_own_source_would_label_it() -> None:
    """Moved by the offset into the row's own convention, and less surely, because the way there is unsure."""
    (_, home), (_, away) = filled_as(0, [OFFSET]), filled_as(1, [OFFSET])
    np.testing.assert_allclose(away.xy[:, NOSE], home.xy[:, NOSE] + OFFSET.mean)
    np.testing.assert_allclose(away.sigma[:, NOSE], np.sqrt(home.sigma[:, NOSE] ** 2 + 0.4))
    np.testing.assert_allclose(away.radius[:, NOSE], 2 * away.sigma[:, NOSE])
    assert (away.conventions[:, NOSE] == 1).all()
    assert (away.method[:, NOSE] == FillMethod.CONVENTION).all()
    np.testing.assert_allclose(away.xy[:, NOSE + 1], home.xy[:, NOSE + 1])
