"""Mean-field inference in the fully connected CRF with two labels (Kraehenbuehl and Koltun, 2011).

With two labels one map is enough. For the log-odds l of the foreground, q = sigmoid(l) and s = 2 q - 1 =
tanh(l / 2), the Potts model's
update of both labels comes down to `l <- unary + w_g K_g s + w_b K_b s`, so one map is filtered per
iteration instead of two.
Each kernel is normalised from both sides: K = D^-1/2 k D^-1/2 with D the row sums of k, the pixel itself
included.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act2sal.crf.compiled import compiled
from act2sal.crf.lattice import Lattice, build_lattice

CORNERS = 6
REACH = 4.0  # the Gaussian is cut off at so many standard deviations, where it has fallen to 3e-4
TINY = np.float32(1e-20)
HALF = np.float32(1 / 2)
SIXTH = np.float32(1 / 6)


class Smoother(NamedTuple):
    """The normalised Gaussian kernel, which is separable.

    taps: (R + 1,) float32, half of the kernel; column_scale: (W,) float32, row_scale: (H,) float32, the
    two factors
    of D^-1/2, with the square root of the kernel's weight in the latter.
    """

    taps: NDArray[np.float32]
    column_scale: NDArray[np.float32]
    row_scale: NDArray[np.float32]


def build_smoother(height: int, width: int, *, sxy: float, compat: float) -> Smoother:
    """The Gaussian kernel of an image: sxy is its standard deviation in pixels, compat its weight."""
    reach = min(int(np.ceil(REACH * sxy)), max(height, width) - 1)
    taps = np.exp(-0.5 * (np.arange(reach + 1) / sxy) ** 2)
    scales = [1.0 / np.sqrt(_sums_of_taps(taps, length)) for length in (width, height)]
    column_scale, row_scale = scales[0], scales[1] * np.sqrt(compat)
    return Smoother(taps.astype(np.float32), column_scale.astype(np.float32), row_scale.astype(np.float32))


def _sums_of_taps(taps: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Kernel mass inside a line of pixels for each of its pixels: (length,) float64."""
    reached = np.concatenate([[0.0], np.cumsum(taps)])
    left = np.minimum(np.arange(length), taps.size - 1)
    return reached[left + 1] + reached[left[::-1] + 1] - taps[0]


class Field:
    """The two kernels of one image and the buffers of the inference."""

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
        self.smoother = build_smoother(height, width, sxy=gaussian_sxy, compat=gaussian_compat)
        self.lattice = build_lattice(photo, sxy=bilateral_sxy, srgb=bilateral_srgb)
        n_vertices = self.lattice.neighbours.shape[1]
        self.vertices = np.zeros((2, n_vertices + 1), np.float32)
        normalise(self.lattice, self.vertices, bilateral_compat)
        self.spin = np.zeros((height, width), np.float32)
        self.message = np.empty((height, width), np.float32)
        self.scratch = np.zeros((2, width + 2 * (self.smoother.taps.size - 1)), np.float32)

    def iterate(self, log_odds: NDArray[np.float32], unary: NDArray[np.float32]) -> float:
        """One mean-field update of log_odds (H, W) float32 in place; returns the largest change of q."""
        change = float(_to_spin(log_odds, self.spin))
        _smooth(self.spin, *self.smoother, self.scratch, self.message)
        _update(self.spin, unary, self.message, *self.lattice, self.vertices, log_odds)
        return change


def normalise(lattice: Lattice, vertices: NDArray[np.float32], compat: float) -> None:
    """Fold D^-1/2 and the square root of the kernel's weight into the barycentric weights of the lattice."""
    _normalise(lattice.corners, lattice.weights, lattice.neighbours, vertices, np.float32(compat))


@compiled
def _blur(neighbours, vertices):  # type: ignore[no-untyped-def]
    for axis in range(CORNERS):
        pairs = neighbours[axis]
        source = vertices[axis % 2]
        target = vertices[1 - axis % 2]
        for vertex in range(pairs.shape[0]):
            target[vertex] = source[vertex] + HALF * (source[pairs[vertex, 0]] + source[pairs[vertex, 1]])


@compiled
def _normalise(corners, weights, neighbours, vertices, compat):  # type: ignore[no-untyped-def]
    gain = np.float32(1.0 / (1.0 + 2.0 ** (1 - CORNERS)))
    first = vertices[0]
    first[:] = 0
    for pixel in range(corners.shape[0]):
        for k in range(CORNERS):
            first[corners[pixel, k]] += weights[pixel, k]
    _blur(neighbours, vertices)
    for pixel in range(corners.shape[0]):
        total = np.float32(0)
        for k in range(CORNERS):
            total += weights[pixel, k] * first[corners[pixel, k]]
        scale = np.sqrt(compat / (total + TINY / gain))
        for k in range(CORNERS):
            weights[pixel, k] *= scale


@compiled
def _to_spin(log_odds, spin):  # type: ignore[no-untyped-def]
    """spin <- tanh(log_odds / 2), to 2e-6; returns half of the largest change, which is that of q.

    exp(-a) = exp(-a / 32)^32, with five terms of the series and five squarings, is arithmetic the
    compiler turns into vector
    instructions; a call of tanh per pixel would cost as much as everything else in an iteration.
    """
    change = np.float32(0)
    one = np.float32(1)
    flat_odds = log_odds.ravel()
    flat_spin = spin.ravel()
    for pixel in range(flat_odds.size):
        odds = flat_odds[pixel]
        a = min(abs(odds), np.float32(32)) * np.float32(1 / 32)
        e = one - a * (one - a * (HALF - a * (SIXTH - a * (np.float32(1 / 24) - a * np.float32(1 / 120)))))
        e *= e
        e *= e
        e *= e
        e *= e
        e *= e
        value = (one - e) / (one + e)
        value = value if odds > 0 else -value
        change = max(change, abs(value - flat_spin[pixel]))
        flat_spin[pixel] = value
    return HALF * change


@compiled
def _smooth(values, taps, column_scale, row_scale, scratch, smoothed):  # type: ignore[no-untyped-def]
    """smoothed <- the normalised Gaussian kernel times values, both (H, W): first down the columns,
    then along the rows."""
    height, width = values.shape
    reach = taps.size - 1
    padded = scratch[0]
    line = padded[reach : reach + width]
    for y in range(height):
        line[:] = 0
        for other in range(max(0, y - reach), min(height, y + reach + 1)):
            tap = taps[abs(other - y)] * row_scale[other]
            row = values[other]
            for x in range(width):
                line[x] += tap * row[x]
        scale = row_scale[y]
        target = smoothed[y]
        for x in range(width):
            line[x] *= column_scale[x] * scale
            target[x] = taps[0] * line[x]
        for offset in range(1, reach + 1):
            tap = taps[offset]
            left = padded[reach - offset : reach - offset + width]
            right = padded[reach + offset : reach + offset + width]
            for x in range(width):
                target[x] += tap * (left[x] + right[x])
        for x in range(width):
            target[x] *= column_scale[x]


@compiled
def _update(spin, unary, message, corners, weights, neighbours, vertices, log_odds):  # type: ignore[no-untyped-def]
    """log_odds <- unary + message + the normalised bilateral kernel times spin."""
    first = vertices[0]
    first[:] = 0
    flat_spin = spin.ravel()
    for pixel in range(flat_spin.size):
        for k in range(CORNERS):
            first[corners[pixel, k]] += weights[pixel, k] * flat_spin[pixel]
    _blur(neighbours, vertices)
    flat_odds = log_odds.ravel()
    flat_unary = unary.ravel()
    flat_message = message.ravel()
    for pixel in range(flat_spin.size):
        total = flat_unary[pixel] + flat_message[pixel]
        for k in range(CORNERS):
            total += weights[pixel, k] * first[corners[pixel, k]]
        flat_odds[pixel] = total
