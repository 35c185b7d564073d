"""Folders of photos: find them, name their outputs, pair maps with masks, keep them decoded on disk."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal import cores
from act2sal.errors import InputError
from act2sal.images import ImageError, naming, read_photo, resize_photo, write_atomic
from act2sal.pixel_budget import held
from act2sal.progress import Advance, bar

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".heic",
        ".heif",
    }
)
"""Of photos, in small letters."""

MIN_PHOTOS = 2

PhotoState = list[str | int]
"""Relative path of a photo, its bytes and its modification time in ns; -1 and -1 where there is no file."""

_BANK_VERSION = 1
_WINDOW = 64  # photos decoded before they are written
_CHECKPOINTS = 20  # times that the index is written while a bank is built
_SHOWN = 8
_LOGGER = logging.getLogger("act2sal")


class DatasetError(InputError):
    """A folder that cannot be used; the message says why."""


@dataclass(frozen=True)
class Photo:
    """One photo, or one video: where it is, and its path below the folder that was searched."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Failure:
    """A photo that could not be read, and why."""

    photo: Photo
    reason: str

    def __str__(self) -> str:
        return f"{self.photo.path}: {self.reason}"


@dataclass(frozen=True)
class Pairing:
    """Maps and masks of the same name: `pairs` (map, mask) sorted by name, and those without a partner.

    closed: one line for each folder that may not be entered.
    """

    pairs: list[tuple[Path, Path]]
    maps_alone: list[Path]
    masks_alone: list[Path]
    closed: list[str] = field(default_factory=list)


def _warn_unreadable(error: OSError) -> None:
    _LOGGER.warning("skipping folder %s: %s", error.filename, error.strerror)


def find_photos(
    root: Path,
    limit: int | None = None,
    *,
    outside: Path | None = None,
    unreadable: Callable[[OSError], None] = _warn_unreadable,
) -> list[Photo]:
    """Photos in the folder `root` and below (`find_files`, `SUFFIXES`), at most the first `limit`.

    Raises DatasetError: `root` missing, nothing found, `limit` < 1.
    """
    refuse_limit(limit)
    photos = find_files(root, SUFFIXES, outside=outside, unreadable=unreadable)
    if not photos:
        raise DatasetError(f"no photos in {root} (looked for {', '.join(sorted(SUFFIXES))})")
    return photos[:limit]


def refuse_limit(limit: int | None) -> None:
    """Raise a DatasetError for a limit of photos below 1."""
    if limit is not None and limit < 1:
        raise DatasetError(f"the limit of photos must be at least 1, not {limit}")


def find_files(
    root: Path,
    suffixes: Set[str],
    *,
    outside: Path | None = None,
    unreadable: Callable[[OSError], None] = _warn_unreadable,
) -> list[Photo]:
    """Files in the folder `root` and below, sorted by relative path; there may be none.

    Known by their suffix, in any case; hidden files and folders are left out, links to folders followed once. A file
    as `root` is found whatever its suffix. A folder `outside` below `root` is left out: results are no photos.
    `unreadable` is told what cannot be entered.

    Raises DatasetError: `root` missing.
    """
    root = Path(root)
    if root.is_file():
        return [Photo(root, Path(root.name))]
    if not root.is_dir():
        raise DatasetError(f"no such file or folder: {root}")
    files = known_files(root, suffixes, unreadable=unreadable)
    if outside is not None and root.resolve() in outside.resolve().parents:
        results = outside.resolve().relative_to(root.resolve())
        files = [file for file in files if not file.relative.is_relative_to(results)]
    return files


def photo_states(photos: Sequence[Photo]) -> list[PhotoState]:
    """What tells whether photos are the files that they were."""
    return [[photo.relative.as_posix(), *_state(photo.path)] for photo in photos]


def label_path(out: Path, relative: Path) -> Path:
    """`out/a/b.png` for `a/b.jpg`. For photos that may share a stem use `mirror`."""
    return Path(out) / relative.with_suffix(".png")


def mirror(photos: Sequence[Photo], out: Path) -> list[Path]:
    """One PNG path below `out` per photo, in a mirrored tree, no two alike even where case does not count.

    `a/b.jpg` gives `a/b.png`; where `a/b.jpg` and `a/b.png` stand side by side, `a/b.jpg.png` and
    `a/b.png.png`.
    """
    long: set[Path] = set()
    while True:
        targets = [
            label_path(out, p.relative)
            if p.relative not in long
            else Path(out) / p.relative.with_name(p.relative.name + ".png")
            for p in photos
        ]
        times = Counter(_folded(target) for target in targets)
        crowded = {p.relative for p, t in zip(photos, targets, strict=True) if times[_folded(t)] > 1}
        if crowded <= long:
            return targets
        long |= crowded


def refuse_collisions(photos: Sequence[Photo], targets: Sequence[Path]) -> None:
    """Make sure that writing one target per photo (or video) replaces neither a photo nor another photo's target.

    Raises DatasetError: it would; names the files.
    """
    sources = {photo.path.resolve() for photo in photos}
    taken: dict[str, Path] = {}
    for photo, target in zip(photos, targets, strict=True):
        if target.resolve() in sources:
            raise DatasetError(f"{target} is an input and would be replaced; write to another folder")
        first = taken.setdefault(_folded(target), photo.path)
        if first != photo.path:
            raise DatasetError(f"{first} and {photo.path} would both be written to {target}")


def pairs(maps: Path, masks: Path, *, ending: str = "") -> Pairing:
    """Pair the pictures in the folders `maps` and `masks` by relative path without suffix.

    ending: what the maps' names have behind those of the masks, such as "_HS"; names without it stay as they are.

    Raises DatasetError: no pictures, or two in one folder that differ by suffix alone.
    """
    closed: list[str] = []
    by_name, masks_by_name = _by_stem(maps, closed, ending), _by_stem(masks, closed)
    return Pairing(
        pairs=[(by_name[n], masks_by_name[n]) for n in sorted(by_name.keys() & masks_by_name.keys())],
        maps_alone=[by_name[n] for n in sorted(by_name.keys() - masks_by_name.keys())],
        masks_alone=[masks_by_name[n] for n in sorted(masks_by_name.keys() - by_name.keys())],
        closed=closed,
    )


class PhotoBank(Sequence[NDArray[np.uint8]]):
    """Readable photos as squares: `bank[i]` is (S, S, 3) uint8 RGB, read from a file of all of them.

    `size` is S. `photos`, their `states`, `original_sizes` (height, width) and the squares share their order;
    `failures` are the photos that could not be read; `build_photo_bank` makes one. In a `part` of a bank, `whole` is
    that bank and `rows` are the places in it.
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
        """One PNG path below `out` per photo, as `mirror` names those of the whole bank."""
        targets = mirror(self.whole.photos, out)
        return [targets[row] for row in self.rows]


@dataclass
class _Index:
    """Contents of a bank: its photos; for those done (H, W) or why it failed."""

    size: int
    entries: list[PhotoState]
    outcomes: list[list[int] | str] = field(default_factory=list)

    def rows(self) -> int:
        """Squares in the pixel file."""
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
    photos: Sequence[Photo], folder: Path, *, size: int, workers: int | None = None, quiet: bool = False
) -> PhotoBank:
    """Decode `photos`, resize each to `size` x `size`, and keep them in `folder`.

    A bank of the same photos (names, bytes, modification times) and size is opened as it is; one whose making
    was interrupted is completed. `workers` threads, None: one per core. A photo that cannot be read is named
    once in a warning, recorded in `failures`, and left out.

    Raises DatasetError: fewer than two readable photos. OSError: the disk is full.
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
    return _open(photos, pixel_file, index)


def _fill(
    photos: Sequence[Photo], folder: Path, index: _Index, *, workers: int | None, advance: Advance
) -> None:
    """Decode what `index` has not yet, append the squares to the pixel file, keep the index up to date."""

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


def _open(photos: Sequence[Photo], pixel_file: Path, index: _Index) -> PhotoBank:
    readable, sizes, states, failures = [], [], [], []
    for photo, state, outcome in zip(photos, index.entries, index.outcomes, strict=True):
        if isinstance(outcome, str):
            failures.append(Failure(photo, outcome))
        else:
            readable.append(photo)
            sizes.append((outcome[0], outcome[1]))
            states.append(state)
    if len(readable) < MIN_PHOTOS:
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


def known_files(
    root: Path,
    suffixes: Set[str],
    *,
    unreadable: Callable[[OSError], None],
    skipped: Callable[[Path, Set[str]], bool] = lambda folder, names: False,
) -> list[Photo]:
    """All files of the suffixes below the folder `root`, sorted by relative path, as `find_files` finds them.

    Each folder is entered once, however many links lead to it. `unreadable` is told what cannot be entered; `skipped`
    says of a folder, by the names in it, that it is left out with all that is below it.
    """
    photos = []
    entered: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered or skipped(Path(folder), {*files, *subfolders}):
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in suffixes:
                photos.append(Photo(path, path.relative_to(root)))
    return sorted(photos, key=lambda file: file.relative.as_posix())


def _folded(path: Path) -> str:
    return path.as_posix().casefold()


def _by_stem(folder: Path, closed: list[str], ending: str = "") -> dict[str, Path]:
    found: dict[str, Path] = {}

    def note(error: OSError) -> None:
        closed.append(f"{error.filename}: {error.strerror}")

    for photo in find_photos(folder, unreadable=note):
        name = photo.relative.with_suffix("").as_posix().removesuffix(ending)
        if name in found:
            raise DatasetError(f"{found[name]} and {photo.path} have the same name")
        found[name] = photo.path
    return found


def _state(path: Path) -> tuple[int, int]:
    """Bytes and modification time (ns) of a file, (-1, -1) where there is none."""
    try:
        status = path.stat()
    except OSError:  # a broken link: reading it names the reason
        return -1, -1
    return status.st_size, status.st_mtime_ns
