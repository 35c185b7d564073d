"""What a step of the first fit sees of its photos: features, perhaps at a second size, and perhaps colours."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.data.images import resize_photo
from act2sal.data.photo_batches import PhotoSource, stack_mirrored
from act2sal.runtime.prefetch import pinned
from act2sal.training.stage1.features import Features, Fetched

QUARTER = 4
"""Texture is looked at in photos of a quarter of their size (A2S-v2)."""


class ResizedPhotos(Sequence[NDArray[np.uint8]]):
    """Square photos at another size: `photos[i]` is (side, side, 3) uint8 RGB, resized when it is asked for."""

    def __init__(self, photos: PhotoSource, side: int) -> None:
        self.photos, self.side = photos, side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        return resize_photo(self.photos[index], (self.side, self.side))


class Views:
    """What the host holds of a batch; like `Fetched` it hides its tensors from Fabric.

    Args:
        fetched: features of the photos, and of the photos at a second size where there is one.
        sources: where the features of each are read.
        colours: (B, q, q, 3) uint8, the photos at a quarter of their size; None where nobody looks at them.
    """

    def __init__(
        self, fetched: Sequence[Fetched], sources: Sequence[Features], colours: Tensor | None
    ) -> None:
        self.fetched, self.sources, self.colours = fetched, sources, colours


def views(
    features: Features,
    others: Sequence[Features],
    quarters: PhotoSource | None,
    cut: Sequence[list[int]],
    flips: Sequence[Tensor | None],
    generator: torch.Generator,
    device: torch.device,
) -> Iterator[Views]:
    """The views of each batch.

    Args:
        features: of the photos.
        others: of the same photos at other sizes, one of which is drawn for each batch; none: no second view.
        quarters: the photos at a quarter of their size, where colours are wanted.
        cut: indices of each batch.
        flips: which photos of each are mirrored, (B,) bool.
        generator: draws the sizes, now and for all batches.
        device: where the steps compute.
    """
    drawn = torch.randint(len(others), (len(cut),), generator=generator).tolist() if others else []
    for number, (indices, mirrored) in enumerate(zip(cut, flips, strict=True)):
        sources = [features, others[drawn[number]]] if others else [features]
        colours = None
        if quarters is not None:
            flags = [False] * len(indices) if mirrored is None else mirrored.tolist()
            stacked = stack_mirrored((quarters[index] for index in indices), flags)
            colours = pinned(torch.from_numpy(stacked), device)
        yield Views([source.fetch(indices, mirrored) for source in sources], sources, colours)
