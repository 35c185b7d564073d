"""Boxes and areas of salient regions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from act2sal.predict.regions import Box, area_of, boxes_of


def test_boxes_by_hand() -> None:
    prob = np.zeros((6, 10), np.float32)
    prob[1:3, 2:4] = 0.9  # 4 pixels, and one more at its corner
    prob[3, 4] = 0.8
    prob[0:6, 7:10] = 0.6  # 18 pixels
    prob[5, 0] = 1
    assert boxes_of(prob) == [Box(7, 0, 3, 6), Box(2, 1, 3, 3), Box(0, 5, 1, 1)]
    assert boxes_of(prob, 0.7) == [Box(2, 1, 3, 3), Box(0, 5, 1, 1)]
    assert area_of(prob) == pytest.approx(24 / 60)
    assert area_of(prob, 0.85) == pytest.approx(5 / 60)


@pytest.mark.parametrize(("value", "boxes", "area"), [(0, [], 0), (0.5, [], 0), (1, [Box(0, 0, 7, 5)], 1)])
def test_empty_and_full_maps(value: float, boxes: list[Box], area: float) -> None:
    prob = np.full((5, 7), value, np.float32)
    assert boxes_of(prob) == boxes
    assert area_of(prob) == area


@given(arrays(np.float32, (6, 9), elements=st.sampled_from([0.0, 0.25, 0.75, 1.0])))
def test_boxes_hold_all_that_is_salient(prob: np.ndarray) -> None:
    covered = np.zeros(prob.shape, bool)
    for left, top, width, height in boxes_of(prob):
        inside = prob[top : top + height, left : left + width] > 0.5
        assert inside.shape == (height, width)
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()
        covered[top : top + height, left : left + width] = True
    assert not (prob > 0.5)[~covered].any()
