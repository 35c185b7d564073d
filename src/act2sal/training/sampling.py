"""The order of photos in an epoch and what is drawn for each, from generators that make resuming exact."""

from itertools import cycle, islice

import torch

from act2sal.runtime import parallel

RANK_STEP = 10**15
"""Offset between the seeds of two processes, larger than any seed of a user."""


def epoch_generator(seed: int, epoch: int, rank: int = 0) -> torch.Generator:
    """The CPU generator of one epoch in one of several processes.

    What it draws depends on `seed`, `epoch` and `rank` alone, so resuming is exact.
    """
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch + rank * RANK_STEP) % 2**63)


def own_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of one epoch for the photos of this process."""
    return epoch_generator(seed, epoch, parallel.rank())


def own_batches(count: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """Batches of this process: its own `count` photos in as many batches as the other processes have."""
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
