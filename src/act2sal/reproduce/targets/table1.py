"""Table I: how well thresholds split the raw activation map M before any training (Eq. 2)."""

from pathlib import Path

import numpy as np

from act2sal.a2s.boundary import ThresholdRule, interclass_variance, threshold_of
from act2sal.config import TrainConfig
from act2sal.reproduce.bench import Bench, Target, no_trainings
from act2sal.reproduce.results import Claim, Column, Number, Row, Table
from act2sal.reproduce.untrained import raw_activations

PAPER: dict[ThresholdRule, float] = {"otsu": 0.1408, "mean": 0.1405, "median": 0.1365}
NEARLY = 0.98
"""Share of Otsu's variance from which on the mean is nearly as good; .998 in the paper."""


def make(bench: Bench, stem: Path) -> Table:
    """Mean inter-class variance over the training photos, maps stretched to [0, 1]."""
    del stem
    found = [variances(bench, config) for config in bench.configs]
    rows = tuple(
        Row(rule, (Number(tuple(one[rule] for one in found), paper),), bench.mark)
        for rule, paper in PAPER.items()
    )
    otsu, mean, median = (row.numbers[0].mean or 0.0 for row in rows)
    seen = f"Otsu {otsu:.4f}, mean {mean:.4f}, median {median:.4f}"
    claims = (
        Claim(
            "The mean splits the activation map nearly as well as Otsu's threshold",
            mean >= NEARLY * otsu,
            seen,
        ),
        Claim("The median splits it less well than the mean", median <= mean, seen),
    )
    note = (
        "M is the sum over the channels of F (Eq. 1) with blocks that were never fitted, stretched to [0, 1] in each "
        "photo; the paper does not say how it scales M."
    )
    return Table(TARGET.title, (Column("V", "high", 4),), rows, claims, note)


def variances(bench: Bench, config: TrainConfig) -> dict[ThresholdRule, float]:
    """Mean of Eq. 2 over the training photos by the rule of the threshold."""
    found: dict[ThresholdRule, list[float]] = {rule: [] for rule in PAPER}
    for activations in raw_activations(bench.material.training, config):
        for rule, values in found.items():
            values += interclass_variance(activations, threshold_of(activations, rule)).tolist()
    return {rule: float(np.mean(values)) for rule, values in found.items()}


TARGET = Target("Table I: thresholds of the activation map", no_trainings, make)
