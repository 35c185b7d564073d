"""Rendered scenes and the photographs that scikit-image installs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes, label

from act2sal import scenes
from act2sal.data.images import read_photo
from act2sal.data.photo_files import find_photos, pairs
from act2sal.scenes import DEMO_PHOTOS, backgrounds, objects, render_scene, write_demo_photos, write_scenes
from act2sal.scenes.textures import PATTERN_SHARES, blend, colour, fractal_noise, pattern, rotate

SEEDS = range(24)


def grid(side: int = 81) -> tuple[np.ndarray, np.ndarray]:
    """Object coordinates u (right) and v (down) from -1.2 to 1.2."""
    axis = np.linspace(-1.2, 1.2, side, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    return u, v


def test_the_seed_decides() -> None:
    first, second, other = render_scene(3), render_scene(3), render_scene(4)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != other[0]).mean() > 0.5


@pytest.mark.parametrize("size", [(240, 320), (65, 48), (200, 100)])
def test_scenes_of_any_size(size: tuple[int, int]) -> None:
    for seed in range(8):
        photo, mask = render_scene(seed, size)
        assert (photo.shape, photo.dtype) == ((*size, 3), np.uint8)
        assert (mask.shape, mask.dtype) == (size, bool)
        assert mask.any()


def test_objects_are_of_a_size_that_can_be_found() -> None:
    shares = [render_scene(seed, (120, 160))[1].mean() for seed in SEEDS]
    assert min(shares) > 0.03
    assert max(shares) < 0.6
    assert len({round(share, 3) for share in shares}) > 15


def test_photos_use_the_range() -> None:
    for seed in SEEDS:
        photo, _ = render_scene(seed, (120, 160))
        assert 25 < photo.mean() < 225
        assert photo.std() > 12


def test_the_mask_follows_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a black background without shadow and noise, what is drawn and the mask differ by outline pixels alone."""
    monkeypatch.setattr(scenes, "background", lambda rng, size: np.zeros((*size, 3), np.float32))
    monkeypatch.setattr(
        scenes, "_expose", lambda rng, photo: np.clip(photo * 255 + 0.5, 0, 255).astype(np.uint8)
    )
    for seed in SEEDS:
        photo, mask = render_scene(seed, (120, 160))
        drawn = photo.max(axis=2) > 0
        assert not (drawn & ~binary_dilation(mask, iterations=2)).any()
        assert (drawn & mask).sum() > 0.97 * mask.sum()


def test_shapes_are_bounded_and_in_one_piece() -> None:
    u, v = grid()
    for seed in range(60):
        shape = objects.random_shape(np.random.default_rng(seed), u, v)
        inside = shape.inside > 0
        assert not inside[[0, -1]].any()
        assert not inside[:, [0, -1]].any()
        assert label(inside)[1] == 1
        assert (shape.height[inside] >= 0).all()
        assert (shape.height[~inside] == 0).all()


def test_the_handle_of_a_mug_leaves_a_hole() -> None:
    inside = objects._mug(np.random.default_rng(0), *grid()).inside > 0
    assert (binary_fill_holes(inside) & ~inside).sum() > 10


def test_limb_is_the_set_of_points_near_a_segment() -> None:
    u, v = grid(31)
    inside, height = objects._limb(u, v, (-0.5, 0.1), (0.6, -0.2), 0.3, 0.3)
    steps = np.linspace(0, 1, 2001)[:, None, None]
    distance = np.sqrt((u - (-0.5 + 1.1 * steps)) ** 2 + (v - (0.1 - 0.3 * steps)) ** 2).min(axis=0)
    np.testing.assert_array_equal(inside > 0, distance < 0.3)
    np.testing.assert_allclose(height, np.sqrt(np.maximum(0.3**2 - distance**2, 0)), atol=2e-3)


def test_union_shows_the_highest_part() -> None:
    inside = np.array([[1, 1, -1, -1]], np.float32), np.array([[1, 1, 1, -1]], np.float32)
    height = np.array([[0.2, 0.5, 0, 0]], np.float32), np.array([[0.4, 0.3, 0.1, 0]], np.float32)
    shape = objects._union(list(zip(inside, height, strict=True)))
    np.testing.assert_array_equal(shape.inside, [[1, 1, 1, -1]])
    np.testing.assert_allclose(shape.height, [[0.4, 0.5, 0.1, 0]])
    np.testing.assert_array_equal(shape.part[0, :3], [1, 0, 1])


def test_the_lit_side_is_brighter() -> None:
    u, v = grid()
    height = np.sqrt(np.maximum(1 - u * u - v * v, 0)).astype(np.float32)
    light = np.array([-0.6, 0, 0.8], np.float32)  # from the left
    white = np.ones((*u.shape, 3), np.float32)
    lit = scenes._shade(np.random.default_rng(0), white, height, 33.0, light)
    left, right = (u < -0.3) & (height > 0.3), (u > 0.3) & (height > 0.3)
    assert lit[left].mean() > 1.3 * lit[right].mean()


def test_the_shadow_falls_away_from_the_light() -> None:
    u, v = grid()
    alpha = (u * u + v * v < 0.25).astype(np.float32)
    dark = scenes._shadow(np.random.default_rng(0), alpha, 33.0, np.array([-0.6, -0.4, 0.7], np.float32))
    assert dark[(v < 0) & (u > 0.55)].sum() > 2 * dark[(v < 0) & (u < -0.55)].sum()
    assert dark[v > 0.4].mean() > dark[v < -0.4].mean()
    assert dark.min() >= 0
    assert dark.max() <= 0.75


def test_noise_and_patterns_stay_in_range() -> None:
    u, v = grid()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = fractal_noise(rng, (50, 70), cell=rng.uniform(2, 60), stretch=rng.uniform(1, 9))
        assert noise.shape == (50, 70)
        assert (noise.min(), noise.max()) == (0, 1)
        covered = pattern(rng, u, v)
        assert 0 <= covered.min() <= covered.max() <= 1
    assert sum(PATTERN_SHARES) == pytest.approx(1)


def test_stretched_noise_is_smoother_along_the_rows() -> None:
    noise = fractal_noise(np.random.default_rng(0), (200, 200), cell=8, stretch=8)
    assert np.abs(np.diff(noise, axis=0)).mean() > 3 * np.abs(np.diff(noise, axis=1)).mean()


def test_blend_colour_and_rotate() -> None:
    np.testing.assert_allclose(colour(1 / 3, 1, 0.5), [0, 0.5, 0], atol=1e-6)
    mixed = blend(colour(0, 0, 0), colour(0, 0, 1), np.array([[0.25]], np.float32))
    np.testing.assert_allclose(mixed, [[[0.25] * 3]])
    along, across = rotate(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), np.pi / 2)
    np.testing.assert_allclose([along[0, 0], across[0, 0]], [0, -1], atol=1e-6)


def test_backgrounds_need_no_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, "SKIMAGE_PHOTOS", tmp_path)
    for seed in range(8):
        picture = backgrounds.background(np.random.default_rng(seed), (40, 60))
        assert picture.shape == (40, 60, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()


def test_scenes_are_written_as_photos_and_masks(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, 7, size=(60, 80))
    pairing = pairs(tmp_path / "masks", tmp_path / "photos")
    assert len(pairing.pairs) == 3
    assert not pairing.maps_alone
    assert not pairing.masks_alone
    for number, (mask_path, photo_path) in enumerate(pairing.pairs):
        photo, mask = render_scene(7_000_000 + number, (60, 80))
        with Image.open(mask_path) as stored:
            np.testing.assert_array_equal(np.array(stored), mask * np.uint8(255))
        assert np.abs(read_photo(photo_path).astype(int) - photo).mean() < 8


def test_demo_photos_can_be_read(tmp_path: Path) -> None:
    copies = write_demo_photos(tmp_path)
    assert {path.name for path in copies} <= set(DEMO_PHOTOS)
    assert len(copies) >= 4
    assert [photo.path for photo in find_photos(tmp_path)] == copies
    assert all(min(read_photo(path).shape[:2]) >= 300 for path in copies)


def test_demo_photos_that_are_not_installed_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    Image.new("RGB", (4, 4)).save(installed / "coffee.png")
    monkeypatch.setattr(scenes, "SKIMAGE_PHOTOS", installed)
    assert write_demo_photos(tmp_path / "photos") == [tmp_path / "photos" / "coffee.png"]
