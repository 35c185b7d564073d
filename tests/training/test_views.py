"""Random windows and colours: what they show, and that nothing else changes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act2sal.training.views import change_colours, draw_colours, draw_windows, look_through, put_back


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 10_000), least=st.floats(0.2, 1.0), side=st.integers(8, 40))
def test_windows_lie_inside_and_are_not_too_small(seed: int, least: float, side: int) -> None:
    for top, left, height, width in draw_windows(
        np.full((5, side, side), 255, np.uint8), least, generator(seed)
    ):
        assert 0 <= top <= top + height <= side
        assert 0 <= left <= left + width <= side
        assert min(height, width) >= round(least * side)


def test_windows_are_drawn_and_can_be_drawn_again() -> None:
    labels = np.full((20, 64, 64), 255, np.uint8)
    first, again, other = (draw_windows(labels, 0.5, generator(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 10
    assert draw_windows(labels, 1.0, generator()) == [(0, 0, 64, 64)] * 20


def test_a_window_without_the_object_gives_way_to_the_whole_photo() -> None:
    labels = np.zeros((200, 64, 64), np.uint8)
    labels[:, :4, :4] = 255
    windows = draw_windows(labels, 0.5, generator())
    assert (0, 0, 64, 64) in windows
    for label, (top, left, height, width) in zip(labels, windows, strict=True):
        assert (label[top : top + height, left : left + width] > 0).sum() >= 8


def test_a_window_of_the_same_size_shows_the_pixels_themselves() -> None:
    maps = torch.rand(2, 3, 40, 40, generator=generator())
    windows = [(3, 5, 20, 20), (20, 20, 20, 20)]
    shown = look_through(maps, windows, 20)
    assert torch.allclose(shown[0], maps[0, :, 3:23, 5:25], atol=1e-6)
    assert torch.allclose(shown[1], maps[1, :, 20:, 20:], atol=1e-6)
    assert look_through(maps, windows, 32).shape == (2, 3, 32, 32)


def test_what_is_put_back_stands_in_its_window_alone() -> None:
    maps = torch.rand(1, 1, 40, 40, generator=generator())
    window = [(3, 5, 20, 16)]
    result = put_back(maps, torch.full((1, 1, 32, 32), 0.5), window)
    assert torch.allclose(result[:, :, 3:23, 5:21], torch.tensor(0.5))
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[3:23, 5:21] = False
    assert torch.equal(result[0, 0, outside], maps[0, 0, outside])


def test_colours_change_within_bounds_and_grey_stays_grey() -> None:
    photos = torch.rand(6, 3, 16, 16, generator=generator())
    changed = change_colours(photos, draw_colours(6, 0.3, generator(1)))
    assert changed.shape == photos.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert 0.01 < float((changed - photos).abs().mean()) < 0.3
    assert torch.allclose(change_colours(photos, draw_colours(6, 0.0, generator(1))), photos, atol=1e-6)
    grey = photos[:, :1].expand(-1, 3, -1, -1)
    spread = change_colours(grey, draw_colours(6, 0.3, generator(2)))
    assert float((spread.amax(dim=1) - spread.amin(dim=1)).max()) == pytest.approx(0, abs=1e-6)


def test_colours_by_hand() -> None:
    """Saturation about the pixel's grey, then contrast about the photo's level, then half the draw of brightness."""
    photos = torch.rand(2, 3, 5, 7, generator=generator(), dtype=torch.float64) * 0.4 + 0.3
    draws = torch.tensor([[0.3, -0.2], [-0.1, 0.25], [0.2, -0.04]], dtype=torch.float64)
    changed = change_colours(photos, draws.view(3, 2, 1, 1, 1))
    for photo, result, (saturation, contrast, brightness) in zip(photos, changed, draws.T, strict=True):
        grey = photo.mean(dim=0, keepdim=True)
        saturated = grey + (1 + saturation) * (photo - grey)
        level = saturated.mean()
        expected = level + (1 + contrast) * (saturated - level) + brightness / 2
        torch.testing.assert_close(result, expected)


def test_draws_of_colours_fill_their_range() -> None:
    draws = draw_colours(4000, 0.3, generator())
    assert draws.shape == (3, 4000, 1, 1, 1)
    for kind in draws:
        assert -0.3 <= float(kind.min()) < -0.29
        assert 0.29 < float(kind.max()) <= 0.3
        assert float(kind.mean()) == pytest.approx(0, abs=0.01)


def test_windows_reach_every_side_and_have_every_size() -> None:
    windows = draw_windows(np.full((3000, 16, 16), 255, np.uint8), 0.75, generator())
    places = [window for window in windows if window[2:] == (12, 12)]
    assert {top for top, *_ in places} == {left for _, left, *_ in places} == set(range(5))
    assert {height for *_, height, _ in windows} == {width for *_, width in windows} == set(range(12, 17))
    tops = [top / (16 - height) for top, _, height, _ in windows if height < 16]
    assert float(np.mean(tops)) == pytest.approx(0.5, abs=0.03)


def test_windows_of_one_pixel_and_of_half_the_foreground_are_shown() -> None:
    corner = np.zeros((500, 8, 8), np.uint8)
    small = draw_windows(corner, 0.01, generator())
    assert min(min(height, width) for *_, height, width in small) == 1
    full = draw_windows(np.full((500, 8, 8), 255, np.uint8), 0.5, generator())
    assert 32 in {height * width for *_, height, width in full}, "exactly half of the foreground is enough"
    assert min(height * width for *_, height, width in full) == 32


@pytest.mark.parametrize(("window", "smoothed"), [(30, False), (31, True)])
def test_windows_are_smoothed_beyond_one_and_a_half_times_the_view(window: int, smoothed: bool) -> None:
    maps = torch.rand(1, 2, 40, 40, generator=generator())
    expected = torch.nn.functional.interpolate(
        maps[..., 4 : 4 + window, 2 : 2 + 20], (20, 20), mode="bilinear", antialias=smoothed
    )
    torch.testing.assert_close(look_through(maps, [(4, 2, window, 20)], 20), expected)
    other = torch.nn.functional.interpolate(
        maps[..., 4 : 4 + window, 2 : 2 + 20], (20, 20), mode="bilinear", antialias=not smoothed
    )
    assert not torch.allclose(expected, other)


def test_as_many_windows_as_photos_are_needed() -> None:
    maps = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="zip"):
        look_through(maps, [(0, 0, 8, 8)], 8)
    with pytest.raises(ValueError, match="zip"):
        put_back(maps, maps, [(0, 0, 8, 8)])
