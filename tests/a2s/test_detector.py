"""Eq. 7-11: what the modules compute, shapes for odd sizes, sizes of the published network."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.detector import (
    ConvUnit,
    Deepening,
    DetectorNetwork,
    ObjectPresence,
    ResidualAttentionModule,
    pooled,
)
from act2sal.a2s.resampling import resize


class TinyEncoder(nn.Module):
    """Five levels at strides 2..32, sizes rounded up."""

    def __init__(self, channels: Sequence[int] = (4, 6, 8, 10, 12)) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip((3, *channels[:-1]), channels, strict=True)
        )

    def forward(self, photos: Tensor) -> list[Tensor]:
        levels = []
        for step in self.steps:
            photos = step(photos)
            levels.append(photos)
        return levels


def detector(**options: object) -> DetectorNetwork:
    torch.manual_seed(0)
    return DetectorNetwork(TinyEncoder(), **{"channels": 8, "finest_stride": 2, **options}).eval()  # type: ignore[arg-type]


def photos(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (1, 7), (100, 31)])
@pytest.mark.parametrize("finest_stride", [2, 4])
def test_logits_have_the_size_of_the_photo(size: tuple[int, int], finest_stride: int) -> None:
    logits = detector(finest_stride=finest_stride)(photos(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_each_photo_alone_gives_the_same() -> None:
    net, batch = detector(), photos(3, 3, 48, 40)
    alone = torch.cat([net(photo[None]) for photo in batch])
    torch.testing.assert_close(net(batch), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("finest_stride", "size"), [(2, (24, 32)), (4, (12, 16))])
def test_stride_of_the_finest_map(finest_stride: int, size: tuple[int, int]) -> None:
    net = detector(finest_stride=finest_stride)
    assert net.decode(net.encoder(photos(1, 3, 48, 64))).shape == (1, 1, *size)


def test_sizes_of_the_adapted_levels() -> None:
    """The convolution on E_1 alone has a stride, which is 2 where the finest map is at stride 4."""
    net = detector(finest_stride=4)
    levels = net.encoder(photos(1, 3, 64, 96))
    adapted = [adapt(level).shape[-2:] for adapt, level in zip(net.adapters, levels, strict=True)]
    assert adapted == [(16, 24), (16, 24), (8, 12), (4, 6), (2, 3)]


def test_a_unit_keeps_the_size_and_is_never_negative() -> None:
    torch.manual_seed(0)
    answer = ConvUnit(3, 4)(torch.randn(1, 3, 5, 6))
    assert answer.shape == (1, 4, 5, 6)
    assert answer.min() == 0


def test_deepening_enlarges_each_side_four_times() -> None:
    torch.manual_seed(0)
    deepening, maps = Deepening(channels=4), torch.rand(2, 4, 3, 5)
    wide = functional.interpolate(deepening.widen(maps), (6, 10), mode="bilinear", align_corners=False)
    expected = functional.interpolate(deepening.narrow(wide), (12, 20), mode="bilinear", align_corners=False)
    assert deepening.widen[0].out_channels == 8
    torch.testing.assert_close(deepening(maps), expected)


def test_what_is_pooled_and_how_photos_are_rated() -> None:
    deepest = torch.tensor([[[[1.0, 3.0]], [[-4.0, 2.0]]]])
    assert pooled(deepest).tolist() == [[2.0, -1.0, 3.0, 2.0]]
    presence = ObjectPresence(channels=2)
    nn.init.ones_(presence.linear.weight)
    nn.init.zeros_(presence.linear.bias)
    assert presence(deepest).tolist() == [6.0]


def test_the_confidence_is_held_down_by_the_highest_probability() -> None:
    net, batch = detector(presence=ObjectPresence(channels=12)), photos(2, 3, 32, 48)
    logits, confidence = net.rated(batch)
    torch.testing.assert_close(logits, net(batch))
    assert net.presence is not None
    said = torch.sigmoid(net.presence(net.encoder(batch)[-1]))
    highest = torch.sigmoid(logits).flatten(1).max(dim=1).values
    torch.testing.assert_close(confidence, said * highest)
    with pytest.raises(ValueError, match=r"^this detector has no part that says whether there is an object$"):
        detector().rated(batch)


def test_a_network_tells_how_it_was_built() -> None:
    net = DetectorNetwork(TinyEncoder(), channels=8, finest_stride=4)
    assert (net.channels, net.attention, net.finest_stride, net.presence) == (8, True, 4, None)
    assert len(net.local.attention) == len(net.regional.attention) == 2
    plain = detector(attention=False)
    assert not plain.attention
    assert len(plain.local.attention) == len(plain.regional.attention) == 0


def test_a_level_too_few_is_refused() -> None:
    net = detector()
    with pytest.raises(ValueError, match="zip"):
        net.decode(net.encoder(photos(1, 3, 32, 32))[:4])
    with pytest.raises(ValueError, match="zip"):
        DetectorNetwork(TinyEncoder((4, 6, 8, 10)), channels=8, finest_stride=2)


def test_product_summed_over_channels() -> None:
    """Eq. 11: with constant modules, logits are sum(R_l * R_r)."""
    net = detector()
    for module, values in ((net.local, torch.arange(8.0)), (net.regional, torch.full((8,), 2.0))):
        nn.init.zeros_(module.fuse.weight)
        module.fuse.bias.data.copy_(values)
    torch.testing.assert_close(net(photos(1, 3, 32, 32)), torch.full((1, 1, 32, 32), 56.0))


def test_residual_attention_by_its_equation() -> None:
    torch.manual_seed(0)
    ram = ResidualAttentionModule(channels=4)
    finer, coarser, deepest = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)

    def up(maps: Tensor) -> Tensor:
        return functional.interpolate(maps, (8, 8), mode="bilinear", align_corners=False)

    guide = up(ram.deep(deepest))
    weighted = [
        h * torch.sigmoid(conv(h - guide))
        for h, conv in zip((finer, up(coarser)), ram.attention, strict=True)
    ]
    expected = ram.fuse(torch.cat([*weighted, guide], 1))
    torch.testing.assert_close(ram(finer, coarser, deepest), expected)


def test_attention_that_cannot_choose_halves_the_maps() -> None:
    """sigmoid(0) = 1/2: zero attention weights equal the plain module with maps of half the size."""
    torch.manual_seed(0)
    ram, plain = ResidualAttentionModule(channels=4), ResidualAttentionModule(channels=4, attention=False)
    for conv in ram.attention:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    plain.load_state_dict({k: v for k, v in ram.state_dict().items() if not k.startswith("attention")})
    finer, coarser, deepest = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)
    torch.testing.assert_close(ram(finer, coarser, deepest), plain(finer / 2, coarser / 2, deepest))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_sizes_of_the_published_decoder() -> None:
    """28.40 M with residual attention, 28.25 M without (Table VII); the ResNet-50 has 25.56 M."""
    counts = []
    for attention in (True, False):
        encoder = TinyEncoder((64, 256, 512, 1024, 2048))
        counts.append(
            parameters(DetectorNetwork(encoder, channels=64, finest_stride=2, attention=attention))
            - parameters(encoder)
        )
    assert [round((25_557_032 + n) / 1e6, 2) for n in counts] == [28.40, 28.25]


def test_groups_of_two_channels() -> None:
    assert ConvUnit(3, 64)[1].num_groups == 32
    assert ConvUnit(3, 128)[1].num_groups == 64


def test_resize_leaves_the_right_size_alone() -> None:
    maps = torch.rand(1, 2, 3, 4)
    assert resize(maps, (3, 4)) is maps


def test_everything_trains() -> None:
    net = detector().train()
    net(photos(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
