"""Services for the tests: in this process, or one of their own."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal.predict.detector import Detector
from act2sal.serve.app import app_of
from act2sal.serve.settings import Settings

SIDE = 64


class Brightness:
    """A network whose map is the brightness of the photo; `gate` holds it back."""

    size = SIDE
    rates = True
    device = "test"

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def __call__(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.gate.wait(10)
        self.batches.append(len(squares))
        return squares.mean(axis=3).astype(np.float32) / 255

    def rated(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probs = self(squares)
        return probs, probs.max(axis=(1, 2))


@asynccontextmanager
async def client_of(
    settings: Settings | None = None, network: Brightness | None = None, **more: object
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service in this process, which has warmed up."""
    network = network or Brightness()
    app = app_of(Detector(network), settings or Settings())
    async with app.router.lifespan_context(app):
        while network.gate.is_set() and not network.batches:
            await asyncio.sleep(0.01)
        network.batches.clear()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def square_photo(size: tuple[int, int] = (40, 60), format: str = "PNG", color: int = 255) -> bytes:
    """A photo (height, width) with a bright square of half the height at its upper left corner."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[: size[0] // 2, : size[0] // 2] = color
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format)
    return content.getvalue()


def picture(content: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(content)))


@contextmanager
def served(*options: str | Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address of `act2sal serve` in a process of its own, which is stopped at the end."""
    command = [sys.executable, "-W", "error", "-m", "act2sal.cli", "serve", "--port", "0", *map(str, options)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"(http://\S+)/\n", line)
            if found is None:
                process.kill()
                raise AssertionError(f"no address: {line!r} {process.communicate()[1]}")
            yield found.group(1), process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
