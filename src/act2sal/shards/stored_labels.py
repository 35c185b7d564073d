"""Reads the labels of a shard as `act2sal label --engine ray` stored them."""

import tarfile
from collections.abc import Callable
from pathlib import PurePosixPath

from act2sal.errors import InputError
from act2sal.shards.addresses import Place
from act2sal.shards.shard import Shard
from act2sal.shards.storing import StoreKind, folder_of

LabelOf = Callable[[str], bytes | None]
"""Content of the label's PNG by the name of the photo; None: it has none, as it could not be read."""


def labels_of(out: Place, store: StoreKind, shard: Shard) -> LabelOf:
    """The labels of the photos of a shard; those of an archive or table are held in memory.

    Args:
        out: folder of the labels.
        store: how they are kept.
        shard: of the photos, as it was planned when they were labelled.

    Raises:
        InputError: an archive or table cannot be read.
        OSError: likewise.
    """
    if store == "webdataset":
        return _of_archive(out.below(f"{shard.title}.tar"))
    if store == "parquet":
        return _of_table(out.below(f"{shard.title}.parquet"))
    return _of_files(folder_of(out, shard))


def stem_of(name: str) -> str:
    """The name of a photo without suffix, as its results are called."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _of_files(folder: Place) -> LabelOf:
    def label(name: str) -> bytes | None:
        try:
            return folder.below(f"{stem_of(name)}.png").read()
        except FileNotFoundError:
            return None

    return label


def _of_archive(file: Place) -> LabelOf:
    content: dict[str, bytes] = {}
    try:
        with file.opened_for_reading() as opened, tarfile.open(fileobj=opened, mode="r|*") as archive:
            for member in archive:
                picture = archive.extractfile(member) if member.name.endswith(".png") else None
                if picture is not None:
                    content[member.name.removesuffix(".png")] = picture.read()
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{file.address}: {error}") from error
    return lambda name: content.get(stem_of(name))


def _of_table(file: Place) -> LabelOf:
    import pyarrow
    from pyarrow import parquet

    try:
        with file.opened_for_reading() as opened:
            rows = parquet.read_table(opened, columns=["photo", "label"]).to_pylist()
    except pyarrow.ArrowException as error:
        raise InputError(f"{file.address}: {error}") from error
    content = {stem_of(row["photo"]): row["label"] for row in rows}
    return lambda name: content.get(stem_of(name))
