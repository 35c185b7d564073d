"""Eq. 13-14 by hand, HMA, and a label bank that is killed at every point."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from act2sal.a2s.rectify import historical_average, lambda_at, quantise, rectify


def test_rectify_by_hand() -> None:
    label, prob = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.5, 1.0, 0.5])
    torch.testing.assert_close(rectify(label, prob, 0.4), torch.tensor([0.7, 0.6, 0.5]))
    assert torch.equal(rectify(label, prob, 1.0), label)


def test_lambda_schedule() -> None:
    assert [lambda_at(epoch) for epoch in range(5)] == [1.0, 1.0, 0.4, 0.4, 0.4]
    assert [lambda_at(epoch, warmup=0, lam=0.2) for epoch in range(2)] == [0.2, 0.2]


@given(label=st.floats(0, 1), prob=st.floats(0, 1), lam=st.floats(0, 1))
def test_rectified_labels_lie_between(label: float, prob: float, lam: float) -> None:
    mixed = rectify(torch.tensor(label).double(), torch.tensor(prob).double(), lam).item()
    assert min(label, prob) - 1e-6 <= mixed <= max(label, prob) + 1e-6


def test_quantise_rounds_and_keeps_every_level() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantise(levels.float() / 255), levels)
    assert quantise(levels.float() / 255).dtype == torch.uint8
    assert quantise(torch.tensor([0.0, 0.5 / 255 + 1e-6, 1.0])).tolist() == [0, 1, 255]


def test_historical_average_refines_before_averaging() -> None:
    photos = np.stack([np.full((2, 2, 3), 0, np.uint8), np.full((2, 2, 3), 1, np.uint8)])
    prob, previous = np.full((2, 2, 2), 0.6, np.float32), np.full((2, 2, 2), 0.5, np.float32)

    def harden(photo: NDArray[np.uint8], p: NDArray[np.float32]) -> NDArray[np.float32]:
        return (p > 0.5).astype(np.float32) * photo[..., 0]

    average = historical_average(photos, prob, previous, momentum=0.7, refine=harden)
    assert average.dtype == np.float32
    np.testing.assert_allclose(average[0], 0.35)
    np.testing.assert_allclose(average[1], 0.65)
    with pytest.raises(ValueError, match="zip"):
        historical_average(photos[:1], prob, previous, momentum=0.7, refine=harden)
