"""Files here and elsewhere by their address: paths, and fsspec's s3://, gs://, hdfs:// and so on."""

import glob
import re
import uuid
from pathlib import Path
from typing import Any, BinaryIO, cast

from act2sal.data.images import write_atomic
from act2sal.data.origin import note
from act2sal.errors import InputError, MissingPackageError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/{1,2}")
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"})
"""Object stores, which show an object only once all of it is there."""


class Place:
    """A folder or file by its address.

    Args:
        address: a path, or an address of fsspec. `Path` shortens "s3://a/b" to "s3:/a/b", which means the same here.

    Raises:
        InputError: no such kind of address, or one that other processes cannot see.
        MissingPackageError: the package for such addresses is not installed.
    """

    def __init__(self, address: str | Path) -> None:
        text = str(address)
        scheme = _SCHEME.match(text)
        if scheme is None:
            self.path: Path | None = Path(text)
            self.address = text
            return
        if scheme[1].lower() == "file":
            self.path = Path("/" + text[scheme.end() :].lstrip("/"))
            self.address = str(self.path)
            return
        if scheme[1].lower() == "memory":
            raise InputError(
                f"{text}: lives in the memory of one process; the processes of a cluster are others"
            )
        self.path = None
        self.address = f"{scheme[1]}://{text[scheme.end() :]}"

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine, or of a file system that all machines share."""
        return self.path is not None

    def below(self, relative: str) -> "Place":
        """A file below this folder."""
        return Place(
            self.path / relative if self.path is not None else f"{self.address.rstrip('/')}/{relative}"
        )

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        if self.path is not None:
            return self.path.exists()
        system, inner = self.opened()
        return bool(system.exists(inner))

    def read(self) -> bytes:
        """The content of a file.

        Raises:
            OSError: it cannot be read.
        """
        if self.path is not None:
            return self.path.read_bytes()
        system, inner = self.opened()
        return bytes(system.cat_file(inner))

    def opened_for_reading(self) -> BinaryIO:
        """A file, to be read bit by bit.

        Raises:
            OSError: it cannot be opened.
        """
        if self.path is not None:
            return self.path.open("rb")
        system, inner = self.opened()
        return cast(BinaryIO, system.open(inner, "rb"))

    def write(self, content: bytes, *, result: bool = False) -> None:
        """Write a file so that others see all of it or nothing.

        Args:
            content: of the file.
            result: whether it is one of our pictures (`origin.note`).

        Raises:
            OSError: it cannot be written.
        """
        if self.path is not None:
            write_atomic(self.path, content)
            if result:
                note(self.path)
            return
        system, inner = self.opened()
        if self.address.partition("://")[0].lower() in _WHOLE:
            system.pipe_file(inner, content)
            return
        folder = inner.rpartition("/")[0]
        system.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.act2sal-{uuid.uuid4().hex}"
        system.pipe_file(temporary, content)
        system.mv(temporary, inner)

    def files(self) -> list[str]:
        """Addresses of all files below a folder, sorted.

        Raises:
            OSError: there is no such folder.
        """
        if self.path is not None:
            return sorted(str(found) for found in self.path.rglob("*") if found.is_file())
        system, inner = self.opened()
        return sorted(self._head(inner) + found for found in system.find(inner))

    def matching(self) -> list[str]:
        """Addresses of the files that the pattern of this address matches, sorted."""
        if self.path is not None:
            return sorted(glob.glob(str(self.path), recursive=True))  # noqa: PTH207 (absolute patterns)
        system, inner = self.opened()
        return sorted(self._head(inner) + found for found in system.glob(inner))

    def _head(self, inner: str) -> str:
        """What stands before a path of the file system in an address."""
        return self.address.rstrip("/").removesuffix(inner.rstrip("/"))

    def remove(self) -> None:
        """Remove a file, if it is there."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            return
        system, inner = self.opened()
        if system.exists(inner):
            system.rm_file(inner)

    def opened(self) -> tuple[Any, str]:
        """The file system of fsspec and the path in it."""
        try:
            import fsspec
        except ImportError as error:
            raise MissingPackageError(
                f'{self.address}: needs fsspec; pip install "act2sal[scale]"'
            ) from error
        try:
            return fsspec.core.url_to_fs(self.address)
        except ValueError as error:
            raise InputError(f"{self.address}: {error}") from error
        except ImportError as error:
            raise MissingPackageError(f"{self.address}: {error}") from error
