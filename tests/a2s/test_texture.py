"""Texture matching against a loop over pixels, and what it asks for."""

import math

import torch

from act2sal.a2s.texture import WINDOW, contour, texture_loss


def by_hand(prob: torch.Tensor, photo: torch.Tensor) -> float:
    """The loss of one photo, pixel by pixel."""
    height, width = prob.shape
    on = contour(prob[None, None])[0, 0]
    half, total = WINDOW // 2, 0.0
    for y, x in on.nonzero().tolist():
        for v in range(max(0, y - half), min(height, y + half + 1)):
            for u in range(max(0, x - half), min(width, x + half + 1)):
                apart = float((photo[:, y, x] - photo[:, v, u]).square().sum())
                total += math.exp(-200 * apart) * abs(float(prob[y, x] - prob[v, u]))
    return total / float(on.sum())


def test_it_is_the_sum_over_the_window_averaged_along_the_contour() -> None:
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand((1, 1, 9, 14), generator=generator)
    photo = torch.rand((1, 3, 9, 14), generator=generator) * 0.2
    loss = float(texture_loss(prob, photo))
    assert loss > 0.1
    assert abs(loss - by_hand(prob[0, 0], photo[0])) < 1e-4


def test_a_boundary_along_an_edge_of_the_photo_costs_nothing_and_one_across_it_does() -> None:
    photo = torch.zeros((1, 3, 16, 16))
    photo[..., 8:] = 1
    along, across = torch.zeros((1, 1, 16, 16)), torch.zeros((1, 1, 16, 16))
    along[..., 8:] = 1
    across[..., 8:, :] = 1
    assert float(texture_loss(along, photo)) < 1e-6
    assert float(texture_loss(across, photo)) > 1


def test_a_map_without_a_contour_costs_nothing() -> None:
    prob = torch.full((2, 1, 8, 8), 0.3, requires_grad=True)
    loss = texture_loss(prob, torch.zeros((2, 3, 8, 8)))
    loss.backward()
    assert float(loss.detach()) == 0
    assert prob.grad is not None
    assert not prob.grad.any()


def test_the_contour_is_two_pixels_wide_on_either_side() -> None:
    prob = torch.zeros((1, 1, 10, 12))
    prob[..., 6:] = 1
    assert contour(prob)[0, 0, 5].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    prob = torch.rand((1, 1, 6, 7), generator=generator, dtype=torch.float64, requires_grad=True)
    photo = torch.rand((1, 3, 6, 7), generator=generator, dtype=torch.float64) * 0.2
    assert torch.autograd.gradcheck(lambda p: texture_loss(p, photo), (prob,), eps=1e-7)
