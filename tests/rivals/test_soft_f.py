"""The loss of USPS: soft thresholds and F by hand, and no gradient where a prediction is beyond its label."""

import pytest
import torch

from act2sal.rivals.soft_f import EPSILON, soft_f_loss, soft_threshold


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_soft_thresholds_by_hand() -> None:
    label = row(0.8, 0.8, 0.2, 0.2, 0.5)
    prob = row(0.9, 0.7, 0.1, 0.3, 0.9)
    assert soft_threshold(prob, label, 0.5).flatten().tolist() == pytest.approx([1, 0.7, 0, 0.3, 0.9])


@pytest.mark.parametrize("beta2", [1.0, 4.0])
def test_the_loss_by_hand(beta2: float) -> None:
    label, prob = row(0.9, 0.9, 0.1), row(0.5, 0.8, 0.3)  # none is beyond its label
    precision, recall = 1.3 / (1.6 + EPSILON), 1.3 / (2 + EPSILON)
    f = (1 + beta2) * precision * recall / (beta2 * precision + recall + EPSILON)
    assert float(soft_f_loss(prob, label, 0.5, beta2)) == pytest.approx(1 - f, rel=1e-5)


def test_what_is_beyond_its_label_has_no_gradient() -> None:
    label = row(0.8, 0.8, 0.2, 0.2)
    prob = row(0.95, 0.6, 0.05, 0.4).requires_grad_()
    soft_f_loss(prob, label, 0.5, 1.0).backward()
    assert prob.grad is not None
    gradient = prob.grad.flatten().tolist()
    assert gradient[0] == gradient[2] == 0
    assert gradient[1] < 0 < gradient[3]


def test_a_perfect_map_costs_nothing_and_an_empty_one_all() -> None:
    label = row(0.9, 0.9, 0.1)
    assert float(soft_f_loss(row(1, 1, 0), label, 0.5, 1.0)) == pytest.approx(0, abs=1e-4)
    assert float(soft_f_loss(row(0.0, 0.0, 0.0), label, 0.5, 1.0)) == pytest.approx(1, abs=1e-4)
