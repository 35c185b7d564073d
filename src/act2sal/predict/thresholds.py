"""Where a saliency map is cut into object and ground."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from act2sal.errors import InputError

Threshold: TypeAlias = float | Literal["otsu", "adaptive"]
"""A saliency in [0, 1]; or a rule that takes it from the map: otsu (Otsu, 1979: the cut that separates the levels
best), adaptive (Achanta et al., CVPR 2009: twice the mean, at most 1)."""


def parse_threshold(text: str) -> Threshold:
    """`otsu`, `adaptive`, or a number in [0, 1] such as `0.3`.

    Raises:
        InputError: something else.
    """
    if text == "otsu":
        return "otsu"
    if text == "adaptive":
        return "adaptive"
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise InputError(f"a threshold is otsu, adaptive or a number in [0, 1], not {text!r}")
    return number


def mask_of(prob: NDArray[np.float32], threshold: Threshold) -> NDArray[np.bool_]:
    """The object in prob (H, W) float32 in [0, 1], as (H, W) bool.

    It lies above a number and above Otsu's cut; for the adaptive rule on it too, as in the adaptive F. The two rules
    find no object in a map of one level alone.
    """
    if isinstance(threshold, float | int):
        return prob > threshold
    if prob.min() == prob.max():
        return np.zeros(prob.shape, np.bool_)
    if threshold == "adaptive":
        return prob >= min(2 * float(prob.mean(dtype=np.float64)), 1.0)
    from skimage.filters import threshold_otsu

    return prob > threshold_otsu(prob)
