"""Weighted F-measure (Margolin et al., 2014): errors count by where they lie.

An error of a foreground pixel is softened by those around it, one of the background counts the more the farther it
is from the foreground. Values are those of py-sod-metrics to rounding.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.runtime.compiled import compiled

BETA_SQUARED = 1.0
_SIDE, _SIGMA = 7, 5.0
_REACH = _SIDE // 2
_HALVING = np.log(0.5) / 5
_EPSILON = float(np.spacing(1))


def weighted_f_measure(prob: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Weighted F, beta = 1, in [0, 1]; 0 for a mask without foreground.

    Args:
        prob: (H, W) float64 in [0, 1].
        mask: (H, W) bool.
    """
    if not mask.any():
        return 0.0
    error = np.abs(prob - mask)
    distance = _distance_to_foreground(mask)
    softened = _softened(error, mask, distance)
    inside = np.where(softened < error, softened, error)[mask]
    outside = (error * (2 - np.exp(_HALVING * distance)))[~mask]
    right = mask.sum() - inside.sum()
    recall = 1 - inside.mean()
    precision = right / (right + outside.sum() + _EPSILON)
    return float((1 + BETA_SQUARED) * recall * precision / (recall + BETA_SQUARED * precision + _EPSILON))


def _distance_to_foreground(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Euclidean distance of each pixel to the foreground, in pixels: (H, W) float64."""
    away = (~mask).astype(np.uint8)
    exact = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    # float32 roots of whole numbers, restored to float64
    return np.sqrt(np.round(exact**2))


def _softened(
    error: NDArray[np.float64], mask: NDArray[np.bool_], distance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Gaussian mean of the errors around each pixel, those of background pixels being the nearest foreground's."""
    ordered = _offsets_by_distance()
    spread = _nearest_errors(error, mask, distance, ordered)
    kernel = np.exp(-(np.arange(-_REACH, _REACH + 1.0) ** 2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    return np.asarray(cv2.sepFilter2D(spread, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT))


def _offsets_by_distance() -> NDArray[np.int64]:
    """(K, 2) offsets (row, column) within reach of the window's corner, nearest first.

    Of pixels equally near the leftmost counts, then the uppermost, as SciPy's distance transform has it.
    """
    reach = int(np.hypot(_REACH, _REACH))
    offsets = [(r, c) for r in range(-reach, reach + 1) for c in range(-reach, reach + 1)]
    near = [o for o in offsets if o[0] ** 2 + o[1] ** 2 <= 2 * _REACH**2]
    return np.array(sorted(near, key=lambda o: (o[0] ** 2 + o[1] ** 2, o[1], o[0])), np.int64)


@compiled
def _nearest_errors(
    error: NDArray[np.float64],
    mask: NDArray[np.bool_],
    distance: NDArray[np.float64],
    offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The error of the nearest foreground pixel; where none is within reach of the window, the pixel's own."""
    height, width = mask.shape
    nearest = error.copy()
    limit = offsets[-1, 0] ** 2 + offsets[-1, 1] ** 2 + 0.5
    for row in range(height):
        for column in range(width):
            if mask[row, column] or distance[row, column] ** 2 > limit:
                continue
            for index in range(len(offsets)):
                at_row, at_column = row + offsets[index, 0], column + offsets[index, 1]
                inside = 0 <= at_row < height and 0 <= at_column < width
                if inside and mask[at_row, at_column]:
                    nearest[row, column] = error[at_row, at_column]
                    break
    return nearest
