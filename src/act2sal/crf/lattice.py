"""Permutohedral lattice over position and colour (Adams, Baek and Davis, 2010): Gaussian filtering in five
dimensions.

A pixel's feature vector (x, y, r, g, b), divided by the standard deviations of the kernel, is mapped onto
the hyperplane
of R^6 whose coordinates sum to zero. The lattice there has the integer points whose coordinates agree
modulo 6; the six corners of the
simplex around a pixel are found by rounding and sorting. Values are spread to the corners with barycentric
weights, blurred
along the six lattice directions with (1/2, 1, 1/2), and read back with the same weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act2sal.crf.compiled import compiled

D = 5
EMPTY = -1
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Lattice(NamedTuple):
    """The lattice of one image, in the order in which its pixels first touch the vertices.

    corners: (N, 6) int32, the vertices of the simplex around each pixel; weights: (N, 6) float32
    barycentric in [0, 1];
    neighbours: (6, M, 2) int32, the vertices before and after each vertex along each direction, M where
    there is none.
    """

    corners: NDArray[np.int32]
    weights: NDArray[np.float32]
    neighbours: NDArray[np.int32]


def build_lattice(photo: NDArray[np.uint8], *, sxy: float, srgb: float) -> Lattice:
    """Place the pixels of a photo in the lattice.

    photo: (H, W, 3) uint8; sxy: standard deviation over position, in pixels; srgb: over colour, in grey
    levels.
    Raises ValueError where the kernel is so narrow that the lattice has more possible points than 63
    bits can number.
    """
    height, width, _ = photo.shape
    scales = _feature_scales(sxy, srgb)
    extent = scales * np.array([width - 1, height - 1, 255, 255, 255])
    strides, origin = _key_layout(extent)
    corners, weights, keys, table = _place_pixels(photo, scales.astype(np.float32), strides, origin)
    return Lattice(corners, weights, _find_neighbours(keys, table, _steps(strides)))


def _feature_scales(sxy: float, srgb: float) -> NDArray[np.float64]:
    """Factor from pixels and grey levels to lattice units for each feature: (5,) float64.

    The blur has the variance (2/3) (d+1)^2 in lattice units; the second factor makes the elevation an
    isometry.
    """
    deviations = np.array([sxy, sxy, srgb, srgb, srgb], dtype=np.float64)
    axis = np.arange(D)
    return np.sqrt(2.0 / 3.0) * (D + 1) / np.sqrt((axis + 1.0) * (axis + 2.0)) / deviations


def _key_layout(extent: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Strides and origin that number every lattice point, and every neighbour of one, without collision.

    extent: (5,) the largest value of each scaled feature (the smallest is 0). Coordinate j of the
    elevated point is the sum of
    the features from j on, less j times feature j - 1. The last coordinate follows from the others.
    """
    upper = np.array([extent[j:].sum() for j in range(D)])
    lower = np.array([-j * extent[j - 1] if j else 0.0 for j in range(D)])
    margin = 3 * (D + 1)
    origin = np.floor(lower).astype(np.int64) - margin
    span = np.ceil(upper).astype(np.int64) + margin - origin
    strides = [1]
    for length in span:
        strides.append(strides[-1] * int(length))
    if strides[-1] >= 2**63:
        raise ValueError("the bilateral kernel is too narrow for an image of this size: raise sxy or srgb")
    return np.array([*strides[:D], 0], dtype=np.int64), np.array([*origin, 0], dtype=np.int64)


def _steps(strides: NDArray[np.int64]) -> NDArray[np.int64]:
    """What one step along each lattice direction adds to a key: every coordinate + 1, coordinate j
    another - 6. (6,) int64."""
    return strides.sum() - (D + 1) * strides


@compiled
def _slot(key, mask):  # type: ignore[no-untyped-def]
    """First place to look for a key in a table of mask + 1 places (multiplicative hashing)."""
    return ((np.uint64(key) * GOLDEN) >> np.uint64(32)) & mask


@compiled
def _grown(keys, count, size):  # type: ignore[no-untyped-def]
    """A table of `size` places that holds the first `count` keys: (size, 2) int64 of key and vertex."""
    table = np.full((size, 2), EMPTY, np.int64)
    mask = np.uint64(size - 1)
    for vertex in range(count):
        slot = _slot(keys[vertex], mask)
        while table[slot, 1] != EMPTY:
            slot = (slot + np.uint64(1)) & mask
        table[slot, 0] = keys[vertex]
        table[slot, 1] = vertex
    return table


@compiled
def _place_pixels(photo, scales, strides, origin):  # type: ignore[no-untyped-def]
    height, width, _ = photo.shape
    n_pixels = height * width
    corners = np.empty((n_pixels, D + 1), np.int32)
    weights = np.empty((n_pixels, D + 1), np.float32)
    size = 1024
    while size < n_pixels:
        size *= 2
    keys = np.empty(size // 2, np.int64)
    table = np.full((size, 2), EMPTY, np.int64)
    mask = np.uint64(size - 1)
    count = 0
    all_strides = strides.sum()
    elevated = np.empty(D + 1, np.float32)
    nearest = np.empty(D + 1, np.int32)
    rank = np.empty(D + 1, np.int32)
    order = np.empty(D + 1, np.int64)
    residual = np.empty(D + 1, np.float32)
    pixel = 0
    for y in range(height):
        for x in range(width):
            f0 = scales[0] * np.float32(x)
            f1 = scales[1] * np.float32(y)
            f2 = scales[2] * np.float32(photo[y, x, 0])
            f3 = scales[3] * np.float32(photo[y, x, 1])
            f4 = scales[4] * np.float32(photo[y, x, 2])
            elevated[5] = np.float32(-5) * f4
            elevated[4] = f4 - np.float32(4) * f3
            elevated[3] = f4 + f3 - np.float32(3) * f2
            elevated[2] = f4 + f3 + f2 - np.float32(2) * f1
            elevated[1] = f4 + f3 + f2 + f1 - f0
            elevated[0] = f4 + f3 + f2 + f1 + f0
            excess = np.int32(0)
            for j in range(D + 1):
                rounded = np.int32(np.floor(elevated[j] * np.float32(1.0 / (D + 1)) + np.float32(0.5)))
                nearest[j] = rounded * np.int32(D + 1)
                residual[j] = elevated[j] - np.float32(nearest[j])
                excess += rounded
                rank[j] = 0
            for i in range(D):
                for j in range(i + 1, D + 1):
                    if residual[i] < residual[j]:
                        rank[i] += 1
                    else:
                        rank[j] += 1
            for j in range(D + 1):
                r = rank[j] + excess
                if r < 0:
                    r += D + 1
                    nearest[j] += D + 1
                elif r > D:
                    r -= D + 1
                    nearest[j] -= D + 1
                order[r] = j
            key = np.int64(0)
            for j in range(D):
                key += (nearest[j] - origin[j]) * strides[j]
            for j in range(D + 1):
                residual[j] = (elevated[j] - np.float32(nearest[j])) * np.float32(1.0 / (D + 1))
            weights[pixel, 0] = np.float32(1) + residual[order[D]] - residual[order[0]]
            for k in range(1, D + 1):
                weights[pixel, k] = residual[order[D - k]] - residual[order[D + 1 - k]]
            for k in range(D + 1):
                if k > 0:
                    key += all_strides - (D + 1) * strides[order[D + 1 - k]]
                slot = _slot(key, mask)
                while table[slot, 0] != key and table[slot, 1] != EMPTY:
                    slot = (slot + np.uint64(1)) & mask
                if table[slot, 1] == EMPTY:
                    table[slot, 0] = key
                    table[slot, 1] = count
                    keys[count] = key
                    count += 1
                corners[pixel, k] = table[slot, 1]
            pixel += 1
            if count + D + 1 > size // 2:
                size *= 2
                more = np.empty(size // 2, np.int64)
                more[:count] = keys[:count]
                keys = more
                table = _grown(keys, count, size)
                mask = np.uint64(size - 1)
    return corners, weights, keys[:count].copy(), table


@compiled
def _find_neighbours(keys, table, steps):  # type: ignore[no-untyped-def]
    count = keys.size
    mask = np.uint64(table.shape[0] - 1)
    neighbours = np.full((D + 1, count, 2), count, np.int32)
    for axis in range(D + 1):
        for vertex in range(count):
            key = keys[vertex] + steps[axis]
            slot = _slot(key, mask)
            while table[slot, 0] != key and table[slot, 1] != EMPTY:
                slot = (slot + np.uint64(1)) & mask
            found = table[slot, 1]
            if found != EMPTY:
                neighbours[axis, vertex, 1] = found
                neighbours[axis, found, 0] = vertex
    return neighbours
