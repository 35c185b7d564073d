"""The boundary F-measure, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from act2sal.evaluation.boundary import boundary, boundary_f


def square(top: int, left: int, side: int) -> NDArray[np.bool_]:
    mask = np.zeros((40, 40), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_boundary_is_the_rim_inside_the_mask() -> None:
    rim = square(10, 10, 5)
    rim[11:14, 11:14] = False
    np.testing.assert_array_equal(boundary(square(10, 10, 5)), rim)


def test_the_frame_of_the_photo_is_no_boundary() -> None:
    assert not boundary(np.ones((5, 7), bool)).any()


def test_shift_beyond_the_tolerance() -> None:
    whole = np.zeros((20, 20), bool)
    whole[:, 10:] = True
    shifted = np.roll(whole, 3, axis=1)
    shifted[:, :3] = False
    assert boundary_f(shifted, whole, 3) == 1
    assert boundary_f(shifted, whole, 2) == 0


def test_precision_and_recall_by_hand() -> None:
    mask = square(4, 4, 5)
    both = mask | square(25, 25, 5)
    # All 16 pixels of the mask's rim are found; of the 32 pixels found, 16 are right.
    assert boundary_f(both, mask, 1) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_f(mask, both, 1) == pytest.approx(2 * 0.5 / 1.5)


def test_without_a_boundary() -> None:
    empty = np.zeros((40, 40), bool)
    assert boundary_f(empty, empty, 2) == 1
    assert boundary_f(empty, square(4, 4, 5), 2) == 0
    assert boundary_f(square(4, 4, 5), empty, 2) == 0


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        boundary_f(np.zeros((2, 2), bool), np.zeros((2, 3), bool), 1)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.floats(0, 5))
def test_a_mask_agrees_with_itself(mask: NDArray[np.bool_], tolerance: float) -> None:
    assert boundary_f(mask, mask, tolerance) == 1
