"""The state of a training loop: written after every epoch, read when a run is resumed."""

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn

from act2sal.data.images import naming, written_whole
from act2sal.errors import CheckpointError, InputError
from act2sal.runtime import parallel

LogRow = Mapping[str, float | int | str]
"""Measurements of one epoch: stage, epoch (from 1; 0 for a phase without epochs), seconds, loss, ...; also the
generation if a run has several."""


EpochLog = Callable[[LogRow], None]
"""Callback that receives one row per epoch."""

_LOGGER = logging.getLogger("act2sal")


def _nothing_else(epoch: int) -> None:
    """Check nothing: no other file belongs to an epoch."""


@dataclass(frozen=True)
class TrainingState:
    """Checkpoints of one training loop: that of the last epoch and, should it be damaged, that of the one before.

    Attributes:
        path: checkpoint of the last epoch, replaced after every epoch.
        check: called with an epoch; raises an InputError if another file that belongs to the epoch is damaged.
    """

    path: Path
    check: Callable[[int], None] = _nothing_else

    @property
    def previous(self) -> Path:
        """The file of the epoch before."""
        return self.path.with_suffix(f".previous{self.path.suffix}")

    def save(
        self,
        epoch: int,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: nn.Module | None = None,
    ) -> None:
        """Record that `epoch` epochs are finished, with the weights and the optimiser as they are now.

        `average` is a moving average of the weights, where there is one. Of several processes, all of which hold the
        same, the leader alone writes.

        Raises:
            FloatingPointError: a weight is not finite; the files stay as they are.
            OSError: the disk is full; the files stay as they are.
        """
        if not parallel.leads():
            return
        weights = network.state_dict()
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            message = f"the weights of {self.path.stem} are no longer finite after epoch {epoch}"
            raise FloatingPointError(f"{message}; a lower learning rate may help")
        content = io.BytesIO()
        held = {"epoch": epoch, "network": weights, "optimizer": optimizer.state_dict()}
        if average is not None:
            held["average"] = average.state_dict()
        torch.save(held, content)
        with naming(self.path), written_whole(self.path) as temporary:
            temporary.write_bytes(content.getvalue())
            if self.path.is_file():
                self.path.replace(self.previous)

    def usable(self) -> bool:
        """Whether there is a checkpoint to resume from; damaged files are set aside as in `restore`."""
        return self._newest() is not None

    def restore(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None
    ) -> int:
        """Restore the last checkpoint; returns the number of finished epochs, 0 if there is none.

        A file that is damaged, or whose epoch does not pass `check`, is set aside; a warning names it and the epoch
        from which the loop goes on.
        """
        state = self._newest()
        if state is None:
            return 0
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load_state_dict(state["average"])
        return int(state["epoch"])

    def _newest(self) -> dict[str, Any] | None:
        """Content of the newest undamaged checkpoint; with several processes, the newest undamaged in all of them."""
        found, damages = None, []
        for path in (self.path, self.previous):
            if found is None and parallel.from_leader(path.is_file()):
                found, damage = self._checked(path)
                damage = parallel.first_given(damage)
                if damage is not None:
                    found = None
                    damages.append(damage)
                    if parallel.leads():
                        path.replace(path.with_suffix(f".damaged{path.suffix}"))
        how = "beginning anew" if found is None else f"going on from epoch {found['epoch']}"
        if parallel.leads():
            for damage in damages:
                _LOGGER.warning("%s; %s", damage, how)
        return found

    def _checked(self, path: Path) -> tuple[dict[str, Any] | None, str | None]:
        """Content of a checkpoint, and what is wrong with it or with other files of its epoch."""
        try:
            state = _read(path)
            self.check(state["epoch"])
        except InputError as error:
            return None, str(error)
        return state, None


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint; a CheckpointError if the checksums of its zip archive do not match."""
    content = io.BytesIO(path.read_bytes())
    try:
        with ZipFile(content) as archive:
            if archive.testzip() is not None:
                raise BadZipFile("a checksum does not match")
        content.seek(0)
        state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise errors of many types on malformed bytes
        raise CheckpointError(f"{path} is damaged") from error
    return state
