"""Colours and alpha, and the ground that a picture stands out from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from act2sal.data.transparency import BLACK, GREY, WHITE, Opacity


def of_greys(*greys: tuple[int, int, int]) -> Opacity:
    """Of so many pixels (count, grey level, alpha)."""
    pixels = [[grey, grey, grey, alpha] for count, grey, alpha in greys for _ in range(count)]
    return Opacity.of(np.array([pixels], np.uint8))


@pytest.mark.parametrize(
    ("greys", "level"),
    [
        ([(1, 255, 255)], BLACK),
        ([(1, 0, 255)], WHITE),
        ([(1, 100, 255)], WHITE),  # 155 away, from black 100
        ([(1, 223, 255)], WHITE),  # 32 away is enough
        ([(1, 224, 255)], BLACK),
        ([(5, 0, 255), (5, 255, 255)], GREY),  # on white and on black, half of it is gone
        ([(95, 0, 255), (5, 255, 255)], WHITE),  # a twentieth may vanish
        ([(85, 0, 255), (15, 255, 255)], GREY),
        ([(5, 20, 255), (5, 128, 255)], WHITE),
        ([(9, 255, 0), (1, 0, 255)], WHITE),  # what is transparent does not count
        ([(5, 255, 4), (1, 0, 255)], WHITE),  # what is nearly so counts as 20 beside 255
        ([(50, 255, 4), (1, 0, 255)], GREY),  # and much of it as 200
        ([(4, 9, 0)], None),
    ],
)
def test_by_hand(greys: list[tuple[int, int, int]], level: int | None) -> None:
    assert of_greys(*greys).level_behind() == level


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 255), st.integers(0, 255))
def test_two_greys_never_vanish(one: int, other: int) -> None:
    level = of_greys((3, one, 255), (3, other, 255)).level_behind()
    assert level is not None
    assert min(abs(one - level), abs(other - level)) >= 32


def test_laid_on_a_ground() -> None:
    """51 / 255 = 0.2 of the colour, and 0.8 of the ground."""
    opacity = Opacity.of(np.array([[[100, 0, 50, 255], [9, 9, 9, 0], [100, 0, 50, 51]]], np.uint8))
    assert opacity.colours[0, 1].tolist() == [255, 255, 255]
    assert opacity.laid_on(0)[0].tolist() == [[100, 0, 50], [0, 0, 0], [20, 0, 10]]
    assert opacity.laid_on(255)[0].tolist() == [[100, 0, 50], [255, 255, 255], [224, 204, 214]]
