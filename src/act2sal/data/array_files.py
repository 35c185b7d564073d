"""Arrays on disk that are mapped while they are filled: their room is taken first, and damage is noticed.

A file is an ordinary `.npy`; `seal` puts the CRC-32 of what stands before it behind the numbers, where NumPy does not
look.
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
    """A new array, all zero, mapped from the file `path`, whose room on the disk is taken at once.

    Without that, a disk that fills up while a mapped array is written ends the process by a signal.

    Raises OSError: the disk is full; the file is gone then, and the error names it.
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
    """Bring a new array, now complete, to its file and put the checksum behind it; to be done once."""
    path = Path(array.filename or "")
    array.flush()
    value = _checksum(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(value.to_bytes(_SEAL, "little"))


def open_array(path: Path) -> MappedArray:
    """Map an array, to be read.

    Raises ArrayFileError: it is no array, or cut off; `check` notices more.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise ArrayFileError(f"{path} is damaged") from error


def check(path: Path) -> None:
    """Compare a file with its checksum; a file that was never sealed passes if no number is missing.

    Raises ArrayFileError: it is cut off, or bytes changed.
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
