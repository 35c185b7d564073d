"""Labels that somebody else made, or an earlier run: the detector is trained on them in place of those of stage 1."""

from collections.abc import Sequence
from pathlib import Path

from act2sal.datasets import DatasetError, Photo, PhotoBank, mirror
from act2sal.images import ImageError, read_photo, write_atomic
from act2sal.run_directory import GenerationFolder


def refuse_missing_labels(photos: Sequence[Photo], source: Path) -> None:
    """Make sure, before the work, that the photos have labels; one that cannot be read needs none.

    Raises:
        DatasetError: `source` is no folder, or has no label of a photo.
    """
    if not source.is_dir():
        raise DatasetError(f"--given-labels {source}: no such folder")
    origins = mirror(photos, source)
    missing = [(photo, label) for photo, label in zip(photos, origins, strict=True) if not label.is_file()]
    first = next((label for photo, label in missing if _readable(photo.path)), None)
    if first is not None:
        raise DatasetError(f"{len(missing)} of {len(photos)} photos have no label; the first one is {first}")


def _readable(photo: Path) -> bool:
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
    """
    origins, targets = bank.outputs(source), bank.outputs(folder.labels)
    missing = [origin for origin in origins if not origin.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(bank)} photos have no label; the first one is {missing[0]}"
        )
    for origin, target in zip(origins, targets, strict=True):
        try:
            read_photo(origin)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        write_atomic(target, origin.read_bytes())
    stage1 = source.parent / folder.stage1.name
    if stage1.is_file():
        write_atomic(folder.stage1, stage1.read_bytes())
    return targets
