"""Work that goes on beside the network: the next batch is read meanwhile, and nobody waits for a GPU's results.

A GPU takes its orders in a queue. A host that waits for a result, or for a copy from ordinary memory, lets that queue
run dry; copies from and to pinned memory are orders like any other.

What reads ahead computes with NumPy. PyTorch would start a second team of threads for it, whose members keep the
cores busy with waiting long after their work is done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
_END = object()


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """The items in their order, each made by a thread while the one before it is used.

    What `items` raises is raised where its item would have come. `items` runs in no two threads at once.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = pool.submit(next, iterator, _END)
        while (item := pending.result()) is not _END:
            pending = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host, in memory from which it can be copied to `device` without waiting."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; a GPU copies it without anybody waiting."""
    return pinned(tensor, device).to(device, non_blocking=True)


class LateWrites:
    """Results of each step, handed on one step later, when a GPU has long copied them to the host.

    Args:
        write: receives indices and a tensor on the CPU, in the order of `put`.
    """

    def __init__(self, write: Callable[[Sequence[int], Tensor], None]) -> None:
        self._write = write
        self._pending: tuple[Sequence[int], Tensor, torch.cuda.Event | None] | None = None

    def put(self, indices: Sequence[int], results: Tensor) -> None:
        """Begin to copy `results`, and hand on those of the call before."""
        arriving = _to_host(results)
        self.flush()
        self._pending = (indices, *arriving)

    def flush(self) -> None:
        """Hand on what is pending; to be called after the last `put`."""
        if self._pending is None:
            return
        indices, results, arrived = self._pending
        self._pending = None
        if arrived is not None:
            arrived.synchronize()
        self._write(indices, results)


def _to_host(results: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the host, and what says that it has arrived; the tensor itself if it is there already."""
    if not results.is_cuda:
        return results.cpu(), None
    copy = torch.empty(results.shape, dtype=results.dtype, pin_memory=True)
    copy.copy_(results, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return copy, arrived
