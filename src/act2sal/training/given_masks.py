"""Supervised training: the masks of the photos take the place of labels."""

from collections.abc import Sequence
from pathlib import Path

from act2sal.data.images import ImageError, gray_png, write_atomic
from act2sal.data.mask_files import MaskReader, refuse_turned
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import DatasetError, Photo, by_stem
from act2sal.training.given_labels import is_readable


def masks_of(photos: Sequence[Photo], source: Path) -> list[Path]:
    """Pair photos with masks by relative path without suffix, as `act2sal evaluate` does.

    Args:
        photos: those that are learnt from.
        source: folder of the masks.

    Returns:
        The mask of each photo.

    Raises:
        DatasetError: `source` is no folder, holds two masks of one name, or has none of a photo.
    """
    if not source.is_dir():
        raise DatasetError(f"--masks {source}: no such folder")
    closed: list[str] = []
    found = by_stem(source, closed)
    names = [photo.relative.with_suffix("").as_posix() for photo in photos]
    missing = [photo.path for photo, name in zip(photos, names, strict=True) if name not in found]
    if missing:
        also = f"; {closed[0]}" if closed else ""
        raise DatasetError(
            f"--masks {source}: {len(missing)} of {len(photos)} photos have no mask; the first one is "
            f"{missing[0]}{also}"
        )
    return [found[name] for name in names]


def copy_masks(bank: PhotoBank, source: Path, folder: Path) -> list[Path]:
    """Write the mask of each photo into a generation's folder of labels, as grey levels in 0..255.

    Args:
        bank: the photos of this process.
        source: folder of the masks.
        folder: of the labels.

    Returns:
        The labels, in the order of the photos.

    Raises:
        DatasetError: a photo has no mask, or one that cannot be read.
        UnclearError: a mask could mean two things.
        InputError: a mask is turned by 90 degrees against its photo.
    """
    reader = MaskReader.of(masks_of(bank.whole.photos, source))
    targets = bank.outputs(folder)
    masks = masks_of(bank.photos, source)
    for photo, size, mask, target in zip(bank.photos, bank.original_sizes, masks, targets, strict=True):
        try:
            label = reader.read(mask)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        refuse_turned(mask, label.shape, photo.path, size)
        write_atomic(target, gray_png(label))
    return targets


def refuse_unusable_masks(photos: Sequence[Photo], source: Path) -> None:
    """Make sure, before the work, that photos that can be read have masks whose values are clear.

    Raises:
        DatasetError: as `masks_of`.
        UnclearError: what the values of the masks mean is unclear.
    """
    MaskReader.of(masks_of([photo for photo in photos if is_readable(photo.path)], source))
