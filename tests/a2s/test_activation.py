"""Eq. 1-5, Fig. 9 and Table I on cases worked out on paper; invariants; gradients."""

import pytest
import torch
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


def test_scales_multiply_the_encoder_channels() -> None:
    net, inputs = network(), encoded()
    scales = [torch.arange(1.0, c + 1) for c in (5, 6, 7)]
    expected = net([e * s.view(1, -1, 1, 1) for e, s in zip(inputs, scales, strict=True)]).theta
    net.set_scales(scales)
    torch.testing.assert_close(net(inputs).theta, expected)
    with pytest.raises(ValueError, match="for 5 channels"):
        net.set_scales([torch.ones(4), torch.ones(6), torch.ones(7)])
    with pytest.raises(ValueError, match="zip"):
        net.set_scales(scales[:2])


def test_a_level_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        network().features(encoded()[:2])


def test_the_fused_map_of_a_wide_photo_is_wide() -> None:
    levels = [random(c, 1, c, s, 2 * s).float() for c, s in ((5, 8), (6, 4), (7, 2))]
    assert network(fusion_stride=4)(levels).theta.shape == (1, 1, 16, 32)


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


def test_a_network_says_what_it_was_made_with() -> None:
    """Its file repeats it."""
    made = activation.ActivationNetwork(in_channels=(4, 6, 8), channels=2, boundary="db3")
    assert (made.in_channels, made.channels, made.boundary) == ((4, 6, 8), 2, "db3")
