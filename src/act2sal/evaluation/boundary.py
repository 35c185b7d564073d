"""How well the outline of a map follows the outline of its mask.

Precision and recall of boundary pixels within a tolerance, as for contours (Martin, Fowlkes and Malik, 2004).

Differs: boundary pixels are not matched one to one; each counts as right if the other outline comes near enough.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def boundary_f(predicted: NDArray[np.bool_], mask: NDArray[np.bool_], tolerance: float) -> float:
    """F (beta = 1) of the boundary pixels, in [0, 1].

    Args:
        predicted: (H, W) bool.
        mask: (H, W) bool.
        tolerance: distance in pixels up to which two boundary pixels agree.

    Returns:
        1 where neither has a boundary, 0 where one of them has none.

    Raises:
        ValueError: shapes that differ.
    """
    if predicted.shape != mask.shape:
        raise ValueError(f"map {predicted.shape} and mask {mask.shape} differ in size")
    ours, theirs = boundary(predicted), boundary(mask)
    if not (ours.any() and theirs.any()):
        return float(ours.any() == theirs.any())
    precision = (_distance_to(theirs)[ours] <= tolerance).mean()
    recall = (_distance_to(ours)[theirs] <= tolerance).mean()
    return float(2 * precision * recall / max(precision + recall, np.finfo(float).tiny))


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of mask (H, W) bool that have a neighbour outside it, up, down, left or right; the frame is none."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    pixels = mask.astype(np.uint8)
    return (pixels - cv2.erode(pixels, cross, borderType=cv2.BORDER_REPLICATE)).astype(bool)


def _distance_to(pixels: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance = cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, dtype=np.float32)
