"""Maps enlarged to the photo, with the photo's own edges.

The guided filter (He, Sun and Tang, 2013) explains the map by the photo's colours, window by window; the fast one
(He and Sun, 2015) finds the lines on the map's small grid and applies them at full size. Here each cell keeps the
slope of its line and sends the line through its own colour and value. Where the photo has no contrast the slope is 0,
and what is left is bilinear enlargement.

Differs: in the guided filter each line's offset is a mean over the window too, which blurs the map where the photo
has no contrast. The change is also weighted by `4 p (1 - p)`, which is 0 where the map is sure, so that texture
inside and outside the object does not show.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.a2s.crf import mean_field, unary_from_prob
from act2sal.config import Refine
from act2sal.data.images import resize_map, resize_photo
from act2sal.runtime.compiled import compiled

RADIUS = 1
"""Half side of the windows in cells of the map. Source: `benchmarks/upsampling.py` on training photos."""
EPSILON = 1e-4
"""Variance of the photo, in squares of its full range, below which lines flatten. Source: as `RADIUS`."""
CRF_SIDE = 400
"""Longer side, in pixels, of the photo that the CRF sees: that of the data sets its kernels were made for."""

FULL_RANGE = 255
RIDGE = EPSILON * FULL_RANGE**2
"""`EPSILON` in squares of 8-bit levels."""
ONE = np.float32(1)
FOUR = np.float32(4)


def enlarged(prob: NDArray[np.float32], photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Enlarge a map to its photo; its edges move to those of the photo.

    A constant map stays as it is, a photo without contrast gives `images.resize_map`. Beside the result it needs
    memory in proportion to the map alone. The same input gives the same bits.

    Args:
        prob: (h, w) float32 in [0, 1], any size; what rounding left outside is clipped.
        photo: (H, W, 3) uint8 RGB that the map belongs to.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: shapes or types that do not fit, a map that is not finite.
    """
    _check(prob, photo)
    result = np.empty(photo.shape[:2], np.float32)
    _apply(_lines(prob, photo), np.ascontiguousarray(photo), result)
    return result


def crf_refined(prob: NDArray[np.float32], photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dense CRF on a map, at a size that does not grow with the photo.

    The photo is shrunk until its longer side is at most `CRF_SIDE`; the kernels are those of the pseudo labels.

    Args:
        prob: (h, w) float32 in [0, 1], any size.
        photo: (H, W, 3) uint8 RGB.

    Returns:
        (h', w') float32 in [0, 1], of the shrunk photo's size.

    Raises:
        ValueError: as `enlarged`.
    """
    _check(prob, photo)
    shrink = min(1.0, CRF_SIDE / max(photo.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in photo.shape[:2])
    small = resize_photo(photo, (height, width))
    return mean_field(small, unary_from_prob(resize_map(prob, (height, width))))


def full_size(
    prob: NDArray[np.float32], photo: NDArray[np.uint8], refine: Refine = "none"
) -> NDArray[np.float32]:
    """The map at the photo's size, after the CRF or without it; arguments, result and errors as `enlarged`.

    A map that has that size already stays as it is.
    """
    if refine == "none" and prob.shape == photo.shape[:2]:
        _check(prob, photo)
        return np.clip(prob, 0, 1)
    return enlarged(crf_refined(prob, photo) if refine == "crf" else prob, photo)


def _check(prob: NDArray[np.float32], photo: NDArray[np.uint8]) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or photo.size == 0:
        raise ValueError(f"a photo is (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
    if prob.ndim != 2 or prob.dtype != np.float32 or prob.size == 0:
        raise ValueError(f"a map is (h, w) float32, not {prob.shape} {prob.dtype}")
    if not np.isfinite(prob).all():
        raise ValueError("the map has values that are not finite")


def _lines(prob: NDArray[np.float32], photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What each cell of the map knows: (h, w, 5) float32.

    Its value, the slope of the map over red, green and blue (per 8-bit level), and minus slope times its colour.
    """
    height, width = prob.shape
    colour = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
    values = np.clip(prob.astype(np.float64), 0, 1)
    slope = _window_mean(_slope(colour, values))
    offset = -(slope * colour).sum(axis=2)
    return np.dstack([values, slope, offset]).astype(np.float32)


def _slope(colour: NDArray[np.float64], prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression of the map on the colours in each window: (h, w, 3), per 8-bit level.

    colour: (h, w, 3) in 8-bit levels; prob: (h, w).
    """
    mean = _window_mean(colour)
    shared = _window_mean(colour * prob[..., None]) - mean * _window_mean(prob)[..., None]
    covariance = [
        _window_mean(colour[..., j] * colour[..., k]) - mean[..., j] * mean[..., k] + (j == k) * RIDGE
        for j, k in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    ]
    return _solved(covariance, shared)


def _solved(matrix: Sequence[NDArray[np.float64]], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve a symmetric system of three equations at each place, by cofactors: (h, w, 3).

    matrix: its entries 00, 01, 02, 11, 12, 22, (h, w) each; right: (h, w, 3).
    """
    a, b, c, d, e, f = matrix
    inverse = [[d * f - e * e, c * e - b * f, b * e - c * d], [], []]
    inverse[1] = [inverse[0][1], a * f - c * c, b * c - a * e]
    inverse[2] = [inverse[0][2], inverse[1][2], a * d - b * b]
    determinant = a * inverse[0][0] + b * inverse[0][1] + c * inverse[0][2]
    x, y, z = right[..., 0], right[..., 1], right[..., 2]
    return np.stack([(row[0] * x + row[1] * y + row[2] * z) / determinant for row in inverse], axis=-1)


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    side = 2 * RADIUS + 1
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE), dtype=np.float64)


@compiled
def _apply(lines: NDArray[np.float32], photo: NDArray[np.uint8], result: NDArray[np.float32]) -> None:
    """Write into `result` (H, W) the lines (h, w, 5), interpolated bilinearly, at the colours of photo (H, W, 3)."""
    height, width = result.shape
    rows, columns, parts = lines.shape
    left = np.empty(width, np.int64)
    share = np.empty(width, np.float32)
    for x in range(width):
        place = max((x + 0.5) * columns / width - 0.5, 0.0)
        left[x] = min(int(place), columns - 1)
        share[x] = place - left[x]
    row = np.empty((columns + 1, parts), np.float32)
    for y in range(height):
        place = max((y + 0.5) * rows / height - 0.5, 0.0)
        above = min(int(place), rows - 1)
        below = min(above + 1, rows - 1)
        down = np.float32(place - above)
        for column in range(columns):
            for part in range(parts):
                start = lines[above, column, part]
                row[column, part] = start + down * (lines[below, column, part] - start)
        row[columns] = row[columns - 1]
        for x in range(width):
            here, there, right = row[left[x]], row[left[x] + 1], share[x]
            prob = here[0] + right * (there[0] - here[0])
            change = here[4] + right * (there[4] - here[4])
            for k in range(3):
                change += (here[k + 1] + right * (there[k + 1] - here[k + 1])) * np.float32(photo[y, x, k])
            value = prob + FOUR * prob * (ONE - prob) * change
            result[y, x] = min(max(value, np.float32(0)), ONE)
