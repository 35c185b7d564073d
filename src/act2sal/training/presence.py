"""Fit the part of a trained detector that says whether there is a salient object at all, without masks.

Differs: not in the paper. The detector stays as it is; a logistic function of its deepest features learns to tell
pictures with an object from pictures without one (`presence_examples`). `recipes/confidence.py` checks it by masks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from scipy.optimize import minimize

from act2sal.a2s.detector import ObjectPresence, pooled
from act2sal.data.images import resize_photo
from act2sal.data.photo_batches import PhotoSource, to_batch
from act2sal.networks.rivals import SaliencyNetwork
from act2sal.runtime import parallel, progress
from act2sal.training.presence_examples import Example, examples

PHOTOS = 300
"""Photos that examples are made of, at most; spread evenly over all."""
RIDGE = 0.1
"""Weight of the squared coefficients of the standardised features; of six values from 0.001 to 1 it and 0.03 told
other training photos than those of the fit apart best (an exploration, not in the repository)."""


@dataclass(frozen=True)
class Described:
    """Examples by their features (N, 2C) float64, whether they hold an object (N,) bool, and their kinds (N,)."""

    features: NDArray[np.float64]
    positive: NDArray[np.bool_]
    kinds: NDArray[np.str_]


def fit_presence(
    detector: SaliencyNetwork, photos: PhotoSource, *, seed: int, fabric: Fabric, quiet: bool = False
) -> ObjectPresence:
    """The `presence` of a trained detector; it is left as it is.

    Several processes share the work, and all get the same.

    Args:
        detector: in eval mode, on the device of `fabric`.
        photos: squares of its size, such as those it was trained on; those of this process.
        seed: of the examples.
        fabric: where to compute.
        quiet: no progress bar.

    Returns:
        On the device of `fabric`, in eval mode.
    """
    described = _joined(_described(detector, photos, seed, fabric, quiet))
    intercept, weights = logistic(described.features, described.positive, balance(described))
    presence = ObjectPresence(channels=len(weights) // 2)
    with torch.no_grad():
        presence.linear.weight.copy_(torch.from_numpy(weights)[None])
        presence.linear.bias.fill_(intercept)
    return presence.to(fabric.device).eval()


def logistic(
    features: NDArray[np.float64], positive: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Ridge logistic regression on features that are standardised for it.

    Args:
        features: (N, F).
        positive: (N,) the class.
        weight: (N,) of each example, adding up to 1.

    Returns:
        Intercept, and coefficients (F,) of the features as they were given.
    """
    mean = weight @ features
    spread = np.sqrt(weight @ np.square(features - mean)) + 1e-6
    inputs = np.column_stack([np.ones(len(features)), (features - mean) / spread])

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = inputs @ values
        error = 1 / (1 + np.exp(-score)) - positive
        ridge = np.concatenate([[0], values[1:]])
        value = weight @ (np.logaddexp(0, score) - positive * score) + RIDGE * ridge @ ridge
        return value, inputs.T @ (weight * error) + 2 * RIDGE * ridge

    best = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    weights = best[1:] / spread
    return float(best[0] - weights @ mean), weights


def balance(examples: Described) -> NDArray[np.float64]:
    """Weight of each example: half of all to those with an object, in equal parts to the kinds."""
    weight = np.zeros(len(examples.kinds))
    for side in (examples.positive, ~examples.positive):
        kinds = np.unique(examples.kinds[side])
        for kind in kinds:
            chosen = examples.kinds == kind
            weight[chosen] = 0.5 / len(kinds) / chosen.sum()
    return weight


def _joined(parts: dict[int, Described]) -> Described:
    """The examples of all photos of all processes, in the order of the photos' numbers."""
    by_number = {number: part for told in parallel.gathered(parts) for number, part in told.items()}
    ordered = [by_number[number] for number in sorted(by_number)]
    return Described(
        np.concatenate([part.features for part in ordered]),
        np.concatenate([part.positive for part in ordered]),
        np.concatenate([part.kinds for part in ordered]),
    )


def _described(
    detector: SaliencyNetwork, photos: PhotoSource, seed: int, fabric: Fabric, quiet: bool
) -> dict[int, Described]:
    """The examples of each chosen photo of this process, by the photo's number among those of all processes."""
    total = int(parallel.summed(torch.tensor(len(photos))))
    chosen = np.unique(np.linspace(0, total - 1, PHOTOS).round().astype(int)).tolist()
    own = [number for number in chosen if number % parallel.world() == parallel.rank()]
    described = {}
    with progress.bar("with and without an object", total=len(own), quiet=quiet) as advance:
        for number in own:
            photo, rng = photos[number // parallel.world()], np.random.default_rng([seed, number])
            found = list(_examples_of(detector, photo, rng, fabric))
            described[number] = Described(
                np.stack([_features(detector, example, photo.shape[0], fabric) for example in found]),
                np.array([example.holds_object for example in found]),
                np.array([example.kind for example in found]),
            )
            advance()
    return described


def _examples_of(
    detector: SaliencyNetwork, photo: NDArray[np.uint8], rng: np.random.Generator, fabric: Fabric
) -> Iterator[Example]:
    with torch.inference_mode(), fabric.autocast():
        logits = detector(to_batch(photo[None], fabric.device))
    return examples(photo, (logits[0, 0] > 0).cpu().numpy(), rng)


def _features(detector: SaliencyNetwork, example: Example, side: int, fabric: Fabric) -> NDArray[np.float64]:
    square = resize_photo(example.picture, (side, side))
    with torch.inference_mode(), fabric.autocast():
        deepest = detector.encoder(to_batch(square[None], fabric.device))[-1]
    return pooled(deepest.float())[0].cpu().double().numpy()
