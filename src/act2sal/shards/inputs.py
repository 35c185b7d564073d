"""Finds what a cluster is to do: photos in folders and lists, WebDataset shards and Parquet files."""

import glob
import gzip
import posixpath
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from act2sal.data.photo_files import SUFFIXES, DatasetError
from act2sal.data.photo_search import AUTO, Remarks, Search
from act2sal.predict.plan import expanded
from act2sal.shards.addresses import Place
from act2sal.shards.shard import PACKED, Entry, name_inside

LISTS = (".txt", ".txt.gz", ".lst", ".lst.gz")
"""Endings of files that name a photo in each line."""


@dataclass
class Inputs:
    """What there is to do.

    Attributes:
        photos: files.
        packed: WebDataset shards and Parquet files.
    """

    photos: list[Entry] = field(default_factory=list)
    packed: list[Entry] = field(default_factory=list)


def inputs_of(given: Sequence[str], out: Place, *, exclude: str = AUTO, remarks: Remarks) -> Inputs:
    """Find photos, WebDataset shards and Parquet files.

    Args:
        given: folders, photos, patterns, .tar and .parquet files, lists (.txt, .txt.gz), here or at an address of
            fsspec; "-": a list from standard input.
        out: folder of the results, left out.
        exclude: as of `Search`, for folders of this machine.
        remarks: gets what is left out.

    Raises:
        DatasetError: nothing is found, or the results of two photos would have the same name.
        OSError: a folder or list cannot be read.
    """
    found = Inputs()
    for one in given:
        if one == "-":
            found.photos += listed(sys.stdin.buffer.read(), "")
        elif one.endswith(LISTS):
            place = Place(one)
            content = place.read()
            found.photos += listed(gzip.decompress(content) if one.endswith(".gz") else content, one)
        else:
            _add(found, Place(one), out, exclude, remarks)
    if not found.photos and not found.packed:
        raise DatasetError(remarks.undone[0] if remarks.undone else f"no photos in {', '.join(given)}")
    found.photos, found.packed = list(dict.fromkeys(found.photos)), list(dict.fromkeys(found.packed))
    _refuse_same_names(found.photos)
    _refuse_same_names(found.packed)
    return found


def listed(content: bytes, origin: str) -> list[Entry]:
    """The photos of a list, a line each; empty lines count for nothing.

    Results are named after what the paths have not in common. Relative paths start at the list.
    """
    lines = [line.strip() for line in content.decode(errors="surrogateescape").splitlines()]
    folder = posixpath.dirname(origin)
    addresses = [
        posixpath.join(folder, line) if (path := Place(line).path) and not path.is_absolute() else line
        for line in lines
        if line
    ]
    return _named(addresses)


def _named(addresses: Sequence[str]) -> list[Entry]:
    """Entries whose names are what the addresses have not in common."""
    parts = [PurePosixPath(address).parts for address in addresses]
    of_folders = zip(*(one[:-1] for one in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, of_folders))
    names = [name_inside("/".join(one[shared:])) for one in parts]
    return [Entry(address, name) for address, name in zip(addresses, names, strict=True)]


def _add(found: Inputs, place: Place, out: Place, exclude: str, remarks: Remarks) -> None:
    """Add what one input holds."""
    if place.address.endswith(PACKED):
        packed = place.matching() if glob.has_magic(place.address) else [place.address]
        found.packed += [Entry(address, _last(address)) for address in packed]
    elif place.path is not None:
        _add_local(found, place.path, out, exclude, remarks)
    else:
        files = place.matching() if glob.has_magic(place.address) else place.files()
        inside = f"{out.address.rstrip('/')}/"
        below = [file for file in files if not file.startswith(inside) and "/.act2sal/" not in file]
        _sort_in(found, _relative(below, place.address))


def _add_local(found: Inputs, path: Path, out: Place, exclude: str, remarks: Remarks) -> None:
    packed = sorted(file for ending in PACKED for file in path.rglob(f"*{ending}")) if path.is_dir() else []
    outside = [
        file for file in packed if out.path is None or out.path.resolve() not in file.resolve().parents
    ]
    found.packed += [Entry(str(file), file.relative_to(path).as_posix()) for file in outside]
    search = Search(outside=out.path, exclude=exclude, remarks=remarks)
    try:
        photos = search.photos(expanded([path]))
    except DatasetError:
        if not outside:
            raise
        return
    found.photos += [Entry(str(photo.path), photo.relative.as_posix()) for photo in photos]


def _sort_in(found: Inputs, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.address.endswith(PACKED):
            found.packed.append(entry)
        elif PurePosixPath(entry.address).suffix.lower() in SUFFIXES:
            found.photos.append(entry)


def _relative(files: Sequence[str], folder: str) -> list[Entry]:
    """Entries by their names below a folder; a file that is named itself, or by a pattern, by its own."""
    start = f"{folder.rstrip('/')}/"
    return [
        Entry(file, file.removeprefix(start) if file.startswith(start) else _last(file)) for file in files
    ]


def _last(address: str) -> str:
    return address.rpartition("/")[2]


def _refuse_same_names(photos: Sequence[Entry]) -> None:
    """Refuse photos whose results would replace one another, also on disks that ignore case."""
    first: dict[str, str] = {}
    for photo in photos:
        name = PurePosixPath(photo.name).with_suffix("").as_posix().casefold()
        other = first.setdefault(name, photo.address)
        if other != photo.address:
            raise DatasetError(f"{other} and {photo.address}: their results would have the same name")
