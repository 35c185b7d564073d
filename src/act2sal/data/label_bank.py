"""The labels of all photos while a detector trains on them, as one file per epoch."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.data.array_files import MappedArray, check, create_array, open_array, seal
from act2sal.errors import InputError


class LabelBankError(InputError):
    """A label bank without the labels that are asked for; the message names the folder."""


class LabelBank:
    """The labels of all photos as one uint8 array (N, S, S) on disk, so that they need no memory.

    An epoch reads the labels it began with and writes the next ones into a second file, so that an epoch
    which was cut off can be repeated exactly. The training loop goes through three steps after an epoch:

    1. `finish()` completes the file of the next epoch; that of this epoch is still there;
    2. the loop saves its own checkpoint, which says that the epoch is over;
    3. `commit()` moves on, and deletes what neither this epoch nor the one before it needs.

    Killed before 2, the run reopens the bank at this epoch, killed after it, at the next; where the last
    checkpoint turns out to be damaged, at the one before. An epoch without `write` (lambda = 1) makes no file;
    the old one stays in force. Every file ends with a checksum. One process at a time may write.
    """

    def __init__(self, folder: Path, *, epoch: int = 0) -> None:
        """Open the bank at the beginning of `epoch`; delete files of later and of unfinished epochs.

        Raises:
            LabelBankError: the folder has no labels for that epoch.
            ArrayFileError: their file is cut off; `check` says whether it is whole.
        """
        self.folder = folder
        self._next: MappedArray | None = None
        self._open(epoch)

    @classmethod
    def create(
        cls, folder: Path, labels: Iterable[NDArray[np.uint8]], *, count: int, size: int
    ) -> "LabelBank":
        """Make a bank of `count` labels, each (size, size) uint8 0..255, and open it at epoch 0.

        What the folder held of an older bank is replaced.

        Raises:
            ValueError: `labels` are not `count`, or not of that size.
            OSError: the disk is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        partial = _partial(folder)
        array = create_array(partial, np.uint8, (count, size, size))
        for row, label in zip(array, labels, strict=True):
            if label.shape != row.shape:
                raise ValueError(f"a label of shape {label.shape} for a bank of side {size}")
            row[:] = label
        seal(array)
        for path in _epoch_files(folder).values():
            path.unlink()
        partial.replace(_file(folder, 0))
        return cls(folder)

    @staticmethod
    def check(folder: Path, epoch: int) -> None:
        """Read the labels of an epoch once, to see whether they are what was written.

        Raises:
            LabelBankError: the folder has no labels for that epoch.
            ArrayFileError: bytes are missing or changed.
        """
        check(_in_force(folder, epoch))

    @property
    def epoch(self) -> int:
        """The epoch whose labels `read` gives, counted from 0."""
        return self._epoch

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, S, S)."""
        return self._labels.shape

    @property
    def array(self) -> NDArray[np.uint8]:
        """What `read` gives, as one array (N, S, S) uint8 that is mapped for reading."""
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, indices: Sequence[int]) -> Tensor:
        """Labels (B, 1, S, S) uint8 0..255 as they were when this epoch began."""
        return torch.from_numpy(self._labels[list(indices)][:, None])

    def write(self, indices: Sequence[int], labels: Tensor) -> None:
        """Set the labels (B, 1, S, S) uint8 0..255 of the next epoch.

        Raises:
            OSError: the disk has no room for them; only at the first labels of an epoch.
        """
        if self._next is None:
            self._next = create_array(_partial(self.folder), np.uint8, self.shape)
            self._written = np.zeros(len(self), dtype=bool)
        self._next[list(indices)] = labels[:, 0].cpu().numpy()
        self._written[list(indices)] = True

    def finish(self) -> None:
        """Complete the labels of the next epoch on disk; a photo that was not written keeps its label."""
        if self._next is None:
            return
        for index in np.flatnonzero(~self._written):
            self._next[index] = self._labels[index]
        seal(self._next)
        self._next = None
        _partial(self.folder).replace(_file(self.folder, self._epoch + 1))

    def commit(self) -> None:
        """Move on to the next epoch; to be called after `finish`, once the training state is saved.

        Raises:
            LabelBankError: labels were written but not finished.
        """
        if self._next is not None:
            raise LabelBankError(f"{self.folder}: commit before finish")
        self._open(self._epoch + 1)

    def _open(self, epoch: int) -> None:
        newest = _in_force(self.folder, epoch)
        self._labels: NDArray[np.uint8] = open_array(newest)
        self._epoch = epoch
        files = _epoch_files(self.folder)
        before = max((at for at in files if at < epoch), default=None)
        for at, path in files.items():
            if path != newest and at != before:
                path.unlink()
        _partial(self.folder).unlink(missing_ok=True)


def _partial(folder: Path) -> Path:
    return folder / "labels.partial"


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"labels_{epoch:04d}.npy"


def _in_force(folder: Path, epoch: int) -> Path:
    """The file that holds the labels of an epoch."""
    files = _epoch_files(folder)
    usable = [at for at in files if at <= epoch]
    if not usable:
        raise LabelBankError(f"{folder} holds no labels for epoch {epoch}")
    return files[max(usable)]


def _epoch_files(folder: Path) -> dict[int, Path]:
    """The complete files in the folder by the epoch from which they are in force."""
    found = ((re.fullmatch(r"labels_(\d{4,})\.npy", path.name), path) for path in folder.glob("labels_*.npy"))
    return {int(name[1]): path for name, path in found if name}
