"""Encoder features of all photos: computed once and kept on disk where the encoder is frozen.

A frozen encoder answers the same at every epoch, so E_3, E_4 and E_5 of every photo are written to memory-mapped
float16 files and read back batch by batch.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from act2sal import progress
from act2sal.encoders import Encoder
from act2sal.images import write_atomic
from act2sal.photo_batches import PhotoSource, stack, to_batch

BATCH = 8
HALF_MAX = 65504.0


class Features(Protocol):
    """E_3, E_4, E_5 of a batch of photos."""

    channels: tuple[int, int, int]

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[Tensor]:
        """Three tensors (B, C_i, h_i, w_i) float32 on the computing device."""
        ...


class LiveFeatures:
    """Features computed anew at every call: for an encoder that is trained or whose statistics drift.

    Args:
        encoder: on the device.
        photos: N square photos of one size.
        device: to compute on.
        as_cached: round as `CachedFeatures` do, to give the same maps as a fit on cached features.
    """

    def __init__(
        self, encoder: Encoder, photos: PhotoSource, device: torch.device, *, as_cached: bool = False
    ) -> None:
        self.encoder, self.photos, self.device, self.as_cached = encoder, photos, device, as_cached
        self.channels = (encoder.channels[2], encoder.channels[3], encoder.channels[4])

    def __len__(self) -> int:
        return len(self.photos)

    def read(self, indices: Sequence[int]) -> list[Tensor]:
        """E_3, E_4, E_5 (B, C_i, h_i, w_i) float32, with gradients where the encoder has them."""
        levels = self.encoder(to_batch(stack(self.photos, indices), self.device))[2:]
        return [_halved(level).float() for level in levels] if self.as_cached else levels


class CachedFeatures:
    """Features of a frozen encoder, float16 on disk; see `cache_features`."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self.levels = [np.load(_level_file(folder, level), mmap_mode="r") for level in (3, 4, 5)]
        self.channels = (self.levels[0].shape[1], self.levels[1].shape[1], self.levels[2].shape[1])

    def __len__(self) -> int:
        return len(self.levels[0])

    def read(self, indices: Sequence[int]) -> list[Tensor]:
        """E_3, E_4, E_5 (B, C_i, h_i, w_i) float32."""
        return [torch.from_numpy(level[list(indices)]).to(self.device).float() for level in self.levels]


def cache_features(
    encoder: Encoder, photos: PhotoSource, folder: Path, *, fabric: Fabric, key: str, quiet: bool = False
) -> CachedFeatures:
    """Compute E_3, E_4, E_5 of every photo into `folder`, or go on where an earlier call was stopped.

    Args:
        encoder: frozen, on the fabric's device.
        photos: N square photos of one size.
        folder: of the cache; made where missing.
        fabric: gives device and precision.
        key: names photos and encoder; files of another key are computed anew.
        quiet: no progress bar.

    Raises:
        OSError: no space left; what was computed stays and is used next time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.json"
    done = _done(state, key)
    if done == 0:
        state.unlink(missing_ok=True)  # what it says of another key ends with the files below
    with torch.inference_mode():
        levels = _open_levels(encoder, photos, folder, fresh=done == 0)
        with progress.bar("features", total=len(photos), done=done, quiet=quiet) as advance:
            for start in range(done, len(photos), BATCH):
                indices = range(start, min(start + BATCH, len(photos)))
                with fabric.autocast():
                    encoded = encoder(to_batch(stack(photos, indices), fabric.device))[2:]
                for level, tensor in zip(levels, encoded, strict=True):
                    level[start : indices.stop] = _halved(tensor).cpu().numpy()
                if start // BATCH % 16 == 15 or indices.stop == len(photos):
                    _flush(levels, state, key, indices.stop)
                advance(len(indices))
    return CachedFeatures(folder, fabric.device)


def cache_key(encoder: Encoder, photos_key: str) -> str:
    """Hex digest of the encoder's weights and of `photos_key`, which names the photos and their size."""
    digest = hashlib.sha256(photos_key.encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def channel_deviation(features: Features, indices: Sequence[int]) -> list[Tensor]:
    """Standard deviation of each channel of E_3, E_4, E_5 over the given photos: three (C_i,) float32, > 0."""
    sums = [torch.zeros(3, channels, dtype=torch.float64) for channels in features.channels]
    with torch.no_grad():
        for start in range(0, len(indices), BATCH):
            for total, level in zip(sums, features.read(indices[start : start + BATCH]), strict=True):
                wide = level.double().cpu()
                total[0] += torch.tensor(float(wide[:, 0].numel()))
                total[1] += wide.sum(dim=(0, 2, 3))
                total[2] += wide.square().sum(dim=(0, 2, 3))
    deviations = [(s[2] / s[0] - (s[1] / s[0]).square()).clamp_min(0).sqrt() for s in sums]
    return [d.clamp_min(1e-3 * float(d.mean()) + 1e-12).float() for d in deviations]


def _halved(level: Tensor) -> Tensor:
    """As float16; what is beyond its range becomes its greatest value."""
    return level.float().clamp(-HALF_MAX, HALF_MAX).half()


def _level_file(folder: Path, level: int) -> Path:
    return folder / f"E{level}.npy"


def _open_levels(
    encoder: Encoder, photos: PhotoSource, folder: Path, *, fresh: bool
) -> list[NDArray[np.float16]]:
    if not fresh:
        return [np.load(_level_file(folder, level), mmap_mode="r+") for level in (3, 4, 5)]
    device = next(encoder.parameters()).device
    shapes = [e.shape[1:] for e in encoder(to_batch(stack(photos, [0]), device))[2:]]
    return [
        np.lib.format.open_memmap(_level_file(folder, level), "w+", np.float16, (len(photos), *shape))
        for level, shape in zip((3, 4, 5), shapes, strict=True)
    ]


def _flush(levels: list[NDArray[np.float16]], state: Path, key: str, done: int) -> None:
    for level in levels:
        level.base.flush() if isinstance(level.base, np.memmap) else level.flush()  # type: ignore[attr-defined]
    write_atomic(state, json.dumps({"key": key, "done": done}).encode())


def _done(state: Path, key: str) -> int:
    """How many photos an earlier call finished under the same key."""
    if not state.is_file():
        return 0
    known = json.loads(state.read_text())
    return int(known["done"]) if known["key"] == key else 0
