"""USPS: the maps of each method are refined by networks of their own, then one network learns from all of them.

Differs: the network is that of stage 2 in place of a DRN that had learnt from masks of streets; passes and rates are
those of the options unless `rival.published_rates`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.pseudo_labels import refine_prob
from act2sal.a2s.rectify import historical_average, quantise
from act2sal.config import LabelConfig
from act2sal.data.label_bank import LabelBank
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_batches import stack
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.rivals.soft_f import (
    BETA2_OF_PHASE,
    RATES_OF_ITERATIONS,
    REFINED_THRESHOLD,
    THRESHOLDS,
    soft_f_loss,
)
from act2sal.runs.training_state import TrainingState
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.rivals.arrays import unit
from act2sal.training.rivals.rival_training import RivalTraining

MOMENTUM = 0.7
"""Share of the old average that stays after an epoch (published code)."""

CRF = LabelConfig(
    iterations=5,
    gaussian_sxy=3.0,
    gaussian_compat=3.0,
    bilateral_sxy=80.0,
    bilateral_srgb=13.0,
    bilateral_compat=10.0,
)
"""The dense CRF that predictions go through (published code)."""

FINAL_RATE = 1e-4
"""Learning rate of phase II (published code), of which those of phase I are shares."""


def fit_usps(training: RivalTraining) -> SaliencyNetwork:
    """Refine the maps of each method (phase I), and fit a network on all of them (phase II).

    Returns:
        The network of phase II, in eval mode.
    """
    options = training.generation.config.rival
    rounds = options.rounds_of("usps")
    refined: dict[str, NDArray[np.uint8]] = dict(training.maps)
    for number in range(1, rounds + 1):
        for place, method in enumerate(training.maps):
            refined[method] = _refined(training, method, number, place, refined[method])
        training.samples.round_labels(number, mean_label(refined, training.samples.indices))
    loss = partial(phase_two_loss, threshold=REFINED_THRESHOLD)
    config = replace(training.stage2, epochs=options.last_epochs)
    number = 1 + rounds * len(refined)
    return training.fit(
        "usps phase 2", number, training.fresh(number), list(refined.values()), loss, config=config
    )


def phase_one_loss(
    logits: Tensor, planes: Sequence[Tensor], generator: torch.Generator, *, threshold: float
) -> Tensor:
    """`soft_f_loss` against the labels of one method: logits (B, 1, S, S) float32 -> a scalar."""
    return soft_f_loss(torch.sigmoid(logits), planes[0], threshold, BETA2_OF_PHASE[0])


def phase_two_loss(
    logits: Tensor, planes: Sequence[Tensor], generator: torch.Generator, *, threshold: float
) -> Tensor:
    """The mean of `soft_f_loss` against the labels of all methods: logits (B, 1, S, S) float32 -> a scalar."""
    prob = torch.sigmoid(logits)
    return torch.stack([soft_f_loss(prob, label, threshold, BETA2_OF_PHASE[1]) for label in planes]).mean()


def mean_label(
    refined: Mapping[str, NDArray[np.uint8]], indices: Sequence[int]
) -> dict[int, NDArray[np.uint8]]:
    """The mean over all methods of the labels of some photos, (S, S) uint8 by the index of the photo."""
    return {
        index: np.stack([maps[index] for maps in refined.values()]).mean(axis=0).round().astype(np.uint8)
        for index in indices
    }


def _refined(
    training: RivalTraining, method: str, number: int, place: int, labels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """One iteration of phase I: fit a fresh network on `labels`; returns the average of its predictions."""
    options = training.generation.config.rival
    name = f"usps {method} {number}"
    config = replace(training.stage2, epochs=options.epochs)
    if options.published_rates:
        share = RATES_OF_ITERATIONS[min(number, len(RATES_OF_ITERATIONS)) - 1] / FINAL_RATE
        config = replace(config, lr=config.lr * share)
    folder = training.cache / f"average-{method}-{number}"
    state = replace(training.state(name), check=partial(LabelBank.check, folder))
    threshold = THRESHOLDS[method] if number == 1 else REFINED_THRESHOLD
    watcher = PredictionAverage(folder, training.bank, state, training.generation.trainer.stopwatch)
    fit = 1 + (number - 1) * len(training.maps) + place
    training.fit(
        name,
        fit,
        training.fresh(fit),
        [labels],
        partial(phase_one_loss, threshold=threshold),
        config=config,
        watcher=watcher,
        state=state,
    )
    return watcher.average()


class PredictionAverage:
    """The moving average over the epochs of predictions that went through the CRF, from zero on.

    Args:
        folder: of a `LabelBank` with the average.
        bank: the photos.
        state: checkpoint of the fit.
        stopwatch: times the CRF.
    """

    def __init__(self, folder: Path, bank: PhotoBank, state: TrainingState, stopwatch: Stopwatch) -> None:
        self.folder, self.bank, self.state, self.stopwatch = folder, bank, state, stopwatch

    def begin(self, epoch: int) -> None:
        """Open the average as it stands before an epoch; zeros before the first one."""
        if epoch == 0:
            size = self.bank.size
            zeros = (np.zeros((size, size), np.uint8) for _ in range(len(self.bank)))
            LabelBank.create(self.folder, zeros, count=len(self.bank), size=size)
        self.labels = LabelBank(self.folder, epoch=epoch)

    def see(self, indices: Sequence[int], prob: Tensor) -> None:
        """Average the predictions of a step, (B, 1, S, S) float32, into what the epoch began with."""
        if not prob.isfinite().all():  # the CRF takes no others
            raise FloatingPointError("the maps of USPS are no longer finite; a lower stage2.lr may help")
        with self.stopwatch.part("CRF"):
            averaged = historical_average(
                stack(self.bank, indices),
                prob[:, 0].cpu().numpy(),
                unit(self.labels.read(indices)[:, 0].numpy()),
                momentum=MOMENTUM,
                refine=partial(refine_prob, config=CRF),
            )
        self.labels.write(indices, quantise(torch.from_numpy(averaged))[:, None])

    def before_save(self) -> None:
        """Write the average to the disk."""
        self.labels.finish()

    def after_save(self) -> None:
        """Go on to the next epoch."""
        self.labels.commit()

    def average(self) -> NDArray[np.uint8]:
        """The average as it stands, (N, S, S) uint8, mapped for reading."""
        return self.labels.array
