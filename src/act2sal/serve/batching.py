"""Squares of concurrent requests go through the network together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act2sal.errors import CheckpointError
from act2sal.predict.detector import BATCH, Network
from act2sal.predict.maps import Found
from act2sal.serve.threads import in_thread

DEADLINE = 0.004
"""Seconds that the first square of a batch waits for others; the network takes some ten times as long for one."""


@dataclass
class _Waiting:
    """A square (S, S, 3) uint8 RGB, who waits for its map, and since when (seconds of the loop's clock)."""

    square: NDArray[np.uint8]
    map: "asyncio.Future[Found]"
    since: float


class Batcher:
    """Collects squares and runs the network over them.

    A batch leaves when it is full, or when its first square has waited for the deadline; squares that arrive while
    the network computes form the next one. Squares nobody waits for any more are left out.

    Args:
        network: what makes the maps, and confidences where it can.
        most: squares of one batch.
        deadline: in seconds.
        on_batch: called with the number of squares of each batch.
    """

    def __init__(
        self,
        network: Network,
        *,
        most: int = BATCH,
        deadline: float = DEADLINE,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.network, self.most, self.deadline, self.on_batch = network, most, deadline, on_batch
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def found(self, square: NDArray[np.uint8]) -> Found:
        """The map of a square (S, S, 3) uint8 RGB, on the network's own grid.

        Raises:
            CheckpointError: the network gives values that are no numbers.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(square, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.map

    async def run(self) -> None:
        """Make maps until this is cancelled."""
        try:
            while True:
                await self._arrived.wait()
                await self._let_others_come()
                batch = self._taken()
                if batch:
                    await self._through(batch)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _let_others_come(self) -> None:
        if len(self._waiting) < self.most:
            age = asyncio.get_running_loop().time() - self._waiting[0].since
            if age < self.deadline:
                await asyncio.sleep(self.deadline - age)

    def _taken(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self.most:
            first = self._waiting.popleft()
            if not first.map.done():
                batch.append(first)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _through(self, batch: list[_Waiting]) -> None:
        squares = np.stack([one.square for one in batch])
        self.on_batch(len(batch))
        try:
            maps = await in_thread(self._pool, lambda: _maps(self.network, squares))
        except (CheckpointError, MemoryError, RuntimeError, OSError) as error:
            for one in batch:
                if not one.map.done():
                    one.map.set_exception(error)
            return
        for one, found in zip(batch, maps, strict=True):
            if not one.map.done():
                one.map.set_result(found)


def _maps(network: Network, squares: NDArray[np.uint8]) -> list[Found]:
    if not network.rates:
        return [Found(prob) for prob in network(squares)]
    probs, confidences = network.rated(squares)
    return [Found(prob, float(value)) for prob, value in zip(probs, confidences, strict=True)]
