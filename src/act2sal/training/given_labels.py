"""Given labels, of an earlier run or of any other source, on which the detector is trained instead of stage 1's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from act2sal.data.images import ImageError, gray_png, read_photo, write_atomic
from act2sal.data.mask_files import MaskReader, refuse_turned
from act2sal.data.photo_bank import PhotoBank
from act2sal.data.photo_files import DatasetError, Photo, png_paths
from act2sal.runs.run_directory import GenerationFolder


def refuse_missing_labels(photos: Sequence[Photo], source: Path) -> None:
    """Refuse, before the work, a folder without the label of a photo; photos that cannot be read need none.

    Raises:
        DatasetError: `source` is no folder, or has no label of a photo.
        UnclearError: what the values of the labels mean is unclear.
    """
    if not source.is_dir():
        raise DatasetError(f"--given-labels {source}: no such folder")
    origins = png_paths(photos, source)
    missing = [(photo, label) for photo, label in zip(photos, origins, strict=True) if not label.is_file()]
    first = next((label for photo, label in missing if is_readable(photo.path)), None)
    if first is not None:
        raise DatasetError(f"{len(missing)} of {len(photos)} photos have no label; the first one is {first}")
    MaskReader.of(label for label in origins if label.is_file())


def is_readable(photo: Path) -> bool:
    """Try to read a photo."""
    try:
        read_photo(photo)
    except ImageError:
        return False
    return True


def copy_labels(bank: PhotoBank, source: Path, folder: GenerationFolder) -> list[Path]:
    """Copy the label of each photo into a generation's folder, and the stage 1 that lies beside `source`, if any.

    Args:
        bank: the photos of this process.
        source: folder of the labels, PNG, in the tree and with the names that `act2sal label` gives them.
        folder: gets them.

    Returns:
        The copies, in the order of the photos.

    Raises:
        DatasetError: a photo has no label, or one that cannot be read.
        UnclearError: the values of a label could mean two things.
        InputError: a label is turned by 90 degrees against its photo.
    """
    origins, targets = bank.outputs(source), bank.outputs(folder.labels)
    missing = [origin for origin in origins if not origin.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(bank)} photos have no label; the first one is {missing[0]}"
        )
    reader = MaskReader.of(origins)
    for photo, size, origin, target in zip(bank.photos, bank.original_sizes, origins, targets, strict=True):
        try:
            label = reader.read(origin)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        refuse_turned(origin, label.shape, photo.path, size)
        plain = np.array_equal(read_photo(origin)[..., 0], label)
        write_atomic(target, origin.read_bytes() if plain else gray_png(label))
    stage1 = source.parent / folder.stage1.name
    if stage1.is_file():
        write_atomic(folder.stage1, stage1.read_bytes())
    return targets
