"""The epoch loop of all three fits: stage 1, its self-training and stage 2."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from act2sal.runs.training_state import EpochLog, TrainingState
from act2sal.runtime import parallel, progress
from act2sal.runtime.prefetch import prefetched
from act2sal.runtime.stopwatch import OFF, Stopwatch
from act2sal.training.sampling import own_batches, own_generator

Item = TypeVar("Item")

EpochWatcher = Callable[[str, int, nn.Module], None]
"""Looks on after each epoch: is told the name of a fit in the log, the epoch, counted from 1, and the network in eval
mode, in which it changes nothing."""


@dataclass(frozen=True)
class Trainer:
    """What all fits of a training share.

    Attributes:
        fabric: device and arithmetic.
        seed: seed of the training.
        log: receives one row per epoch.
        quiet: no progress bars.
        stopwatch: times the parts of an epoch.
        watcher: looks on after each epoch, such as to score it; None: nobody does. No option sets it.
    """

    fabric: Fabric
    seed: int
    log: EpochLog
    quiet: bool = False
    stopwatch: Stopwatch = OFF
    watcher: EpochWatcher | None = None

    def show(self, stage: str, epoch: int, network: nn.Module) -> None:
        """Let the watcher, if there is one, see the network of a fit after an epoch, counted from 1."""
        if self.watcher is None:
            return
        network.eval()
        with torch.no_grad():
            self.watcher(stage, epoch, network)
        network.train()

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """Take one step down the gradient of a scalar loss; returns the loss, detached, without waiting for a GPU."""
        with self.stopwatch.part("backward"):
            optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
        with self.stopwatch.part("optimiser"):
            optimizer.step()
        return loss.detach()


@dataclass(frozen=True)
class Plan:
    """The frame of a fit.

    Attributes:
        stage: name in the log.
        title: name in progress bars and errors.
        rate_option: option that lowers the learning rate, for the error of a loss that is not finite.
        epochs: passes over the photos.
        photos: number of photos of this process.
        batch_size: photos of a step, over all processes.
        measures: names of what a step returns; the first is the loss.
        first_seed: added to the number of an epoch for its generator, so that two fits draw differently.
    """

    stage: str
    title: str
    rate_option: str
    epochs: int
    photos: int
    batch_size: int
    measures: tuple[str, ...] = ("loss",)
    first_seed: int = 0


class Fit(ABC, Generic[Item]):
    """What one fit does in the epochs that `run_epochs` counts; epochs are counted from 0."""

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """The frame of the fit."""

    @abstractmethod
    def batches(self, indices: Sequence[list[int]], epoch: int, generator: torch.Generator) -> Iterable[Item]:
        """The batches of an epoch, one for each list of indices; a thread iterates over them, ahead of the steps."""

    @abstractmethod
    def rates(self, epoch: int, share: float) -> Sequence[float]:
        """The learning rate of each group of the optimiser when `share` in [0, 1) of an epoch is over."""

    @abstractmethod
    def step(self, batch: Item, epoch: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Take one step; returns the scalars of `Plan.measures`, detached, without waiting for a GPU."""

    def begin(self, epoch: int) -> None:
        """Prepare for the first epoch of this call."""

    def end_pass(self) -> None:
        """Finish the last step of an epoch."""

    def before_save(self) -> None:
        """Write what has to be on disk before the checkpoint of an epoch."""

    def after_save(self) -> None:
        """Do what has to wait for the checkpoint of an epoch."""


def run_epochs(
    fit: Fit[Item],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer: Trainer,
    state: TrainingState,
    average: nn.Module | None = None,
) -> None:
    """Run the epochs of a fit that are left, and save a checkpoint after each.

    What is drawn in an epoch depends on the seed, the epoch and the process alone, so that an interrupted fit ends
    with the same weights as an uninterrupted one.

    Args:
        fit: what is done in an epoch.
        network: trained network, set up by the fabric of the trainer.
        optimizer: likewise.
        trainer: device, seed, log and progress.
        state: checkpoint, from which the fit goes on.
        average: moving average of the weights, saved along.

    Raises:
        FloatingPointError: a loss or a weight is no longer finite.
        OSError: the disk is full.
    """
    plan = fit.plan
    first = state.restore(network, optimizer, average)
    fit.begin(first)
    network.train()
    for epoch in range(first, plan.epochs):
        lap = trainer.stopwatch.lap()
        means = _pass(fit, optimizer, trainer, epoch)
        trainer.log({"stage": plan.stage, "epoch": epoch + 1, **means, **lap.row()})
        trainer.show(plan.stage, epoch + 1, network)
        fit.before_save()
        state.save(epoch + 1, network, optimizer, average)
        fit.after_save()


def _pass(fit: Fit[Item], optimizer: torch.optim.Optimizer, trainer: Trainer, epoch: int) -> dict[str, float]:
    """One pass over the photos; returns the mean of each measure."""
    plan = fit.plan
    generator = own_generator(trainer.seed, plan.first_seed + epoch)
    cut = own_batches(plan.photos, plan.batch_size, generator)
    total = torch.zeros(len(plan.measures), device=trainer.fabric.device)
    title = f"{plan.title}, epoch {epoch + 1}/{plan.epochs}"
    with progress.bar(title, total=len(cut), quiet=trainer.quiet) as advance:
        ahead = prefetched(fit.batches(cut, epoch, generator))
        for step, batch in enumerate(trainer.stopwatch.each("waiting", ahead)):
            for group, rate in zip(
                optimizer.param_groups, fit.rates(epoch, (step + 0.5) / len(cut)), strict=True
            ):
                group["lr"] = rate
            total += torch.stack(list(fit.step(batch, epoch, generator)))
            advance()
        fit.end_pass()
    means = [value / len(cut) for value in parallel.averaged(total).tolist()]
    if not math.isfinite(means[0]):
        raise FloatingPointError(
            f"the loss of {plan.title} is {means[0]} in epoch {epoch + 1}; a lower {plan.rate_option} may help"
        )
    return dict(zip(plan.measures, means, strict=True))
