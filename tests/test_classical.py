"""The classical methods: one contract for all, superpixels by hand, and the authors' own maps."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.classical import METHODS, SaliencyMethod, rbd
from act2sal.classical.absorbing_markov import absorbed_times, affinity, indecision
from act2sal.classical.robust_background import (
    boundary_connectivity,
    colour_scales,
    gaussian_weights,
    optimised,
)
from act2sal.classical.superpixels import (
    Superpixels,
    adjacency,
    at_working_size,
    distances,
    means,
    on_border,
    second_neighbours,
    stretched,
    superpixels,
)
from act2sal.evaluation import evaluate_pairs
from act2sal.images import read_photo


def disc(height: int = 90, width: int = 120) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A red disc on grass-like noise, and its mask."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    mask = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 4) ** 2
    photo = rng.integers(0, 40, (height, width, 3)) + np.array([40, 110, 40])
    photo[mask] = rng.integers(0, 40, (int(mask.sum()), 3)) + np.array([190, 30, 30])
    return photo.astype(np.uint8), mask


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
class TestContract:
    """What holds for every method."""

    @pytest.mark.parametrize("shape", [(16, 16), (17, 91), (64, 48), (1, 1), (1, 40)])
    def test_any_shape_gives_a_map_of_it(self, method: SaliencyMethod, shape: tuple[int, int]) -> None:
        photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        prob = method(photo)
        assert prob.shape == shape
        assert prob.dtype == np.float32
        assert 0 <= prob.min() <= prob.max() <= 1

    def test_twice_is_the_same(self, method: SaliencyMethod) -> None:
        photo, _ = disc()
        assert np.array_equal(method(photo), method(photo.copy()))

    def test_a_photo_of_one_colour_has_nothing_in_it(self, method: SaliencyMethod) -> None:
        assert not method(np.full((60, 80, 3), 90, np.uint8)).any()

    def test_a_grey_photo_works(self, method: SaliencyMethod) -> None:
        photo, mask = disc()
        grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
        prob = method(grey)
        assert np.isfinite(prob).all()
        assert prob[mask].mean() >= prob[~mask].mean()

    def test_a_disc_is_found(self, method: SaliencyMethod) -> None:
        photo, mask = disc()
        prob = method(photo)
        assert prob[mask].mean() > 0.8
        assert prob[~mask].mean() < 0.2

    def test_twelve_megapixels(self, method: SaliencyMethod) -> None:
        photo, mask = disc()
        large = cv2.resize(photo, (4000, 3000), interpolation=cv2.INTER_NEAREST)
        prob = method(large)
        assert prob.shape == (3000, 4000)
        inside = cv2.resize(mask.astype(np.uint8), (4000, 3000), interpolation=cv2.INTER_NEAREST) > 0
        assert prob[inside].mean() > prob[~inside].mean() + 0.5


def test_a_method_never_sees_more_than_the_working_size() -> None:
    seen = []

    def method(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(photo.shape[:2])
        return np.zeros(photo.shape[:2], np.float32)

    for shape in ((3000, 4000), (300, 400), (10, 9000), (401, 400)):
        assert at_working_size(np.zeros((*shape, 3), np.uint8), method).shape == shape
    assert seen == [(300, 400), (300, 400), (1, 400), (400, 399)]


def test_neighbours_means_and_border_by_hand() -> None:
    labels = np.array([[0, 0, 1, 1], [0, 4, 4, 1], [2, 4, 4, 3], [2, 2, 3, 3]])
    adjacent = adjacency(labels, 5)
    assert not adjacent.diagonal().any()
    assert np.array_equal(adjacent, adjacent.T)
    pairs = {(a, b) for a, b in np.argwhere(adjacent).tolist() if a < b}
    assert pairs == {(0, 1), (0, 2), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)}
    assert on_border(labels, 5, 1).tolist() == [True, True, True, True, False]
    values = np.arange(16.0).reshape(4, 4, 1)
    assert means(values, labels, np.bincount(labels.ravel()))[:, 0].tolist() == [
        5 / 3,
        12 / 3,
        33 / 3,
        40 / 3,
        7.5,
    ]


def test_superpixels_cover_the_photo() -> None:
    photo, _ = disc()
    regions = superpixels(photo, pixels_each=200, compactness=20, border_width=3)
    assert set(np.unique(regions.labels)) == set(range(len(regions)))
    assert regions.sizes.sum() == 90 * 120
    assert len(regions) == pytest.approx(54, abs=15)
    assert 0 < regions.border.sum() < len(regions)
    assert (regions.centres > 0).all()
    assert (regions.centres <= 1).all()


def row_of_four() -> Superpixels:
    """Four regions in a row, black, black, white, white; the first and the last are on the border."""
    labels = np.repeat(np.arange(4), 2)[None]
    adjacent = adjacency(labels, 4)
    lab = np.array([[0.0, 0, 0], [0, 0, 0], [100, 0, 0], [100, 0, 0]])
    border = np.array([True, False, False, True])
    return Superpixels(labels, np.full(4, 2), lab / 100, lab, np.zeros((4, 2)), adjacent, border)


def test_boundary_connectivity_by_hand() -> None:
    """Black and white are far apart, so each region reaches its own colour alone: area 2, border 1."""
    regions = row_of_four()
    colour = distances(regions.lab)
    scales = colour_scales(regions.adjacent, colour)
    assert scales.geodesic == 5
    assert boundary_connectivity(regions, colour, scales) == pytest.approx(1 / np.sqrt(2), abs=1e-6)


def test_second_neighbours_by_hand() -> None:
    linked = second_neighbours(row_of_four().adjacent)
    assert linked[0].tolist() == [False, True, True, False]
    assert linked[1].tolist() == [True, False, True, True]


def test_the_optimum_has_no_gradient() -> None:
    """Eq. 9: sum w_bg s^2 + w_fg (s - 1)^2 + w_ij (s_i - s_j)^2, by brute force over small steps."""
    regions = row_of_four()
    colour = distances(regions.lab) / 20
    scales = colour_scales(regions.adjacent, colour)
    rng = np.random.default_rng(4)
    background, foreground = rng.random(4), rng.random(4)
    found = optimised(regions, colour, scales, background, foreground)
    linked = second_neighbours(regions.adjacent) | np.outer(regions.border, regions.border)
    weights = np.where(linked, gaussian_weights(colour, scales.neighbours), 0) + 0.1 * regions.adjacent
    np.fill_diagonal(weights, 0)

    def cost(s: NDArray[np.float64]) -> float:
        pairs = (weights * (s[:, None] - s[None]) ** 2).sum() / 2
        return float((5 * background * s**2 + foreground * (s - 1) ** 2).sum() + pairs)

    best = cost(found)
    for step in rng.normal(0, 0.01, (200, 4)):
        assert cost(found + step) >= best - 1e-9


def test_absorbed_times_by_hand() -> None:
    """Two regions, both on the border and alike: each stays with 2 of 4 copies, so it takes 2 steps to leave."""
    both = absorbed_times(np.ones((2, 2)), np.array([True, True]), np.ones(2))
    assert both == pytest.approx([2, 2])
    # Only the first has a copy: from each, one way of three leads out, 3 steps.
    one = absorbed_times(np.ones((2, 2)), np.array([True, False]), np.ones(2))
    assert one == pytest.approx([3, 3])


def test_an_object_unlike_the_border_holds_the_walker_longest() -> None:
    photo_like = np.array([[1, 0.9, 0.01], [0.9, 1, 0.01], [0.01, 0.01, 1]])
    times = absorbed_times(photo_like, np.array([True, True, False]), np.ones(3))
    assert times[2] > 5 * times[0]


def test_absorbed_times_are_those_of_walkers() -> None:
    rng = np.random.default_rng(2)
    likeness = rng.random((4, 4))
    likeness = (likeness + likeness.T) / 2
    border = np.array([True, True, False, False])
    degrees, leaving = likeness.sum(axis=1), likeness[:, border].sum(axis=1)
    walkers = np.full(40_000, 3)
    steps = np.zeros(len(walkers))
    here = np.ones(len(walkers), bool)
    while here.any():
        steps[here] += 1
        ways = np.concatenate([likeness, leaving[:, None]], axis=1) / (degrees + leaving)[:, None]
        draws = rng.random(int(here.sum()))
        following = (draws[:, None] > ways[walkers[here]].cumsum(axis=1)).sum(axis=1)
        walkers[here] = np.minimum(following, 4)
        here = walkers < 4
    expected = absorbed_times(likeness, border, np.ones(4))
    assert expected[3] == pytest.approx(steps.mean(), rel=0.02)
    assert absorbed_times(likeness, border, np.full(4, 3.0)) == pytest.approx(3 * expected)


def test_likeness_and_indecision_by_hand() -> None:
    colour = np.array([[0.0, 2, 9], [2, 0, 4], [9, 4, 0]])
    linked = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    likeness = affinity(colour, linked)
    assert likeness[0, 2] == 0
    assert likeness[0, 1] == pytest.approx(1, abs=1e-4)
    assert likeness[1, 2] == pytest.approx(np.exp(-10), abs=2e-5)
    assert likeness.diagonal().tolist() == [1, 1, 1]
    assert indecision(np.array([0.0, 1, 0, 1])) == 1
    assert indecision(np.array([0.45, 0.55])) == 5


def test_stretching_by_hand() -> None:
    assert stretched(np.array([2.0, 3, 4])).tolist() == [0, 0.5, 1]
    assert stretched(np.array([2.0, 2])).tolist() == [0, 0]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["sod_dev", "pascal_s_dev"])
def test_rbd_is_like_the_authors_own_maps(name: str, data_dir: Path) -> None:
    folder = data_dir / name
    published = sorted((folder / "published_maps" / "RBD").iterdir())[::12]
    photos, masks = ({p.stem: p for p in (folder / kind).iterdir()} for kind in ("images", "masks"))
    ours, theirs, alike = [], [], []
    for path in published:
        mask = cv2.imread(str(masks[path.stem]), cv2.IMREAD_GRAYSCALE) > 127
        prob = rbd(read_photo(photos[path.stem]))
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        alike.append(np.corrcoef(prob.ravel(), expected.ravel())[0, 1])
        ours.append((prob, mask))
        theirs.append((expected, mask))
    assert len(alike) >= 12
    assert np.mean(alike) >= 0.88
    mine, published_scores = evaluate_pairs(ours), evaluate_pairs(theirs)
    assert mine.f_adaptive == pytest.approx(published_scores.f_adaptive, abs=0.05)
    assert mine.mae == pytest.approx(published_scores.mae, abs=0.03)
