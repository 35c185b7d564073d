"""Dense CRF and median filter of the pseudo labels (A2S, Eq. 6).

Mean-field inference in the fully connected CRF of Kraehenbuehl and Koltun (2011) with Potts compatibility, a
Gaussian kernel over position and a bilateral kernel over position and colour.

With two labels one map is enough. For the foreground's log-odds l, q = sigmoid(l) and s = 2 q - 1, the
update of both labels comes down to `l <- unary + (K_gaussian + K_bilateral) s`, so one map is filtered
instead of two.

Differs: the Gaussian kernel is filtered exactly (it is separable) instead of on a second lattice; a pixel
sends itself a message, as in the published implementation.
"""

import threading
from functools import cache

import cv2
import numba.core.event
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from act2sal.a2s.crf.inference import RandomField, to_spin
from act2sal.config import LabelConfig
from act2sal.runtime.compiled import Announce

_COMPILING = threading.Lock()


def mean_field(
    photo: NDArray[np.uint8],
    unary: NDArray[np.float32],
    *,
    iterations: int = LabelConfig.iterations,
    gaussian_sxy: float = LabelConfig.gaussian_sxy,
    gaussian_compat: float = LabelConfig.gaussian_compat,
    bilateral_sxy: float = LabelConfig.bilateral_sxy,
    bilateral_srgb: float = LabelConfig.bilateral_srgb,
    bilateral_compat: float = LabelConfig.bilateral_compat,
) -> NDArray[np.float32]:
    """Foreground probability of each pixel by mean-field inference.

    Runs on one core without the interpreter lock: call it from several threads for several photos. The same
    input gives the same bits.

    Args:
        photo: (H, W, 3) uint8 RGB.
        unary: (H, W) float32, finite: log-odds of the foreground before the pixels see each other, from
            `unary_from_labels` or `unary_from_prob`.
        iterations: updates of all pixels at once, at least 0.
        gaussian_sxy: standard deviation of the Gaussian kernel over position, in pixels, above 0.
        gaussian_compat: weight of the Gaussian kernel, at least 0.
        bilateral_sxy: standard deviation of the bilateral kernel over position, in pixels, above 0.
        bilateral_srgb: standard deviation of the bilateral kernel over colour, in 8-bit levels, above 0.
        bilateral_compat: weight of the bilateral kernel, at least 0.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: an argument is not as described, or the bilateral kernel is too narrow for the size of the
            photo.
    """
    _check(photo, unary, iterations)
    field = _build_field(
        photo,
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )
    return _infer(field, np.ascontiguousarray(unary, dtype=np.float32), iterations)


def unary_from_labels(
    mask: NDArray[np.bool_], *, gt_prob: float = LabelConfig.gt_prob
) -> NDArray[np.float32]:
    """Log-odds of a hard label that is right with a given probability.

    Args:
        mask: (H, W) bool, True on the foreground.
        gt_prob: probability that a pixel's label is right, in (0.5, 1).

    Returns:
        (H, W) float32.

    Raises:
        ValueError: `gt_prob` is outside its range.
    """
    if not 0.5 < gt_prob < 1.0:
        raise ValueError(f"gt_prob must lie between 0.5 and 1, not {gt_prob}")
    trust = np.float32(np.log(gt_prob / (1.0 - gt_prob)))
    return np.where(mask, trust, -trust)


def unary_from_prob(prob: NDArray[np.float32], *, clip: float = 1e-5) -> NDArray[np.float32]:
    """Log-odds of probabilities.

    Args:
        prob: (H, W) float32 in [0, 1].
        clip: probabilities are first held inside [clip, 1 - clip].

    Returns:
        (H, W) float32.
    """
    held = np.clip(prob.astype(np.float64), clip, 1.0 - clip)
    return np.log(held / (1.0 - held)).astype(np.float32)


def median_filter(mask: NDArray[np.bool_], size: int = LabelConfig.median) -> NDArray[np.bool_]:
    """Median of a hard mask in each window, with the border pixels repeated outwards.

    Args:
        mask: (H, W) bool.
        size: side of the window in pixels, odd; 1 changes nothing.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: `size` is even or below 1.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the side of the median filter must be odd, not {size}")
    if size == 1:
        return mask.copy()
    return cv2.medianBlur(mask.astype(np.uint8), size).astype(bool)


def _infer(field: RandomField, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
    log_odds = unary.copy()
    spin = np.empty_like(unary)
    for _ in range(iterations):
        to_spin(log_odds.reshape(-1), spin.reshape(-1))
        np.copyto(log_odds, unary)
        field.add_message(spin, log_odds)
    return expit(log_odds)


def _check(photo: NDArray[np.uint8], unary: NDArray[np.float32], iterations: int) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or photo.size == 0:
        raise ValueError(f"the CRF needs a photo (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
    if unary.shape != photo.shape[:2]:
        raise ValueError(f"unary {unary.shape} and photo {photo.shape} differ in size")
    if not np.isfinite(unary).all():
        raise ValueError("the unary has values that are not finite")
    if iterations < 0:
        raise ValueError(f"the number of iterations cannot be {iterations}")


def _build_field(
    photo: NDArray[np.uint8],
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
) -> RandomField:
    if not min(gaussian_sxy, bilateral_sxy, bilateral_srgb) > 0:
        raise ValueError("the standard deviations of the CRF kernels must be positive")
    if not min(gaussian_compat, bilateral_compat) >= 0:
        raise ValueError("the weights of the CRF kernels cannot be negative")
    with _COMPILING:
        compile_kernels()
    return RandomField(
        np.ascontiguousarray(photo),
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )


@cache
def compile_kernels() -> None:
    """Load the compiled kernels from disk, or compile them and say so; the first `mean_field` does this by itself."""
    announce = Announce("compiling the CRF for this processor: once, about 10 seconds")
    with numba.core.event.install_listener("numba:compile", announce):
        field = RandomField(
            np.zeros((2, 2, 3), np.uint8),
            gaussian_sxy=1.0,
            gaussian_compat=1.0,
            bilateral_sxy=1.0,
            bilateral_srgb=1.0,
            bilateral_compat=1.0,
        )
        _infer(field, np.zeros((2, 2), np.float32), iterations=1)
