"""Arrays on disk that are filled through a memory map: space is reserved first, and damage is noticed.

A file is an ordinary `.npy`. `seal` appends the CRC-32 of the header and the numbers, which NumPy ignores.
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from act2sal.errors import InputError

_BLOCK = 2**22  # bytes read at a time
_SEAL = 4  # bytes of a CRC-32


MappedArray = np.memmap[Any, np.dtype[Any]]


class ArrayFileError(InputError):
    """A file that does not hold the array that was written; the message names it."""


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> MappedArray:
    """Create a file for an array of zeros, reserve its space on the disk, and map it.

    Without the reservation, a disk that fills up while a mapped array is written kills the process by a signal.

    Raises:
        OSError: the disk is full; the error names the file, which is deleted.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS lacks it
        try:
            _take_room(path)
        except OSError as error:
            path.unlink()
            raise OSError(error.errno, error.strerror, str(path)) from error
    return array


def seal(array: MappedArray) -> None:
    """Flush an array that `create_array` made to its file and append the checksum; call it once."""
    path = Path(array.filename or "")
    array.flush()
    value = _checksum(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(value.to_bytes(_SEAL, "little"))


def open_array(path: Path) -> MappedArray:
    """Map an array for reading.

    Raises:
        ArrayFileError: the file holds no array, or is cut off; `check` finds other damage.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise ArrayFileError(f"{path} is damaged") from error


def check(path: Path) -> None:
    """Compare a file with its checksum; a file without one passes if no number is missing.

    Raises:
        ArrayFileError: it is cut off, or bytes changed.
    """
    array, size = open_array(path), path.stat().st_size
    if size == array.offset + array.nbytes:
        return
    with path.open("rb") as file:
        file.seek(size - _SEAL)
        expected = int.from_bytes(file.read(), "little")
    if _checksum(path, size - _SEAL) != expected:
        raise ArrayFileError(f"{path} is damaged")


def _take_room(path: Path) -> None:
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _checksum(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes of a file."""
    value = 0
    with path.open("rb") as file:
        for start in range(0, size, _BLOCK):
            value = zlib.crc32(file.read(min(_BLOCK, size - start)), value)
    return value
