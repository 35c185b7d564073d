"""Where the time of a training goes: seconds by part of the work."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

if TYPE_CHECKING:
    from torch import nn

Part = Literal["decode", "encoder", "heads", "backward", "optimiser", "CRF", "waiting"]
"""Parts of the work. decode: reading photos from their files or from RUN/cache. encoder, heads: forward passes, the
loss being part of the heads. CRF: with the median filter and the writing of a label. waiting: for the disk or other
threads."""

PARTS: tuple[Part, ...] = get_args(Part)
SECONDS = "seconds"
"""Key of a stage's seconds in a log row; the key of a part is `seconds/PART`."""

PartTimer = Callable[[Part], AbstractContextManager[None]]
Item = TypeVar("Item")


def part_key(part: Part) -> str:
    """Name of a part's seconds in a row of the log."""
    return f"{SECONDS}/{part}"


def _at_once() -> None:
    """Wait for nothing: on a CPU all work is done when a call returns."""


class Stopwatch:
    """Adds up seconds by part of the work; a nested part does not count for the outer one.

    It times the thread that made it: work of other threads counts only while this thread waits for it. Work that
    several threads share is timed by `of_threads`.

    Args:
        running: whether to measure parts; if False, only stages are measured.
        synchronise: waits until the device has finished its work; called where parts begin and end.
        clock: returns seconds.
    """

    def __init__(
        self,
        *,
        running: bool = True,
        synchronise: Callable[[], object] = _at_once,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.running, self.clock = running, clock
        self.seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        self._synchronise = synchronise
        self._open: list[tuple[Part, float]] = []
        self._inner = [0.0]  # seconds of the parts inside each open one, and of all outermost ones
        self._thread = threading.get_ident()
        self._lock = threading.Lock()

    def lap(self) -> "Lap":
        """Begin a stage."""
        return Lap(self)

    def part(self, name: Part) -> AbstractContextManager[None]:
        """Count the time of the body for a part."""
        return self._part(name) if self._times() else nullcontext()

    def each(self, name: Part, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and count the time of computing each for a part."""
        rest = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item

    def watch(self, module: "nn.Module", name: Part) -> None:
        """Count the forward passes of a module for a part from now on."""
        if self.running:
            module.register_forward_pre_hook(lambda *_: self._begin(name))
            module.register_forward_hook(lambda *_: self._end())

    def of_threads(self, count: int) -> PartTimer:
        """Time parts in `count` threads that share the work: the sum of their seconds, divided by `count`."""
        return lambda name: self._share(name, count) if self.running else nullcontext()

    def _times(self) -> bool:
        return self.running and threading.get_ident() == self._thread

    @contextmanager
    def _part(self, name: Part) -> Iterator[None]:
        self._begin(name)
        try:
            yield
        finally:
            self._end()

    def _begin(self, name: Part) -> None:
        if self._times():
            self._synchronise()
            self._open.append((name, self.clock()))
            self._inner.append(0.0)

    def _end(self) -> None:
        if self._times():
            self._synchronise()
            name, started = self._open.pop()
            taken = self.clock() - started
            self._add(name, taken - self._inner.pop())
            self._inner[-1] += taken

    @contextmanager
    def _share(self, name: Part, count: int) -> Iterator[None]:
        started = self.clock()
        try:
            yield
        finally:
            self._add(name, (self.clock() - started) / count)

    def _add(self, name: Part, seconds: float) -> None:
        with self._lock:
            self.seconds[name] += seconds


class Lap:
    """One stage, from its beginning."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._before = dict(stopwatch.seconds)
        self._started = stopwatch.clock()

    def row(self) -> dict[str, float]:
        """The seconds since the stage began, for a log row: {"seconds": 1.5, "seconds/decode": 0.5, ...}.

        Parts without time are left out; the others add up to at most the whole.
        """
        spent = {part: now - self._before[part] for part, now in self._stopwatch.seconds.items()}
        parts = {part_key(part): seconds for part, seconds in spent.items() if seconds > 0}
        return {SECONDS: self._stopwatch.clock() - self._started, **parts}


class TimedPhotos(Sequence[Any]):
    """Photos whose reading is timed as `decode`."""

    def __init__(self, photos: Sequence[Any], stopwatch: Stopwatch) -> None:
        self._photos, self._stopwatch = photos, stopwatch

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        """Photo `index`."""
        with self._stopwatch.part("decode"):
            return self._photos[index]


OFF = Stopwatch(running=False)
"""A stopwatch that measures stages but no parts."""
