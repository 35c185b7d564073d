"""Activation to Saliency on one page: from photos without masks to a saliency detector.

    python examples/minimal.py PHOTOS MODEL.safetensors

The equations are those of the paper. `act2sal train` does the same, with resume, features on disk and a report.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.boundary import foreground_sign
from act2sal.a2s.detector import DetectorNetwork
from act2sal.a2s.losses import detector_loss
from act2sal.a2s.pseudo_labels import label_from_logits
from act2sal.a2s.rectify import lambda_at, rectify
from act2sal.a2s.separation_loss import stage1_loss
from act2sal.config import LabelConfig
from act2sal.data.images import read_photo, resize_photo
from act2sal.data.photo_files import find_photos
from act2sal.networks.checkpoint import save_detector
from act2sal.networks.encoders import Encoder, build_encoder, freeze

SIZE, BATCH = 128, 4


def main(
    folder: Path, model: Path, encoder: str = "mobilenetv2", weights: str = "builtin", epochs: int = 4
) -> None:
    torch.manual_seed(0)
    squares = np.stack([resize_photo(read_photo(p.path), (SIZE, SIZE)) for p in find_photos(folder)])
    photos = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
    labels = make_labels(squares, photos, freeze(build_encoder(encoder, weights)), epochs)
    detector = DetectorNetwork(build_encoder(encoder, weights), channels=32, finest_stride=4)
    fit_detector(detector, photos, labels, epochs)
    save_detector(model, detector.eval(), metadata={"size": str(SIZE)})


def make_labels(squares: np.ndarray, photos: Tensor, encoder: Encoder, epochs: int) -> Tensor:
    """Stage 1: a frozen encoder and four small blocks give pseudo labels (N, 1, S, S) in {0, 1}."""
    third, fourth, fifth = encoder.channels[2:]
    network = ActivationNetwork(in_channels=(third, fourth, fifth))  # Eq. 1 and 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        features = [encoder(batch)[2:] for batch in photos.split(BATCH)]
    for _ in range(epochs):
        for encoded in features:
            optimizer.zero_grad()
            stage1_loss(network(encoded), generator=draws).backward()  # Eq. 4
            optimizer.step()
    with torch.no_grad():
        thetas = torch.cat([network(encoded).theta for encoded in features])
        cues = (thetas * foreground_sign(thetas))[:, 0].numpy()  # Eq. 5
    made = [label_from_logits(s, c, LabelConfig()) for s, c in zip(squares, cues, strict=True)]  # Eq. 6
    return torch.from_numpy(np.stack(made))[:, None] / 255


def fit_detector(detector: DetectorNetwork, photos: Tensor, labels: Tensor, epochs: int) -> None:
    """Stage 2: fit the detector (Eq. 7-11) while its predictions rectify the labels."""
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    for epoch in range(epochs):
        following = labels.clone()
        for batch in torch.randperm(len(photos)).split(BATCH):
            logits = detector(photos[batch])
            optimizer.zero_grad()
            detector_loss(logits, labels[batch]).backward()  # Eq. 12
            optimizer.step()
            prob = torch.sigmoid(logits.detach())
            following[batch] = rectify(labels[batch], prob, lambda_at(epoch))  # Eq. 13 and 14
        labels = following


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
