"""Dense CRF against the exact model, the published implementation, and its invariants."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from act2sal.a2s import crf
from exact_crf import exact_mean_field

DEFAULTS = {
    "gaussian_sxy": 3.0,
    "gaussian_compat": 3.0,
    "bilateral_sxy": 50.0,
    "bilateral_srgb": 5.0,
    "bilateral_compat": 10.0,
}
PARAMETERS = [
    DEFAULTS,
    DEFAULTS | {"bilateral_sxy": 20.0, "bilateral_srgb": 13.0},
    DEFAULTS | {"gaussian_sxy": 1.0, "gaussian_compat": 2.0, "bilateral_sxy": 8.0, "bilateral_srgb": 20.0},
    DEFAULTS
    | {"gaussian_compat": 0.0, "bilateral_sxy": 30.0, "bilateral_srgb": 10.0, "bilateral_compat": 4.0},
]


def refined(
    photo: NDArray[np.uint8], mask: NDArray[np.bool_], *, iterations: int = 10
) -> NDArray[np.float32]:
    """Foreground probability from a hard label, with the constants of the published code."""
    return crf.mean_field(photo, crf.unary_from_labels(mask), iterations=iterations)


def drawing(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A photo-like image: a shaded disc on a shaded ground with mild noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ground = np.stack([60 + 1.5 * x, 90 + 0.8 * y, 120 - 0.5 * x], axis=2)
    disc = np.hypot(y - height / 2, x - width / 2) < 0.3 * max(height, width)
    ground[disc] = np.stack([190 - y, 60 + x, 50 + 0 * x], axis=2)[disc]
    return np.clip(ground + rng.normal(0, 3, ground.shape), 0, 255).astype(np.uint8)


def rough_mask(height: int, width: int, seed: int = 1) -> NDArray[np.bool_]:
    """A disc of the wrong size with a tenth of its pixels turned over, (H, W) bool."""
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(y - height / 2, x - width / 2) < 0.25 * max(height, width)
    return disc ^ (np.random.default_rng(seed).random((height, width)) < 0.1)


def difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.abs(a - b).mean())


# The exact model


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("iterations", [1, 5, 10])
@pytest.mark.parametrize("size", [(32, 32), (20, 31)])
def test_close_to_the_exact_model_on_a_drawing(parameters, iterations, size):
    photo, unary = drawing(*size), crf.unary_from_labels(rough_mask(*size))
    exact = exact_mean_field(photo, unary, iterations=iterations, **parameters)
    prob = crf.mean_field(photo, unary, iterations=iterations, **parameters)
    assert difference(prob, exact) <= 0.015
    assert ((prob > 0.5) == (exact > 0.5)).mean() >= 0.985


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_close_to_the_exact_model_on_noise_after_one_iteration(parameters):
    """Noise is the worst case: most vertices of the lattice are missing. Later iterations amplify what is
    lost.
    """
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    unary = crf.unary_from_labels(rough_mask(32, 32))
    exact = exact_mean_field(photo, unary, iterations=1, **parameters)
    assert difference(crf.mean_field(photo, unary, iterations=1, **parameters), exact) <= 0.035


def test_gaussian_kernel_alone_is_exact():
    photo, unary = drawing(23, 32), crf.unary_from_labels(rough_mask(23, 32))
    parameters = DEFAULTS | {"bilateral_compat": 0.0}
    exact = exact_mean_field(photo, unary, iterations=10, **parameters)
    np.testing.assert_allclose(crf.mean_field(photo, unary, iterations=10, **parameters), exact, atol=5e-4)


def test_two_pixels_by_hand():
    """Equal colours one pixel apart: k = e^-1/2 in both kernels, each normalised by 1 + k; three updates."""
    photo = np.full((1, 2, 3), 9, np.uint8)
    unary = np.array([[1.0, -0.5]], np.float32)
    k = np.exp(-0.5)
    a, b = 1.0, -0.5
    for _ in range(3):
        s, t = np.tanh(a / 2), np.tanh(b / 2)
        a, b = 1.0 + 2.0 * (s + k * t) / (1 + k), -0.5 + 2.0 * (k * s + t) / (1 + k)
    prob = crf.mean_field(
        photo,
        unary,
        iterations=3,
        gaussian_sxy=1.0,
        gaussian_compat=2.0,
        bilateral_sxy=9.0,
        bilateral_srgb=9.0,
        bilateral_compat=0.0,
    )
    np.testing.assert_allclose(prob, [[1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))]], atol=1e-5)


# The published implementation


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
@pytest.mark.parametrize("iterations", [1, 5, 10])
def test_agrees_with_the_published_implementation(parity_dir, name, iterations):
    fixture = np.load(parity_dir / "dense_crf.npz")
    prob = refined(fixture[f"{name}_image"], fixture[f"{name}_label_in"] > 0, iterations=iterations)
    published = fixture[f"{name}_q_fg_t{iterations}"].astype(np.float64)
    assert ((prob > 0.5) == (published > 0.5)).mean() >= 0.995
    assert difference(prob, published) <= 0.002


# Invariants

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=25, deadline=None)
@given(SIDES, st.integers(0, 9), st.sampled_from(["left-right", "up-down", "transpose"]))
def test_flips_and_transposes_commute(size, seed, how):
    """Exactly for the Gaussian kernel; for the lattice, whose grid stays where it is, within its own
    accuracy and one pixel that tips over.
    """
    turn = {
        "left-right": lambda a: a[:, ::-1],
        "up-down": lambda a: a[::-1],
        "transpose": lambda a: a.swapaxes(0, 1),
    }[how]
    photo, unary = drawing(*size, seed), crf.unary_from_labels(rough_mask(*size, seed))
    for compat, tolerance in ((0.0, 1e-5), (10.0, 0.02 + 1 / unary.size)):
        straight = crf.mean_field(photo, unary, iterations=1, bilateral_compat=compat)
        turned = crf.mean_field(turn(photo), turn(unary), iterations=1, bilateral_compat=compat)
        assert difference(turn(straight), turned) <= tolerance


@settings(max_examples=15, deadline=None)
@given(SIDES, st.integers(0, 255), st.integers(0, 9))
def test_constant_photo_reduces_to_gaussian_kernels(size, level, seed):
    """Without edges the bilateral kernel is a Gaussian over position; both are then blurs known exactly."""
    photo, unary = np.full((*size, 3), level, np.uint8), crf.unary_from_labels(rough_mask(*size, seed))
    bilateral = crf.mean_field(photo, unary, iterations=1, gaussian_compat=0.0, bilateral_sxy=6.0)
    gaussian = crf.mean_field(
        photo, unary, iterations=1, gaussian_sxy=6.0, gaussian_compat=10.0, bilateral_compat=0.0
    )
    assert difference(bilateral, gaussian) <= 0.05


@settings(max_examples=15, deadline=None)
@given(SIDES, st.integers(0, 9))
def test_exchanging_the_labels_complements_the_map(size, seed):
    photo, mask = drawing(*size, seed), rough_mask(*size, seed)
    np.testing.assert_allclose(refined(photo, mask), 1.0 - refined(photo, ~mask), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(SIDES, st.integers(0, 9))
def test_a_mask_without_doubt_stays(size, seed):
    photo = drawing(*size, seed)
    assert (refined(photo, np.ones(size, bool)) > 0.9).all()
    assert (refined(photo, np.zeros(size, bool)) < 0.1).all()


def test_same_bits_from_any_number_of_threads():
    photo, mask = drawing(90, 130), rough_mask(90, 130)
    alone = refined(photo, mask)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: refined(photo, mask), range(8)))
    assert all(np.array_equal(alone, prob) for prob in together)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 65), (64, 64), (3, 129)])
def test_any_shape(size):
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    prob = refined(photo, rough_mask(*size))
    assert prob.shape == size
    assert prob.dtype == np.float32
    assert np.isfinite(prob).all()
    assert (prob >= 0).all()
    assert (prob <= 1).all()


def test_one_pixel_by_hand():
    """A single pixel only hears itself: l <- u + 13 tanh(l / 2)."""
    u = np.log(0.7 / 0.3)
    expected = 1 / (1 + np.exp(-(u + 13 * np.tanh(u / 2))))
    prob = refined(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool), iterations=1)
    np.testing.assert_allclose(prob, [[expected]], atol=1e-5)


def test_twenty_megapixels():
    height, width = 4000, 5000
    photo = np.repeat(np.repeat(drawing(40, 50), 100, axis=0), 100, axis=1)
    mask = np.zeros((height, width), bool)
    mask[1000:3000, 1000:3500] = True
    prob = refined(photo, mask, iterations=1)
    assert prob.shape == (height, width)
    assert prob[2000, 2000] > 0.9 > 0.1 > prob[100, 100]


def test_grows_its_table_without_changing_the_result():
    """Noise at a fine scale touches more vertices than the first table holds; the exact kernel knows none."""
    photo = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    unary = crf.unary_from_labels(rough_mask(40, 40))
    parameters = DEFAULTS | {"bilateral_sxy": 2.0, "bilateral_srgb": 2.0}
    exact = exact_mean_field(photo, unary, iterations=1, **parameters)
    assert difference(crf.mean_field(photo, unary, iterations=1, **parameters), exact) <= 1e-3


# Unaries, median, errors


def test_unaries_by_hand():
    np.testing.assert_allclose(
        crf.unary_from_labels(np.array([[True, False]]), gt_prob=0.8), [[np.log(4), -np.log(4)]], rtol=1e-6
    )
    prob = np.array([[0.0, 0.5, 0.8, 1.0]], np.float32)
    edge = np.log(0.99 / 0.01)
    np.testing.assert_allclose(
        crf.unary_from_prob(prob, clip=0.01), [[-edge, 0.0, np.log(4), edge]], rtol=1e-5, atol=1e-7
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5, 7, 9]), st.integers(0, 99))
def test_median_is_the_majority_of_the_window(height, width, size, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    padded = np.pad(mask, size // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    np.testing.assert_array_equal(crf.median_filter(mask, size), windows.sum(axis=(2, 3)) > size * size // 2)


def test_wrong_input_is_named():
    photo, unary = drawing(8, 9), np.zeros((8, 9), np.float32)
    with pytest.raises(ValueError, match="differ in size"):
        crf.mean_field(photo, unary.T)
    with pytest.raises(ValueError, match="uint8"):
        crf.mean_field(photo.astype(np.float32), unary)
    with pytest.raises(ValueError, match="finite"):
        crf.mean_field(photo, np.full_like(unary, np.nan))
    with pytest.raises(ValueError, match="positive"):
        crf.mean_field(photo, unary, bilateral_srgb=0.0)
    with pytest.raises(ValueError, match="negative"):
        crf.mean_field(photo, unary, gaussian_compat=-1.0)
    with pytest.raises(ValueError, match="iterations"):
        crf.mean_field(photo, unary, iterations=-1)
    with pytest.raises(ValueError, match="too narrow"):
        crf.mean_field(photo, unary, bilateral_srgb=1e-3, bilateral_sxy=1e-3)
    with pytest.raises(ValueError, match="gt_prob"):
        crf.unary_from_labels(unary > 0, gt_prob=0.5)
    with pytest.raises(ValueError, match="odd"):
        crf.median_filter(unary > 0, 4)


def test_no_iterations_return_the_unary():
    np.testing.assert_allclose(refined(drawing(5, 6), np.ones((5, 6), bool), iterations=0), 0.7, rtol=1e-6)
