"""Self-training of stage 1: fit the blocks again, now on the labels of the round before.

The labels of one photo are wrong in their own way, those of thousands agree on what objects look like to the
encoder. Blocks fitted on all of them keep what agrees, and the dense CRF sharpens what they answer.

Differs: not in the paper, whose stage 1 ends after Eq. 6; `stage1.rounds = 0` is the paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.losses import bce_loss, iou_loss
from act2sal.config import Stage1Config
from act2sal.data.photo_batches import stack_mirrored, unit_range
from act2sal.runs.training_state import TrainingState
from act2sal.runtime.prefetch import pinned
from act2sal.training.epochs import Fit, Plan, Trainer, run_epochs
from act2sal.training.sampling import flip_flags
from act2sal.training.schedules import one_cycle
from act2sal.training.stage1.features import Features, Fetched
from act2sal.training.trimming import FIRST_EPOCH, kept


def fit_on_labels(
    network: ActivationNetwork,
    features: Features,
    labels: NDArray[np.uint8],
    config: Stage1Config,
    trainer: Trainer,
    state: TrainingState,
    *,
    round_number: int,
) -> ActivationNetwork:
    """Fit `network` on soft labels by BCE + IoU with AdamW; returned in eval mode.

    Args:
        network: fresh, with the `affine` boundary, on the device of the trainer.
        features: of N photos, those of this process.
        labels: (N, h, w) uint8 0..255 at the size of the network's fused map.
        config: options of stage 1; the `round_*` ones count here.
        trainer: device, seed, log and progress.
        state: checkpoint of this round.
        round_number: from 1; the order of the photos and their mirroring depend on it and on the seed.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    network.boundaries[:3].requires_grad_(False)  # of the side maps, which have no part in the loss
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.round_lr, weight_decay=config.round_weight_decay, fused=True
    )
    module, optimizer = trainer.fabric.setup(network, optimizer)
    fit = LabelFit(module, optimizer, features, labels, config, trainer, round_number)
    run_epochs(fit, module, optimizer, trainer, state)
    return network.eval()


@dataclass(frozen=True)
class LabelFit(Fit[tuple[Fetched, Tensor]]):
    """The fit of one round on the labels of the round before; the attributes are those of `fit_on_labels`."""

    module: torch.nn.Module
    optimizer: torch.optim.Optimizer
    features: Features
    labels: NDArray[np.uint8]
    config: Stage1Config
    trainer: Trainer
    round_number: int

    @property
    def plan(self) -> Plan:
        """The frame of the fit."""
        return Plan(
            stage=f"stage1 round {self.round_number}",
            title="self-training",
            rate_option="stage1.round_lr",
            epochs=self.config.round_epochs,
            photos=len(self.features),
            batch_size=self.config.batch_size,
            first_seed=1000 * self.round_number,
        )

    def batches(
        self, indices: Sequence[list[int]], epoch: int, generator: torch.Generator
    ) -> Iterator[tuple[Fetched, Tensor]]:
        """Features of each batch, and its labels (B, 1, h, w) uint8 on the host."""
        device = self.trainer.fabric.device
        for batch in indices:
            mirrored = flip_flags(len(batch), generator)
            target = stack_mirrored((self.labels[index] for index in batch), mirrored.tolist())
            yield self.features.fetch(batch, mirrored), pinned(torch.from_numpy(target), device)[:, None]

    def rates(self, epoch: int, share: float) -> list[float]:
        """The learning rate of the one group, in one cycle over all epochs."""
        return [one_cycle((epoch + share) / self.config.round_epochs, self.config.round_lr)]

    def step(self, batch: tuple[Fetched, Tensor], epoch: int, generator: torch.Generator) -> list[Tensor]:
        """Take one step; returns the loss."""
        fetched, target = batch
        fabric, stopwatch = self.trainer.fabric, self.trainer.stopwatch
        with stopwatch.part("waiting"):
            encoded = self.features.levels(fetched)
        with stopwatch.part("heads"):
            with fabric.autocast():
                theta = self.module(encoded).theta.float()
            labels = unit_range(target.to(fabric.device, non_blocking=True))
            if self.config.round_trim > 0 and epoch >= FIRST_EPOCH:
                chosen = kept(torch.sigmoid(theta.detach()), labels, self.config.round_trim)
                theta, labels = theta[chosen], labels[chosen]
            loss = label_loss(theta, labels)
        return [self.trainer.descend(loss, self.optimizer)]


def label_loss(theta: Tensor, target: Tensor) -> Tensor:
    """BCE + IoU of logits theta (B, 1, h, w) against soft labels (B, 1, h, w) in [0, 1]; a scalar."""
    return bce_loss(theta, target) + iou_loss(torch.sigmoid(theta), target)
