"""Pseudo labels: `G = MedianFilter(CRF(sigmoid(sign * Theta)))` (Eq. 6), for one photo and for all."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from skimage.filters import threshold_otsu

from act2sal.a2s.crf import mean_field, median_filter, unary_from_labels, unary_from_prob
from act2sal.config import LabelConfig, LabelThreshold
from act2sal.data.images import ImageError, gray_png, read_photo, resize_map
from act2sal.data.origin import Origin, marked_png, write_result
from act2sal.data.pixel_budget import held
from act2sal.runtime import cores, progress
from act2sal.runtime.stopwatch import OFF, PartTimer, Stopwatch

logger = logging.getLogger("act2sal")

SUREST = float(logit(1 - 1e-5))


def normalised_cue(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The cue before the CRF, as the published code makes it: resized, sigmoid, stretched to [0, 1] per image.

    Differs: the stretching is the published code's; the paper has none.

    Args:
        logits: (h, w) float32, signed: positive on the foreground.
        size: (H, W) of the result; bilinear.

    Returns:
        (H, W) float32 in [0, 1]; zeros for a constant map.

    Raises:
        ValueError: logits that are not finite.
    """
    prob = expit(_enlarged(logits, size))
    low, high = float(prob.min()), float(prob.max())
    return (prob - low) / (high - low) if high > low else np.zeros_like(prob)


def log_odds(
    logits: NDArray[np.float32], size: tuple[int, int], threshold: LabelThreshold = "half"
) -> NDArray[np.float32]:
    """Log-odds of the foreground from signed logits, shifted so that they change sign at the threshold.

    Args:
        logits: (h, w) float32, positive on the foreground.
        size: (H, W) of the result; bilinear.
        threshold: "zero" shifts nothing, so that the CRF starts from `sigmoid(theta)`, Eq. 6 as printed. "half" moves
            the change of sign to where `normalised_cue` passes 0.5: a small shift where the network is sure of some
            foreground and some background, and a large one where it found no object, as every photo is taken to
            have one. The others shift by the threshold of `cue_mask` of that name.

    Returns:
        (H, W) float32, held inside +-11.5.

    Raises:
        ValueError: logits that are not finite.
    """
    held = _enlarged(logits, size).clip(-SUREST, SUREST)
    if threshold == "half":
        prob = expit(held)
        return held - logit((prob.min() + prob.max()) / 2)
    return held - np.float32(_level(logits, threshold))


def _enlarged(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if not np.isfinite(logits).all():
        raise ValueError("the activation map has values that are not finite")
    return resize_map(logits, size)


def cue_mask(
    logits: NDArray[np.float32], size: tuple[int, int], threshold: LabelThreshold = "half"
) -> NDArray[np.bool_]:
    """The hard label that the CRF can start from: signed logits (h, w) float32 -> (H, W) bool.

    Args:
        logits: positive on the foreground; the activation map M of Table I, but for its sign and its mean.
        size: (H, W).
        threshold: "zero" is the decision boundary itself, theta >= 0, as in the paper; "half" is 0.5 on
            `normalised_cue`, as in the published code; "otsu", "mean" and "median" are those of the activation map
            (Table I), which the foreground exceeds.

    Raises:
        ValueError: logits that are not finite.
    """
    if threshold == "half":
        return normalised_cue(logits, size) >= 0.5
    enlarged = _enlarged(logits, size)
    return enlarged >= 0 if threshold == "zero" else enlarged > _level(logits, threshold)


def _level(logits: NDArray[np.float32], threshold: LabelThreshold) -> float:
    """A threshold of `cue_mask` in the units of the logits."""
    levels: dict[LabelThreshold, Callable[[NDArray[np.float32]], float]] = {
        "zero": lambda _: 0.0,
        "otsu": threshold_otsu,
        "mean": np.mean,
        "median": np.median,
    }
    return float(levels[threshold](logits))


def label_from_logits(
    photo: NDArray[np.uint8], logits: NDArray[np.float32], config: LabelConfig, *, fitted: bool = False
) -> NDArray[np.uint8]:
    """The pseudo label of one photo (Eq. 6).

    Differs: logits of a network that was fitted on labels are log-odds, and the unary that dense CRFs are made for
    (Kraehenbuehl and Koltun, 2011); `config.soft` says whether they are thresholded.

    Args:
        photo: (H, W, 3) uint8 RGB.
        logits: (h, w) float32 signed activation, positive on the foreground.
        config: threshold, CRF and median filter.
        fitted: the logits are those of a network that was fitted on labels, not cues of Eq. 1-5.

    Returns:
        (H, W) uint8, 0 or 255.

    Raises:
        ValueError: logits that are not finite; options the CRF refuses (see `crf.mean_field`).
    """
    size = (photo.shape[0], photo.shape[1])
    if config.soft == "all" or (config.soft == "fitted" and fitted):
        unary = log_odds(logits, size, config.threshold)
    else:
        unary = unary_from_labels(cue_mask(logits, size, config.threshold), gt_prob=config.gt_prob)
    return median_filter(_mean_field(photo, unary, config) > 0.5, config.median).astype(np.uint8) * 255


def refine_prob(
    photo: NDArray[np.uint8], prob: NDArray[np.float32], config: LabelConfig
) -> NDArray[np.float32]:
    """CRF on probabilities instead of a hard label, as in HMA.

    Args:
        photo: (H, W, 3) uint8 RGB.
        prob: (H, W) float32 in [0, 1].
        config: options of the CRF.

    Returns:
        (H, W) float32 in [0, 1].
    """
    return _mean_field(photo, unary_from_prob(prob), config)


def _mean_field(
    photo: NDArray[np.uint8], unary: NDArray[np.float32], config: LabelConfig
) -> NDArray[np.float32]:
    return mean_field(
        photo,
        unary,
        iterations=config.iterations,
        gaussian_sxy=config.gaussian_sxy,
        gaussian_compat=config.gaussian_compat,
        bilateral_sxy=config.bilateral_sxy,
        bilateral_srgb=config.bilateral_srgb,
        bilateral_compat=config.bilateral_compat,
    )


def write_labels(
    photos: Sequence[Path],
    targets: Sequence[Path],
    logits: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    config: LabelConfig,
    *,
    fitted: bool = False,
    workers: int | None = None,
    resume: bool = False,
    quiet: bool = False,
    stopwatch: Stopwatch = OFF,
    seen: str = "",
) -> list[str]:
    """Write the pseudo labels of many photos as 8-bit PNG at each photo's own size.

    Threads share the work, as the CRF runs outside the interpreter lock. A photo that cannot be read is named
    and skipped; every file appears whole or not at all.

    Args:
        photos: N files.
        targets: N files to write.
        logits: N signed activations (h, w) float32, or one array (N, h, w).
        config: threshold, CRF and median filter.
        fitted: as in `label_from_logits`.
        workers: threads; None: one per core.
        resume: keep the targets that are there.
        quiet: no progress bar.
        stopwatch: times decoding and CRF.
        seen: labels that the encoders were trained with, kept in each file (`Origin.seen`).

    Returns:
        One line for each photo that could not be read.
    """
    todo = [i for i, target in enumerate(targets) if not (resume and target.is_file())]
    threads = cores.threads(workers)
    parts, origin = stopwatch.of_threads(threads), Origin("label", seen)
    write = partial(_write_label, photos, targets, logits, config, fitted, origin, parts)
    done = len(targets) - len(todo)
    failures: list[str] = []
    with (
        ThreadPoolExecutor(threads) as pool,
        progress.bar("labels", total=len(targets), done=done, quiet=quiet) as advance,
    ):
        for error in pool.map(write, todo):
            if error is not None:
                logger.warning("%s", error)
                failures.append(str(error))
            advance()
    return failures


def _write_label(
    photos: Sequence[Path],
    targets: Sequence[Path],
    logits: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    config: LabelConfig,
    fitted: bool,
    origin: Origin,
    part: PartTimer,
    index: int,
) -> ImageError | None:
    try:
        with held(photos[index]):
            with part("decode"):
                photo = read_photo(photos[index])
            with part("encoder"):  # of cues that are computed when they are asked for
                cue = np.asarray(logits[index])
            with part("CRF"):
                pixels = gray_png(label_from_logits(photo, cue, config, fitted=fitted))
                write_result(targets[index], marked_png(pixels, origin))
    except ImageError as error:
        return error
    return None
