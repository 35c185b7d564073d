"""Self-training of stage 1: fit the blocks again, now on the labels of the round before.

The labels of one photo are wrong in their own way, those of thousands agree on what objects look like to the
encoder. Blocks fitted on all of them keep what agrees, and the dense CRF sharpens what they answer.

Differs: not in the paper, whose stage 1 ends after Eq. 6; `stage1.rounds = 0` is the paper.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.losses import bce_loss, iou_loss
from act2sal.config import Stage1Config
from act2sal.data.photo_batches import stack_mirrored, unit_range
from act2sal.runs.training_state import (
    EpochLog,
    TrainingState,
    flip_flags,
    one_cycle,
    own_batches,
    own_generator,
)
from act2sal.runtime import parallel, progress
from act2sal.runtime.gradient_step import gradient_step
from act2sal.runtime.prefetch import pinned, prefetched
from act2sal.runtime.stopwatch import OFF, Stopwatch
from act2sal.training.stage1.features import Features, Fetched
from act2sal.training.trimming import FIRST_EPOCH, kept


def fit_on_labels(
    network: ActivationNetwork,
    features: Features,
    labels: NDArray[np.uint8],
    config: Stage1Config,
    *,
    round_number: int,
    seed: int,
    fabric: Fabric,
    state: TrainingState,
    log: EpochLog,
    quiet: bool = False,
    stopwatch: Stopwatch = OFF,
) -> ActivationNetwork:
    """Fit `network` on soft labels by BCE + IoU with AdamW; returned in eval mode.

    Goes on from `state` where it holds finished epochs; `log` gets one row per epoch.

    Args:
        network: fresh, with the `affine` boundary, on the fabric's device.
        features: of N photos, those of this process.
        labels: (N, h, w) uint8 0..255 at the size of the network's fused map.
        config: options of stage 1; the `round_*` ones count here.
        round_number: from 1.
        seed: with `round_number`, of the order of the photos and of the mirroring.
        fabric: device and precision.
        state: checkpoint of this round.
        log: receives the rows.
        quiet: no progress bars.
        stopwatch: times the parts of an epoch.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    network.boundaries[:3].requires_grad_(False)  # of the side maps, which have no part in the loss
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.round_lr, weight_decay=config.round_weight_decay, fused=True
    )
    module, optimizer = fabric.setup(network, optimizer)
    first = state.restore(module, optimizer)
    module.train()
    for epoch in range(first, config.round_epochs):
        lap = stopwatch.lap()
        generator = own_generator(seed, 1000 * round_number + epoch)
        loss = _epoch(module, features, labels, config, optimizer, fabric, generator, epoch, quiet, stopwatch)
        name = f"stage1 round {round_number}"
        log({"stage": name, "epoch": epoch + 1, "loss": loss, **lap.row()})
        state.save(epoch + 1, module, optimizer)
    return network.eval()


def _epoch(
    module: torch.nn.Module,
    features: Features,
    labels: NDArray[np.uint8],
    config: Stage1Config,
    optimizer: torch.optim.Optimizer,
    fabric: Fabric,
    generator: torch.Generator,
    epoch: int,
    quiet: bool,
    stopwatch: Stopwatch,
) -> float:
    cut = own_batches(len(features), config.batch_size, generator)
    total = torch.zeros((), device=fabric.device)
    title = f"self-training, epoch {epoch + 1}/{config.round_epochs}"
    with progress.bar(title, total=len(cut), quiet=quiet) as advance:
        ahead = prefetched(_fetched(features, labels, cut, generator, fabric.device))
        for step, (batch, target) in enumerate(stopwatch.each("waiting", ahead)):
            share = (epoch + (step + 0.5) / len(cut)) / config.round_epochs
            for group in optimizer.param_groups:
                group["lr"] = one_cycle(share, config.round_lr)
            trim = config.round_trim if epoch >= FIRST_EPOCH else 0.0
            total += _step(module, features, batch, target, trim, optimizer, fabric, stopwatch)
            advance()
    mean = float(parallel.averaged(total)) / len(cut)
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"the loss of self-training is {mean} in epoch {epoch + 1}; lower stage1.round_lr"
        )
    return mean


def _step(
    module: torch.nn.Module,
    features: Features,
    batch: Fetched,
    target: Tensor,
    trim: float,
    optimizer: torch.optim.Optimizer,
    fabric: Fabric,
    stopwatch: Stopwatch,
) -> Tensor:
    """The loss, detached; nothing waits for a GPU. target: labels (B, 1, h, w) uint8 on the host; trim: of `kept`."""
    with stopwatch.part("waiting"):
        encoded = features.levels(batch)
    with stopwatch.part("heads"):
        with fabric.autocast():
            theta = module(encoded).theta.float()
        labels = unit_range(target.to(fabric.device, non_blocking=True))
        if trim > 0:
            chosen = kept(torch.sigmoid(theta.detach()), labels, trim)
            theta, labels = theta[chosen], labels[chosen]
        loss = label_loss(theta, labels)
    return gradient_step(loss, optimizer, fabric, stopwatch)


def _fetched(
    features: Features,
    labels: NDArray[np.uint8],
    cut: Sequence[list[int]],
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[tuple[Fetched, Tensor]]:
    """What the host holds of each batch, and its labels; the only one to draw from `generator`."""
    for indices in cut:
        mirrored = flip_flags(len(indices), generator)
        target = stack_mirrored((labels[index] for index in indices), mirrored.tolist())
        yield features.fetch(indices, mirrored), pinned(torch.from_numpy(target), device)[:, None]


def label_loss(theta: Tensor, target: Tensor) -> Tensor:
    """BCE + IoU of logits theta (B, 1, h, w) against soft labels (B, 1, h, w) in [0, 1]; a scalar."""
    return bce_loss(theta, target) + iou_loss(torch.sigmoid(theta), target)
