"""Brings the photos of a shard to this machine, a few at a time: the rest of the package reads files."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from act2sal.data.photo_files import SUFFIXES
from act2sal.errors import InputError
from act2sal.shards.addresses import Place
from act2sal.shards.shard import Shard, name_inside

PIECE = 64
"""Photos that are on the scratch disk at once."""

IMAGE_COLUMNS = ("image", "photo", "jpg", "jpeg", "png", "webp", "bytes", "content")
NAME_COLUMNS = ("__key__", "key", "name", "file_name", "path", "id")
"""Columns of Parquet files, in the order in which they are looked for."""


@dataclass(frozen=True)
class Staged:
    """A photo of a shard.

    Attributes:
        name: with its suffix, below what was searched or within the packed file; names the results.
        told: what messages call it.
        file: where it can be read; None: it could not be fetched.
        failure: why.
    """

    name: str
    told: str
    file: Path | None
    failure: str = ""


def staged(shard: Shard, scratch: Path) -> Iterator[list[Staged]]:
    """The photos of a shard in pieces; files in the scratch folder are those of the last piece alone.

    Raises:
        InputError: a .tar or .parquet file cannot be read.
        OSError: the scratch disk is full.
    """
    if not shard.packed:
        one_by_one = _of_files(shard, scratch)
    elif shard.packed.endswith(".tar"):
        one_by_one = _of_tar(shard.packed, scratch)
    else:
        one_by_one = _of_parquet(shard.packed, scratch)
    piece: list[Staged] = []
    for photo in one_by_one:
        piece.append(photo)
        if len(piece) == PIECE:
            yield piece
            _emptied(scratch)
            piece = []
    if piece:
        yield piece


def _of_files(shard: Shard, scratch: Path) -> Iterator[Staged]:
    for number, entry in enumerate(shard.entries):
        place = Place(entry.address)
        if place.path is not None:
            yield Staged(entry.name, entry.address, place.path)
            continue
        target = scratch / f"{number}{PurePosixPath(entry.name).suffix}"
        try:
            target.write_bytes(place.read())
        except FileNotFoundError:
            yield Staged(entry.name, entry.address, None, f"{entry.address}: no such file")
        else:
            yield Staged(entry.name, entry.address, target)


def _of_tar(address: str, scratch: Path) -> Iterator[Staged]:
    """The members of a WebDataset shard that are photos."""
    try:
        with (
            Place(address).opened_for_reading() as opened,
            tarfile.open(fileobj=opened, mode="r|*") as archive,
        ):
            for number, member in enumerate(archive):
                suffix = PurePosixPath(member.name).suffix.lower()
                content = archive.extractfile(member) if suffix in SUFFIXES else None
                if content is None:
                    continue
                target = scratch / f"{number}{suffix}"
                target.write_bytes(content.read())
                yield Staged(name_inside(member.name), f"{address}/{member.name}", target)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{address}: {error}") from error


def _of_parquet(address: str, scratch: Path) -> Iterator[Staged]:
    """The rows of a Parquet file with a column of pictures: bytes, or a struct of bytes and path."""
    import pyarrow
    from pyarrow import parquet

    try:
        with Place(address).opened_for_reading() as opened:
            file = parquet.ParquetFile(opened)
            image, name = _columns(file.schema_arrow, address)
            number = 0
            for batch in file.iter_batches(PIECE, columns=[image, *([name] if name else [])]):
                for row in batch.to_pylist():
                    yield _row(row, image, name, f"{number:08d}", address, scratch)
                    number += 1
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{address}: {error}") from error


def _columns(schema: Any, address: str) -> tuple[str, str | None]:
    """The columns of the pictures and of their names."""
    import pyarrow

    def holds_pictures(column: str) -> bool:
        kind = schema.field(column).type
        if pyarrow.types.is_struct(kind):
            return any(field.name == "bytes" for field in kind)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    fitting = [column for column in (*IMAGE_COLUMNS, *schema.names) if column in schema.names]
    image = next((column for column in fitting if holds_pictures(column)), None)
    if image is None:
        raise InputError(f"{address}: no column of pictures among {', '.join(schema.names)}")
    return image, next((column for column in NAME_COLUMNS if column in schema.names), None)


def _row(
    row: dict[str, Any], image: str, name: str | None, number: str, address: str, scratch: Path
) -> Staged:
    value = row[image]
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    named = name_inside(str(row[name] if name is not None else path or number)) or number
    if PurePosixPath(named).suffix.lower() not in SUFFIXES:
        named += ".jpg"  # which decides nothing: photos are known by their content
    told = f"{address}/{named}"
    if content is None:
        return Staged(named, told, None, f"{told}: no picture")
    target = scratch / f"{number}{PurePosixPath(named).suffix}"
    target.write_bytes(content)
    return Staged(named, told, target)


def _emptied(scratch: Path) -> None:
    for file in scratch.iterdir():
        file.unlink()
