"""MNL: one network learns from the noisy maps of all methods; what they disagree on is noise (`rivals.noise`).

Differs: a fixed number of rounds and passes takes the place of early stopping, which used masks; the network is that
of stage 2 in place of DeepLab v3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.classical.superpixels import stretched
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.rivals.noise import KL_WEIGHT, divergence, noisy_loss, updated_variance, with_noise
from act2sal.training.rivals.arrays import unit
from act2sal.training.rivals.rival_training import RivalTraining


def fit_mnl(training: RivalTraining) -> SaliencyNetwork:
    """Fit the network in rounds, between which the variance of the noise is estimated anew.

    Returns:
        The network after the last round, in eval mode.
    """
    options = training.generation.config.rival
    labels = [training.kept(f"stretched {name}", _stretched(maps)) for name, maps in training.maps.items()]
    variance: NDArray[np.float16] | None = None
    detector = training.fresh(0)
    for number in range(1, options.rounds_of("mnl") + 1):
        last = number == options.rounds_of("mnl")
        config = replace(training.stage2, epochs=options.last_epochs if last else options.epochs)
        name = f"mnl round {number}"
        planes = labels if variance is None else [*labels, variance]
        loss = plain_loss if variance is None else loss_with_noise
        detector = training.fit(name, number, detector, planes, loss, config=config)
        found = training.predictions(name, detector)
        training.samples.round_labels(number, found)
        if not last:
            rows = _variances(variance, labels, found)
            variance = training.kept(f"variance after {name}", rows, dtype=np.float16)
    return detector


def plain_loss(logits: Tensor, labels: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Cross-entropy to all labels, the loss of the first round: logits (B, 1, S, S) float32 -> a scalar."""
    return noisy_loss(torch.sigmoid(logits), torch.cat(list(labels), dim=1))


def loss_with_noise(logits: Tensor, planes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Cross-entropy of predictions with noise to all labels, and the divergence of the noise.

    Args:
        logits: (B, 1, S, S) float32.
        planes: labels of all methods, then the variance, (B, 1, S, S) float32 each.
        generator: of the CPU.

    Returns:
        Scalar float32.
    """
    *labels, variance = planes
    given = torch.cat(labels, dim=1)
    prob = with_noise(torch.sigmoid(logits), variance, generator)
    empirical = given.var(dim=1, keepdim=True)
    return noisy_loss(prob, given) + KL_WEIGHT * divergence(variance, empirical)


def _stretched(maps: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (np.round(255 * stretched(one.astype(np.float64))).astype(np.uint8) for one in maps)


def _variances(
    before: NDArray[np.float16] | None, labels: Sequence[NDArray[np.uint8]], found: NDArray[np.uint8]
) -> Iterator[NDArray[np.float16]]:
    """The variance of each photo after a round, (S, S) float16."""
    for index, prob in enumerate(found):
        given = unit(np.stack([maps[index] for maps in labels]))
        earlier = np.zeros_like(given[0]) if before is None else before[index].astype(np.float32)
        yield updated_variance(earlier, given, unit(prob)).astype(np.float16)
