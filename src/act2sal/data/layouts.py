"""Recognises which pictures of a folder are masks of others, by names and file sizes; no file is opened.

Data sets lie as `images/` beside `masks/` (or `GT`, `DUTS-TR-Mask`, ...), as `x.jpg` beside `x.png` (MSRA10K), as
`x.jpg` beside `x_mask.png`, or as two folders whose names say nothing and whose files have the same names.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path, PurePath

from act2sal.data.sod_sets import MASK_FOLDERS, PHOTO_FOLDERS, ends_like

SIDE_FOLDERS = (
    *("label", "labels", "map", "maps", "saliency", "seg", "segs", "segmentation", "segmentations"),
    *(
        "matte",
        "mattes",
        "alpha",
        "alphas",
        "trimap",
        "trimaps",
        "edge",
        "edges",
        "contour",
        "contours",
        "depth",
    ),
)
"""Ends of folder names that are too common to prove anything: the names of the files have to match as well."""

LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif"})
UNCOMPRESSED = frozenset({".bmp", ".tif", ".tiff"})
"""Formats that are often not compressed, so that the size of a file says nothing about its content."""

MOST_FOLDERS = 30
"""Most sibling folders whose files are compared by name; more of them are taken for classes or years."""

FEWER_BYTES = 2.5
"""Factor by which masks have to be smaller files than photos of the same format."""

MOST_OF_THEM = 0.8
"""Share of the files of a folder that has to look like masks for the folder to count as masks."""

SAME_NAMES = 0.9
"""Share of the smaller folder's file names that two folders need in common for one to be masks of the other."""

_BEGINNINGS = ("mask", "groundtruth", "ground_truth", "ground-truth", "ground truth")
_WORDS = (
    "masks?|gts?|ground[-_ ]?truth|seg|segmentation|labels?|annotations?|matte|alpha|trimap|saliency|sal|map"
)
_ENDING = re.compile(rf"(?P<base>.+)[-_. ](?:{_WORDS})")
_BEGINNING = re.compile(r"(?:mask|gt)[-_. ](?P<base>.+)")


@dataclass(frozen=True)
class Listed:
    """A picture in a folder listing: its path below the folder that was searched, and its size in bytes."""

    relative: PurePath
    bytes: int

    @cached_property
    def stem(self) -> str:
        """The name without suffix, in lower case."""
        return self.relative.stem.casefold()

    @cached_property
    def suffix(self) -> str:
        """The suffix in lower case."""
        return self.relative.suffix.lower()

    @cached_property
    def base(self) -> str:
        """The stem without the ending that marks a mask: `x` of `x_mask` and of `x_gt_mask`."""
        base = self.stem
        while found := _ENDING.fullmatch(base) or _BEGINNING.fullmatch(base):
            base = found["base"]
        return base


@dataclass(frozen=True)
class Masks:
    """A group of pictures that are masks, or may be.

    Attributes:
        files: the pictures.
        place: their folder, or what their names have in common.
        beside: where the photos are.
        certain: whether names and sizes leave no doubt.
        pattern: value of `--exclude` that leaves them out.
    """

    files: tuple[Listed, ...]
    place: str
    beside: str
    certain: bool
    pattern: str


def masks_among(files: Sequence[Listed]) -> list[Masks]:
    """Find the groups of masks below a folder; each picture belongs to at most one.

    Args:
        files: all pictures below the folder.
    """
    found: list[Masks] = []
    for rule in (_in_named_folders, _with_endings, _of_one_stem, _in_twin_folders, _in_slight_folders):
        taken = {file for group in found for file in group.files}
        found += rule([file for file in files if file not in taken])
    return found


def masks_of_another(folder: Path) -> Path | None:
    """If `folder` itself seems to hold masks, the folder of their photos: a sibling or the parent; else None.

    Decided by the names of the folder, of its siblings and of their files.
    """
    folder = folder.resolve()
    if not _is_mask_folder(folder.name, weak=True):
        return None
    with suppress(OSError):  # a folder beside it that may not be listed tells nothing
        names = [Listed(path, 0).base for path in folder.iterdir()]
        beside = sorted(path for path in folder.parent.iterdir() if path != folder)
        folders = [path for path in beside if path.is_dir() and not _is_mask_folder(path.name, weak=True)]
        if _is_mask_folder(folder.name, weak=False):
            named = next((path for path in folders if ends_like(path.name, PHOTO_FOLDERS)), None)
            if named is not None:
                return named
        for other in (folder.parent, *folders[:MOST_FOLDERS]):
            if _shared(names, [path.stem.casefold() for path in other.iterdir()]) >= 0.5:
                return other
    return None


def _in_named_folders(files: Sequence[Listed]) -> Iterator[Masks]:
    """`masks/` and the like, beside photos: a folder of that name, or files of the same names."""
    inside: dict[PurePath, list[Listed]] = defaultdict(list)
    others = []
    for file in files:
        folders = list(file.relative.parents)[-2::-1]
        named = next((folder for folder in folders if _is_mask_folder(folder.name, weak=True)), None)
        if named is None:
            others.append(file)
        else:
            inside[named].append(file)
    around = {folder.parent for folder in inside}
    beside: dict[PurePath, list[Listed]] = defaultdict(list)
    for file in others:
        for parent in file.relative.parents:
            if parent in around:
                beside[parent].append(file)
    for folder, group in inside.items():
        photos = beside[folder.parent]
        places = (_photo_folder(file.relative, folder.parent) for file in photos)
        named_photos = next((place for place in places if place is not None), None)
        strong = _is_mask_folder(folder.name, weak=False)
        alike = _shared([file.base for file in group], [file.stem for file in photos]) >= 0.5
        certain = alike or (strong and named_photos is not None)
        if certain or (strong and not any(file.suffix in LOSSY for file in group)):
            place = named_photos or folder.parent
            yield Masks(tuple(group), str(folder), str(place), certain, folder.name)


def _with_endings(files: Sequence[Listed]) -> Iterator[Masks]:
    """`x_mask.png` beside `x.jpg`."""
    for folder, group in _by_folder(files).items():
        stems = {file.stem for file in group if file.base == file.stem}
        masks = tuple(file for file in group if file.base != file.stem and file.base in stems)
        if masks:
            kind = masks[0].stem.replace(masks[0].base, "*", 1) + masks[0].relative.suffix
            yield Masks(masks, str(folder / kind), str(folder), True, kind)


def _of_one_stem(files: Sequence[Listed]) -> Iterator[Masks]:
    """`x.png` beside `x.jpg`: a mask is the smaller of the two files, a lossless copy of the photo the larger."""
    for folder, group in _by_folder(files).items():
        stems: dict[str, list[Listed]] = defaultdict(list)
        for file in group:
            stems[file.stem].append(file)
        pairs = [pair for alike in stems.values() if len(alike) > 1 for pair in _pairs(alike)]
        judged = {mask: _judged([photo], [mask]) for photo, mask in pairs}
        sure = [mask for mask, verdict in judged.items() if verdict]
        if len(sure) >= MOST_OF_THEM * len(judged):
            sure = list(judged)
        doubtful = [mask for mask, verdict in judged.items() if verdict is False and mask not in set(sure)]
        for masks, certain in ((sure, True), (doubtful, False)):
            if masks:
                kind = f"*{masks[0].relative.suffix}"
                photo = next(photo for photo, mask in pairs if mask == masks[0])
                photos = f"*{photo.relative.suffix}"
                yield Masks(tuple(masks), str(folder / kind), str(folder / photos), certain, kind)


def _pairs(alike: Sequence[Listed]) -> list[tuple[Listed, Listed]]:
    """Pair the photo with each lossless file of the same stem, which may be its mask."""
    photo = min(alike, key=lambda file: (file.suffix not in LOSSY, -file.bytes))
    return [(photo, file) for file in alike if file != photo and file.suffix not in LOSSY]


def _in_twin_folders(files: Sequence[Listed]) -> Iterator[Masks]:
    """Two folders beside each other with files of the same names."""
    taken: set[Listed] = set()
    for folders in _side_by_side(files):
        for (one, its), (other, others) in combinations(sorted(folders.items()), 2):
            twins = _twins(its, others, alone=len(folders) == 2)
            if twins is None or taken & set(its) or taken & set(others):
                continue
            masks, certain = twins
            taken |= set(masks)
            mask_folder, photo_folder = (one, other) if masks is its else (other, one)
            pattern = mask_folder.name or f"*{masks[0].suffix}"
            yield Masks(tuple(masks), str(mask_folder), str(photo_folder), certain, pattern)


def _in_slight_folders(files: Sequence[Listed]) -> Iterator[Masks]:
    """A folder of PNG files beside one of photos, with smaller files and other names; never certain."""
    for folders in _side_by_side(files):
        slight = {
            folder: group
            for folder, group in folders.items()
            if all(f.suffix not in LOSSY | UNCOMPRESSED for f in group) and len(group) > 1
        }
        for folder, group in slight.items():
            for other, photos in folders.items():
                mine, theirs = _bytes(group) / len(group), _bytes(photos) / len(photos)
                lossy = sum(f.suffix in LOSSY for f in photos) >= MOST_OF_THEM * len(photos)
                alike = other in slight and len(photos) == len(group)
                if other != folder and mine < theirs * (1 if lossy else 1 / FEWER_BYTES) and (lossy or alike):
                    pattern = folder.name or f"*{group[0].suffix}"
                    yield Masks(tuple(group), str(folder), str(other), False, pattern)
                    return


def _side_by_side(files: Sequence[Listed]) -> Iterator[dict[PurePath, list[Listed]]]:
    """For each folder: its subfolders with everything below them, and the folder itself with its own files."""
    beside: dict[tuple[str, ...], dict[tuple[str, ...], list[Listed]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for folder, group in _by_folder(files).items():
        parts = folder.parts
        for depth in range(len(parts) + 1):
            beside[parts[:depth]][parts[: depth + 1]] += group
    for folders in beside.values():
        if 1 < len(folders) <= MOST_FOLDERS:
            yield {PurePath(*parts): group for parts, group in folders.items()}


def _twins(one: list[Listed], other: list[Listed], *, alone: bool) -> tuple[list[Listed], bool] | None:
    """Which of two folders may hold masks of the other, and whether that is certain; None if both hold photos.

    alone: there is no third folder beside them, so that they are hardly years or classes.
    """
    by_stem, by_other = {f.base: f for f in one}, {f.base: f for f in other}
    shared = by_stem.keys() & by_other.keys()
    if len(shared) < max(2, SAME_NAMES * min(len(by_stem), len(by_other))):
        return None
    lossy = [sum(f.suffix in LOSSY for f in group) / len(group) for group in (one, other)]
    mine, theirs = [by_stem[s] for s in sorted(shared)], [by_other[s] for s in sorted(shared)]
    for masks, these, those, kinds in ((other, mine, theirs, lossy), (one, theirs, mine, lossy[::-1])):
        if kinds[0] >= MOST_OF_THEM and kinds[1] == 0:
            judged = _judged(these, those)
            return None if judged is None else (masks, judged)
    ratio = _bytes(mine) / max(1, _bytes(theirs))
    if alone and by_stem.keys() == by_other.keys():
        return (other if ratio >= 1 else one), False
    if ratio > FEWER_BYTES:
        return other, False
    return (one, False) if ratio < 1 / FEWER_BYTES else None


def _judged(photos: Sequence[Listed], masks: Sequence[Listed]) -> bool | None:
    """Whether lossless files are masks of the photos: True for certain, False in doubt, None if they are photos."""
    if any(file.suffix in UNCOMPRESSED for file in masks) or not any(file.suffix in LOSSY for file in photos):
        return False
    ratio = _bytes(masks) / max(1, _bytes(photos))
    if ratio < 1:
        return True
    return False if ratio < 2 else None


def _bytes(files: Sequence[Listed]) -> int:
    return sum(max(0, file.bytes) for file in files)


def _is_mask_folder(name: str, *, weak: bool) -> bool:
    """Whether a folder has a name for masks; with `weak`, ambiguous names count as well."""
    if ends_like(name, MASK_FOLDERS):
        return True
    return weak and (ends_like(name, SIDE_FOLDERS) or name.casefold().startswith(_BEGINNINGS))


def _photo_folder(relative: PurePath, parent: PurePath) -> PurePath | None:
    """The folder with a name for photos that a file below `parent` lies in, or None."""
    below = relative.relative_to(parent).parts
    return parent / below[0] if len(below) > 1 and ends_like(below[0], PHOTO_FOLDERS) else None


def _by_folder(files: Sequence[Listed]) -> dict[PurePath, list[Listed]]:
    folders: dict[PurePath, list[Listed]] = defaultdict(list)
    for file in files:
        folders[file.relative.parent].append(file)
    return folders


def _shared(names: Sequence[str], others: Sequence[str]) -> float:
    """Share of the names that are among the others."""
    mine = set(names)
    return len(mine & set(others)) / max(1, len(mine))
