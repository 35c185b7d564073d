"""The photos that a training learns from, and its labels, as squares of one size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.config import TrainConfig
from act2sal.data.images import ImageError, read_photo, resize_photo
from act2sal.data.photo_bank import MIN_PHOTOS, PhotoBank, build_photo_bank
from act2sal.data.photo_files import Photo
from act2sal.data.photo_search import Remarks, Search, SilentRemarks
from act2sal.runs.run_directory import PHOTOS
from act2sal.runtime import cores, parallel
from act2sal.training.epochs import Trainer


@dataclass(frozen=True)
class PhotosUsed:
    """Result of a command: the number of photos used, and one line for each that could not be read."""

    photos: int
    failures: list[str]


@dataclass(frozen=True)
class TrainingPhotos:
    """What a training learns from.

    Attributes:
        own: the photos of this process.
        total: number of the photos of all processes.
        failures: one line for each photo of all processes that could not be read.
        labels: (N, S, S) uint8, one for each of `own`; None: they did not come with the photos.
    """

    own: PhotoBank
    total: int
    failures: list[str]
    labels: NDArray[np.uint8] | None = None


def photos_of(folder: Path, out: Path, config: TrainConfig) -> tuple[list[Photo], list[str]]:
    """Find the photos to learn from, and one line for each part of the folder that cannot be read.

    Masks are never opened; earlier results, and those of this call in `out`, are left out.

    Raises:
        DatasetError: no photos, or it cannot be known which pictures are masks.
    """
    remarks = Remarks() if parallel.leads() else SilentRemarks()
    search = Search(outside=out, exclude=config.exclude, careful=True, limit=config.limit, remarks=remarks)
    return search.photos([folder]), remarks.undone


def workers_of(config: TrainConfig) -> int:
    """Threads of this process; by default, several processes share the cores of their machine."""
    return config.workers or max(1, cores.usable() // config.devices)


def photo_bank(
    photos: Sequence[Photo],
    cache: Path,
    config: TrainConfig,
    size: int | None,
    *,
    quiet: bool,
    least: int = MIN_PHOTOS,
) -> PhotoBank:
    """Decode photos to squares of `size` pixels (None: the config's), kept in `cache`; least: as of the bank."""
    side = size or config.size
    folder = cache / f"photos-{side}"
    workers = workers_of(config)
    return build_photo_bank(photos, folder, size=side, workers=workers, quiet=quiet, least=least)


def refuse_changed(bank: PhotoBank) -> None:
    """Refuse to go on if a photo is no longer the file that was decoded.

    Raises:
        ImageError: one of them vanished or changed.
    """
    changed = bank.changed()
    if changed:
        reason = "vanished or changed while it was in use; put back as it was, the work can go on"
        raise ImageError(bank.photos[changed[0]].path, reason)


def read_label(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a label and resize it to `size` = (height, width): uint8 0..255."""
    return resize_photo(read_photo(path), size)[..., 0]


def decode(
    photos: Sequence[Photo], cache: Path, config: TrainConfig, size: int | None, trainer: Trainer
) -> PhotoBank:
    """Decode photos to squares of `size` pixels (None: the config's) kept in `cache`, timed and logged.

    Raises:
        DatasetError: fewer than two readable photos.
        OSError: the disk is full.
    """
    lap = trainer.stopwatch.lap()
    with trainer.stopwatch.part("decode"):
        bank = photo_bank(photos, cache, config, size, quiet=trainer.quiet)
    trainer.log({"stage": f"{PHOTOS} {bank.size} pixels", "epoch": 0, **lap.row()})
    return bank
