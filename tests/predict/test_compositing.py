"""Photos and saliency put together, by hand-computed pixels and by composites whose parts are known."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.predict.compositing import (
    EDGE_REACH,
    LEAST_WEIGHT,
    SURE,
    blurred_ground,
    cover,
    cutout,
    foreground_colors,
    on_background,
    overlay,
)

WARM, COLD = np.array([200, 80, 60], np.float32), np.array([40, 100, 210], np.float32)


def pixel(red: int, green: int, blue: int) -> NDArray[np.uint8]:
    return np.array([[[red, green, blue]]], np.uint8)


def share(value: float) -> NDArray[np.float32]:
    return np.array([[value]], np.float32)


def textured(color: NDArray[np.float32], cell: int, seed: int) -> NDArray[np.float32]:
    """(120, 160, 3) of one colour with coarse noise of +- 50."""
    noise = np.random.default_rng(seed).uniform(-50, 50, (120 // cell, 160 // cell, 3)).astype(np.float32)
    return np.clip(color + cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC), 0, 255)


def ellipse(softness: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An object (120, 160) with a sharp edge, and the same as soft as a saliency map."""
    rows, columns = np.mgrid[0:120, 0:160]
    sharp = (((rows - 60) / 38) ** 2 + ((columns - 80) / 52) ** 2 < 1).astype(np.float32)
    return sharp, cv2.blur(cv2.blur(sharp, (softness, softness)), (softness, softness)).clip(0, 1)


@pytest.mark.parametrize("cell", [4, 20])
@pytest.mark.parametrize("mixed", [True, False], ids=["the edge is mixed", "the edge is sharp"])
def test_less_of_the_old_ground_is_left_at_edges(cell: int, mixed: bool) -> None:
    sharp, alpha = ellipse(5)
    true_alpha = (alpha if mixed else sharp)[..., None]
    object_color, ground = textured(WARM, cell, 0), textured(COLD, cell, 1)
    photo = np.round(true_alpha * object_color + (1 - true_alpha) * ground).astype(np.uint8)
    edge = (alpha > 0.02) & (alpha < 0.98)

    def halo(colors: NDArray) -> float:
        """Mean error of the object's colour, by as much as is seen of it."""
        return float((alpha[edge][:, None] * np.abs(colors[edge] - object_color[edge])).mean())

    assert halo(foreground_colors(photo, alpha)) < 0.65 * halo(photo)


def test_a_flat_object_gets_its_own_colour_back() -> None:
    sharp, alpha = ellipse(5)
    photo = np.round(sharp[..., None] * WARM + (1 - sharp[..., None]) * COLD).astype(np.uint8)
    colors = foreground_colors(photo, alpha)
    faint = (alpha > 0.05) & (alpha < 0.2)
    assert np.abs(photo[faint] - WARM).mean() > 80
    assert np.abs(colors[faint] - WARM).mean() < 5


def test_large_photos_are_treated_like_small_ones() -> None:
    sharp, alpha = ellipse(5)
    photo = np.round(sharp[..., None] * WARM + (1 - sharp[..., None]) * COLD).astype(np.uint8)
    large_photo = photo.repeat(8, axis=0).repeat(8, axis=1)
    large_alpha = cv2.resize(alpha, (8 * 160, 8 * 120), interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(foreground_colors(large_photo, large_alpha), (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(large - foreground_colors(photo, alpha).astype(np.float32)).mean() < 1
    large_sharp = sharp.repeat(8, axis=0).repeat(8, axis=1)
    ground = blurred_ground(large_photo, large_sharp)[large_sharp == 0]
    np.testing.assert_allclose(ground, np.broadcast_to(COLD, ground.shape), atol=0.5)


def straightforward(photo: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """`foreground_colors` with all means at the size of the photo, for photos that are their own samples."""
    side = 2 * round((max(alpha.shape) * 2 * EDGE_REACH - 1) / 2) + 1

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)

    sure, ground = (alpha > SURE).astype(np.float32), (alpha < 1 - SURE).astype(np.float32)
    near = (mean(sure) > LEAST_WEIGHT) & (mean(ground) > LEAST_WEIGHT)
    level = np.round(alpha * 255)
    edge = (near & (level > 0) & (level < 255))[..., None]
    object_color = mean(photo * sure[..., None]) / np.maximum(mean(sure), LEAST_WEIGHT)[..., None]
    share = np.square(alpha)[..., None]
    return np.where(edge, share * photo + (1 - share) * object_color, photo)


@pytest.mark.parametrize("softness", [3, 7, 15])
@pytest.mark.parametrize("turned", [False, True])
def test_colours_are_those_of_the_formula(softness: int, turned: bool) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    _, alpha = ellipse(softness)
    if turned:  # views, which are not contiguous
        photo, alpha = photo.transpose(1, 0, 2), alpha.T
    colors = foreground_colors(photo, alpha)
    np.testing.assert_allclose(colors, straightforward(photo, alpha), atol=0.51)
    assert (colors != photo).any()


def test_the_photo_itself_is_left_alone() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    _, alpha = ellipse(5)
    before = photo.copy(), alpha.copy()
    cut = cutout(photo, alpha)
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(alpha, before[1])
    np.testing.assert_array_equal(cut[..., 3], np.round(alpha * 255))
    np.testing.assert_array_equal(cut[cut[..., 3] == 255][:, :3], photo[cut[..., 3] == 255])
    assert not cut[cut[..., 3] == 0].any()


def test_colours_change_at_edges_alone() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    _, alpha = ellipse(5)
    changed = (foreground_colors(photo, alpha) != photo).any(axis=-1)
    assert not changed[40:80, 60:100].any()
    assert not changed[:10].any()
    doubtful = np.full((120, 160), 0.6, np.float32)
    np.testing.assert_array_equal(foreground_colors(photo, doubtful), photo)
    doubtful[60, 80] = 1  # sure object, and no sure ground near it
    np.testing.assert_array_equal(foreground_colors(photo, doubtful), photo)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (33, 47), (1, 1500), (2000, 2)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_small_and_odd_photos(shape: tuple[int, int], level: float) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    alpha = np.full(shape, level, np.float32)
    np.testing.assert_array_equal(foreground_colors(photo, alpha), photo)
    assert blurred_ground(photo, alpha).shape == photo.shape
    assert cutout(photo, alpha).shape == (*shape, 4)


def test_cutout_by_hand() -> None:
    photo = np.array([[[10, 20, 30], [40, 50, 60], [70, 80, 90]]], np.uint8)
    alpha = np.array([[0.5, 0.5, 0.6]], np.float32)
    np.testing.assert_array_equal(
        cutout(photo, alpha), [[[10, 20, 30, 128], [40, 50, 60, 128], [70, 80, 90, 153]]]
    )


def test_what_is_transparent_gives_nothing_away() -> None:
    np.testing.assert_array_equal(cutout(pixel(10, 20, 30), share(0)), [[[0, 0, 0, 0]]])
    np.testing.assert_array_equal(cutout(pixel(10, 20, 30), share(0.001)), [[[0, 0, 0, 0]]])


@pytest.mark.parametrize(
    ("level", "expected"), [(0, [100, 50, 200]), (1, [193, 20, 80]), (0.5, [146, 35, 140])]
)
def test_overlay_by_hand(level: float, expected: list[int]) -> None:
    # At full saliency 0.4 of the photo and 0.6 of red: 40 + 153, 20, 80
    np.testing.assert_array_equal(overlay(pixel(100, 50, 200), share(level)), [[expected]])


@pytest.mark.parametrize(
    ("level", "expected"), [(0, [0, 255, 0]), (1, [100, 50, 200]), (0.5, [50, 152, 100])]
)
def test_a_colour_behind_the_object_by_hand(level: float, expected: list[int]) -> None:
    green = np.array([0, 255, 0], np.uint8)
    np.testing.assert_array_equal(on_background(pixel(100, 50, 200), share(level), green), [[expected]])


def test_another_picture_behind_the_object() -> None:
    photo, behind = np.full((2, 2, 3), 100, np.uint8), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    mask = np.array([[1, 0], [0, 1]], np.float32)
    expected = np.where(mask[..., None] == 1, photo, behind)
    np.testing.assert_array_equal(on_background(photo, mask, behind), expected)


def test_the_blurred_ground_holds_nothing_of_the_object() -> None:
    sharp, _ = ellipse(5)
    photo = np.where(sharp[..., None] == 1, WARM, COLD).astype(np.uint8)
    near = cv2.dilate(sharp, np.ones((5, 5), np.uint8)) > sharp
    np.testing.assert_allclose(
        blurred_ground(photo, sharp)[near], np.broadcast_to(COLD, (near.sum(), 3)), atol=0.5
    )


def test_the_ground_is_blurred_and_keeps_its_mean() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    blurred = blurred_ground(photo, np.zeros((90, 120), np.float32))
    assert blurred.std() < 0.3 * photo.std()
    assert blurred.mean() == pytest.approx(photo.mean(), abs=1)


def test_a_picture_as_wide_as_the_photo_loses_its_top_and_bottom() -> None:
    picture = np.repeat(np.arange(8, dtype=np.uint8)[:, None], 4, axis=1)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(cover(picture, (4, 4))[:, 0, 0], [2, 3, 4, 5])
    np.testing.assert_array_equal(cover(picture.transpose(1, 0, 2), (4, 4))[0, :, 0], [2, 3, 4, 5])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (57, 31)])
def test_any_picture_covers_any_photo(size: tuple[int, int]) -> None:
    for shape in [(1, 1), (40, 3), (100, 100)]:
        flat = np.full((*shape, 3), 77, np.uint8)
        np.testing.assert_array_equal(cover(flat, size), np.full((*size, 3), 77))
