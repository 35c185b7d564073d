"""Keeps freed memory in the process, so that the next tensor of the same size need not be cleared again.

glibc gives every large block back to the kernel as soon as it is freed and fetches a new one, page by page and
zeroed, for the next tensor. Networks allocate and free tens of megabytes per layer, so that a good part of a training
step is spent in the kernel (`benchmarks/allocator.py`, `recipes/results/allocator_speed.json`).
"""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # names of malloc.h, M_*
_NEVER = 2**31 - 1
_STEP = 64 * 2**20


def keep_freed_memory() -> bool:
    """Make this process reuse freed memory instead of returning it to the kernel.

    The process stays as large as it ever was until it ends. Safe to call again.

    Returns:
        Whether it has an effect: it needs glibc, so not on macOS, Windows or musl.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP))
    return all(libc.mallopt(option, value) == 1 for option, value in settings)
