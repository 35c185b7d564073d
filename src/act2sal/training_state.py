"""Where a training loop stands: written after every epoch, read when a run goes on."""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from act2sal import parallel
from act2sal.images import write_atomic

LogRow = Mapping[str, float | int | str]
"""What one epoch measured: stage, epoch (from 1; 0 for a phase without epochs), seconds, loss, ...; the generation
where a run has several."""

WARMUP = 0.1
"""Share of the steps in which the rate of `one_cycle` rises."""

RANK_STEP = 10**15
"""Between the generators of two processes, so that they do not meet those of other seeds."""

EpochLog = Callable[[LogRow], None]
"""Receives one row per epoch."""


@dataclass(frozen=True)
class TrainingState:
    """Finished epochs of one loop in one file.

    path: the file; it is replaced whole after every epoch.
    """

    path: Path

    def save(self, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Record that `epoch` epochs are finished, with the weights and the optimiser as they are now.

        Of several processes, all of which hold the same, the leader alone writes.
        """
        if not parallel.leads():
            return
        state = {"epoch": epoch, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
        content = io.BytesIO()
        torch.save(state, content)
        write_atomic(self.path, content.getvalue())

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put back what was saved last; returns the number of finished epochs, 0 where nothing was saved."""
        if not self.path.is_file():
            return 0
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["epoch"])


def epoch_generator(seed: int, epoch: int, rank: int = 0) -> torch.Generator:
    """The CPU generator of one epoch in one of several processes.

    What it draws depends on `seed`, `epoch` and `rank` alone, so resuming is exact.
    """
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch + rank * RANK_STEP) % 2**63)


def own_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of one epoch in this process, which draws for its own photos."""
    return epoch_generator(seed, epoch, parallel.rank())


def own_batches(count: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """This process's part of the batches of `size` photos: its own `count` photos, in as many as elsewhere."""
    return batches(count, size // parallel.world(), generator, length=parallel.largest(count))


def batches(
    count: int, size: int, generator: torch.Generator, *, length: int | None = None
) -> list[list[int]]:
    """A random order of `count` indices cut into batches of `size`.

    The last batch is smaller where `size` does not divide `count`; a single photo left over joins the batch
    before it, as normalisation over a batch needs two. Where `length` exceeds `count`, the order goes on from its
    beginning until it is that long.
    """
    order = torch.randperm(count, generator=generator).tolist()
    if length is not None:
        order = list(islice(cycle(order), length))
    cut = [order[start : start + size] for start in range(0, len(order), size)]
    if len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2:] = [cut[-2] + cut[-1]]
    return cut


def flip_flags(count: int, generator: torch.Generator) -> torch.Tensor:
    """Which of `count` photos to mirror: (count,) bool, each with probability one half."""
    return torch.rand(count, generator=generator) < 0.5


def learning_rate(base: float, epoch: int, milestones: tuple[int, ...]) -> float:
    """`base`, ten times lower from each of the `milestones` on (epochs counted from 0)."""
    return base * 0.1 ** sum(epoch >= milestone for milestone in milestones)


def one_cycle(progress_share: float, peak: float) -> float:
    """Learning rate after this share of the steps: a linear rise to `peak` in a tenth, then half a cosine to 0."""
    if progress_share < WARMUP:
        return peak * progress_share / WARMUP
    return peak * (1 + math.cos(math.pi * (progress_share - WARMUP) / (1 - WARMUP))) / 2
