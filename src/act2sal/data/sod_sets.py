"""The data sets of salient-object detection: what each holds, and where it lies below a folder of data sets."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SodSet:
    """A data set of the field.

    Attributes:
        name: as the field writes it.
        images: number of images in the whole set.
        split: what it is used for.
        source: who made it.
        note: what a reader of scores has to know.
        aliases: beginnings of folder names, as lower-case letters and digits.
        home: address of the page where its makers, or those of its masks, offer it.
    """

    name: str
    images: int
    split: str
    source: str
    note: str
    aliases: tuple[str, ...]
    home: str


SOD_SETS = (
    SodSet(
        "ECSSD",
        1000,
        "test",
        "Yan et al., CVPR 2013",
        "structurally complex scenes",
        ("ecssd",),
        "http://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html",
    ),
    SodSet(
        "MSRA-B",
        5000,
        "2,500 training, 500 validation, 2,000 test",
        "Liu et al., TPAMI 2011; masks by Jiang et al., CVPR 2013",
        "the paper trains on its training and validation photos",
        ("msrab",),
        "https://mmcheng.net/drfi/",
    ),
    SodSet(
        "DUT-OMRON",
        5168,
        "test",
        "Yang et al., CVPR 2013",
        "",
        ("dutomron", "duto"),
        "http://saliencydetection.net/dut-omron/",
    ),
    SodSet(
        "PASCAL-S",
        850,
        "test",
        "Li et al., CVPR 2014",
        "graded masks; five have no pixel above 127 (359, 408, 424, 460, 622): both 850 and 845 are in use",
        ("pascals",),
        "https://cbs.ic.gatech.edu/salobj/",
    ),
    SodSet(
        "DUTS-TR",
        10553,
        "training",
        "Wang et al., CVPR 2017",
        "photos of ImageNet DET",
        ("dutstr",),
        "http://saliencydetection.net/duts/",
    ),
    SodSet(
        "DUTS-TE",
        5019,
        "test",
        "Wang et al., CVPR 2017",
        "photos of ImageNet and SUN",
        ("dutste",),
        "http://saliencydetection.net/duts/",
    ),
    SodSet(
        "HKU-IS",
        4447,
        "test",
        "Li and Yu, CVPR 2015",
        "1,447 of them are its own test split",
        ("hkuis",),
        "https://i.cs.hku.hk/~gbli/deep_saliency.html",
    ),
    SodSet(
        "SOD",
        300,
        "test",
        "Movahedi and Elder, CVPRW 2010",
        "photos of the BSDS",
        ("sod",),
        "http://elderlab.yorku.ca/SOD/",
    ),
)

MASK_FOLDERS = ("masks", "mask", "gt", "gts", "groundtruth", "groundtruths", "annotation", "annotations")
PHOTO_FOLDERS = ("images", "image", "imgs", "img", "photos", "photo", "pics", "pictures", "src", "rgb")
"""Ends of folder names for photos, as lower-case letters and digits."""


@dataclass(frozen=True)
class FoundSet:
    """A data set on disk: its folder, that of its masks, and that of its photos, None where there is none."""

    sod_set: SodSet
    folder: Path
    masks: Path
    photos: Path | None


def find_sod_sets(root: Path) -> list[FoundSet]:
    """The known data sets below a folder, in the order of `SOD_SETS`.

    A set is a folder whose name begins like it (`ECSSD`, `ecssd_dev`, `DUT-OMRON`), with a folder of masks in it
    (`masks`, `gt`, `DUTS-TE-Mask`, ...). Folders without masks are left out.
    """
    found = []
    children = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for sod_set in SOD_SETS:
        for folder in children:
            masks = _child(folder, MASK_FOLDERS)
            if is_named_like(folder, sod_set) and masks is not None:
                found.append(FoundSet(sod_set, folder, masks, _child(folder, PHOTO_FOLDERS)))
    return found


def is_named_like(folder: Path, sod_set: SodSet) -> bool:
    """Whether the name of a folder begins like that of a data set; case and punctuation do not count."""
    return _plain(folder.name).startswith(sod_set.aliases)


def ends_like(name: str, endings: tuple[str, ...]) -> bool:
    """Whether the name of a folder has one of the endings; case and punctuation do not count."""
    return _plain(name).endswith(endings)


def _child(folder: Path, endings: tuple[str, ...]) -> Path | None:
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    return next((path for path in children if ends_like(path.name, endings)), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
