"""Dense CRF and median filter (Eq. 6)."""

import threading
from functools import cache

import cv2
import numba.core.event
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from act2sal.crf.compiled import Announce
from act2sal.crf.inference import Field

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
    tolerance: float = 1e-4,
) -> NDArray[np.float32]:
    """Foreground probability of each pixel."""
    _check(photo, unary)
    _compile_kernels()
    unary = np.ascontiguousarray(unary, dtype=np.float32)
    field = Field(
        np.ascontiguousarray(photo),
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )
    return _infer(field, unary, iterations, tolerance)


def _infer(
    field: Field, unary: NDArray[np.float32], iterations: int, tolerance: float
) -> NDArray[np.float32]:
    log_odds = unary.copy()
    for iteration in range(iterations):
        if field.iterate(log_odds, unary) < tolerance and iteration > 0:
            break
    return expit(log_odds)


def unary_from_prob(prob: NDArray[np.float32], *, clip: float = 1e-5) -> NDArray[np.float32]:
    """Unary log-odds from prob (H, W) in [0, 1], held inside [clip, 1 - clip]: (H, W) float32."""
    held = np.clip(prob, clip, 1.0 - clip).astype(np.float64)
    return np.log(held / (1.0 - held)).astype(np.float32)


def unary_from_labels(mask: NDArray[np.bool_], *, gt_prob: float = 0.7) -> NDArray[np.float32]:
    """Unary log-odds from a hard label that is right with probability gt_prob: (H, W) float32."""
    if not 0.5 < gt_prob < 1.0:
        raise ValueError(f"gt_prob is {gt_prob}, but must lie between 0.5 and 1")
    trust = np.float32(np.log(gt_prob / (1.0 - gt_prob)))
    return np.where(mask, trust, -trust).astype(np.float32)


def refine(
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    *,
    gt_prob: float = 0.7,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 50.0,
    bilateral_srgb: float = 5.0,
    bilateral_compat: float = 10.0,
) -> NDArray[np.float32]:
    """Foreground probability (H, W) float32 of a hard label moved to the edges of the photo."""
    return mean_field(
        photo,
        unary_from_labels(mask, gt_prob=gt_prob),
        iterations=iterations,
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )


def median_filter(mask: NDArray[np.bool_], size: int = 7) -> NDArray[np.bool_]:
    """Majority in a size x size window, the edge pixels repeated outwards: (H, W) bool."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the median filter needs an odd size, not {size}")
    if size == 1:
        return mask.copy()
    return cv2.medianBlur(mask.astype(np.uint8), size).astype(bool)


def _check(photo: NDArray[np.uint8], unary: NDArray[np.float32]) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or photo.size == 0:
        raise ValueError(f"the CRF needs a photo (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
    if unary.shape != photo.shape[:2]:
        raise ValueError(f"the unary {unary.shape} does not match the photo {photo.shape}")


def _compile_kernels() -> None:
    with _COMPILING:
        _warm_up()


@cache
def _warm_up() -> None:
    announce = Announce("compiling the CRF (once, about half a minute; kept on disk for later runs)")
    with numba.core.event.install_listener("numba:compile", announce):
        field = Field(
            np.zeros((2, 2, 3), np.uint8),
            gaussian_sxy=1.0,
            gaussian_compat=1.0,
            bilateral_sxy=1.0,
            bilateral_srgb=1.0,
            bilateral_compat=1.0,
        )
        _infer(field, np.zeros((2, 2), np.float32), 1, 0.0)
