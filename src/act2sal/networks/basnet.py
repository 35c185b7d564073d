"""BASNet, the boundary-aware network (Qin et al., CVPR 2019): eight supervised maps, the last one refined.

Written from descriptions of the published network, without its code: 87,060,360 parameters.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from act2sal.a2s.losses import detector_loss
from act2sal.a2s.resampling import resize
from act2sal.networks.encoders import Encoder
from act2sal.networks.rival import Rival

WHOLE_STRIDES = (1, 2, 4, 8, 16, 32)
POOLED_BLOCKS = 3
REFINED_CHANNELS = 64
REFINED_LEVELS = 4


class BASNet(Rival):
    """An encoder of six levels, a bridge, a decoder with a map at each of its stages, a refinement of the last map.

    Differs: maps are resized to the size of the next level, which is twice theirs in the published network, so that
    photos of any size pass.

    Args:
        encoder: five levels. A ResNet-34 is turned into the published six: a stem that keeps the size of the photo
            takes the place of its own, and two pooled stages follow. Any other encoder only gets such a stem before
            its levels; the decoder is as wide as these.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(_of_six_levels(encoder))
        widths = self.encoder.channels
        deepest = widths[-1]
        self.bridge = _stage(deepest, deepest, deepest, dilations=(2, 2, 2))
        finer = [widths[0], *widths[:-1]]
        dilations = [(1, 1, 1)] * (len(widths) - 1) + [(1, 2, 2)]
        self.stages = nn.ModuleList(
            _stage(2 * width, width, left, dilations=dilated)
            for width, left, dilated in zip(widths, finer, dilations, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for width in (*finer, deepest))
        self.refinement = Refinement()

    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute the refined map, those of the stages from fine to coarse, and that of the bridge."""
        levels = self.encoder(photos)
        maps = self.bridge(levels[-1])
        found = [maps]
        for stage, level in zip(reversed(self.stages), reversed(levels), strict=True):
            maps = stage(torch.cat([resize(maps, level.shape[-2:]), level], dim=1))
            found.append(maps)
        logits = [head(maps) for head, maps in zip(self.heads, reversed(found), strict=True)]
        logits = [resize(side, photos.shape[-2:]) for side in logits]
        return [self.refinement(logits[0]), *logits]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """BCE + SSIM + IoU of each output; see `Rival.own_loss`."""
        losses = [detector_loss(logits, target, binarise=False) for logits in outputs]
        return torch.stack(losses).sum()


class Refinement(nn.Module):
    """A small encoder and decoder on a map of logits; what they find is added to it."""

    def __init__(self) -> None:
        super().__init__()
        channels = REFINED_CHANNELS
        self.enter = nn.Conv2d(1, channels, 3, padding=1)
        self.down = nn.ModuleList(_unit(channels, channels) for _ in range(REFINED_LEVELS))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.deepest = _unit(channels, channels)
        self.up = nn.ModuleList(_unit(2 * channels, channels) for _ in range(REFINED_LEVELS))
        self.leave = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, 1, H, W) float32 -> logits (B, 1, H, W) float32."""
        maps = self.enter(logits)
        levels = []
        for layers in self.down:
            maps = layers(maps)
            levels.append(maps)
            maps = self.pool(maps)
        maps = self.deepest(maps)
        for layers, level in zip(reversed(self.up), reversed(levels), strict=True):
            maps = layers(torch.cat([resize(maps, level.shape[-2:]), level], dim=1))
        return logits + self.leave(maps)


class SixLevels(nn.Module):
    """The published encoder: a stem at the size of the photo, the blocks of a ResNet-34, two pooled stages."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        blocks = cast(Any, body)
        self.stem = _unit(3, 64)
        self.layers = nn.ModuleList([blocks.layer1, blocks.layer2, blocks.layer3, blocks.layer4])
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.pooled = nn.ModuleList(
            nn.Sequential(*(BasicBlock(512, 512) for _ in range(POOLED_BLOCKS))) for _ in range(2)
        )

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> six levels."""
        return list(self._levels(photos))

    def _levels(self, photos: Tensor) -> Iterator[Tensor]:
        maps = self.stem(photos)
        for layer in self.layers:
            maps = layer(maps)
            yield maps
        for blocks in self.pooled:
            maps = blocks(self.pool(maps))
            yield maps


class StemAndLevels(nn.Module):
    """The levels of any encoder behind one at the size of the photo."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.stem = _unit(3, width)
        self.body = body

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> six levels."""
        return [self.stem(photos), *self.body(photos)]


def _of_six_levels(encoder: Encoder) -> Encoder:
    """Turn an encoder into one of six levels, with its weights."""
    if encoder.name.partition(".")[0] == "resnet34":
        body: nn.Module = SixLevels(encoder.body)
        channels = (*encoder.channels[1:], 512, 512)
    else:
        body = StemAndLevels(encoder.body, encoder.channels[0])
        channels = (encoder.channels[0], *encoder.channels)
    return Encoder(body=body, channels=channels, spec=encoder.spec, strides=WHOLE_STRIDES)


def _stage(width: int, inner: int, channels: int, *, dilations: Sequence[int]) -> nn.Sequential:
    widths = pairwise((width, inner, inner, channels))
    return nn.Sequential(*(_unit(*pair, dilation) for pair, dilation in zip(widths, dilations, strict=True)))


def _unit(width: int, channels: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, channels, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
