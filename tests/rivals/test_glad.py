"""GLAD against the likelihood itself, and on votes of known abilities."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_expit, logsumexp

from act2sal.rivals.glad import ABILITY_MEAN, EASINESS_MEAN, glad, negative_q, posterior

VOTES = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
PRIOR = np.array([0.6, 0.7, 0.4, 0.5, 0.3, 0.8])


def negative_log_posterior(parameters: NDArray[np.float64]) -> float:
    """Of abilities and b, the truth summed out; written down plainly."""
    ability, b = parameters[:3], parameters[3:]
    total = 0.0
    for i in range(len(VOTES)):
        terms = []
        for good, share in ((True, PRIOR[i]), (False, 1 - PRIOR[i])):
            term = np.log(share)
            for j in range(3):
                strength = ability[j] * np.exp(b[i])
                term += log_expit(strength if VOTES[i, j] == good else -strength)
            terms.append(term)
        total += logsumexp(terms)
    total -= (np.square(ability - ABILITY_MEAN).sum() + np.square(b - EASINESS_MEAN).sum()) / 2
    return -float(total)


def test_em_ends_where_the_likelihood_is_greatest() -> None:
    found = glad(VOTES, PRIOR)
    start = np.concatenate([np.full(3, ABILITY_MEAN), np.full(6, EASINESS_MEAN)])
    direct = minimize(negative_log_posterior, start, method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(found.ability, direct.x[:3], atol=5e-3)
    np.testing.assert_allclose(np.log(found.easiness), direct.x[3:], atol=5e-3)
    np.testing.assert_allclose(found.truth, posterior(direct.x, VOTES, PRIOR), atol=5e-3)


def test_the_gradient_of_the_m_step() -> None:
    rng = np.random.default_rng(0)
    agreement, parameters = rng.random((6, 3)), rng.normal(1, 0.5, 9)
    value, gradient = negative_q(parameters, agreement)
    numeric = approx_fprime(parameters, lambda p: negative_q(p, agreement)[0], 1e-6)
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, numeric, atol=1e-3)


def test_a_posterior_by_hand() -> None:
    # One labeler of ability 1, an item with b = 0: a vote is right with sigmoid(1) = .731
    right = 1 / (1 + np.exp(-1))
    found = posterior(np.array([1.0, 0.0]), np.array([[True]]), np.array([0.5]))
    assert found[0] == pytest.approx(right)
    found = posterior(np.array([1.0, 0.0]), np.array([[False]]), np.array([0.8]))
    assert found[0] == pytest.approx(0.8 * (1 - right) / (0.8 * (1 - right) + 0.2 * right))


def test_a_labeler_who_is_mostly_wrong_is_found() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.5
    rights = np.array([0.95, 0.85, 0.8, 0.25])
    votes = np.where(rng.random((200, 4)) < rights, truth[:, None], ~truth[:, None])
    found = glad(votes, np.full(200, 0.5))
    assert found.ability[0] > found.ability[1] > 0
    assert found.ability[3] < 0
    assert ((found.truth > 0.5) == truth).mean() > 0.93


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        glad(VOTES, PRIOR[:3])
    with pytest.raises(ValueError, match="between 0 and 1"):
        glad(VOTES, np.ones(6))
