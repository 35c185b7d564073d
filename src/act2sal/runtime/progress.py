"""Progress with an estimate of the time left: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL = 10.0  # seconds between two plain lines


class Advance(Protocol):
    """Counts finished steps; safe to call from several threads."""

    def __call__(self, steps: int = 1) -> None:
        """Count `steps` more finished steps."""


class PlainLines:
    """Writes `title: 30/120 (25%), elapsed 0:10, left 0:30` now and then, and once at the end."""

    def __init__(
        self,
        title: str,
        *,
        total: int,
        done: int = 0,
        stream: TextIO,
        interval: float = LINE_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._total = total
        self._done = done
        self._already_done = done
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._start = self._last = clock()
        self._printed = -1

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more; write a line if the last one is `interval` seconds old."""
        with self._lock:
            self._done += steps
            if self._clock() - self._last >= self._interval:
                self._write()

    def finish(self) -> None:
        """Write the last line, unless that is done already."""
        with self._lock:
            if self._printed != self._done:
                self._write()

    def _write(self) -> None:
        self._last = self._clock()
        self._printed = self._done
        elapsed = self._last - self._start
        fresh = self._done - self._already_done
        remaining = self._total - self._done
        percent = 100 * self._done // self._total if self._total else 100
        line = f"{self._title}: {self._done}/{self._total} ({percent}%), elapsed {clock_text(elapsed)}"
        if fresh and remaining > 0:
            line += f", left {clock_text(elapsed / fresh * remaining)}"
        print(line, file=self._stream, flush=True)


def clock_text(seconds: float) -> str:
    """`seconds` as `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


@contextmanager
def bar(title: str, *, total: int, done: int = 0, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on stderr while the body runs; the body calls `advance()` once per finished step.

    `total` counts all steps, `done` those finished by an earlier run: they count as finished, but not
    towards the speed. One bar at a time. `quiet` shows nothing.
    """
    if quiet:
        yield _advance_nothing
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _rich_bar() as shown:
            task = shown.add_task(title, total=total, completed=done)
            yield lambda steps=1: shown.advance(task, steps)
    else:
        lines = PlainLines(title, total=total, done=done, stream=sys.stderr)
        try:
            yield lines.advance
        finally:
            lines.finish()


def _advance_nothing(steps: int = 1) -> None:
    """The `advance` of a quiet bar."""


def _rich_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
