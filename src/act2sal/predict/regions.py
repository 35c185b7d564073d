"""Salient regions of a map: where they are, and how much of the photo they cover."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
"""Probability above which a pixel counts as salient."""


class Box(NamedTuple):
    """The smallest upright box around a region, in pixels; right = left + width is the first column beyond it."""

    left: int
    top: int
    width: int
    height: int


def boxes_of(prob: NDArray[np.float32], threshold: float = THRESHOLD) -> list[Box]:
    """Boxes of the connected regions above a threshold, that of the largest region first.

    Pixels that touch at a corner belong together.

    Args:
        prob: (H, W) float32 in [0, 1].
        threshold: in [0, 1].
    """
    salient = (prob > threshold).astype(np.uint8)
    _, _, rows, _ = cv2.connectedComponentsWithStats(salient, connectivity=8)
    regions = sorted(rows[1:].tolist(), key=lambda row: (-row[cv2.CC_STAT_AREA], row[:4]))
    return [Box(*row[:4]) for row in regions]


def area_of(prob: NDArray[np.float32], threshold: float = THRESHOLD) -> float:
    """Share of the pixels above a threshold, in [0, 1]; `prob` as in `boxes_of`."""
    return float(np.mean(prob > threshold))
