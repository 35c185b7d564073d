"""The scores of a set of maps, with their uncertainty and all that was counted on the way."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from act2sal.evaluation.accumulator import SCORES, Totals
from act2sal.evaluation.image_scores import Curves, Measures

STANDARD = (
    "mae",
    "f_adaptive",
    "f_mean",
    "f_max",
    "f_weighted",
    "s_measure",
    "e_adaptive",
    "e_mean",
    "e_max",
    "iou",
    "iou_adaptive",
)
"""Scores by the usual conventions, in the order of tables."""

PUBLISHED_CODE = ("code_f_max", "code_s_measure")
"""Scores by the conventions of the published A2S code, where they differ."""

CONVENTIONS = (
    "maps: grey, stretched to [0, 1] one by one (min-max), resized to the mask where needed (bilinear)",
    "   a constant map keeps its value; a missing or unreadable one is named and left out",
    "masks: foreground above 127; an image without foreground scores 0 in F, weighted F and IoU",
    "F: beta^2 = 0.3; f_adaptive at min(2 mean, 1), >=; f_mean, f_max: mean and maximum, over the thresholds",
    "   0..255, of the curve averaged over the images; f_weighted: beta^2 = 1 (Margolin et al., 2014)",
    "S, E: Fan et al., 2017 and 2018; e_* at the thresholds of f_*",
    "iou: above 0.5; iou_adaptive: at the adaptive threshold",
)
CODE_CONVENTIONS = (
    "code_f_max: published A2S code, 255 thresholds, precision and recall averaged over the images first",
    "code_s_measure: published A2S code, deviations over N pixels",
)

_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class ImageRow:
    """One image of a set: its name, and what was measured of it."""

    name: str
    measures: Measures


@dataclass(frozen=True)
class Counts:
    """What was met.

    images: scored; of these, resized: maps of another size than their mask, constant: maps of one level, empty: masks
    without foreground, graded: masks of more than two values. missing: masks without a map; extra: maps without a
    mask; unreadable: one line each, path and reason, of pairs left out.
    """

    images: int = 0
    resized: int = 0
    constant: int = 0
    empty: int = 0
    graded: int = 0
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """One line for each thing that was met."""
        facts = (
            (self.resized, "maps resized to their mask"),
            (self.constant, "constant maps"),
            (self.empty, "masks without foreground"),
            (self.graded, "graded masks, binarised"),
            (len(self.missing), f"masks without a map, left out: {_some(self.missing)}"),
            (len(self.extra), f"maps without a mask, left out: {_some(self.extra)}"),
            (len(self.unreadable), f"pairs that cannot be read, left out: {_some(self.unreadable)}"),
        )
        return [f"{self.images} images scored", *(f"{count} {words}" for count, words in facts if count)]


@dataclass(frozen=True, repr=False, eq=False)
class Scores:
    """Scores of a set of maps, each an attribute of its own name: `scores.f_adaptive`, `scores.mae`, ...

    values: by name (`accumulator.SCORES`); counts: what was met; curves: means over the images; rows: the images;
    replicates: (R,) of each score in the bootstrap; without_empty: the same without masks that have no foreground,
    None where there are none (the 845 of PASCAL-S's 850).
    """

    values: Mapping[str, float]
    counts: Counts
    curves: Curves
    rows: tuple[ImageRow, ...]
    replicates: Mapping[str, NDArray[np.float64]]
    without_empty: "Scores | None"

    @classmethod
    def of(
        cls,
        totals: Totals,
        counts: Counts,
        rows: tuple[ImageRow, ...],
        without_empty: "Scores | None" = None,
    ) -> "Scores":
        """The scores of an accumulator's totals."""
        return cls(totals.scores, counts, totals.curves, rows, totals.replicates, without_empty)

    def __getattr__(self, name: str) -> float:
        if name in SCORES:
            return self.values[name]
        raise AttributeError(f"Scores has no {name!r}; scores: {', '.join(SCORES)}")

    def interval(self, name: str) -> tuple[float, float]:
        """The 95 % confidence interval of a score, by bootstrap over the images; NaN where none was asked for."""
        return _percentiles(self.replicates[name])

    def metrics(self) -> dict[str, float]:
        """The standard scores by name."""
        return {name: self.values[name] for name in STANDARD}

    def to_json(self) -> str:
        """Scores, intervals and counts as a JSON object."""
        content = {
            "scores": dict(self.values),
            "intervals_95": {
                name: self.interval(name)
                for name in self.replicates
                if np.isfinite(self.interval(name)).all()
            },
            "counts": asdict(self.counts),
            "conventions": [*CONVENTIONS, *CODE_CONVENTIONS],
        }
        if self.without_empty is not None:
            content["scores_without_empty_masks"] = dict(self.without_empty.values)
        return json.dumps(content, indent=2) + "\n"

    def __repr__(self) -> str:
        rows = [f"{name:<13} {self.values[name]:.4f}{self._plus(name)}" for name in STANDARD]
        return "\n".join([*rows, *self.counts.lines()])

    def _plus(self, name: str) -> str:
        low, high = self.interval(name)
        return f"  [{low:.4f}, {high:.4f}]" if np.isfinite(low) else ""


@dataclass(frozen=True)
class Difference:
    """Difference of one score between two methods on the same images.

    Attributes:
        value: ours - theirs.
        interval: 95 % interval of the value.
        ours_better: images on which ours is better; None for scores that a single image does not have.
        theirs_better: images on which theirs is better, likewise.
    """

    value: float
    interval: tuple[float, float]
    ours_better: int | None
    theirs_better: int | None


def difference(ours: Scores, theirs: Scores, name: str) -> Difference:
    """The paired difference of a score.

    Raises:
        ValueError: the two were not scored on the same images.
    """
    if [row.name for row in ours.rows] != [row.name for row in theirs.rows]:
        raise ValueError("a paired difference needs the same images for both")
    replicates = ours.replicates[name] - theirs.replicates[name]
    better: tuple[int | None, int | None] = (None, None)
    if hasattr(ours.rows[0].measures, name):
        mine, others = (
            np.array([getattr(row.measures, name) for row in scores.rows]) for scores in (ours, theirs)
        )
        gain = others - mine if name == "mae" else mine - others
        better = int((gain > 0).sum()), int((gain < 0).sum())
    return Difference(ours.values[name] - theirs.values[name], _percentiles(replicates), *better)


def _percentiles(replicates: NDArray[np.float64]) -> tuple[float, float]:
    if not np.isfinite(replicates).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(replicates, _INTERVAL)
    return float(low), float(high)


def _some(names: tuple[str, ...], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
