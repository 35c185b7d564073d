"""Folders of photos in, saliency maps out."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from act2sal import progress
from act2sal.datasets import Photo, find_photos, mirror, refuse_collisions
from act2sal.detect import BATCH, Detector
from act2sal.images import ImageError, read_photo, resize_map, resize_photo, write_gray_png

if TYPE_CHECKING:
    from act2sal.classical.superpixels import SaliencyMethod

logger = logging.getLogger("act2sal")

AHEAD = 2 * BATCH
"""Photos that are decoded before the network wants them, and maps that wait to be written."""


@dataclass(frozen=True)
class Outcome:
    """What a run over many photos gave: maps written, and the photos that failed with one line each."""

    written: int
    failures: list[str]


def predict(
    inputs: Sequence[Path],
    out: Path,
    detector: Detector,
    *,
    workers: int = 0,
    overwrite: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Write one 8-bit PNG saliency map at each photo's own size; `INPUT/a/b.jpg` gives `OUT/a/b.png`.

    A photo that cannot be read is named and skipped. Decoding and writing run beside the network.

    Args:
        inputs: photos and folders of photos.
        out: folder of the maps.
        detector: makes the maps.
        workers: threads that decode and encode; 0: one per core.
        overwrite: replace maps that are there already.
        quiet: no progress bar.

    Raises:
        DatasetError: an input holds no photo, or a map would replace a photo or the map of another.
        FileExistsError: a map is there already and `overwrite` is not set.
    """
    photos, targets = planned(inputs, out, overwrite=overwrite)
    failures: list[str] = []
    threads = workers or os.cpu_count() or 1
    with (
        ThreadPoolExecutor(threads) as pool,
        progress.bar("predict", total=len(photos), quiet=quiet) as advance,
    ):
        writes: deque[Future[None]] = deque()
        for numbers, batch in _decoded(photos, detector.size, pool, failures):
            for number, prob, photo in zip(
                numbers, detector.network(np.stack([b[0] for b in batch])), batch, strict=True
            ):
                writes.append(pool.submit(_write, prob, photo[1], targets[number]))
            while len(writes) > AHEAD:
                writes.popleft().result()
            advance(len(numbers))
        for write in writes:
            write.result()
    return Outcome(len(photos) - len(failures), failures)


def predict_by(
    inputs: Sequence[Path],
    out: Path,
    method: "SaliencyMethod",
    *,
    workers: int = 0,
    overwrite: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Write the maps of a method that needs no network, such as `classical.rbd`; otherwise as `predict`."""
    photos, targets = planned(inputs, out, overwrite=overwrite)
    failures: list[str] = []

    def write(photo: Photo, target: Path) -> ImageError | None:
        try:
            pixels = read_photo(photo.path)
        except ImageError as error:
            return error
        write_gray_png(target, np.round(method(pixels) * 255).astype(np.uint8))
        return None

    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        progress.bar("predict", total=len(photos), quiet=quiet) as advance,
    ):
        for error in pool.map(write, photos, targets):
            if error is not None:
                logger.warning("%s", error)
                failures.append(str(error))
            advance()
    return Outcome(len(photos) - len(failures), failures)


def planned(inputs: Sequence[Path], out: Path, *, overwrite: bool) -> tuple[list[Photo], list[Path]]:
    """The photos of all inputs and where their maps go.

    Raises DatasetError, FileExistsError: see `predict`.
    """
    photos = [photo for root in inputs for photo in find_photos(root, outside=out)]
    targets = mirror(photos, out)
    refuse_collisions(photos, targets)
    existing = next((t for t in targets if t.exists()), None)
    if existing is not None and not overwrite:
        raise FileExistsError(f"{existing} exists already; --overwrite replaces it")
    return photos, targets


_Small = tuple[NDArray[np.uint8], tuple[int, int]]


def _decoded(
    photos: Sequence[Photo], size: int, pool: ThreadPoolExecutor, failures: list[str]
) -> Iterator[tuple[list[int], list[_Small]]]:
    """Batches of readable photos: their numbers, and each (S, S, 3) uint8 with its original (H, W)."""
    ahead = [pool.submit(_read_small, photo.path, size) for photo in photos[:AHEAD]]
    numbers: list[int] = []
    batch: list[_Small] = []
    for number in range(len(photos)):
        if number + AHEAD < len(photos):
            ahead.append(pool.submit(_read_small, photos[number + AHEAD].path, size))
        try:
            batch.append(ahead.pop(0).result())
            numbers.append(number)
        except ImageError as error:
            logger.warning("%s", error)
            failures.append(str(error))
        if len(batch) == BATCH or (batch and number == len(photos) - 1):
            yield numbers, batch
            numbers, batch = [], []
    if batch:
        yield numbers, batch


def _read_small(path: Path, size: int) -> _Small:
    photo = read_photo(path)
    return resize_photo(photo, (size, size)), (photo.shape[0], photo.shape[1])


def _write(prob: NDArray[np.float32], shape: tuple[int, int], target: Path) -> None:
    write_gray_png(target, np.round(resize_map(prob, shape) * 255).astype(np.uint8))
