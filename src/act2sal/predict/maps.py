"""Turns folders of photos into results: decodes, runs the network and writes, side by side."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import (
    ImageError,
    SaliencyMethod,
    pixels_in,
    read_with_opacity,
    resize_photo,
)
from act2sal.data.origin import LABEL_FREE, write_result
from act2sal.data.photo_search import Remarks
from act2sal.data.pixel_budget import MOST_PIXELS, naming_lack
from act2sal.data.transparency import Opacity
from act2sal.errors import InputError
from act2sal.predict.detector import BATCH, NO_CONFIDENCE, Detector
from act2sal.predict.plan import Task, planned
from act2sal.predict.records import Record
from act2sal.predict.rendering import MAPS, Rendering, WriteFile
from act2sal.runtime import cores, progress

logger = logging.getLogger("act2sal")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run over many photos; the message says how far it got."""


@dataclass
class Outcome:
    """Result of a run over many photos: photos done, and one line for each that failed."""

    written: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Decoded:
    """A decoded photo.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        square: (S, S, 3) uint8 for the network; None: not wanted.
        opacity: its transparency; None: it is opaque.
    """

    photo: NDArray[np.uint8]
    square: NDArray[np.uint8] | None
    opacity: Opacity | None = None

    @classmethod
    def of(cls, photo: NDArray[np.uint8], side: int | None) -> "Decoded":
        """`photo`, with a square of `side` pixels where it is not None."""
        return cls(photo, None if side is None else resize_photo(photo, (side, side)))


@dataclass(frozen=True)
class Found:
    """A map (h, w) float32 in [0, 1] of any size, and the confidence that there is an object, or None."""

    prob: NDArray[np.float32]
    confidence: float | None = None


class MapMaker(Protocol):
    """Makes the maps of a batch of photos."""

    @property
    def side(self) -> int | None:
        """Side of the squares it asks for, in pixels; None: it takes the photos themselves."""

    @property
    def seen(self) -> str:
        """The labels that its encoders were trained with (`Origin.seen`)."""

    @property
    def device(self) -> str:
        """What computes, for people."""

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> Sequence[Found]:
        """The maps, in the order of the photos; the pool is free for parts of the work."""


@dataclass(frozen=True)
class DetectorMaps:
    """Maps by a detector (`MapMaker`).

    Attributes:
        detector: the detector.
        rates: whether to give the confidence that there is an object as well.
        mirrored: whether to average the maps of each photo and its mirror image.
    """

    detector: Detector
    rates: bool = False
    mirrored: bool = False

    @property
    def side(self) -> int:
        """Side of the network's input."""
        return self.detector.size

    @property
    def seen(self) -> str:
        """Labels seen by the encoders of both stages."""
        return self.detector.seen

    @property
    def device(self) -> str:
        """Device of the network."""
        return self.detector.device

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        """The maps on the network's own grid."""
        squares = np.stack([decoded.square for decoded in batch if decoded.square is not None])
        if not self.rates:
            return [Found(prob) for prob in self.detector.squares(squares, mirrored=self.mirrored)]
        probs, confidences = self.detector.network.rated(squares)
        maps = self.detector.mean_of_sides(probs, squares) if self.mirrored else probs
        return [Found(prob, float(value)) for prob, value in zip(maps, confidences, strict=True)]


@dataclass(frozen=True)
class MethodMaps:
    """Maps by a method that needs no network, such as `classical.rbd` (`MapMaker`)."""

    method: SaliencyMethod
    side: None = None
    seen: str = LABEL_FREE

    @property
    def device(self) -> str:
        """The CPU, whatever there is."""
        return cores.on_cpu(cores.usable())

    def __call__(self, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> list[Found]:
        """Process the photos in parallel."""
        probs = pool.map(self.method, [decoded.photo for decoded in batch])
        return [Found(prob) for prob in probs]


def maps_by(detector: Detector, rendering: Rendering) -> DetectorMaps:
    """Make the maps that a rendering needs.

    Raises:
        InputError: a least confidence is asked of a detector that says none.
    """
    rates = detector.network.rates
    if rendering.min_confidence > 0 and not rates:
        raise InputError(NO_CONFIDENCE)
    return DetectorMaps(
        detector, rates=rates and rendering.asks_confidence, mirrored=rendering.refine == "crf"
    )


def predict(
    inputs: Sequence[str | Path],
    out: Path,
    detector: Detector,
    rendering: Rendering = MAPS,
    *,
    workers: int = 0,
    overwrite: bool = False,
    skip_existing: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Write what `rendering` makes of each photo's saliency; `INPUT/a/b.jpg` gives `OUT/a/b.png`.

    A photo that cannot be read, or whose results cannot be written, is named and skipped.

    Args:
        inputs: photos, folders of photos, and patterns.
        out: folder of the results, or the one file that a single photo gives.
        detector: makes the maps.
        rendering: kinds of output, their format, threshold and refinement; 8-bit PNG maps by default.
        workers: threads that decode and encode; 0: one per core.
        overwrite: replace results that are there already.
        skip_existing: leave out photos whose results are there already.
        quiet: no progress bar.

    Raises:
        DatasetError: an input holds no photo, or a result would replace a photo or the result of another.
        FileExistsError: a result is there already and neither flag is set.
        Interrupted: Ctrl-C; what was written stays.
    """
    remarks = Remarks()
    tasks = planned(
        inputs, out, rendering.suffixes, overwrite=overwrite, skip_existing=skip_existing, remarks=remarks
    )
    outcome = done(tasks, maps_by(detector, rendering), rendering, workers=workers, quiet=quiet)
    return replace(outcome, failures=remarks.undone + outcome.failures)


def predict_by(
    inputs: Sequence[str | Path],
    out: Path,
    method: SaliencyMethod,
    rendering: Rendering = MAPS,
    *,
    workers: int = 0,
    overwrite: bool = False,
    skip_existing: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Use a method that needs no network, such as `classical.rbd`; otherwise as `predict`."""
    remarks = Remarks()
    tasks = planned(
        inputs, out, rendering.suffixes, overwrite=overwrite, skip_existing=skip_existing, remarks=remarks
    )
    outcome = done(tasks, MethodMaps(method), rendering, workers=workers, quiet=quiet)
    return replace(outcome, failures=remarks.undone + outcome.failures)


def done(
    tasks: Sequence[Task],
    maker: MapMaker,
    rendering: Rendering,
    *,
    workers: int = 0,
    quiet: bool = False,
    on_record: Callable[[Record], None] = lambda record: None,
    on_failure: Callable[[Task, str], None] = lambda task, line: None,
    write_file: WriteFile = write_result,
) -> Outcome:
    """Do what was planned: decode ahead, make maps batch by batch, write behind.

    Args:
        tasks: photos and where their results go.
        maker: makes the maps.
        rendering: what is written.
        workers: threads that decode and encode; 0: one per core.
        quiet: no progress bar.
        on_record: called for each photo that is done, in the order of the tasks.
        on_failure: called for each photo that cannot be done, with the line that says why.
        write_file: writes a result; called in several threads.

    Raises:
        Interrupted: Ctrl-C; what was written stays.
    """
    rendering = replace(rendering, seen=maker.seen)
    with ThreadPoolExecutor(cores.threads(workers)) as pool:
        return _done(tasks, maker, rendering, pool, quiet, on_record, on_failure, write_file)


def _done(
    tasks: Sequence[Task],
    maker: MapMaker,
    rendering: Rendering,
    pool: ThreadPoolExecutor,
    quiet: bool,
    on_record: Callable[[Record], None],
    on_failure: Callable[[Task, str], None],
    write_file: WriteFile,
) -> Outcome:
    outcome = Outcome()
    writes: deque[tuple[Task, Future[Record]]] = deque()
    budget = _Ahead(tasks)

    def fail(task: Task, line: str) -> None:
        logger.warning("%s", line)
        outcome.failures.append(line)
        on_failure(task, line)
        advance()

    def settle(task: Task, write: "Future[Record]") -> None:
        try:
            with naming_lack(task.photo.path):
                on_record(write.result())
        except ImageError as error:
            fail(task, str(error))
        except OSError as error:
            fail(task, f"{task.targets[0]}: {error.strerror or error}")
        except InputError as error:
            fail(task, f"{task.photo.path}: {error}")
        else:
            outcome.written += 1
            advance()
        budget.drop(task)

    def settle_first() -> bool:
        if writes:
            settle(*writes[0])
            writes.popleft()
        return bool(writes)

    def fail_read(task: Task, line: str) -> None:
        fail(task, line)
        budget.drop(task)

    with progress.bar("predict", total=len(tasks), quiet=quiet) as advance:
        try:
            for batch in _batches(budget, maker.side, pool, fail_read, settle_first):
                for task, decoded, one in _found(maker, batch, pool, fail_read):
                    arguments = (task, decoded.photo, one.prob, one.confidence, decoded.opacity)
                    writes.append((task, pool.submit(rendering.write, *arguments, write_file)))
                while len(writes) > 2 * BATCH:
                    settle_first()
            while settle_first():
                pass
        except KeyboardInterrupt as error:
            pool.shutdown(cancel_futures=True)
            for task, write in writes:
                if not write.cancelled():
                    settle(task, write)
            raise Interrupted(f"stopped after {outcome.written} of {len(tasks)} photos") from error
    return outcome


class _Ahead:
    """Photos that are still to be decoded, in order, and the pixels of those that are held."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting = deque(tasks)
        self._held: dict[Path, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Task | None:
        """Take the next photo if it fits, or if nothing else is held."""
        path = self._waiting[0].photo.path
        pixels, held = pixels_in(path), sum(self._held.values())
        if held and held + pixels > MOST_PIXELS:
            return None
        self._held[path] = self._held.get(path, 0) + pixels
        return self._waiting.popleft()

    def drop(self, task: Task) -> None:
        """Release a photo that is done."""
        self._held.pop(task.photo.path, None)


def _batches(
    budget: _Ahead,
    side: int | None,
    pool: ThreadPoolExecutor,
    fail: Callable[[Task, str], None],
    settle_first: Callable[[], bool],
) -> Iterator[list[tuple[Task, Decoded]]]:
    """The readable photos in batches, decoded ahead as far as they fit.

    `fail` is called with one line for each that cannot be read, `settle_first` waits for what is being written.
    """
    ahead: deque[tuple[Task, Future[Decoded]]] = deque()
    batch: list[tuple[Task, Decoded]] = []
    while budget or ahead:
        while budget and len(ahead) < BATCH and (task := budget.take()) is not None:
            ahead.append((task, pool.submit(_decoded, task, side)))
        if not ahead:  # the next one does not fit beside what is held
            if batch:
                yield batch
                batch = []
            else:
                settle_first()
            continue
        task, begun = ahead.popleft()
        try:
            batch.append((task, begun.result()))
        except ImageError as error:
            fail(task, str(error))
        del begun
        if batch and (len(batch) == BATCH or not (ahead or budget)):
            yield batch
            batch = []
    if batch:
        yield batch


def _found(
    maker: MapMaker,
    batch: Sequence[tuple[Task, Decoded]],
    pool: ThreadPoolExecutor,
    fail: Callable[[Task, str], None],
) -> Iterator[tuple[Task, Decoded, Found]]:
    """Yield the maps of a batch; if memory runs out, one photo at a time, naming those that do not fit."""
    task = batch[0][0]
    try:
        with naming_lack(task.photo.path):
            found = maker([decoded for _, decoded in batch], pool)
    except ImageError as error:
        if len(batch) == 1:
            fail(task, str(error))
            return
        for one in batch:
            yield from _found(maker, [one], pool, fail)
        return
    for (task, decoded), one_found in zip(batch, found, strict=True):
        yield task, decoded, one_found


def _decoded(task: Task, side: int | None) -> Decoded:
    with naming_lack(task.photo.path):
        photo, opacity = read_with_opacity(task.photo.path)
        return replace(Decoded.of(photo, side), opacity=opacity)
