"""Work for a client lasts while the client waits for it, and no longer than the limit."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from act2sal.serve.problems import busy

Value = TypeVar("Value")


async def while_connected(request: Request, work: Coroutine[Any, Any, Value], seconds: float) -> Value:
    """The value of `work`; the body of the request has been read.

    Raises:
        ClientDisconnect: the client went away; the work was cancelled.
        ProblemError: 503, as it took longer than `seconds`; the work was cancelled.
    """
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({worker, watcher}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if worker in done:
            return worker.result()
        if watcher in done:
            raise ClientDisconnect
        raise busy(f"this took longer than {seconds:g} seconds", 10)
    finally:
        worker.cancel()
        watcher.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
