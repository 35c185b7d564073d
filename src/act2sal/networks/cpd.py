"""CPD, the cascaded partial decoder (Wu et al., CVPR 2019): a first map says where the deeper levels look again.

Written from descriptions of the published network, without its code: 47,851,075 parameters with ResNet-50, 29,232,771
with VGG-16.
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.losses import bce_loss
from act2sal.networks.encoders import DenseNetLevels, Encoder, EncoderError
from act2sal.networks.rival import Rival

CHANNELS = 32
WINDOW = 31
"""Side of the kernel of holistic attention."""
RANGE_EPSILON = 1e-8


class CPD(Rival):
    """Two partial decoders on levels 3 to 5; the second reads levels 4 and 5 anew, made of an attended level 3.

    With an encoder whose finest level has the size of the photo (VGG-16 with `output_stride=16`) it is the published
    VGG version: convolutions have biases and no BatchNorm, and the encoder's pools take means.

    Differs: maps are resized to the size of the next level, which is twice theirs in the published network, so that
    photos of any size pass.

    Args:
        encoder: five levels, made by layers that follow one another (ResNet, MobileNet, DenseNet, ...). The layers
            after level 3 exist twice; the second ones begin with the weights of the first.

    Raises:
        EncoderError: its layers do not follow one another.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.whole = encoder.strides[0] == 1
        if self.whole:
            _take_means(encoder)
        self.again = LayersAfterLevel3(encoder)
        widths = encoder.channels[2:]
        norm = not self.whole
        self.first_fields = nn.ModuleList(ReceptiveField(width, norm=norm) for width in widths)
        self.first_decoder = PartialDecoder(norm=norm)
        self.attention = HolisticAttention()
        self.second_fields = nn.ModuleList(ReceptiveField(width, norm=norm) for width in widths)
        self.second_decoder = PartialDecoder(norm=norm)

    def outputs(self, photos: Tensor) -> list[Tensor]:
        """Compute the map of the second decoder and that of the first; see `Rival.outputs`."""
        levels = self.encoder(photos)[2:]
        first = self.first_decoder(*_seen(self.first_fields, levels))
        attended = self.attention(torch.sigmoid(first), levels[0])
        second = self.second_decoder(*_seen(self.second_fields, [attended, *self.again(attended)]))
        return [_enlarged(logits, photos.shape[-2:], aligned=not self.whole) for logits in (second, first)]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the encoder and of its second copy."""
        return [*super().encoder_parameters(), *self.again.parameters()]

    def own_loss(self, outputs: Sequence[Tensor], target: Tensor) -> Tensor:
        """The cross-entropies of both maps; see `Rival.own_loss`."""
        return bce_loss(outputs[0], target) + bce_loss(outputs[1], target)


class LayersAfterLevel3(nn.Module):
    """A second copy of those layers of an encoder that make levels 4 and 5 of level 3."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        layers, ends = layers_in_order(encoder)
        third = ends[2]
        self.layers = nn.ModuleList(copy.deepcopy(layer) for layer in layers[third + 1 : ends[4] + 1])
        self.fourth = ends[3] - third - 1

    def forward(self, level3: Tensor) -> list[Tensor]:
        """Levels 4 and 5, (B, C, h, w) float32, of a level 3."""
        maps, fourth = level3, level3
        for i, layer in enumerate(self.layers):
            maps = layer(maps)
            fourth = maps if i == self.fourth else fourth
        return [fourth, maps]


def layers_in_order(encoder: Encoder) -> tuple[list[nn.Module], list[int]]:
    """List the layers of an encoder in the order in which they compute, and the positions of those that end a level.

    Raises:
        EncoderError: its layers do not follow one another.
    """
    body = cast(Any, encoder.body)
    if isinstance(body, DenseNetLevels):
        return _layers_of_densenet(body)
    if hasattr(body, "return_layers"):
        names = list(body)
        return list(body.values()), [names.index(name) for name in body.return_layers]
    if hasattr(body, "conv_stem") and getattr(body, "feature_hooks", None) is None:
        ends = [stage + 1 for stage in body._stage_out_idx]
        return [body.conv_stem, body.bn1, *body.blocks], ends
    raise EncoderError(
        f"CPD needs an encoder whose layers follow one another, which those of {encoder.name} do not"
    )


class ReceptiveField(nn.Module):
    """RFB: four views of a level, of growing reach, joined to 32 channels.

    Args:
        width: channels of the level.
        norm: with BatchNorm.
    """

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.views = nn.ModuleList([_unit(width, CHANNELS, 1, norm=norm)])
        for reach in (3, 5, 7):
            self.views.append(
                nn.Sequential(
                    _unit(width, CHANNELS, 1, norm=norm),
                    _unit(CHANNELS, CHANNELS, (1, reach), norm=norm),
                    _unit(CHANNELS, CHANNELS, (reach, 1), norm=norm),
                    _unit(CHANNELS, CHANNELS, 3, dilation=reach, norm=norm),
                )
            )
        self.join = _unit(4 * CHANNELS, CHANNELS, 3, norm=norm)
        self.shortcut = _unit(width, CHANNELS, 1, norm=norm)

    def forward(self, level: Tensor) -> Tensor:
        """A level (B, C, h, w) float32 -> (B, 32, h, w) float32."""
        views = torch.cat([view(level) for view in self.views], dim=1)
        return functional.relu(self.join(views) + self.shortcut(level))


class PartialDecoder(nn.Module):
    """The aggregation of three levels to one map of logits.

    Args:
        norm: with BatchNorm.
    """

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.weigh4 = _unit(CHANNELS, CHANNELS, 3, norm=norm)
        self.weigh3_by5 = _unit(CHANNELS, CHANNELS, 3, norm=norm)
        self.weigh3_by4 = _unit(CHANNELS, CHANNELS, 3, norm=norm)
        self.pass5 = _unit(CHANNELS, CHANNELS, 3, norm=norm)
        self.join4 = _unit(2 * CHANNELS, 2 * CHANNELS, 3, norm=norm)
        self.pass4 = _unit(2 * CHANNELS, 2 * CHANNELS, 3, norm=norm)
        self.join3 = _unit(3 * CHANNELS, 3 * CHANNELS, 3, norm=norm)
        self.last = _unit(3 * CHANNELS, 3 * CHANNELS, 3, norm=norm)
        self.classifier = nn.Conv2d(3 * CHANNELS, 1, 1)

    def forward(self, level3: Tensor, level4: Tensor, level5: Tensor) -> Tensor:
        """Three levels (B, 32, h_i, w_i) float32 -> logits (B, 1, h_3, w_3) float32."""
        size3, size4 = level3.shape[-2:], level4.shape[-2:]
        raised5 = _enlarged(level5, size4)
        weighed4 = self.weigh4(raised5) * level4
        weighed3 = (
            self.weigh3_by5(_enlarged(raised5, size3)) * self.weigh3_by4(_enlarged(level4, size3)) * level3
        )
        joined4 = self.join4(torch.cat([weighed4, self.pass5(raised5)], dim=1))
        joined3 = self.join3(torch.cat([weighed3, self.pass4(_enlarged(joined4, size3))], dim=1))
        return self.classifier(self.last(joined3))


class HolisticAttention(nn.Module):
    """HA: weigh a level by a map and by its blurred surroundings, whichever is larger; the blur is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(gaussian_kernel())

    def forward(self, prob: Tensor, level: Tensor) -> Tensor:
        """Attend to a level.

        Args:
            prob: (B, 1, h, w) float32 in [0, 1].
            level: (B, C, h, w) float32.

        Returns:
            (B, C, h, w) float32.
        """
        blurred = functional.conv2d(prob, self.kernel, padding=WINDOW // 2)
        lowest, highest = blurred.amin(dim=(2, 3), keepdim=True), blurred.amax(dim=(2, 3), keepdim=True)
        blurred = (blurred - lowest) / (highest - lowest + RANGE_EPSILON)
        return level * torch.maximum(blurred, prob)


def gaussian_kernel() -> Tensor:
    """Compute the kernel that holistic attention starts from, (1, 1, 31, 31) float32, which adds up to 1.

    Along one axis the steps of the normal distribution between 32 points up to 4.15 standard deviations away; in the
    plane the root of the products.
    """
    reach = 4 + 9 / WINDOW / 2
    points = torch.linspace(-reach, reach, WINDOW + 1, dtype=torch.float64)
    steps = torch.special.ndtr(points).diff()
    plane = torch.outer(steps, steps).sqrt()
    return (plane / plane.sum()).float()[None, None]


def _layers_of_densenet(body: DenseNetLevels) -> tuple[list[nn.Module], list[int]]:
    layers: list[nn.Module] = []
    ends = []
    for name, module in body.features.named_children():
        if name == "pool0":
            ends.append(len(layers) - 1)
        if name.startswith("transition"):
            steps = dict(module.named_children())
            ends.append(len(layers) + list(steps).index("norm"))
            layers.extend(steps.values())
        else:
            layers.append(module)
    return layers, [*ends, len(layers) - 1]


def _take_means(encoder: Encoder) -> None:
    """Replace the maxima of an encoder's pools by means."""
    for name, layer in list(encoder.body.named_children()):
        if isinstance(layer, nn.MaxPool2d):
            encoder.body[name] = nn.AvgPool2d(2)  # type: ignore[operator]


def _seen(fields: nn.ModuleList, levels: Sequence[Tensor]) -> list[Tensor]:
    return [see(level) for see, level in zip(fields, levels, strict=True)]


def _unit(
    width: int, channels: int, kernel: int | tuple[int, int], *, dilation: int = 1, norm: bool
) -> nn.Module:
    """Make a convolution that keeps the size, with BatchNorm or a bias; no activation follows, as published."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (rows // 2 * dilation, columns // 2 * dilation)
    convolution = nn.Conv2d(width, channels, kernel, padding=padding, dilation=dilation, bias=not norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels)) if norm else convolution


def _enlarged(maps: Tensor, size: Sequence[int], *, aligned: bool = True) -> Tensor:
    """Resize bilinearly, with corners aligned as published."""
    return functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=aligned)
