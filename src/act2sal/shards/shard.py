"""Shards: photos that one process does in one go, and whose results are committed together."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from act2sal.errors import InputError

PACKED = (".tar", ".parquet")
"""Endings of files that hold many photos, or many results."""


@dataclass(frozen=True)
class Entry:
    """A photo that is a file.

    Attributes:
        address: of the file.
        name: path below what was searched, with its suffix; names the results.
    """

    address: str
    name: str


@dataclass(frozen=True)
class Shard:
    """Files of photos, or one WebDataset shard or Parquet file of them.

    Attributes:
        number: its place in the plan, which names its results.
        entries: the files; empty for the other kinds.
        packed: address of the .tar or .parquet; "" for files.
        name: of the packed file below what was searched.
    """

    number: int
    entries: tuple[Entry, ...] = ()
    packed: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """Number as it stands in the names of files."""
        return f"{self.number:06d}"

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def of_json(cls, line: str) -> "Shard":
        """What `as_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            read = json.loads(line)
            entries = tuple(Entry(**entry) for entry in read["entries"])
            return cls(read["number"], entries, read["packed"], read["name"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("the plan of an earlier run cannot be read; --overwrite begins anew") from error


def name_inside(name: str) -> str:
    """A name without what could lead out of the folder of the results, such as "../": archives come from anybody."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("/", "//", ".."))


def planned_shards(
    earlier: Sequence[Shard], entries: Sequence[Entry], packed: Sequence[Entry], size: int
) -> list[Shard]:
    """The shards of earlier runs, and behind them those of what they do not hold.

    Args:
        earlier: of the plan that is there.
        entries: all photos that are files.
        packed: all .tar and .parquet files.
        size: most files of a shard.
    """
    known = {entry for shard in earlier for entry in shard.entries}
    known_packed = {shard.packed for shard in earlier}
    new = [entry for entry in entries if entry not in known]
    shards = list(earlier)
    for start in range(0, len(new), size):
        shards.append(Shard(len(shards), tuple(new[start : start + size])))
    for one in packed:
        if one.address not in known_packed:
            shards.append(Shard(len(shards), packed=one.address, name=one.name))
    return shards


def lines_of(shards: Sequence[Shard]) -> bytes:
    """A plan as the content of a file."""
    return "".join(f"{shard.as_json()}\n" for shard in shards).encode()


def shards_of(content: bytes) -> Iterator[Shard]:
    """The plan of a file."""
    return (Shard.of_json(line) for line in content.decode().splitlines())
