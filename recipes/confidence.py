"""Check on photos with masks how well the confidence tells pictures with a salient object from those without one.

    python recipes/confidence.py DATA --out recipes/results/confidence.json

DATA holds ecssd_dev, pascal_s_dev and sod_dev with images/ and masks/. The confidence was fitted without masks, by
the training (`act2sal.training.presence`); here masks are read. With an object: photos, and crops that
hold what is masked.
Without: crops of the same photos without a masked pixel, rendered backgrounds and texture photos. A crop without the
object has a partner with it, of the same photo, aspect and size in pixels.

What it is not: a crop without a masked pixel is real, but may show a thing that nobody outlined, and its partner was
nearly always larger and shrunk to its size, hence sharper (`roc_auc_of_crops_never_resampled` has the few pairs that
were not). The rendered backgrounds are made by the generator of those of the fit, which uses the texture photos too.
No photo that somebody took of nothing in particular is among them.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.networks.model_files import BUILTIN_PATH
from act2sal.predict.detector import BATCH, Detector, Network
from act2sal.runtime.hardware import hardware
from act2sal.scenes.backgrounds import SKIMAGE_PHOTOS, TEXTURE_PHOTOS
from act2sal.training.presence_examples import WITH, crop_pair, rendered

COMMAND = "python recipes/confidence.py DATA --out recipes/results/confidence.json"
SETS = ("ecssd_dev", "pascal_s_dev", "sod_dev")
SEED = 1
CHECKED = 120
"""Photos drawn of each test set."""
TEXTURE_SIDES = (128, 384)
"""Least and largest side of a crop of a texture photo, in pixels."""


@dataclass(frozen=True)
class Checked:
    """A square for the network; photo: its number, -1 for none of the set; native: cut out without being shrunk."""

    photo: int
    kind: str
    square: NDArray[np.uint8]
    native: bool = True


@dataclass(frozen=True)
class Rated:
    """Examples and their confidences: photos, kinds, native and values, (N,) each."""

    photos: NDArray[np.intp]
    kinds: NDArray[np.str_]
    native: NDArray[np.bool_]
    values: NDArray[np.float64]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(N,): holds an object."""
        return np.isin(self.kinds, WITH)

    def part(self, chosen: NDArray[np.bool_]) -> "Rated":
        """Some of the examples."""
        return Rated(self.photos[chosen], self.kinds[chosen], self.native[chosen], self.values[chosen])


def main() -> None:
    """Check, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=CHECKED, help="photos drawn of each test set")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    network = Detector.load(device="cpu").network
    results = {
        "command": COMMAND,
        "detector_sha256": hashlib.sha256(BUILTIN_PATH.read_bytes()).hexdigest(),
        "seed": SEED,
        "hardware": hardware(),
        "checks": {name: check(arguments.data / name, network, arguments.count) for name in SETS},
    }
    text = json.dumps(results, indent=1) + "\n"
    write_atomic(arguments.out, text.encode())
    print(text)


def check(folder: Path, network: Network, count: int) -> dict[str, Any]:
    """Counts, ROC AUC and reliability of a test set, by so many of its photos."""
    rated = rated_by(network, list(examples_of(folder, network.size, count)))
    pairs = rated.part(np.isin(rated.photos, rated.photos[(rated.kinds == WITH[1]) & rated.native]))
    pairs = pairs.part(pairs.photos >= 0)
    return {
        "examples": {kind: int((rated.kinds == kind).sum()) for kind in np.unique(rated.kinds).tolist()},
        "roc_auc": aucs(rated),
        "roc_auc_of_crops_never_resampled": {
            "pairs": int((pairs.kinds == WITH[1]).sum()),
            "roc_auc": of_crops(pairs),
        },
        "reliability": reliability(rated),
    }


def examples_of(folder: Path, size: int, count: int) -> Iterator[Checked]:
    """Examples of test photos by their masks, rendered backgrounds and texture photos, as squares of `size`."""
    rng = np.random.default_rng(SEED)
    photos = find_photos(folder / "images")
    for number in sorted(rng.choice(len(photos), min(count, len(photos)), replace=False).tolist()):
        photo = read_photo(photos[number].path)
        mask = read_photo((folder / "masks" / photos[number].relative).with_suffix(".png"))[..., 0]
        yield Checked(number, WITH[0], resize_photo(photo, (size, size)))
        for crop in crop_pair(photo, mask > 127, mask > 0, rng):
            yield Checked(number, crop.kind, resize_photo(crop.picture, (size, size)), crop.native)
    for _ in range(count // 2):
        yield Checked(-1, "rendered background", resize_photo(rendered(rng), (size, size)))
    for name in TEXTURE_PHOTOS:
        texture = read_photo(SKIMAGE_PHOTOS / name)
        for _ in range(count // 6):
            side = int(rng.integers(*TEXTURE_SIDES, endpoint=True))
            top, left = rng.integers(0, texture.shape[0] - side, 2)
            square = texture[top : top + side, left : left + side]
            yield Checked(-1, "texture photo", resize_photo(square, (size, size)))


def rated_by(network: Network, examples: Sequence[Checked]) -> Rated:
    """The confidences that the network says."""
    values = []
    for start in range(0, len(examples), BATCH):
        values += network.rated(np.stack([one.square for one in examples[start : start + BATCH]]))[1].tolist()
    return Rated(
        np.array([one.photo for one in examples]),
        np.array([one.kind for one in examples]),
        np.array([one.native for one in examples]),
        np.array(values),
    )


def aucs(rated: Rated) -> dict[str, float]:
    """ROC AUC: all with against all without, then against each kind without an object."""
    positive = rated.values[rated.positive]
    result = {"all": roc_auc(positive, rated.values[~rated.positive])}
    for kind in np.unique(rated.kinds[~rated.positive]).tolist():
        result[kind] = roc_auc(positive, rated.values[rated.kinds == kind])
    return {**result, "crops of equal size": of_crops(rated)}


def of_crops(rated: Rated) -> float:
    """ROC AUC of the crops with an object against those without."""
    return roc_auc(
        rated.values[rated.kinds == WITH[1]], rated.values[rated.kinds == "crop without the object"]
    )


def roc_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Share of pairs in which the positive value is the higher one, to 4 decimals; NaN if one is empty.

    Ties count half.
    """
    if len(positive) == 0 or len(negative) == 0:
        return float("nan")
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    over = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return round(float(over / (len(positive) * len(negative))), 4)


def reliability(rated: Rated) -> list[dict[str, float]]:
    """By fifths of the range: examples, mean confidence and share with an object."""
    rows = []
    for number in range(5):
        inside = np.minimum((rated.values * 5).astype(int), 4) == number
        if inside.any():
            rows.append(
                {
                    "from": number / 5,
                    "examples": int(inside.sum()),
                    "confidence": round(float(rated.values[inside].mean()), 3),
                    "with_object": round(float(rated.positive[inside].mean()), 3),
                }
            )
    return rows


if __name__ == "__main__":
    main()
