"""Photos that figures show, and what networks say about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from act2sal.config_files import EARLIER, load_toml
from act2sal.data.images import read_photo, resize_map, resize_photo
from act2sal.data.mask_files import MaskReader
from act2sal.data.photo_batches import to_batch
from act2sal.data.photo_files import by_stem
from act2sal.networks.checkpoint import load_stage1
from act2sal.reproduce.material import PhotoSet
from act2sal.training.stage1.cues import signed_logits


@dataclass(frozen=True)
class Example:
    """A photo (H, W, 3) uint8 and its mask (H, W) uint8, 0 to 255."""

    name: str
    photo: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def example_names(photo_set: PhotoSet, count: int) -> list[str]:
    """Names of photos spread evenly over a set, from the middle of each part."""
    total = len(photo_set.names)
    places = (np.arange(min(count, total)) + 0.5) * total / min(count, total)
    return [photo_set.names[int(place)] for place in places]


def examples(photo_set: PhotoSet, names: Sequence[str]) -> list[Example]:
    """Read some photos of a set and their masks."""
    photos, masks = by_stem(photo_set.photos, []), by_stem(photo_set.masks, [])
    reader = MaskReader.of(masks[name] for name in names)
    return [Example(name, read_photo(photos[name]), reader.read(masks[name])) for name in names]


def grey(prob: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map (H, W) of values in [0, 1], held inside them, as 8-bit levels."""
    return np.round(np.clip(prob, 0, 1) * 255).astype(np.uint8)


def cue_logits_of(run: Path, photos: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """Signed activation maps (H, W) float32 that the fitted stage 1 of a run gives photos (H, W, 3) uint8."""
    network, encoder = load_stage1(run / "stage1.safetensors")
    config = load_toml(run / "config.toml", EARLIER)
    size = config.stage1.size or config.size
    squares = np.stack([resize_photo(photo, (size, size)) for photo in photos])
    network.eval()
    with torch.inference_mode():
        theta = network(encoder.eval()(to_batch(squares, torch.device("cpu")))[2:]).theta
    signed = signed_logits(theta, network, config.stage1)
    return [resize_map(one, photo.shape[:2]) for one, photo in zip(signed, photos, strict=True)]
