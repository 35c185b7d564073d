"""How sure a saliency map is that the photo holds a salient object at all.

A detector answers every photo with a map, also a photo of a lawn. The confidence is a logistic function of a few
measures of the map and, where the map of the mirrored photo is given too, of how well the two agree. All measures
lie in [0, 1] and more of any of them speaks for an object, so no weight is negative; a map without salient
pixels has the lowest confidence there is.

The weights belong to the detector that ships with the package; for another one the order of photos may still be of
use, the values are not calibrated. `recipes/confidence.py` fits them without masks, half of its photos without an
object, and checks them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COEFFICIENTS_PATH = Path(__file__).parent / "models" / "confidence.json"
"""The fitted weights; written by `python recipes/confidence.py DATA`."""

HALF_DOUBT = 0.02
"""Mean doubt at which `certainty` is about .5. Set in a first look at 110 training photos; more fitted worse."""

HALF_APART = 0.3
"""Disagreement at which `agreement` is about one half. Set in the same look, where .1 did about as well."""

HALF_FULL = 0.05
"""Share of the photo at which `extent` is one half: a twentieth is a small object."""

ONE_MAP = ("certainty", "extent")
"""Measures of a map alone; each a function below."""

TWO_MAPS = (*ONE_MAP, "agreement")
"""Measures of a map and that of the mirrored photo."""


@dataclass(frozen=True)
class Logistic:
    """confidence = 1 / (1 + exp(-(intercept + sum of weight x measure)))."""

    intercept: float
    weights: Mapping[str, float]
    """By the name of the measure; none is negative."""

    def __call__(self, measures: Mapping[str, float]) -> float:
        """The confidence in [0, 1]; measures: by name, in [0, 1]."""
        score = self.intercept + sum(weight * measures[name] for name, weight in self.weights.items())
        return float(1 / (1 + np.exp(-score)))


def confidence(prob: NDArray[np.float32], mirrored_prob: NDArray[np.float32] | None = None) -> float:
    """Confidence in [0, 1] that a photo holds a salient object.

    Args:
        prob: (H, W) float32 in [0, 1], the map of the photo.
        mirrored_prob: as `prob`, the map of the photo mirrored left to right, as the network gave it (not mirrored
            back). It costs a second pass of the network; whether that pays is `passes_chosen` in
            recipes/results/confidence.json, decided on training photos: for the shipped detector it does.

    Raises:
        ValueError: the maps differ in shape.
    """
    measures = measures_of(prob, mirrored_prob)
    one, two = shipped()
    return (one if mirrored_prob is None else two)(measures)


def measures_of(
    prob: NDArray[np.float32], mirrored_prob: NDArray[np.float32] | None = None
) -> dict[str, float]:
    """The measures that a confidence is made of, by name, each in [0, 1]; arguments as of `confidence`."""
    measures = {"certainty": certainty(prob), "extent": extent(prob)}
    if mirrored_prob is not None:
        measures["agreement"] = agreement(prob, mirrored_prob[:, ::-1])
    return measures


def certainty(prob: NDArray[np.float32]) -> float:
    """How near the salient part is to 1, each pixel weighted by its probability: sum p^2 / sum p, steepened."""
    total = float(prob.sum(dtype=np.float64))
    if total == 0:
        return 0.0
    return steepened(float(np.square(prob, dtype=np.float64).sum()) / total, HALF_DOUBT)


def extent(prob: NDArray[np.float32]) -> float:
    """Share a of the photo that is salient, saturating: a / (a + `HALF_FULL`)."""
    area = float(prob.mean(dtype=np.float64))
    return area / (area + HALF_FULL)


def agreement(prob: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Soft intersection over union of two maps of a photo, sum min / sum max, steepened; 0 if both are empty.

    Raises:
        ValueError: the maps differ in shape.
    """
    if prob.shape != other.shape:
        raise ValueError(f"two maps of one photo have one shape, not {prob.shape} and {other.shape}")
    union = float(np.maximum(prob, other).sum(dtype=np.float64))
    if union == 0:
        return 0.0
    return steepened(float(np.minimum(prob, other).sum(dtype=np.float64)) / union, HALF_APART)


def steepened(value: float, half: float) -> float:
    """A value in [0, 1], spread out where it is near 1: value x half / (half + 1 - value)."""
    return value * half / (half + 1 - value)


@cache
def shipped() -> tuple[Logistic, Logistic]:
    """The functions for the detector that ships with the package: of one map, and of two."""
    stored = json.loads(COEFFICIENTS_PATH.read_text(encoding="utf-8"))
    return Logistic(**stored["one_map"]), Logistic(**stored["two_maps"])
