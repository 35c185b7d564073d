"""Counts how often each grey level of a map occurs in each part of its mask, which most measures are based on.

A map has 256 levels, so MAE, F, E, S and IoU follow from these counts exactly; the pixels are looked at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act2sal.runtime.compiled import compiled

LEVELS = 256
_QUADRANTS = 4


@dataclass(frozen=True)
class LevelCounts:
    """Level counts of a map over its mask.

    Attributes:
        counts: (4, 2, 256) int64, by quadrant around the centroid of the mask (left top, right top, left bottom,
            right bottom), by background or foreground, and by level.
        centre: row and column where the quadrants meet.
        shape: (H, W).
    """

    counts: NDArray[np.int64]
    centre: tuple[int, int]
    shape: tuple[int, int]

    @property
    def background(self) -> NDArray[np.int64]:
        """(256,) pixels of each level where the mask is background."""
        return self.counts[:, 0].sum(axis=0)

    @property
    def foreground(self) -> NDArray[np.int64]:
        """(256,) pixels of each level where the mask is foreground."""
        return self.counts[:, 1].sum(axis=0)

    @property
    def quadrants(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of the four quadrants; some may be empty."""
        row, column = self.centre
        above, below = slice(0, row), slice(row, self.shape[0])
        left, right = slice(0, column), slice(column, self.shape[1])
        return (above, left), (above, right), (below, left), (below, right)

    @property
    def pixels(self) -> int:
        """H x W."""
        return self.shape[0] * self.shape[1]


def count_levels(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> LevelCounts:
    """Count the levels of a map (H, W) uint8 over a mask (H, W) bool.

    The quadrants part behind the rounded centroid of the foreground (S-measure, Fan et al., 2017), those of a mask
    without foreground in its middle.
    """
    height, width = mask.shape
    area, rows, columns = _moments(mask)
    # Rounded half to even, as NumPy does
    centre = (round(rows / area), round(columns / area)) if area else (round(height / 2), round(width / 2))
    cut = (centre[0] + 1, centre[1] + 1)
    return LevelCounts(_counts(pixels, mask, *cut), cut, (height, width))


def stretched(counts: LevelCounts) -> NDArray[np.float64]:
    """Value in [0, 1] of each level after the map is stretched to its full range, (256,); others are meaningless.

    A constant map keeps its value. The arithmetic is py-sod-metrics' own, step by step, so that thresholds agree.
    """
    values = np.arange(LEVELS) / 255
    present = np.flatnonzero(counts.counts.any(axis=(0, 1)))
    low, high = values[present[0]], values[present[-1]]
    return (values - low) / (high - low) if high != low else values


@compiled
def _moments(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Foreground pixels, and the sums of their rows and columns."""
    area, rows, columns = 0, 0, 0
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column]:
                area += 1
                rows += row
                columns += column
    return area, rows, columns


@compiled
def _counts(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], cut_row: int, cut_column: int
) -> NDArray[np.int64]:
    counts = np.zeros((_QUADRANTS, 2, LEVELS), np.int64)
    for row in range(mask.shape[0]):
        below = 2 if row >= cut_row else 0
        for column in range(mask.shape[1]):
            quadrant = below + (1 if column >= cut_column else 0)
            counts[quadrant, 1 if mask[row, column] else 0, pixels[row, column]] += 1
    return counts
