"""A detector as the teacher of the next generation: its predictions take the place of the cues of stage 1.

Differs: not in the paper, which ends with one detector. A detector has seen thousands of labels and answers better
than any of them; its predictions, sharpened by the CRF, are where the next stage 1 begins.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act2sal.data.array_files import create_array
from act2sal.data.images import resize_photo
from act2sal.data.photo_batches import PhotoSource, stack
from act2sal.predict.detector import Detector
from act2sal.runtime import progress

BATCH = 8
STRIDE = 4
CERTAIN = 1e-3
"""Probabilities are kept this far from 0 and 1, so that their logits are finite."""


def predicted_logits(
    detector: Detector, photos: PhotoSource, path: Path, *, quiet: bool = False
) -> NDArray[np.float32]:
    """What a detector says of each photo and its mirror image, averaged, as logits.

    Args:
        detector: the detector; photos are resized to its size.
        photos: N square photos.
        path: .npy file that is written and memory-mapped.
        quiet: no progress bar.

    Returns:
        (N, h, w) float32 logits, positive on the foreground, at a quarter of the detector's size.

    Raises:
        OSError: the disk is full.
    """
    side = detector.size // STRIDE
    logits = create_array(path, np.float32, (len(photos), side, side))
    with progress.bar("teacher's maps", total=len(photos), quiet=quiet) as advance:
        for start in range(0, len(photos), BATCH):
            indices = range(start, min(start + BATCH, len(photos)))
            size = (detector.size, detector.size)
            batch = np.stack([resize_photo(photo, size) for photo in stack(photos, indices)])
            logits[start : indices.stop] = logit(coarse(detector.squares(batch, mirrored=True)))
            advance(len(indices))
    return logits


def coarse(prob: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over blocks of `STRIDE` x `STRIDE` pixels; what is left at the right and bottom is cut off.

    (B, S, S) float32 -> (B, S // STRIDE, S // STRIDE) float32.
    """
    side = prob.shape[-1] // STRIDE
    kept = prob[:, : side * STRIDE, : side * STRIDE]
    return kept.reshape(len(prob), side, STRIDE, side, STRIDE).mean(axis=(2, 4))


def logit(prob: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of the sigmoid, any shape, for probabilities in [0, 1] cut to [CERTAIN, 1 - CERTAIN]."""
    clipped = np.clip(prob, CERTAIN, 1 - CERTAIN)
    return np.log(clipped / (1 - clipped))
