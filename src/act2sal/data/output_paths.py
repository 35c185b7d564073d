"""Checks, before the work, that something can be written to a path."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from act2sal.data.images import TEMPORARY
from act2sal.errors import InputError


def refuse_file(path: Path, option: str, suffixes: Sequence[str] = ()) -> None:
    """Refuse a path at which no file can be written; missing folders are created later.

    Args:
        path: of the file.
        option: that names it, such as "--json".
        suffixes: one of which its name has to end with, in any case; none: any name.

    Raises:
        InputError: a folder lies there, something stands in the way, or nothing may be written there.
    """
    if path == Path("-"):
        raise InputError(f"{option} -: needs the name of a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{option} {path}: the name of the file has to end with {' or '.join(suffixes)}")
    if _is_dir(path, option):
        raise InputError(f"{option} {path}: is a folder, and a file is to be written")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path}: is no regular file, and would be replaced")
    _refuse_folder(path.parent, path, option)


def refuse_folder(path: Path, option: str) -> None:
    """Refuse a folder into which no files can be written; a missing one is created later.

    Raises:
        InputError: as `refuse_file`.
    """
    _refuse_folder(path, path, option)


def _refuse_folder(folder: Path, named: Path, option: str) -> None:
    """Refuse a folder by trying to write into it, since permissions and read-only disks do not show beforehand."""
    while not _is_dir(folder, option):
        if os.path.lexists(folder):
            raise InputError(f"{option} {named}: {folder} is no folder")
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY, dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{option} {named}: nothing can be written to {folder} ({reason[:1].lower()}{reason[1:]})"
        ) from error


def _is_dir(path: Path, option: str) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # such as a name that is too long
        reason = error.strerror or str(error)
        raise InputError(f"{option} {path}: {reason[:1].lower()}{reason[1:]}") from error
