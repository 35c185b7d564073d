"""Peak memory of this process."""

import sys

import torch

MIB = 2**20

MEMORY = "memory"
"""Name of the log row that holds the peak memory."""


def peak_memory() -> dict[str, int]:
    """Peak memory so far: {"MiB": resident memory, "GPU MiB": tensors on the GPU}, as far as known.

    Resident memory is not known on Windows; the GPU is the one that PyTorch uses by default.
    """
    found: dict[str, int] = {}
    if sys.platform != "win32":
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["MiB"] = round(held / MIB if sys.platform == "darwin" else held / 1024)
    if torch.cuda.is_available():
        found["GPU MiB"] = round(torch.cuda.max_memory_allocated() / MIB)
    return found
