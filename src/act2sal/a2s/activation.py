"""Stage 1: the activation network, its decision boundary, sign and loss (A2S, Eq. 1-5).

An encoder that has never seen a mask still answers more strongly to objects than to their surroundings. Four
small blocks turn its three deepest levels into one map per photo, which an unsupervised loss pushes away from
the boundary between the two classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.boundary import BoundaryKind, DecisionBoundary
from act2sal.a2s.resampling import bilinear
from act2sal.config import Stage1Config

E3_STRIDE = 8


class Activation(NamedTuple):
    """What the activation network says about a batch, before any sign is chosen.

    theta: (B, 1, h, w) float32, logits of the fused map F at the fusion stride (Eq. 3).
    sides: logits of F_3, F_4, F_5, each (B, 1, h_i, w_i) float32 at its encoder level's own size.
    """

    theta: Tensor
    sides: tuple[Tensor, Tensor, Tensor]


class ScaledConv2d(nn.Conv2d):
    """A convolution whose input channels are first multiplied by one number each.

    The numbers are multiplied onto the weights, of which there are fewer than features.
    """

    def forward(self, features: Tensor, scale: Tensor | None = None) -> Tensor:
        """Features (B, C_in, h, w) of any float type, scale (C_in,) or None -> (B, C_out, h, w)."""
        weight = self.weight if scale is None else self.weight * scale.view(1, -1, 1, 1)
        return self._conv_forward(features.to(weight.dtype), weight, self.bias)


class ActivationBlock(nn.Module):
    """The block SE of Eq. 1: conv 3x3, GroupNorm(1), ReLU, then a channel gate.

    The gate is the spatial mean, a 1x1 convolution and a sigmoid, multiplied onto the channels.
    """

    def __init__(self, in_channels: int, channels: int = Stage1Config.channels) -> None:
        super().__init__()
        self.conv = ScaledConv2d(in_channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, scale: Tensor | None = None) -> Tensor:
        """(B, in_channels, h, w) float32 -> (B, channels, h, w) float32, all values >= 0.

        scale: (in_channels,) float32, multiplies the channels first.
        """
        convolved = self.conv(features, scale)
        convolved = convolved.float()  # an autocast may have rounded it, and Eq. 3 takes differences
        activated = functional.relu(self.norm(convolved))
        return activated * torch.sigmoid(self.gate(activated.mean(dim=(2, 3), keepdim=True)))


class ActivationNetwork(nn.Module):
    """The trainable part of stage 1: `F_i = SE_i(E_i)`, `F = SE_0(concat(F_3, F_4, F_5))` (Eq. 1, Eq. 3).

    The encoder stays outside: it is frozen, so its features can be computed once and kept. Buffers `scale3`,
    `scale4`, `scale5` (C_i,) float32 multiply the encoder's channels before the blocks; ones unless
    `set_scales` is called.

    Differs: the official code resizes F_3..F_5 to stride 2 (`fusion_stride=2`, the size of E_1) before the
    concatenation; here the default is stride 4, whose labels are as good, at a quarter of the cost. The official
    code also multiplies E_5 by the column sums of the ResNet classifier, which is a `scale5` here.

    Args:
        in_channels: channels of E_3, E_4, E_5.
        channels: width of the four blocks.
        fusion_stride: stride, relative to the photo, of the fused map.
        boundary: decision boundary of Fig. 9; db5 is the Adaptive Decision Boundary.
    """

    scale3: Tensor
    scale4: Tensor
    scale5: Tensor

    def __init__(
        self,
        *,
        in_channels: tuple[int, int, int],
        channels: int = Stage1Config.channels,
        fusion_stride: int = Stage1Config.fusion_stride,
        boundary: BoundaryKind = "db5",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = channels
        self.fusion_stride = fusion_stride
        self.boundary: BoundaryKind = boundary
        for level, width in zip((3, 4, 5), in_channels, strict=True):
            self.register_buffer(f"scale{level}", torch.ones(width))
        self.blocks = nn.ModuleList(ActivationBlock(width, channels) for width in in_channels)
        self.fusion = ActivationBlock(3 * channels, channels)
        self.boundaries = nn.ModuleList(DecisionBoundary(boundary, channels) for _ in range(4))

    @property
    def scales(self) -> tuple[Tensor, Tensor, Tensor]:
        """The channel scales of E_3, E_4, E_5, each (C_i,) float32."""
        return self.scale3, self.scale4, self.scale5

    def set_scales(self, scales: Sequence[Tensor]) -> None:
        """Replace the channel scales of E_3, E_4, E_5, each (C_i,); a wrong shape is a ValueError."""
        for own, new in zip(self.scales, scales, strict=True):
            if own.shape != new.shape:
                raise ValueError(f"a scale of shape {tuple(new.shape)} given for {own.numel()} channels")
            own.copy_(new)

    def features(
        self, encoded: Sequence[Tensor], photo_size: tuple[int, int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """F (B, C, h, w) at the fusion stride and [F_3, F_4, F_5] (B, C, h_i, w_i) (Eq. 1); see `forward`."""
        sides = [block(e, s) for block, e, s in zip(self.blocks, encoded, self.scales, strict=True)]
        height, width = photo_size or (E3_STRIDE * encoded[0].shape[-2], E3_STRIDE * encoded[0].shape[-1])
        size = (-(-height // self.fusion_stride), -(-width // self.fusion_stride))
        return self.fusion(torch.cat([bilinear(f, size) for f in sides], dim=1)), sides

    def forward(self, encoded: Sequence[Tensor], photo_size: tuple[int, int] | None = None) -> Activation:
        """Logits before the sign.

        Args:
            encoded: E_3, E_4, E_5, each (B, C_i, h_i, w_i) float32 or float16, at strides 8, 16, 32.
            photo_size: height and width of the photo; the fused map has this divided by the fusion stride,
                rounded up. Without it the photo is taken to be 8 times the size of E_3.
        """
        fused, sides = self.features(encoded, photo_size)
        f3, f4, f5 = (b(f) for b, f in zip(self.boundaries[:3], sides, strict=True))
        return Activation(self.boundaries[3](fused), (f3, f4, f5))
