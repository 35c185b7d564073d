"""Locks that let only one process at a time write to a folder."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from act2sal.errors import InputError

FILE = ".lock"
"""Name of the lock file. It stays in the folder, empty; the lock itself ends with the process that holds it."""


HELD = f"{FILE}.held"
"""Name of the lock file where the system has no `flock` and `filelock` is used."""


class FolderInUseError(InputError):
    """Another process is writing to the folder that the message names."""


class Lock(Protocol):
    """A lock that is held until `close`, or until the process ends."""

    def close(self) -> None:
        """Release the lock."""


def lock(folder: Path) -> Lock:
    """Lock a folder, which is created if missing, until the result is closed.

    Raises:
        FolderInUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        return _OtherLock(folder)
    held = (folder / FILE).open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise _in_use(folder) from error
    return held


class _OtherLock:
    """A lock by `filelock`, for Windows."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no flock, which is why it is here
            import filelock

        (folder / FILE).touch()  # a run is known by it
        self._lock = filelock.FileLock(folder / HELD, blocking=False)
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise _in_use(folder) from error

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()


def _in_use(folder: Path) -> FolderInUseError:
    return FolderInUseError(f"another process is writing to {folder}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder during the body, and delete the lock file afterwards.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    with closing(lock(folder)):
        try:
            yield
        finally:
            (folder / FILE).unlink(missing_ok=True)
