"""Only one process at a time writes to a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from act2sal.errors import InputError

FILE = ".lock"
"""In the folder; it stays there, empty, and means nothing by itself: the system forgets a lock with its process."""


class FolderInUseError(InputError):
    """Another process is writing to the folder that the message names."""


def lock(folder: Path) -> IO[str]:
    """Hold the lock of a folder, which is made where missing, until the returned file is closed.

    Raises:
        FolderInUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = (folder / FILE).open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise FolderInUseError(f"another process is writing to {folder}") from error
    return held


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The body alone writes to a folder; its lock file is deleted afterwards.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    with lock(folder):
        try:
            yield
        finally:
            (folder / FILE).unlink(missing_ok=True)
