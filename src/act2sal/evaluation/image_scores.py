"""All measures of one map against its mask, and remarks on the pair."""

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.evaluation.levels import LevelCounts, count_levels, stretched
from act2sal.evaluation.measures import (
    Curve,
    Selected,
    adaptive_threshold,
    e_measure,
    f_measure,
    intersection_over_union,
    mean_absolute_error,
    precision_recall,
    s_measure,
    selected_above,
    selected_by_thresholds,
)
from act2sal.evaluation.weighted_f import weighted_f_measure

MASK_THRESHOLD = 127
"""Grey level above which a pixel of a mask is foreground."""


@dataclass(frozen=True)
class Measures:
    """Measures of one image, or their means over many; in [0, 1], except that E can slightly exceed 1.

    Attributes:
        mae: mean absolute error (Eq. 16).
        f_adaptive: F-measure with beta^2 = 0.3 (Eq. 15) at twice the mean of the map.
        f_mean: F-measure averaged over 256 thresholds.
        f_weighted: weighted F-measure (Margolin et al., 2014).
        s_measure: structure measure (Fan et al., 2017).
        e_adaptive: enhanced alignment (Fan et al., 2018) at twice the mean of the map.
        e_mean: enhanced alignment averaged over 256 thresholds.
        iou: intersection over union at 0.5.
        iou_adaptive: intersection over union at twice the mean of the map.
        code_s_measure: structure measure as in the published A2S code.
    """

    mae: float
    f_adaptive: float
    f_mean: float
    f_weighted: float
    s_measure: float
    e_adaptive: float
    e_mean: float
    iou: float
    iou_adaptive: float
    code_s_measure: float


MEASURES = tuple(field.name for field in fields(Measures))


@dataclass(frozen=True)
class Curves:
    """Per threshold, 255 down to 0, (256,) float64 each, of one image or the means over many.

    code_precision, code_recall: (255,), as the published A2S code counts them, which has no threshold of 255.
    """

    precision: Curve
    recall: Curve
    f: Curve
    e: Curve
    code_precision: Curve
    code_recall: Curve


CURVES = tuple(field.name for field in fields(Curves))


@dataclass(frozen=True)
class ImageScores:
    """Scores of one pair, and remarks on it.

    Attributes:
        resized: the map had another size than the mask.
        constant: the map has a single level.
        empty: the mask has no foreground.
        graded: the mask holds more than two values.
    """

    measures: Measures
    curves: Curves
    resized: bool
    constant: bool
    empty: bool
    graded: bool


def score_map(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], *, graded: bool = False) -> ImageScores:
    """Score one map against its mask.

    Args:
        pixels: (H, W) uint8; resized to the mask, bilinear, where it has another size.
        mask: (h, w) bool.
        graded: whether the file of the mask holds more than two values.
    """
    resized = pixels.shape != mask.shape
    if resized:
        height, width = mask.shape
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    counts = count_levels(pixels, mask)
    values = stretched(counts)
    prob = values[pixels]
    area = int(counts.foreground.sum())
    by_threshold = selected_by_thresholds(counts, values)
    adaptive = selected_above(counts, values, adaptive_threshold(prob))
    half = selected_above(counts, values, 0.5, strict=True)
    curves = _curves(by_threshold, area, counts)
    measures = Measures(
        mae=mean_absolute_error(counts, values),
        f_adaptive=float(f_measure(adaptive, area)[0]),
        f_mean=float(curves.f.mean()),
        f_weighted=weighted_f_measure(prob, mask),
        s_measure=s_measure(counts, values),
        e_adaptive=float(e_measure(adaptive, area, counts.pixels)[0]),
        e_mean=float(curves.e.mean()),
        iou=float(intersection_over_union(half, area)[0]),
        iou_adaptive=float(intersection_over_union(adaptive, area)[0]),
        code_s_measure=s_measure(counts, values, published_code=True),
    )
    constant = int(np.count_nonzero(counts.foreground + counts.background)) == 1
    return ImageScores(measures, curves, resized, constant, area == 0, graded)


def score_prob(prob: NDArray[np.floating], mask: NDArray[np.bool_]) -> ImageScores:
    """Score prob (H, W) float in [0, 1] against mask (h, w) bool, as if it had been saved in 8 bits.

    Raises:
        ValueError: values outside [0, 1] or not finite, or maps that are not two-dimensional.
    """
    if prob.ndim != 2 or mask.ndim != 2:
        raise ValueError(f"a map and its mask need (H, W), not {prob.shape} and {mask.shape}")
    if not (np.isfinite(prob).all() and prob.min() >= 0 and prob.max() <= 1):
        raise ValueError("a saliency map needs values in [0, 1]")
    return score_map(np.round(prob * 255).astype(np.uint8), mask.astype(bool))


def _curves(selected: Selected, area: int, counts: LevelCounts) -> Curves:
    precision, recall = precision_recall(selected, area)
    # The published code's histogram has 255 bins, of which the last holds the levels 254 and 255.
    code = Selected(selected.right[1:], selected.wrong[1:])
    code_precision, code_recall = precision_recall(code, area)
    return Curves(
        precision=precision,
        recall=recall,
        f=f_measure(selected, area),
        e=e_measure(selected, area, counts.pixels),
        code_precision=code_precision,
        code_recall=code_recall,
    )
