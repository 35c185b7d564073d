"""`act2sal predict --watch`: photos are done as they arrive in a folder."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from act2sal.data.photo_files import DatasetError
from act2sal.predict.plan import Task

INTERVAL = 1.0
"""Seconds between two looks at the folder; a file that has not changed from one to the next is whole."""


def arrivals(
    plan: Callable[[], Sequence[Task]],
    *,
    interval: float = INTERVAL,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[Task]]:
    """Wait for photos without end: yields those that are new, or have changed, and are no longer being written.

    A photo is yielded once for each content it has; whether it could be done is the caller's concern.

    Args:
        plan: what there is to do, such as `planned` with `skip_existing`.
        interval: seconds between two looks.
        sleep: waits that long.
    """
    before: dict[Path, tuple[int, int]] = {}
    given: dict[Path, tuple[int, int]] = {}
    while True:
        tasks = _tasks(plan)
        now = {task.photo.path: state for task in tasks if (state := _state(task.photo.path)) is not None}
        ready = [
            task
            for task in tasks
            if (path := task.photo.path) in now and before.get(path) == now[path] != given.get(path)
        ]
        if ready:
            given |= {task.photo.path: now[task.photo.path] for task in ready}
            yield ready
        before = now
        sleep(interval)


def _tasks(plan: Callable[[], Sequence[Task]]) -> Sequence[Task]:
    """An empty folder is no error here."""
    try:
        return plan()
    except DatasetError:
        return []


def _state(path: Path) -> tuple[int, int] | None:
    """Bytes and modification time (ns) of a file; None where it has vanished."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
