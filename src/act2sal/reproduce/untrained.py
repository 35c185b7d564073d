"""Activation maps of stage 1 before it is fitted (Table I, Fig. 5)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from act2sal.a2s.boundary import activation_map
from act2sal.config import TrainConfig
from act2sal.data.images import read_photo, resize_photo
from act2sal.data.photo_files import by_stem
from act2sal.networks.encoders import freeze
from act2sal.reproduce.material import PhotoSet
from act2sal.runtime.fabric import make_fabric
from act2sal.training.assembly import initial_encoder
from act2sal.training.stage1.features import LiveFeatures
from act2sal.training.stage1.fit import activation_network

BATCH = 8


def raw_activations(
    photo_set: PhotoSet, config: TrainConfig, names: Sequence[str] | None = None
) -> Iterator[Tensor]:
    """Activation maps M = 1^T f_n of blocks that were never fitted, batch by batch, stretched to [0, 1] per photo.

    Args:
        photo_set: photos.
        config: options; the blocks are drawn from its seed.
        names: of the photos; None: all.

    Yields:
        (B, 1, h, w) float32 on the CPU, B at most 8.
    """
    files = by_stem(photo_set.photos, [])
    size = config.stage1.size or config.size
    chosen = [files[name] for name in names or photo_set.names]
    squares = [resize_photo(read_photo(file), (size, size)) for file in chosen]
    device = make_fabric(config).device
    features = LiveFeatures(freeze(initial_encoder(config.stage1, config)).to(device), squares, device)
    network = activation_network(features, config.stage1, seed=config.seed).to(device).eval()
    with torch.inference_mode():
        for start in range(0, len(squares), BATCH):
            levels = features.read(range(start, min(start + BATCH, len(squares))))
            yield stretched(activation_map(network.features(levels)[0])).cpu()


def stretched(maps: Tensor) -> Tensor:
    """Maps (B, 1, h, w) stretched to [0, 1] each; a constant one becomes 0."""
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
