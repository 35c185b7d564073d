"""Only one process at a time writes to a folder."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from act2sal.errors import InputError

FILE = ".lock"
"""In the folder; it stays there, empty, and means nothing by itself: the system forgets a lock with its process."""


HELD = f"{FILE}.held"
"""The same where the system has no `flock`: `filelock` holds it, and takes it from a process that has ended."""


class FolderInUseError(InputError):
    """Another process is writing to the folder that the message names."""


class Lock(Protocol):
    """What is held until it is closed, or until the process ends."""

    def close(self) -> None:
        """Give it back."""


def lock(folder: Path) -> Lock:
    """Hold the lock of a folder, which is made where missing, until what is returned is closed.

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
        """Give it back."""
        self._lock.release()


def _in_use(folder: Path) -> FolderInUseError:
    return FolderInUseError(f"another process is writing to {folder}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The body alone writes to a folder; its lock file is deleted afterwards.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    with closing(lock(folder)):
        try:
            yield
        finally:
            (folder / FILE).unlink(missing_ok=True)
