"""Several processes of one training: their ranks, and how they exchange values.

Each process owns every `world()`-th photo: it alone decodes, labels and rectifies those. Gradients and statistics of
a batch are averaged over all processes; the first process, the leader, writes what belongs to all. In a training of
one process every function here does nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from act2sal.errors import LostProcessError

Value = TypeVar("Value")

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, far longer than their shares of the photos differ in time."""


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _several() else 1


def leads() -> bool:
    """Whether this process is the leader, which writes what belongs to all."""
    return rank() == 0


def own_folder(folder: Path) -> Path:
    """A subfolder of `folder` that only this process uses; `folder` itself if there is one process."""
    return folder if world() == 1 else folder / f"process-{rank()}-of-{world()}"


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if _several():
        dist.barrier()


@contextmanager
def leader_first() -> Iterator[None]:
    """Run the body in the leader first, then in all others."""
    if not leads():
        barrier()
    yield
    if leads():
        barrier()


def from_leader(value: Value) -> Value:
    """Return the leader's value in all processes, so that all decide alike."""
    if not _several():
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def first_given(value: Value | None) -> Value | None:
    """Return the first value that is not None, in the order of the processes; None if there is none."""
    return next((one for one in gathered(value) if one is not None), None)


def gathered(value: Value) -> list[Value]:
    """Return the values of all processes, the leader's first."""
    if not _several():
        return [value]
    told = [value] * world()
    dist.all_gather_object(told, value)
    return told


def summed(values: Tensor) -> Tensor:
    """Sum a tensor of any shape over all processes, without gradients."""
    if not _several():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def averaged(values: Tensor) -> Tensor:
    """Average a tensor of any shape over all processes, without gradients."""
    return summed(values) / world()


def largest(count: int) -> int:
    """Return the largest number of all processes."""
    if not _several():
        return count
    number = torch.tensor(count)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return int(number)


def strategy() -> DDPStrategy:
    """How Fabric averages gradients: over NCCL on GPUs, over gloo elsewhere.

    Every trainable weight has to take part in the loss.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    return DDPStrategy(process_group_backend=backend, timeout=PATIENCE)


@contextmanager
def naming_the_lost() -> Iterator[None]:
    """Turn the errors that occur when another process has ended into a `LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise LostProcessError(
            "another process of this training has ended or cannot be reached; once it can, the same command with "
            "--resume goes on"
        ) from error


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
