"""Resizing and flipping batches of maps."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) float -> (B, C, H, W) float, as `functional.interpolate` without aligned corners does it.

    Maps that have the size are returned as they are.
    """
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    rows, columns = _weights(height, size[0], maps.device), _weights(width, size[1], maps.device)
    return rows.to(maps.dtype) @ (maps @ columns.to(maps.dtype).T)


@lru_cache(maxsize=64)
def _weights(length: int, resized: int, device: torch.device) -> Tensor:
    """Weights of bilinear interpolation along one axis: (resized, length) float32."""
    with torch.inference_mode(False), torch.no_grad():
        line = torch.eye(length)[None]
        lines = functional.interpolate(line, resized, mode="linear", align_corners=False)
        return lines[0].T.contiguous().to(device)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize, corners not aligned: (B, C, h, w) float -> (B, C, *size); unchanged if it has that size."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def flip(maps: Tensor, flags: Tensor) -> Tensor:
    """Mirror some of a batch left to right; applying it twice changes nothing.

    Args:
        maps: (B, C, H, W), any dtype.
        flags: (B,) bool, the ones to mirror.
    """
    return torch.where(flags.view(-1, 1, 1, 1), maps.flip(-1), maps)
