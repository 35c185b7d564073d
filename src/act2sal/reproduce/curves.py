"""Curves over epochs out of the rows that a watched training leaves."""

import statistics
from collections.abc import Sequence

from act2sal.reproduce.drawing import Curve
from act2sal.reproduce.watching import Row


def curve_of(seeds: Sequence[Sequence[Row]], stage: str, watched: str, measure: str = "mae") -> Curve:
    """The mean over seeds of a measure after each epoch of a fit.

    Args:
        seeds: rows of one training each.
        stage: name of the fit.
        watched: name of the set.
        measure: name of the score.
    """
    values: dict[int, list[float]] = {}
    for rows in seeds:
        for row in rows:
            if (row["stage"], row["set"]) == (stage, watched):
                values.setdefault(int(row["epoch"]), []).append(float(row[measure]))
    return sorted(values), [statistics.fmean(values[epoch]) for epoch in sorted(values)]
