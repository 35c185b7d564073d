"""What storing features in float16 or int8 costs: bounds on the error, and values that are not ordinary."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from act2sal.config import StoredPrecision
from act2sal.training.stage1.quantisation import HALF_MAX, halved, packed, quantised, restored, unpacked

FLOATS = st.floats(-1e9, 1e9, width=32)
FEATURES = arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=FLOATS)


def test_a_channel_by_hand() -> None:
    features = torch.tensor(
        [[[[0.0, 127.0, -63.6, 0.4]], [[0.0, 0.0, 0.0, 0.0]], [[2.54, -2.54, 0.03, 0.0]]]]
    )
    values, scales = quantised(features)
    assert values.tolist() == [[[[0, 127, -64, 0]], [[0, 0, 0, 0]], [[127, -127, 2, 0]]]]
    assert values.dtype == torch.int8
    torch.testing.assert_close(scales[0, [0, 2], 0, 0], torch.tensor([1.0, 0.02]))
    torch.testing.assert_close(restored(values, scales)[0, 2, 0], torch.tensor([2.54, -2.54, 0.04, 0.0]))


@given(FEATURES)
def test_int8_is_off_by_half_a_step_at_most(numbers: np.ndarray) -> None:
    features = torch.from_numpy(numbers)
    clipped = features.clamp(-HALF_MAX, HALF_MAX)
    values, scales = quantised(features)
    again = restored(values, scales)
    step = clipped.abs().amax(dim=(2, 3), keepdim=True).double() / 127
    assert ((again.double() - clipped.double()).abs() <= step / 2 * (1 + 1e-5) + 1e-38).all()
    assert (again[features == 0] == 0).all()
    assert values.min() >= -127
    assert (scales > 0).all()


@given(FEATURES)
def test_int8_knows_no_left_and_right_and_no_sign(numbers: np.ndarray) -> None:
    features = torch.from_numpy(numbers)
    values, scales = quantised(features)
    for other, wanted in ((features.flip(-1), values.flip(-1)), (-features, -values)):
        assert torch.equal(quantised(other)[0], wanted)
        assert torch.equal(quantised(other)[1], scales)


@given(FEATURES)
def test_photos_do_not_see_each_other(numbers: np.ndarray) -> None:
    features = torch.from_numpy(numbers)
    values, scales = quantised(features)
    for index in range(len(features)):
        alone = quantised(features[index : index + 1])
        assert torch.equal(alone[0][0], values[index])
        assert torch.equal(alone[1][0], scales[index])


@given(FEATURES)
def test_float16_is_off_by_half_a_unit_at_most(numbers: np.ndarray) -> None:
    features = torch.from_numpy(numbers)
    clipped = features.clamp(-HALF_MAX, HALF_MAX)
    assert ((halved(features).float() - clipped).abs() <= clipped.abs() * 2**-11 + 2**-25).all()


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_infinities_are_clipped_and_nan_stays_visible(precision: StoredPrecision) -> None:
    def level(value: float) -> Tensor:
        return torch.tensor([[[[value, 1.0]]]])

    levels = unpacked(packed([level(float("inf")), level(-1e30), level(float("nan"))], precision))
    assert levels[0][0, 0, 0, 0] == pytest.approx(HALF_MAX)
    assert levels[1][0, 0, 0, 0] == pytest.approx(-HALF_MAX)
    assert levels[2][0, 0, 0, 0].isnan()


def test_int8_takes_half_of_float16() -> None:
    levels = [torch.randn(1, channels, side, side) for channels, side in ((32, 40), (96, 20), (320, 10))]

    def size(precision: StoredPrecision) -> int:
        return sum(tensor.nbytes for tensor in packed(levels, precision).values())

    assert 0.5 < size("int8") / size("float16") < 0.52
