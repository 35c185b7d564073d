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
from scipy.special import expit, softmax

from act2sal.a2s.crf.inference import RandomField, to_spin
from act2sal.runtime.compiled import Announce

_COMPILING = threading.Lock()


def mean_field(
    photo: NDArray[np.uint8],
    unary: NDArray[np.float32],
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 50.0,
    bilateral_srgb: float = 5.0,
    bilateral_compat: float = 10.0,
) -> NDArray[np.float32]:
    """Foreground probability of each pixel: (H, W) float32 in [0, 1].

    photo: (H, W, 3) uint8; unary: (H, W) float32, log-odds of the foreground before the pixels see each
    other, from `unary_from_labels` or `unary_from_prob`; iterations: updates of all pixels at once;
    gaussian_sxy, bilateral_sxy: standard deviations over position in pixels; bilateral_srgb: over colour in
    8-bit levels;
    *_compat: weight of each kernel. Defaults: the published A2S code.
    Runs on one core without the interpreter lock: call it from several threads for several photos. The same
    input gives the same bits.
    Raises ValueError for shapes and types that do not fit, a unary that is not finite, a standard deviation
    that is not positive, a negative weight or count, and a bilateral kernel too narrow for the size of the
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


def mean_field_labels(
    photo: NDArray[np.uint8],
    unary: NDArray[np.float32],
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 50.0,
    bilateral_srgb: float = 5.0,
    bilateral_compat: float = 10.0,
) -> NDArray[np.float32]:
    """Probability of each of L labels: (L, H, W) float32 that sums to 1 over L.

    unary: (L, H, W) float32, log-probability of each label up to a constant per pixel; the rest as
    `mean_field`, which does the same for two labels with one map.
    """
    if unary.ndim != 3:
        raise ValueError(f"several labels need a unary (L, H, W), not {unary.shape}")
    for label in unary:
        _check(photo, label, iterations)
    field = _build_field(
        photo,
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )
    prob = softmax(unary.astype(np.float32), axis=0)
    for _ in range(iterations):
        score = np.array(unary, dtype=np.float32, order="C")
        for values, total in zip(prob, score, strict=True):
            field.add_message(values, total)
        prob = softmax(score, axis=0)
    return prob


def unary_from_labels(mask: NDArray[np.bool_], *, gt_prob: float = 0.7) -> NDArray[np.float32]:
    """Log-odds (H, W) float32 of a hard label mask (H, W) bool that is right with probability gt_prob in
    (0.5, 1).

    Raises ValueError for a gt_prob outside that range.
    """
    if not 0.5 < gt_prob < 1.0:
        raise ValueError(f"gt_prob must lie between 0.5 and 1, not {gt_prob}")
    trust = np.float32(np.log(gt_prob / (1.0 - gt_prob)))
    return np.where(mask, trust, -trust)


def unary_from_prob(prob: NDArray[np.float32], *, clip: float = 1e-5) -> NDArray[np.float32]:
    """Log-odds (H, W) float32 of prob (H, W) in [0, 1], first held inside [clip, 1 - clip]."""
    held = np.clip(prob.astype(np.float64), clip, 1.0 - clip)
    return np.log(held / (1.0 - held)).astype(np.float32)


def median_filter(mask: NDArray[np.bool_], size: int = 7) -> NDArray[np.bool_]:
    """Majority of each size x size window, with the border pixels repeated outwards: (H, W) bool.

    mask: (H, W) bool; size: odd, in pixels; 1 changes nothing. Raises ValueError for an even size.
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
    """Load the machine code from disk or, saying so, compile it; `mean_field` does it when first called."""
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
