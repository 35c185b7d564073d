"""Numba compilation that works wherever the package is installed, and says so when it takes a while."""

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

log = logging.getLogger("act2sal")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel to run without the interpreter lock, and cache the machine code on disk if possible.

    Numba looks for a writable place in `NUMBA_CACHE_DIR`, beside the source file, then in the user's cache
    folder, and raises an error where it finds none; then each process compiles anew.
    """
    # NaN is kept out by the callers; infinities stay legal.
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc", "nsz", "arcp", "nnan"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return numba.njit(**options)(function)


class Announce(event.Listener):
    """Logs one line when the first kernel has to be compiled; kernels loaded from disk are silent."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.said = False

    def on_start(self, event: event.Event) -> None:
        """Numba begins to compile a kernel."""
        if not self.said:
            log.warning(self.message)
            self.said = True

    def on_end(self, event: event.Event) -> None:
        """Numba has compiled a kernel."""
