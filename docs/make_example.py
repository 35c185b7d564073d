"""Make docs/example.jpg: photographs of scikit-image, the shipped detector's maps, cut-outs on white."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from act2sal.images import read_photo
from act2sal.predict import Predictor
from act2sal.scenes import write_demo_photos

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
CELL, GAP = 220, 6


def column(photo: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Photo, map and cut-out below each other: (3 CELL + 2 GAP, CELL, 3) uint8."""
    alpha = prob[..., None]
    cut_out = photo * alpha + 255 * (1 - alpha)
    cells = [photo, np.repeat(255 * alpha, 3, axis=2), cut_out]
    gap = np.full((GAP, CELL, 3), 255, np.uint8)
    squares = [np.asarray(Image.fromarray(c.astype(np.uint8)).resize((CELL, CELL))) for c in cells]
    return np.vstack([squares[0], gap, squares[1], gap, squares[2]])


def main() -> None:
    """Write the picture beside this file."""
    detector = Predictor.load()
    with tempfile.TemporaryDirectory() as folder:
        photos = {path.name: read_photo(path) for path in write_demo_photos(Path(folder))}
    columns = [column(photos[name], detector(photos[name])) for name in NAMES]
    gap = np.full((columns[0].shape[0], GAP, 3), 255, np.uint8)
    spaced = [piece for one in columns for piece in (one, gap)][:-1]
    Image.fromarray(np.hstack(spaced)).save(Path(__file__).with_name("example.jpg"), quality=88)


if __name__ == "__main__":
    main()
