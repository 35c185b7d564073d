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
    return [part.box for part in connected(prob > threshold)[1]]


class Part(NamedTuple):
    """A connected region: its number among the labels, its box, and how many pixels it has."""

    label: int
    box: Box
    pixels: int


def connected(salient: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[Part]]:
    """The connected regions of (H, W) bool: for each pixel the number of its own, (H, W) int32; the largest first."""
    _, labels, rows, _ = cv2.connectedComponentsWithStats(salient.astype(np.uint8), connectivity=8)
    regions = sorted(enumerate(rows[1:].tolist(), 1), key=lambda one: (-one[1][cv2.CC_STAT_AREA], one[1][:4]))
    parts = [Part(label, Box(*row[:4]), row[cv2.CC_STAT_AREA]) for label, row in regions]
    return np.asarray(labels, np.int32), parts


def area_of(prob: NDArray[np.float32], threshold: float = THRESHOLD) -> float:
    """Share of the pixels above a threshold, in [0, 1]; `prob` as in `boxes_of`."""
    return float(np.mean(prob > threshold))
