"""Where a pixel lies in the permutohedral lattice: the simplex around it and its barycentric coordinates.

Works on runs of up to `BLOCK` pixels, one row of a (6, BLOCK) buffer per lattice coordinate, because the
compiler turns loops of fixed length over such rows into vector instructions.
"""

import numpy as np
from numpy.typing import NDArray

from act2sal.runtime.compiled import compiled

CORNERS = 6
BLOCK = 64

HALF = np.float32(1 / 2)
ONE = np.float32(1)
SIX = np.float32(CORNERS)
SIXTH = np.float32(1 / CORNERS)


@compiled
def elevate(
    colours: NDArray[np.uint8], y: int, x: int, scales: NDArray[np.float32], elevated: NDArray[np.float32]
) -> None:
    """Map a run of pixels onto the hyperplane of R^6 whose coordinates sum to zero.

    colours: (n, 3) uint8, n <= BLOCK, from (y, x) on; scales: (5,) float32; elevated: (6, BLOCK) float32,
    written. The basis is triangular: coordinate j is the sum of the features from j on, less j times feature
    j - 1.
    """
    row = scales[1] * np.float32(y)
    for i in range(colours.shape[0]):
        above = scales[4] * np.float32(colours[i, 2])
        elevated[5, i] = np.float32(-5) * above
        feature = scales[3] * np.float32(colours[i, 1])
        elevated[4, i] = above - np.float32(4) * feature
        above += feature
        feature = scales[2] * np.float32(colours[i, 0])
        elevated[3, i] = above - np.float32(3) * feature
        above += feature
        elevated[2, i] = above - np.float32(2) * row
        above += row
        feature = scales[0] * np.float32(x + i)
        elevated[1, i] = above - feature
        elevated[0, i] = above + feature


@compiled
def round_to_lattice(
    residual: NDArray[np.float32],
    nearest: NDArray[np.int32],
    rank: NDArray[np.int32],
    excess: NDArray[np.int32],
) -> None:
    """Find the lattice point of remainder 0 next to each elevated point and rank the residuals from the largest.

    residual: (6, BLOCK) float32, the elevated points, less the lattice points afterwards; nearest: (6,
    BLOCK) int32, a sixth of the lattice points, written; rank: (6, BLOCK) int32 in 0..5, written; excess:
    (BLOCK,) int32, scratch.
    """
    for i in range(BLOCK):
        excess[i] = 0
    for j in range(CORNERS):
        for i in range(BLOCK):
            sixths = np.floor(residual[j, i] * SIXTH + HALF)
            residual[j, i] -= sixths * SIX
            nearest[j, i] = np.int32(sixths)
            excess[i] += np.int32(sixths)
            rank[j, i] = 0
    for a in range(CORNERS - 1):
        for b in range(a + 1, CORNERS):
            for i in range(BLOCK):
                less = np.int32(residual[a, i] < residual[b, i])
                rank[a, i] += less
                rank[b, i] += np.int32(1) - less
    # Rounding alone leaves the plane by `excess` steps: the coordinates rounded furthest go back by one step.
    for j in range(CORNERS):
        for i in range(BLOCK):
            moved = rank[j, i] + excess[i]
            step = np.int32(moved < 0) - np.int32(moved >= CORNERS)
            rank[j, i] = moved + step * np.int32(CORNERS)
            nearest[j, i] += step
            residual[j, i] -= np.float32(step) * SIX


@compiled
def sort_by_rank(
    residual: NDArray[np.float32],
    rank: NDArray[np.int32],
    ordered: NDArray[np.float32],
    axis: NDArray[np.int32],
) -> None:
    """ordered, axis: (6, BLOCK), written: the residual of each rank, and the coordinate that holds it."""
    for j in range(CORNERS):
        for i in range(BLOCK):
            ordered[rank[j, i], i] = residual[j, i]
            axis[rank[j, i], i] = j


@compiled
def weigh(ordered: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """weights: (n, 6) float32, n <= BLOCK, written: barycentric coordinates of each pixel; they sum to one."""
    for i in range(weights.shape[0]):
        weights[i, 0] = ONE + (ordered[5, i] - ordered[0, i]) * SIXTH
        for k in range(1, CORNERS):
            weights[i, k] = (ordered[5 - k, i] - ordered[6 - k, i]) * SIXTH
