"""Frozen features on disk: one file per photo, named by what the photo shows, within a budget.

A file appears whole or not at all and carries a checksum, so that a process may be killed at any time. It is
memory-mapped while it is read and no longer: the resident memory does not grow with the number of photos.
"""

import hashlib
import logging
import shutil
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from act2sal.data.images import write_atomic
from act2sal.networks.encoders import Encoder

GIB = 2**30
SHARE_OF_FREE_DISK = 0.5
"""Of what is free on the disk, the part that the cache takes where no budget is given: labels, checkpoints and other
programs need the rest."""

_CHECKSUM = "crc32"
_SUFFIX = ".safetensors"
_LOGGER = logging.getLogger("act2sal")


class FeatureCache:
    """Tensors by name, one file each, at most `budget` bytes in all.

    One thread may read while another one reads and writes.

    Files of other names, left by photos or encoders that are no longer in use, stay until their room is needed.

    Args:
        folder: of the files; made where missing.
        names: those that will be asked for.
        budget: bytes.
    """

    def __init__(self, folder: Path, names: Iterable[str], budget: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.budget = folder, budget
        self._changing = threading.Lock()
        wanted = set(names)
        self._sizes: dict[str, int] = {}
        self._unused: list[tuple[Path, int]] = []
        for path, size in _files(folder):
            if path.stem in wanted and path == self._file(path.stem):
                self._sizes[path.stem] = size
            else:
                self._unused.append((path, size))
        self.used = sum(self._sizes.values()) + sum(size for _, size in self._unused)
        while self.used > budget and self._unused:
            self._discard_unused()

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def read(self, name: str) -> dict[str, Tensor] | None:
        """The tensors, mapped from the file; None where there are none or the file is damaged.

        A damaged file is named in a warning and deleted.
        """
        if name not in self._sizes:
            return None
        path = self._file(name)
        try:
            return _checked(path)
        except (OSError, SafetensorError, ValueError) as error:
            _LOGGER.warning("damaged features are computed anew: %s: %s", path, error)
            with self._changing:
                path.unlink(missing_ok=True)
                self.used -= self._sizes.pop(name, 0)
            return None

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> bool:
        """Store tensors; False where the budget or the disk, of which a warning tells once, is full."""
        content = save(dict(tensors), {_CHECKSUM: _checksum(tensors)})
        with self._changing:
            return self._written(name, content)

    def _written(self, name: str, content: bytes) -> bool:
        growth = len(content) - self._sizes.get(name, 0)
        while self.used + growth > self.budget and self._unused:
            self._discard_unused()
        if self.used + growth > self.budget:
            return False
        try:
            write_atomic(self._file(name), content)
        except OSError as error:
            _LOGGER.warning(
                "features that are not stored yet are computed anew at every epoch: %s: %s",
                self.folder,
                error.strerror or error,
            )
            self.budget = self.used
            return False
        self._sizes[name] = len(content)
        self.used += growth
        return True

    def _discard_unused(self) -> None:
        path, size = self._unused.pop()
        path.unlink(missing_ok=True)
        self.used -= size

    def _file(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}{_SUFFIX}"


def budget_in_bytes(gib: float | None, folder: Path) -> int:
    """A budget in bytes; None: half of what the disk has free and the cache in `folder` holds already."""
    if gib is not None:
        return int(gib * GIB)
    folder.mkdir(parents=True, exist_ok=True)
    held = sum(size for _, size in _files(folder))
    return int(SHARE_OF_FREE_DISK * (shutil.disk_usage(folder).free + held))


def encoder_digest(encoder: Encoder) -> bytes:
    """32 bytes that change with the weights, the statistics and the pre-processing of the encoder."""
    spec = encoder.spec
    digest = hashlib.sha256(repr((spec.name, spec.mean, spec.std, spec.bn_eps, spec.pad_type)).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def feature_name(photo: NDArray[np.uint8], encoder: bytes, precision: str) -> str:
    """Hex digits that change with what a photo (S, S, 3) uint8 shows, its size, the encoder and the precision.

    encoder: from `encoder_digest`.
    """
    digest = hashlib.blake2b(encoder + repr((photo.shape, precision)).encode(), digest_size=20)
    digest.update(np.ascontiguousarray(photo).data)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """All files below a folder, and their bytes."""
    return ((path, path.stat().st_size) for path in sorted(folder.rglob("*")) if path.is_file())


def _checked(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; a ValueError where they are not those that were written."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (file.metadata() or {}).get(_CHECKSUM) != _checksum(tensors):
            raise ValueError("the checksum does not match")
    return tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of names, types, shapes and contents."""
    value = 0
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode(), value)
        value = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data, value)
    return f"{value:08x}"
