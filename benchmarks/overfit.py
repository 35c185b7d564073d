"""Adaptive F of each detector on the photos that it was fitted on, with their masks; one that learns gets them right.

    python benchmarks/overfit.py PHOTOS MASKS --out recipes/results/overfit.json

The loss is BCE + IoU over all saliency maps, or that of the detector's authors (`--own-loss`). A high F says that
gradients, losses and targets fit together, and nothing about other photos.
"""

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.losses import detector_loss
from act2sal.a2s.resampling import resize
from act2sal.config import DetectorName, Stage2Config, TrainConfig
from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.evaluation import Tally
from act2sal.networks.rival import Rival
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runtime.hardware import hardware
from act2sal.training.assembly import initial_detector
from act2sal.training.given_masks import masks_of
from act2sal.training.stage2.optimizer import make_optimizer

DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
ENOUGH = 0.95
"""Adaptive F above which a detector counts as one that can learn its photos."""


def main() -> None:
    """Fit and score each detector, and print or write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--count", type=int, default=40, help="photos")
    parser.add_argument("--size", type=int, default=128, help="pixels; CPD answers on a grid of an eighth")
    parser.add_argument("--epochs", type=int, default=60, help="at most; a fit ends where F is enough")
    parser.add_argument("--batch", type=int, default=8, help="photos a step")
    parser.add_argument("--encoder", default="mobilenetv2")
    parser.add_argument("--encoder-weights", default="builtin")
    parser.add_argument("--detectors", nargs="+", default=DETECTORS, choices=DETECTORS)
    parser.add_argument("--own-loss", action="store_true")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    photos, masks = squares(options)
    figures = {
        "command": "python benchmarks/overfit.py PHOTOS MASKS --encoder-weights "
        f"{Path(options.encoder_weights).name} --out recipes/results/overfit.json",
        "hardware": hardware(),
        **{name: getattr(options, name) for name in ("count", "size", "encoder", "own_loss")},
        "detectors": {name: overfitted(name, photos, masks, options) for name in options.detectors},
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def squares(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Photos (N, 3, S, S) float32 in [0, 1], and masks (N, 1, S, S) float32 of 0 and 1."""
    files = find_photos(options.photos, options.count)
    side = (options.size, options.size)
    photos = np.stack([resize_photo(read_photo(file.path), side) for file in files])
    masks = np.stack(
        [resize_photo(read_photo(mask), side)[..., :1] for mask in masks_of(files, options.masks)]
    )
    return _channels_first(photos) / 255, (_channels_first(masks) > 127).float()


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def overfitted(
    name: DetectorName, photos: Tensor, masks: Tensor, options: argparse.Namespace
) -> dict[str, float | bool]:
    """Fit a detector until its F is enough; the epochs it took, its scores, parameters and seconds."""
    config = Stage2Config(loss_bce=1.0, weight_decay=0.0)
    weights = options.encoder_weights
    network = initial_detector(
        TrainConfig(encoder=options.encoder, encoder_weights=weights, detector=name, stage2=config)
    )
    optimizer = make_optimizer(network, config)
    generator = torch.Generator().manual_seed(0)
    begun, epoch, found = time.perf_counter(), 0, 0.0
    while epoch < options.epochs and found <= ENOUGH:
        network.train()
        for indices in torch.randperm(len(photos), generator=generator).split(options.batch):
            if len(indices) > 1:
                loss = loss_of(network, photos[indices], masks[indices], own=options.own_loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        epoch += 1
        if epoch % 5 == 0 or epoch == options.epochs:
            found = f_of(network.eval(), photos, masks)
    return {
        "f_adaptive": round(found, 4),
        "enough": found > ENOUGH,
        "epochs": epoch,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def loss_of(network: SaliencyNetwork, photos: Tensor, masks: Tensor, *, own: bool) -> Tensor:
    """BCE + IoU over all saliency maps, or the loss of the detector's authors."""
    if not isinstance(network, Rival):
        return detector_loss(network(photos), masks, ssim=0.0)
    outputs = network.outputs(photos)
    if own:
        return network.own_loss(outputs, masks)
    maps = [resize(logits, masks.shape[-2:]) for logits in network.saliency_of(outputs)]
    return torch.stack([detector_loss(logits, masks, ssim=0.0) for logits in maps]).sum()


@torch.no_grad()
def f_of(network: SaliencyNetwork, photos: Tensor, masks: Tensor) -> float:
    """Adaptive F over the photos, at the size of the fit."""
    tally = Tally(replicates=0)
    for photo, mask in zip(photos, masks, strict=True):
        tally.add(torch.sigmoid(network(photo[None]))[0, 0].numpy(), mask[0].numpy() > 0.5)
    return float(tally.scores().f_adaptive)


if __name__ == "__main__":
    main()
