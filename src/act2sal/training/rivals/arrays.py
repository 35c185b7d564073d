"""One picture per photo as an array on disk, which a training that was stopped finds again."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act2sal.data.array_files import ArrayFileError, check, create_array, open_array, seal


def kept_array(
    path: Path, rows: Iterable[NDArray[Any]], *, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8
) -> NDArray[Any]:
    """Open the array of a file; where there is none, or a damaged one, write it first.

    Args:
        path: `.npy`; replaced whole.
        rows: N arrays; only read where the file has to be written.
        shape: N, then that of a row.
        dtype: of the numbers.

    Returns:
        The array of that shape, mapped for reading.

    Raises:
        OSError: the disk is full.
    """
    if not _usable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        array = create_array(partial, dtype, shape)
        for target, row in zip(array, rows, strict=True):
            target[:] = row
        seal(array)
        partial.replace(path)
    return open_array(path)


def unit(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes as float32 in [0, 1], in the same shape."""
    return np.asarray(levels, np.float32) / np.float32(255)


def _usable(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        check(path)
    except ArrayFileError:
        return False
    return True
