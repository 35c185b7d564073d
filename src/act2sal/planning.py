"""What `act2sal predict` does with its inputs: which photos there are, and where their results go."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act2sal.datasets import DatasetError, Photo, find_photos, mirror, refuse_collisions

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Of an `--out` that is one file."""


@dataclass(frozen=True)
class Task:
    """One photo, and the files that are to come of it, one for each kind of output."""

    photo: Photo
    targets: tuple[Path, ...]

    @property
    def done(self) -> bool:
        """All of its files are there."""
        return all(target.exists() for target in self.targets)


def expanded(inputs: Sequence[str | Path]) -> list[Path]:
    """Files and folders; a pattern such as `photos/*.jpg`, where no file has that name, is what it matches.

    Raises DatasetError: a pattern that matches nothing.
    """
    found: list[Path] = []
    for given in map(str, inputs):
        if Path(given).exists() or not glob.has_magic(given):
            found.append(Path(given))
            continue
        matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            raise DatasetError(f"nothing matches {given}")
        found += map(Path, matches)
    return found


def planned(
    inputs: Sequence[str | Path],
    out: Path,
    suffixes: Sequence[str] = (".png",),
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> list[Task]:
    """The photos of all inputs and where their results go: `INPUT/a/b.jpg` gives `OUT/a/b.png`.

    Args:
        inputs: photos, folders of photos, patterns.
        out: folder of the results; or, with the suffix of a picture, the one file that a single photo gives.
        suffixes: what each result's name ends with, such as ".png", or ".mask.png" and ".cutout.png".
        overwrite: replace what is there already.
        skip_existing: leave out photos whose results are all there.

    Raises:
        DatasetError: an input holds no photo, or a result would replace a photo or the result of another.
        FileExistsError: a result is there already and neither flag is set.
    """
    photos = [photo for root in expanded(inputs) for photo in find_photos(root, outside=out)]
    tasks = _to_one_file(photos, out, suffixes) if is_one_file(out) else _mirrored(photos, out, suffixes)
    if skip_existing:
        return [task for task in tasks if not task.done]
    existing = next((t for task in tasks for t in task.targets if t.exists()), None)
    if existing is not None and not overwrite:
        raise FileExistsError(
            f"{existing} exists already; --overwrite replaces it, --skip-existing does the others"
        )
    return tasks


def is_one_file(out: Path) -> bool:
    """Whether `out` is the name of a picture, and no folder."""
    return out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir()


def _to_one_file(photos: Sequence[Photo], out: Path, suffixes: Sequence[str]) -> list[Task]:
    if len(photos) != 1 or len(suffixes) != 1:
        raise DatasetError(
            f"{out} is one file: it takes one photo and one kind of output; name a folder instead"
        )
    refuse_collisions(photos, [out])
    return [Task(photos[0], (out,))]


def _mirrored(photos: Sequence[Photo], out: Path, suffixes: Sequence[str]) -> list[Task]:
    stems = [target.with_suffix("") for target in mirror(photos, out)]
    by_kind = [[stem.with_name(stem.name + suffix) for stem in stems] for suffix in suffixes]
    for targets in by_kind:
        refuse_collisions(photos, targets)
    return [Task(photo, tuple(targets)) for photo, *targets in zip(photos, *by_kind, strict=True)]
