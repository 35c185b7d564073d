"""How well maps follow the photo's edges after each way to enlarge them, and how long that takes at 12 megapixels.

    python benchmarks/upsampling.py DATA --out recipes/results/upsampling.json

DATA holds duts_tr_3000, ecssd_dev and sod_dev. The detector's map is enlarged to the photo as it is, and after its
grid has been made 4 and 8 times as coarse by area averages, which stands in for photos 4 and 8 times as large.
Constants were chosen on the training photos; the test sets are only reported. Reference are the masks. The CRF takes
part on the map as it is alone: it sees these photos whole, which it would not do with larger ones.

* mae: mean absolute error; mae_far: the same farther than 5 % of the diagonal from the mask's outline, where a good
  enlargement changes nothing.
* boundary_f_2px, boundary_f_1pct: F of the outline of `map >= 0.5` within 2 pixels, within 1 % of the diagonal.
* gain: paired difference to bilinear, with half the width of its 95 % confidence interval.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy reads it

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import read_photo, resize_map, resize_photo, write_atomic
from act2sal.data.photo_files import pairs
from act2sal.evaluation import MASK_THRESHOLD
from act2sal.evaluation.boundary import boundary, boundary_f
from act2sal.predict import upsampling
from act2sal.predict.detector import Detector
from act2sal.runtime.hardware import hardware

Map = NDArray[np.float32]
Photo = NDArray[np.uint8]
Way = Callable[[Map, Photo], Map]

TRAINING, TEST = {"duts_tr_3000": 200}, {"ecssd_dev": 150, "sod_dev": 150}
COARSER = (1, 4, 8)
FAR, NEAR = 0.05, 0.01
LARGE = (3000, 4000)
COLOUR_SIGMA = 20.0  # of the joint bilateral upsampling, in 8-bit levels; 10 has less MAE, 40 better outlines
CONSTANTS = ((1, 1e-4), (2, 1e-4), (4, 1e-4), (1, 1e-5), (1, 1e-3))  # radius, epsilon


class Example(NamedTuple):
    """A photo, its mask (H, W) bool and the detector's map (S, S)."""

    photo: Photo
    mask: NDArray[np.bool_]
    prob: Map


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, help="a model file or a run; without it the shipped detector")
    parser.add_argument("--count", type=int, help="photos of each set, in place of 200 and 150")
    parser.add_argument("--large", nargs=2, type=int, default=LARGE, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = Detector.load(options.model, device="cpu")
    training = {
        name: examples(options.data / name, options.count or most, detector)
        for name, most in TRAINING.items()
    }
    test = {
        name: examples(options.data / name, options.count or most, detector) for name, most in TEST.items()
    }
    result = {
        "command": "python benchmarks/upsampling.py DATA --out recipes/results/upsampling.json",
        "model": options.model.name if options.model else "shipped",
        "size": detector.size,
        "hardware": hardware(),
        "photos": {name: len(found) for name, found in (training | test).items()},
        "processor_seconds_at_12_megapixels": seconds(training["duts_tr_3000"][0], options.large),
        "constants_on_training_photos": constants(training["duts_tr_3000"]),
        "training": {name: at_all_sizes(found) for name, found in training.items()},
        "test": {name: at_all_sizes(found) for name, found in test.items()},
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def examples(folder: Path, count: int, detector: Detector) -> list[Example]:
    """`count` photos spread evenly over the sorted names."""
    found = pairs(folder / "images", folder / "masks").pairs
    made = []
    for index in np.linspace(0, len(found) - 1, count).astype(int):
        photo, mask_file = read_photo(found[index][0]), found[index][1]
        mask = read_photo(mask_file)[..., 0] > MASK_THRESHOLD
        prob = detector.network(resize_photo(photo, (detector.size, detector.size))[None])[0]
        made.append(Example(photo, mask, prob))
    return made


def at_all_sizes(found: list[Example]) -> dict:
    """Scores of every way on the map as it is and on coarser ones."""
    return {f"map {times} times as coarse": compared(found, times) for times in COARSER}


def compared(found: list[Example], times: int) -> dict:
    """Mean scores of every way, and what they gain over bilinear."""
    ways = WAYS | CRF if times == 1 else WAYS
    scores = {name: np.array([scored(way, e, times) for e in found]) for name, way in ways.items()}
    table: dict[str, dict[str, Any]] = {}
    for name, values in scores.items():
        table[name] = {**named(values.mean(axis=0))}
        if name != "bilinear":
            gain = values - scores["bilinear"]
            half = 1.96 * gain.std(axis=0, ddof=1) / np.sqrt(len(found))
            table[name]["gain"] = {
                measure: [round(float(mean), 4), round(float(width), 4)]
                for measure, mean, width in zip(MEASURES, gain.mean(axis=0), half, strict=True)
            }
    return table


MEASURES = ("mae", "mae_far", "boundary_f_2px", "boundary_f_1pct")


def named(values: NDArray[np.float64]) -> dict[str, float]:
    """Values in the order of `MEASURES`, by name."""
    return dict(zip(MEASURES, values.round(4).tolist(), strict=True))


def scored(way: Way, example: Example, times: int) -> list[float]:
    """The `MEASURES` of one map."""
    prob = way(coarser(example.prob, times), example.photo)
    mask, diagonal = example.mask, float(np.hypot(*example.mask.shape))
    error = np.abs(prob - mask)
    outline = (~boundary(mask)).astype(np.uint8)
    far = cv2.distanceTransform(outline, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > FAR * diagonal
    edges = [boundary_f(prob >= 0.5, mask, tolerance) for tolerance in (2, NEAR * diagonal)]
    return [float(error.mean()), float(error[far].mean()) if far.any() else 0.0, *edges]


def coarser(prob: Map, times: int) -> Map:
    """Area averages of prob (S, S): (S / times, S / times)."""
    side = prob.shape[0] // times
    return np.asarray(cv2.resize(prob, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def constants(found: list[Example]) -> dict:
    """Scores of `upsampling.enlarged` on coarse maps for other windows and epsilons."""
    chosen = upsampling.RADIUS, upsampling.EPSILON
    table = {}
    for radius, epsilon in CONSTANTS:
        upsampling.RADIUS, upsampling.EPSILON = radius, epsilon
        table[f"radius {radius}, epsilon {epsilon:g}"] = {
            f"map {times} times as coarse": named(
                np.mean([scored(upsampling.enlarged, e, times) for e in found], axis=0)
            )
            for times in COARSER[1:]
        }
    upsampling.RADIUS, upsampling.EPSILON = chosen
    return table


def seconds(example: Example, large: Sequence[int]) -> dict[str, float]:
    """Processor seconds of each way on a photo enlarged to 12 megapixels, the least of three runs."""
    photo = np.asarray(
        cv2.resize(example.photo, (large[1], large[0]), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    return {
        name: round(min(timed(way, example.prob, photo) for _ in range(3)), 3)
        for name, way in (WAYS | CRF).items()
    }


def timed(way: Way, prob: Map, photo: Photo) -> float:
    """Seconds of the processor in one call."""
    start = time.process_time()
    way(prob, photo)
    return time.process_time() - start


def bilinear(prob: Map, photo: Photo) -> Map:
    """What the photo has no part in."""
    return resize_map(prob, photo.shape[:2])


def joint_bilateral(prob: Map, photo: Photo) -> Map:
    """Kopf et al. (2007): the four nearest cells, by distance as in bilinear enlargement and by colour."""
    total, weights = np.zeros(photo.shape[:2], np.float32), np.full(photo.shape[:2], 1e-12, np.float32)
    colour = cell_colours(prob, photo)
    rows, columns = (
        np.maximum((np.arange(n) + 0.5) * s / n - 0.5, 0).astype(np.float32)
        for n, s in zip(photo.shape, prob.shape, strict=False)
    )
    for down in (0, 1):
        for right in (0, 1):
            y, x = rows.astype(int) + down, columns.astype(int) + right
            near = np.outer(1 - np.abs(rows - y), 1 - np.abs(columns - x))
            cell = np.ix_(np.minimum(y, prob.shape[0] - 1), np.minimum(x, prob.shape[1] - 1))
            apart = ((photo - colour[cell]) ** 2).sum(axis=2)
            weight = near * (np.exp(-apart / (2 * COLOUR_SIGMA**2)) + 1e-6)
            total += weight * prob[cell]
            weights += weight
    return total / weights


def guided_filter(prob: Map, photo: Photo) -> Map:
    """The fast guided filter of He and Sun (2015), with the constants of `upsampling`."""
    mean = upsampling._window_mean
    colour, values = cell_colours(prob, photo).astype(np.float64), prob.astype(np.float64)
    slope = upsampling._slope(colour, values)
    offset = mean(mean(values) - (slope * mean(colour)).sum(axis=2))
    lines = resize_map(np.dstack([mean(slope), offset]).astype(np.float32), photo.shape[:2])
    return np.clip((lines[..., :3] * photo).sum(axis=2) + lines[..., 3], 0, 1)


def unweighted(prob: Map, photo: Photo) -> Map:
    """`upsampling.enlarged` without the weight 4 p (1 - p)."""
    lines = resize_map(upsampling._lines(prob, photo), photo.shape[:2])
    return np.clip(lines[..., 0] + (lines[..., 1:4] * photo).sum(axis=2) + lines[..., 4], 0, 1)


def cell_colours(prob: Map, photo: Photo) -> NDArray[np.float32]:
    """Mean colour of the photo in each cell of the map: (h, w, 3)."""
    return cv2.resize(photo, prob.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


WAYS: dict[str, Way] = {
    "bilinear": bilinear,
    "joint bilateral": joint_bilateral,
    "guided filter": guided_filter,
    "enlarged, unweighted": unweighted,
    "enlarged": upsampling.enlarged,
}
CRF: dict[str, Way] = {"crf, enlarged": partial(upsampling.full_size, refine="crf")}

if __name__ == "__main__":
    main()
