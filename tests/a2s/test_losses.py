"""Eq. 12: hand-computed cases, a brute-force SSIM, gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from act2sal.a2s import losses


def maps(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ssim_by_loops(p: np.ndarray, t: np.ndarray) -> float:
    """Wang et al. (2004), pixel by pixel, zeros beyond the border."""
    offsets = np.arange(11) - 5
    row = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(row, row) / row.sum() ** 2
    padded_p, padded_t = np.pad(p, 5), np.pad(t, 5)
    total = 0.0
    for y in range(p.shape[0]):
        for x in range(p.shape[1]):
            a, b = padded_p[y : y + 11, x : x + 11], padded_t[y : y + 11, x : x + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
            cov = (window * a * b).sum() - ma * mb
            total += ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    return total / p.size


def test_bce_by_hand() -> None:
    logits = torch.tensor([math.log(3), 0.0]).view(1, 1, 1, 2)  # prob 3/4, 1/2
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    expected = -(math.log(0.75) + math.log(0.5)) / 2
    assert losses.bce_loss(logits, target).item() == pytest.approx(expected)


def test_bce_is_finite_for_huge_logits() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 1, 1, 2)
    assert losses.bce_loss(logits, torch.tensor([0.0, 0.0]).view(1, 1, 1, 2)).item() == pytest.approx(5000)


def test_iou_by_hand() -> None:
    prob = torch.tensor([[0.5, 1.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    # first image: overlap 0.5, union 1 + 1 = 2; second: nothing in either map costs 1
    assert losses.iou_loss(prob, target).item() == pytest.approx((0.75 + 1) / 2)


def test_iou_is_per_image() -> None:
    prob, target = maps(0, 2, 1, 6, 6), maps(1, 2, 1, 6, 6)
    each = [losses.iou_loss(p[None], t[None]) for p, t in zip(prob, target, strict=True)]
    torch.testing.assert_close(losses.iou_loss(prob, target), torch.stack(each).mean())


def test_ssim_against_loops() -> None:
    prob, target = maps(0, 1, 1, 13, 9), (maps(1, 1, 1, 13, 9) > 0.5).double()
    expected = 1 - ssim_by_loops(prob[0, 0].numpy(), target[0, 0].numpy())
    assert losses.ssim_loss(prob, target).item() == pytest.approx(expected, rel=1e-10)


def test_blur_of_a_point_is_the_window() -> None:
    point = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    point[0, 0, 10, 10] = 1
    blurred = losses.gaussian_blur(point)[0, 0]
    assert blurred.sum().item() == pytest.approx(1)
    assert (blurred[10, 11] / blurred[10, 10]).item() == pytest.approx(math.exp(-1 / 4.5))
    assert blurred[10, 4].item() == 0


@given(seed=st.integers(0, 99), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(deadline=None, max_examples=25)
def test_ranges_and_identity(seed: int, height: int, width: int) -> None:
    prob, target = maps(seed, 2, 1, height, width), (maps(seed + 100, 2, 1, height, width) > 0.5).double()
    assert 0 <= losses.iou_loss(prob, target) <= 1
    assert 0 <= losses.ssim_loss(prob, target) <= 2
    assert losses.ssim_loss(target, target).item() == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(losses.ssim_loss(prob, target), losses.ssim_loss(target, prob))
    torch.testing.assert_close(
        losses.ssim_loss(prob, target), losses.ssim_loss(prob.flip(-1), target.flip(-1))
    )


def test_detector_loss_weighs_and_binarises() -> None:
    logits, target = maps(0, 2, 1, 12, 12) * 6 - 3, maps(1, 2, 1, 12, 12)
    hard = (target > 0.5).double()
    prob = logits.sigmoid()
    parts = losses.bce_loss(logits, hard), losses.ssim_loss(prob, hard), losses.iou_loss(prob, hard)
    torch.testing.assert_close(losses.detector_loss(logits, target), sum(parts, torch.zeros(()).double()))
    weighted = 2 * parts[0] + 3 * parts[1] + 4 * parts[2]
    torch.testing.assert_close(losses.detector_loss(logits, target, bce=2, ssim=3, iou=4), weighted)
    torch.testing.assert_close(losses.detector_loss(logits, target, bce=0, ssim=0), parts[2])
    soft = losses.detector_loss(logits, target, bce=0, ssim=0, binarise=False)
    torch.testing.assert_close(soft, losses.iou_loss(prob, target))


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0)])
def test_gradients(weights: tuple[float, float, float]) -> None:
    logits = (maps(0, 2, 1, 5, 4) * 4 - 2).requires_grad_()
    target = maps(1, 2, 1, 5, 4)
    bce, ssim, iou = weights

    def loss(x: Tensor) -> Tensor:
        return losses.detector_loss(x, target, bce=bce, ssim=ssim, iou=iou, binarise=False)

    assert torch.autograd.gradcheck(loss, logits)


def test_scale_consistency() -> None:
    prob = torch.tensor([[0.2, 0.2], [0.6, 0.6]]).view(1, 1, 2, 2)
    coarse = torch.full((1, 1, 1, 1), 0.4)
    assert losses.scale_consistency_loss(prob, coarse).item() == pytest.approx(0.04)
    assert losses.scale_consistency_loss(prob, prob).item() == 0
    edge = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)  # enlarged with pixels as areas: 0, 1/4, 3/4, 1
    wide = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(1, 1, 1, 4)
    assert losses.scale_consistency_loss(wide, edge).item() == 0
    fine = maps(2, 1, 1, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.scale_consistency_loss(prob.double(), x), fine)
