"""The most memory that this process has held."""

import sys

import torch

MIB = 2**20

MEMORY = "memory"
"""Stage of the row of a log that holds it."""


def peak_memory() -> dict[str, int]:
    """MiB held at once: {"MiB": resident, "GPU MiB": in tensors on the GPU}; each only where it is known.

    Windows does not tell the first; the second is of the GPU that PyTorch uses by default.
    """
    found: dict[str, int] = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["MiB"] = round(held / MIB if sys.platform == "darwin" else held / 1024)
    if torch.cuda.is_available():
        found["GPU MiB"] = round(torch.cuda.max_memory_allocated() / MIB)
    return found
