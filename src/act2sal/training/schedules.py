"""Learning rates over a training."""

import math

POWER = 0.9
"""Of the polynomial decay."""

WARMUP = 0.1
"""Share of the steps in which the learning rate of `one_cycle` rises."""


def learning_rate(base: float, epoch: int, milestones: tuple[int, ...]) -> float:
    """`base`, ten times lower from each of the `milestones` on (epochs counted from 0)."""
    return base * 0.1 ** sum(epoch >= milestone for milestone in milestones)


def one_cycle(progress_share: float, peak: float) -> float:
    """Learning rate after a share of the steps: a linear rise to `peak` over a tenth, then half a cosine to 0."""
    if progress_share < WARMUP:
        return peak * progress_share / WARMUP
    return peak * (1 + math.cos(math.pi * (progress_share - WARMUP) / (1 - WARMUP))) / 2


def triangle(progress_share: float) -> float:
    """Share of the peak after a share of the steps: a linear rise from 0 over the first half, then a linear fall."""
    return 1 - abs(2 * progress_share - 1)


def polynomial(progress_share: float) -> float:
    """Share of the first rate after a share of the epochs: `(1 - t)^0.9`."""
    return float((1 - progress_share) ** POWER)
