"""Archives for tests."""

import io
import tarfile
from pathlib import Path


def tar_of(path: Path, members: dict[str, bytes]) -> str:
    """Write a .tar with these members; returns its path."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)
