"""How many cores this process may use; bounds every pool of threads, ours and those of libraries.

The least of these counts: the cores of the machine, the scheduler's affinity mask (`taskset`), the quota of the
container (`docker --cpus`, which Python does not report), and `--workers`.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from threadpoolctl import ThreadpoolController

from act2sal.errors import InputError

ASKED = "OMP_NUM_THREADS"
"""Environment variable with the user's own limit for libraries, which is lowered but never raised."""

VARIABLES = (ASKED, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that libraries read when they are loaded."""


@dataclass
class _Bound:
    """The limit of the running command, and how to undo it."""

    workers: int | None = None
    undo: ExitStack = field(default_factory=ExitStack)


_bound = _Bound()


def usable() -> int:
    """How many cores this process may use, 1 or more."""
    return max(1, math.ceil(min(_by_mask(), cgroup_cores(), _bound.workers or sys.maxsize)))


def threads(workers: int | None) -> int:
    """Threads of a pool: `workers`, but at most one per usable core; 0 or None means one per usable core.

    Raises:
        InputError: `workers` is negative.
    """
    if workers is not None and workers < 0:
        raise InputError(f"workers must be at least 0, not {workers}")
    return min(workers or sys.maxsize, usable())


def on_cpu(count: int) -> str:
    """Name of the CPU as a device for people: "CPU, 2 threads"."""
    return f"CPU, {count} thread{'s' if count > 1 else ''}"


@contextmanager
def at_most(workers: int) -> Iterator[None]:
    """Limit the threads of pools and libraries as `lower` does, for the body only."""
    global _bound
    before = _bound
    with ExitStack() as undo:
        _bound = _Bound(before.workers, undo)
        try:
            lower(workers)
            yield
        finally:
            _bound = before


def lower(workers: int) -> None:
    """Limit the threads of pools and libraries, also of those loaded later; 0 means one per usable core.

    Inside `at_most` the limit ends with its body. A limit is never raised.
    """
    _bound.workers = min(workers or sys.maxsize, _bound.workers or sys.maxsize)
    count = min(usable(), _number(os.environ.get(ASKED)))
    for name in VARIABLES:
        if not (name.startswith("NUMBA") and "numba" in sys.modules):  # which refuses a change
            _lower_variable(name, count)
    for library in ThreadpoolController().lib_controllers:
        _lower_loaded(library.get_num_threads, library.set_num_threads, count)
    if (torch := sys.modules.get("torch")) is not None:
        _lower_loaded(torch.get_num_threads, torch.set_num_threads, count)
    if (cv2 := sys.modules.get("cv2")) is not None:
        _lower_loaded(cv2.getNumThreads, cv2.setNumThreads, count)


def _number(text: str | None) -> int:
    """Parse a number of threads; a very large number if there is none."""
    return int(text) if text is not None and text.isdigit() and int(text) > 0 else sys.maxsize


def _lower_variable(name: str, count: int) -> None:
    before = os.environ.get(name)
    os.environ[name] = str(min(count, _number(before)))
    if before is None:
        _bound.undo.callback(os.environ.pop, name, None)
    else:
        _bound.undo.callback(os.environ.__setitem__, name, before)


def _lower_loaded(get: Callable[[], int | None], put: Callable[[int], None], count: int) -> None:
    before = get()
    if before is not None and count < before:
        put(count)
        _bound.undo.callback(put, before)


def _by_mask() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_cores(own: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """CPU quota of the control groups of this process, in cores, which may be fractional; infinity if there is none.

    Args:
        own: file that lists the groups of this process.
        mount: root of the tree of groups; versions 1 and 2, and both at once.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    granted = [math.inf]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            roots, quota = [mount, mount / "unified"], _version_2
        elif "cpu" in controllers.split(","):
            roots, quota = [mount / controllers, mount / "cpu"], _version_1
        else:
            continue
        granted += [quota(folder) for root in roots for folder in _to_root(root, group)]
    return min(granted)


def _to_root(root: Path, group: str) -> Iterator[Path]:
    """Yield the folders of a group and of its parents; inside a container the group may be the root itself."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:count])


def _version_2(folder: Path) -> float:
    return _ratio(*_words(folder / "cpu.max", 2))


def _version_1(folder: Path) -> float:
    return _ratio(_words(folder / "cpu.cfs_quota_us", 1)[0], _words(folder / "cpu.cfs_period_us", 1)[0])


def _words(file: Path, count: int) -> list[str]:
    try:
        found = file.read_text(encoding="utf-8").split()
    except OSError:
        found = []
    return [*found, *[""] * count][:count]


def _ratio(quota: str, period: str) -> float:
    """Quota divided by period; infinity if one of them is not positive, "max" or missing."""
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        return int(quota) / int(period)
    return math.inf
