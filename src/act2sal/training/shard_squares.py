"""Reads shards of photos and labels once, piece by piece, into squares of one size on the disk of a process."""

import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import ImageError, naming, read_photo, resize_photo, write_atomic
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import DatasetError, Photo
from act2sal.data.pixel_budget import held
from act2sal.runtime import cores, progress
from act2sal.shards.shard import Shard
from act2sal.shards.staging import Staged, staged
from act2sal.shards.stored_labels import LabelOf, labels_of
from act2sal.training.labelled_shards import LabelledShards

_VERSION = 1
_CHECKPOINTS = 20  # times that the index is written
_PHOTOS, _LABELS, _INDEX = "photos.u8", "labels.u8", "index.json"


@dataclass(frozen=True)
class Square:
    """A photo and its label, decoded.

    Attributes:
        photo: (S, S, 3) uint8 RGB.
        label: (S, S) uint8.
        size: (height, width) of the photo.
    """

    photo: NDArray[np.uint8]
    label: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass
class _Index:
    """What the two files hold: the shards that are read, and a row for each photo with a label."""

    size: int
    shards: list[str] = field(default_factory=list)
    photos: list[tuple[str, str, int, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def continued(cls, folder: Path, size: int, names: Sequence[str]) -> "_Index":
        """The index of the folder, if it is one of the first of these shards; else an empty one."""
        try:
            stored = json.loads((folder / _INDEX).read_bytes())
        except (FileNotFoundError, ValueError):
            return cls(size)
        if stored.pop("version", None) != _VERSION:
            return cls(size)
        index = cls(**stored)
        fits = index.size == size and index.shards == list(names[: len(index.shards)])
        return index if fits and index.is_backed_by(folder) else cls(size)

    def is_backed_by(self, folder: Path) -> bool:
        """Whether the files hold at least so many rows."""
        files = ((folder / _PHOTOS, 3), (folder / _LABELS, 1))
        return all(file.is_file() and file.stat().st_size >= self.bytes(depth) for file, depth in files)

    def bytes(self, depth: int) -> int:
        """Bytes of all rows, in a file of so many bytes a pixel."""
        return len(self.photos) * depth * self.size**2

    def write(self, folder: Path) -> None:
        write_atomic(folder / _INDEX, json.dumps({"version": _VERSION, **asdict(self)}).encode())


def shard_squares(
    shards: LabelledShards, folder: Path, *, size: int, workers: int, quiet: bool
) -> tuple[PhotoBank, NDArray[np.uint8], list[str]]:
    """Read the shards of this process one by one; after a stop, from the last twentieth on that was noted.

    Args:
        shards: of all processes.
        folder: gets the files; of this process alone.
        size: S, side of the squares in pixels.
        workers: threads.
        quiet: no progress bar.

    Returns:
        The photos with labels; the labels (N, S, S) uint8 in the same order, mapped for reading; a line for each
        photo that cannot be read or has no label.

    Raises:
        DatasetError: a label is damaged, or not of its photo's size.
        InputError: an archive or table cannot be read.
        OSError: likewise, or the disk is full.
    """
    own = shards.own
    index = _Index.continued(folder, size, [shard.name for shard in own])
    left = own[len(index.shards) :]
    every = max(1, len(own) // _CHECKPOINTS)
    folder.mkdir(parents=True, exist_ok=True)
    with progress.bar("shards", total=len(own), done=len(index.shards), quiet=quiet) as advance:
        for number, shard in enumerate(left, start=1):
            _read(shard.photos, labels_of(shards.labels, shards.store, shard.planned), folder, index, workers)
            index.shards.append(shard.name)
            if number % every == 0 or number == len(left):
                index.write(folder)
            advance()
    photos = [Photo(Path(told), Path(name)) for told, name, *_ in index.photos]
    bank = PhotoBank(
        pixel_file=folder / _PHOTOS,
        size=size,
        photos=photos,
        original_sizes=[(height, width) for *_, height, width in index.photos],
        states=[[name, height, width] for _, name, height, width in index.photos],
        failures=[],
    )
    shape = (len(bank), size, size)
    labels = np.memmap(folder / _LABELS, np.uint8, "r", shape=shape) if photos else np.empty(shape, np.uint8)
    return bank, labels, index.failures


def _read(shard: Shard, label_of: LabelOf, folder: Path, index: _Index, workers: int) -> None:
    """Append the photos of a shard and their labels to the files and to the index."""
    with (
        naming(folder / _PHOTOS),
        (folder / _PHOTOS).open("ab") as photos,
        (folder / _LABELS).open("ab") as labels,
        ThreadPoolExecutor(cores.threads(workers)) as pool,
        tempfile.TemporaryDirectory(prefix="act2sal-") as scratch,
    ):
        photos.truncate(index.bytes(3))
        labels.truncate(index.bytes(1))
        for piece in staged(shard, Path(scratch)):
            found = pool.map(lambda photo: _square(photo, label_of(photo.name), index.size), piece)
            for photo, square in zip(piece, found, strict=True):
                if isinstance(square, str):
                    index.failures.append(square)
                    continue
                photos.write(square.photo.tobytes())
                labels.write(square.label.tobytes())
                index.photos.append((photo.told, _named(shard, photo), *square.size))
        _on_disk(photos)
        _on_disk(labels)


def _square(photo: Staged, label: bytes | None, size: int) -> Square | str:
    """The squares of a photo and its label, or a line that says why there are none."""
    if photo.file is None:
        return photo.failure
    if label is None:
        return f"{photo.told}: no label, as it could not be read"
    try:
        with held(photo.file):
            whole = read_photo(photo.file)
    except ImageError as error:
        return f"{photo.told}: {error.reason}"
    shape = (size, size)
    try:
        mask = read_photo(label)
    except ImageError as error:
        raise DatasetError(f"{photo.told}: its label is damaged ({error.reason})") from error
    if mask.shape != whole.shape:
        raise DatasetError(
            f"{photo.told}: is not the photo that the labels were made of; its size is another"
        )
    return Square(resize_photo(whole, shape), resize_photo(mask, shape)[..., 0], whole.shape[:2])


def _named(shard: Shard, photo: Staged) -> str:
    """The name of a photo among those of all shards."""
    return (Path(shard.name).with_suffix("") / photo.name).as_posix() if shard.packed else photo.name


def _on_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
