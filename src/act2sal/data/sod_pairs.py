"""Photos and masks of a data set of the field, paired by name, in whatever layout it lies on disk.

Known are folders for photos and masks (`image/` beside `annotation/`), both in one folder (x.jpg beside x.png), and
either of these below folders of the splits (`train/`, `valid/`, `test/`). The split of MSRA-B is also read from the
lists that go around with it: `train_cvpr2013.txt` with one name a line, or `trainImgSet.mat`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from act2sal.data.photo_files import SUFFIXES, DatasetError, find_files
from act2sal.data.sod_sets import MASK_FOLDERS, PHOTO_FOLDERS, SOD_SETS, SodSet, ends_like, is_named_like

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
_NO_LIST = (OSError, ValueError, IndexError, TypeError, MatReadError, NotImplementedError)
"""Errors of reading a list that is none; the last one is SciPy's about files of MATLAB 7.3."""
MIXED_PHOTOS, MIXED_MASKS = frozenset({".jpg", ".jpeg", ".bmp"}), frozenset({".png"})
"""Suffixes by which photos and masks in one folder are told apart."""


@dataclass(frozen=True)
class Pair:
    """A photo and its mask; its name is the stem of both, its split is None where there is none."""

    name: str
    photo: Path
    mask: Path
    split: Split | None


@dataclass(frozen=True)
class SetOnDisk:
    """A data set as it lies on disk.

    Attributes:
        sod_set: which one.
        folder: where.
        pairs: its photos and masks, by name.
        photos_alone: photos without a mask.
        masks_alone: masks without a photo.
        unsplit: names that a list of a split has and the folders have not.
    """

    sod_set: SodSet
    folder: Path
    pairs: tuple[Pair, ...]
    photos_alone: tuple[Path, ...]
    masks_alone: tuple[Path, ...]
    unsplit: tuple[str, ...]

    def of(self, *splits: Split) -> tuple[Pair, ...]:
        """The pairs of some splits."""
        return tuple(pair for pair in self.pairs if pair.split in splits)


def sets_below(root: Path) -> list[SetOnDisk]:
    """The known data sets below a folder, in the order of `SOD_SETS`; one without any pair is left out.

    Raises:
        DatasetError: there is no such folder, or a list of a split cannot be read.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    children = sorted(path for path in root.iterdir() if path.is_dir())
    found = [
        read_set(sod_set, folder)
        for sod_set in SOD_SETS
        for folder in children
        if is_named_like(folder, sod_set)
    ]
    return [one for one in found if one.pairs]


def read_set(sod_set: SodSet, folder: Path) -> SetOnDisk:
    """Pair the photos and masks of one data set.

    Raises:
        DatasetError: a list of a split cannot be read.
    """
    photos: dict[str, tuple[Path, Split | None]] = {}
    masks: dict[str, Path] = {}
    for part, split in _parts(folder):
        for path in _photos(part):
            photos.setdefault(path.stem, (path, split))
        for path in _masks(part):
            masks.setdefault(path.stem, path)
    listed = _listed(folder)
    pairs = [
        Pair(name, photo, masks[name], listed.get(name, split))
        for name, (photo, split) in sorted(photos.items())
        if name in masks
    ]
    return SetOnDisk(
        sod_set,
        folder,
        tuple(pairs),
        tuple(path for name, (path, _) in sorted(photos.items()) if name not in masks),
        tuple(path for name, path in sorted(masks.items()) if name not in photos),
        tuple(sorted(name for name in listed if name not in photos)),
    )


def _parts(folder: Path) -> Iterator[tuple[Path, Split | None]]:
    """The folder itself, and those of splits in it."""
    yield folder, None
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (split := _split_of(child.name)) is not None:
            yield child, split


def _photos(folder: Path) -> list[Path]:
    own = _child(folder, PHOTO_FOLDERS)
    if own is not None:
        return [file.path for file in find_files(own, SUFFIXES)]
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MIXED_PHOTOS]


def _masks(folder: Path) -> list[Path]:
    own = _child(folder, MASK_FOLDERS)
    if own is not None:
        return [file.path for file in find_files(own, SUFFIXES)]
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MIXED_MASKS]


def _child(folder: Path, endings: tuple[str, ...]) -> Path | None:
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    return next((path for path in children if ends_like(path.name, endings)), None)


def _split_of(name: str) -> Split | None:
    """The split that the name of a folder or a list begins with."""
    return next((split for split in SPLITS if name.casefold().startswith(split)), None)


def _listed(folder: Path) -> dict[str, Split]:
    """The split of each name in the lists of a folder."""
    splits: dict[str, Split] = {}
    for path in sorted(folder.iterdir()):
        split = _split_of(path.name)
        if split is not None and path.suffix.lower() in (".txt", ".mat") and "debug" not in path.stem:
            splits |= dict.fromkeys(_names_in(path), split)
    return splits


def _names_in(path: Path) -> list[str]:
    """The names in a list, without suffixes."""
    try:
        if path.suffix.lower() == ".txt":
            names = path.read_text(encoding="utf-8").split("\n")
        else:
            cells = [value for name, value in loadmat(path).items() if not name.startswith("__")]
            names = [str(np.asarray(cell).ravel()[0]) for cell in np.asarray(cells[0]).ravel()]
    except _NO_LIST as error:
        raise DatasetError(f"{path}: is no list of names ({type(error).__name__})") from error
    return [Path(name.strip()).stem for name in names if name.strip()]
