"""Numba compilation that works wherever the package is installed, and says so when it takes a while."""

import logging
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

log = logging.getLogger("act2sal")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel for the CPU without the interpreter lock, keeping the machine code on disk where
    that is possible.

    Numba looks for a place in `NUMBA_CACHE_DIR`, beside the source file, then in the user's cache
    folder, and refuses to decorate
    when it can write to none of them; such an installation compiles afresh in every process instead.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "reassoc", "nsz", "arcp", "nnan"},
        "error_model": "numpy",
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return numba.njit(**options)(function)


class Announce(event.Listener):
    """Log one line when the first kernel has to be compiled; kernels loaded from disk are silent."""

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
