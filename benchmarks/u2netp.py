"""A network of the shape of U2-Net-p, the small one of the supervised cut-out tools, with random weights.

Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", 2020: six encoder and five
decoder stages, each a small U-Net with a residual (RSU-7, 6, 5, 4, 4F, 4F and back), 16 channels inside and 64 out.
Speed does not depend on the weights.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 320
"""Side of the squares such tools give the network, in pixels."""

INSIDE, OUT = 16, 64
DILATIONS_4F = (1, 2, 4, 8)


class Unit(nn.Sequential):
    """Convolution 3x3, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class ResidualU(nn.Module):
    """RSU-L: a U-Net of L levels, added to its input convolution; the lowest level dilates instead of halving."""

    def __init__(self, levels: int, inputs: int) -> None:
        super().__init__()
        self.enter = Unit(inputs, OUT)
        self.down = nn.ModuleList(Unit(OUT if level == 0 else INSIDE, INSIDE) for level in range(levels - 1))
        self.bottom = Unit(INSIDE, INSIDE, dilation=2)
        self.up = nn.ModuleList(
            Unit(2 * INSIDE, OUT if level == 0 else INSIDE) for level in reversed(range(levels - 1))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 64, h, w)."""
        entered = self.enter(maps)
        levels = [self.down[0](entered)]
        for unit in self.down[1:]:
            levels.append(unit(halve(levels[-1])))
        maps = self.bottom(levels[-1])
        for unit, level in zip(self.up, reversed(levels), strict=True):
            maps = unit(torch.cat([fit(maps, level), level], dim=1))
        return maps + entered


class ResidualDilated(nn.Module):
    """RSU-4F: the same at one size, with dilations 1, 2, 4, 8 in place of levels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.enter = Unit(inputs, OUT)
        self.down = nn.ModuleList(
            Unit(OUT if dilation == 1 else INSIDE, INSIDE, dilation) for dilation in DILATIONS_4F
        )
        self.up = nn.ModuleList(
            Unit(2 * INSIDE, OUT if dilation == 1 else INSIDE, dilation) for dilation in (4, 2, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 64, h, w)."""
        entered = self.enter(maps)
        levels = [self.down[0](entered)]
        for unit in self.down[1:]:
            levels.append(unit(levels[-1]))
        maps = levels.pop()
        for unit, level in zip(self.up, reversed(levels), strict=True):
            maps = unit(torch.cat([maps, level], dim=1))
        return maps + entered


class U2NetP(nn.Module):
    """Photos (B, 3, H, W) float32, normalised -> prob (B, 1, H, W), the fusion of the six side maps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            [
                ResidualU(7, 3),
                *(ResidualU(levels, OUT) for levels in (6, 5, 4)),
                ResidualDilated(OUT),
                ResidualDilated(OUT),
            ]
        )
        self.decoder = nn.ModuleList(
            [ResidualDilated(2 * OUT), *(ResidualU(levels, 2 * OUT) for levels in (4, 5, 6, 7))]
        )
        self.sides = nn.ModuleList(nn.Conv2d(OUT, 1, 3, padding=1) for _ in range(6))
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, photos: Tensor) -> Tensor:
        """See the class."""
        stages = [self.encoder[0](photos)]
        for stage in self.encoder[1:]:
            stages.append(stage(halve(stages[-1])))
        decoded = [stages.pop()]
        for stage, level in zip(self.decoder, reversed(stages), strict=True):
            decoded.append(stage(torch.cat([fit(decoded[-1], level), level], dim=1)))
        maps = [fit(side(maps), photos) for side, maps in zip(self.sides, decoded, strict=True)]
        return torch.sigmoid(self.fuse(torch.cat(maps, dim=1)))


def halve(maps: Tensor) -> Tensor:
    """Maximum of 2x2, sizes rounded up."""
    return functional.max_pool2d(maps, 2, ceil_mode=True)


def fit(maps: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the height and width of `like`."""
    return functional.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def write_u2netp(path: Path) -> None:
    """Write it as ONNX: `photos` (1, 3, 320, 320) float32 -> `prob` (1, 1, 320, 320) float32."""
    torch.manual_seed(0)
    example = torch.zeros(1, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            U2NetP().eval(),
            (example,),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["photos"],
            output_names=["prob"],
        )


if __name__ == "__main__":
    print(sum(parameter.numel() for parameter in U2NetP().parameters()), "parameters")
