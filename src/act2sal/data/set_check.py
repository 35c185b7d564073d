"""Says what of the field's data sets lies below a folder, what is missing, and what is odd (`act2sal data check`)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from act2sal.data.images import ImageError, read_photo
from act2sal.data.mask_files import MaskReader, UnclearError
from act2sal.data.sod_pairs import SPLITS, Pair, SetOnDisk, Split, sets_below
from act2sal.data.sod_sets import SOD_SETS, SodSet
from act2sal.runtime import progress

SHOWN = 3
"""Names that a line shows of many."""
MSRA_B_SPLITS: dict[Split, int] = {"train": 2500, "val": 500, "test": 2000}


@dataclass(frozen=True)
class Checked:
    """What was found of a data set.

    Attributes:
        sod_set: which one.
        lines: what there is, a line each.
        odd: what a reader of scores has to know, a line each.
    """

    sod_set: SodSet
    lines: tuple[str, ...]
    odd: tuple[str, ...]


def check_sets(root: Path, *, quiet: bool = False) -> tuple[list[Checked], list[SodSet]]:
    """Look at every photo and mask of the data sets below a folder; returns them, and the sets that are missing.

    Args:
        root: folder of data sets.
        quiet: no progress bar.

    Raises:
        DatasetError: there is no such folder, or a list of a split cannot be read.
    """
    found = sets_below(root)
    there = {one.sod_set.name for one in found}
    with progress.bar("check", total=sum(len(one.pairs) for one in found), quiet=quiet) as advance:
        checked = [_checked(one, advance) for one in found]
    return checked, [one for one in SOD_SETS if one.name not in there]


def told_lines(checked: Sequence[Checked], missing: Sequence[SodSet]) -> Iterator[str]:
    """What was found, in words: each set with what is odd about it, then those that are missing."""
    for one in checked:
        yield f"{one.sod_set.name} ({one.sod_set.split}; {one.sod_set.source})"
        yield from (f"  {line}" for line in one.lines)
        yield from (f"  odd: {line}" for line in one.odd)
    for lacking in missing:
        yield f"{lacking.name} is not there ({lacking.images} photos, {lacking.split}); offered at {lacking.home}"


def fingerprint(names: Iterable[str]) -> str:
    """Digest of a list of names, in their order without regard to it: what two people compare to know they have one.

    SHA-256 of the sorted names with a line break behind each; its first 16 digits.
    """
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()[:16]


def _checked(found: SetOnDisk, advance: Callable[[], None]) -> Checked:
    expected = found.sod_set.images
    names = [pair.name for pair in found.pairs]
    lines = [f"{len(names)} of {expected} pairs in {found.folder}", f"names: {fingerprint(names)}"]
    if counts := {split: len(found.of(split)) for split in SPLITS if found.of(split)}:
        lines.append("splits: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    odd = [
        *_named("photos without a mask", [path.name for path in found.photos_alone]),
        *_named("masks without a photo", [path.name for path in found.masks_alone]),
        *_named("names in a list of a split that are not there", found.unsplit),
        *_odd_splits(found, counts),
        *_odd_pairs(found.pairs, advance),
    ]
    return Checked(found.sod_set, tuple(lines), tuple(odd))


def _odd_splits(found: SetOnDisk, counts: Mapping[Split, int]) -> list[str]:
    if found.sod_set.name != "MSRA-B":
        return []
    if not counts:
        return ["no lists of its splits (train_cvpr2013.txt, valid_cvpr2013.txt, test_cvpr2013.txt, or .mat)"]
    return [
        f"split {split} has {counts.get(split, 0)} photos, not {count}"
        for split, count in MSRA_B_SPLITS.items()
        if counts.get(split, 0) != count
    ]


def _odd_pairs(pairs: tuple[Pair, ...], advance: Callable[[], None]) -> list[str]:
    """What is odd about the pictures themselves."""
    reader = MaskReader.of(pair.mask for pair in pairs)
    names: dict[str, list[str]] = {}
    for pair in pairs:
        if (what := _odd_pair(pair, reader)) is not None:
            names.setdefault(what, []).append(pair.name)
        advance()
    return [line for what, named in names.items() for line in _named(what, named)]


def _odd_pair(pair: Pair, reader: MaskReader) -> str | None:
    """What is odd about one pair, or None."""
    try:
        photo, mask = read_photo(pair.photo), reader.read(pair.mask)
    except (ImageError, UnclearError):
        return "photos or masks that cannot be read"
    if photo.shape[:2] != mask.shape:
        return "masks of another size than their photo"
    if not (mask > 127).any():
        return "masks without foreground"
    if (mask > 127).all():
        return "masks without background"
    return "graded masks" if len(np.unique(mask)) > 2 and _is_graded(mask) else None


def _is_graded(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Whether more than a fiftieth of the pixels are neither nearly black nor nearly white."""
    return bool(((mask > 25) & (mask < 230)).mean() > 0.02)


def _named(what: str, names: Iterable[str]) -> list[str]:
    """A line with the number of some names, and the first of them; none where there are none."""
    listed = list(names)
    more = ", ..." if len(listed) > SHOWN else ""
    return [f"{len(listed)} {what}: {', '.join(listed[:SHOWN])}{more}"] if listed else []
