"""Batches of photos on the computing device."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PhotoSource = Sequence[NDArray[np.uint8]]
"""Square photos of one size by index, (S, S, 3) uint8 RGB each: a `PhotoBank` or a list."""


def stack(photos: PhotoSource, indices: Sequence[int]) -> NDArray[np.uint8]:
    """The photos of these indices as (B, S, S, 3) uint8 RGB."""
    return np.stack([photos[index] for index in indices])


def stack_mirrored(maps: Iterable[NDArray[np.uint8]], mirrored: Iterable[bool]) -> NDArray[np.uint8]:
    """B photos (H, W, 3) or maps (H, W) in one array, some of them mirrored left to right."""
    return np.stack([one[:, ::-1] if flag else one for one, flag in zip(maps, mirrored, strict=True)])


def to_batch(photos: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1] on `device`, channels last in memory."""
    levels = torch.as_tensor(photos).to(device, non_blocking=True)
    return unit_range(levels.permute(0, 3, 1, 2))


def unit_range(levels: Tensor) -> Tensor:
    """Scale uint8 levels 0..255 of any shape to float32 in [0, 1]."""
    return levels.float().div_(255)
