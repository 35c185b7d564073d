"""Writes the results of a shard: as files, as one WebDataset shard, or as one Parquet file."""

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from act2sal.shards.addresses import Place
from act2sal.shards.shard import Shard

StoreKind = Literal["files", "webdataset", "parquet"]


@dataclass(frozen=True)
class ShardResult:
    """The results of a photo.

    Attributes:
        name: of the photo.
        files: content by what stands behind its name without suffix, such as ".png"; none if it failed.
        facts: of its record, such as boxes.
        error: why it failed; "": it did not.
    """

    name: str
    files: dict[str, bytes]
    facts: dict[str, Any]
    error: str = ""

    @property
    def stem(self) -> str:
        """Name without suffix."""
        return PurePosixPath(self.name).with_suffix("").as_posix()


class ShardStore(Protocol):
    """Takes the results of a shard."""

    def add(self, result: ShardResult) -> None:
        """Take the results of a photo."""

    def close(self) -> None:
        """Write what is not written yet; the results are there once this has ended."""


class FileStore:
    """`OUT/a/b.png` for `a/b.jpg`, and `OUT/x/a/b.png` for `a/b.jpg` in `x.tar`, as others may hold the same name.

    Args:
        out: folder of the results.
        shard: of the photos.
    """

    def __init__(self, out: Place, shard: Shard) -> None:
        self.out = folder_of(out, shard)

    def add(self, result: ShardResult) -> None:
        """Write its files."""
        for suffix, content in result.files.items():
            self.out.below(f"{result.stem}{suffix}").write(content, result=True)

    def close(self) -> None:
        """Nothing is left to write."""


class WebDatasetStore:
    """`OUT/000000.tar` with `a/b.png`, and `a/b.json` of its facts or its error.

    Args:
        out: folder of the results.
        shard: names the file.
    """

    def __init__(self, out: Place, shard: Shard) -> None:
        self.file = out.below(f"{shard.title}.tar")
        self._content = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._content, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115

    def add(self, result: ShardResult) -> None:
        """Put its files into the archive."""
        told = result.facts if not result.error else {"error": result.error}
        named = {**result.files, ".json": json.dumps({"photo": result.name, **told}).encode()}
        for suffix, content in named.items():
            member = tarfile.TarInfo(
                f"{result.stem}{suffix}"
            )  # owner and time 0: a second run writes the same
            member.size = len(content)
            self._archive.addfile(member, io.BytesIO(content))

    def close(self) -> None:
        """Write the archive."""
        self._archive.close()
        self.file.write(self._content.getvalue())


class ParquetStore:
    """`OUT/000000.parquet` with a row for each photo: name, a column of bytes for each result, facts, error.

    Args:
        out: folder of the results.
        shard: names the file.
        columns: name of the column for each suffix of results.
    """

    def __init__(self, out: Place, shard: Shard, columns: dict[str, str]) -> None:
        self.file, self.columns = out.below(f"{shard.title}.parquet"), columns
        self._rows: list[ShardResult] = []

    def add(self, result: ShardResult) -> None:
        """Keep it for its row."""
        self._rows.append(result)

    def close(self) -> None:
        """Write the table."""
        import pyarrow
        from pyarrow import parquet

        facts = {
            "confidence": pyarrow.float64(),
            "area": pyarrow.float64(),
            "boxes": pyarrow.list_(pyarrow.list_(pyarrow.int32())),
            "crop": pyarrow.list_(pyarrow.int32()),
        }
        columns = {"photo": pyarrow.array([row.name for row in self._rows], pyarrow.string())}
        for suffix, name in self.columns.items():
            columns[name] = pyarrow.array([row.files.get(suffix) for row in self._rows], pyarrow.binary())
        for name, kind in facts.items():
            columns[name] = pyarrow.array([row.facts.get(name) for row in self._rows], kind)
        columns["error"] = pyarrow.array([row.error or None for row in self._rows], pyarrow.string())
        content = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), content)
        self.file.write(content.getvalue())


def store_of(kind: StoreKind, out: Place, shard: Shard, columns: dict[str, str]) -> ShardStore:
    """The store of a kind; the arguments as of the stores."""
    if kind == "webdataset":
        return WebDatasetStore(out, shard)
    if kind == "parquet":
        return ParquetStore(out, shard, columns)
    return FileStore(out, shard)


def folder_of(out: Place, shard: Shard) -> Place:
    """Folder of the results of a shard that are stored as files."""
    return out.below(PurePosixPath(shard.name).with_suffix("").as_posix()) if shard.packed else out
