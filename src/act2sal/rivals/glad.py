"""GLAD (Whitehill et al., NIPS 2009): who of several labelers is right, and how easy each item is, by EM.

A labeler j of ability alpha_j votes whether an item i of easiness beta_i = exp(b_i) is good; the vote equals the
truth Z_i with probability sigmoid(alpha_j beta_i). SBF (Zhang, Han and Zhang, ICCV 2017) lets methods vote on photos
and on superpixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

ABILITY_MEAN, EASINESS_MEAN = 1.0, 1.5
"""Means of the normal priors, of variance 1, of alpha_j and of b_i (published code)."""

MOST_TURNS = 25
"""Most turns of the conjugate gradient in one M-step (published code)."""

SMALLEST_GRADIENT = 1e-3
"""Largest component of the gradient at which an M-step ends (published code)."""

SMALLEST_GAIN = 1e-10
"""Relative change of Q below which EM ends (published code)."""

MOST_ROUNDS = 200
"""Most rounds of EM; far more than are needed."""


@dataclass(frozen=True)
class Glad:
    """What the votes say.

    Attributes:
        truth: (N,) float64, probability that each item is good.
        ability: (M,) float64, alpha of each labeler; negative if the labeler is mostly wrong.
        easiness: (N,) float64 > 0, beta of each item.
    """

    truth: NDArray[np.float64]
    ability: NDArray[np.float64]
    easiness: NDArray[np.float64]


def glad(votes: NDArray[np.bool_], prior: NDArray[np.float64]) -> Glad:
    """Estimate truth, abilities and easiness by EM from the prior means.

    Args:
        votes: (N, M) bool, vote of each labeler on each item.
        prior: (N,) float64 in (0, 1), probability before the votes that an item is good.

    Raises:
        ValueError: shapes that do not fit, or a prior that is 0 or 1.
    """
    if votes.ndim != 2 or prior.shape != votes.shape[:1]:
        raise ValueError(f"votes {votes.shape} and a prior {prior.shape} do not belong together")
    if not ((prior > 0) & (prior < 1)).all():
        raise ValueError("the prior has to lie between 0 and 1")
    items, labelers = votes.shape
    parameters = np.concatenate([np.full(labelers, ABILITY_MEAN), np.full(items, EASINESS_MEAN)])
    before = -np.inf
    for _ in range(MOST_ROUNDS):
        truth = posterior(parameters, votes, prior)
        agreement = np.where(votes, truth[:, None], 1 - truth[:, None])
        found = minimize(
            lambda p, a=agreement: negative_q(p, a),
            parameters,
            jac=True,
            method="CG",
            options={"maxiter": MOST_TURNS, "gtol": SMALLEST_GRADIENT},
        )
        parameters, q = found.x, -float(found.fun)
        if abs(q - before) < SMALLEST_GAIN * max(1.0, abs(q)):
            break
        before = q
    truth = posterior(parameters, votes, prior)
    return Glad(truth, parameters[:labelers], np.exp(parameters[labelers:]))


def posterior(
    parameters: NDArray[np.float64], votes: NDArray[np.bool_], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """E-step: probability that each item is good, (N,) float64.

    Args:
        parameters: (M + N,) float64, the abilities, then b of each item.
        votes: (N, M) bool.
        prior: (N,) float64 in (0, 1).
    """
    strength = _strength(parameters, votes.shape[1])
    if_good = np.where(votes, log_expit(strength), log_expit(-strength)).sum(axis=1) + np.log(prior)
    if_bad = np.where(votes, log_expit(-strength), log_expit(strength)).sum(axis=1) + np.log1p(-prior)
    return np.asarray(expit(if_good - if_bad), np.float64)


def negative_q(
    parameters: NDArray[np.float64], agreement: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The expected log-likelihood that an M-step maximises, times -1, and its gradient.

    Args:
        parameters: (M + N,) float64, the abilities, then b of each item.
        agreement: (N, M) float64, probability that each vote equals the truth.
    """
    labelers = agreement.shape[1]
    ability, b = parameters[:labelers], parameters[labelers:]
    strength = _strength(parameters, labelers)
    q = (agreement * log_expit(strength) + (1 - agreement) * log_expit(-strength)).sum()
    q -= (np.square(ability - ABILITY_MEAN).sum() + np.square(b - EASINESS_MEAN).sum()) / 2
    slope = agreement - expit(strength)  # of q by the strength
    easiness = np.exp(b)
    by_ability = (slope * easiness[:, None]).sum(axis=0) - (ability - ABILITY_MEAN)
    by_b = (slope * ability[None]).sum(axis=1) * easiness - (b - EASINESS_MEAN)
    return -float(q), -np.concatenate([by_ability, by_b])


def _strength(parameters: NDArray[np.float64], labelers: int) -> NDArray[np.float64]:
    """The products alpha_j beta_i, (N, M)."""
    return np.exp(parameters[labelers:])[:, None] * parameters[None, :labelers]
