"""Several processes of one training: which one this is, and what they tell each other.

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
"""How long a process waits for the others; their shares of the photos take times that differ by far less."""


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _several() else 1


def leads() -> bool:
    """Whether this process writes what belongs to all."""
    return rank() == 0


def own_folder(folder: Path) -> Path:
    """A folder in `folder` for what this process alone reads and writes; `folder` itself where there is but one."""
    return folder if world() == 1 else folder / f"process-{rank()}-of-{world()}"


def barrier() -> None:
    """Wait until all processes are here."""
    if _several():
        dist.barrier()


@contextmanager
def leader_first() -> Iterator[None]:
    """The leader runs the body, then all others do."""
    if not leads():
        barrier()
    yield
    if leads():
        barrier()


def from_leader(value: Value) -> Value:
    """What the leader gave; so that all decide alike."""
    if not _several():
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def first_given(value: Value | None) -> Value | None:
    """What the first of the processes gave that gave anything; None where none did."""
    return next((one for one in gathered(value) if one is not None), None)


def gathered(value: Value) -> list[Value]:
    """What each process gave, the leader's first."""
    if not _several():
        return [value]
    told = [value] * world()
    dist.all_gather_object(told, value)
    return told


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, any shape; without gradients."""
    if not _several():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def averaged(values: Tensor) -> Tensor:
    """The mean over all processes, any shape; without gradients."""
    return summed(values) / world()


def largest(count: int) -> int:
    """The largest of the numbers that the processes give."""
    if not _several():
        return count
    number = torch.tensor(count)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return int(number)


def strategy() -> DDPStrategy:
    """How Fabric averages gradients: over NCCL on GPUs, over gloo elsewhere.

    All weights that are to be trained need a part in the loss.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    return DDPStrategy(process_group_backend=backend, timeout=PATIENCE)


@contextmanager
def naming_the_lost() -> Iterator[None]:
    """Turn what a process meets when another one has ended into a `LostProcessError`."""
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
