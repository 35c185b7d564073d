"""MINet, the multi-scale interactive network (Pang et al., CVPR 2020): neighbouring levels exchange what they found.

Written from descriptions of the published network, without its code: 162,378,305 parameters with ResNet-50,
47,562,737 with VGG-16 and BatchNorm.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.losses import bce_loss
from act2sal.a2s.resampling import resize
from act2sal.networks.encoders import Encoder
from act2sal.networks.rival import Rival

CHANNELS = 64
NARROW = 32
CEL_EPSILON = 1e-6


class MINet(Rival):
    """Aggregate interactions (AIM) between adjacent levels, self-interactions (SIM) within a level.

    Differs: maps are resized to the size of the map that they meet, which is twice or half theirs in the published
    network, so that photos of any size pass.

    Args:
        encoder: five levels.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        widths = encoder.channels
        whole = encoder.strides[0] == 1
        channels = [NARROW if whole else CHANNELS, *[CHANNELS] * (len(widths) - 1)]
        around = [range(max(0, i - 1), min(len(widths), i + 2)) for i in range(len(widths))]
        self.aggregations = nn.ModuleList(
            Aggregation([widths[j] for j in near], main=i - near[0], channels=channels[i])
            for i, near in enumerate(around)
        )
        self.interactions = nn.ModuleList(SelfInteraction(channels=width) for width in channels)
        finer = [NARROW, *channels[:-1]]
        self.climbs = nn.ModuleList(_climb(*pair) for pair in zip(channels, finer, strict=True))
        self.last = None if whole else _climb(NARROW, NARROW)
        self.classifier = nn.Conv2d(NARROW, 1, 1)

    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute the one output of MINet; see `Rival.outputs`."""
        levels = self.aggregated(self.encoder(photos))
        maps = self.climbs[-1](self.interactions[-1](levels[-1]))
        for i in reversed(range(len(levels) - 1)):
            maps = resize(maps, levels[i].shape[-2:]) + levels[i]
            maps = self.climbs[i](self.interactions[i](maps))
        if self.last is not None:
            maps = self.last(resize(maps, photos.shape[-2:]))
        return [self.classifier(maps)]

    def aggregated(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        """Compute the maps (B, 64, h, w) of all levels, finest first, from those of the encoder."""
        return [aggregate(encoded[max(0, i - 1) : i + 2]) for i, aggregate in enumerate(self.aggregations)]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """BCE + CEL; see `Rival.own_loss`."""
        return bce_loss(outputs[0], target) + consistency_enhanced_loss(torch.sigmoid(outputs[0]), target)


class Aggregation(nn.Module):
    """AIM: a level and its neighbours exchange maps once, then the level gathers those of its neighbours.

    Args:
        widths: channels of two or three adjacent levels, finest first.
        main: position of the level whose size and shortcut the result has.
        channels: of the result.
    """

    def __init__(self, widths: Sequence[int], *, main: int, channels: int) -> None:
        super().__init__()
        self.main = main
        inner = min(widths)
        positions = range(len(widths))
        self.enter = nn.ModuleList(_convolution(width, inner) for width in widths)
        self.enter_norms = _norms(inner, len(widths))
        self.exchange = nn.ModuleList(_from_neighbours(inner, i, len(widths)) for i in positions)
        self.exchange_norms = _norms(inner, len(widths))
        self.gather = _from_neighbours(inner, main, len(widths))
        self.gather_norm = nn.BatchNorm2d(inner)
        self.leave = _convolution(inner, channels)
        self.leave_norm = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(widths[main], channels, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Adjacent levels (B, C_i, h_i, w_i) float32 -> (B, channels, h, w) float32, at the size of the main one."""
        entered = [
            functional.relu(norm(convolve(level)))
            for convolve, norm, level in zip(self.enter, self.enter_norms, levels, strict=True)
        ]
        exchanged = [
            functional.relu(norm(_gathered(cast(nn.ModuleDict, convolutions), entered, i)))
            for i, (convolutions, norm) in enumerate(zip(self.exchange, self.exchange_norms, strict=True))
        ]
        maps = functional.relu(self.gather_norm(_gathered(self.gather, exchanged, self.main)))
        return functional.relu(self.leave_norm(self.leave(maps)) + self.shortcut(levels[self.main]))


class SelfInteraction(nn.Module):
    """SIM: a map and its half-sized version exchange what they found; the result is added to the map."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        widths = (channels, channels // 2)
        self.enter = nn.ModuleList(_convolution(channels, width) for width in widths)
        self.enter_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.exchange = nn.ModuleList(
            nn.ModuleList(_convolution(source, width) for source in widths) for width in widths
        )
        self.exchange_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.gather = nn.ModuleList(_convolution(source, channels) for source in widths)
        self.gather_norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) float32 -> (B, C, h, w) float32."""
        fine = functional.relu(self.enter_norms[0](self.enter[0](maps)))
        coarse = functional.relu(self.enter_norms[1](self.enter[1](_halved(maps))))
        of_fine, of_coarse = (cast(nn.ModuleList, convolutions) for convolutions in self.exchange)
        joined = of_fine[0](fine) + of_fine[1](resize(coarse, fine.shape[-2:]))
        halved = of_coarse[0](_halved(fine)) + of_coarse[1](coarse)
        fine = functional.relu(self.exchange_norms[0](joined))
        coarse = functional.relu(self.exchange_norms[1](halved))
        joined = self.gather[0](fine) + self.gather[1](resize(coarse, fine.shape[-2:]))
        return functional.relu(self.gather_norm(joined)) + maps


def consistency_enhanced_loss(prob: Tensor, target: Tensor) -> Tensor:
    """CEL: the share of what only one of both maps holds, over the whole batch, in [0, 1].

    `(sum p + sum t - 2 sum p t) / (sum p + sum t + 1e-6)`.

    Args:
        prob: (B, 1, H, W) float in [0, 1].
        target: (B, 1, H, W) float in [0, 1].
    """
    total = prob.sum() + target.sum()
    return (total - 2 * (prob * target).sum()) / (total + CEL_EPSILON)


def _convolution(width: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(width, channels, 3, padding=1)


def _norms(channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(count))


def _climb(width: int, channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


def _from_neighbours(channels: int, to: int, count: int) -> nn.ModuleDict:
    """Make a convolution for each level that is `to` or next to it, by its position."""
    near = range(max(0, to - 1), min(count, to + 2))
    return nn.ModuleDict({str(i): _convolution(channels, channels) for i in near})


def _gathered(convolutions: nn.ModuleDict, levels: Sequence[Tensor], to: int) -> Tensor:
    """Add up the convolved levels at the size of level `to`."""
    size = levels[to].shape[-2:]
    terms = [convolve(_fitted(levels[int(i)], size)) for i, convolve in convolutions.items()]
    return sum(terms[1:], start=terms[0])


def _fitted(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a level to the size of its neighbour: means over its cells, or nearest values."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.shape[-1] < size[-1] or maps.shape[-2] < size[-2]:
        return functional.interpolate(maps, tuple(size), mode="nearest")
    if maps.shape[-2:] == (2 * size[0], 2 * size[1]):
        return functional.avg_pool2d(maps, 2)
    return functional.adaptive_avg_pool2d(maps, (size[0], size[1]))


def _halved(maps: Tensor) -> Tensor:
    """Means over 2 x 2 pixels; a last odd row or column is left out unless it is the only one."""
    return functional.avg_pool2d(maps, 2, ceil_mode=bool(min(maps.shape[-2:]) < 2))
