"""ITSD, the interactive two-stream decoder (Zhou et al., CVPR 2020): saliency and contours, level by level.

Written from descriptions of the published network, without its code. The published network repeats the heads of its
last map in a branch of 392,360 parameters that nothing runs; it is left out here. What remains has 26,075,640
parameters with ResNet-50, and 16,692,152 with VGG-16.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.losses import bce_loss
from act2sal.a2s.resampling import resize
from act2sal.networks.encoders import Encoder
from act2sal.networks.rival import Rival

CHANNELS = 64
CONVOLUTIONS = (3, 2, 2, 1, 1)
"""Plain convolutions at the start of the blocks of each level, coarse to fine."""
CANDIDATES = 4
"""Maps of which a prediction is the largest value."""
FINAL_CANDIDATES = 8
SHARPENING = 2.0
"""What the published code multiplies the last logits by when it tests."""
LEVEL_WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
FINAL_WEIGHT = 1.5
CONTOUR_WINDOW = 5
CONTOUR_EMPHASIS = 4.0
"""How much more a pixel of the contour weighs than one far away from it."""


class ITSDMaps(NamedTuple):
    """All that the loss looks at, as logits float32; the levels are coarse to fine."""

    final: Tensor
    """(B, 1, H, W), at the size of the photos."""
    saliency: list[Tensor]
    """Five of (B, 1, h, w), at the sizes of the encoder's levels."""
    contours: list[Tensor]
    """Five of (B, 1, h, w), at the same sizes."""


class ITSD(Rival):
    """The two-stream network: photos in, logits at their size out.

    Differs: maps are resized to the size of the next level, which is twice theirs in the published network, so that
    photos of any size pass. Levels of encoders other than ResNet-50 and VGG-16 are narrowed as those of ResNet-50.

    Args:
        encoder: five levels. Where its finest level has the size of the photo (VGG-16 with `output_stride=16`),
            levels are narrowed by maxima over adjacent channels alone; their widths have to be multiples of 64.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        whole = encoder.strides[0] == 1
        self.adapters = nn.ModuleList(
            ChannelMaximum(width // CHANNELS) if whole else _adapter(width) for width in encoder.channels
        )
        levels = range(len(CONVOLUTIONS))
        self.saliency = nn.ModuleList(SaliencyBlock(CONVOLUTIONS[k], first=k == 0) for k in levels)
        self.contour = nn.ModuleList(ContourBlock(CONVOLUTIONS[k]) for k in levels)
        self.saliency_heads = nn.ModuleList(Head() for _ in levels)
        self.contour_heads = nn.ModuleList(Head() for _ in levels)
        self.joining = Joining()

    def forward(self, photos: Tensor) -> Tensor:
        """Compute the saliency map of photos, doubled in eval mode as in the published code.

        Args:
            photos: (B, 3, H, W) float32 in [0, 1].

        Returns:
            Logits (B, 1, H, W) float32.
        """
        final = self.maps(photos).final
        return final if self.training else SHARPENING * final

    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute the final map, then those of saliency and those of contours; see `Rival.outputs`."""
        maps = self.maps(photos)
        return [maps.final, *maps.saliency, *maps.contours]

    def saliency_of(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Leave out the contours."""
        return outputs[: 1 + len(CONVOLUTIONS)]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute `itsd_loss`; see `Rival.own_loss`."""
        final, *levels = outputs
        count = len(CONVOLUTIONS)
        return itsd_loss(ITSDMaps(final, levels[:count], levels[count:]), target)

    def maps(self, photos: Tensor) -> ITSDMaps:
        """Compute all maps that `itsd_loss` takes; none of them is doubled in any mode.

        Args:
            photos: (B, 3, H, W) float32 in [0, 1].
        """
        encoded = zip(self.adapters, self.encoder(photos), strict=True)
        levels = [adapt(level) for adapt, level in encoded][::-1]
        found: list[Tensor] = []
        saliency, contours = [], []
        shape = contour = outline = levels[0]
        for k, level in enumerate(levels):
            shape = self.saliency[k](shape, level)
            if k > 0:
                shape = torch.cat([pair_maximum(shape), resize(outline, level.shape[-2:])], dim=1)
            body, saliency_map = self.saliency_heads[k](shape)
            contour = self.contour[k](contour if k > 0 else shape, level.shape[-2:])
            contour = torch.cat([pair_maximum(contour), body], dim=1)
            outline, contour_map = self.contour_heads[k](contour)
            found.append(shape)
            saliency.append(saliency_map)
            contours.append(contour_map)
        return ITSDMaps(self.joining(found, photos.shape[-2:]), saliency, contours)


class ChannelMaximum(nn.Module):
    """The maximum over each `group` of adjacent channels."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, maps: Tensor) -> Tensor:
        """Reduce (B, C, h, w) to (B, C / group, h, w)."""
        return maps.unflatten(1, (-1, self.group)).amax(dim=2)


class Fuse(nn.Sequential):
    """Convolution 3x3 with bias, GroupNorm with two channels a group, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(CHANNELS, channels, 3, padding=1), nn.GroupNorm(channels // 2, channels), nn.ReLU()
        )


class SaliencyBlock(nn.Module):
    """One level of the saliency stream: what came from the coarser level meets the encoder's map twice.

    Args:
        convolutions: between the two meetings.
        first: the coarsest level, which has no coarser one to join.
    """

    def __init__(self, convolutions: int, *, first: bool) -> None:
        super().__init__()
        self.enter = None if first else Fuse(CHANNELS // 2)
        self.convolutions = _convolutions(convolutions)
        self.again = Fuse(CHANNELS // 2)
        self.last = _convolutions(1)
        _initialise(self)

    def forward(self, coarser: Tensor, level: Tensor) -> Tensor:
        """Go on from the coarser level.

        Args:
            coarser: (B, 64, h', w') float32, of the level before.
            level: (B, 64, h, w) float32, the adapted level of the encoder.

        Returns:
            (B, 64, h, w) float32.
        """
        maps = coarser
        if self.enter is not None:
            maps = resize(maps, level.shape[-2:])
            maps = torch.cat([pair_maximum(maps), self.enter(level)], dim=1)
        maps = self.convolutions(maps)
        return self.last(torch.cat([pair_maximum(maps), self.again(level)], dim=1))


class ContourBlock(nn.Module):
    """One level of the contour stream.

    Args:
        convolutions: before the map is enlarged.
    """

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        self.convolutions = _convolutions(convolutions)
        self.fuse = Fuse(CHANNELS)
        self.last = _convolutions(1)
        _initialise(self)

    def forward(self, coarser: Tensor, size: Sequence[int]) -> Tensor:
        """Go on from the coarser level, (B, 64, h', w') float32, to (B, 64, *size)."""
        return self.last(self.fuse(resize(self.convolutions(coarser), size)))


class Head(nn.Module):
    """A prediction of one stream, and the features that it hands to the other stream."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS // 2, 3, padding=1), nn.ReLU())
        self.candidates = nn.Conv2d(CHANNELS // 2, CANDIDATES, 3, padding=1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, 32, h, w) and logits (B, 1, h, w) from maps (B, 64, h, w), all float32."""
        features = self.features(maps)
        return features, self.candidates(features).amax(dim=1, keepdim=True)


class Joining(nn.Module):
    """The last map, from the saliency stream of all levels, each of which climbs to the finest one."""

    def __init__(self) -> None:
        super().__init__()
        count = len(CONVOLUTIONS)
        self.climbs = nn.ModuleList(
            nn.ModuleList(_convolutions(1) for _ in range(count - 1 - level)) for level in range(count)
        )
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(CHANNELS, FINAL_CANDIDATES, 3, padding=1), nn.ReLU())
            for _ in range(count)
        )
        self.join = nn.Conv2d(count * FINAL_CANDIDATES, FINAL_CANDIDATES, 3, padding=1)

    def forward(self, found: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Join five maps (B, 64, h, w), coarse to fine, into logits (B, 1, *size), all float32."""
        sizes = [maps.shape[-2:] for maps in found]
        narrowed = []
        for level, maps in enumerate(found):
            for step, convolution in enumerate(cast(nn.ModuleList, self.climbs[level])):
                maps = _climbed(convolution(maps), sizes[level + step + 1], smooth=step == 2)
            narrowed.append(self.narrow[level](maps))
        return resize(self.join(torch.cat(narrowed, dim=1)), size).amax(dim=1, keepdim=True)


def pair_maximum(maps: Tensor) -> Tensor:
    """Reduce (B, C, h, w) to (B, C / 2, h, w) by the maximum of each two adjacent channels."""
    return maps.unflatten(1, (-1, 2)).amax(dim=2)


def contour_target(label: Tensor) -> Tensor:
    """Mark what lies within two pixels of an outline: 5x5 dilation minus 5x5 erosion.

    Args:
        label: (B, 1, H, W) float in [0, 1].

    Returns:
        (B, 1, H, W) float in [0, 1]; of a hard label, 0 or 1.
    """
    margin = CONTOUR_WINDOW // 2
    dilated = functional.max_pool2d(label, CONTOUR_WINDOW, stride=1, padding=margin)
    eroded = -functional.max_pool2d(-label, CONTOUR_WINDOW, stride=1, padding=margin)
    return dilated - eroded


def itsd_loss(
    maps: ITSDMaps, label: Tensor, *, contour: Tensor | None = None, published: bool = False
) -> Tensor:
    """Add up the cross-entropies of all maps; pixels of saliency maps weigh more where a contour is seen or wanted.

    Level i adds `w_i (mean(BCE (4 c + 1)) + mean(BCE of contours))`, where `c` is the larger of the predicted and
    the wanted contour; the final map adds `1.5 mean(BCE (4 c + 1))`, where the predicted contour is that
    of the finest level, enlarged to the photo.

    Differs: the published function takes the sigmoid of the contour logits in place, so that their cross-entropy
    takes it once more, and lets gradients pass through the weights `c`. It does so here with `published=True`.

    Args:
        maps: of `ITSD.maps`.
        label: (B, 1, H, W) float in [0, 1]; its average over a cell of a level is compared with 0.5.
        contour: (B, 1, H, W) float in [0, 1]; None: `contour_target(label)`.
        published: with both quirks of the published function.

    Returns:
        Scalar float32.
    """
    label = (label > 0.5).to(maps.final.dtype)
    contour = contour_target(label) if contour is None else contour
    total = label.new_zeros(())
    prob = contour
    for weight, shape, outline in zip(LEVEL_WEIGHTS, maps.saliency, maps.contours, strict=True):
        height, width = shape.shape[-2:]
        target = (functional.adaptive_avg_pool2d(label, (height, width)) > 0.5).to(label.dtype)
        edge = functional.adaptive_max_pool2d(contour, (height, width))
        prob = torch.sigmoid(outline) if published else torch.sigmoid(outline.detach())
        of_contour = bce_loss(prob if published else outline, edge)
        total = total + weight * (_emphasised(shape, target, torch.maximum(prob, edge)) + of_contour)
    seen = torch.maximum(resize(prob, label.shape[-2:]), contour)
    return total + FINAL_WEIGHT * _emphasised(maps.final, label, seen)


def _emphasised(logits: Tensor, target: Tensor, contour: Tensor) -> Tensor:
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * (CONTOUR_EMPHASIS * contour + 1)).mean()


def _adapter(width: int) -> nn.Sequential:
    """Build what narrows a level to 64 channels: maxima over four channels where there are many, a convolution."""
    group = 4 if width > CHANNELS and width % 4 == 0 else 1
    return nn.Sequential(ChannelMaximum(group), nn.Conv2d(width // group, CHANNELS, 3, padding=1), nn.ReLU())


def _convolutions(count: int) -> nn.Sequential:
    layers = [(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(count)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


def _climbed(maps: Tensor, size: Sequence[int], *, smooth: bool) -> Tensor:
    """Enlarge to the next finer level: nearest values, but bilinear at the third step, as published."""
    return resize(maps, size) if smooth else functional.interpolate(maps, tuple(size), mode="nearest")


def _initialise(module: nn.Module) -> None:
    """Give the convolutions of a block Kaiming-normal weights (He et al., 2015)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
