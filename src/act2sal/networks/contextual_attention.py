"""Pixel-wise contextual attention of PiCANet: each pixel weighs the whole map, or its neighbourhood, by itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional

GRID_STEP = 3
GRID_SAMPLES = 10
"""Of each axis; what global attention looks at is a grid of 10 x 10 samples, three rows or columns apart."""
GLOBAL_SIDE = GRID_STEP * (GRID_SAMPLES - 1) + 1
"""The side of the only maps, 28 x 28, on which that grid ends at the border."""
RECURRENT_CHANNELS = 256
WINDOW = 7
WINDOW_DILATION = 2
WINDOW_CHANNELS = 128
FORGET_BIAS = 1.0
RECURRENT_RANGE = 0.2


class GlobalAttention(nn.Module):
    """Each pixel of a map of 28 x 28 weighs a fixed grid of samples; recurrent layers tell it what is elsewhere.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.vertical = _recurrent(channels)
        self.horizontal = _recurrent(2 * RECURRENT_CHANNELS)
        self.weigh = _weights_of_samples(2 * RECURRENT_CHANNELS, GRID_SAMPLES**2)

    def forward(self, maps: Tensor) -> Tensor:
        """Attend to maps (B, C, 28, 28) float32; the shape of the result is the same."""
        context = _along_rows(self.vertical, maps.transpose(2, 3)).transpose(2, 3)
        weights = self.weigh(_along_rows(self.horizontal, context)).flatten(2)
        samples = maps[:, :, ::GRID_STEP, ::GRID_STEP].flatten(2)
        return (samples @ weights).view_as(maps)


class LocalAttention(nn.Module):
    """Each pixel weighs the 7 x 7 pixels around it, two apart; what lies outside the map is zero.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        margin = WINDOW // 2 * WINDOW_DILATION
        look = nn.Conv2d(channels, WINDOW_CHANNELS, WINDOW, padding=margin, dilation=WINDOW_DILATION)
        self.look = nn.Sequential(narrow_normal(look), nn.ReLU())
        self.weigh = _weights_of_samples(WINDOW_CHANNELS, WINDOW**2)

    def forward(self, maps: Tensor) -> Tensor:
        """Attend to maps (B, C, h, w) float32; the shape of the result is the same."""
        return weighted_neighbourhood(maps, self.weigh(self.look(maps)))


def weighted_neighbourhood(maps: Tensor, weights: Tensor) -> Tensor:
    """Sum up the pixels of a window around each pixel, with weights of its own.

    Goes through the window pixel by pixel: all windows side by side (`functional.unfold`) would take 49 times
    the memory of the map.

    Args:
        maps: (B, C, h, w) float32, taken to be zero outside.
        weights: (B, 49, h, w) float32, the window's rows one after the other.

    Returns:
        (B, C, h, w) float32.
    """
    height, width = maps.shape[-2:]
    margin = WINDOW // 2 * WINDOW_DILATION
    padded = functional.pad(maps, (margin, margin, margin, margin))
    attended = torch.zeros_like(maps)
    for place in range(WINDOW**2):
        top, left = (WINDOW_DILATION * steps for steps in divmod(place, WINDOW))
        neighbours = padded[:, :, top : top + height, left : left + width]
        attended = torch.addcmul(attended, neighbours, weights[:, place : place + 1])
    return attended


def _weights_of_samples(channels: int, count: int) -> nn.Sequential:
    """Build what gives each pixel `count` weights that sum to 1."""
    return nn.Sequential(
        narrow_normal(nn.Conv2d(channels, count, 1)), nn.BatchNorm2d(count), nn.Softmax(dim=1)
    )


def narrow_normal(convolution: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution as all of PiCANet's decoder: normal with a deviation of .01, biases 0."""
    nn.init.normal_(convolution.weight, std=0.01)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def _recurrent(channels: int) -> nn.LSTM:
    """Build a bidirectional LSTM whose biases are the weights of one more input, a constant 1.

    The published one has one bias for each gate, that of PyTorch two.
    """
    layer = nn.LSTM(channels + 1, RECURRENT_CHANNELS, bias=False, batch_first=True, bidirectional=True)
    for name, weight in layer.named_parameters():
        nn.init.uniform_(weight, -RECURRENT_RANGE, RECURRENT_RANGE)
        if "_ih_" in name:
            nn.init.zeros_(weight[:, -1])
            nn.init.constant_(weight[RECURRENT_CHANNELS : 2 * RECURRENT_CHANNELS, -1], FORGET_BIAS)
    return layer


def _along_rows(recurrent: nn.LSTM, maps: Tensor) -> Tensor:
    """Read each row of maps (B, C, h, w) in both directions: (B, 512, h, w) float32."""
    height, width = maps.shape[-2:]
    pixels = functional.pad(maps.permute(0, 2, 3, 1), (0, 1), value=1.0)
    read, _ = recurrent(pixels.reshape(-1, width, pixels.shape[-1]))
    return read.reshape(-1, height, width, read.shape[-1]).permute(0, 3, 1, 2)
