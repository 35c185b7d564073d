"""Fit the confidence that there is a salient object, without masks; then check it on photos with masks.

    python recipes/confidence.py DATA --out recipes/results/confidence.json

DATA holds duts_tr_3000/images, and ecssd_dev, pascal_s_dev and sod_dev with images/ and masks/. Writes the results,
and the weights that the package reads (`src/act2sal/models/confidence.json`). Run it again whenever the shipped
detector changes.

Fitting opens no mask. Photos with an object: training photos and crops that hold what the detector finds in them.
Without: crops of the same photos that hold nothing of it, photos whose object is painted over, photos cut into
shuffled tiles, rendered backgrounds. A crop without the object has a partner with it, of the same photo, aspect and
size in pixels, so that neither shape nor resolution tells them apart.

Checking makes the same pairs of crops by the masks, and adds rendered backgrounds and texture photos. What it is not:
a crop without a masked pixel is real, but may show a thing that nobody outlined, and its partner was nearly always
larger and shrunk to its size, hence sharper (`roc_auc_of_crops_never_resampled` has the few pairs that were not). The
rendered backgrounds are made by the generator of the training ones, which uses the texture photos too. No photo that
somebody took of nothing in particular is among them.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from act2sal.confidence import COEFFICIENTS_PATH, ONE_MAP, TWO_MAPS, Logistic, measures_of
from act2sal.datasets import find_photos
from act2sal.detect import BATCH, Detector, Network
from act2sal.hardware import hardware
from act2sal.images import read_photo, resize_map, resize_photo, write_atomic
from act2sal.model_files import BUILTIN_PATH
from act2sal.scenes.backgrounds import SKIMAGE_PHOTOS, TEXTURE_PHOTOS, background

COMMAND = "python recipes/confidence.py DATA --out recipes/results/confidence.json"
TRAINING, SETS = "duts_tr_3000", ("ecssd_dev", "pascal_s_dev", "sod_dev")
SEED = 0
PHOTOS, CHECKED = 240, 120
"""Photos drawn for the fit, and of each test set."""

WITH = ("photo", "crop with the object")
WITHOUT_PHOTOS = ("crop without the object",)
PAINTED, SHUFFLED, RENDERED, TEXTURE = (
    "object painted over",
    "tiles shuffled",
    "rendered background",
    "texture photo",
)

SCALES = np.arange(0.9, 0.29, -0.05)
"""Sides of a crop without the object, as shares of the photo's; the largest that fits is taken."""
MARGIN = 0.02
"""Distance of a crop, or of the paint, from what the detector found, as a share of the longer side."""
PAINTED_SIDE = 160
"""Longer side, in pixels, at which an object is painted over."""
TILES = 4
"""Shuffled tiles along a side."""
RIDGE = 1e-4
"""Of the fit, times the squared weights."""
GAIN = 0.01
"""ROC AUC that a second pass of the network must add, on training photos, to be worth it."""

Window = tuple[int, int, int, int]
"""Top, left, height, width."""


@dataclass(frozen=True)
class Example:
    """A square for the network; photo: number of the photo it is made of; native: cut out without being shrunk."""

    photo: int
    kind: str
    square: NDArray[np.uint8]
    native: bool = True


@dataclass(frozen=True)
class Measured:
    """Examples by their measures: photos (N,), kinds (N,), native (N,) bool, measures (N, 3) as of `TWO_MAPS`."""

    photos: NDArray[np.intp]
    kinds: NDArray[np.str_]
    native: NDArray[np.bool_]
    measures: NDArray[np.float64]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(N,): holds an object."""
        return np.isin(self.kinds, WITH)


def main() -> None:
    """Fit, check, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    network = Detector.load(device="cpu").network
    training = measured(training_examples(arguments.data / TRAINING / "images", network), network)
    one, two = fit(training, ONE_MAP), fit(training, TWO_MAPS)
    coefficients = {
        "command": COMMAND,
        "detector_sha256": hashlib.sha256(BUILTIN_PATH.read_bytes()).hexdigest(),
        "one_map": asdict(one),
        "two_maps": asdict(two),
    }
    write_json(COEFFICIENTS_PATH, coefficients)
    label_free = {"one_pass": held_out(training, ONE_MAP), "two_passes": held_out(training, TWO_MAPS)}
    gain = label_free["two_passes"]["all"] - label_free["one_pass"]["all"]
    checks = {name: checked(arguments.data / name, network, one, two) for name in SETS}
    results = {
        **coefficients,
        "seed": SEED,
        "hardware": hardware(),
        "training": {
            "photos": PHOTOS,
            "examples": counts(training),
            "roc_auc_held_out": label_free,
            "passes_chosen": 2 if gain > GAIN else 1,
        },
        "checks": checks,
    }
    write_json(arguments.out, results)
    print(json.dumps(results, indent=1))


def training_examples(folder: Path, network: Network) -> Iterator[Example]:
    """Examples of training photos with and without an object, made by the detector's own maps."""
    rng = np.random.default_rng(SEED)
    for number, photo in enumerate(drawn(folder, PHOTOS, rng)):
        found = objects_by(network, photo)
        yield example(number, WITH[0], photo, network)
        yield from crop_pair(number, photo, found, widened(found), network, rng)
        if found.any():
            yield example(number, PAINTED, painted_over(photo, widened(found), rng), network)
        if number % 2:
            yield example(number, SHUFFLED, shuffled(photo, rng), network)
        else:
            yield example(number, RENDERED, rendered(rng), network)


def check_examples(folder: Path, network: Network) -> Iterator[Example]:
    """Examples of test photos by their masks, rendered backgrounds and texture photos."""
    rng = np.random.default_rng(SEED + 1)
    numbers = draw(len(find_photos(folder / "images")), CHECKED, rng)
    photos = find_photos(folder / "images")
    for number in numbers:
        photo = read_photo(photos[number].path)
        mask = read_photo((folder / "masks" / photos[number].relative).with_suffix(".png"))[..., 0]
        yield example(number, WITH[0], photo, network)
        yield from crop_pair(number, photo, mask > 127, mask > 0, network, rng)
    for _ in range(CHECKED // 2):
        yield example(-1, RENDERED, rendered(rng), network)
    for name in TEXTURE_PHOTOS:
        texture = read_photo(SKIMAGE_PHOTOS / name)
        for _ in range(CHECKED // 6):
            side = int(rng.integers(128, 385))
            top, left = rng.integers(0, texture.shape[0] - side, 2)
            yield example(-1, TEXTURE, texture[top : top + side, left : left + side], network)


def drawn(folder: Path, count: int, rng: Generator) -> Iterator[NDArray[np.uint8]]:
    """Photos of a folder at random, in the order of their names."""
    photos = find_photos(folder)
    for number in draw(len(photos), count, rng):
        yield read_photo(photos[number].path)


def draw(total: int, count: int, rng: Generator) -> list[int]:
    """Different numbers below `total`, ascending."""
    return sorted(rng.choice(total, min(count, total), replace=False).tolist())


def example(
    number: int, kind: str, photo: NDArray[np.uint8], network: Network, native: bool = True
) -> Example:
    """A picture of any size as an example."""
    return Example(number, kind, resize_photo(photo, (network.size, network.size)), native)


def objects_by(network: Network, photo: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What the detector finds in a photo (H, W, 3): (H, W)."""
    prob = network(resize_photo(photo, (network.size, network.size))[None])[0]
    return resize_map(prob, (photo.shape[0], photo.shape[1])) > 0.5


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) grown by `MARGIN`."""
    reach = 2 * round(MARGIN * max(mask.shape)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0


def crop_pair(
    number: int,
    photo: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    avoided: NDArray[np.bool_],
    network: Network,
    rng: Generator,
) -> Iterator[Example]:
    """A crop that holds nothing of `avoided` and one that holds all of `wanted`, of the same size; or none."""
    window = window_without(avoided, rng)
    if window is None or not wanted.any():
        return
    top, left, height, width = window
    yield example(number, WITHOUT_PHOTOS[0], photo[top : top + height, left : left + width], network)
    top, left, tall, wide = window_with(wanted, (height, width), rng)
    held = photo[top : top + tall, left : left + wide]
    same_size = resize_photo(held, (height, width))
    yield example(number, WITH[1], same_size, network, native=tall == height)


def window_without(avoided: NDArray[np.bool_], rng: Generator) -> Window | None:
    """A random one of the largest windows, of the photo's aspect, that hold nothing of a mask (H, W)."""
    sums = cv2.integral(avoided.astype(np.uint8))
    for scale in SCALES:
        height, width = (max(1, int(side * scale)) for side in avoided.shape)
        inside = (
            sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        )
        free = np.argwhere(inside == 0)
        if len(free):
            top, left = free[rng.integers(len(free))].tolist()
            return top, left, height, width
    return None


def window_with(wanted: NDArray[np.bool_], least: tuple[int, int], rng: Generator) -> Window:
    """A random window that holds all of a mask (H, W): of the size `least`, or as much larger as it must be."""
    rows, columns = np.nonzero(wanted)
    low, high = (int(rows.min()), int(columns.min())), (int(rows.max()) + 1, int(columns.max()) + 1)
    shape = wanted.shape
    scale = max(max(least[i], high[i] - low[i]) / shape[i] for i in (0, 1))
    size = [max(least[i], min(shape[i], int(np.ceil(shape[i] * scale - 1e-9)))) for i in (0, 1)]
    top, left = (
        int(rng.integers(max(0, high[i] - size[i]), min(low[i], shape[i] - size[i]) + 1)) for i in (0, 1)
    )
    return top, left, size[0], size[1]


def painted_over(photo: NDArray[np.uint8], mask: NDArray[np.bool_], rng: Generator) -> NDArray[np.uint8]:
    """A photo (H, W, 3) with what is under the mask (H, W) inpainted (Telea, 2004), with a little noise on it."""
    shape = (photo.shape[0], photo.shape[1])
    scale = PAINTED_SIDE / max(shape)
    small = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    hole = (resize_map(mask.astype(np.float32), small) > 0).astype(np.uint8)
    paint = resize_photo(cv2.inpaint(resize_photo(photo, small), hole, 5, cv2.INPAINT_TELEA), shape)
    share = cv2.GaussianBlur(resize_map(hole.astype(np.float32), shape), (0, 0), 2)[..., None]
    noisy = paint + rng.normal(0, 6, (*shape, 1))
    return np.clip(photo * (1 - share) + noisy * share, 0, 255).astype(np.uint8)


def shuffled(photo: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """The tiles of a photo in random order, `TILES` x `TILES`."""
    side = min(photo.shape[:2]) // TILES
    square = resize_photo(photo, (TILES * side, TILES * side))
    tiles = square.reshape(TILES, side, TILES, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    mixed = rng.permutation(tiles).reshape(TILES, TILES, side, side, 3)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(square.shape))


def rendered(rng: Generator) -> NDArray[np.uint8]:
    """A rendered background: landscapes with sky, floors, rooms, leaves, water."""
    return np.clip(255 * background(rng, (240, 320)), 0, 255).astype(np.uint8)


def measured(examples: Iterator[Example], network: Network) -> Measured:
    """Measures of all examples, from two passes of the network each."""
    photos, kinds, native, rows = [], [], [], []
    for batch in batches(examples):
        squares = np.stack([one.square for one in batch])
        probs, mirrored = network(squares), network(np.ascontiguousarray(squares[:, :, ::-1]))
        for one, prob, other in zip(batch, probs, mirrored, strict=True):
            measures = measures_of(prob, other)
            photos.append(one.photo)
            kinds.append(one.kind)
            native.append(one.native)
            rows.append([measures[name] for name in TWO_MAPS])
    return Measured(np.array(photos), np.array(kinds), np.array(native), np.array(rows))


def batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    """`BATCH` at a time."""
    batch: list[Example] = []
    for one in examples:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def fit(examples: Measured, names: Sequence[str]) -> Logistic:
    """The logistic function of some measures, no weight below zero.

    With and without an object count the same, and so do the kinds of either.
    """
    columns = examples.measures[:, [TWO_MAPS.index(name) for name in names]]
    inputs = np.column_stack([np.ones(len(columns)), columns])
    weight = balance(examples)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = inputs @ values
        error = 1 / (1 + np.exp(-score)) - examples.positive
        ridge = np.concatenate([[0], values[1:]])
        value = weight @ (np.logaddexp(0, score) - examples.positive * score) + RIDGE * ridge @ ridge
        return value, inputs.T @ (weight * error) + 2 * RIDGE * ridge

    bounds = [(None, None), *[(0, None)] * len(names)]
    best = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    rounded = [round(float(value), 4) for value in best]
    return Logistic(rounded[0], dict(zip(names, rounded[1:], strict=True)))


def balance(examples: Measured) -> NDArray[np.float64]:
    """Weight of each example: half of all to those with an object, in equal parts to the kinds."""
    weight = np.zeros(len(examples.kinds))
    for side in (examples.positive, ~examples.positive):
        kinds = np.unique(examples.kinds[side])
        for kind in kinds:
            chosen = examples.kinds == kind
            weight[chosen] = 0.5 / len(kinds) / chosen.sum()
    return weight


def held_out(examples: Measured, names: Sequence[str]) -> dict[str, float]:
    """ROC AUC, overall and of each kind without an object, of functions fitted on the other half of the photos."""
    halves = [examples.photos % 4 < 2, examples.photos % 4 >= 2]
    results = []
    for one, other in (halves, halves[::-1]):
        scored = part(examples, other)
        results.append(aucs(scored, scores(fit(part(examples, one), names), scored)))
    return {key: round(float(np.mean([result[key] for result in results])), 4) for key in results[0]}


def part(examples: Measured, chosen: NDArray[np.bool_]) -> Measured:
    """Some of the examples."""
    return Measured(*(getattr(examples, name)[chosen] for name in ("photos", "kinds", "native", "measures")))


def scores(function: Logistic, examples: Measured) -> NDArray[np.float64]:
    """Confidences (N,) of the examples."""
    return np.array([function(dict(zip(TWO_MAPS, row, strict=True))) for row in examples.measures])


def aucs(examples: Measured, values: NDArray[np.float64]) -> dict[str, float]:
    """ROC AUC of confidences (N,): all with against all without, then against each kind without an object."""
    positive = examples.positive
    result = {"all": roc_auc(values[positive], values[~positive])}
    for kind in np.unique(examples.kinds[~positive]).tolist():
        result[kind] = roc_auc(values[positive], values[examples.kinds == kind])
    pair = values[examples.kinds == WITH[1]], values[examples.kinds == WITHOUT_PHOTOS[0]]
    result["crops of equal size"] = roc_auc(*pair)
    return {key: round(value, 4) for key, value in result.items()}


def roc_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Share of pairs in which the positive value is the higher one; ties count half."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def checked(folder: Path, network: Network, one: Logistic, two: Logistic) -> dict:
    """Counts, ROC AUC for one and two passes, and reliability of a test set."""
    examples = measured(check_examples(folder, network), network)
    native = np.isin(examples.photos, examples.photos[(examples.kinds == WITH[1]) & examples.native])
    pairs = part(examples, native & (examples.photos >= 0))
    functions = {"one_pass": one, "two_passes": two}
    return {
        "examples": counts(examples),
        "roc_auc": {key: aucs(examples, scores(f, examples)) for key, f in functions.items()},
        "roc_auc_of_crops_never_resampled": {
            "pairs": int((pairs.kinds == WITH[1]).sum()),
            **{key: aucs(pairs, scores(f, pairs))["crops of equal size"] for key, f in functions.items()},
        },
        "reliability": {key: reliability(examples, scores(f, examples)) for key, f in functions.items()},
    }


def reliability(examples: Measured, values: NDArray[np.float64]) -> list[dict[str, float]]:
    """By fifths of the range: examples, mean confidence and share with an object, weighted as in the fit."""
    weight = balance(examples)
    rows = []
    for number in range(5):
        inside = np.minimum((values * 5).astype(int), 4) == number
        if inside.any():
            mean, share = (np.average(v[inside], weights=weight[inside]) for v in (values, examples.positive))
            row = {"from": number / 5, "examples": int(inside.sum())}
            rows.append(row | {"confidence": round(float(mean), 3), "with_object": round(float(share), 3)})
    return rows


def counts(examples: Measured) -> dict[str, int]:
    """Examples of each kind."""
    return {kind: int((examples.kinds == kind).sum()) for kind in np.unique(examples.kinds).tolist()}


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
