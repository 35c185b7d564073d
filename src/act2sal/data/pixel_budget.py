"""How many pixels of photos are held at once, over all threads: a larger photo waits until others are done."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from act2sal.data.images import ImageError, is_out_of_memory, pixels_in

MOST_PIXELS = 128_000_000
"""Of photos that are held at once, but for a single larger one; ten of a usual camera."""


class PixelBudget:
    """Pixels that threads may hold together."""

    def __init__(self, most: int = MOST_PIXELS) -> None:
        self.most, self._held = most, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until so many fit, or nothing else is held; a thread holds once at a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self.most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


BUDGET = PixelBudget()
"""Of this process."""


@contextmanager
def held(*files: Path) -> Iterator[None]:
    """The body decodes these photos and drops them; it waits until they fit into `BUDGET`.

    Raises ImageError: there is too little memory even so; names the first of them.
    """
    with BUDGET.hold(sum(map(pixels_in, files))), naming_lack(files[0]):
        yield


@contextmanager
def naming_lack(file: Path) -> Iterator[None]:
    """What the body raises for lack of memory becomes an ImageError of the photo."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ImageError(file, "too little memory for this photo") from error
