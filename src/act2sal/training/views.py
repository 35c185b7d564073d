"""Augmentation of stage 2: random windows and colours of the photos."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.resampling import resize

ANTIALIASED = 1.5
"""Windows larger than the view by more than this factor are smoothed before they are shrunk."""

LEAST_FOREGROUND = 0.5
"""Share of a label's foreground that a window has to show; otherwise the whole photo is shown."""


def draw_windows(
    labels: NDArray[np.uint8], least: float, generator: torch.Generator
) -> list[tuple[int, int, int, int]]:
    """A random window of each photo, with a height and a width of at least the share `least` of its sides.

    Args:
        labels: (B, S, S) uint8.
        least: in (0, 1]; 1: the whole photos.
        generator: of the CPU.

    Returns:
        Top, left, height and width of B windows, in pixels.
    """
    side = labels.shape[-1]
    draws = torch.rand((len(labels), 4), generator=generator)
    windows = []
    for label, (tall, wide, down, right) in zip(labels, draws.tolist(), strict=True):
        height, width = (max(1, round(side * (least + (1 - least) * share))) for share in (tall, wide))
        top, left = int(down * (side - height + 1)), int(right * (side - width + 1))
        shown = label[top : top + height, left : left + width].sum()
        whole = bool(shown < LEAST_FOREGROUND * label.sum())
        windows.append((0, 0, side, side) if whole else (top, left, height, width))
    return windows


def look_through(maps: Tensor, windows: Sequence[tuple[int, int, int, int]], side: int) -> Tensor:
    """Cut out the windows and resize them: (B, C, S, S) float -> (B, C, side, side) float."""
    shown = [
        torch.nn.functional.interpolate(
            one[None, :, top : top + height, left : left + width],
            (side, side),
            mode="bilinear",
            align_corners=False,
            antialias=max(height, width) > ANTIALIASED * side,
        )
        for one, (top, left, height, width) in zip(maps, windows, strict=True)
    ]
    return torch.cat(shown)


def put_back(maps: Tensor, shown: Tensor, windows: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """Resize views (B, C, s, s) to their windows and put them into the maps: (B, C, S, S) -> (B, C, S, S)."""
    result = maps.clone()
    for one, view, (top, left, height, width) in zip(result, shown, windows, strict=True):
        one[:, top : top + height, left : left + width] = resize(view[None], (height, width))[0]
    return result


def draw_colours(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Changes of saturation, contrast and brightness of `count` photos: (3, count, 1, 1, 1) in +-strength.

    Args:
        count: of the photos.
        strength: in [0, 1].
        generator: of the CPU.
    """
    return (2 * torch.rand((3, count, 1, 1, 1), generator=generator) - 1) * strength


def change_colours(photos: Tensor, draws: Tensor) -> Tensor:
    """Change saturation, contrast and brightness of each photo.

    Saturation and contrast are multiplied by 1 plus their draw; half of its draw is added to the brightness.

    Args:
        photos: (B, 3, H, W) float32 in [0, 1].
        draws: from `draw_colours`, on the same device.

    Returns:
        (B, 3, H, W) float32 in [0, 1].
    """
    contrast, colour = 1 + draws[1], (1 + draws[0]) * (1 + draws[1])
    grey = photos.mean(dim=1, keepdim=True)
    level = grey.mean(dim=(2, 3), keepdim=True)
    # In one pass: colours about their grey by `colour`, greys about their level by `contrast`.
    return (photos * colour + (grey * (contrast - colour) + level * (1 - contrast) + draws[2] / 2)).clamp(
        0, 1
    )
