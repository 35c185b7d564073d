"""Reads the next batch while the network computes, and never waits for results of a GPU.

A GPU works through a queue. A host that waits for a result, or copies from ordinary memory, lets the queue run empty;
copies from and to pinned memory go into the queue like any other work.

Reading ahead computes with NumPy. PyTorch would start a second team of threads for it, which keeps the cores busy
by spinning long after its work is done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
_END = object()


def prefetched(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items in their order, each computed by a thread while the one before it is used.

    An error of `items` is raised in the place of its item. `items` never runs in two threads at once.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = pool.submit(next, iterator, _END)
        while (item := pending.result()) is not _END:
            pending = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Put a tensor of the host into memory from which it is copied to `device` without waiting."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to `device`, without waiting if that is a GPU."""
    return pinned(tensor, device).to(device, non_blocking=True)


class LateWrites:
    """Hands on the results of each step one step later, when the GPU has finished copying them to the host.

    Args:
        write: called with indices and a tensor on the CPU, in the order of `put`.
    """

    def __init__(self, write: Callable[[Sequence[int], Tensor], None]) -> None:
        self._write = write
        self._pending: tuple[Sequence[int], Tensor, torch.cuda.Event | None] | None = None

    def put(self, indices: Sequence[int], results: Tensor) -> None:
        """Begin to copy `results`, and hand on those of the previous call."""
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
    """Begin a copy to the host; return it and the event that marks its arrival, or a host tensor itself."""
    if not results.is_cuda:
        return results.cpu(), None
    copy = torch.empty(results.shape, dtype=results.dtype, pin_memory=True)
    copy.copy_(results, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return copy, arrived
