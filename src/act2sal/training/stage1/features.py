"""Encoder features of photos: read from a cache if the encoder is frozen, else computed at every call."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.resampling import flip
from act2sal.config import Mirrored, StoredPrecision
from act2sal.data.photo_batches import PhotoSource, stack_mirrored, to_batch
from act2sal.networks.encoders import Encoder
from act2sal.runtime import parallel, progress
from act2sal.runtime.prefetch import pinned, sent
from act2sal.training.stage1.feature_cache import FeatureCache, encoder_digest, feature_name
from act2sal.training.stage1.quantisation import packed, unpacked

BATCH = 8
PHOTOS = "photos"
"""Name of the photos, (B, S, S, 3) uint8, among what `LiveFeatures` fetches."""


class Fetched:
    """What the host holds of a batch, so that only the device has work left.

    It hides its tensors from Fabric, which would convert the ones that it finds among a network's inputs.

    Args:
        indices: of B photos.
        mirrored: (B,) bool on the CPU, the ones to mirror; None: none.
        tensors: (B, ...) each, pinned for a GPU; None where features of some of the photos are not stored.
    """

    def __init__(
        self, indices: Sequence[int], mirrored: Tensor | None, tensors: dict[str, Tensor] | None
    ) -> None:
        self.indices, self.mirrored, self.tensors = indices, mirrored, tensors


class Features(ABC):
    """E_3, E_4, E_5 of photos."""

    channels: tuple[int, int, int]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        """What the host can do for a batch, in one other thread beside `levels` of the batch before.

        Args:
            indices: of B photos.
            mirrored: (B,) bool on the CPU, the ones to mirror left to right; None: none.
        """

    @abstractmethod
    def levels(self, fetched: Fetched) -> list[Tensor]:
        """The features of what was fetched: three tensors (B, C_i, h_i, w_i) float32 on the computing device."""

    def read(self, indices: Sequence[int], mirrored: Tensor | None = None) -> list[Tensor]:
        """`levels` of `fetch`."""
        return self.levels(self.fetch(indices, mirrored))


class LiveFeatures(Features):
    """Features computed anew at every call: for an encoder that is trained or whose statistics drift.

    Args:
        encoder: on the device.
        photos: N square photos of one size.
        device: to compute on.
        mirror: what is mirrored, the photos or the features.
    """

    def __init__(
        self,
        encoder: Encoder,
        photos: PhotoSource,
        device: torch.device,
        *,
        mirror: Mirrored = "features",
    ) -> None:
        self.encoder, self.photos, self.device, self.mirror = encoder, photos, device, mirror
        self.channels = _channels(encoder)

    def __len__(self) -> int:
        return len(self.photos)

    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        """See `Features.fetch`."""
        sides = _sides(len(indices), mirrored, self.mirror)
        squares = torch.from_numpy(_squares(self.photos, indices, sides))
        return Fetched(indices, mirrored, {PHOTOS: pinned(squares, self.device)})

    def levels(self, fetched: Fetched) -> list[Tensor]:
        """See `Features.levels`; with gradients where the encoder has them."""
        assert fetched.tensors is not None
        levels = self.encoder(to_batch(fetched.tensors[PHOTOS], self.device))[2:]
        return levels if self.mirror == "photos" else flipped(levels, fetched.mirrored)


class FrozenFeatures(Features):
    """Features of a frozen encoder as the cache holds them, or computed and rounded in the same way.

    On a CPU the same bits come back either way: every photo passes the encoder by itself there, where batches are no
    faster. A GPU computes batches, whose last bits can depend on what is computed together.

    Args:
        encoder: frozen, on the fabric's device.
        photos: N square photos of one size.
        fabric: gives device and precision of the computation.
        precision: of what is stored.
        mirror: what is mirrored. "photos" doubles the work and the cache: a mirrored photo has features of its own,
            as no encoder with strides or padding at one side answers a mirrored photo by mirrored features.
    """

    def __init__(
        self,
        encoder: Encoder,
        photos: PhotoSource,
        *,
        fabric: Fabric,
        precision: StoredPrecision,
        mirror: Mirrored = "features",
    ) -> None:
        self.encoder, self.photos, self.fabric = encoder, photos, fabric
        self.precision: StoredPrecision = precision
        self.mirror: Mirrored = mirror
        self.channels = _channels(encoder)
        self._together = 1 if fabric.device.type == "cpu" else BATCH
        self._cache: FeatureCache | None = None
        self._names: dict[tuple[int, bool], str] = {}

    def __len__(self) -> int:
        return len(self.photos)

    def keep(self, folder: Path, budget: int, *, mirrored: bool, quiet: bool = False) -> None:
        """Read from a cache in `folder` from now on, and compute into it what it lacks, as far as there is room.

        Args:
            folder: of the cache; made where missing.
            budget: bytes.
            mirrored: whether mirrored photos will be asked for.
            quiet: no progress bar.
        """
        encoder = encoder_digest(self.encoder)
        sides = (False, True) if mirrored and self.mirror == "photos" else (False,)
        stored = f"{self.precision} of {self._arithmetic()}"
        self._names = {
            (index, side): feature_name(_square(self.photos, index, side), encoder, stored)
            for side in sides
            for index in range(len(self.photos))
        }
        self._cache = FeatureCache(folder, self._names.values(), budget)
        missing = list({name: key for key, name in self._names.items() if name not in self._cache}.values())
        done = len(self._names) - len(missing)
        with progress.bar("features", total=len(self._names), done=done, quiet=quiet) as advance:
            for start in range(0, len(missing), self._together):
                chosen = missing[start : start + self._together]
                entries = self._computed(chosen)
                if not all(self._store(key, entry) for key, entry in zip(chosen, entries, strict=True)):
                    break
                advance(len(chosen))

    def fetch(self, indices: Sequence[int], mirrored: Tensor | None = None) -> Fetched:
        """See `Features.fetch`."""
        entries = [self._cached(key) for key in self._keys(indices, mirrored)]
        found = [entry for entry in entries if entry is not None]
        whole = len(found) == len(entries)
        return Fetched(indices, mirrored, self._stacked(found, mirrored) if whole else None)

    def levels(self, fetched: Fetched) -> list[Tensor]:
        """See `Features.levels`."""
        tensors = fetched.tensors
        if tensors is None:
            keys = self._keys(fetched.indices, fetched.mirrored)
            tensors = self._stacked(self._completed(keys), fetched.mirrored)
        device = self.fabric.device
        return unpacked({name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})

    def _keys(self, indices: Sequence[int], mirrored: Tensor | None) -> list[tuple[int, bool]]:
        return list(zip(indices, _sides(len(indices), mirrored, self.mirror), strict=True))

    def _stacked(self, entries: Sequence[dict[str, Tensor]], mirrored: Tensor | None) -> dict[str, Tensor]:
        """One array of each kind; features are mirrored where photos were not."""
        steps = [1] * len(entries)
        if self.mirror == "features" and mirrored is not None:
            steps = [-1 if flag else 1 for flag in mirrored.tolist()]
        stacked = {
            name: np.stack([e[name].numpy()[..., ::step] for e, step in zip(entries, steps, strict=True)])
            for name in entries[0]
        }
        return {name: pinned(torch.from_numpy(s), self.fabric.device) for name, s in stacked.items()}

    def _completed(self, keys: Sequence[tuple[int, bool]]) -> list[dict[str, Tensor]]:
        """What is stored of these photos, and what had to be computed now."""
        entries = [self._cached(key) for key in keys]
        missing = [place for place, entry in enumerate(entries) if entry is None]
        for start in range(0, len(missing), self._together):
            places = missing[start : start + self._together]
            for place, entry in zip(places, self._computed([keys[p] for p in places]), strict=True):
                self._store(keys[place], entry)
                entries[place] = entry
        return [entry for entry in entries if entry is not None]

    def _arithmetic(self) -> str:
        with self.fabric.autocast():
            reduced = torch.is_autocast_enabled(self.fabric.device.type)
        return "bfloat16" if reduced else "float32"

    def _cached(self, key: tuple[int, bool]) -> dict[str, Tensor] | None:
        if self._cache is None or key not in self._names:
            return None
        return self._cache.read(self._names[key])

    def _store(self, key: tuple[int, bool], entry: dict[str, Tensor]) -> bool:
        return self._cache is not None and key in self._names and self._cache.write(self._names[key], entry)

    def squares(self, keys: Sequence[tuple[int, bool]]) -> NDArray[np.uint8]:
        """Photos (B, S, S, 3) uint8 by index, some of them mirrored."""
        return _squares(self.photos, [index for index, _ in keys], [side for _, side in keys])

    def encoded(self, squares: NDArray[np.uint8]) -> dict[str, Tensor]:
        """What is to be stored of photos (B, S, S, 3) uint8: tensors (B, ...) on the device."""
        with torch.no_grad(), self.fabric.autocast():
            levels = self.encoder(to_batch(torch.from_numpy(squares), self.fabric.device))[2:]
        return packed(levels, self.precision)

    def _computed(self, keys: Sequence[tuple[int, bool]]) -> list[dict[str, Tensor]]:
        """What is to be stored of these photos, on the CPU."""
        tensors = {n: t.cpu().contiguous() for n, t in self.encoded(self.squares(keys)).items()}
        return [{name: tensor[place] for name, tensor in tensors.items()} for place in range(len(keys))]


def channel_deviation(features: Features, indices: Sequence[int]) -> list[Tensor]:
    """Standard deviation of each channel of E_3, E_4, E_5 over the given photos: three (C_i,) float32, > 0.

    Of several processes each gives photos of its own.
    """
    sums = [torch.zeros(3, channels, dtype=torch.float64) for channels in features.channels]
    with torch.no_grad():
        for start in range(0, len(indices), BATCH):
            for total, level in zip(sums, features.read(indices[start : start + BATCH]), strict=True):
                wide = level.cpu().double()  # in this order, as not every device has float64
                total[0] += torch.tensor(float(wide[:, 0].numel()))
                total[1] += wide.sum(dim=(0, 2, 3))
                total[2] += wide.square().sum(dim=(0, 2, 3))
    sums = [parallel.summed(total) for total in sums]
    deviations = [(s[2] / s[0] - (s[1] / s[0]).square()).clamp_min(0).sqrt() for s in sums]
    return [d.clamp_min(1e-3 * float(d.mean()) + 1e-12).float() for d in deviations]


def _channels(encoder: Encoder) -> tuple[int, int, int]:
    return encoder.channels[2], encoder.channels[3], encoder.channels[4]


def _sides(count: int, mirrored: Tensor | None, mirror: Mirrored) -> list[bool]:
    """Which of `count` photos are mirrored before the encoder."""
    if mirrored is None or mirror == "features":
        return [False] * count
    return [bool(flag) for flag in mirrored.tolist()]


def _square(photos: PhotoSource, index: int, mirrored: bool) -> NDArray[np.uint8]:
    return photos[index][:, ::-1] if mirrored else photos[index]


def _squares(photos: PhotoSource, indices: Sequence[int], mirrored: Sequence[bool]) -> NDArray[np.uint8]:
    """(B, S, S, 3) uint8."""
    return stack_mirrored((photos[index] for index in indices), mirrored)


def flipped(levels: list[Tensor], mirrored: Tensor | None) -> list[Tensor]:
    """Features, each (B, C, h, w), those of some photos mirrored left to right; mirrored: (B,) bool or None."""
    if mirrored is None:
        return levels
    flags = sent(mirrored, levels[0].device)
    return [flip(level, flags) for level in levels]
