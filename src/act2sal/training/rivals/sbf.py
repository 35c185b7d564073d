"""SBF: three labelers are fused into one label per photo, and the network they teach replaces the worst of them.

Differs: the network is that of stage 2 in place of DHSNet, photos are not augmented 25 times but mirrored, and its
weights go on from round to round; which methods the authors began with is not known, here it is RBD, DSR and MC.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from act2sal.data.photo_batches import PhotoSource
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.rivals.fusion import (
    FIRST_GRABCUT_ROUND,
    KEPT_SHARES,
    LEAST_WEIGHT,
    easiest,
    fused_label,
    grabcut_label,
    image_distances,
    labeler_shares,
    local_votes,
    pixel_weights,
    superpixels_of,
    votes_by_distance,
)
from act2sal.rivals.glad import Glad, glad
from act2sal.runtime import progress
from act2sal.training.rivals.arrays import unit
from act2sal.training.rivals.rival_training import RivalTraining

LABELERS = ("rbd", "dsr", "mc")


def fit_sbf(training: RivalTraining) -> SaliencyNetwork:
    """Fit the network in rounds on the labels fused in each.

    Returns:
        The network after the last round, in eval mode.
    """
    options = training.generation.config.rival
    rounds = options.rounds_of("sbf")
    labelers: list[NDArray[np.uint8]] = [training.maps[name] for name in LABELERS]
    detector = training.fresh(0)
    for number in range(1, rounds + 1):
        name = f"sbf round {number}"
        overall = votes_of_all(labelers)
        kept = easiest(overall.easiness, KEPT_SHARES[min(number, len(KEPT_SHARES)) - 1])
        labels, weights = _fused(training, name, number, labelers, overall, kept)
        epochs = options.last_epochs if number == rounds else options.epochs
        detector = training.fit(
            name,
            number,
            detector,
            [labels, weights],
            weighted_loss,
            config=replace(training.stage2, epochs=epochs),
            photos=Chosen(training.bank, kept),
        )
        found = training.predictions(name, detector)
        training.samples.round_labels(number, found)
        labelers[int(np.argmin(overall.ability))] = found
    return detector


@dataclass(frozen=True)
class Chosen(Sequence[NDArray[np.uint8]]):
    """Some of the photos.

    Attributes:
        photos: all.
        indices: of the chosen ones.
    """

    photos: PhotoSource
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        return self.photos[int(self.indices[index])]


def votes_of_all(labelers: Sequence[NDArray[np.uint8]]) -> Glad:
    """GLAD over whole photos: maps (N, S, S) uint8 of each labeler -> abilities, and the easiness of each photo."""
    maps = (_of_photo(labelers, index) for index in range(len(labelers[0])))
    votes = votes_by_distance(np.stack([image_distances(of_photo) for of_photo in maps]))
    return glad(votes.votes, votes.prior)


def weighted_loss(logits: Tensor, planes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Cross-entropy to a soft label, weighted by pixel: the mean over the pixels, a scalar float32.

    Args:
        logits: (B, 1, S, S) float32.
        planes: label and weight less `LEAST_WEIGHT`, (B, 1, S, S) float32 in [0, 1] each.
        generator: not used.
    """
    label, weight = planes
    return functional.binary_cross_entropy_with_logits(logits, label, weight + LEAST_WEIGHT)


def _of_photo(labelers: Sequence[NDArray[np.uint8]], index: int) -> NDArray[np.float32]:
    """The maps of a photo, (M, S, S) float32 in [0, 1]."""
    return unit(np.stack([maps[index] for maps in labelers]))


def _fused(
    training: RivalTraining,
    name: str,
    number: int,
    labelers: Sequence[NDArray[np.uint8]],
    overall: Glad,
    kept: NDArray[np.int64],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and weights of the kept photos, (K, S, S) uint8 each; computed once."""
    shares = labeler_shares(overall.ability)

    def rows() -> Iterator[NDArray[np.uint8]]:
        with progress.bar(f"{name}, fusion", total=len(kept), quiet=training.generation.trainer.quiet) as bar:
            for index in kept:
                photo, maps = training.bank[int(index)], _of_photo(labelers, int(index))
                segments = superpixels_of(photo)
                local = local_votes(maps, segments)
                label = fused_label(maps, shares, local, number)
                if number >= FIRST_GRABCUT_ROUND:
                    label = grabcut_label(photo, label)
                weight = pixel_weights(segments, local, float(overall.easiness[index])) - LEAST_WEIGHT
                yield np.stack([_bytes(label), _bytes(weight)])
                bar()

    size = training.bank.size
    both = training.kept(f"labels and weights of {name}", rows(), shape=(len(kept), 2, size, size))
    return both[:, 0], both[:, 1]


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(255 * values).astype(np.uint8)
