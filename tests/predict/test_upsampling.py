"""Enlarged maps: edges of the photo, the range [0, 1], bilinear where the photo says nothing."""

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from act2sal.data.images import read_photo, resize_map
from act2sal.data.photo_files import pairs
from act2sal.evaluation.boundary import boundary_f
from act2sal.predict import upsampling
from act2sal.predict.upsampling import CRF_SIDE, EPSILON, crf_refined, enlarged, full_size

SIDES = st.integers(1, 23)


def step(edge: int, height: int = 160, width: int = 320) -> NDArray[np.uint8]:
    """A dark half left of column `edge`, a bright one from there on."""
    photo = np.full((height, width, 3), (40, 60, 50), np.uint8)
    photo[:, edge:] = (180, 140, 160)
    return photo


def cells(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Area averages on a grid of `size` = (height, width)."""
    return cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)


@st.composite
def maps_and_photos(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    prob = draw(hnp.arrays(np.float32, st.tuples(SIDES, SIDES), elements=st.floats(0, 1, width=32)))
    photo = draw(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))))
    return prob, photo


@pytest.mark.parametrize("edge", range(160, 176))
def test_the_edge_of_the_map_moves_to_the_edge_of_the_photo(edge: int) -> None:
    photo = step(edge)
    prob = cells(photo[..., 0] > 100, (10, 20))
    found = (enlarged(prob, photo) >= 0.5).argmax(axis=1)
    np.testing.assert_allclose(found, edge, atol=1)


def test_bilinear_enlargement_misses_the_edge_by_more() -> None:
    photo = step(170)
    prob = cells(photo[..., 0] > 100, (4, 8))
    bilinear = resize_map(prob, photo.shape[:2])
    assert abs(int((bilinear >= 0.5).argmax(axis=1)[80]) - 170) > 1
    assert 0.4 < bilinear[80, 169] < bilinear[80, 170] < 0.6
    assert enlarged(prob, photo)[80, 169] < 0.1
    assert enlarged(prob, photo)[80, 170] > 0.9


@given(
    hnp.arrays(np.float32, st.tuples(SIDES, SIDES), elements=st.floats(0, 1, width=32)),
    st.tuples(SIDES, SIDES),
    st.tuples(*[st.integers(0, 255)] * 3),
)
def test_a_photo_of_one_colour_gives_bilinear_enlargement(
    prob: NDArray[np.float32], size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    photo = np.full((*size, 3), colour, np.uint8)
    np.testing.assert_allclose(enlarged(prob, photo), resize_map(prob, size), atol=2e-6)


@given(maps_and_photos())
def test_the_result_has_the_size_of_the_photo_and_stays_in_range(
    pair: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    prob, photo = pair
    result = enlarged(prob, photo)
    assert result.shape == photo.shape[:2]
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_array_equal(result, enlarged(prob.copy(), photo.copy()))


@given(
    hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))),
    st.tuples(SIDES, SIDES),
    st.floats(0, 1, width=32),
)
def test_a_constant_map_stays_as_it_is(photo: NDArray[np.uint8], size: tuple[int, int], value: float) -> None:
    result = enlarged(np.full(size, value, np.float32), photo)
    np.testing.assert_array_equal(result, np.float32(value))


@pytest.mark.parametrize("seed", range(5))
def test_mirrored_photo_and_map_give_the_mirrored_result(seed: int) -> None:
    """Nearly: the shrunk photo has whole levels, and a half is rounded to either side."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(coarse).resize((67, 59), Image.Resampling.BICUBIC))
    prob = rng.random((8, 9), dtype=np.float32)
    mirrored = enlarged(prob[:, ::-1].copy(), photo[:, ::-1].copy())[:, ::-1]
    difference = np.abs(mirrored - enlarged(prob, photo))
    assert difference.mean() < 2e-3
    assert difference.max() < 0.02


def test_lines_agree_with_a_regression_window_by_window() -> None:
    rng = np.random.default_rng(0)
    colour, prob = rng.uniform(0, 255, (7, 8, 3)), rng.random((7, 8))
    slope = upsampling._slope(colour, prob)
    for y in range(1, 6):
        for x in range(1, 7):
            window = (slice(y - 1, y + 2), slice(x - 1, x + 2))
            x_dev = colour[window].reshape(9, 3) / 255 - colour[window].reshape(9, 3).mean(axis=0) / 255
            y_dev = prob[window].reshape(9) - prob[window].mean()
            ridge = np.vstack([x_dev, np.sqrt(9 * EPSILON) * np.eye(3)])
            expected = np.linalg.lstsq(ridge, np.append(y_dev, [0, 0, 0]), rcond=None)[0] / 255
            np.testing.assert_allclose(slope[y, x], expected, rtol=1e-6)


def test_applied_lines_agree_with_enlarging_each_of_their_parts() -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (53, 31, 3), dtype=np.uint8)
    prob = rng.random((9, 14), dtype=np.float32)
    lines = upsampling._lines(prob, photo)
    value, red, green, blue, offset = (
        resize_map(np.ascontiguousarray(part), (53, 31)) for part in lines.transpose(2, 0, 1)
    )
    change = red * photo[..., 0] + green * photo[..., 1] + blue * photo[..., 2] + offset
    expected = np.clip(value + 4 * value * (1 - value) * change, 0, 1)
    np.testing.assert_allclose(enlarged(prob, photo), expected, atol=1e-4)


def test_values_that_rounding_left_outside_are_clipped() -> None:
    prob = np.full((3, 3), 1 + 1e-6, np.float32)
    np.testing.assert_array_equal(enlarged(prob, step(5, 8, 9)), np.ones((8, 9), np.float32))


def test_texture_does_not_show_where_the_map_is_sure() -> None:
    photo = np.random.default_rng(2).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    prob = np.zeros((20, 20), np.float32)
    prob[5:15, 5:15] = 1
    result = enlarged(prob, photo)
    assert (result[70:130, 70:130] == 1).all()
    assert (result[:40] == 0).all()


def test_a_large_photo_needs_no_more_than_the_result() -> None:
    photo = np.repeat(step(700, 1000, 1500), 2, axis=0)
    prob = cells(photo[..., 0] > 100, (64, 64))
    enlarged(prob, photo)
    tracemalloc.start()
    result = enlarged(prob, photo)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < result.nbytes + 4e6


def test_views_that_are_not_contiguous() -> None:
    photo, prob = step(164)[::2, ::-1], np.random.default_rng(3).random((12, 9), dtype=np.float32).T
    np.testing.assert_array_equal(enlarged(prob, photo), enlarged(prob.copy(), photo.copy()))


@pytest.mark.parametrize(
    ("prob", "photo", "message"),
    [
        (np.zeros((2, 2), np.float64), step(5), "map"),
        (np.zeros((2, 2, 1), np.float32), step(5), "map"),
        (np.zeros((0, 2), np.float32), step(5), "map"),
        (np.full((2, 2), np.nan, np.float32), step(5), "finite"),
        (np.full((2, 2), np.inf, np.float32), step(5), "finite"),
        (np.zeros((2, 2), np.float32), step(5)[..., 0], "photo"),
        (np.zeros((2, 2), np.float32), step(5)[:0], "photo"),
        (np.zeros((2, 2), np.float32), step(5).astype(np.float32), "photo"),
    ],
)
def test_what_does_not_fit_is_named(prob: NDArray[Any], photo: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        enlarged(prob, photo)
    with pytest.raises(ValueError, match=message):
        crf_refined(prob, photo)


def test_the_crf_works_at_a_bounded_size_and_keeps_the_shape() -> None:
    photo = step(500, 400, 1000)
    prob = cells(photo[..., 0] > 100, (20, 20))
    assert crf_refined(prob, photo).shape == (160, CRF_SIDE)
    assert crf_refined(prob, photo[:1, :7]).shape == (1, 7)


def test_the_crf_finds_an_edge_that_the_map_misses() -> None:
    photo = step(500, 400, 1000)
    prob = np.clip(cells(np.arange(1000)[None].repeat(400, axis=0) > 460, (40, 50)), 0.1, 0.9)
    assert abs(int((full_size(prob, photo, "none")[200] >= 0.5).argmax()) - 500) > 20
    result = full_size(prob, photo, "crf")
    assert result.shape == (400, 1000)
    assert 0 <= result.min() <= result.max() <= 1
    assert abs(int((result[200] >= 0.5).argmax()) - 500) <= 3  # a pixel of the CRF's grid is 2.5 of these


@pytest.mark.real_data
def test_outlines_of_coarse_masks_come_nearer_on_real_photos(data_dir: Path) -> None:
    folder = data_dir / "duts_tr_3000"
    gains = []
    for photo_file, mask_file in pairs(folder / "images", folder / "masks").pairs[:20]:
        photo, mask = read_photo(photo_file), read_photo(mask_file)[..., 0] > 127
        prob = cells(mask, (32, 32))
        ours, bilinear = enlarged(prob, photo) >= 0.5, resize_map(prob, mask.shape) >= 0.5
        gains.append(boundary_f(ours, mask, 2) - boundary_f(bilinear, mask, 2))
    assert np.mean(gains) > 0.02
