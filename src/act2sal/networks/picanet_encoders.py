"""The encoders of PiCANet: those of its authors, made of a ResNet-50 or a VGG-16, or any other one."""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from act2sal.a2s.resampling import resize
from act2sal.networks.encoders import Encoder

DEEPEST_STRIDE = 8
DILATIONS = (2, 4)
"""Of the last two layers of the ResNet, whose strides are left out."""
ADDED_CHANNELS = 1024
ADDED_DILATION = 12
"""Of the layer behind the VGG, which the fully connected ones of its classifier became."""
DROPOUT = 0.5


class CaffeResNet(nn.Module):
    """A ResNet-50 as its authors made it for Caffe, whose last layers keep the size of the one before them.

    In difference to PyTorch's, the stem has a bias, its pool rounds up, and strides are in the first 1x1 convolution
    of a block. Weights made for PyTorch's fit, but find one of their strides, that of layer 2, two convolutions
    early. The statistics of BatchNorms do not change in training.

    Args:
        body: timm's pyramid, whose layers are taken and changed.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        layers = cast(Any, body)
        stem = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        stem.weight = layers.conv1.weight
        nn.init.zeros_(cast(Tensor, stem.bias))
        self.stem = nn.Sequential(stem, layers.bn1, nn.ReLU())
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.layers = nn.ModuleList([layers.layer1, layers.layer2, layers.layer3, layers.layer4])
        _stride_at_the_start(layers.layer2[0], 2)
        for layer, dilation in zip(self.layers[2:], DILATIONS, strict=True):
            _stride_at_the_start(cast(Any, layer)[0], 1)
            for block in cast(Any, layer):
                block.conv2.dilation = block.conv2.padding = (dilation, dilation)

    def train(self, mode: bool = True) -> "CaffeResNet":
        """Set the mode of everything but the BatchNorms, which stay in eval mode; their scales and shifts learn."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> levels of strides 2, 4, 8, 8, 8."""
        levels = [self.stem(photos)]
        maps = self.pool(levels[0])
        for layer in self.layers:
            maps = layer(maps)
            levels.append(maps)
        return levels


class DeepLabVGG(nn.Module):
    """A VGG-16 in the form that DeepLab gave it: overlapping pools, the last two without a stride, and a sixth level.

    The first five levels are those before the last ReLU, each with BatchNorm and ReLU of its own.

    Args:
        body: timm's pyramid, whose convolutions are taken and changed.
        channels: of its five levels.
    """

    def __init__(self, body: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        convolutions = [layer for layer in body.modules() if isinstance(layer, nn.Conv2d)]
        self.stages = nn.ModuleList()
        for stage in (2, 2, 3, 3, 3):
            taken, convolutions = convolutions[:stage], convolutions[stage:]
            self.stages.append(nn.ModuleList(taken))
        for convolution in cast(Any, self.stages[-1]):
            convolution.dilation = convolution.padding = (2, 2)
        self.norms = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()) for width in channels)
        self.pools = nn.ModuleList(
            [nn.MaxPool2d(3, stride=2, ceil_mode=True) for _ in range(3)]
            + [nn.MaxPool2d(3, stride=1, padding=1) for _ in range(2)]
        )
        self.added = nn.Sequential(
            nn.Conv2d(channels[-1], ADDED_CHANNELS, 3, padding=ADDED_DILATION, dilation=ADDED_DILATION),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Conv2d(ADDED_CHANNELS, ADDED_CHANNELS, 1),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
        )

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> levels of strides 1, 2, 4, 8, 8, 8."""
        levels = []
        maps = photos
        for stage, norm, pool in zip(self.stages, self.norms, self.pools, strict=True):
            for convolution in cast(nn.ModuleList, stage):
                maps = functional.relu(before := convolution(maps))
            levels.append(norm(before))
            maps = pool(maps)
        return [*levels, self.added(maps)]


class EnlargedLevels(nn.Module):
    """The levels of any encoder, the deep ones enlarged to a stride of 8.

    Args:
        body: a pyramid.
        strides: of its levels.
    """

    def __init__(self, body: nn.Module, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.last_fine = max(i for i, stride in enumerate(strides) if stride <= DEEPEST_STRIDE)

    def forward(self, photos: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) float32 -> levels, finest first."""
        levels: list[Tensor] = list(self.body(photos))
        size = levels[self.last_fine].shape[-2:]
        deep = levels[self.last_fine + 1 :]
        enlarged = [resize(level, size) for level in deep]
        return [*levels[: self.last_fine + 1], *enlarged]


def at_most_stride_8(encoder: Encoder) -> Encoder:
    """Turn an encoder into one whose deep levels all have a stride of 8, with its weights.

    Args:
        encoder: a ResNet-50 or a VGG-16 becomes what PiCANet's authors took; of any other one, deep levels
            are enlarged.
    """
    name = encoder.name.partition(".")[0]
    channels = encoder.channels
    strides = tuple(min(stride, DEEPEST_STRIDE) for stride in encoder.strides)
    if name == "resnet50":
        body: nn.Module = CaffeResNet(encoder.body)
    elif name == "vgg16" and encoder.strides[0] == 1:
        body = DeepLabVGG(encoder.body, channels)
        channels, strides = (*channels, ADDED_CHANNELS), (*strides, DEEPEST_STRIDE)
    else:
        body = EnlargedLevels(encoder.body, encoder.strides)
    return Encoder(body=body, channels=channels, spec=encoder.spec, strides=strides)


def _stride_at_the_start(block: Any, stride: int) -> None:
    """Move the stride of the first block of a layer to its first convolution and its shortcut."""
    block.conv1.stride = block.downsample[0].stride = (stride, stride)
    block.conv2.stride = (1, 1)
