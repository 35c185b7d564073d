"""Decision boundaries, thresholds and signs (Eq. 2, 3, 5)."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from act2sal.a2s import boundary


def image(*rows: list[float]) -> Tensor:
    """A (1, 1, h, w) map."""
    return torch.tensor([[rows]], dtype=torch.float64)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


FEATURES = torch.tensor([[[[1.0, 2.0], [1.0, 4.0]], [[0.0, 1.0], [2.0, 1.0]]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "vector", "expected"),
    [
        ("db1", [1.0, 1.5], [[-1.5, 0.5], [0.5, 2.5]]),  # 1^T f - 2.5
        ("db2", None, [[2.0, 5.0], [4.0, 9.0]]),  # 2 f1 + f2
        ("db3", None, [[-3.0, 0.0], [-1.0, 4.0]]),  # 2 (f1 - 2) + (f2 - 1)
        ("db4", [1.0, -1.0], [[0.0, 0.0], [-2.0, 2.0]]),  # (f1 - 2) - (f2 - 1)
        ("db5", None, [[-2.0, 0.0], [0.0, 2.0]]),  # 1^T f - 3
    ],
)
def test_decision_boundaries_by_hand(
    kind: boundary.BoundaryKind, vector: list[float] | None, expected: list[list[float]]
) -> None:
    given_vector = None if vector is None else torch.tensor(vector, dtype=torch.float64)
    theta = boundary.decision_boundary(FEATURES, kind, vector=given_vector)
    assert theta.tolist() == [[expected]]


def test_boundaries_that_need_a_vector_say_so() -> None:
    with pytest.raises(ValueError, match="db4 needs a vector"):
        boundary.decision_boundary(FEATURES, "db4")


@given(seed=st.integers(0, 99), shift=st.floats(-5, 5))
@settings(deadline=None, max_examples=20)
def test_adaptive_boundary_forgets_an_offset(seed: int, shift: float) -> None:
    features = random(seed, 2, 3, 4, 5)
    theta = boundary.adaptive_boundary(features)
    torch.testing.assert_close(theta.mean(dim=(2, 3)), torch.zeros(2, 1, dtype=torch.float64))
    torch.testing.assert_close(boundary.adaptive_boundary(features + shift), theta)


def test_activation_map_sums_channels() -> None:
    assert boundary.activation_map(FEATURES).tolist() == [[[[1.0, 3.0], [3.0, 5.0]]]]


def test_variance_by_hand() -> None:
    maps = torch.cat([image([0, 0], [0, 4]), image([1, 2], [3, 4]), image([7, 7], [7, 7])])
    thresholds = torch.tensor([4.0, 2.0, 7.0], dtype=torch.float64).view(3, 1, 1, 1)
    # 1/4 * 3/4 * 4^2; 1/4 * 3/4 * (3 - 1)^2; one class empty
    assert boundary.interclass_variance(maps, thresholds).tolist() == pytest.approx([3.0, 0.75, 0.0])


def test_thresholds_by_hand() -> None:
    maps = torch.cat([image([0, 1, 1], [8, 9, 11]), image([5, 5, 5], [5, 5, 5])])
    assert boundary.threshold_of(maps, "otsu").flatten().tolist() == [8.0, 5.0]
    assert boundary.threshold_of(maps, "mean").flatten().tolist() == [5.0, 5.0]
    assert boundary.threshold_of(maps, "median").flatten().tolist() == [4.5, 5.0]
    for rule in get_args(boundary.ThresholdRule):
        assert boundary.threshold_of(maps, rule).shape == (2, 1, 1, 1)


def test_equal_values_are_never_cut_apart() -> None:
    assert boundary.otsu_threshold(image([0.0, 0.0], [0.1, 0.1])).item() == 0.1


@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=24))
@settings(deadline=None, max_examples=60)
def test_otsu_is_the_best_of_all_thresholds(values: list[int]) -> None:
    maps = image([float(v) for v in values])
    best = boundary.interclass_variance(maps, boundary.otsu_threshold(maps)).item()
    array = np.array(values, dtype=float)
    for threshold in set(values):
        low, high = array[array < threshold], array[array >= threshold]
        variance = len(low) * len(high) / len(array) ** 2 * (high.mean() - low.mean()) ** 2 if len(low) else 0
        assert best >= variance - 1e-9


RING = image([-1, -1, -1, -1], [-1, 2, 2, -1], [-1, 2, 2, -1], [-1, -1, -1, -1])
TIE = image([1, -1], [-1, 1])
TIE_WITH_ZERO = image([0, -1], [-1, 1])
BIG = image([-1, 1, 1, -1], [1, 1, 1, 1], [1, 1, 1, 1], [-1, 1, 1, -1])


@pytest.mark.parametrize(
    ("theta", "area", "area_zero", "corners", "border"),
    [
        (RING, 1, 1, 1, 1),
        (-RING, -1, -1, -1, -1),
        (BIG, -1, -1, 1, -1),
        (-BIG, 1, 1, -1, 1),
        (TIE, 1, 0, 1, 1),
        (-TIE, 1, 0, 1, 1),
        (TIE_WITH_ZERO, 1, 1, 1, 1),
        (image([0, 0], [0, -1]), -1, 1, -1, -1),  # zero is on the positive side, but for the official code
        (image([0.5, 0.5], [0.5, -1]), -1, -1, -1, -1),
        # Seven of the twelve outermost pixels, one corner pair each way, and the smaller area are positive.
        (image([1, 1, 1, 1], [1, -1, -1, -1], [1, -1, -1, 1], [-1, -1, -1, -1]), 1, 1, 1, -1),
    ],
)
def test_signs_by_hand(theta: Tensor, area: int, area_zero: int, corners: int, border: int) -> None:
    rules: list[boundary.SignRule] = ["area", "area_zero", "corners", "border"]
    signs = [boundary.foreground_sign(theta, rule).item() for rule in rules]
    assert signs == [area, area_zero, corners, border]


def test_border_counts_each_pixel_once() -> None:
    """Of twelve border pixels six are positive, three of them corners: a tie, settled by area."""
    theta = image([1, 1, 1, 1], [-1, -1, -1, -1], [-1, -1, -1, 1], [-1, -1, -1, 1])
    assert boundary.foreground_sign(theta, "border").item() == 1
    assert boundary.foreground_sign(theta, "corners").item() == -1


@given(seed=st.integers(0, 999), height=st.integers(1, 7), width=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_area_sign_makes_the_object_the_smaller_side(seed: int, height: int, width: int) -> None:
    theta = random(seed, 3, 1, height, width)
    for rule in ("area", "area_zero", "corners", "border"):
        sign = boundary.foreground_sign(theta, rule)
        assert sign.shape == (3, 1, 1, 1)
        assert sign.dtype == theta.dtype
        torch.testing.assert_close(sign.abs() * theta.abs(), (sign * theta).abs())
    signed = theta * boundary.foreground_sign(theta)
    assert ((signed > 0).flatten(1).sum(1) <= (signed <= 0).flatten(1).sum(1)).all()


def test_running_mean_of_db1_moves_in_training_only() -> None:
    db1 = boundary.DecisionBoundary("db1", 2)
    db1.eval()(FEATURES.float())
    assert db1.mean.tolist() == [0, 0]
    db1.train()(FEATURES.float())
    assert db1.mean.tolist() == pytest.approx([0.2, 0.1])


def test_the_affine_boundary_is_learned_and_no_function() -> None:
    with pytest.raises(ValueError, match=r"^the affine boundary is learned: use DecisionBoundary$"):
        boundary.decision_boundary(torch.ones(1, 2, 3, 3), "affine", vector=torch.ones(2))
    affine = boundary.DecisionBoundary("affine", 2)
    with torch.no_grad():
        affine.affine.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
        affine.affine.bias.fill_(0.5)
    assert affine(FEATURES.float()).tolist() == [[[[2.5, 3.5], [0.5, 7.5]]]]  # 2 f1 - f2 + 1/2
