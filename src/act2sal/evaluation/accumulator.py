"""Means over many images with confidence intervals, image by image and without keeping any of them.

The intervals are those of a bootstrap over the images in its Poisson form: in each of the replicates an image counts
a number of times drawn from a Poisson distribution of mean 1. The draws depend on the image's name, so two methods
scored on the same images share them and their difference can be read off replicate by replicate.
"""

import zlib
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from act2sal.evaluation.image_scores import CURVES, MEASURES, Curves, ImageScores
from act2sal.evaluation.measures import BETA_SQUARED, Curve

REPLICATES = 1000
_BUFFER = 64
_MAXIMA = ("f_max", "e_max", "code_f_max")
SCORES = (*MEASURES, *_MAXIMA)
"""Names of the scores of a set of images: the means of the measures, and the maxima of the mean curves."""

_CURVE_LENGTHS = {name: 255 if name.startswith("code_") else 256 for name in CURVES}
_NEEDED = ("f", "e", "code_precision", "code_recall")


@dataclass(frozen=True)
class Totals:
    """Means over images.

    Attributes:
        scores: by name.
        curves: mean curves.
        replicates: (R,) float64 for each score, NaN where no image was drawn.
    """

    scores: dict[str, float]
    curves: Curves
    replicates: dict[str, NDArray[np.float64]]


class Accumulator:
    """Add images one by one, ask for the totals at any time.

    Memory does not grow with the number of images: sums of the measures and curves, and of each replicate's.

    Args:
        replicates: of the bootstrap; 0: no intervals.
        seed: of the draws.
    """

    def __init__(self, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.replicates, self.seed, self.images = replicates, seed, 0
        self._sum = np.zeros(len(MEASURES) + sum(_CURVE_LENGTHS.values()))
        self._drawn = np.zeros((replicates, 1 + len(MEASURES) + sum(_CURVE_LENGTHS[n] for n in _NEEDED)))
        self._rows: list[NDArray[np.float64]] = []
        self._weights: list[NDArray[np.float64]] = []

    def add(self, image: ImageScores, name: str = "") -> None:
        """Count an image; `name` tells it from the others and makes it comparable between methods."""
        self.images += 1
        measures = np.array(astuple(image.measures))
        curves = [getattr(image.curves, curve) for curve in CURVES]
        self._sum += np.concatenate([measures, *curves])
        needed = [getattr(image.curves, curve) for curve in _NEEDED]
        self._rows.append(np.concatenate([[1.0], measures, *needed]))
        # Without a name, the place in the sequence is the name.
        key = zlib.crc32(name.encode(errors="surrogateescape")) if name else self.images
        generator = np.random.default_rng([self.seed, key])
        self._weights.append(generator.poisson(1.0, self.replicates).astype(np.float64))
        if len(self._rows) == _BUFFER:
            self._flush()

    def totals(self) -> Totals:
        """Means, curves and replicates of what was added so far.

        Raises:
            ValueError: nothing was added.
        """
        if self.images == 0:
            raise ValueError("no image was added")
        self._flush()
        mean = self._sum / self.images
        curves = Curves(*np.split(mean[len(MEASURES) :], np.cumsum([_CURVE_LENGTHS[n] for n in CURVES])[:-1]))
        scores = dict(zip(MEASURES, mean[: len(MEASURES)].tolist(), strict=True))
        maxima = _maxima(curves.f, curves.e, curves.code_precision, curves.code_recall)
        scores |= {name: float(values[0]) for name, values in maxima.items()}
        return Totals(scores, curves, self._replicates())

    def _flush(self) -> None:
        if self._rows:
            self._drawn += np.array(self._weights).T @ np.array(self._rows)
            self._rows, self._weights = [], []

    def _replicates(self) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            means = self._drawn[:, 1:] / self._drawn[:, :1]
        measures, *curves = np.split(
            means, np.cumsum([len(MEASURES), *(_CURVE_LENGTHS[n] for n in _NEEDED[:-1])]), axis=1
        )
        return dict(zip(MEASURES, measures.T, strict=True)) | _maxima(*curves)


def _maxima(f: Curve, e: Curve, code_precision: Curve, code_recall: Curve) -> dict[str, NDArray[np.float64]]:
    """Greatest value of mean curves (R, 256), or of one (256,): (R,) by name.

    Differs: f_max and e_max average the curves of the images first, as py-sod-metrics does; code_f_max averages
    precision and recall first, as the published A2S code does.
    """
    numerator = (1 + BETA_SQUARED) * code_precision * code_recall
    code_f = numerator / (BETA_SQUARED * code_precision + code_recall + 1e-8)
    return {
        name: np.atleast_1d(curve.max(axis=-1)) for name, curve in zip(_MAXIMA, (f, e, code_f), strict=True)
    }
