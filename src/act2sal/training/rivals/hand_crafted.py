"""Hand-crafted maps of all photos of a training, computed once and kept as PNG files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.classical import METHODS
from act2sal.data.images import decoded, gray_png, read_photo
from act2sal.data.origin import Origin, marked_png, write_result
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import DatasetError
from act2sal.runtime import progress
from act2sal.training.epochs import Trainer
from act2sal.training.photos import read_label
from act2sal.training.rivals.arrays import kept_array


def hand_crafted_maps(
    bank: PhotoBank, folder: Path, names: Sequence[str], cache: Path, trainer: Trainer, *, workers: int
) -> dict[str, NDArray[np.uint8]]:
    """Compute the map of each photo by each method, but for those that are there; the seconds are logged.

    Args:
        bank: the photos.
        folder: keeps the maps at the size of the photos, `METHOD/a/b.png` for a/b.jpg.
        names: of methods of `classical.METHODS`.
        cache: keeps them at the size of the bank.
        trainer: log and progress.
        workers: threads.

    Returns:
        (N, S, S) uint8 0..255 by the name of the method.

    Raises:
        DatasetError: a map that is there already has not the size of its photo.
        ImageError: a photo can no longer be read, or a map that is there already cannot.
        OSError: the disk is full.
    """
    return {name: _maps_by(name, bank, folder / name, cache, trainer, workers) for name in names}


def _maps_by(
    name: str, bank: PhotoBank, folder: Path, cache: Path, trainer: Trainer, workers: int
) -> NDArray[np.uint8]:
    targets = bank.outputs(folder)
    _refuse_others(bank, targets)
    missing = [(photo.path, to) for photo, to in zip(bank.photos, targets, strict=True) if not to.is_file()]
    if missing:
        lap = trainer.stopwatch.lap()
        works = [partial(_write_map, name, photo, to) for photo, to in missing]
        in_threads(works, workers, title=f"maps of {name}", quiet=trainer.quiet)
        trainer.log({"stage": f"maps of {name}", "epoch": 0, **lap.row()})
    side = (bank.size, bank.size)
    rows = (read_label(target, side) for target in targets)
    return kept_array(cache / f"maps-{name}.npy", rows, shape=(len(bank), *side))


def _write_map(name: str, photo: Path, target: Path) -> None:
    pixels = np.round(METHODS[name](read_photo(photo)) * 255).astype(np.uint8)
    write_result(target, marked_png(gray_png(pixels), Origin("map")))


def _refuse_others(bank: PhotoBank, targets: Sequence[Path]) -> None:
    """Refuse maps that are there already and have not the size of their photos."""
    for photo, size, target in zip(bank.photos, bank.original_sizes, targets, strict=True):
        if target.is_file() and _size_of(target) != size:
            raise DatasetError(
                f"{target} is no map of {photo.path}: its size is another; name another folder"
            )


def _size_of(picture: Path) -> tuple[int, int]:
    """(height, width) of a picture, by its header."""
    return decoded(picture, lambda opened, _: (opened.height, opened.width))


def in_threads(works: Sequence[Callable[[], None]], workers: int, *, title: str, quiet: bool) -> None:
    """Do all works in threads, with a progress bar; the first error ends it, without beginning further ones."""
    with ThreadPoolExecutor(workers) as pool, progress.bar(title, total=len(works), quiet=quiet) as advance:
        begun = [pool.submit(work) for work in works]
        try:
            for done in as_completed(begun):
                done.result()
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
