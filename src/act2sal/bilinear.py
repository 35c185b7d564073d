"""Bilinear resizing of feature maps as two products with narrow matrices, which an autocast computes in bfloat16."""

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
    """(resized, length) float32: the share of each sample in each of the resized line."""
    with torch.inference_mode(False), torch.no_grad():
        line = torch.eye(length)[None]
        lines = functional.interpolate(line, resized, mode="linear", align_corners=False)
        return lines[0].T.contiguous().to(device)
