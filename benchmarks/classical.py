"""Seconds that each classical method needs for a photo of 400 x 300 on one core, and how much of it is SLIC.

    python benchmarks/classical.py PHOTOS --out recipes/results/classical_speed.json

The median over 20 photos of about that size counts.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy reads it

import cv2

from act2sal.classical import METHODS
from act2sal.classical.superpixels import superpixels
from act2sal.datasets import find_photos
from act2sal.hardware import hardware
from act2sal.images import read_photo, resize_photo, write_atomic

COUNT, SIZE = 20, (300, 400)


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    found = find_photos(options.photos)
    photos = [resize_photo(read_photo(p.path), SIZE) for p in found[:: max(1, len(found) // COUNT)][:COUNT]]
    programs = {**METHODS, "one SLIC": one_slic}
    seconds = {}
    for name, program in programs.items():
        program(photos[0])
        seconds[name] = round(statistics.median(timed(program, photo) for photo in photos), 4)
    result = {
        "command": "python benchmarks/classical.py PHOTOS --out recipes/results/classical_speed.json",
        "hardware": hardware(),
        "photos": len(photos),
        "seconds_a_photo_on_one_core": seconds,
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def one_slic(photo: object) -> object:
    """One segmentation, as RBD does three."""
    return superpixels(photo, pixels_each=550, compactness=20.0, border_width=8)


def timed(program: object, photo: object) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    program(photo)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
