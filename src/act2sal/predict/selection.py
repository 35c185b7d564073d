"""What of a saliency map is selected: the object or the ground, cut or soft, larger or smaller, with a soft edge.

Throughout: prob and alpha (H, W) float32 in [0, 1]; lengths in pixels of the photo.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.errors import InputError
from act2sal.predict.thresholds import Threshold, mask_of

MASK_THRESHOLD = 0.5
"""Where a mask is cut if nobody says where."""

MOST_GROW = 200
"""Pixels, either way; the work grows with it."""

MOST_FEATHER = 100.0
"""Pixels; the work grows with it."""


@dataclass(frozen=True)
class Selection:
    """What is done to a saliency map before it becomes a mask or the alpha of a cut-out, in this order.

    Args:
        threshold: cuts the saliency into object and ground; None: it stays soft, and a mask is cut at
            `MASK_THRESHOLD`.
        grow: by how many pixels the object grows on all sides; where it is negative, it shrinks.
        feather: sigma, in pixels, of the Gaussian that softens the edge.
        ground: whether the ground is selected in place of the object.

    Raises:
        InputError: a number that is negative, too large, or none.
    """

    threshold: Threshold | None = None
    grow: int = 0
    feather: float = 0.0
    ground: bool = False

    def __post_init__(self) -> None:
        if not -MOST_GROW <= self.grow <= MOST_GROW:
            raise InputError(f"--grow is in {-MOST_GROW}..{MOST_GROW} pixels, not {self.grow}")
        if not 0 <= self.feather <= MOST_FEATHER:
            raise InputError(f"--feather is in 0..{MOST_FEATHER:g} pixels, not {self.feather:g}")

    def object_of(self, prob: NDArray[np.float32]) -> NDArray[np.bool_]:
        """The object as it is cut and grown, (H, W) bool, whatever else is selected."""
        return self._cut(prob) > 0

    def levels_of(self, prob: NDArray[np.float32]) -> NDArray[np.float32]:
        """The saliency of the object or of the ground, never cut."""
        return 1 - prob if self.ground else prob

    def mask_of(self, prob: NDArray[np.float32]) -> NDArray[np.float32]:
        """0 and 1; between them at a feathered edge alone."""
        return self.edged(self._cut(prob))

    def alpha_of(self, prob: NDArray[np.float32]) -> NDArray[np.float32]:
        """The share of the selection in each pixel; soft unless there is a threshold."""
        return self.edged(grown(prob, self.grow) if self.threshold is None else self._cut(prob))

    def _cut(self, prob: NDArray[np.float32]) -> NDArray[np.float32]:
        threshold = MASK_THRESHOLD if self.threshold is None else self.threshold
        return grown(mask_of(prob, threshold).astype(np.float32), self.grow)

    def edged(self, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
        """An alpha of the object with a feathered edge, or that of the ground."""
        soft = feathered(alpha, self.feather)
        return 1 - soft if self.ground else soft


def grown(alpha: NDArray[np.float32], pixels: int) -> NDArray[np.float32]:
    """Each pixel takes the largest alpha, where `pixels` is negative the smallest, within that distance.

    Distances are Euclidean between the middles of pixels. What lies beyond the photo counts for nothing: an object
    that its border cuts does not shrink there.
    """
    if pixels == 0:
        return alpha
    sign, radius = np.float32(np.sign(pixels)), abs(pixels)
    signed = sign * alpha
    largest = signed.copy()
    for rows in range(min(radius, len(alpha) - 1) + 1):
        half = math.isqrt(radius**2 - rows**2)  # of the disk, in a row that is so far from its middle
        across = cv2.dilate(signed, np.ones((1, 2 * half + 1), np.uint8))
        np.maximum(largest[rows:], across[: len(across) - rows], out=largest[rows:])
        np.maximum(largest[: len(largest) - rows], across[rows:], out=largest[: len(largest) - rows])
    return sign * largest


def feathered(alpha: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A Gaussian mean around each pixel, over four sigma; beyond the border the photo's last row and column go on."""
    if sigma == 0:
        return alpha
    side = 2 * math.ceil(4 * sigma) + 1
    soft = cv2.GaussianBlur(alpha, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.clip(soft, 0, 1).astype(np.float32)  # rounding can lead beyond
