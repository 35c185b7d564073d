"""The saliency cues of stage 1: signed activation maps of all photos (Eq. 3 and 5)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from act2sal.a2s.activation import ActivationNetwork
from act2sal.a2s.boundary import foreground_sign
from act2sal.config import Stage1Config
from act2sal.data.array_files import create_array
from act2sal.data.images import read_photo
from act2sal.data.photo_batches import to_batch
from act2sal.networks.encoders import Encoder
from act2sal.runtime import progress
from act2sal.runtime.prefetch import prefetched
from act2sal.runtime.stopwatch import OFF, Stopwatch
from act2sal.training.stage1.features import Features


def signed_logits(theta: Tensor, network: ActivationNetwork, config: Stage1Config) -> NDArray[np.float32]:
    """Theta (B, 1, h, w) with the foreground positive (Eq. 5): (B, h, w) float32.

    An `affine` boundary was fitted on labels and knows its foreground: its maps keep their sign.
    """
    theta = theta.float()
    if network.boundary != "affine":
        theta = theta * foreground_sign(theta, config.sign)
    return theta[:, 0].cpu().numpy()


class PhotoSizeCues(Sequence[NDArray[np.float32]]):
    """Signed activation maps of photos at their own size, computed when they are asked for.

    `cues[i]` is (h, w) float32 at the fusion stride of photo i. Safe to use from several threads.
    """

    def __init__(
        self, network: ActivationNetwork, encoder: Encoder, photos: Sequence[Path], config: Stage1Config
    ) -> None:
        self.network, self.encoder, self.photos, self.config = network.eval(), encoder.eval(), photos, config

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> NDArray[np.float32]:  # type: ignore[override]
        """Raises ImageError where the photo cannot be read."""
        photo = read_photo(self.photos[index])
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            encoded = self.encoder(to_batch(photo[None], device))[2:]
            theta = self.network(encoded, (photo.shape[0], photo.shape[1])).theta
        return signed_logits(theta, self.network, self.config)[0]


def cue_logits(
    network: ActivationNetwork,
    features: Features,
    config: Stage1Config,
    path: Path,
    *,
    fabric: Fabric,
    quiet: bool = False,
    stopwatch: Stopwatch = OFF,
) -> NDArray[np.float32]:
    """Signed activation maps of all photos (Eq. 3 and 5), written to `path` (.npy) and memory-mapped.

    Returns:
        (N, h, w) float32 logits, positive on the foreground.

    Raises:
        OSError: the disk is full.
    """
    network.eval()
    cues: NDArray[np.float32] | None = None
    batch = config.batch_size
    with (
        torch.inference_mode(),
        progress.bar("activation maps", total=len(features), quiet=quiet) as advance,
    ):
        cut = [range(start, min(start + batch, len(features))) for start in range(0, len(features), batch)]
        for fetched in stopwatch.each("waiting", prefetched(map(features.fetch, cut))):
            with stopwatch.part("waiting"):
                encoded = features.levels(fetched)
            with stopwatch.part("heads"):
                with fabric.autocast():
                    theta = network(encoded).theta.float()
                signed = signed_logits(theta, network, config)
            if cues is None:
                cues = create_array(path, np.float32, (len(features), *signed.shape[1:]))
            cues[fetched.indices[0] : fetched.indices[-1] + 1] = signed
            advance(len(fetched.indices))
    assert cues is not None
    return cues
