"""PiCANet, pixel-wise contextual attention (Liu et al., CVPR 2018): global in deep levels, local in fine ones.

Written from descriptions of the published network, without its code: 47,664,342 parameters with ResNet-50,
36,729,687 with VGG-16.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.losses import bce_loss
from act2sal.a2s.resampling import resize
from act2sal.networks.contextual_attention import GLOBAL_SIDE, GlobalAttention, LocalAttention, narrow_normal
from act2sal.networks.encoders import Encoder
from act2sal.networks.picanet_encoders import DEEPEST_STRIDE, at_most_stride_8
from act2sal.networks.rival import Rival

SIDE = GLOBAL_SIDE * DEEPEST_STRIDE
"""Of the only photos, 224 x 224, whose deep levels global attention can read."""
GLOBAL_LEVELS = 2
DEEP_WEIGHT = 0.5
FINE_WEIGHTS = (1.0, 0.8, 0.8)
"""Of the maps in the loss, finest first; the others have `DEEP_WEIGHT`."""


class PiCANet(Rival):
    """Levels that attend to themselves, from coarse to fine, each with a map of its own.

    Photos of any size are resized to 224 x 224, the one size for which the network is defined, and the map back.

    Differs: encoders other than ResNet-50 and VGG-16 have deep levels that are enlarged in place of dilated.

    Args:
        encoder: five levels. A ResNet-50 and a VGG-16 with `output_stride=16` become the published ones; see
            `picanet_encoders`.
    """

    side: ClassVar[int | None] = SIDE

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(at_most_stride_8(encoder))
        widths, strides = self.encoder.channels, self.encoder.strides
        count = len(widths)
        self.levels = nn.ModuleList(
            AttendedLevel(
                widths[i],
                widths[max(i - 1, 0)],
                attention=_attention(widths[i], fine=strides[i] == 1, deep=i >= count - GLOBAL_LEVELS),
                first=i == count - 1,
                enlarged=i > 0 and strides[i - 1] < strides[i],
            )
            for i in range(count)
        )

    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute the map at the size of the photos, then those of all levels, finest first; see `Rival.outputs`."""
        encoded = self.encoder(resize(photos, (SIDE, SIDE)))
        maps: Tensor | None = None
        found = []
        for attend, level in zip(reversed(self.levels), reversed(encoded), strict=True):
            maps, logits = attend(maps, level)
            found.append(logits)
        finest_first = found[::-1]
        return [resize(finest_first[0], photos.shape[-2:]), *finest_first]

    def saliency_of(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Leave out the first map, which is the second one at another size."""
        return outputs[1:]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute `picanet_loss`; see `Rival.own_loss`."""
        return picanet_loss(self.saliency_of(outputs), target)


class AttendedLevel(nn.Module):
    """One level: it joins the coarser one, attends to itself, and gives a map and features for the finer level.

    Args:
        width: channels of the encoder's level.
        channels: of the features that it hands on.
        attention: None: there is none, and nothing is joined before.
        first: the coarsest level, which has no coarser one to join.
        enlarged: the finer level has twice the size.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        *,
        attention: GlobalAttention | LocalAttention | None,
        first: bool,
        enlarged: bool,
    ) -> None:
        super().__init__()
        joins = not first and attention is not None
        self.start = (
            nn.Sequential(narrow_normal(nn.Conv2d(2 * width, width, 1)), nn.ReLU()) if joins else None
        )
        self.attention = attention
        self.last = nn.Sequential(
            narrow_normal(nn.Conv2d(2 * width, channels, 1)), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.classifier = narrow_normal(nn.Conv2d(channels, 1, 1))
        self.enlarge = _doubling(channels) if enlarged else None

    def forward(self, coarser: Tensor | None, level: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from the coarser level.

        Args:
            coarser: (B, width, h, w) float32; None: this is the coarsest level.
            level: (B, width, h, w) float32, of the encoder.

        Returns:
            Features (B, channels, h', w') float32 at the size of the finer level, logits (B, 1, h, w) float32.
        """
        maps = level if coarser is None else torch.cat([coarser, level], dim=1)
        if self.start is not None:
            maps = self.start(maps)
        if self.attention is not None:
            maps = torch.cat([maps, self.attention(maps)], dim=1)
        maps = self.last(maps)
        logits = self.classifier(maps)
        return maps if self.enlarge is None else self.enlarge(maps), logits


def picanet_loss(maps: Sequence[Tensor], target: Tensor) -> Tensor:
    """Add up the weighted cross-entropies of the levels against the target shrunk to their sizes.

    Args:
        maps: logits (B, 1, h, w) float32, finest first.
        target: (B, 1, H, W) float in [0, 1]; shrunk with corners aligned, then compared with .5.

    Returns:
        Scalar float32.
    """
    weights = [*FINE_WEIGHTS, *[DEEP_WEIGHT] * (len(maps) - len(FINE_WEIGHTS))]
    losses = []
    for logits, weight in zip(maps, weights, strict=True):
        shrunk = functional.interpolate(target, logits.shape[-2:], mode="bilinear", align_corners=True)
        losses.append(weight * bce_loss(logits, (shrunk > 0.5).to(logits.dtype)))
    return torch.stack(losses).sum()


def _attention(width: int, *, fine: bool, deep: bool) -> GlobalAttention | LocalAttention | None:
    if fine:
        return None
    return GlobalAttention(width) if deep else LocalAttention(width)


def _doubling(channels: int) -> nn.ConvTranspose2d:
    """Build a learnt enlargement, one filter per channel, that begins as the bilinear one."""
    layer = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.outer(line, line).expand_as(layer.weight))
    return layer
