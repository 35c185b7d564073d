"""Whether a machine has a GPU: that it has none is often known in milliseconds; PyTorch needs seconds."""

import ctypes
import platform
import sys
from pathlib import Path

from act2sal.errors import DeviceError

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


def refuse_missing(device: str, count: int = 1) -> None:
    """Raise a DeviceError where so many devices that an option asks for are not there.

    Args:
        device: auto, cpu, cuda or mps; the first two are everywhere.
        count: of the GPUs that have to be there.

    Raises:
        DeviceError: this machine has none, or fewer; one line that says what to do.
    """
    if device in ("auto", "cpu"):
        return
    found = _gpus(device) if "torch" in sys.modules or gpu_is_possible() else 0
    if found == 0:
        raise DeviceError(f"no {device} device on this machine; --device auto or cpu")
    if found < count:
        raise DeviceError(f"--devices {count}: this machine has {found} {device} devices")


def _gpus(device: str) -> int:
    import torch

    if device == "mps":
        return int(torch.backends.mps.is_available())
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _can_be_opened(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
