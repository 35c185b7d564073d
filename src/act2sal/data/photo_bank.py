"""Photos decoded once and kept on disk as squares of one size."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import ImageError, naming, read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import _LOGGER, DatasetError, Photo, PhotoState, photo_states, png_paths
from act2sal.data.pixel_budget import held
from act2sal.runtime import cores
from act2sal.runtime.progress import Advance, bar

MIN_PHOTOS = 2


_BANK_VERSION = 1


_WINDOW = 64  # photos decoded before they are written


_CHECKPOINTS = 20  # times that the index is written while a bank is built


_SHOWN = 8


@dataclass(frozen=True)
class Failure:
    """A photo that could not be read, and why."""

    photo: Photo
    reason: str

    def __str__(self) -> str:
        return f"{self.photo.path}: {self.reason}"


class PhotoBank(Sequence[NDArray[np.uint8]]):
    """Readable photos as squares: `bank[i]` is (S, S, 3) uint8 RGB, read from a file of all of them.

    `build_photo_bank` makes one. `photos`, `states`, `original_sizes` and the squares share their order.

    Attributes:
        size: S, the side of the squares in pixels.
        photos: the photos that could be read.
        states: size and modification time of each file when it was decoded (`photo_states`).
        original_sizes: (height, width) of each photo.
        failures: the photos that could not be read.
        whole: the bank itself, or the bank that this is a `part` of.
        rows: places of the squares in the file.
    """

    def __init__(
        self,
        *,
        pixel_file: Path,
        size: int,
        photos: list[Photo],
        original_sizes: list[tuple[int, int]],
        states: list[PhotoState],
        failures: list[Failure],
        whole: "PhotoBank | None" = None,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.pixel_file, self.size = pixel_file, size
        self.whole = self if whole is None else whole
        self.rows = range(len(photos)) if rows is None else rows
        self.photos = photos
        self.original_sizes = original_sizes
        self.states = states
        self.failures = failures

    def __len__(self) -> int:
        return len(self.photos)

    def changed(self) -> list[int]:
        """Indices of the photos whose files are no longer those that were decoded."""
        pairs = zip(photo_states(self.photos), self.states, strict=True)
        return [index for index, (now, then) in enumerate(pairs) if now != then]

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        """A copy of square `index`; read anew, as mapped pages would count as memory of the process."""
        side = self.size
        square = np.fromfile(self.pixel_file, np.uint8, 3 * side**2, offset=3 * side**2 * self.rows[index])
        return square.reshape(side, side, 3)

    def part(self, first: int, step: int) -> "PhotoBank":
        """Every `step`-th photo from `first` on, read from the same file."""
        return PhotoBank(
            pixel_file=self.pixel_file,
            size=self.size,
            photos=self.photos[first::step],
            original_sizes=self.original_sizes[first::step],
            states=self.states[first::step],
            failures=self.failures,
            whole=self.whole,
            rows=self.rows[first::step],
        )

    def outputs(self, out: Path) -> list[Path]:
        """One PNG path below `out` per photo, as `png_paths` names those of the whole bank."""
        targets = png_paths(self.whole.photos, out)
        return [targets[row] for row in self.rows]


@dataclass
class _Index:
    """Index of a bank: its photos, and for each decoded one its (H, W) or the reason why it failed."""

    size: int
    entries: list[PhotoState]
    outcomes: list[list[int] | str] = field(default_factory=list)

    def rows(self) -> int:
        """Number of squares in the pixel file."""
        return sum(not isinstance(outcome, str) for outcome in self.outcomes)

    def write(self, path: Path) -> None:
        content = {"version": _BANK_VERSION, "size": self.size, "entries": self.entries}
        write_atomic(path, json.dumps({**content, "outcomes": self.outcomes}).encode())

    def continue_from(self, path: Path) -> None:
        """Take over the outcomes of an earlier build of the same photos at the same size."""
        try:
            stored = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        known = stored.get("version"), stored.get("size"), stored.get("entries")
        if known == (_BANK_VERSION, self.size, self.entries):
            self.outcomes = stored["outcomes"]


def build_photo_bank(
    photos: Sequence[Photo],
    folder: Path,
    *,
    size: int,
    workers: int | None = None,
    quiet: bool = False,
    least: int = MIN_PHOTOS,
) -> PhotoBank:
    """Decode `photos`, resize each to `size` x `size`, and keep them in `folder`.

    A bank of the same photos (names, sizes, modification times) is opened as it is; an unfinished one is completed.
    A photo that cannot be read is named once in a warning, recorded in `failures`, and left out.

    Args:
        photos: files to decode.
        folder: folder of the bank.
        size: side of the squares in pixels.
        workers: threads; None: one per core.
        quiet: no progress bar.
        least: readable photos that are needed; a fit needs two, as it normalises over a batch.

    Raises:
        DatasetError: fewer readable photos than that.
        OSError: the disk is full.
    """
    folder = Path(folder)
    index = _Index(size, photo_states(photos))
    index.continue_from(folder / "index.json")
    pixel_file = folder / "photos.u8"
    row_bytes = size * size * 3
    if not pixel_file.is_file() or pixel_file.stat().st_size < index.rows() * row_bytes:
        index.outcomes = []
    if len(index.outcomes) < len(photos):
        folder.mkdir(parents=True, exist_ok=True)
        with bar("photos", total=len(photos), done=len(index.outcomes), quiet=quiet) as advance:
            _fill(photos, folder, index, workers=workers, advance=advance)
    return _open(photos, pixel_file, index, least)


def _fill(
    photos: Sequence[Photo], folder: Path, index: _Index, *, workers: int | None, advance: Advance
) -> None:
    """Decode the photos that `index` lacks, append their squares to the pixel file, and keep the index up to date."""

    def load(photo: Photo) -> tuple[NDArray[np.uint8], list[int]] | ImageError:
        try:
            with held(photo.path):
                whole = read_photo(photo.path)
                return resize_photo(whole, (index.size, index.size)), list(whole.shape[:2])
        except ImageError as error:
            return error

    every = max(_WINDOW, len(photos) // _CHECKPOINTS)
    unsaved = 0
    pending = iter(photos[len(index.outcomes) :])
    file = folder / "photos.u8"
    with naming(file), file.open("ab") as target, ThreadPoolExecutor(cores.threads(workers)) as pool:
        target.truncate(index.rows() * index.size * index.size * 3)
        while window := list(islice(pending, _WINDOW)):
            for loaded in pool.map(load, window):
                if isinstance(loaded, ImageError):
                    _LOGGER.warning("skipping %s", loaded)
                    index.outcomes.append(loaded.reason)
                else:
                    target.write(loaded[0].tobytes())
                    index.outcomes.append(loaded[1])
                advance()
            unsaved += len(window)
            if unsaved >= every or len(index.outcomes) == len(photos):
                target.flush()
                os.fsync(target.fileno())
                index.write(folder / "index.json")
                unsaved = 0


def _open(photos: Sequence[Photo], pixel_file: Path, index: _Index, least: int) -> PhotoBank:
    readable, sizes, states, failures = [], [], [], []
    for photo, state, outcome in zip(photos, index.entries, index.outcomes, strict=True):
        if isinstance(outcome, str):
            failures.append(Failure(photo, outcome))
        else:
            readable.append(photo)
            sizes.append((outcome[0], outcome[1]))
            states.append(state)
    if len(readable) < least:
        raise DatasetError(_too_few(len(photos), failures))
    return PhotoBank(
        pixel_file=pixel_file,
        size=index.size,
        photos=readable,
        original_sizes=sizes,
        states=states,
        failures=failures,
    )


def _too_few(total: int, failures: list[Failure]) -> str:
    named = "; ".join(f"{f.photo.relative}: {f.reason}" for f in failures[:_SHOWN])
    return (
        f"at least {MIN_PHOTOS} readable photos are needed, {total - len(failures)} of {total} can be read"
        + (f" ({named})" if named else "")
    )
