"""The photos of a reproduction: a training set and test sets, chosen from data sets on disk or rendered."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from act2sal.config import ScaleName
from act2sal.data.images import write_atomic
from act2sal.data.photo_files import DatasetError
from act2sal.data.sod_pairs import Pair, SetOnDisk, sets_below
from act2sal.data.sod_sets import SOD_SETS
from act2sal.reproduce.scale import Scale
from act2sal.scenes import write_scenes

TRAINING_SETS = ("MSRA-B", "DUTS-TR")
"""Sets whose photos can be trained on, the paper's first."""
PAPER_TESTS = ("ECSSD", "MSRA-B", "DUT-OMRON", "PASCAL-S", "DUTS-TE", "HKU-IS")
"""Test sets in the order of Table II."""
SCENES = "rendered scenes"
SCENE_SIZE = (72, 96)
SCENE_SEEDS = (1, 2)
"""Of the rendered training photos and of the rendered test photos."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos and their masks: `photos` and `masks` hold exactly those of the set, by the same names.

    Attributes:
        name: of the data set.
        photos: folder.
        masks: folder.
        names: of the photos, without suffixes.
        fingerprint: digest of which photos they are.
    """

    name: str
    photos: Path
    masks: Path
    names: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Material:
    """What a reproduction learns from and is scored on.

    Attributes:
        training: of which a training sees the photos alone.
        tests: test sets.
        watched: photos of the first test set that are scored after each epoch, the same for any number of tests.
    """

    training: PhotoSet
    tests: tuple[PhotoSet, ...]
    watched: PhotoSet


def missing_sets(data: Path | None, name: ScaleName) -> tuple[str, ...]:
    """The data sets of the paper that are not below a folder, with the addresses where they are offered."""
    if name == "smoke":
        return ()
    there = {one.sod_set.name for one in sets_below(data)} if data is not None else set()
    return tuple(
        f"{one.name} ({one.images} photos, {one.source}) is not there; it is offered at {one.home}"
        for one in SOD_SETS
        if one.name in PAPER_TESTS and one.name not in there
    )


def material_of(
    data: Path | None, folder: Path, name: ScaleName, scale: Scale, photos: int | None, tests: int | None
) -> Material:
    """Choose the photos of a reproduction and lay them out below a folder, as links or copies.

    Args:
        data: folder of data sets; unused at scale smoke, which renders its photos.
        folder: gets `training/`, `test/SET/` and `watched/`, each with photos/ and masks/.
        name: of the scale.
        scale: says how many photos, spread evenly over each set.
        photos: training photos in place of those of the scale.
        tests: photos of each test set in place of those of the scale.

    Raises:
        DatasetError: no set to train on, no set to test on, or, at scale full, one of the paper's is missing.
    """
    most, most_tests = photos or scale.photos, tests or scale.tests
    if name == "smoke":
        return _rendered(folder, most or 8, most_tests or 4, scale.watched)
    if data is None:
        raise DatasetError(
            f"--scale {name} needs --data DIR, a folder with {' or '.join(TRAINING_SETS)} and test sets"
        )
    lacking = missing_sets(data, name)
    if name == "full" and lacking:
        raise DatasetError(f"--scale full needs the six sets of the paper: {'; '.join(lacking)}")
    found = {one.sod_set.name: one for one in reversed(sets_below(data))}
    training = _training_pairs(found, data)
    test_sets = {one: _test_pairs(found[one]) for one in (*PAPER_TESTS, "SOD") if one in found}
    laid = [
        _laid_out(test, _spread(pairs, most_tests), folder / "test" / test)
        for test, pairs in test_sets.items()
        if pairs
    ]
    if not laid:
        raise DatasetError(f"{data} holds no set to test on, such as ECSSD/images beside ECSSD/masks")
    chosen = _spread(training[1], most)
    first = laid[0].name
    watched = _laid_out(first, _spread(test_sets[first], scale.watched), folder / "watched")
    return Material(_laid_out(training[0], chosen, folder / "training"), tuple(laid), watched)


def _training_pairs(found: dict[str, SetOnDisk], data: Path) -> tuple[str, tuple[Pair, ...]]:
    """The name and the pairs of the first set that can be trained on."""
    for name in TRAINING_SETS:
        if name in found:
            pairs = found[name].of("train", "val") if name == "MSRA-B" else found[name].pairs
            if pairs:
                return name, pairs
            raise DatasetError(
                f"{found[name].folder} has no lists of its splits, which say what to train on: "
                "train_cvpr2013.txt and valid_cvpr2013.txt, or trainImgSet.mat and valImgSet.mat"
            )
    raise DatasetError(f"{data} holds no set to train on: {' or '.join(TRAINING_SETS)}")


def _test_pairs(found: SetOnDisk) -> tuple[Pair, ...]:
    """The pairs that a set is tested on: the test split of MSRA-B, all of the others."""
    return found.of("test") if found.sod_set.name == "MSRA-B" else found.pairs


def _spread(pairs: Sequence[Pair], most: int | None) -> list[Pair]:
    """At most so many pairs, spread evenly over all."""
    if most is None or len(pairs) <= most:
        return list(pairs)
    return [pairs[index] for index in np.linspace(0, len(pairs) - 1, most).round().astype(int)]


def _laid_out(name: str, pairs: Sequence[Pair], folder: Path) -> PhotoSet:
    """Lay out pairs as photos/ and masks/; a folder that holds others is emptied first."""
    told, done = _digest(pairs), folder / "pairs.txt"
    if not (done.is_file() and done.read_text(encoding="utf-8") == told):
        shutil.rmtree(folder, ignore_errors=True)
        for pair in pairs:
            _link(pair.photo, folder / "photos" / f"{pair.name}{pair.photo.suffix.lower()}")
            _link(pair.mask, folder / "masks" / f"{pair.name}{pair.mask.suffix.lower()}")
        write_atomic(done, told.encode())
    return PhotoSet(name, folder / "photos", folder / "masks", tuple(pair.name for pair in pairs), told)


def _link(source: Path, target: Path) -> None:
    """Put a file in place without a second copy on disk where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)


def _digest(pairs: Sequence[Pair]) -> str:
    """Digest of the names and file sizes of photos."""
    told = "".join(f"{pair.name} {pair.photo.stat().st_size}\n" for pair in pairs)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _rendered(folder: Path, photos: int, tests: int, watched: int) -> Material:
    """Rendered scenes to train on, and others to test on."""
    sets = []
    of_training, of_tests = SCENE_SEEDS
    counts = (("training", photos, of_training), ("test", tests, of_tests), ("watched", watched, of_tests))
    for name, count, seed in counts:
        place = folder / name
        if len(list(place.glob("masks/*.png"))) != count:
            shutil.rmtree(place, ignore_errors=True)
            write_scenes(place, count, seed=seed, size=SCENE_SIZE)
        names = tuple(sorted(path.stem for path in (place / "photos").iterdir()))
        digest = hashlib.sha256(f"{seed} {count} {SCENE_SIZE}".encode()).hexdigest()[:16]
        sets.append(PhotoSet(SCENES, place / "photos", place / "masks", names, digest))
    return Material(sets[0], (sets[1],), sets[2])
