"""The classical methods: one contract for all, superpixels by hand, and the authors' own maps."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.classical import METHODS, SaliencyMethod, hs, rbd
from act2sal.classical.absorbing_markov import absorbed_times, affinity, indecision
from act2sal.classical.dense_sparse import (
    clustered,
    dense_errors,
    lasso,
    likeness,
    object_biased,
    posterior,
    propagated,
    sparse_errors,
)
from act2sal.classical.hierarchical import (
    REACH,
    Layer,
    border_share,
    inferred,
    layer_cue,
    layers_of,
    local_contrast,
    parents,
)
from act2sal.classical.region_merging import flat_regions, merged, region_scales
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
from act2sal.data.images import read_photo
from act2sal.evaluation import Scores, evaluate_pairs


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


class TestDenseAndSparseReconstruction:
    """DSR, step by step."""

    def test_a_lasso_of_one_template_is_soft_thresholding(self) -> None:
        codes = lasso(np.ones((1, 1)), np.array([[0.5], [0.005], [-0.5]]), 0.01)
        assert codes.ravel().tolist() == pytest.approx([0.49, 0, -0.49])

    def test_a_lasso_meets_its_conditions_of_optimality(self) -> None:
        """Where a coefficient is not zero, the residual's product with the template is the penalty; else, smaller."""
        rng = np.random.default_rng(5)
        templates, wanted = rng.normal(size=(12, 8)), rng.normal(size=(6, 8))
        templates /= np.linalg.norm(templates, axis=1, keepdims=True)
        codes = lasso(templates @ templates.T, wanted @ templates.T, 0.1, 1e-10, 100_000)
        products = (wanted - codes @ templates) @ templates.T
        assert np.abs(products).max() <= 0.1 + 1e-6
        assert products[codes != 0] == pytest.approx(0.1 * np.sign(codes[codes != 0]), abs=1e-6)
        assert (codes == 0).any()

    def test_what_lies_on_the_border_is_reconstructed_and_what_does_not_is_not(self) -> None:
        rng = np.random.default_rng(6)
        border = np.concatenate([rng.random((20, 1)), np.full((20, 7), 0.5)], axis=1)
        strange = np.full((1, 8), 0.5)
        strange[0, 4:] = 1.0
        features = np.concatenate([border, strange])
        for errors in (dense_errors(features, border), sparse_errors(features, border)):
            assert errors[-1] == 1
            assert errors[:-1].max() < 0.3

    def test_the_dense_error_by_hand(self) -> None:
        """The border varies along the first feature alone; what else a region has beside the mean is the error."""
        border = np.zeros((3, 8))
        border[:, 0] = [0, 1, 2]
        features = np.zeros((4, 8))
        features[:, 0] = [0, 1, 2, 5]
        features[:, 1] = [0, 0, 0, 4]  # mean 1, so errors 1, 1, 1, 3
        assert dense_errors(features, border).tolist() == pytest.approx([0, 0, 0, 1])

    def test_errors_are_propagated_within_clusters_by_hand(self) -> None:
        near = np.ones((3, 3)) - np.eye(3)
        found = propagated(np.array([1.0, 0.5, 0.0]), near, np.array([0, 0, 1]))
        # The first becomes (1 + 0.5) / 2, then the second (0.5 + 0.75) / 2; the third has no company: 0 / 2.
        assert found.tolist() == pytest.approx([1, 0.625 / 0.75, 0])

    def test_likeness_and_clusters(self) -> None:
        features = np.zeros((20, 8))
        features[10:, 0] = 1
        near = likeness(features)
        assert near.diagonal().tolist() == [0] * 20
        # The variance is 1/4 in one of eight features; the distance 1.
        assert near[0, 19] == pytest.approx(np.exp(-1 / (2 / 32)))
        clusters = clustered(features)
        assert len(set(clusters[:10])) == len(set(clusters[10:])) == 1
        assert clusters[0] != clusters[-1]

    def test_the_gaussian_stands_on_the_object(self) -> None:
        saliency = np.zeros((40, 40))
        saliency[10, 30] = 1
        saliency[30, 5] = 0.2
        biased = object_biased(saliency)
        assert biased[10, 30] == 1
        assert biased[30, 5] < 0.05

    def test_the_posterior_by_hand(self) -> None:
        """Two pixels above the mean of the prior; of the observed bins, one is seen on one side alone."""
        prior = np.array([[0.8, 0.8, 0.2, 0.2]])
        observed = np.array([[1.0, 0.5, 0.5, 0.0]])
        assert posterior(prior, observed)[0].tolist() == pytest.approx([1, 0.8, 0.2, 0])


class TestHierarchicalSaliency:
    """HS, step by step."""

    def test_flat_regions_by_hand(self) -> None:
        """A ramp hangs together, a corner does not; a step in one channel parts."""
        grey = np.array([[0, 5, 10], [60, 60, 15], [0, 90, 60]], np.uint8)
        photo = np.repeat(grey[..., None], 3, axis=2)
        photo[1, 1, 2] += 6
        assert flat_regions(photo, 5).tolist() == [[0, 0, 0], [1, 2, 0], [3, 4, 5]]
        assert flat_regions(photo, 6).tolist() == [[0, 0, 0], [1, 1, 0], [2, 3, 4]]

    def test_scales_by_brute_force(self) -> None:
        rng = np.random.default_rng(7)
        labels = np.kron(rng.integers(0, 3, (6, 7)), np.ones((3, 2), np.int64))
        expected = [
            max(
                side
                for side in range(1, 15)
                for top in range(18 - side + 1)
                for left in range(14 - side + 1)
                if (labels[top : top + side, left : left + side] == region).all()
            )
            for region in range(3)
        ]
        assert region_scales(labels).tolist() == expected

    def test_small_regions_join_the_neighbour_most_like_them(self) -> None:
        labels = np.zeros((8, 12), np.int64)
        labels[:, 6:] = 1
        labels[3, 5] = 2  # one pixel that touches both
        luv = np.array([[0.0, 0, 0], [100, 0, 0], [90, 0, 0]])[labels]
        assert np.array_equal(merged(labels, luv, 2), np.where(labels == 0, 0, 1))
        assert np.array_equal(merged(labels, luv, 1), labels)
        assert not merged(labels, luv, 50).any()

    def test_regions_meet_at_corners(self) -> None:
        """The pixel in the middle is like the corner, not like what lies beside it."""
        labels = np.ones((7, 7), np.int64)
        labels[:3, :3], labels[3, 3] = 0, 2
        luv = np.array([[50.0, 0, 0], [0, 0, 0], [49, 0, 0]])[labels]
        assert np.array_equal(merged(labels, luv, 3), np.where(labels == 1, 1, 0))

    def test_the_colour_of_a_region_is_the_mean_of_its_parts(self) -> None:
        """92 joins 100; their mean, 98, is nearer to 80 than 61 is, as 100 was not."""
        luv = np.repeat([100.0, 92, 80, 61], [3, 1, 2, 6])[None, :, None] * [1, 0, 0]
        labels = np.repeat([0, 1, 2, 3], [3, 1, 2, 6])[None]
        rows = np.repeat(labels, 3, axis=0)
        found = merged(rows, np.repeat(luv, 3, axis=0), 3)
        assert found[0].tolist() == [0] * 6 + [1] * 6

    @pytest.mark.parametrize("largest_last", [False, True])
    def test_every_region_left_holds_the_square(self, largest_last: bool) -> None:
        rng = np.random.default_rng(8)
        labels = np.arange(40 * 50).reshape(40, 50)
        blocks = np.kron(rng.random((4, 5, 3)), np.ones((10, 10, 1)))
        left = merged(labels, blocks + 0.01 * rng.random((40, 50, 3)), 5, largest_last=largest_last)
        assert 5 < left.max() < 40
        assert region_scales(left).min() >= 5

    def test_layers_lie_in_each_other(self) -> None:
        photo, _ = disc(180, 240)
        values = photo.astype(np.float64)
        layers = layers_of(flat_regions(photo, 3), values, values, largest_last=False)
        for fine, coarse in pairwise(layers):
            assert np.array_equal(parents(fine.labels, coarse.labels)[fine.labels], coarse.labels)

    def test_local_contrast_by_brute_force(self) -> None:
        rng = np.random.default_rng(9)
        colours, places, shares = rng.random((6, 3)), rng.random((6, 2)), rng.random(6)
        near = np.exp(-(distances(places) ** 2) / 0.3)
        expected = (near * distances(colours)) @ shares
        assert local_contrast(colours, places, shares, 0.3) == pytest.approx(expected)

    def test_border_share_by_hand(self) -> None:
        labels = np.zeros((6, 6), np.int64)
        labels[2:4, 2:4], labels[0, 0] = 1, 2
        # The largest region: 19 pixels of the rim; 8 beside region 1 and one at the corner's side are inner ones.
        inner = [(1, 2), (1, 3), (2, 1), (3, 1), (2, 4), (3, 4), (4, 2), (4, 3)]
        assert all(labels[place] == 0 for place in inner)
        assert border_share(labels, 3).tolist() == pytest.approx([19 / 27, 0, 1])

    def test_the_odd_colour_off_the_border_has_the_highest_cue(self) -> None:
        labels = np.zeros((30, 30), np.int64)
        labels[:10, :10], labels[10:20, 10:20] = 1, 2
        lab = np.array([[50.0, 0, 0], [50, 40, 0], [50, 40, 0]])[labels]
        for level in range(3):
            cue = layer_cue(labels, lab, level)
            assert cue[2] == pytest.approx(1, abs=0.01)
            assert cue[1] < 0.5

    def test_contrast_reaches_further_in_larger_layers(self) -> None:
        """Seen from one end of the photo, a colour at the other is next to nothing at a scale of 3."""
        colours = np.where(np.arange(20) < 18, 50.0, 0)[:, None] * [1, 0, 0]
        places = np.stack([np.full(20, 0.5), (np.arange(20) + 0.5) / 20], axis=1)
        near, far = (
            local_contrast(colours, places, np.full(20, 0.05), REACH * scale)[0] for scale in (3, 33)
        )
        assert near < 0.01 < 1 < far

    def test_saliency_passes_down_with_the_least_energy(self) -> None:
        fine, coarse = np.array([[0, 1, 2]]), np.array([[0, 0, 1]])
        layers = [
            Layer(fine, np.array([0.1, 0.9, 0.4])),
            Layer(coarse, np.array([0.2, 0.7])),
            Layer(coarse * 0, np.array([0.5])),
        ]
        assert parents(fine, coarse).tolist() == [0, 0, 1]
        grid = np.linspace(0, 1, 10_001)

        def best(cue: float, confidence: float, above: float) -> float:
            return float(grid[np.argmin(confidence * (grid - cue) ** 2 + 4 * (grid - above) ** 2)])

        middle = [best(0.2, 4, 0.5), best(0.7, 4, 0.5)]
        expected = [best(0.1, 0.5, middle[0]), best(0.9, 0.5, middle[0]), best(0.4, 0.5, middle[1])]
        assert inferred(layers) == pytest.approx(expected, abs=2e-4)


@pytest.mark.real_data
def test_hs_is_like_the_authors_own_maps(data_dir: Path) -> None:
    ours, theirs, alike = compared_with_published(data_dir / "ecssd_dev", "HS", hs, every=40)
    assert np.mean(alike) >= 0.82
    assert ours.f_adaptive == pytest.approx(theirs.f_adaptive, abs=0.05)
    assert ours.mae == pytest.approx(theirs.mae, abs=0.03)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["sod_dev", "pascal_s_dev"])
def test_rbd_is_like_the_authors_own_maps(name: str, data_dir: Path) -> None:
    ours, theirs, alike = compared_with_published(data_dir / name, "RBD", rbd, every=12)
    assert np.mean(alike) >= 0.88
    assert ours.f_adaptive == pytest.approx(theirs.f_adaptive, abs=0.05)
    assert ours.mae == pytest.approx(theirs.mae, abs=0.03)


def compared_with_published(
    folder: Path, name: str, method: SaliencyMethod, *, every: int
) -> tuple[Scores, Scores, list[float]]:
    """Scores of ours and of the authors' maps on every so many photos, and the correlation of each pair."""
    published = sorted((folder / "published_maps" / name).iterdir())[::every]
    photos, masks = ({p.stem: p for p in (folder / kind).iterdir()} for kind in ("images", "masks"))
    ours, theirs, alike = [], [], []
    for path in published:
        mask = cv2.imread(str(masks[path.stem]), cv2.IMREAD_GRAYSCALE) > 127
        prob = method(read_photo(photos[path.stem]))
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        alike.append(float(np.corrcoef(prob.ravel(), expected.ravel())[0, 1]))
        ours.append((prob, mask))
        theirs.append((expected, mask))
    assert len(alike) >= 12
    return evaluate_pairs(ours), evaluate_pairs(theirs), alike
