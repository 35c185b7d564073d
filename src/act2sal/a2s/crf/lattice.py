"""Permutohedral lattice (Adams, Baek and Davis, 2010): Gaussian filtering over position and colour.

A pixel's features (x, y, r, g, b), divided by the standard deviations of the kernel, are mapped onto the
hyperplane of R^6 whose coordinates sum to zero. The lattice there has the integer points whose coordinates
agree modulo 6. Values are spread to the six corners of the simplex around each pixel with barycentric
weights, blurred along the six lattice directions with (1/2, 1, 1/2), and read back with the same weights.
Only vertices that some pixel touches exist; a blur past them finds 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act2sal.a2s.crf.simplex import BLOCK, CORNERS, elevate, round_to_lattice, sort_by_rank, weigh
from act2sal.runtime.compiled import compiled

FEATURES = CORNERS - 1
NONE = np.uint32(0xFFFFFFFF)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LOW = np.uint64(0xFFFFFFFF)
FIRST_BITS = 10
GROWTH_BITS = 2
MARGIN = 5  # steps from an elevated point to the corners of its simplex and their neighbours, rounded up
LARGEST_FIRST_BITS = 20
RECENT_BITS = 13


class Lattice(NamedTuple):
    """The lattice of one image.

    Pixels come in vertical strips of BLOCK columns, each from top to bottom, and vertices by their key, that
    is by position and then by colour: what is used together lies together in images of any size.
    corners: (N, 6) uint32, the vertices around each pixel; weights: (N, 6) float32, barycentric in [0, 1];
    neighbours: (6, M, 2) uint32, the vertices on both sides of each vertex along each direction, M where none
    is. Unsigned, because an index that may be negative costs the kernels a test at each use.
    """

    corners: NDArray[np.uint32]
    weights: NDArray[np.float32]
    neighbours: NDArray[np.uint32]


def build_lattice(photo: NDArray[np.uint8], *, sxy: float, srgb: float) -> Lattice:
    """Place the pixels of a photo in the lattice.

    Args:
        photo: (H, W, 3) uint8.
        sxy: standard deviation over position, in pixels.
        srgb: standard deviation over colour, in 8-bit levels.

    Raises:
        ValueError: the kernel is so narrow that its lattice has more points than 63 bits can number.
    """
    height, width, _ = photo.shape
    scales = feature_scales(sxy, srgb)
    steps, origin = key_layout(scales * np.array([width - 1, height - 1, 255, 255, 255]))
    corners = np.empty((height * width, CORNERS), np.uint32)
    weights = np.empty((height * width, CORNERS), np.float32)
    keys = _place_all(photo, scales.astype(np.float32), steps, origin, corners, weights)
    order = np.argsort(keys)
    _renumber(corners, order)
    neighbours = np.full((CORNERS, keys.size, 2), keys.size, np.uint32)
    _connect(keys[order], np.abs(steps), neighbours)
    return Lattice(corners, weights, neighbours)


def _place_all(
    photo: NDArray[np.uint8],
    scales: NDArray[np.float32],
    steps: NDArray[np.int64],
    origin: int,
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Write corners and weights of all pixels; return the keys of the vertices, (M,) int64, as they were met.

    The table grows where `_place` runs out of room. It is allocated here, not in the kernel, because NumPy
    asks the system for large memory pages.
    """
    height, width, _ = photo.shape
    bits = min(max((height * width - 1).bit_length(), FIRST_BITS), LARGEST_FIRST_BITS)
    keys = np.empty(0, np.int64)
    count = strip = row = 0
    while strip < width:
        keys = np.concatenate([keys[:count], np.empty((1 << bits >> 1) - count, np.int64)])
        table = np.full((1 << bits, 2), NONE, np.uint32)
        _hash_all(keys[:count], table)
        count, strip, row = _place(
            photo, scales, steps, origin, keys, table, count, strip, row, corners, weights
        )
        bits += GROWTH_BITS
    return keys[:count]


def feature_scales(sxy: float, srgb: float) -> NDArray[np.float64]:
    """Factor from pixels and 8-bit levels to lattice units for each feature: (5,) float64.

    Spreading, blurring and reading have the variance 2/3 * 6^2 together; the triangular basis of the
    hyperplane has vectors of length sqrt((j + 1) (j + 2)).
    """
    deviations = np.array([sxy, sxy, srgb, srgb, srgb], dtype=np.float64)
    j = np.arange(FEATURES)
    return np.sqrt(2.0 / 3.0) * CORNERS / np.sqrt((j + 1.0) * (j + 2.0)) / deviations


def key_layout(extent: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """How lattice points are numbered: what a step in each direction adds to a key, (6,) int64, and an offset.

    The differences of successive coordinates of a lattice point are multiples of 6. A sixth of each is a
    digit of the key, those of the two that depend on the position alone first. A step along direction j adds
    1 to all coordinates and takes 6 from coordinate j, so it adds a constant to the key, and the key of the
    point 6 c is the offset less c . steps. extent: (5,) float64, the largest value of each scaled feature
    (the smallest is 0).
    """
    lowest, highest = key_digits(extent)
    strides = [1]
    for length in (highest - lowest + 1)[::-1]:
        strides.append(strides[-1] * int(length))
    if strides[-1] >= 2**63:
        raise ValueError("the bilateral kernel is too narrow for a photo of this size: raise sxy or srgb")
    digits = np.array(strides[FEATURES - 1 :: -1], dtype=np.int64)
    steps = -np.diff(np.concatenate([[0], digits, [0]]))
    return steps, -int(lowest @ digits)


def key_digits(extent: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest and largest value of each digit of a key, (5,) int64 each.

    A digit is ((j + 2) f_j - j f_{j-1}) / 6; a margin is added on both sides.
    """
    j = np.arange(FEATURES)
    lowest = -np.floor(j * np.roll(extent, 1) / CORNERS).astype(np.int64) - MARGIN
    return lowest, np.ceil((j + 2) * extent / CORNERS).astype(np.int64) + MARGIN


@compiled
def _find(
    key: int, keys: NDArray[np.int64], table: NDArray[np.uint32]
) -> tuple[np.uint32, np.int64, np.uint32]:
    """Vertex of a key or NONE, with the place and the tag under which the table has it or would have it.

    Multiplicative hashing with linear probing. table: (2^b, 2) uint32: 32 bits of the hash, and the vertex.
    """
    mixed = np.uint64(key) * GOLDEN
    mask = np.int64(table.shape[0] - 1)
    tag = np.uint32(mixed & LOW)
    slot = np.int64(mixed >> np.uint64(32)) & mask
    vertex = table[slot, 1]
    while vertex != NONE and not (table[slot, 0] == tag and keys[vertex] == key):
        slot = (slot + 1) & mask
        vertex = table[slot, 1]
    return vertex, slot, tag


@compiled
def _hash_all(keys: NDArray[np.int64], table: NDArray[np.uint32]) -> None:
    """Enter all keys into an empty table."""
    for vertex in range(keys.size):
        _, slot, tag = _find(keys[vertex], keys, table)
        table[slot, 0] = tag
        table[slot, 1] = vertex


@compiled
def _place(
    photo: NDArray[np.uint8],
    scales: NDArray[np.float32],
    steps: NDArray[np.int64],
    origin: int,
    keys: NDArray[np.int64],
    table: NDArray[np.uint32],
    count: int,
    strip: int,
    row: int,
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> tuple[int, int, int]:
    """Write corners and weights of the pixels from line `row` of the strip that begins at column `strip` on.

    Returns the number of vertices, and the strip and row where `keys` had no room left; (count, >= W, 0) at
    the end.
    """
    height, width, _ = photo.shape
    residual = np.zeros((CORNERS, BLOCK), np.float32)
    ordered = np.zeros((CORNERS, BLOCK), np.float32)
    nearest = np.zeros((CORNERS, BLOCK), np.int32)
    rank = np.zeros((CORNERS, BLOCK), np.int32)
    axis = np.zeros((CORNERS, BLOCK), np.int32)
    excess = np.zeros(BLOCK, np.int32)
    codes = np.zeros((BLOCK, 2), np.int64)
    recent = np.full((1 << RECENT_BITS, 3), -1, np.int64)
    while strip < width:
        n = min(BLOCK, width - strip)
        while row < height:
            if count + BLOCK * CORNERS > keys.size:
                return count, strip, row
            first = strip * height + row * n
            elevate(photo[row, strip : strip + n], row, strip, scales, residual)
            round_to_lattice(residual, nearest, rank, excess)
            sort_by_rank(residual, rank, ordered, axis)
            weigh(ordered, weights[first : first + n])
            _encode(nearest, axis, steps, origin, codes)
            count = _find_corners(first, codes[:n], axis, steps, recent, keys, table, count, corners)
            row += 1
        strip += BLOCK
        row = 0
    return count, strip, row


@compiled
def _encode(
    nearest: NDArray[np.int32],
    axis: NDArray[np.int32],
    steps: NDArray[np.int64],
    origin: int,
    codes: NDArray[np.int64],
) -> None:
    """codes: (BLOCK, 2) int64, written: the key of corner 0 of each pixel, and the order of its coordinates."""
    for i in range(BLOCK):
        key = np.int64(origin)
        order = np.int64(0)
        for j in range(CORNERS):
            key -= nearest[j, i] * steps[j]
            order = order * 8 + axis[j, i]
        codes[i, 0] = key
        codes[i, 1] = order


@compiled
def _find_corners(
    start: int,
    codes: NDArray[np.int64],
    axis: NDArray[np.int32],
    steps: NDArray[np.int64],
    recent: NDArray[np.int64],
    keys: NDArray[np.int64],
    table: NDArray[np.uint32],
    count: int,
    corners: NDArray[np.uint32],
) -> int:
    """Write the corners of the pixels from `start` on, number new ones, and return the number of vertices.

    Pixels of one simplex share its corners: recent, (2^b, 3) int64, remembers the codes and a pixel of
    simplices met lately.
    """
    for i in range(codes.shape[0]):
        key = codes[i, 0]
        order = codes[i, 1]
        seen = recent[np.int64(((np.uint64(key) + np.uint64(order)) * GOLDEN) >> np.uint64(64 - RECENT_BITS))]
        if seen[0] == key and seen[1] == order:
            for k in range(CORNERS):
                corners[start + i, k] = corners[seen[2], k]
            continue
        seen[0] = key
        seen[1] = order
        seen[2] = start + i
        for k in range(CORNERS):
            if k > 0:
                key += steps[axis[CORNERS - k, i]]
            vertex, slot, tag = _find(key, keys, table)
            if vertex == NONE:
                vertex = np.uint32(count)
                table[slot, 0] = tag
                table[slot, 1] = vertex
                keys[count] = key
                count += 1
            corners[start + i, k] = vertex
    return count


@compiled
def _renumber(corners: NDArray[np.uint32], order: NDArray[np.int64]) -> None:
    """Replace each vertex in corners by its place in `order`."""
    place = np.empty(order.size, np.uint32)
    for new in range(order.size):
        place[order[new]] = new
    for pixel in range(corners.shape[0]):
        for k in range(CORNERS):
            corners[pixel, k] = place[corners[pixel, k]]


@compiled
def _connect(keys: NDArray[np.int64], steps: NDArray[np.int64], neighbours: NDArray[np.uint32]) -> None:
    """Enter the vertices one step below and above each vertex.

    keys: (M,) int64, ascending; steps: (6,), positive.
    """
    for direction in range(CORNERS):
        above = 0
        for vertex in range(keys.size):
            key = keys[vertex] + steps[direction]
            while above < keys.size and keys[above] < key:
                above += 1
            if above == keys.size:
                break
            if keys[above] == key:
                neighbours[direction, vertex, 1] = above
                neighbours[direction, above, 0] = vertex
