"""Files of photos: finds them, names their outputs, pairs maps with masks."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from act2sal.errors import InputError

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
"""Lower-case suffixes of photos."""


PhotoState = list[str | int]
"""Relative path of a photo, its bytes and its modification time in ns; -1 and -1 where there is no file."""

_LOGGER = logging.getLogger("act2sal")


class DatasetError(InputError):
    """A folder that cannot be used; the message says why."""


@dataclass(frozen=True)
class Photo:
    """One photo, or one video: where it is, and its path below the folder that was searched."""

    path: Path
    relative: Path


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
    """Find the photos in the folder `root` and below, at most the first `limit`; see `find_files`.

    Raises:
        DatasetError: `root` is missing, there are no photos, or `limit` is below 1.
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
    """Find files by their suffix in the folder `root` and below, sorted by relative path.

    Hidden files and folders are left out; links to folders are followed once.

    Args:
        root: folder to search; a file is returned whatever its suffix.
        suffixes: lower-case suffixes; the case of a file's own suffix does not matter.
        outside: folder below `root` that is left out, such as that of the results.
        unreadable: called with the error of each folder that cannot be entered.

    Raises:
        DatasetError: `root` is missing.
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
    """Path, size and modification time of each photo, to notice files that changed."""
    return [[photo.relative.as_posix(), *_state(photo.path)] for photo in photos]


def label_path(out: Path, relative: Path) -> Path:
    """`out/a/b.png` for `a/b.jpg`. For photos that may share a stem use `png_paths`."""
    return Path(out) / relative.with_suffix(".png")


def png_paths(photos: Sequence[Photo], out: Path) -> list[Path]:
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
    """Refuse targets that would replace an input or another input's target.

    Raises:
        DatasetError: a target would; the message names the files.
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

    Args:
        maps: folder of maps.
        masks: folder of masks.
        ending: what the maps' names have behind those of the masks, such as "_HS"; names without it are used as they
            are.

    Raises:
        DatasetError: a folder has no pictures, or two that differ by suffix alone.
    """
    closed: list[str] = []
    by_name, masks_by_name = by_stem(maps, closed, ending), by_stem(masks, closed)
    return Pairing(
        pairs=[(by_name[n], masks_by_name[n]) for n in sorted(by_name.keys() & masks_by_name.keys())],
        maps_alone=[by_name[n] for n in sorted(by_name.keys() - masks_by_name.keys())],
        masks_alone=[masks_by_name[n] for n in sorted(masks_by_name.keys() - by_name.keys())],
        closed=closed,
    )


def known_files(
    root: Path,
    suffixes: Set[str],
    *,
    unreadable: Callable[[OSError], None],
    skipped: Callable[[Path, Set[str]], bool] = lambda folder, names: False,
) -> list[Photo]:
    """Find all files of the suffixes below the folder `root`, sorted by relative path, as `find_files` does.

    Each folder is entered once, however many links lead to it.

    Args:
        root: folder to search.
        suffixes: lower-case suffixes.
        unreadable: called with the error of each folder that cannot be entered.
        skipped: called with a folder and the names in it; returns whether to leave out the folder and all below it.
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


def by_stem(folder: Path, closed: list[str], ending: str = "") -> dict[str, Path]:
    """Find the pictures of a folder by their relative paths without suffix.

    Args:
        folder: searched to any depth; or a single file.
        closed: gets a line for each folder that cannot be entered.
        ending: what names have at their ends that is left off.

    Raises:
        DatasetError: there are none, or two that differ by suffix alone.
    """
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
