"""What matting gains at soft edges and what it costs, beside the saliency map as alpha.

    python benchmarks/matting.py --out recipes/results/matting.json

Objects with hair are drawn with known alpha and put before rendered backgrounds. The map
that a detector would give is simulated: the alpha without hair thinner than a pixel of a map of 320 pixels, blurred.
Seconds are those of a cut-out's pixels, one after the other on one core, in one run; SAD is the sum of absolute
differences of alpha in thousands, MSE the mean square in thousandths, both in the band in which alpha is unknown.
"""

import argparse
import json
import time
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal.config import Matting
from act2sal.predict.matting import matted, trimap_of
from act2sal.predict.output_kinds import Kind, rendered
from act2sal.runtime import cores
from act2sal.runtime.hardware import hardware
from act2sal.scenes.backgrounds import background

SIZES = (640, 1600, 4000)
MAP = 320
CUTOUT = Kind("cutout")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="sides of the photos, in pixels")
    parser.add_argument("--count", type=int, default=4, help="photos of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cores.lower(1)
    found = {
        "command": f"python benchmarks/matting.py --sizes {' '.join(map(str, options.sizes))} "
        f"--count {options.count} --seed {options.seed}",
        "hardware": hardware(),
        **{f"{size} x {size}": measured(size, options.count, options.seed) for size in options.sizes},
    }
    text = json.dumps(found, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


def measured(size: int, count: int, seed: int) -> dict[str, dict[str, float]]:
    """SAD, MSE and seconds of each way, means over the photos."""
    ways: tuple[Matting | None, ...] = (None, *get_args(Matting))
    warm = composition(64, seed)
    sums = {way: np.zeros(3) for way in ways}
    for way in ways:
        rendered(CUTOUT, warm[0], warm[2], matting=way)
    for number in range(count):
        photo, alpha, prob = composition(size, seed + number)
        band = trimap_of(prob > 0.5) == 0.5
        for way in ways:
            start = time.perf_counter()
            rendered(CUTOUT, photo, prob, matting=way)
            seconds = time.perf_counter() - start
            found = prob if way is None else matted(photo, prob > 0.5, way)
            difference = (found - alpha)[band]
            sums[way] += (np.abs(difference).sum() / 1000, 1000 * np.square(difference).mean(), seconds)
    names = ("SAD", "MSE", "seconds")
    return {
        "map as alpha" if way is None else way: dict(
            zip(names, np.round(sums[way] / count, 3).tolist(), strict=True)
        )
        for way in ways
    }


def composition(size: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """A photo (S, S, 3), the alpha of its hairy object (S, S) and the map that a detector would give (S, S)."""
    rng = np.random.default_rng(seed)
    alpha = hairy(size, rng)
    coarse = cv2.resize(cv2.resize(alpha, (MAP, MAP), interpolation=cv2.INTER_AREA), (size, size))
    prob = cv2.GaussianBlur(coarse, (0, 0), size / MAP)
    ground = 255 * np.clip(background(rng, (size, size)), 0, 1)
    colour = rng.uniform(20, 235, 3) * (1 + 0.15 * rng.standard_normal((size, size, 1)))
    mixed = alpha[..., None] * np.clip(colour, 0, 255) + (1 - alpha[..., None]) * ground
    rough = np.clip(prob, 0, 1).astype(np.float32)
    return np.round(mixed).astype(np.uint8), alpha, rough


def hairy(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The alpha of a disk with curved hairs around it, (S, S) float32."""
    large = 2 * size
    drawn = np.zeros((large, large), np.uint8)
    centre, radius = large // 2, large // 5
    cv2.circle(drawn, (centre, centre), radius, 255, -1, cv2.LINE_AA)
    width = max(1, round(large / 900))
    for angle in rng.uniform(0, 2 * np.pi, 400):
        steps = np.linspace(0.9, rng.uniform(1.1, 1.35), 12)
        bent = angle + rng.uniform(-0.6, 0.6) * (steps - 0.9)
        points = centre + radius * steps[:, None] * np.stack([np.cos(bent), np.sin(bent)], axis=1)
        cv2.polylines(drawn, [np.round(points).astype(np.int32)], False, 255, width, cv2.LINE_AA)
    shrunk = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
    return (np.asarray(shrunk) / 255).astype(np.float32)


if __name__ == "__main__":
    main()
