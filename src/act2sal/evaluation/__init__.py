"""Score saliency maps against masks: MAE, F, weighted F, IoU, S and E, each with its confidence interval.

Every map is stretched to its full range first (min-max per image), every measure is taken per image and then
averaged; `scores.CONVENTIONS` lists the other conventions. Values equal those of py-sod-metrics.
"""

from act2sal.evaluation.accumulator import REPLICATES, SCORES, Accumulator
from act2sal.evaluation.folders import Tally, evaluate, evaluate_pairs, name_of, names_of
from act2sal.evaluation.image_scores import (
    MASK_THRESHOLD,
    Curves,
    ImageScores,
    Measures,
    score_map,
    score_prob,
)
from act2sal.evaluation.scores import (
    CODE_CONVENTIONS,
    CONVENTIONS,
    PUBLISHED_CODE,
    STANDARD,
    Counts,
    Difference,
    ImageRow,
    Scores,
    difference,
)

__all__ = [
    "CODE_CONVENTIONS",
    "CONVENTIONS",
    "MASK_THRESHOLD",
    "PUBLISHED_CODE",
    "REPLICATES",
    "SCORES",
    "STANDARD",
    "Accumulator",
    "Counts",
    "Curves",
    "Difference",
    "ImageRow",
    "ImageScores",
    "Measures",
    "Scores",
    "Tally",
    "difference",
    "evaluate",
    "evaluate_pairs",
    "name_of",
    "names_of",
    "score_map",
    "score_prob",
]
