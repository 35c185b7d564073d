"""MAE, F, IoU, E and S of one map, from its level counts.

The values are those of py-sod-metrics to rounding. Thresholds of curves run from 255 down to 0, as there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act2sal.evaluation.levels import LEVELS, LevelCounts

BETA_SQUARED = 0.3
S_ALPHA = 0.5
_EPSILON = float(np.spacing(1))

Curve = NDArray[np.float64]
"""(256,) one value per threshold, 255 down to 0."""


class Selected(NamedTuple):
    """Pixels that thresholds select: in the foreground and in the background of the mask, (T,) int64 each."""

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]


def mean_absolute_error(counts: LevelCounts, values: Curve) -> float:
    """MAE (Eq. 16), in [0, 1]; values: (256,) of `levels.stretched`."""
    error = counts.foreground * (1 - values) + counts.background * values
    return float(error.sum() / counts.pixels)


def selected_by_thresholds(counts: LevelCounts, values: Curve) -> Selected:
    """What `map * 255`, cut to whole numbers, selects at each of the 256 thresholds: (256,)."""
    bins = np.clip(values * 255, 0, 255).astype(np.uint8)
    right, wrong = (
        np.bincount(bins, weights=levels, minlength=LEVELS).astype(np.int64)[::-1].cumsum()
        for levels in (counts.foreground, counts.background)
    )
    return Selected(right, wrong)


def selected_above(counts: LevelCounts, values: Curve, threshold: float, *, strict: bool = False) -> Selected:
    """What one threshold in [0, 1] selects, itself included unless `strict`: (1,)."""
    taken = values > threshold if strict else values >= threshold
    return Selected(*(np.array([levels[taken].sum()]) for levels in (counts.foreground, counts.background)))


def adaptive_threshold(prob: NDArray[np.float64]) -> float:
    """Twice the mean of prob (H, W), at most 1.

    Of the pixels and not of the counts: a level can equal the threshold, and then the rounding of the sum decides.
    """
    return min(2 * float(prob.mean()), 1.0)


def precision_recall(selected: Selected, area: int) -> tuple[Curve, Curve]:
    """Precision and recall at each threshold, 0 where nothing is selected; area: foreground pixels of the mask."""
    precision = selected.right / np.maximum(selected.right + selected.wrong, 1)
    return precision, selected.right / max(area, 1)


def f_measure(selected: Selected, area: int) -> Curve:
    """F with beta^2 = 0.3 (Eq. 15) at each threshold; 0 where no pixel of the foreground is selected."""
    precision, recall = precision_recall(selected, area)
    numerator = (1 + BETA_SQUARED) * precision * recall
    return numerator / np.where(numerator == 0, 1, BETA_SQUARED * precision + recall)


def intersection_over_union(selected: Selected, area: int) -> Curve:
    """IoU at each threshold; 0 where neither mask nor map has foreground."""
    return selected.right / np.maximum(area + selected.wrong, 1)


def e_measure(selected: Selected, area: int, pixels: int) -> Curve:
    """Enhanced alignment (Fan et al., 2018) at each threshold.

    Slightly above 1 for a perfect map, since py-sod-metrics and the authors divide by one pixel less than there are.
    """
    taken = selected.right + selected.wrong
    if area == 0:
        total = (pixels - taken).astype(np.float64)
    elif area == pixels:
        total = taken.astype(np.float64)
    else:
        missed = area - selected.right
        parts = (selected.right, selected.wrong, missed, pixels - taken - missed)
        mean_map, mean_mask = taken / pixels, area / pixels
        deviations = [(in_map - mean_map, in_mask - mean_mask) for in_map in (1, 0) for in_mask in (1, 0)]
        total = np.sum([part * _aligned(*pair) for part, pair in zip(parts, deviations, strict=True)], axis=0)
    return total / (pixels - 1 + _EPSILON)


def _aligned(in_map: Curve, in_mask: float) -> Curve:
    return (2 * (in_map * in_mask) / (in_map**2 + in_mask**2 + _EPSILON) + 1) ** 2 / 4


def s_measure(counts: LevelCounts, values: Curve, *, published_code: bool = False) -> float:
    """Structure measure (Fan et al., 2017), in [0, 1].

    Differs: where the centroid lies in the last row or column, two quadrants are empty and py-sod-metrics gives NaN;
    an empty quadrant, whose weight is 0, adds nothing here.

    Args:
        counts: of the map.
        values: (256,) of `levels.stretched`.
        published_code: the variant of the published A2S code, with deviations over N instead of N - 1 pixels and
            other constants against division by zero.
    """
    area, mean = int(counts.foreground.sum()), _mean(counts.foreground + counts.background, values)
    if area == 0:
        return 1 - mean
    if area == counts.pixels:
        return mean
    whole = _object_score(counts, values, area, published_code) * S_ALPHA
    score = whole + (1 - S_ALPHA) * _region_score(counts, values, published_code)
    return score if published_code else max(0.0, score)


def _object_score(counts: LevelCounts, values: Curve, area: int, published_code: bool) -> float:
    share = area / counts.pixels
    inside = _likeness(counts.foreground, values, published_code)
    return share * inside + (1 - share) * _likeness(counts.background, 1 - values, published_code)


def _likeness(levels: NDArray[np.int64], values: Curve, published_code: bool) -> float:
    size, mean = int(levels.sum()), _mean(levels, values)
    free = 0 if published_code else 1
    deviation = np.sqrt((levels * (values - mean) ** 2).sum() / (size - free)) if size > free else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + (1e-8 if published_code else _EPSILON)))


def _region_score(counts: LevelCounts, values: Curve, published_code: bool) -> float:
    total = 0.0
    for (background, foreground), place in zip(counts.counts, counts.quadrants, strict=True):
        size = int(background.sum() + foreground.sum())
        if size:
            part = _Quadrant(background, foreground, place, counts.shape)
            total += size / counts.pixels * _similarity(part, values, published_code)
    return total


class _Quadrant(NamedTuple):
    """Its levels, (256,) each, and where it lies in a map of `shape`."""

    background: NDArray[np.int64]
    foreground: NDArray[np.int64]
    place: tuple[slice, slice]
    shape: tuple[int, int]


def _similarity(part: _Quadrant, values: Curve, published_code: bool) -> float:
    """SSIM of map and mask in one quadrant."""
    levels, area = part.background + part.foreground, int(part.foreground.sum())
    size, x = int(levels.sum()), _mean(levels, values)
    y = area / size
    free = size - 1 + _EPSILON
    spread = size if published_code else free
    variance_x = _squares(part, levels, values, x) / spread
    variance_y = (area * (1 - y) ** 2 + (size - area) * y**2) / spread
    products = part.foreground * ((values - x) * (1 - y)) - part.background * ((values - x) * y)
    alpha = 4 * x * y * float(products.sum() / free)
    beta = (x**2 + y**2) * (variance_x + variance_y)
    if alpha != 0:
        return alpha / (beta + (1e-8 if published_code else _EPSILON))
    return 1.0 if beta == 0 else 0.0


def _squares(part: _Quadrant, levels: NDArray[np.int64], values: Curve, mean: float) -> float:
    """Sum of the squared deviations from the mean.

    A constant quadrant scores 1 where this is 0 and the mask has one class, else 0. Whether it is 0 hangs on how the
    mean is rounded, so for these the pixels are summed as py-sod-metrics does.
    """
    present = np.flatnonzero(levels)
    if len(present) > 1:
        return float((levels * (values - mean) ** 2).sum())
    constant = np.full(part.shape, values[present[0]])[part.place]
    return float(np.sum((constant - np.mean(constant)) ** 2))


def _mean(levels: NDArray[np.int64], values: Curve) -> float:
    return float((levels * values).sum() / max(int(levels.sum()), 1))
