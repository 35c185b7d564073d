"""Limits how many pixels of photos all threads hold at once: a photo waits until there is room for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from act2sal.data.images import ImageError, is_out_of_memory, pixels_in

MOST_PIXELS = 128_000_000
"""Most pixels held at once (a single larger photo is held alone); ten photos of a usual camera."""


class PixelBudget:
    """A number of pixels that threads share."""

    def __init__(self, most: int = MOST_PIXELS) -> None:
        self.most, self._held = most, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels fit, or nothing else is held; a thread may hold one share at a time."""
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
"""The budget of this process."""


@contextmanager
def held(*files: Path) -> Iterator[None]:
    """Wait until photos fit into `BUDGET`, and hold their share while the body decodes and uses them.

    Raises:
        ImageError: memory runs out nevertheless; names the first photo.
    """
    with BUDGET.hold(sum(map(pixels_in, files))), naming_lack(files[0]):
        yield


@contextmanager
def naming_lack(file: Path) -> Iterator[None]:
    """Turn an out-of-memory error of the body into an ImageError of the photo."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ImageError(file, "too little memory for this photo") from error
