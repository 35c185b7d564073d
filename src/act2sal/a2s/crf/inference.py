"""The two kernels of the fully connected CRF (Kraehenbuehl and Koltun, 2011), applied to a map.

Each kernel k is normalised from both sides, K = D^-1/2 k D^-1/2 with D the row sums of k; a pixel counts as
its own neighbour.
"""

import numpy as np
from numpy.typing import NDArray

from act2sal.a2s.crf.lattice import build_lattice
from act2sal.a2s.crf.simplex import BLOCK, CORNERS
from act2sal.runtime.compiled import compiled

REACH = 4.0  # the Gaussian is cut off at so many standard deviations, where it has fallen to 3e-4
TINY = np.float32(1e-20)
ONE = np.float32(1)
HALF = np.float32(1 / 2)


class RandomField:
    """Both kernels of one photo, built once, and the buffers to apply them.

    The arguments are those of `mean_field`.
    """

    def __init__(
        self,
        photo: NDArray[np.uint8],
        *,
        gaussian_sxy: float,
        gaussian_compat: float,
        bilateral_sxy: float,
        bilateral_srgb: float,
        bilateral_compat: float,
    ) -> None:
        height, width, _ = photo.shape
        reach = min(int(np.ceil(REACH * gaussian_sxy)), max(height, width) - 1)
        taps = np.exp(-0.5 * (np.arange(reach + 1) / gaussian_sxy) ** 2)
        row_scale = np.sqrt(gaussian_compat / sums_of_taps(taps, height))
        self._taps = taps.astype(np.float32)
        self._row_scale = row_scale.astype(np.float32)
        self._column_scale = (1.0 / np.sqrt(sums_of_taps(taps, width))).astype(np.float32)
        self._padded = np.zeros(width + 2 * reach, np.float32)
        self._line = np.empty(width, np.float32)
        self._lattice = build_lattice(photo, sxy=bilateral_sxy, srgb=bilateral_srgb)
        self._vertices = np.zeros((2, self._lattice.neighbours.shape[1] + 1), np.float32)
        _normalise(*self._lattice, self._vertices, np.float32(bilateral_compat))

    def add_message(self, values: NDArray[np.float32], total: NDArray[np.float32]) -> None:
        """Add to `total` (H, W) float32 both weighted, normalised kernels times values (H, W) float32."""
        _add_gaussian(
            values, self._taps, self._column_scale, self._row_scale, self._padded, self._line, total
        )
        _add_bilateral(values, *self._lattice, self._vertices, total)


def sums_of_taps(taps: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Sum of a symmetric kernel over a line of pixels, for each pixel of it: (length,) float64.

    taps: (R + 1,) float64, the kernel from its centre on.
    """
    reached = np.cumsum(taps)
    distance = np.minimum(np.arange(length), taps.size - 1)
    return reached[distance] + reached[distance[::-1]] - taps[0]


@compiled
def to_spin(log_odds: NDArray[np.float32], spin: NDArray[np.float32]) -> None:
    """Write into `spin` tanh(log_odds / 2) = 2 sigmoid(log_odds) - 1, to 1e-6; both (N,) float32.

    exp(-a) = exp(-a / 32)^32, five terms of the series and five squarings, is arithmetic that becomes vector
    instructions; one call of tanh per pixel would cost as much as the rest of an iteration.
    """
    for pixel in range(log_odds.size):
        a = abs(log_odds[pixel]) * np.float32(1 / 32)
        a = a if a < ONE else ONE
        tail = np.float32(1 / 6) - a * (np.float32(1 / 24) - a * np.float32(1 / 120))
        e = ONE - a * (ONE - a * (HALF - a * tail))
        e *= e
        e *= e
        e *= e
        e *= e
        e *= e
        spin[pixel] = np.copysign((ONE - e) / (ONE + e), log_odds[pixel])


@compiled
def _add_gaussian(
    values: NDArray[np.float32],
    taps: NDArray[np.float32],
    column_scale: NDArray[np.float32],
    row_scale: NDArray[np.float32],
    padded: NDArray[np.float32],
    line: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Add to `total` (H, W) the separable kernel times `values` (H, W), first across the rows, then along them."""
    height, width = values.shape
    reach = taps.size - 1
    inner = padded[reach : reach + width]
    for y in range(height):
        inner[:] = 0
        for other in range(max(0, y - reach), min(height, y + reach + 1)):
            tap = taps[abs(other - y)] * row_scale[other] * row_scale[y]
            row = values[other]
            for x in range(width):
                inner[x] += tap * row[x]
        for x in range(width):
            inner[x] *= column_scale[x]
            line[x] = taps[0] * inner[x]
        for offset in range(1, reach + 1):
            left = padded[reach - offset : reach - offset + width]
            right = padded[reach + offset : reach + offset + width]
            for x in range(width):
                line[x] += taps[offset] * (left[x] + right[x])
        target = total[y]
        for x in range(width):
            target[x] += column_scale[x] * line[x]


@compiled
def _blur(neighbours: NDArray[np.uint32], vertices: NDArray[np.float32]) -> None:
    """Blur vertices[0] in place along the six directions; vertices: (2, M + 1) float32 with 0 at M."""
    for direction in range(CORNERS):
        pairs = neighbours[direction]
        source = vertices[direction % 2]
        target = vertices[1 - direction % 2]
        for vertex in range(pairs.shape[0]):
            target[vertex] = source[vertex] + HALF * (source[pairs[vertex, 0]] + source[pairs[vertex, 1]])


@compiled
def _spread(
    values: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    vertices: NDArray[np.float32],
) -> None:
    """Write into `vertices` (M + 1,) the sum of what the pixels of `values` (H, W) give them."""
    height, width = values.shape
    vertices[:] = 0
    first = 0
    for strip in range(0, width, BLOCK):
        for y in range(height):
            run = values[y, strip : strip + BLOCK]
            vertex = corners[first : first + run.size]
            weight = weights[first : first + run.size]
            for i in range(run.size):
                for k in range(CORNERS):
                    vertices[vertex[i, k]] += weight[i, k] * run[i]
            first += run.size


@compiled
def _read(
    vertices: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Add to `total` (H, W) what each pixel gets from its corners."""
    height, width = total.shape
    first = 0
    for strip in range(0, width, BLOCK):
        for y in range(height):
            run = total[y, strip : strip + BLOCK]
            vertex = corners[first : first + run.size]
            weight = weights[first : first + run.size]
            for i in range(run.size):
                message = np.float32(0)
                for k in range(CORNERS):
                    message += weight[i, k] * vertices[vertex[i, k]]
                run[i] += message
            first += run.size


@compiled
def _add_bilateral(
    values: NDArray[np.float32],
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    neighbours: NDArray[np.uint32],
    vertices: NDArray[np.float32],
    total: NDArray[np.float32],
) -> None:
    """Add to `total` (H, W) the bilateral kernel times `values`; the weights are as `_normalise` leaves them."""
    _spread(values, corners, weights, vertices[0])
    _blur(neighbours, vertices)
    _read(vertices[0], corners, weights, total)


@compiled
def _normalise(
    corners: NDArray[np.uint32],
    weights: NDArray[np.float32],
    neighbours: NDArray[np.uint32],
    vertices: NDArray[np.float32],
    compat: np.float32,
) -> None:
    """Fold D^-1/2 and the root of the kernel's weight into the barycentric weights, in place."""
    lattice_map = vertices[0]
    for pixel in range(corners.shape[0]):
        for k in range(CORNERS):
            lattice_map[corners[pixel, k]] += weights[pixel, k]
    _blur(neighbours, vertices)
    for pixel in range(corners.shape[0]):
        row_sum = TINY
        for k in range(CORNERS):
            row_sum += weights[pixel, k] * lattice_map[corners[pixel, k]]
        # The gain of the blur cancels between the kernel and its row sum.
        scale = np.sqrt(compat / row_sum)
        for k in range(CORNERS):
            weights[pixel, k] *= scale
