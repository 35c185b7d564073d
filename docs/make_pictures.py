"""Make the pictures of README and guide with the shipped detector, from photographs of scikit-image.

    python docs/make_pictures.py

example.jpg: photos, maps, cut-outs on white. kinds.jpg: one photo and every kind of output.
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from act2sal import Detector
from act2sal.data.images import read_photo
from act2sal.predict.output_kinds import parse_kind, rendered
from act2sal.scenes import write_demo_photos

FOLDER = Path(__file__).parent
EXAMPLES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SHOWN, BACKGROUND = "chelsea.png", "rocket.jpg"
KINDS = ("map", "mask", "cutout", "overlay", "blur", "color:#2a9d8f", "image")
CELL, GAP, CHECK = 220, 6, 11


def main() -> None:
    """Write both pictures beside this file."""
    detector = Detector.load()
    with tempfile.TemporaryDirectory() as folder:
        files = {path.name: path for path in write_demo_photos(Path(folder))}
        photos = {name: read_photo(path) for name, path in files.items()}
        white = parse_kind("color:#ffffff")
        columns = []
        for name in EXAMPLES:
            prob = detector(photos[name])
            columns.append(
                [
                    photos[name],
                    rendered(parse_kind("map"), photos[name], prob),
                    rendered(white, photos[name], prob),
                ]
            )
        write(FOLDER / "example.jpg", [list(row) for row in zip(*columns, strict=True)])
        photo, prob = photos[SHOWN], detector(photos[SHOWN])
        kinds = [parse_kind(kind if kind != "image" else f"image:{files[BACKGROUND]}") for kind in KINDS]
        write(FOLDER / "kinds.jpg", [[photo, *(rendered(kind, photo, prob) for kind in kinds)]])


def write(path: Path, rows: list[list[NDArray[np.uint8]]]) -> None:
    """Squares in rows, as JPEG."""
    height, width = (len(cells) * (CELL + GAP) - GAP for cells in (rows, rows[0]))
    sheet = Image.new("RGB", (width, height), "white")
    for down, row in enumerate(rows):
        for right, cell in enumerate(row):
            sheet.paste(square(cell), (right * (CELL + GAP), down * (CELL + GAP)))
    sheet.save(path, quality=88)


def square(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels (H, W), (H, W, 3) or (H, W, 4) as a square; what is transparent shows a checkerboard."""
    image = Image.fromarray(pixels).convert("RGBA").resize((CELL, CELL))
    rows, columns = np.mgrid[:CELL, :CELL] // CHECK
    board = np.where((rows + columns) % 2, 235, 205).astype(np.uint8)
    return Image.alpha_composite(Image.fromarray(board).convert("RGBA"), image).convert("RGB")


if __name__ == "__main__":
    main()
