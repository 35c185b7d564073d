"""Crops results to their object."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.errors import InputError
from act2sal.predict.regions import Box

MARGIN = 0.05
"""Default margin on each side, as a share of the longer side of the object; our choice."""

MOST_MARGIN = 10.0
"""Largest margin; a larger one would nearly always show the whole photo."""


def refuse_margin(margin: float) -> None:
    """Refuse a margin that makes no sense.

    Raises:
        InputError: it is negative, too large, or no number.
    """
    if not 0 <= margin <= MOST_MARGIN:
        raise InputError(f"--crop is in 0..{MOST_MARGIN:g}, not {margin:g}")


def crop_around(found: NDArray[np.bool_], margin: float) -> Box | None:
    """The part of a photo around its object.

    Args:
        found: the object, (H, W) bool.
        margin: kept on each side, where the photo goes on, as a share of the longer side of the object's box.

    Returns:
        In pixels of the photo; None where there is no object.
    """
    left, top, width, height = cv2.boundingRect(found.astype(np.uint8))
    if width == 0:
        return None
    more = round(margin * max(width, height))
    first, above = max(left - more, 0), max(top - more, 0)
    right, below = min(left + width + more, found.shape[1]), min(top + height + more, found.shape[0])
    return Box(first, above, right - first, below - above)


def around_all(boxes: Iterable[Box | None]) -> Box | None:
    """The smallest box around all of them; None where there is none."""
    corners = np.array([(b.left, b.top, b.left + b.width, b.top + b.height) for b in boxes if b is not None])
    if len(corners) == 0:
        return None
    left, top = corners[:, :2].min(axis=0).tolist()
    right, below = corners[:, 2:].max(axis=0).tolist()
    return Box(left, top, right - left, below - top)


def cropped(pixels: NDArray[Any], crop: Box | None) -> NDArray[Any]:
    """Crop (H, W, ...) without a copy; None: all of it."""
    if crop is None:
        return pixels
    return pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
