"""Eq. 1-5, Fig. 9 and Table I on cases worked out on paper; invariants; gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from act2sal.a2s import activation, boundary
from act2sal.a2s import separation_loss as losses


def image(*rows: list[float]) -> Tensor:
    """A (1, 1, h, w) map."""
    return torch.tensor([[rows]], dtype=torch.float64)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(**options: object) -> activation.ActivationNetwork:
    torch.manual_seed(0)
    return activation.ActivationNetwork(in_channels=(5, 6, 7), channels=4, **options).eval()  # type: ignore[arg-type]


def encoded(batch: int = 2, size: int = 8) -> list[Tensor]:
    sizes = zip((5, 6, 7), (size, size // 2, size // 4), strict=True)
    return [random(c, batch, c, s, s).float() for c, s in sizes]


# Two channels over four pixels; image means 2 and 1, sums per pixel 1, 3, 3, 5.
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


# Corners and border negative in the first, positive in the second; area says + + in all but the second.
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
        torch.testing.assert_close(sign.abs() * theta.abs(), (sign * theta).abs())
    signed = theta * boundary.foreground_sign(theta)
    assert ((signed > 0).flatten(1).sum(1) <= (signed <= 0).flatten(1).sum(1)).all()


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


def test_block_by_its_equation() -> None:
    torch.manual_seed(0)
    block = activation.ActivationBlock(3, 4)
    nn.init.normal_(block.norm.weight)
    features = torch.randn(2, 3, 5, 6)
    raw = block.conv(features)
    mean, std = raw.mean((1, 2, 3), keepdim=True), raw.std((1, 2, 3), correction=0, keepdim=True)
    normed = (raw - mean) / std * block.norm.weight.view(1, 4, 1, 1) + block.norm.bias.view(1, 4, 1, 1)
    active = normed.clamp_min(0)
    gate = torch.sigmoid(
        torch.einsum("oi,bi->bo", block.gate.weight[:, :, 0, 0], active.mean((2, 3))) + block.gate.bias
    )
    torch.testing.assert_close(block(features), active * gate[:, :, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "size"), [(2, 32), (4, 16), (8, 8), (16, 4)])
def test_network_shapes(stride: int, size: int) -> None:
    theta, sides = network(fusion_stride=stride)(encoded())
    assert theta.shape == (2, 1, size, size)
    assert [side.shape for side in sides] == [(2, 1, 8, 8), (2, 1, 4, 4), (2, 1, 2, 2)]


def test_fused_size_of_a_photo_that_is_no_multiple() -> None:
    """A photo of 59x61 has E_1 of 30x31, which is where the official code joins the maps."""
    assert network(fusion_stride=2)(encoded(), (59, 61)).theta.shape == (2, 1, 30, 31)


@pytest.mark.parametrize("kind", ["db1", "db2", "db3", "db4", "db5"])
def test_network_uses_its_boundary(kind: boundary.BoundaryKind) -> None:
    net = network(boundary=kind)
    fused, sides = net.features(encoded())
    vector = {"db1": torch.zeros(4), "db4": torch.ones(4)}.get(kind)
    answer = net(encoded())
    torch.testing.assert_close(answer.theta, boundary.decision_boundary(fused, kind, vector=vector))
    for theta, side in zip(answer.sides, sides, strict=True):
        torch.testing.assert_close(theta, boundary.decision_boundary(side, kind, vector=vector))


def test_running_mean_of_db1_moves_in_training_only() -> None:
    db1 = boundary.DecisionBoundary("db1", 2)
    db1.eval()(FEATURES.float())
    assert db1.mean.tolist() == [0, 0]
    db1.train()(FEATURES.float())
    assert db1.mean.tolist() == pytest.approx([0.2, 0.1])


def test_scales_multiply_the_encoder_channels() -> None:
    net, inputs = network(), encoded()
    scales = [torch.arange(1.0, c + 1) for c in (5, 6, 7)]
    expected = net([e * s.view(1, -1, 1, 1) for e, s in zip(inputs, scales, strict=True)]).theta
    net.set_scales(scales)
    torch.testing.assert_close(net(inputs).theta, expected)
    with pytest.raises(ValueError, match="for 5 channels"):
        net.set_scales([torch.ones(4), torch.ones(6), torch.ones(7)])


def test_half_precision_features_are_taken() -> None:
    net, inputs = network(), encoded()
    half = net([e.half() for e in inputs]).theta
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, net(inputs).theta, rtol=0.02, atol=0.02)


def test_everything_trains() -> None:
    net = network(boundary="db4").train()
    losses.stage1_loss(net(encoded()), generator=torch.Generator()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_size_of_the_published_network() -> None:
    """27.75 M with the ResNet-50 and its classifier (25.56 M)."""
    net = activation.ActivationNetwork(in_channels=(512, 1024, 2048))
    assert round((25_557_032 + sum(p.numel() for p in net.parameters())) / 1e6, 2) == 27.75


def test_the_affine_boundary_is_learned_and_no_function() -> None:
    with pytest.raises(ValueError, match="learned"):
        boundary.decision_boundary(torch.ones(1, 2, 3, 3), "affine", vector=torch.ones(2))
