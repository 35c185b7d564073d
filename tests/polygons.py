"""Polygons filled by the book, for tests."""

import numpy as np
from numpy.typing import NDArray


def filled(outline: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) whose middle lies within a closed polygon (N, 2), by the even-odd rule."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, np.bool_)
    for (x, y), (u, v) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        crossed = (y > rows) != (v > rows)
        if y != v:
            inside ^= crossed & (columns < x + (rows - y) * (u - x) / (v - y))
    return inside
