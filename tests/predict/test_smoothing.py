"""Smoothing over frames: its weights, that nothing lags, and that scenes stay apart."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.predict.maps import Found
from act2sal.predict.smoothing import Mapped, smoothed
from act2sal.predict.video import Frame

GROUND = np.full((40, 60, 3), 90, np.uint8)


def frames(values: Sequence[float], pictures: Sequence[NDArray[np.uint8]] = ()) -> list[Mapped]:
    """Frames whose maps have one value each."""
    shown = pictures or [GROUND] * len(values)
    return [
        Mapped(Frame(picture, float(number)), Found(np.full((4, 6), value, np.float32), value))
        for number, (value, picture) in enumerate(zip(values, shown, strict=True))
    ]


def levels(mapped: Sequence[Mapped]) -> list[float]:
    return [float(one.found.prob[0, 0]) for one in mapped]


def test_without_reach_nothing_changes() -> None:
    given = frames([0, 1, 0.5])
    assert list(smoothed(given, 0)) == given


@pytest.mark.parametrize("reach", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_each_is_the_weighted_mean_of_its_neighbours(reach: int, count: int) -> None:
    values = np.random.default_rng(0).random(count)
    given = frames(values.tolist())
    found = list(smoothed(iter(given), reach))
    offsets = np.arange(count)[:, None] - np.arange(count)
    weights = np.maximum(0, 1 - np.abs(offsets) / (reach + 1))
    np.testing.assert_allclose(levels(found), weights @ values / weights.sum(axis=1), rtol=1e-5)
    assert [one.frame for one in found] == [one.frame for one in given]
    assert [one.found.confidence for one in found] == values.tolist()


def test_what_comes_and_goes_does_not_lag() -> None:
    found = levels(list(smoothed(frames([0, 0, 0, 1, 0, 0, 0]), 2)))
    assert found == pytest.approx(found[::-1])
    assert max(found) == found[3]


def test_a_cut_is_not_crossed() -> None:
    bright = np.full_like(GROUND, 200)
    found = smoothed(frames([0, 0, 0, 1, 1, 1], [GROUND] * 3 + [bright] * 3), 2)
    assert levels(list(found)) == [0, 0, 0, 1, 1, 1]
    dimmer = np.full_like(GROUND, 100)
    across = levels(list(smoothed(frames([0, 0, 0, 1, 1, 1], [GROUND] * 3 + [dimmer] * 3), 2)))
    assert 0 < across[2] < across[3] < 1


def test_no_more_frames_are_held_than_are_needed() -> None:
    drawn: list[int] = []

    def drawing() -> object:
        for number, one in enumerate(frames([0.5] * 20)):
            drawn.append(number)
            yield one

    for given, _ in enumerate(smoothed(drawing(), 3)):  # type: ignore[arg-type]
        assert len(drawn) <= given + 4
