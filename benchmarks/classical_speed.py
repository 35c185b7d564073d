"""Speed of the classical methods on photos of 400 x 300: one core, all cores, and what takes the time.

    python benchmarks/classical_speed.py PHOTOS --out recipes/results/classical_speed.json

Seconds on one core: the median over 20 photos, each by itself. Photos per second on all cores: `act2sal predict
--method`, decoding and PNG included, from what 44 photos need more than 4. Shares: of the time on one core, by the
steps of each method that take most of it, with what they call.
"""

import argparse
import cProfile
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy reads it

import cv2
import numpy as np
from numpy.typing import NDArray

from act2sal import classical
from act2sal.classical import METHODS
from act2sal.classical.superpixels import superpixels
from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import find_photos
from act2sal.predict.maps import SaliencyMethod
from act2sal.runtime.hardware import hardware

Program = Callable[[NDArray[np.uint8]], object]

COUNT, SIZE = 20, (300, 400)
FEW, MANY = 4, 44
"""Photos of the two folder runs; their difference leaves the start of the program out."""
SHOWN = 4
"""Steps of a method in the table of shares."""
FRAME = 0.98
"""Functions with this share or more are the frame around the steps."""


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help="photos of which each is timed by itself")
    parser.add_argument("--few", type=int, default=FEW, help="photos of the short run over a folder")
    parser.add_argument("--many", type=int, default=MANY, help="photos of the long run over a folder")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photos = photos_of(options.photos, options.many)
    methods = {name: METHODS[name] for name in options.methods}
    programs: dict[str, Program] = {**methods, "one SLIC": one_slic}
    result = {
        "command": "python benchmarks/classical_speed.py PHOTOS --out recipes/results/classical_speed.json",
        "hardware": hardware(),
        "photos": options.count,
        "seconds_a_photo_on_one_core": {
            name: seconds(program, photos[: options.count]) for name, program in programs.items()
        },
        "photos_a_second_on_all_cores": folder_rates(photos, options.few, methods),
        "shares_of_the_time": {
            name: shares(method, photos[: options.count]) for name, method in methods.items()
        },
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def photos_of(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Photos of a folder, every n-th, at `SIZE`."""
    found = find_photos(folder)
    return [resize_photo(read_photo(p.path), SIZE) for p in found[:: max(1, len(found) // count)][:count]]


def one_slic(photo: NDArray[np.uint8]) -> object:
    """One segmentation, as RBD does three."""
    return superpixels(photo, pixels_each=550, compactness=20.0, border_width=8)


def seconds(program: Program, photos: list[NDArray[np.uint8]]) -> float:
    """Median wall seconds of one call, after a first one that compiles."""
    program(photos[0])
    return round(statistics.median(timed(program, photo) for photo in photos), 4)


def timed(program: Program, photo: NDArray[np.uint8]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    program(photo)
    return time.perf_counter() - start


def folder_rates(photos: list[NDArray[np.uint8]], least: int, methods: Iterable[str]) -> dict[str, float]:
    """Photos per second of `act2sal predict FOLDER --method NAME`, from what all need more than the first ones."""
    with tempfile.TemporaryDirectory() as temporary:
        few, many = (Path(temporary) / name for name in ("few", "many"))
        for folder, count in ((few, least), (many, len(photos))):
            folder.mkdir()
            for number, photo in enumerate(photos[:count]):
                cv2.imwrite(str(folder / f"{number}.jpg"), photo[..., ::-1])
        rates = {}
        for name in methods:
            start, whole = folder_seconds(few, name), folder_seconds(many, name)
            rates[name] = round((len(photos) - least) / (whole - start), 2)
    return rates


def folder_seconds(folder: Path, method: str) -> float:
    """Wall seconds of the command on a folder."""
    command = [sys.executable, "-m", "act2sal.cli", "predict", str(folder), "--method", method, "--quiet"]
    start = time.perf_counter()
    subprocess.run([*command, "--overwrite", "--out", str(folder.parent / method)], check=True)
    return time.perf_counter() - start


def cumulative_seconds(profile: cProfile.Profile) -> dict[tuple[str, int, str], float]:
    """Seconds by file, line and name of each function, callees included."""
    profile.create_stats()
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(profile)["stats"]
    return {function: row[3] for function, row in stats.items()}


def shares(method: SaliencyMethod, photos: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Shares of the time of a method's largest steps, callees included, by their names."""
    profile = cProfile.Profile()
    profile.enable()
    for photo in photos:
        method(photo)
    profile.disable()
    rooms = str(Path(classical.__file__).parent)
    times = {
        function: spent
        for (file, _, function), spent in cumulative_seconds(profile).items()
        if file.startswith(rooms) and not function.startswith("<")
    }
    whole = times.pop(method.__name__)
    found = {name: round(spent / whole, 2) for name, spent in times.items()}
    steps = {name: share for name, share in found.items() if share < FRAME}
    return {name: steps[name] for name in sorted(steps, key=lambda name: -steps[name])[:SHOWN]}


if __name__ == "__main__":
    main()
