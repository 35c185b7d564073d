"""The noise model of MNL: its update by hand and its fixed point on noise of known variance."""

import math

import numpy as np
import pytest
import torch

from act2sal.rivals.noise import (
    RATE,
    divergence,
    empirical_variance,
    noisy_loss,
    updated_variance,
    with_noise,
)


def test_variance_and_update_by_hand() -> None:
    labels = np.array([[[0.0, 1.0]], [[0.5, 1.0]], [[1.0, 1.0]]], np.float32)
    prob = np.array([[0.5, 0.2]], np.float32)
    np.testing.assert_allclose(empirical_variance(labels, prob), [[0.25, 0.0]], atol=1e-7)
    np.testing.assert_allclose(
        updated_variance(np.full((1, 2), 0.1, np.float32), labels, prob),
        [[0.1 + RATE * 0.15, 0.1 - RATE * 0.1]],
        rtol=1e-5,
    )


def test_the_update_ends_at_the_variance_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    truth, known = np.full((40, 40), 0.5, np.float32), np.full((40, 40), 0.0025, np.float32)
    known[:, 20:] = 0.01
    variance = np.zeros_like(known)
    for _ in range(3000):
        labels = truth + np.sqrt(known) * rng.standard_normal((3, 40, 40)).astype(np.float32)
        variance = updated_variance(variance, labels, truth)
    assert variance[:, :20].mean() == pytest.approx(0.0025, rel=0.05)
    assert variance[:, 20:].mean() == pytest.approx(0.01, rel=0.05)


def test_the_divergence_by_hand() -> None:
    one = torch.full((1, 1, 2, 2), 0.02)
    assert float(divergence(one, one)) == pytest.approx(0, abs=1e-6)
    assert float(divergence(2 * one, one)) == pytest.approx((2 - math.log(2) - 1) / 2, rel=1e-3)


def test_drawn_noise_has_the_variance() -> None:
    prob, variance = torch.full((4, 1, 60, 60), 0.5), torch.full((4, 1, 60, 60), 0.0036)
    drawn = with_noise(prob, variance, torch.Generator().manual_seed(0))
    assert float(drawn.std()) == pytest.approx(0.06, rel=0.03)
    edge = with_noise(
        torch.ones(1, 1, 50, 50), torch.full((1, 1, 50, 50), 1.0), torch.Generator().manual_seed(0)
    )
    assert float(edge.min()) >= 0
    assert float(edge.max()) == 1


def test_the_loss_is_the_mean_over_the_labelers() -> None:
    prob = torch.full((1, 1, 1, 1), 0.8)
    labels = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    assert float(noisy_loss(prob, labels)) == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)
