"""Seconds of each part of a cut-out of a photo of 12 megapixels, on one core.

    python benchmarks/cutout.py PHOTOS --out recipes/results/cutout_speed.json

The photos, every n-th of the folder, are enlarged to 4000 x 3000, with the noise of a camera. Each figure is the
median over the photos of the best of three. Beside our colours of the object stand those of pymatting's multilevel
solver (extra `bench`), beside our PNG that of Pillow's own choice, and for both PNG also the bytes at the photos' own
size, where nothing was enlarged.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and Numba read them
os.environ["NUMBA_NUM_THREADS"] = "1"

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pymatting import estimate_foreground_ml

from act2sal.data.encoding import encoded
from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.networks import model_files
from act2sal.predict.compositing import cutout, foreground_colors
from act2sal.predict.detector import Detector
from act2sal.predict.onnx_network import OnnxNetwork
from act2sal.predict.upsampling import full_size
from act2sal.runtime.hardware import hardware

SIZE = (3000, 4000)
NOISE = 3.0
"""Standard deviation of the noise, in grey levels."""
REPEATS = 3


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--count", type=int, default=10, help="photos, every n-th of the folder")
    parser.add_argument("--size", nargs=2, type=int, default=SIZE, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    found = find_photos(options.photos)
    photos = [
        read_photo(photo.path) for photo in found[:: max(1, len(found) // options.count)][: options.count]
    ]
    detector = Detector(OnnxNetwork.load(model_files.onnx_file(None), threads=1))
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            parts(enlarged(photo, options.size), detector, Path(folder) / "photo.jpg") for photo in photos
        ]
    result = {
        "command": f"python benchmarks/cutout.py PHOTOS --count {options.count} "
        "--out recipes/results/cutout_speed.json",
        "hardware": hardware(),
        "other_load_at_the_start": round(os.getloadavg()[0], 1),
        "photos": len(photos),
        "size": options.size,
        "seconds_on_one_core": {
            name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]
        },
        "megabytes_at_their_own_size": png_megabytes(photos, detector),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def enlarged(photo: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """A photo at `size`, (height, width), upright or not, with noise."""
    height, width = size
    large = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, NOISE, large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def parts(photo: NDArray[np.uint8], detector: Detector, file: Path) -> dict[str, float]:
    """Seconds of each step of `act2sal predict --kind cutout`, and of what others do in its place."""
    cv2.imwrite(str(file), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    square = resize_photo(photo, (detector.size, detector.size))
    prob = detector.squares(square[None])[0]
    alpha = full_size(prob, photo, "none")
    pixels = cutout(photo, alpha)
    image, soft = photo / 255.0, alpha.astype(np.float64)
    programs: dict[str, Callable[[], object]] = {
        "decode": lambda: read_photo(file),
        "resize to the network": lambda: resize_photo(photo, square.shape[:2]),
        "network": lambda: detector.squares(square[None]),
        "enlarge the map": lambda: full_size(prob, photo, "none"),
        "cutout": lambda: cutout(photo, alpha),
        "PNG": lambda: encoded(pixels, "png"),
        "of the cutout, colours of the object": lambda: foreground_colors(photo, alpha),
        "colours of the object by pymatting": lambda: estimate_foreground_ml(image, soft),
        "PNG as Pillow chooses": lambda: pillow_png(pixels),
    }
    return {name: min(seconds(program) for _ in range(REPEATS)) for name, program in programs.items()}


def png_megabytes(photos: Sequence[NDArray[np.uint8]], detector: Detector) -> dict[str, Any]:
    """Megabytes of all cut-outs and of all maps, ours and as Pillow chooses."""
    sizes = {"cut-outs": [0, 0], "maps": [0, 0]}
    for photo, prob in zip(photos, detector.batch(photos), strict=True):
        for kind, pixels in (
            ("cut-outs", cutout(photo, prob)),
            ("maps", np.asarray(cv2.convertScaleAbs(prob, alpha=255), np.uint8)),
        ):
            sizes[kind][0] += len(encoded(pixels, "png"))
            sizes[kind][1] += len(pillow_png(pixels))
    return {
        kind: {"ours": round(ours / 1e6, 3), "as Pillow chooses": round(other / 1e6, 3)}
        for kind, (ours, other) in sizes.items()
    }


def pillow_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG with no options."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def seconds(program: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
