"""The loss of stage 1 (Eq. 4)."""

import math

import pytest
import torch
from torch import Tensor

from act2sal.a2s import activation
from act2sal.a2s import separation_loss as losses


def image(*rows: list[float]) -> Tensor:
    """A (1, 1, h, w) map."""
    return torch.tensor([[rows]], dtype=torch.float64)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_separation_by_hand() -> None:
    theta = image([math.log(3), 0.0], [-math.log(3), 50.0])  # D = 1/4, 0, 1/4, 1/2
    keep = torch.tensor([[[[True, True], [False, False]]]])
    assert losses.separation_loss(theta, 0).item() == pytest.approx(1 - (1 / 16 + 1 / 16 + 1 / 4) / 4)
    assert losses.separation_loss(theta, 0.2).item() == pytest.approx(1 - (3 / 8 + 0.2) / 4)
    assert losses.separation_loss(theta, 0.2, keep).item() == pytest.approx(1 - (1 / 16 + 0.05) / 2)
    assert losses.separation_loss(theta, 0.2, torch.zeros_like(keep)).item() == 1


def test_separation_gradients() -> None:
    theta = random(0, 2, 1, 3, 4).requires_grad_()
    keep = random(1, 2, 1, 3, 4) > 0
    assert torch.autograd.gradcheck(lambda x: losses.separation_loss(x, 0.1, keep), theta)


def test_stage1_loss_weighs_its_maps() -> None:
    maps = [random(i, 2, 1, 4 + i, 4) for i in range(4)]
    answer = activation.Activation(maps[0], (maps[1], maps[2], maps[3]))
    each = [losses.separation_loss(m, 0.2) for m in maps]
    generator = torch.Generator()
    total = losses.stage1_loss(answer, alpha=0.2, drop=0, generator=generator)
    torch.testing.assert_close(total, each[0] + 0.1 * each[1] + 0.3 * each[2] + 0.5 * each[3])
    alone = losses.stage1_loss(answer, alpha=0.2, drop=0, auxiliary=False, generator=generator)
    torch.testing.assert_close(alone, each[0])


def test_stage1_loss_floor() -> None:
    """Everything far from the boundary: 1.9 (1 - 1/4 - 0.1/2) = 1.33."""
    far = torch.full((1, 1, 2, 2), 99.0)
    loss = losses.stage1_loss(activation.Activation(far, (far, far, far)), generator=torch.Generator())
    assert loss.item() == pytest.approx(1.33)


def test_dropped_pixels_follow_the_generator_and_the_rate() -> None:
    first, again = (losses.drop_pixels((1, 1, 100, 100), 0.3, torch.Generator().manual_seed(5)) for _ in "ab")
    assert first.dtype == torch.bool
    assert torch.equal(first, again)
    assert first.float().mean().item() == pytest.approx(0.7, abs=0.02)
    assert losses.drop_pixels((9,), 0, torch.Generator()).all()
    maps = activation.Activation(random(0, 1, 1, 9, 9), (random(1, 1, 1, 9, 9),) * 3)
    one, other = (losses.stage1_loss(maps, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert one != other


def test_distance_by_hand() -> None:
    theta = image([math.log(3), 0.0], [-math.log(3), 50.0])  # D = 1/4, 0, 1/4, 1/2
    keep = torch.tensor([[[[True, True], [False, False]]]])
    assert losses.distance_loss(theta, 1).item() == pytest.approx(0.5 - 1 / 4)
    assert losses.distance_loss(theta, 3).item() == pytest.approx(1 / 8 - (2 / 64 + 1 / 8) / 4)
    assert losses.distance_loss(theta, 3, keep).item() == pytest.approx(1 / 8 - 1 / 64 / 2)
    assert losses.distance_loss(theta, 3, torch.zeros_like(keep)).item() == 1 / 8


def test_the_exponent_falls_and_the_margin_closes() -> None:
    assert [losses.falling_exponent(epoch, 2) for epoch in range(3)] == pytest.approx([2, 2**0.5, 1])
    assert [losses.undecided_margin(epoch, 6) for epoch in range(4)] == pytest.approx([0.2, 0.1, 0, -0.1])


def test_an_exponent_takes_the_place_of_eq_4() -> None:
    maps = [random(i, 2, 1, 4 + i, 4) for i in range(4)]
    answer = activation.Activation(maps[0], (maps[1], maps[2], maps[3]))
    total = losses.stage1_loss(answer, drop=0, exponent=1.5, margin=0.1, generator=torch.Generator())
    each = [losses.distance_loss(m, 1.5, (torch.sigmoid(m) - 0.5).abs() >= 0.1) for m in maps]
    torch.testing.assert_close(total, each[0] + 0.1 * each[1] + 0.3 * each[2] + 0.5 * each[3])


def test_a_pixel_at_the_margin_counts() -> None:
    far = torch.full((1, 1, 2, 2), 99.0)  # D = 1/2 exactly
    answer = activation.Activation(far, (far, far, far))
    loss = losses.stage1_loss(
        answer, alpha=0, drop=0, margin=0.5, auxiliary=False, generator=torch.Generator()
    )
    assert loss.item() == 0.75


def test_pixels_count_that_are_decided_and_not_dropped() -> None:
    theta = random(7, 1, 1, 40, 40)
    answer = activation.Activation(theta, (theta, theta, theta))
    loss = losses.stage1_loss(
        answer, alpha=0.2, drop=0.4, margin=0.1, auxiliary=False, generator=torch.Generator().manual_seed(3)
    )
    keep = losses.drop_pixels(theta.shape, 0.4, torch.Generator().manual_seed(3))
    keep &= (torch.sigmoid(theta) - 0.5).abs() >= 0.1
    torch.testing.assert_close(loss, losses.separation_loss(theta, 0.2, keep))


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    theta, generator = random(0, 1, 1, 4, 4), torch.Generator().manual_seed(1)
    losses.stage1_loss(activation.Activation(theta, (theta, theta, theta)), drop=0, generator=generator)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(1).get_state())


def test_a_single_pixel_that_counts_is_a_mean_of_one() -> None:
    """|sigmoid(ln 3) - 1/2| = 1/4."""
    theta = image([math.log(3), 5.0])
    keep = torch.tensor([True, False]).view(1, 1, 1, 2)
    assert losses.distance_loss(theta, 2, keep).item() == pytest.approx(0.25 - 0.0625)
    assert losses.separation_loss(theta, 0.1, keep).item() == pytest.approx(1 - 0.0625 - 0.025)
