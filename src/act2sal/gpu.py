"""Whether a machine can have a GPU at all, known in milliseconds; PyTorch, which knows for sure, takes seconds."""

import ctypes
import platform
import sys
from pathlib import Path

CUDA_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
"""The library that NVIDIA's driver brings, which PyTorch itself opens, by `sys.platform`."""

ROCM_DEVICE = Path("/dev/kfd")
"""Of AMD's driver (Linux)."""


def gpu_is_possible() -> bool:
    """False: PyTorch would find no GPU here. True: it has to be asked."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform not in CUDA_DRIVERS:
        return True
    return ROCM_DEVICE.exists() or _can_be_opened(CUDA_DRIVERS[sys.platform])


def _can_be_opened(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
