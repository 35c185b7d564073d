"""Work of a request in threads, and room for decoded photos, so that memory has a bound."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

Value = TypeVar("Value")


async def in_thread(pool: ThreadPoolExecutor, work: Callable[[], Value]) -> Value:
    """The value of `work`, called in a thread of the pool.

    Where the caller is cancelled, work that has not begun is dropped, and work that has begun is waited for: what it
    holds is still in memory until then.
    """
    future = pool.submit(work)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.cancelled():
            await asyncio.wait([asyncio.wrap_future(future)])
        raise


class Room:
    """A number of pixels that requests share; whoever came first is let in first.

    Args:
        most: pixels; one larger photo is let in alone.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Wait until so many pixels fit, and hold them for the body."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            self._leave(pixels, turn)

    def _leave(self, pixels: int, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            self.held -= pixels
        else:
            self._waiting.remove((pixels, turn))
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            pixels, turn = self._waiting[0]
            if turn.cancelled():  # whoever waited takes the place out
                return
            if self.held and self.held + pixels > self.most:
                return
            self.held += pixels
            self._waiting.popleft()
            turn.set_result(None)
