"""What `act2sal export --int8` costs and gains: scores, bytes and speed of the float and the int8 network.

    python benchmarks/int8.py DATA --out recipes/results/int8.json

DATA holds duts_tr_3000, on whose photos int8 is calibrated, and ecssd_dev, which is scored; its masks are opened for
the scores alone. Photos per second: the network on one core, without decoding and writing.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import read_photo, resize_photo, write_atomic
from act2sal.data.photo_files import pairs
from act2sal.evaluation import MASK_THRESHOLD, score_prob
from act2sal.predict.export import export
from act2sal.predict.onnx_network import OnnxNetwork
from act2sal.predict.upsampling import full_size
from act2sal.runtime.hardware import hardware

TRAINING, TEST = "duts_tr_3000", "ecssd_dev"
TIMED = 100
"""Photos for the speed."""


def main() -> None:
    """Export both, score, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--count", type=int, default=500, help="test photos, every n-th")
    parser.add_argument("--model", type=Path, help="run or model file; without: the shipped detector")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options = parser.parse_args()
    found = pairs(options.data / TEST / "images", options.data / TEST / "masks").pairs
    tested = found[:: max(1, len(found) // options.count)][: options.count]
    with tempfile.TemporaryDirectory() as folder:
        files = {"float": Path(folder) / "float.onnx", "int8": Path(folder) / "int8.onnx"}
        export(options.model, files["float"])
        export(options.model, files["int8"], int8=True, photos=options.data / TRAINING / "images")
        networks = {name: OnnxNetwork.load(file, threads=1) for name, file in files.items()}
        result = {
            "command": f"python benchmarks/int8.py DATA --count {options.count} "
            "--out recipes/results/int8.json",
            "hardware": hardware(),
            "other_load_at_the_start": round(os.getloadavg()[0], 1),
            "test_set": TEST,
            "photos": len(tested),
        }
        result |= {
            name: {"megabytes": round(file.stat().st_size / 1e6, 2), **scores(networks[name], tested)}
            for name, file in files.items()
        }
        result["photos_a_second_on_one_core"] = speeds(networks, [photo for photo, _ in tested[:TIMED]])
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.out:
        write_atomic(options.out, text.encode())


def scores(network: OnnxNetwork, tested: Sequence[tuple[Path, Path]]) -> dict[str, Any]:
    """Mean adaptive F and MAE of the maps at the photos' own size."""
    measures = []
    for photo_file, mask_file in tested:
        photo = read_photo(photo_file)
        (prob,) = network(square_of(photo, network.size)[None])
        saliency = full_size(prob, photo, "none")
        measures.append(score_prob(saliency, read_photo(mask_file)[..., 0] > MASK_THRESHOLD).measures)
    return {
        "f_adaptive": round(float(np.mean([m.f_adaptive for m in measures])), 4),
        "mae": round(float(np.mean([m.mae for m in measures])), 4),
    }


def speeds(networks: dict[str, OnnxNetwork], photos: Sequence[Path]) -> dict[str, float]:
    """Photos a second of each; they take turns, so that other programs slow both."""
    spent = dict.fromkeys(networks, 0.0)
    for photo in photos:
        for name, network in networks.items():
            square = square_of(read_photo(photo), network.size)[None]
            start = time.perf_counter()
            network(square)
            spent[name] += time.perf_counter() - start
    return {name: round(len(photos) / total, 1) for name, total in spent.items()}


def square_of(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The photo as the network takes it."""
    return resize_photo(photo, (side, side))


if __name__ == "__main__":
    main()
