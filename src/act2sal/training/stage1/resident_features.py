"""Frozen features in the memory of a GPU: where they fit, nothing is copied from the host at any step."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from act2sal.runtime import progress
from act2sal.runtime.prefetch import pinned, prefetched
from act2sal.training.stage1.features import Features, Fetched, FrozenFeatures, flipped
from act2sal.training.stage1.quantisation import unpacked

TOGETHER = 32
"""Photos that pass the encoder at a time."""
ROWS = "rows"
"""Of `ResidentFeatures`: (B,) int64 among what is fetched."""
SHARE_OF_FREE_MEMORY = 0.5
"""Of what is free on the GPU, the part that features may take: the fits and the detector need the rest."""


class ResidentFeatures(Features):
    """The features of all photos, computed once and kept on the device that computes.

    They are rounded as those of a cache on disk are (`FrozenFeatures`), and computed anew by a run that goes on.

    Args:
        source: gives encoder, photos and precision.
        mirrored: whether mirrored photos will be asked for.
        quiet: no progress bar.
    """

    def __init__(self, source: FrozenFeatures, *, mirrored: bool, quiet: bool = False) -> None:
        self.source, self.channels = source, source.channels
        sides = (False, True) if mirrored and source.mirror == "photos" else (False,)
        keys = [(index, side) for side in sides for index in range(len(source))]
        cut = [keys[start : start + TOGETHER] for start in range(0, len(keys), TOGETHER)]
        self._tensors: dict[str, Tensor] = {}
        done = 0
        with progress.bar("features", total=len(keys), quiet=quiet) as advance:
            for chosen, squares in zip(cut, prefetched(map(source.squares, cut)), strict=True):
                for name, tensor in source.encoded(squares).items():
                    if name not in self._tensors:
                        self._tensors[name] = tensor.new_empty((len(keys), *tensor.shape[1:]))
                    self._tensors[name][done : done + len(chosen)] = tensor
                done += len(chosen)
                advance(len(chosen))

    def __len__(self) -> int:
        return len(self.source)

    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        """See `Features.fetch`; the rows of the tensors."""
        rows = np.array(indices)
        if mirrored is not None and self.source.mirror == "photos":
            rows = rows + len(self) * mirrored.numpy()
        return Fetched(indices, mirrored, {ROWS: pinned(torch.from_numpy(rows), self._device)})

    def levels(self, fetched: Fetched) -> list[Tensor]:
        """See `Features.levels`."""
        assert fetched.tensors is not None
        rows = fetched.tensors[ROWS].to(self._device, non_blocking=True)
        levels = unpacked({name: tensor[rows] for name, tensor in self._tensors.items()})
        return levels if self.source.mirror == "photos" else flipped(levels, fetched.mirrored)

    @property
    def _device(self) -> torch.device:
        return next(iter(self._tensors.values())).device


def fit_in_memory(source: FrozenFeatures, *, mirrored: bool, free: int) -> bool:
    """Whether `ResidentFeatures` of a source would take no more than their share of `free` bytes."""
    (square,) = source.squares([(0, False)])
    one = sum(math.prod(t.shape) * t.element_size() for t in source.encoded(square[None]).values())
    entries = len(source) * (2 if mirrored and source.mirror == "photos" else 1)
    return entries * one <= SHARE_OF_FREE_MEMORY * free
