"""Finds out whether the machine has a GPU, often in milliseconds and without loading PyTorch."""

import ctypes
import platform
import sys
from pathlib import Path

from act2sal.errors import DeviceError

CUDA_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
"""Library of NVIDIA's driver that PyTorch opens, by `sys.platform`."""

ROCM_DEVICE = Path("/dev/kfd")
"""Device file of AMD's driver on Linux."""


def gpu_is_possible() -> bool:
    """Whether PyTorch could find a GPU here; False is certain, True is not."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform not in CUDA_DRIVERS:
        return True
    return ROCM_DEVICE.exists() or _can_be_opened(CUDA_DRIVERS[sys.platform])


def refuse_missing(device: str, count: int = 1) -> None:
    """Refuse a device, or a number of devices, that this machine does not have.

    Args:
        device: auto, cpu, cuda or mps; the first two are always there.
        count: number of GPUs that are needed.

    Raises:
        DeviceError: there is no such device, or there are fewer; the message says what to do.
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
